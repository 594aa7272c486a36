/* Pipes that others have open too, and can make blocking at any moment: bytes go through a pipe of
 * our own by splice(2), which can be told at each call not to wait. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "host.h"

/* POSIX's PIPE_BUF is Linux's page. */
enum { WHOLE = 4096 };

/* Before Linux 2.6.17, and in emulators. Between the look and the call somebody may take what is
 * there, or fill the pipe. */
static ssize_t look_and_read(int fd, char *bytes, size_t len)
{
    errno = EAGAIN;
    return look(fd, POLLIN) ? read(fd, bytes, len) : -1;
}

static ssize_t look_and_write(int fd, const char *bytes, size_t len)
{
    errno = EAGAIN;
    return look(fd, POLLOUT) ? write(fd, bytes, len) : -1;
}

#ifdef SPLICE_F_NONBLOCK
/* Our own pipe, empty between calls. */
static const int *transit(void)
{
    static int ends[2] = { -1, -1 };
    return ends[0] >= 0 || pipe2(ends, O_CLOEXEC) == 0 ? ends : NULL;
}

ssize_t read_pipe(int fd, char *bytes, size_t len)
{
    const int *own = transit();
    ssize_t count = -1;
    errno = ENOSYS;
    if (own)
        count = splice(fd, NULL, own[1], NULL, len < WHOLE ? len : WHOLE, SPLICE_F_NONBLOCK);
    if (count < 0 && (errno == ENOSYS || errno == EINVAL))
        return look_and_read(fd, bytes, len);
    /* They are there: this does not wait. */
    return count > 0 ? read(own[0], bytes, (size_t)count) : count;
}

ssize_t write_pipe(int fd, const char *bytes, size_t len)
{
    static char rest[WHOLE];
    const int *own = transit();
    ssize_t waiting, count;
    int error;
    if (len > WHOLE)
        len = WHOLE;
    if (!own)
        return look_and_write(fd, bytes, len);
    /* An empty pipe has room for that much. */
    waiting = write(own[1], bytes, len);
    if (waiting < 0)
        return -1;
    count = splice(own[0], NULL, fd, NULL, (size_t)waiting, SPLICE_F_NONBLOCK);
    error = errno;
    waiting -= count > 0 ? count : 0;
    while (waiting > 0) {
        ssize_t gone = read(own[0], rest, (size_t)waiting);
        if (gone <= 0)
            broken("our own pipe does not give back what it took");
        waiting -= gone;
    }
    errno = error;
    if (count < 0 && (error == ENOSYS || error == EINVAL))
        return look_and_write(fd, bytes, len);
    return count;
}
#else
ssize_t read_pipe(int fd, char *bytes, size_t len)
{
    return look_and_read(fd, bytes, len);
}

ssize_t write_pipe(int fd, const char *bytes, size_t len)
{
    return look_and_write(fd, bytes, len < WHOLE ? len : WHOLE);
}
#endif
