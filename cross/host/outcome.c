/* What a call comes to, as the module is told: a number, an error, or bytes in its memory. */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "host.h"

/* The order of ERRORS in src/sys/wasm. */
enum { OTHER = 1, WOULD_BLOCK, NOT_FOUND, EXISTS, IN_USE, NOT_CONNECTED, REFUSED, ABORTED };

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
