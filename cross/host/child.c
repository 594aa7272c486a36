/* Children, by vfork and execve. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

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
