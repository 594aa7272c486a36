/* echo: sends every message back to whoever sent it, text as text and binary as binary.
 *
 * ws2cgi runs this program once per event. A message comes as a CGI POST: CONTENT_LENGTH bytes on
 * stdin. What the program prints, CGI headers, an empty line and a body, is the answer.
 *
 *     cc -std=gnu99 -Wall -Wextra -Os -o echo echo.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    const char *event = getenv("WS_EVENT");
    const char *type = getenv("CONTENT_TYPE");
    const char *length = getenv("CONTENT_LENGTH");

    if (!event || strcmp(event, "message") != 0)
        return 0; /* open and close: no output and exit 0 means yes, and nothing to send */

    /* The type decides: text/plain goes out as a text message, application/octet-stream as binary.
     * The length is only needed for an empty message: an empty body alone would send nothing. */
    size_t left = length ? strtoul(length, NULL, 10) : 0;
    printf("Content-Type: %s\nContent-Length: %zu\n\n", type ? type : "text/plain", left);

    /* A pipe gives its bytes in pieces; fread goes on until it has them all, or a buffer full. */
    char buffer[4096];
    while (left > 0) {
        size_t got = fread(buffer, 1, left < sizeof buffer ? left : sizeof buffer, stdin);
        if (got == 0)
            return 1; /* cut short: an exit code other than 0, so nothing is sent */
        fwrite(buffer, 1, got, stdout);
        left -= got;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
