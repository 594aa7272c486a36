/* A library that stands before libc's clocks (LD_PRELOAD): at each look the wall clock has
 * jumped by decades, back and forth. Each look is noted, by the name of the call, in the file
 * that CLOCK_LOOKS names.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long jump(const char *call) {
    static long looks;
    const char *path = getenv("CLOCK_LOOKS");
    int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        if (write(fd, call, strlen(call)) < 0)
            abort();
        close(fd);
    }
    return looks++ % 2 ? 86400L : 2000000000L;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    if (id == CLOCK_MONOTONIC || id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID)
        return (int)syscall(SYS_clock_gettime, id, time);
    time->tv_sec = jump("clock_gettime\n");
    time->tv_nsec = 0;
    return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    time->tv_sec = jump("gettimeofday\n");
    time->tv_usec = 0;
    return 0;
}

time_t time(time_t *to) {
    time_t now = jump("time\n");
    if (to)
        *to = now;
    return now;
}
