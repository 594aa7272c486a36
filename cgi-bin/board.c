/* board: for pages that only listen. Every browser that opens /board gets into the room @board.
 *
 * Whatever runs on the board then talks to all of them by one line into the outbox:
 *
 *     echo 'text @board {"load":0.42}' > /var/run/ws2cgi/outbox
 *
 * sensors.c does that every second. Messages from the browsers are read by nobody.
 *
 *     cc -std=gnu99 -Wall -Wextra -Os -o board board.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    const char *event = getenv("WS_EVENT");

    if (event && strcmp(event, "open") == 0)
        puts("WS-Join: @board\n"); /* the second newline ends the headers */
    return 0;
}
