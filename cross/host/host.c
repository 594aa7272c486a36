/* The start, errors, what is lent and given to the module, and bytes. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "host.h"

/* The order of ERRORS in src/sys/wasm. */
enum { OTHER = 1, WOULD_BLOCK, NOT_FOUND, EXISTS, IN_USE, NOT_CONNECTED, REFUSED, ABORTED };

static int arguments;
static char **argument;
extern char **environ;

/* For IMPORT(error_text): errno of the last call that failed. */
static int last_error;

u32 failed(void)
{
    last_error = errno;
    switch (errno) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        return -WOULD_BLOCK;
    case ENOENT:
        return -NOT_FOUND;
    case EEXIST:
        return -EXISTS;
    case EADDRINUSE:
        return -IN_USE;
    case ENOTCONN:
        return -NOT_CONNECTED;
    case ECONNREFUSED:
        return -REFUSED;
    case ECONNABORTED:
        return -ABORTED;
    default:
        return -OTHER;
    }
}

u32 failed_with(int error)
{
    errno = error;
    return failed();
}

u32 outcome(long result)
{
    return result < 0 ? failed() : (u32)result;
}

u32 give_up(int fd)
{
    int error = errno;
    close(fd);
    return failed_with(error);
}

const char *borrow_path(u32 at, u32 len)
{
    const char *path = lend(at, len);
    if (len == 0 || path[len - 1] != 0)
        broken("a path without its NUL");
    return path;
}

u32 give_bytes(u32 at, u32 room, const void *bytes, size_t len)
{
    memcpy(lend(at, room), bytes, len < room ? len : room);
    give_back(at, room);
    return (u32)len;
}

void give_words(u32 at, u32 room, const uint64_t *words, unsigned count)
{
    unsigned char *to = lend(at, room);
    unsigned i;
    if (room != 8 * count)
        broken("a result of another size");
    for (i = 0; i < room; i++)
        to[i] = (unsigned char)(words[i / 8] >> i % 8 * 8);
    give_back(at, room);
}

u32 IMPORT(argument)(u32 index, u32 to, u32 room)
{
    if (index >= (u32)arguments)
        return -NOT_FOUND;
    return give_bytes(to, room, argument[index], strlen(argument[index]));
}

u32 IMPORT(variable)(u32 index, u32 to, u32 room)
{
    if (!environ || !environ[index])
        return -NOT_FOUND;
    return give_bytes(to, room, environ[index], strlen(environ[index]));
}

/* A text and a number behind it; printf would be the largest part of a small libc. */
static void append(char *text, size_t room, const char *more, int number)
{
    char digits[12], *at = digits + sizeof digits - 1;
    *at = 0;
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    strncat(text, more, room - strlen(text) - 1);
    strncat(text, at, room - strlen(text) - 1);
}

u32 IMPORT(error_text)(u32 to, u32 room)
{
    char text[96] = "";
    strncat(text, strerror(last_error), sizeof text - 1);
    /* As Rust says it. */
    append(text, sizeof text - 1, " (os error ", last_error);
    strcat(text, ")");
    return give_bytes(to, room, text, strlen(text) < room ? strlen(text) : room);
}

u32 IMPORT(read)(u32 fd, u32 to, u32 room)
{
    u32 count = outcome(read((int)fd, lend(to, room), room));
    give_back(to, room);
    return count;
}

u32 IMPORT(write)(u32 fd, u32 from, u32 len)
{
    u32 count = outcome(write((int)fd, lend(from, len), len));
    give_back(from, len);
    return count;
}

u32 IMPORT(pending)(u32 fd)
{
    int count = 0;
    return ioctl((int)fd, FIONREAD, &count) < 0 ? failed() : (u32)count;
}

void IMPORT(close)(u32 fd)
{
    close((int)fd);
}

/* Occupies descriptors 0 to 2 where a parent left one closed (uClinux boa closes 0), so that
 * nothing we open lands there. */
static int occupy_standard_descriptors(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR | O_CLOEXEC)) <= 2)
        if (fd < 0)
            return -1;
    return close(fd);
}

int main(int argc, char **argv)
{
    arguments = argc;
    argument = argv;
    if (occupy_standard_descriptors() < 0) {
        static const char why[] = "ws2cgi: cannot start: /dev/null cannot be opened\n";
        return write(2, why, sizeof why - 1) < 0 ? 112 : 111;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    open_log();
    return start_module();
}
