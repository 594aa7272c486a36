/* A library that stands before libc's ppoll (LD_PRELOAD): after a look at one descriptor, without
 * waiting, time goes by in which others may change what was seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

typedef int (*waits)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *time, const sigset_t *mask) {
    static waits libc;
    if (!libc)
        libc = (waits)dlsym(RTLD_NEXT, "ppoll");
    int ready = libc(fds, count, time, mask);
    if (count == 1 && time && time->tv_sec == 0 && time->tv_nsec == 0)
        usleep(3000);
    return ready;
}
