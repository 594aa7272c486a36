/* Files, and descriptors that this process was started with. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

int close_on_exec(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

u32 IMPORT(inherited)(u32 number)
{
    return outcome(fcntl((int)number, F_DUPFD_CLOEXEC, 3));
}

u32 IMPORT(take_inherited)(u32 number)
{
    int fd = (int)number, flags = fcntl(fd, F_GETFD);
    if (flags < 0)
        return failed();
    /* It has not come through an exec: it is one of our own. */
    if (flags & FD_CLOEXEC)
        return failed_with(EBADF);
    return close_on_exec(fd) < 0 ? failed() : number;
}

static u32 give_stat(int result, const struct stat *stat, u32 to, u32 room)
{
    uint64_t words[7];
    if (result < 0)
        return failed();
    words[0] = S_ISREG(stat->st_mode)    ? 1
               : S_ISDIR(stat->st_mode)  ? 2
               : S_ISFIFO(stat->st_mode) ? 3
               : S_ISSOCK(stat->st_mode) ? 4
               : S_ISLNK(stat->st_mode)  ? 5
                                         : 6;
    words[1] = (uint64_t)stat->st_size;
    words[2] = stat->st_nlink;
    words[3] = stat->st_dev;
    words[4] = stat->st_ino;
    words[5] = (uint64_t)stat->st_ctime;
    words[6] = stat->st_uid == 0 && (!(stat->st_mode & 022) || stat->st_mode & S_ISVTX);
    give_words(to, room, words, 7);
    return 0;
}

u32 IMPORT(stat)(u32 at, u32 len, u32 to, u32 room)
{
    struct stat about;
    int result = stat(borrow_path(at, len), &about);
    give_back(at, len);
    return give_stat(result, &about, to, room);
}

u32 IMPORT(lstat)(u32 at, u32 len, u32 to, u32 room)
{
    struct stat about;
    int result = lstat(borrow_path(at, len), &about);
    give_back(at, len);
    return give_stat(result, &about, to, room);
}

u32 IMPORT(fstat)(u32 fd, u32 to, u32 room)
{
    struct stat about;
    return give_stat(fstat((int)fd, &about), &about, to, room);
}

u32 IMPORT(executable)(u32 at, u32 len)
{
    u32 yes = access(borrow_path(at, len), X_OK) == 0;
    give_back(at, len);
    return yes;
}

/* NAMES of src/limits.rs. */
#define NAMES 256

/* The names, each with its NUL. */
u32 IMPORT(list)(u32 at, u32 len, u32 to, u32 room)
{
    DIR *folder = opendir(borrow_path(at, len));
    struct dirent *entry;
    u32 needed = 0;
    int count = 0;
    char *names;
    give_back(at, len);
    if (!folder)
        return failed();
    names = lend(to, room);
    while (count < NAMES && (entry = readdir(folder))) {
        size_t size = strlen(entry->d_name) + 1;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (needed + size <= room)
            memcpy(names + needed, entry->d_name, size);
        needed += (u32)size;
        count++;
    }
    give_back(to, room);
    closedir(folder);
    return needed;
}

u32 IMPORT(make_dir)(u32 at, u32 len)
{
    u32 result = outcome(mkdir(borrow_path(at, len), 0700));
    give_back(at, len);
    return result;
}

u32 IMPORT(make_fifo)(u32 at, u32 len)
{
    u32 result = outcome(mkfifo(borrow_path(at, len), 0600));
    give_back(at, len);
    return result;
}

u32 IMPORT(set_access)(u32 fd, u32 change_owner, u32 uid, u32 gid, u32 mode)
{
    if (change_owner && fchown((int)fd, uid, gid) < 0)
        return failed();
    /* After the owner: chown clears the set-id bits. */
    return outcome(fchmod((int)fd, mode));
}

u32 IMPORT(give)(u32 at, u32 len, u32 uid, u32 gid)
{
    u32 result = outcome(lchown(borrow_path(at, len), uid, gid));
    give_back(at, len);
    return result;
}

u32 IMPORT(unlink)(u32 at, u32 len)
{
    u32 result = outcome(unlink(borrow_path(at, len)));
    give_back(at, len);
    return result;
}

u32 IMPORT(rename)(u32 from, u32 from_len, u32 to, u32 to_len)
{
    u32 result = outcome(rename(borrow_path(from, from_len), borrow_path(to, to_len)));
    give_back(from, from_len);
    give_back(to, to_len);
    return result;
}

u32 IMPORT(open)(u32 at, u32 len, u32 how, u32 mode)
{
    /* In the order of src/sys/wasm. */
    static const int flags[] = {
        O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
        O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
        O_RDWR | O_NOFOLLOW | O_NONBLOCK,
        O_WRONLY | O_NONBLOCK,
        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
    };
    enum { FIFO_WRITER = 3 };
    int fd;
    if (how >= sizeof flags / sizeof *flags)
        broken("an unknown way to open");
    fd = open(borrow_path(at, len), flags[how] | O_CLOEXEC, (mode_t)mode);
    give_back(at, len);
    if (fd < 0)
        return errno == ENXIO && how == FIFO_WRITER ? failed_with(ENOTCONN) : failed();
    /* It did not wait for a reader; from now on it waits for room. */
    if (how == FIFO_WRITER && fcntl(fd, F_SETFL, 0) < 0)
        return give_up(fd);
    return (u32)fd;
}

u32 IMPORT(lock)(u32 fd)
{
    if (flock((int)fd, LOCK_EX | LOCK_NB) == 0)
        return 1;
    return errno == EWOULDBLOCK ? 0 : failed();
}
