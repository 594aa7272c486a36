/* A library that stands before libc's monotonic clock and its ppoll (LD_PRELOAD): for its process
 * time goes HASTE times as fast, so that a minute of its patience takes a second.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

typedef int (*waits)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);

static long long haste(void) {
    static long long times;
    const char *text = getenv("HASTE");
    if (!times)
        times = text ? atoll(text) : 1;
    return times;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, id, time);
    if (id == CLOCK_MONOTONIC) {
        long long first = time->tv_nsec * haste();
        time->tv_sec = time->tv_sec * haste() + first / SECOND;
        time->tv_nsec = first % SECOND;
    }
    return result;
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask) {
    static waits libc;
    struct timespec sooner;
    if (!libc)
        libc = (waits)dlsym(RTLD_NEXT, "ppoll");
    if (time) {
        /* Not too soon: a wait that ends before its time is one more turn. */
        long long rest = (time->tv_sec % haste() * SECOND + time->tv_nsec) / haste() + 1;
        sooner.tv_sec = time->tv_sec / haste() + rest / SECOND;
        sooner.tv_nsec = rest % SECOND;
        time = &sooner;
    }
    return libc(fds, count, time, mask);
}
