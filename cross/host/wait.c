/* Waiting, with the signals let in only meanwhile, so that none is missed. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "host.h"

int look(int fd, short events)
{
    struct pollfd polled = { fd, events, 0 };
    struct timespec no_time = { 0, 0 };
    return ppoll(&polled, 1, &no_time, NULL) < 0 ? 0 : polled.revents;
}

static const int caught[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
#define CAUGHT (sizeof caught / sizeof *caught)

/* Of the signals that came: 1 child, 2 stop, 4 status. */
static volatile sig_atomic_t child, stop, status;

static void note(int signal)
{
    switch (signal) {
    case SIGCHLD:
        child = 1;
        break;
    case SIGUSR1:
        status = 4;
        break;
    default:
        stop = 2;
    }
}

/* The mask during a wait, once signals are caught. */
static sigset_t mask;
static int catching;

u32 IMPORT(catch_signals)(void)
{
    struct sigaction action, before;
    unsigned i;
    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    for (i = 0; i < CAUGHT; i++)
        sigaddset(&action.sa_mask, caught[i]);
    if (sigprocmask(SIG_BLOCK, &action.sa_mask, &mask) < 0)
        return failed();
    for (i = 0; i < CAUGHT; i++) {
        if (sigaction(caught[i], &action, &before) < 0)
            return failed();
        /* nohup's wish. */
        if (caught[i] == SIGHUP && before.sa_handler == SIG_IGN)
            sigaction(SIGHUP, &before, NULL);
        /* A parent may have left it blocked. */
        sigdelset(&mask, caught[i]);
    }
    catching = 1;
    return 0;
}

static struct pollfd polled[WATCHED];
static unsigned watched;

void IMPORT(watch)(u32 fd, u32 interest)
{
    if (watched == WATCHED)
        broken("more descriptors than there may be");
    polled[watched].fd = (int)fd;
    polled[watched].events = (interest & 1 ? POLLIN : 0) | (interest & 2 ? POLLOUT : 0);
    polled[watched++].revents = 0;
}

/* A ready descriptor wins over a pending signal: where one is always ready (a writer who never
 * rests), no signal would ever come. */
static void let_signals_in(void)
{
    sigset_t pending, before;
    unsigned i;
    if (!catching || sigpending(&pending) < 0)
        return;
    for (i = 0; i < CAUGHT; i++)
        if (sigismember(&pending, caught[i]) == 1) {
            sigprocmask(SIG_SETMASK, &mask, &before);
            sigprocmask(SIG_SETMASK, &before, NULL);
            return;
        }
}

/* ppoll and not poll: uClibc's poll on CPUs without that system call never reports a hang-up. */
u32 IMPORT(wait)(u64 deadline, u32 to, u32 room)
{
    u64 now = (u64)clock_of(CLOCK_MONOTONIC);
    u64 left = deadline > now ? deadline - now : 0;
    /* Unsigned, as in the module: a CPU without a division has code for each kind. */
    u64 seconds = left / 1000000000;
    struct timespec time = { seconds < 1 << 30 ? (time_t)seconds : 1 << 30,
                             (long)(left % 1000000000) };
    unsigned char *ready = lend(to, room);
    unsigned i, count = watched;
    int result, came;
    if (room != count)
        broken("a table of another size");
    watched = 0;
    result = ppoll(polled, count, (int64_t)deadline < 0 ? NULL : &time, catching ? &mask : NULL);
    if (result < 0 && errno != EINTR) {
        struct timespec pause = { 0, 50000000 };
        if (errno != ENOMEM && errno != EAGAIN) {
            give_back(to, room);
            return failed();
        }
        /* No memory for the moment, as happens without an MMU: a turn without events. */
        ppoll(NULL, 0, &pause, NULL);
    }
    if (result < 0 ? errno != EINTR : 1)
        let_signals_in();
    for (i = 0; i < count; i++) {
        short trouble = polled[i].revents & (POLLERR | POLLHUP | POLLNVAL);
        /* revents hold nothing after an error. */
        if (result >= 0)
            ready[i] = (polled[i].revents & POLLIN || trouble ? 1 : 0) |
                       (polled[i].revents & POLLOUT || trouble ? 2 : 0);
    }
    give_back(to, room);
    came = child | stop | status;
    child = stop = status = 0;
    return (u32)came;
}
