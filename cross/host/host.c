/* The start, errors, what is lent and given to the module, and bytes. */

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
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

/* ---- Files */

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
    uint64_t words[6];
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
    words[5] = stat->st_uid == 0 && (!(stat->st_mode & 022) || stat->st_mode & S_ISVTX);
    give_words(to, room, words, 6);
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

/* ---- Pipes */

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

static ssize_t read_pipe(int fd, char *bytes, size_t len)
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

static ssize_t write_pipe(int fd, const char *bytes, size_t len)
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
static ssize_t read_pipe(int fd, char *bytes, size_t len)
{
    return look_and_read(fd, bytes, len);
}

static ssize_t write_pipe(int fd, const char *bytes, size_t len)
{
    return look_and_write(fd, bytes, len < WHOLE ? len : WHOLE);
}
#endif

/* ---- Sockets */

/* Two calls more than SOCK_CLOEXEC and accept4, which old kernels do not have. */
static int fit_for_the_loop(int fd)
{
    if (close_on_exec(fd) == 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0)
        return fd;
    close(fd);
    return -1;
}

static int new_socket(int family, int type)
{
    int fd = socket(family, type, 0);
    return fd < 0 ? fd : fit_for_the_loop(fd);
}

u32 IMPORT(recv)(u32 fd, u32 to, u32 room)
{
    char *bytes = lend(to, room);
    ssize_t count = recv((int)fd, bytes, room, MSG_DONTWAIT);
    if (count < 0 && errno == ENOTSOCK)
        count = read_pipe((int)fd, bytes, room);
    give_back(to, room);
    return outcome(count);
}

u32 IMPORT(send)(u32 fd, u32 from, u32 len)
{
    const char *bytes = lend(from, len);
    ssize_t count = send((int)fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == ENOTSOCK)
        count = write_pipe((int)fd, bytes, len);
    give_back(from, len);
    return outcome(count);
}

union name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un path;
};

