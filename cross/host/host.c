/* The start, and bytes from and to any descriptor. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "host.h"

static int arguments;
static char **argument;
extern char **environ;

u32 IMPORT(argument)(u32 index, u32 to, u32 room)
{
    if (index >= (u32)arguments)
        return failed_with(ENOENT);
    return give_bytes(to, room, argument[index], strlen(argument[index]));
}

u32 IMPORT(variable)(u32 index, u32 to, u32 room)
{
    if (!environ || !environ[index])
        return failed_with(ENOENT);
    return give_bytes(to, room, environ[index], strlen(environ[index]));
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
