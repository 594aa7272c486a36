/* This process: clock, chance, limits, user. */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

int64_t clock_of(clockid_t clock)
{
    struct timespec time = { 0, 0 };
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

u64 IMPORT(now)(void)
{
    return (u64)clock_of(CLOCK_MONOTONIC);
}

/* urandom, clocks and pid: boards have little entropy when they boot. */
u32 IMPORT(seed)(u32 to, u32 room)
{
    struct {
        unsigned char urandom[16];
        int64_t clocks[2];
        uint32_t pid;
    } seed;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    memset(&seed, 0, sizeof seed);
    if (fd >= 0) {
        if (read(fd, seed.urandom, sizeof seed.urandom) < 0)
            seed.urandom[0] = 0;
        close(fd);
    }
    seed.clocks[0] = clock_of(CLOCK_REALTIME);
    seed.clocks[1] = clock_of(CLOCK_MONOTONIC);
    seed.pid = (uint32_t)getpid();
    return give_bytes(to, room, &seed, sizeof seed);
}

u32 IMPORT(pid)(void)
{
    return (u32)getpid();
}

u32 IMPORT(descriptor_limit)(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return failed();
    return limit.rlim_cur > WATCHED ? WATCHED : (u32)limit.rlim_cur;
}

u32 IMPORT(memory_limit)(void)
{
    return module_room();
}

u32 IMPORT(current_dir)(u32 to, u32 room)
{
    const char *path = getcwd(lend(to, room), room);
    /* How much it takes is not told: the module asks again, with twice the room. */
    u32 len = path ? (u32)strlen(path) : errno == ERANGE ? 2 * room : failed();
    give_back(to, room);
    return len;
}

/* A whole decimal number. */
static int number(const char *text, unsigned long *value)
{
    char *end;
    if (*text < '0' || *text > '9')
        return 0;
    *value = strtoul(text, &end, 10);
    return *end == 0;
}

/* The files are read without getpwnam and getgrnam, which a static glibc cannot serve. A
 * number need not stand in /etc/passwd; its group is then the same number. */
u64 IMPORT(user)(u32 at, u32 len)
{
    const char *name = borrow_path(at, len);
    unsigned long uid = 0;
    int numeric = number(name, &uid);
    FILE *file = fopen("/etc/passwd", "re");
    struct passwd *entry = NULL;
    uint64_t found = numeric ? (uint64_t)uid << 32 | uid : UINT64_MAX;
    while (file && (entry = fgetpwent(file)))
        if (numeric ? entry->pw_uid == uid : strcmp(entry->pw_name, name) == 0)
            break;
    if (entry)
        found = (uint64_t)entry->pw_uid << 32 | entry->pw_gid;
    if (file)
        fclose(file);
    give_back(at, len);
    return found;
}

u64 IMPORT(group)(u32 at, u32 len)
{
    const char *name = borrow_path(at, len);
    unsigned long gid;
    uint64_t found = UINT64_MAX;
    if (number(name, &gid)) {
        found = gid;
    } else {
        FILE *file = fopen("/etc/group", "re");
        struct group *entry = NULL;
        while (file && (entry = fgetgrent(file)) && strcmp(entry->gr_name, name) != 0)
            ;
        if (entry)
            found = entry->gr_gid;
        if (file)
            fclose(file);
    }
    give_back(at, len);
    return found;
}

u64 IMPORT(identity)(void)
{
    return (uint64_t)geteuid() << 32 | getegid();
}

u32 IMPORT(become_user)(u32 uid, u32 gid)
{
    gid_t group = gid;
    if ((geteuid() == 0 && setgroups(1, &group) < 0) || setgid(gid) < 0 || setuid(uid) < 0)
        return failed();
    /* A setuid that reports success and leaves a way back has been seen. */
    if (getuid() != uid || geteuid() != uid || getgid() != gid || getegid() != gid ||
        (uid != 0 && setuid(0) == 0))
        return failed_with(EPERM);
#ifdef PR_SET_NO_NEW_PRIVS
    /* For good means its programs too: none of them gets more by sudo or a set-id bit. Linux
     * before 3.5 does not know it. */
    if (uid != 0)
        prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L);
#endif
    return 0;
}
