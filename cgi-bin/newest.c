/* newest: what longpoll.c becomes: an event program. A browser that comes joins the room @sensor and
 * gets the sensor's line at once, and again whenever it asks; all later lines come from the sensor's
 * daemon itself, to all in the room:
 *
 *     echo 'text @sensor 17 21.5' > /var/run/ws2cgi/outbox
 *
 * What longpoll.c waited for nobody waits for here: this runs for a moment and exits. The steps from
 * one to the other are in board/migrate.md.
 *
 *     cc -std=gnu99 -Wall -Wextra -Os -o newest newest.c
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SENSOR
#define SENSOR "/var/run/sensor"
#endif

/* By a line of our own, not by WS-Join, which counts from our exit on: a change between our look at
 * the file and that would be missed. */
static int join(const char *id, const char *outbox)
{
    char line[128];
    int length = snprintf(line, sizeof line, "join %s @sensor\n", id);
    int fd = open(outbox, O_WRONLY);
    int done = fd >= 0 && write(fd, line, length) == length;

    if (fd >= 0)
        close(fd);
    return done;
}

/* Whether a page that long-polls has line `number` already: last=NUMBER. */
static int has(const char *query, long number)
{
    while (query && *query) {
        if (strncmp(query, "last=", 5) == 0)
            return atol(query + 5) == number;
        query = strchr(query, '&');
        if (query)
            query++;
    }
    return 0;
}

int main(void)
{
    const char *event = getenv("WS_EVENT"), *id = getenv("WS_ID"), *outbox = getenv("WS_OUTBOX");
    char line[128];
    FILE *file;

    if (!event || !id || !outbox || strcmp(event, "close") == 0)
        return 0;
    if (strcmp(event, "open") == 0 && !join(id, outbox))
        return 1; /* the browser gets a 502, and comes again */
    file = fopen(SENSOR, "r");
    if (!file || !fgets(line, sizeof line, file))
        return 0; /* no sensor yet: its first line will come to all */

    if (strcmp(event, "open") == 0 && has(getenv("QUERY_STRING"), atol(line)))
        return 0;

    /* A message's answer goes to whoever sent it anyway; on open that must be said. */
    printf("WS-To: %s\n\n%s", id, line);
    return 0;
}
