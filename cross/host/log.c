/* Log lines on stderr, never blocking. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

/* A terminal or pipe opened anew, so that it never blocks us, and goes on blocking those who
 * share it: a serial console takes a line in its own time, or with flow control never. Opened
 * at the start, while root may still do it. */
static int log_fd = 2;

void open_log(void)
{
    struct stat stat;
    int fd;
    if (fstat(2, &stat) < 0 || !(S_ISCHR(stat.st_mode) || S_ISFIFO(stat.st_mode)))
        return;
    fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        log_fd = fd;
}

u32 IMPORT(log)(u32 from, u32 len)
{
    /* A terminal may have taken a part of the line before. */
    static int torn;
    const char *line = lend(from, len);
    /* A socket (a service manager's): poll would not tell whether all of it fits. */
    ssize_t written = send(log_fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written < 0 && errno == ENOTSOCK) {
        /* Where it is still everyone's: a pipe is writable when PIPE_BUF bytes fit. */
        if (look(log_fd, POLLOUT) & POLLOUT && (!torn || write(log_fd, "\n", 1) == 1)) {
            written = write(log_fd, line, len);
            torn = written > 0 && (u32)written < len;
        }
    }
    give_back(from, len);
    return written == (ssize_t)len;
}