u32 IMPORT(listen_tcp)(u32 at, u32 len, u32 port)
{
    union name name;
    int fd, one = 1;
    memset(&name, 0, sizeof name);
    if (len == 4) {
        name.v4.sin_family = AF_INET;
        name.v4.sin_port = htons((uint16_t)port);
        memcpy(&name.v4.sin_addr, lend(at, len), 4);
    } else if (len == 16) {
        name.v6.sin6_family = AF_INET6;
        name.v6.sin6_port = htons((uint16_t)port);
        memcpy(&name.v6.sin6_addr, lend(at, len), 16);
    } else {
        broken("an address of another size");
    }
    give_back(at, len);
    fd = new_socket(name.any.sa_family, SOCK_STREAM);
    if (fd < 0)
        return failed();
    /* A restart must not wait for the old connections' TIME_WAIT. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, &name.any, len == 4 ? sizeof name.v4 : sizeof name.v6) < 0 || listen(fd, 64) < 0)
        return give_up(fd);
    return (u32)fd;
}

/* The name of a socket in the file system; -1: too long. */
static int path_name(union name *name, u32 at, u32 len)
{
    const char *path = borrow_path(at, len);
    int fits = len <= sizeof name->path.sun_path;
    memset(name, 0, sizeof *name);
    name->path.sun_family = AF_UNIX;
    if (fits)
        memcpy(name->path.sun_path, path, len);
    give_back(at, len);
    errno = ENAMETOOLONG;
    return fits ? 0 : -1;
}

/* Mode 0660 from the moment it is there. */
static int bind_path(int fd, const union name *name)
{
    mode_t before = umask(0117);
    int result = bind(fd, &name->any, sizeof name->path), error = errno;
    umask(before);
    errno = error;
    return result;
}

/* Whether a socket is there that nobody listens at any more. */
static int abandoned(const union name *name)
{
    struct stat stat;
    int probe, refused;
    /* A regular file would refuse a connection too. */
    if (lstat(name->path.sun_path, &stat) < 0 || !S_ISSOCK(stat.st_mode))
        return 0;
    probe = new_socket(AF_UNIX, SOCK_STREAM);
    if (probe < 0)
        return 0;
    refused = connect(probe, &name->any, sizeof name->path) < 0 && errno == ECONNREFUSED;
    close(probe);
    return refused;
}

u32 IMPORT(listen_unix)(u32 at, u32 len)
{
    union name name;
    int fd;
    if (path_name(&name, at, len) < 0)
        return failed();
    fd = new_socket(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return failed();
    if ((abandoned(&name) && unlink(name.path.sun_path) < 0) || bind_path(fd, &name) < 0 ||
        listen(fd, 64) < 0)
        return give_up(fd);
    return (u32)fd;
}

u32 IMPORT(accept)(u32 listener)
{
    int fd = accept((int)listener, NULL, NULL);
    return fd < 0 || close_on_exec(fd) < 0 ? failed() : (u32)fd;
}

enum { NEITHER, STREAM, UNCONNECTED, PIPE_READER, PIPE_WRITER, FILE_ };

/* What a descriptor is, and, where it is a stream socket, its names. */
static int kind_of(int fd, union name *remote, union name *local)
{
    struct stat stat;
    if (fstat(fd, &stat) < 0)
        return -1;
    if (S_ISFIFO(stat.st_mode))
        switch (fcntl(fd, F_GETFL) & O_ACCMODE) {
        case O_RDONLY:
            return PIPE_READER;
        case O_WRONLY:
            return PIPE_WRITER;
        }
    if (S_ISSOCK(stat.st_mode)) {
        int type = 0;
        socklen_t size = sizeof type, remote_size = sizeof *remote, local_size = sizeof *local;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
            return -1;
        if (type != SOCK_STREAM)
            return NEITHER;
        if (getpeername(fd, &remote->any, &remote_size) < 0)
            return UNCONNECTED;
        if (getsockname(fd, &local->any, &local_size) < 0)
            local->any.sa_family = AF_UNSPEC;
        return STREAM;
    }
    return S_ISREG(stat.st_mode) ? FILE_ : NEITHER;
}

/* As src/sys/wasm reads it: 4 or 6, the port, the address. */
static void put_name(unsigned char *to, const union name *name)
{
    if (name->any.sa_family == AF_INET) {
        to[0] = 4;
        memcpy(to + 1, &name->v4.sin_port, 2);
        memcpy(to + 3, &name->v4.sin_addr, 4);
    } else if (name->any.sa_family == AF_INET6) {
        to[0] = 6;
        memcpy(to + 1, &name->v6.sin6_port, 2);
        memcpy(to + 3, &name->v6.sin6_addr, 16);
    }
}

u32 IMPORT(kind)(u32 fd, u32 to, u32 room)
{
    union name remote, local;
    unsigned char names[2 * 19];
    int kind = kind_of((int)fd, &remote, &local);
    if (kind < 0)
        return failed();
    memset(names, 0, sizeof names);
    if (kind == STREAM) {
        put_name(names, &remote);
        put_name(names + 19, &local);
    }
    give_bytes(to, room, names, sizeof names);
    return (u32)kind;
}

u32 IMPORT(adopt)(u32 number)
{
    union name remote, local;
    int fd = (int)number, one = 1;
    if (close_on_exec(fd) < 0)
        return failed();
    switch (kind_of(fd, &remote, &local)) {
    case -1:
        return failed();
    case STREAM:
        /* An event's answer is one small segment; waiting for more costs 40 ms. */
        if (remote.any.sa_family != AF_UNIX)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        break;
    case PIPE_READER:
    case PIPE_WRITER:
        /* recv and send do not wait, whoever has them open. */
    default:
        return number;
    }
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ? failed() : number;
}

void IMPORT(shutdown)(u32 fd, u32 both)
{
    /* Fails only where the peer has ended it already. */
    shutdown((int)fd, both ? SHUT_RDWR : SHUT_WR);
}

void IMPORT(before_close)(u32 fd, u32 reset)
{
    struct linger linger = { reset != 0, 0 };
    /* It fails for no connected socket, and a reset one needs nothing. */
    setsockopt((int)fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

u32 IMPORT(bind_handoff)(u32 at, u32 len)
{
    union name name;
    int fd, one = 1;
    if (path_name(&name, at, len) < 0)
        return failed();
    fd = new_socket(AF_UNIX, SOCK_DGRAM);
    if (fd < 0)
        return failed();
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof one) < 0 || bind_path(fd, &name) < 0)
        return give_up(fd);
    return (u32)fd;
}

/* Room for more descriptors than are legal, so that a wrong sender's are seen, and closed:
 * HANDOFF_DESCRIPTORS of src/limits.rs. */
#define DESCRIPTORS 8

u32 IMPORT(receive_handoff)(u32 fd, u32 to, u32 room, u32 about, u32 about_room)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(DESCRIPTORS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    /* Cut off or not, the sender's user, how many descriptors, the descriptors. */
    uint64_t words[3 + DESCRIPTORS];
    struct iovec bytes = { lend(to, room), room };
    struct msghdr message;
    struct cmsghdr *header;
    ssize_t len;
    memset(&message, 0, sizeof message);
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    len = recvmsg((int)fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    give_back(to, room);
    if (len < 0)
        return failed();
    memset(words, 0, sizeof words);
    words[0] = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    words[1] = UINT64_MAX;
    for (header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        size_t size = header->cmsg_len - CMSG_LEN(0), i;
        if (header->cmsg_level != SOL_SOCKET)
            continue;
        if (header->cmsg_type == SCM_RIGHTS)
            for (i = 0; i < size / sizeof(int) && words[2] < DESCRIPTORS; i++) {
                int received;
                memcpy(&received, CMSG_DATA(header) + i * sizeof received, sizeof received);
                /* A kernel that does not know MSG_CMSG_CLOEXEC ignores it. */
                close_on_exec(received);
                words[3 + words[2]++] = (uint64_t)received;
            }
        if (header->cmsg_type == SCM_CREDENTIALS && size >= sizeof(struct ucred)) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(header), sizeof sender);
            words[1] = sender.uid;
        }
    }
    give_words(about, about_room, words, 3 + DESCRIPTORS);
    return (u32)len;
}

u32 IMPORT(send_handoff)(u32 at, u32 at_len, u32 from, u32 len, u32 fds, u32 fds_len)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control;
    union name name;
    struct iovec bytes;
    struct msghdr message;
    u32 result;
    int fd;
    if (fds_len > DESCRIPTORS * 4)
        broken("too many descriptors");
    if (path_name(&name, at, at_len) < 0)
        return failed();
    fd = new_socket(AF_UNIX, SOCK_DGRAM);
    if (fd < 0)
        return failed();
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    bytes.iov_base = lend(from, len);
    bytes.iov_len = len;
    message.msg_name = &name.path;
    message.msg_namelen = sizeof name.path;
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    if (fds_len > 0) {
        const unsigned char *number = lend(fds, fds_len);
        unsigned i, count = fds_len / 4;
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        for (i = 0; i < count; i++, number += 4) {
            int sent = (int)(number[0] | (u32)number[1] << 8 | (u32)number[2] << 16 |
                             (u32)number[3] << 24);
            memcpy(CMSG_DATA(&control.header) + i * sizeof sent, &sent, sizeof sent);
        }
        give_back(fds, fds_len);
    }
    result = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? failed() : 0;
    give_back(from, len);
    close(fd);
    return result;
}

