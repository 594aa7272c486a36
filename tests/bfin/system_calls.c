/* What a daemon needs of Linux, asked for call by call. `make test-bfin` runs this as a Blackfin
 * program on the simulator, whose system calls are ours (sim/linux-user.h), and first on the host,
 * so that nothing is demanded here that Linux does not do.
 *
 *     system_calls       in an empty folder; prints what does not hold, and how many checks did
 *
 * With an argument it is a child of its own, and does what the argument says. It never forks.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static char *self;
static int checks, failures;
static volatile int failed_with; /* why a child could not exec: it shares our memory */

#define CHECK(what) check(what, #what, __LINE__)
#define FAILS(call, error) (errno = 0, (call) == -1 && errno == (error))
#define BAD ((void *)-4096) /* no memory is there, on either; */
#define NOWHERE 0x7900000   /* nor there: on Blackfin between the stack and what else there is */

static int check(int holds, const char *what, int line) {
    checks++;
    if (!holds) {
        failures++;
        printf("line %d: %s; errno %d (%s)\n", line, what, errno, strerror(errno));
        fflush(stdout);
    }
    return holds;
}

static void nap(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, 0);
}

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* ---- Children ------------------------------------------------------------------------------- */

/* Starts a program with these descriptors as 0 to 2 (-1: ours), in a process group of its own if
   `group` is 0, in that one if it is above. */
static pid_t start(const char *path, char *const *argv, char *const *envp, const int *stdio,
                   pid_t group) {
    pid_t pid = vfork();
    if (pid == 0) {
        if (group >= 0)
            setpgid(0, group);
        for (int i = 0; i < 3; i++)
            if (stdio[i] >= 0)
                dup2(stdio[i], i);
        execve(path, argv, envp);
        failed_with = errno;
        _exit(127);
    }
    return pid;
}

static const int ours[3] = {-1, -1, -1};

/* Starts this program as `mode`, with one more argument. */
static pid_t start_as(const char *mode, const char *argument) {
    char *argv[] = {"child", (char *)mode, (char *)argument, 0};
    return start(self, argv, environ, ours, -1);
}

