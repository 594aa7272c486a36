/* The start, errors, what is lent and given to the module, and bytes. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
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
