/* longpoll: the classic, for comparison: a CGI program that waits for a sensor to change.
 *
 * A page asks for /cgi-bin/longpoll?last=N in a loop, N from the answer before. The answer comes
 * once the sensor's number is another than N (without `last`: at once), or is 204 after 25 s. The
 * sensor's daemon keeps one line in a file, which it renames into place:
 *
 *     17 21.5            a number that counts the changes, and the value
 *
 * Every waiting browser is a process that looks at the file ten times a second, as one does where
 * inotify(7) may be missing. What it costs, and the way out, step by step: board/migrate.md.
 *
 *     cc -std=gnu99 -Wall -Wextra -Os -o longpoll longpoll.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SENSOR
#define SENSOR "/var/run/sensor"
#endif

#ifndef PAUSE
#define PAUSE 100 /* milliseconds between two looks */
#endif
enum { LOOKS = 25 * 1000 / PAUSE }; /* 25 s in all */

/* The value of `last`, or -1, which no sensor's number is. */
static long last_seen(const char *query)
{
    while (query && *query) {
        if (strncmp(query, "last=", 5) == 0)
            return atol(query + 5);
        query = strchr(query, '&');
        if (query)
            query++;
    }
    return -1;
}

/* Reads the sensor's line; false while there is none. */
static int look(char *line, int size)
{
    FILE *file = fopen(SENSOR, "r");
    int found = file && fgets(line, size, file);

    if (file)
        fclose(file);
    return found;
}

int main(void)
{
    long last = last_seen(getenv("QUERY_STRING"));
    char line[128];

    for (int i = 0; i < LOOKS; i++) {
        if (look(line, sizeof line) && atol(line) != last) {
            printf("Content-Type: text/plain\nCache-Control: no-store\n\n%s", line);
            return 0;
        }
        usleep(PAUSE * 1000);
    }
    puts("Status: 204 No Content\n"); /* the second newline ends the head */
    return 0;
}
