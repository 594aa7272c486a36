/* sensors: tells every page in the room @board, once a second, how the board is doing.
 *
 * No event program but a daemon of its own; it is a plain client of the outbox FIFO:
 *
 *     sensors [OUTBOX]        OUTBOX: else $WS_OUTBOX, else /var/run/ws2cgi/outbox
 *
 * Start it before or after ws2cgi, in any order; it waits, and outlives restarts. SIGTERM ends it.
 * To show a value of your own add a key to the JSON: the demo page draws a plot for each number.
 *
 *     cc -std=gnu99 -Wall -Wextra -Os -o sensors sensors.c
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first line of a file of /proc or /sys through sscanf: the number of values found. */
static int scan(const char *path, const char *format, void *value)
{
    char line[128];
    FILE *file = fopen(path, "r");
    int found = file && fgets(line, sizeof line, file) ? sscanf(line, format, value) : 0;

    if (file)
        fclose(file);
    return found;
}

/* Memory in use, in percent; page cache counts as free. */
static double memory_used(void)
{
    char line[128];
    unsigned long total = 0, free = 0, cache = 0, available = 0, kb;
    FILE *file = fopen("/proc/meminfo", "r");

    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "MemTotal: %lu", &kb) == 1)
            total = kb;
        else if (sscanf(line, "MemAvailable: %lu", &kb) == 1)
            available = kb;
        else if (sscanf(line, "MemFree: %lu", &kb) == 1)
            free = kb;
        else if (sscanf(line, "Buffers: %lu", &kb) == 1 || sscanf(line, "Cached: %lu", &kb) == 1)
            cache += kb;
    }
    if (file)
        fclose(file);
    if (available == 0)
        available = free + cache; /* before Linux 3.14 */
    return total > available ? 100.0 * (total - available) / total : 0;
}

/* The first sensor that answers, in thousandths of a degree Celsius; 0 if the board has none. */
static int temperature(int *milli)
{
    static const char *const places[] = {
        "/sys/class/thermal/thermal_zone%d/temp",
        "/sys/class/hwmon/hwmon%d/temp1_input",
        "/sys/class/hwmon/hwmon%d/device/temp1_input",
    };
    char path[64];

    for (size_t place = 0; place < sizeof places / sizeof *places; place++)
        for (int i = 0; i < 8; i++) {
            snprintf(path, sizeof path, places[place], i);
            if (scan(path, "%d", milli) == 1)
                return 1;
        }
    return 0;
}

/* The outbox, or -1 while no daemon reads it. O_NONBLOCK makes that an answer instead of a wait,
 * and without O_CREAT no ordinary file can come into being in the FIFO's place. */
static int open_outbox(const char *path)
{
    struct stat is;
    int fd = open(path, O_WRONLY | O_NONBLOCK);

    if (fd >= 0 && (fstat(fd, &is) < 0 || !S_ISFIFO(is.st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : getenv("WS_OUTBOX");
    char line[256], load[16];
    int fd = -1, milli;

    if (!path)
        path = "/var/run/ws2cgi/outbox";
    signal(SIGPIPE, SIG_IGN); /* a daemon that is gone: EPIPE from write instead of our death */

    for (;; sleep(1)) {
        long uptime = 0;
        if (scan("/proc/loadavg", "%15s", load) != 1)
            snprintf(load, sizeof load, "0");
        scan("/proc/uptime", "%ld", &uptime);

        int length = sprintf(line, "text @board {\"load\":%s,\"mem\":%.1f,\"uptime\":%ld",
                             load, memory_used(), uptime);
        if (temperature(&milli))
            length += sprintf(line + length, ",\"temp\":%.1f", milli / 1000.0);
        length += sprintf(line + length, "}\n");

        /* One write of at most PIPE_BUF (4096) bytes goes in whole or not at all, so the lines of
         * several writers never mix; printf to a FILE gives no such promise. A full FIFO (EAGAIN)
         * costs this second's line; the next is as good. */
        if (fd < 0)
            fd = open_outbox(path);
        if (fd >= 0 && write(fd, line, length) < 0 && errno != EAGAIN) {
            close(fd);
            fd = -1;
        }
    }
}
