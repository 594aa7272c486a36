/* A library that stands before libc's calloc (LD_PRELOAD): notes, as a line each in the file that
 * LARGE names, what is asked for that is as large as a hand-off record.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_calloc(size_t, size_t);

void *calloc(size_t count, size_t size) {
    const char *name = getenv("LARGE");
    if (count * size == 16384 && name) {
        int fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (write(fd, "16384\n", 6) != 6)
            _exit(1);
        close(fd);
    }
    return __libc_calloc(count, size);
}