static int status_of(pid_t pid) {
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static int ends_with(pid_t pid, int code) {
    int status = status_of(pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static int dies_of(pid_t pid, int sig) {
    int status = status_of(pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == sig;
}

static int overflow(int depth) {
    volatile char frame[1024];
    frame[0] = (char)depth;
    return depth > 20000 ? frame[0] : overflow(depth + 1) + frame[0];
}

static int parent_signals(const char *argument) {
    /* A round is a signal, and a byte back for each. */
    char c;
    int rounds = atoi(argument);
    while (rounds--) {
        kill(getppid(), SIGUSR1);
        if (read(0, &c, 1) != 1)
            return 1;
    }
    return 0;
}

static int child(const char *mode, const char *argument) {
    struct sigaction act;
    if (strcmp(mode, "exit") == 0)
        return atoi(argument);
    if (strcmp(mode, "sleep") == 0) {
        nap(atoi(argument));
        return 0;
    }
    if (strcmp(mode, "hang") == 0) {
        for (;;)
            pause();
    }
    if (strcmp(mode, "signal") == 0) { /* the parent, after a while */
        nap(60);
        return kill(getppid(), atoi(argument)) == 0 ? 0 : 1;
    }
    if (strcmp(mode, "rounds") == 0)
        return parent_signals(argument);
    if (strcmp(mode, "raise") == 0) {
        raise(atoi(argument));
        return 0;
    }
    if (strcmp(mode, "ignored") == 0) /* is this signal ignored, and nothing blocked? */
        return sigaction(atoi(argument), 0, &act) == 0 && act.sa_handler == SIG_IGN ? 0 : 1;
    if (strcmp(mode, "lock") == 0) { /* 1: another has it, and it is our parent */
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(argument, O_RDWR);
        if (fcntl(fd, F_SETLK, &lock) == 0)
            return 0;
        return errno == EAGAIN && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_pid == getppid() &&
               lock.l_len == 0 ? 1 : 2;
    }
    if (strcmp(mode, "open") == 0) /* is this descriptor open? */
        return fcntl(atoi(argument), F_GETFD) >= 0 ? 0 : 1;
    if (strcmp(mode, "environment") == 0) {
        printf("%s", argument);
        for (char **e = environ; *e; e++)
            printf("|%s", *e);
        fflush(stdout);
        return 0;
    }
    if (strcmp(mode, "drop") == 0) { /* root gives itself up */
        gid_t group = 65534;
        if (setgroups(1, &group) || setgid(65534) || setuid(65534))
            return 1;
        if (getgroups(0, 0) != 1 || getuid() != 65534 || getegid() != 65534)
            return 2;
        return FAILS(setuid(0), EPERM) ? 0 : 3;
    }
    if (strcmp(mode, "wild") == 0) {
        *(volatile int *)NOWHERE = 1;
        return 0;
    }
    if (strcmp(mode, "overflow") == 0)
        return overflow(0) & 1;
    return 99;
}

/* ---- Files ---------------------------------------------------------------------------------- */

static void files(void) {
    struct stat a, b;
    int fd, other;
    char text[64];

    umask(022);
    CHECK((fd = open("file", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) == 3);
    CHECK(FAILS(open("file", O_RDWR | O_CREAT | O_EXCL, 0666), EEXIST));
    CHECK(write(fd, "0123456789", 10) == 10);
    CHECK(fstat(fd, &a) == 0 && S_ISREG(a.st_mode) && (a.st_mode & 07777) == 0644);
    CHECK(a.st_size == 10 && a.st_nlink == 1 && a.st_uid == geteuid() && a.st_gid == getegid());
    CHECK(a.st_blksize >= 512 && labs((long)(a.st_mtime - time(0))) < 100);
    CHECK(stat("file", &b) == 0 && b.st_ino == a.st_ino && b.st_dev == a.st_dev);
    CHECK(link("file", "second") == 0 && stat("second", &b) == 0 && b.st_nlink == 2);
    CHECK(symlink("file", "link") == 0 && lstat("link", &b) == 0 && S_ISLNK(b.st_mode));
    CHECK(readlink("link", text, sizeof text) == 4 && memcmp(text, "file", 4) == 0);
    CHECK(FAILS(open("link", O_RDONLY | O_NOFOLLOW), ELOOP));
    CHECK(FAILS(open("file", O_RDONLY | O_DIRECTORY), ENOTDIR));
    CHECK(FAILS(open("missing", O_RDONLY), ENOENT) && FAILS(stat("missing", &b), ENOENT));
    CHECK(pread(fd, text, 4, 3) == 4 && memcmp(text, "3456", 4) == 0);
    CHECK(pwrite(fd, "x", 1, 9) == 1 && lseek(fd, 0, SEEK_CUR) == 10);
    CHECK(lseek(fd, -1, SEEK_END) == 9 && read(fd, text, 64) == 1 && *text == 'x');
    CHECK(read(fd, text, 64) == 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && FAILS(read(fd, BAD, 1), EFAULT));
    CHECK(FAILS(write(fd, BAD, 1), EFAULT) && FAILS(open(BAD, O_RDONLY), EFAULT));
    CHECK(FAILS(stat(BAD, &b), EFAULT) && FAILS(read(99, text, 1), EBADF));
    CHECK(ftruncate(fd, 3) == 0 && fstat(fd, &a) == 0 && a.st_size == 3);
    CHECK(ftruncate(fd, 0) == 0 && fstat(fd, &a) == 0 && a.st_size == 0);
    CHECK(fchmod(fd, 0640) == 0 && stat("file", &a) == 0 && (a.st_mode & 07777) == 0640);
    CHECK(chmod("file", 01770) == 0 && stat("file", &a) == 0 && (a.st_mode & 07777) == 01770);
    CHECK(fchown(fd, geteuid(), getegid()) == 0 && lchown("link", geteuid(), getegid()) == 0);
    if (geteuid() == 0)
        CHECK(fchown(fd, 70000, 70001) == 0 && stat("file", &a) == 0 && a.st_uid == 70000 &&
              a.st_gid == 70001 && fchown(fd, -1, 5) == 0 && fstat(fd, &a) == 0 &&
              a.st_uid == 70000 && a.st_gid == 5 && lchown("link", 7, 8) == 0 &&
              lstat("link", &a) == 0 && a.st_uid == 7 && a.st_gid == 8);
    CHECK(access("file", R_OK | W_OK) == 0 && access("file", F_OK) == 0);
    CHECK(FAILS(access("missing", F_OK), ENOENT));
    CHECK(chmod("file", 0600) == 0 && FAILS(access("file", X_OK), EACCES));
    CHECK((other = open("file", O_RDONLY)) == 4 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    CHECK(FAILS(flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK));
    CHECK(close(fd) == 0 && flock(other, LOCK_EX | LOCK_NB) == 0 && close(other) == 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CHECK((fd = open("file", O_RDWR)) == 3 && fcntl(fd, F_SETLK, &lock) == 0);
    CHECK(ends_with(start_as("lock", "file"), 1));
    lock.l_type = F_UNLCK;
    CHECK(fcntl(fd, F_SETLK, &lock) == 0 && ends_with(start_as("lock", "file"), 0));
    CHECK(close(fd) == 0);
    CHECK(rename("second", "third") == 0 && FAILS(access("second", F_OK), ENOENT));
    CHECK(unlink("third") == 0 && unlink("link") == 0 && FAILS(unlink("link"), ENOENT));
    umask(0117);
    CHECK((fd = open("masked", O_WRONLY | O_CREAT, 0777)) >= 0 && fstat(fd, &a) == 0 &&
          (a.st_mode & 07777) == 0660 && umask(022) == 0117 && close(fd) == 0);
    CHECK(unlink("masked") == 0 && unlink("file") == 0);
}

static void flags(void) {
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), p[2];

    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK((fcntl(fd, F_GETFL) & (O_DIRECTORY | O_NOFOLLOW)) == (O_DIRECTORY | O_NOFOLLOW));
    CHECK(fcntl(fd, F_SETFD, 0) == 0 && fcntl(fd, F_GETFD) == 0 && close(fd) == 0);
    CHECK(pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0 && fcntl(p[0], F_GETFD) == FD_CLOEXEC);
    CHECK((fcntl(p[0], F_GETFL) & O_ACCMODE) == O_RDONLY);
    CHECK((fcntl(p[1], F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == (O_WRONLY | O_NONBLOCK));
    CHECK(fcntl(p[1], F_SETFL, O_APPEND) == 0 &&
          (fcntl(p[1], F_GETFL) & (O_APPEND | O_NONBLOCK)) == O_APPEND);
    CHECK((fd = fcntl(p[0], F_DUPFD_CLOEXEC, 40)) == 40 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(dup2(p[0], 41) == 41 && fcntl(41, F_GETFD) == 0 && close(41) == 0);
    CHECK(dup3(p[0], 41, O_CLOEXEC) == 41 && fcntl(41, F_GETFD) == FD_CLOEXEC);
    CHECK(close(41) == 0 && close(40) == 0 && close(p[0]) == 0 && close(p[1]) == 0);
    CHECK(FAILS(close(40), EBADF) && FAILS(fcntl(40, F_GETFL), EBADF));
    CHECK(pipe(p) == 0 && !isatty(p[0]) && errno == ENOTTY && close(p[0]) == 0);
    CHECK(close(p[1]) == 0);
}

static void folders(void) {
    char here[512], there[512], name[64];
    struct dirent *entry;
    int seen = 0, strange = 0, pid;
    DIR *dir;

    CHECK(getcwd(here, sizeof here) != 0 && *here == '/');
    CHECK(mkdir("folder", 0700) == 0 && FAILS(mkdir("folder", 0700), EEXIST));
    for (int i = 0; i < 100; i++) {
        sprintf(name, "folder/a name that is long enough to fill a few blocks %d", i);
        close(open(name, O_WRONLY | O_CREAT, 0600));
    }
    dir = opendir("folder");
    while (dir && (entry = readdir(dir))) {
        int n = -1;
        if (sscanf(entry->d_name, "a name that is long enough to fill a few blocks %d", &n) == 1)
            seen++;
        else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            strange++;
    }
    CHECK(dir && closedir(dir) == 0 && seen == 100 && strange == 0);
    CHECK(FAILS(rmdir("folder"), ENOTEMPTY));
    for (int i = 0; i < 100; i++) {
        sprintf(name, "folder/a name that is long enough to fill a few blocks %d", i);
        unlink(name);
    }
    CHECK(chdir("folder") == 0 && getcwd(there, sizeof there) != 0);
    CHECK(strncmp(there, here, strlen(here)) == 0 && strcmp(there + strlen(here), "/folder") == 0);
    CHECK(!getcwd(there, 2) && errno == ERANGE && chdir("..") == 0);
    /* A child's working folder is its own, though its memory is not. */
    if ((pid = vfork()) == 0)
        _exit(chdir("/"));
    CHECK(ends_with(pid, 0) && getcwd(there, sizeof there) && strcmp(here, there) == 0);
    CHECK(rmdir("folder") == 0 && FAILS(chdir("folder"), ENOENT));
}

static void pipes(void) {
    static char block[65536];
    struct iovec parts[2] = {{"ab", 2}, {"cde", 3}};
    int p[2], q[2], fifo, writer, n;
    struct stat st;
    char text[8];

    CHECK(pipe2(p, O_CLOEXEC | O_NONBLOCK) == 0);
    CHECK(FAILS(read(p[0], text, 8), EAGAIN));
    CHECK(writev(p[1], parts, 2) == 5 && ioctl(p[0], FIONREAD, &n) == 0 && n == 5);
    parts[0].iov_base = text, parts[1].iov_base = text + 2;
    CHECK(readv(p[0], parts, 2) == 5 && memcmp(text, "abcde", 5) == 0);
    for (n = 0; write(p[1], block, sizeof block) > 0; n++)
        ;
    CHECK(errno == EAGAIN && n >= 1);
    /* Between pipes; told not to wait, it does not, whatever the pipes are. */
    CHECK(pipe2(q, O_CLOEXEC) == 0 && fcntl(p[1], F_SETFL, 0) == 0);
    CHECK(FAILS(splice(q[0], 0, p[1], 0, 5, SPLICE_F_NONBLOCK), EAGAIN));
    CHECK(write(q[1], "abcde", 5) == 5);
    CHECK(FAILS(splice(q[0], 0, p[1], 0, 5, SPLICE_F_NONBLOCK), EAGAIN));
    while (read(p[0], text, sizeof text) > 0)
        ;
    CHECK(splice(q[0], 0, p[1], 0, 8, SPLICE_F_NONBLOCK) == 5);
    CHECK(read(p[0], text, 8) == 5 && memcmp(text, "abcde", 5) == 0);
    CHECK(close(q[0]) == 0 && close(q[1]) == 0);
    CHECK(close(p[0]) == 0);
    signal(SIGPIPE, SIG_IGN);
    CHECK(FAILS(write(p[1], "x", 1), EPIPE) && close(p[1]) == 0);
    signal(SIGPIPE, SIG_DFL);

    CHECK(mkfifo("fifo", 0600) == 0 && FAILS(mkfifo("fifo", 0600), EEXIST));
    CHECK(lstat("fifo", &st) == 0 && S_ISFIFO(st.st_mode) && (st.st_mode & 07777) == 0600);
    CHECK(FAILS(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO));
    CHECK((fifo = open("fifo", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) >= 0);
    CHECK((writer = open("fifo", O_WRONLY | O_NONBLOCK)) >= 0 && write(writer, "line\n", 5) == 5);
    CHECK(close(writer) == 0 && read(fifo, text, 8) == 5 && FAILS(read(fifo, text, 8), EAGAIN));
    CHECK(close(fifo) == 0 && unlink("fifo") == 0);
}

/* ---- Sockets -------------------------------------------------------------------------------- */

static void tcp(int family) {
    struct sockaddr_storage name, mine, peer;
    struct sockaddr *any = (struct sockaddr *)&name;
    socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    socklen_t len = size;
    int listener, client, server, n, one = 1;
    struct linger linger = {1, 0}, read_back;
    struct timeval time = {2, 500000}, time_back = {0, 0};
    char text[16];

    memset(&name, 0, sizeof name);
    name.ss_family = family;
    if (family == AF_INET)
        ((struct sockaddr_in *)any)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        ((struct sockaddr_in6 *)any)->sin6_addr = in6addr_loopback;
    listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (family == AF_INET6 && (listener < 0 || bind(listener, any, size) < 0)) {
        close(listener); /* a machine without IPv6 */
        return;
    }
    CHECK(listener >= 0 && fcntl(listener, F_GETFD) == FD_CLOEXEC);
    CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    CHECK(family == AF_INET6 || bind(listener, any, size) == 0);
    CHECK(listen(listener, 8) == 0 && FAILS(accept(listener, 0, 0), EAGAIN));
    CHECK(getsockname(listener, any, &len) == 0 && len == size && name.ss_family == family);
    CHECK((client = socket(family, SOCK_STREAM, 0)) >= 0 && connect(client, any, size) == 0);
    len = sizeof peer;
    CHECK((server = accept(listener, (struct sockaddr *)&peer, &len)) >= 0 && len == size);
    len = sizeof mine;
    CHECK(getsockname(client, (struct sockaddr *)&mine, &len) == 0 && len == size);
    CHECK(memcmp(&mine, &peer, size) == 0 && (fcntl(server, F_GETFL) & O_NONBLOCK) == 0);
    len = 4; /* too little room: cut, and the true length told */
    CHECK(getpeername(client, (struct sockaddr *)&mine, &len) == 0 && len == size);
    CHECK(FAILS(getpeername(listener, (struct sockaddr *)&mine, &len), ENOTCONN));
    CHECK(setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
    n = 0, len = sizeof n;
    CHECK(getsockopt(server, SOL_SOCKET, SO_TYPE, &n, &len) == 0 && n == SOCK_STREAM && len == 4);
    CHECK(getsockopt(server, SOL_SOCKET, SO_ERROR, &n, &len) == 0 && n == 0);
    len = sizeof read_back;
    CHECK(setsockopt(server, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0 &&
          getsockopt(server, SOL_SOCKET, SO_LINGER, &read_back, &len) == 0 && read_back.l_onoff);
    len = sizeof time_back;
    CHECK(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0 &&
          getsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &time_back, &len) == 0 &&
          time_back.tv_sec == 2 && time_back.tv_usec == 500000);
    CHECK(FAILS(recv(server, text, 16, MSG_DONTWAIT), EAGAIN));
    CHECK(send(client, "hello", 5, MSG_NOSIGNAL) == 5 && recv(server, text, 16, 0) == 5);
    CHECK(memcmp(text, "hello", 5) == 0 && write(server, "x", 1) == 1);
    CHECK(recv(client, text, 16, MSG_PEEK) == 1 && read(client, text, 16) == 1 && *text == 'x');
    CHECK(shutdown(client, SHUT_WR) == 0 && recv(server, text, 16, 0) == 0);
    CHECK(close(server) == 0 && FAILS(recv(client, text, 16, 0), ECONNRESET)); /* SO_LINGER */
    CHECK(close(client) == 0 && close(listener) == 0);
    client = socket(family, SOCK_STREAM, 0);
    CHECK(FAILS(connect(client, any, size), ECONNREFUSED) && close(client) == 0);
    CHECK(FAILS(recv(0, text, 16, MSG_DONTWAIT), ENOTSOCK));
}

static struct sockaddr_un unix_name(const char *path) {
    struct sockaddr_un name;
    memset(&name, 0, sizeof name);
    name.sun_family = AF_UNIX;
    strcpy(name.sun_path, path);
    return name;
}

/* Sends descriptors in one datagram. */
static ssize_t send_rights(int to, const char *path, const int *fds, int count) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct sockaddr_un name = unix_name(path);
    struct iovec bytes = {"record", 6};
    struct msghdr message;
    memset(&control, 0, sizeof control);
    memset(&message, 0, sizeof message);
    message.msg_name = &name;
    message.msg_namelen = sizeof name;
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static struct {
    int fds[8], count, flags;
    struct ucred sender;
} got;

/* Receives one, with so much room. */
static ssize_t receive_rights(int at, size_t room, size_t size) {
    union {
        struct cmsghdr header;
        char bytes[256];
    } control;
    char text[16];
    struct iovec bytes = {text, size};
    struct msghdr message;
    ssize_t n;
    memset(&got, 0, sizeof got);
    memset(&message, 0, sizeof message);
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = room;
    n = recvmsg(at, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0)
        return n;
    got.flags = message.msg_flags;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_type == SCM_RIGHTS) {
            got.count = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(got.fds, CMSG_DATA(h), got.count * sizeof(int));
        }
        if (h->cmsg_type == SCM_CREDENTIALS)
            memcpy(&got.sender, CMSG_DATA(h), sizeof got.sender);
    }
    return n;
}

static int lowest_free(void) {
    int fd = dup(0);
    close(fd);
    return fd;
}

static void rights(void) {
    int receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int p[2], fds[3], one = 1, free, n;
    struct sockaddr_un name = unix_name("socket");
    struct stat st;
    char c;

    CHECK(FAILS(send_rights(sender, "socket", &one, 1), ENOENT));
    umask(0117);
    CHECK(bind(receiver, (struct sockaddr *)&name, sizeof name) == 0);
    umask(022);
    CHECK(lstat("socket", &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0660);
    CHECK(setsockopt(receiver, SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
    CHECK(pipe(p) == 0);
    free = lowest_free();
    fds[0] = p[0], fds[1] = p[1], fds[2] = p[1];

    CHECK(FAILS(receive_rights(receiver, 256, 16), EAGAIN));
    CHECK(send_rights(sender, "socket", fds, 2) == 6 && receive_rights(receiver, 256, 16) == 6);
    CHECK(got.count == 2 && got.flags == MSG_CMSG_CLOEXEC && got.fds[0] == free);
    CHECK(got.sender.pid == getpid() && got.sender.uid == getuid() && got.sender.gid == getgid());
    CHECK(fcntl(got.fds[0], F_GETFD) == FD_CLOEXEC && write(got.fds[1], "x", 1) == 1);
    CHECK(read(p[0], &c, 1) == 1 && c == 'x' && close(got.fds[0]) == 0 && close(got.fds[1]) == 0);

    /* Cut: what there is no room to tell of is not left open. */
    CHECK(send_rights(sender, "socket", fds, 3) == 6);
    n = CMSG_SPACE(sizeof(struct ucred)) + CMSG_LEN(sizeof(int));
    CHECK(receive_rights(receiver, n, 16) == 6 && got.count == 1 && (got.flags & MSG_CTRUNC));
    CHECK(close(got.fds[0]) == 0 && lowest_free() == free);
    CHECK(send_rights(sender, "socket", fds, 3) == 6 && receive_rights(receiver, 0, 16) == 6);
    CHECK(got.count == 0 && (got.flags & MSG_CTRUNC) && lowest_free() == free);
    CHECK(send_rights(sender, "socket", fds, 1) == 6 && receive_rights(receiver, 256, 3) == 3);
    CHECK(got.count == 1 && (got.flags & MSG_TRUNC) && close(got.fds[0]) == 0);

    /* A full queue. */
    for (n = 0; n < 10000 && send_rights(sender, "socket", fds, 1) == 6; n++)
        ;
    CHECK(errno == EAGAIN && n < 10000);
    CHECK(close(receiver) == 0 && close(sender) == 0 && close(p[0]) == 0 && close(p[1]) == 0);
    sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(FAILS(send_rights(sender, "socket", &sender, 1), ECONNREFUSED) && close(sender) == 0);
    CHECK(unlink("socket") == 0);
}

static void waiting(void) {
    struct pollfd polled[3];
    struct timespec time = {0, 30 * 1000000}, zero = {0, 0};
    struct timeval day = {0, 30000};
    long long begin = now_ms();
    int p[2], q[2];
    fd_set set;

    CHECK(pipe(p) == 0 && pipe(q) == 0);
    polled[0].fd = p[0], polled[0].events = POLLIN;
    polled[1].fd = -1, polled[1].events = POLLIN;
    polled[2].fd = 99, polled[2].events = POLLIN;
    CHECK(ppoll(polled, 2, &time, 0) == 0 && now_ms() - begin >= 29);
    CHECK(ppoll(polled, 3, &time, 0) == 1 && polled[2].revents == POLLNVAL);
    CHECK(write(p[1], "x", 1) == 1 && ppoll(polled, 1, 0, 0) == 1 && polled[0].revents == POLLIN);
    CHECK(close(p[1]) == 0 && ppoll(polled, 1, &zero, 0) == 1);
    CHECK(polled[0].revents == (POLLIN | POLLHUP));
    polled[0].events = 0;
    CHECK(ppoll(polled, 1, 0, 0) == 1 && polled[0].revents == POLLHUP);
    polled[0].fd = q[1], polled[0].events = POLLOUT;
    CHECK(ppoll(polled, 1, 0, 0) == 1 && polled[0].revents == POLLOUT && close(q[0]) == 0);
    CHECK(ppoll(polled, 1, 0, 0) == 1 && polled[0].revents == (POLLOUT | POLLERR));
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    CHECK(select(p[0] + 1, &set, 0, 0, &day) == 1 && FD_ISSET(p[0], &set));
    FD_ZERO(&set);
    CHECK(select(0, &set, 0, 0, &day) == 0);
    CHECK(close(p[0]) == 0 && close(q[1]) == 0);
}

/* ---- Signals -------------------------------------------------------------------------------- */

static volatile sig_atomic_t came[65], nested, order, sender, value;
static sigset_t mask_in_handler;

static void on(int sig) {
    int kept = errno;
    came[sig]++;
    order = order * 10 + (sig == SIGUSR1 ? 1 : 2);
    if (nested && sig == SIGUSR1) {
        nested = 0;
        kill(getpid(), SIGUSR2); /* which sa_mask may keep out until we return */
        order = order * 10 + 9;
    }
    sigprocmask(SIG_BLOCK, 0, &mask_in_handler);
    errno = kept;
}

static void on_info(int sig, siginfo_t *info, void *context) {
    (void)context;
    came[sig]++;
    sender = info->si_pid;
    value = sig == SIGCHLD ? info->si_status : info->si_code;
}

static void catch(int sig, int flags, int blocked) {
    struct sigaction act;
    memset(&act, 0, sizeof act);
    if (flags & SA_SIGINFO)
        act.sa_sigaction = on_info;
    else
        act.sa_handler = on;
    act.sa_flags = flags;
    sigemptyset(&act.sa_mask);
    if (blocked)
        sigaddset(&act.sa_mask, blocked);
    CHECK(sigaction(sig, &act, 0) == 0);
    came[sig] = 0;
}

static sigset_t set_of(int sig) {
    sigset_t set;
    sigemptyset(&set);
    if (sig)
        sigaddset(&set, sig);
    return set;
}

static void handlers(void) {
    struct sigaction old;
    volatile unsigned sum = 0, expected = 0;

    catch(SIGUSR1, 0, 0);
    CHECK(sigaction(SIGUSR1, 0, &old) == 0 && old.sa_handler == on);
    CHECK(kill(getpid(), SIGUSR1) == 0 && came[SIGUSR1] == 1); /* before kill returns */
    CHECK(raise(SIGUSR1) == 0 && came[SIGUSR1] == 2);
    CHECK(sigismember(&mask_in_handler, SIGUSR1) == 1);
    sigprocmask(SIG_BLOCK, 0, &mask_in_handler);
    CHECK(sigismember(&mask_in_handler, SIGUSR1) == 0);

    catch(SIGUSR2, SA_SIGINFO, 0);
    CHECK(kill(getpid(), SIGUSR2) == 0 && sender == getpid() && value == SI_USER);
    catch(SIGUSR2, SA_RESETHAND, 0);
    CHECK(raise(SIGUSR2) == 0 && came[SIGUSR2] == 1);
    CHECK(sigaction(SIGUSR2, 0, &old) == 0 && old.sa_handler == SIG_DFL);

    /* One inside the other, and one kept out until the other is done. */
    catch(SIGUSR2, 0, 0);
    nested = 1, order = 0;
    CHECK(raise(SIGUSR1) == 0 && order == 129);
    catch(SIGUSR1, 0, SIGUSR2);
    nested = 1, order = 0;
    CHECK(raise(SIGUSR1) == 0 && order == 192);

    /* In the midst of a computation, which does not notice. */
    catch(SIGUSR1, 0, 0);
    pid_t pid = start_as("signal", "10");
    while (!came[SIGUSR1]) {
        sum = 0, expected = 0;
        for (unsigned i = 1; i <= 1000; i++)
            sum += i * i % 7, expected += i * i % 7;
        if (sum != expected)
            break;
    }
    CHECK(came[SIGUSR1] == 1 && sum == expected && ends_with(pid, 0));
    signal(SIGUSR1, SIG_IGN);
    CHECK(raise(SIGUSR1) == 0 && came[SIGUSR1] == 1);
    CHECK(FAILS(sigaction(SIGKILL, &old, 0), EINVAL));
    catch(SIGALRM, 0, 0);
    alarm(1);
    CHECK(FAILS(pause(), EINTR) && came[SIGALRM] == 1);
}

static void masks(void) {
    sigset_t usr1 = set_of(SIGUSR1), none = set_of(0), before, set;
    struct timespec time = {5, 0}, zero = {0, 0};
    long long begin = now_ms();
    pid_t pid;

    catch(SIGUSR1, 0, 0);
    CHECK(sigprocmask(SIG_BLOCK, &usr1, &before) == 0 && !sigismember(&before, SIGUSR1));
    CHECK(sigpending(&set) == 0 && !sigismember(&set, SIGUSR1));
    CHECK(raise(SIGUSR1) == 0 && came[SIGUSR1] == 0);
    CHECK(sigpending(&set) == 0 && sigismember(&set, SIGUSR1));
    /* ppoll lets it in, for as long as it waits. */
    CHECK(FAILS(ppoll(0, 0, &time, &none), EINTR) && came[SIGUSR1] == 1);
    CHECK(sigprocmask(SIG_BLOCK, 0, &set) == 0 && sigismember(&set, SIGUSR1));
    CHECK(sigpending(&set) == 0 && !sigismember(&set, SIGUSR1));
    CHECK(ppoll(0, 0, &zero, &none) == 0 && ppoll(0, 0, &zero, 0) == 0 && came[SIGUSR1] == 1);
    pid = start_as("signal", "10");
    CHECK(FAILS(ppoll(0, 0, &time, &none), EINTR) && came[SIGUSR1] == 2 && ends_with(pid, 0));
    /* Two at once, each with the other in its sa_mask: one a wait. */
    catch(SIGUSR1, 0, SIGUSR2);
    catch(SIGUSR2, 0, SIGUSR1);
    sigaddset(&usr1, SIGUSR2);
    CHECK(sigprocmask(SIG_BLOCK, &usr1, 0) == 0 && raise(SIGUSR1) == 0 && raise(SIGUSR2) == 0);
    CHECK(FAILS(ppoll(0, 0, &time, &none), EINTR) && came[SIGUSR1] + came[SIGUSR2] == 1);
    CHECK(FAILS(sigsuspend(&none), EINTR) && came[SIGUSR1] + came[SIGUSR2] == 2);
    CHECK(raise(SIGUSR1) == 0 && came[SIGUSR1] == 1);
    CHECK(sigprocmask(SIG_SETMASK, &before, 0) == 0 && came[SIGUSR1] == 2);
    CHECK(now_ms() - begin < 4000);
}

static void interrupted(void) {
    sigset_t usr1 = set_of(SIGUSR1);
    struct timespec time = {5, 0}, left = {0, 0};
    char *late[] = {"sh", "-c", "sleep 0.3; printf x", 0}, c = 0;
    int p[2], stdio[3] = {-1, -1, -1}, status;
    siginfo_t info;
    pid_t pid, writer;

    catch(SIGUSR1, 0, 0);
    CHECK(pipe(p) == 0);
    pid = start_as("signal", "10");
    CHECK(FAILS(read(p[0], &c, 1), EINTR) && came[SIGUSR1] == 1 && ends_with(pid, 0));
    pid = start_as("signal", "10");
    CHECK(FAILS(nanosleep(&time, &left), EINTR) && left.tv_sec >= 3 && left.tv_sec <= 4);
    CHECK(ends_with(pid, 0));
    /* SA_RESTART: read goes on, ppoll does not. */
    catch(SIGUSR1, SA_RESTART, 0);
    pid = start_as("signal", "10");
    stdio[1] = p[1];
    writer = start("/bin/sh", late, environ, stdio, -1);
    CHECK(read(p[0], &c, 1) == 1 && c == 'x' && came[SIGUSR1] == 1);
    CHECK(ends_with(pid, 0) && ends_with(writer, 0));
    pid = start_as("signal", "10");
    CHECK(FAILS(ppoll(0, 0, &time, 0), EINTR) && ends_with(pid, 0));
    came[SIGUSR1] = 0;
    pid = start_as("signal", "10");
    writer = start_as("sleep", "250");
    CHECK(waitpid(writer, &status, 0) == writer && came[SIGUSR1] == 1 && ends_with(pid, 0));
    /* One that is blocked waits for who lets it in. */
    CHECK(sigprocmask(SIG_BLOCK, &usr1, 0) == 0 && raise(SIGUSR1) == 0);
    CHECK(sigtimedwait(&usr1, &info, &time) == SIGUSR1 && came[SIGUSR1] == 1);
    CHECK(sigprocmask(SIG_UNBLOCK, &usr1, 0) == 0 && came[SIGUSR1] == 1);
    CHECK(close(p[0]) == 0 && close(p[1]) == 0);
}

/* None is lost between a look and a wait: a signal each round, and a byte back. */
static void no_signal_lost(void) {
    sigset_t none = set_of(0), usr1 = set_of(SIGUSR1);
    struct timespec time = {5, 0};
    char *argv[] = {"child", "rounds", "300", 0};
    int p[2], stdio[3] = {-1, -1, -1}, rounds = 0;
    pid_t pid;

    catch(SIGUSR1, 0, 0);
    CHECK(pipe2(p, O_CLOEXEC) == 0 && sigprocmask(SIG_BLOCK, &usr1, 0) == 0);
    stdio[0] = p[0];
    pid = start(self, argv, environ, stdio, -1);
    while (rounds < 300 && (came[SIGUSR1] || ppoll(0, 0, &time, &none) < 0)) {
        came[SIGUSR1] = 0;
        if (write(p[1], "x", 1) != 1)
            break;
        rounds++;
    }
    CHECK(rounds == 300 && ends_with(pid, 0) && close(p[0]) == 0);
    /* The same with a handler that may run at any time: between the look and the wait, too. */
    CHECK(pipe2(p, O_CLOEXEC) == 0 && sigprocmask(SIG_UNBLOCK, &usr1, 0) == 0);
    came[SIGUSR1] = 0;
    stdio[0] = p[0];
    pid = start(self, argv, environ, stdio, -1);
    for (rounds = 0; rounds < 300; rounds++) {
        long long begin = now_ms();
        while (came[SIGUSR1] == rounds && now_ms() - begin < 5000)
            ;
        if (came[SIGUSR1] == rounds || write(p[1], "x", 1) != 1)
            break;
    }
    CHECK(rounds == 300 && ends_with(pid, 0) && close(p[0]) == 0 && close(p[1]) == 0);
}

/* ---- Processes ------------------------------------------------------------------------------ */

static void launching(void) {
    static char text[4096];
    char *argv[] = {"another name", "environment", "it", 0};
    char *script_argv[] = {"not seen", "arg", 0};
    char *envp[] = {"A=1", "B=", "C=x y", 0}, *no_env[] = {0};
    int p[2], fd, status, null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    ssize_t n;

    CHECK(pipe2(p, O_CLOEXEC) == 0);
    int stdio[3] = {-1, p[1], null};
    CHECK(ends_with(start(self, argv, envp, stdio, -1), 0));
    n = read(p[0], text, sizeof text);
    CHECK(n == 15 && memcmp(text, "it|A=1|B=|C=x y", 15) == 0);
    CHECK(ends_with(start(self, argv, no_env, stdio, -1), 0) && read(p[0], text, 16) == 2);
    /* Close-on-exec is, and the rest stays open. */
    fd = dup(p[0]);
    sprintf(text, "%d", fd);
    CHECK(ends_with(start_as("open", text), 0) && close(fd) == 0);
    sprintf(text, "%d", p[0]);
    CHECK(ends_with(start_as("open", text), 1));
    /* A script, and what it starts: 126 where the shell can't execute us, as no kernel could. */
    fd = open("script", O_WRONLY | O_CREAT, 0700);
    n = sprintf(text, "#!/bin/sh\necho \"$0 $1 $A\"; exec '%s' exit 5\n", self);
    CHECK(write(fd, text, n) == n && close(fd) == 0);
    status = status_of(start("script", script_argv, envp, stdio, -1));
    CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 5 || WEXITSTATUS(status) == 126));
    n = read(p[0], text, sizeof text);
    CHECK(n == 13 && memcmp(text, "script arg 1\n", 13) == 0);
    /* What can't be executed. */
    static const struct { const char *name, *content; int mode, error; } bad[] = {
        {"missing", 0, 0, ENOENT},
        {"plain", "#!/bin/sh\n", 0600, EACCES},
        {"nonsense", "\1\2\3", 0700, ENOEXEC},
        {"orphan", "#!/no/such/interpreter\n", 0700, ENOENT},
        {"/", 0, 0, EACCES},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (bad[i].content) {
            fd = open(bad[i].name, O_WRONLY | O_CREAT, bad[i].mode);
            CHECK(write(fd, bad[i].content, strlen(bad[i].content)) > 0 && close(fd) == 0);
        }
        failed_with = 0;
        CHECK(ends_with(start(bad[i].name, argv, envp, ours, -1), 127));
        CHECK(failed_with == bad[i].error);
        unlink(bad[i].name);
    }
    CHECK(unlink("script") == 0 && close(p[0]) == 0 && close(p[1]) == 0 && close(null) == 0);
}

static void children(void) {
    sigset_t chld = set_of(SIGCHLD), none = set_of(0);
    struct timespec time = {5, 0};
    char *hang[] = {"child", "hang", "", 0}, *wild[] = {"child", "wild", "", 0};
    int silent[3] = {-1, -1, -1};
    siginfo_t info;
    int status;
    pid_t pid, other;

    memset(&info, 0, sizeof info);
    pid = start_as("exit", "7");
    CHECK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK(info.si_pid == pid && info.si_status == 7 && info.si_code == CLD_EXITED);
    CHECK(kill(pid, 0) == 0); /* still there */
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    CHECK(FAILS(waitpid(pid, &status, 0), ECHILD) && FAILS(kill(pid, 0), ESRCH));
    memset(&info, 0, sizeof info);
    pid = start(self, hang, environ, ours, 0);
    CHECK(waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0);
    CHECK(waitpid(pid, &status, WNOHANG) == 0 && getpgid(pid) == pid);
    /* A group of two. */
    other = start(self, hang, environ, ours, pid);
    CHECK(getpgid(other) == pid && kill(-pid, SIGTERM) == 0);
    CHECK(dies_of(other, SIGTERM) && dies_of(pid, SIGTERM) && FAILS(kill(-pid, 0), ESRCH));
    pid = start_as("hang", "");
    CHECK(kill(pid, SIGKILL) == 0 && dies_of(pid, SIGKILL));
    CHECK(dies_of(start_as("raise", "6"), SIGABRT));
    /* SIGCHLD ends a wait. */
    catch(SIGCHLD, SA_SIGINFO, 0);
    CHECK(sigprocmask(SIG_BLOCK, &chld, 0) == 0);
    pid = start_as("exit", "3");
    CHECK(FAILS(ppoll(0, 0, &time, &none), EINTR) && came[SIGCHLD] == 1);
    CHECK(sender == pid && value == 3 && ends_with(pid, 3));
    signal(SIGCHLD, SIG_DFL);
    CHECK(sigprocmask(SIG_UNBLOCK, &chld, 0) == 0);
    /* What is ignored stays so through exec; what is caught does not. */
    signal(SIGHUP, SIG_IGN);
    CHECK(ends_with(start_as("ignored", "1"), 0));
    signal(SIGHUP, on);
    CHECK(ends_with(start_as("ignored", "1"), 1));
    signal(SIGHUP, SIG_DFL);
    if (getuid() == 0)
        CHECK(ends_with(start_as("drop", ""), 0));
    /* Mistakes kill the one who makes them. */
    CHECK((silent[2] = open("/dev/null", O_WRONLY | O_CLOEXEC)) >= 0);
    CHECK(dies_of(start(self, wild, environ, silent, -1), SIGSEGV) && close(silent[2]) == 0);
    CHECK(dies_of(start_as("overflow", ""), SIGSEGV));
}

static void the_rest(void) {
    struct timespec a, b;
    struct timeval day;
    struct rlimit limit, was;
    int fd, last = -1;
    char *big = 0;

    CHECK(clock_gettime(CLOCK_REALTIME, &a) == 0 && a.tv_sec > 1600000000);
    CHECK(gettimeofday(&day, 0) == 0 && labs((long)(day.tv_sec - a.tv_sec)) < 2);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &a) == 0 && a.tv_nsec < 1000000000);
    nap(5);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &b) == 0 &&
          (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec >= 5000000);
    /* What a call does not ask for may be anything, an address of no memory among it. */
    CHECK(syscall(SYS_getpid, NOWHERE, NOWHERE) == getpid());
    CHECK(FAILS(open((char *)NOWHERE, O_RDONLY), EFAULT));
    CHECK(getpid() > 1 && getppid() > 0 && getuid() == geteuid());

    CHECK(getrlimit(RLIMIT_NOFILE, &was) == 0 && was.rlim_cur > 20);
    limit = was;
    limit.rlim_cur = 20;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while ((fd = open("/dev/null", O_RDONLY)) >= 0)
        last = fd;
    CHECK(errno == EMFILE && last == 19);
    while (last > 2)
        close(last--);
    CHECK(setrlimit(RLIMIT_NOFILE, &was) == 0);

    /* Memory that is given back can be had again, and is empty. */
    for (int i = 0; i < 1000; i++) {
        big = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (big == MAP_FAILED || big[0] != 0 || big[(1 << 20) - 1] != 0)
            break;
        big[0] = big[(1 << 20) - 1] = 1;
        if (munmap(big, 1 << 20) != 0)
            break;
        last = i;
    }
    CHECK(last == 999);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return child(argv[1], argc > 2 ? argv[2] : "");
    self = argv[0];
    alarm(100); /* whatever hangs */
    files();
    flags();
    folders();
    pipes();
    tcp(AF_INET);
    tcp(AF_INET6);
    rights();
    waiting();
    handlers();
    alarm(100);
    masks();
    interrupted();
    no_signal_lost();
    launching();
    children();
    the_rest();
    CHECK(lowest_free() == 3);
    printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}
