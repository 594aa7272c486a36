/* Stands in the place of a Blackfin program where the host is to execute it, and has the simulator
 * run it with all that the host's kernel gave: arguments, the name it was called by among them,
 * environment, descriptors. SIMULATOR and PROGRAM are paths, compiled in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv) {
    char *first[] = {SIMULATOR, "--environment=user", "--argv0", argv[0], "--", PROGRAM};
    enum { FIRST = sizeof first / sizeof *first };
    char **all = calloc(FIRST + (size_t)argc, sizeof *all);
    if (!all || argc < 1)
        return 111;
    memcpy(all, first, sizeof first);
    memcpy(all + FIRST, argv + 1, (size_t)(argc - 1) * sizeof *all);
    execve(SIMULATOR, all, environ);
    perror(SIMULATOR);
    return 127;
}