/* ---- Children */

/* Descriptors that a careless parent left open to us are not for our programs: one that
 * outlives its event would hold a stranger's pipe open. */
static void keep_inherited_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    int fd;
    while (folder && (entry = readdir(folder)))
        if ((fd = atoi(entry->d_name)) > 2)
            close_on_exec(fd);
    if (folder)
        closedir(folder);
    else
        /* Without /proc: what a shell can open by number, and some more. */
        for (fd = 3; fd < 256; fd++)
            close_on_exec(fd);
}

/* Everything the child needs, made beforehand: it runs in our memory, and on our stack. */
struct image {
    const char *path, *folder;
    char **argv, **envp;
    int stdio[3];
    pid_t parent;
};

/* The child's whole life in our memory. Async-signal-safe calls only. */
static void become_program(const struct image *image)
{
    const char *why = "cannot be executed\n";
    struct sigaction action;
    sigset_t none;
    int i;
    /* Handlers first, then the mask: with it open, a handler could run. All of them: a shell
     * that starts us in the background ignores SIGINT and SIGQUIT for good, nohup SIGHUP.
     * SIGKILL and SIGSTOP fail, and need nothing; nobody ignores real-time signals for others. */
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    for (i = 1; i <= 31; i++)
        sigaction(i, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    /* Nobody would end or hear it once the daemon is killed. It may have been before. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != image->parent)
        _exit(127);
    /* The pipes' numbers are above 2, as 0 to 2 are always taken. */
    for (i = 0; i < 3; i++)
        if (dup2(image->stdio[i], i) < 0)
            _exit(127);
    if (chdir(image->folder) == 0)
        execve(image->path, image->argv, image->envp);
    switch (errno) {
    case ENOENT:
        why = "cannot be executed: it, or the interpreter it names, is missing\n";
        break;
    case EACCES:
        why = "cannot be executed: permission denied\n";
        break;
    case ENOEXEC:
        why = "cannot be executed: not a program for this machine\n";
        break;
    case ENOMEM:
        why = "cannot be executed: not enough memory\n";
        break;
    case E2BIG:
        why = "cannot be executed: its environment is too large\n";
        break;
    }
    if (write(2, why, strlen(why)) < 0)
        _exit(126);
    _exit(127);
}

/* vfork in a function of its own: the child must not return from the frame it was made in,
 * nor change what the parent goes on to read. */
static pid_t launch(const struct image *image)
{
    sigset_t all, before;
    pid_t pid;
    /* A handler that ran in the child would act on our memory: none may. */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid = vfork();
    if (pid == 0)
        become_program(image);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

/* The strings of an environment block, each with its NUL. */
static char **strings_of(char *block, u32 len)
{
    char **strings, *at;
    size_t count = 0;
    if (len > 0 && block[len - 1] != 0)
        broken("a variable without its NUL");
    for (at = block; at < block + len; at += strlen(at) + 1)
        count++;
    strings = calloc(count + 1, sizeof *strings);
    count = 0;
    for (at = block; strings && at < block + len; at += strlen(at) + 1)
        strings[count++] = at;
    return strings;
}

/* The folder of an absolute path. */
static char *folder_of(const char *path)
{
    char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash)
        slash[slash == folder] = 0;
    return folder;
}

static int new_pipe(int ends[2], int ours)
{
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    return fcntl(ends[ours], F_SETFL, O_NONBLOCK);
}

static void close_pipe(const int ends[2])
{
    if (ends[0] >= 0)
        close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
}

u32 IMPORT(spawn)(u32 at, u32 at_len, u32 env, u32 env_len, u32 want_stdin, u32 to, u32 room)
{
    static int null = -1;
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
    const char *path = borrow_path(at, at_len);
    char *argv[2] = { (char *)path, NULL }, *folder = folder_of(path);
    char **envp = strings_of(lend(env, env_len), env_len);
    pid_t pid = -1;
    int error;
    if (null < 0) {
        null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        keep_inherited_descriptors();
    }
    errno = ENOMEM;
    if (envp && folder && (!want_stdin || new_pipe(in, 1) == 0) && new_pipe(out, 0) == 0 &&
        new_pipe(err, 0) == 0) {
        struct image image = { path, folder, argv, envp, { want_stdin ? in[0] : null, out[1],
                                                           err[1] }, getpid() };
        pid = launch(&image);
    }
    error = errno;
    free(folder);
    free(envp);
    give_back(env, env_len);
    give_back(at, at_len);
    if (pid < 0) {
        close_pipe(in);
        close_pipe(out);
        close_pipe(err);
        return failed_with(error);
    } else {
        uint64_t ours[3];
        ours[0] = (uint64_t)in[1];
        ours[1] = (uint64_t)out[0];
        ours[2] = (uint64_t)err[0];
        give_words(to, room, ours, 3);
        if (want_stdin)
            close(in[0]);
        close(out[1]);
        close(err[1]);
        return (u32)pid;
    }
}

u32 IMPORT(exited)(u32 pid)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    /* WNOWAIT: the zombie keeps the group's number taken until all of the group is killed. An
     * error (ECHILD) can only mean that it is gone. */
    return waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != 0;
}

void IMPORT(kill)(u32 pid, u32 hard)
{
    int signal = hard ? SIGKILL : SIGTERM;
    kill(-(pid_t)pid, signal);
    /* It may have moved itself to another group, and left others in this one. */
    kill((pid_t)pid, signal);
}

u32 IMPORT(reap)(u32 pid)
{
    int status = 0;
    while (waitpid((pid_t)pid, &status, 0) < 0)
        if (errno != EINTR)
            /* Someone made SIGCHLD ignored: the status is lost, the child is not. */
            return 255;
    return WIFSIGNALED(status) ? 256 + (u32)WTERMSIG(status) : (u32)WEXITSTATUS(status);
}

/* ---- The start */

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
