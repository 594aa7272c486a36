/* Sockets, and descriptors that came from elsewhere. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "host.h"

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

/* Of src/limits.rs. */
#define BACKLOG 64

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
        bind(fd, &name.any, len == 4 ? sizeof name.v4 : sizeof name.v6) < 0 ||
        listen(fd, BACKLOG) < 0)
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
        listen(fd, BACKLOG) < 0)
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
