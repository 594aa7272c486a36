/* Linux for Blackfin programs on gdb's simulator: the system calls of a program that runs with
 * --environment user go to the host's kernel.
 *
 * The stock simulator knows files and little else. This knows what a daemon without an MMU asks
 * for: sockets, descriptors that travel (SCM_RIGHTS), ppoll, signals and their handlers, vfork with
 * one memory for both, execve of Blackfin programs and of the host's, process groups, waitid.
 *
 * Included by interp.c (simulator.patch). Why it can be simple: Blackfin and its host are both
 * little endian, the Blackfin's memory is one block of ours, and both kernels number errors,
 * signals, sockets' options and most flags alike, as asm-generic does. So a pointer of the
 * program's is checked, moved, and given to the host's kernel; only structures with 64-bit fields,
 * pointers, `long` or time in them are converted. A bad pointer becomes one that the host's kernel
 * refuses (EFAULT).
 *
 * Left out on purpose: threads, fork, ptrace, mprotect and mremap (no MMU has them), timers but
 * alarm, inotify and its kind. What is left out ends with ENOSYS and says so on stderr.
 */

#include "linux-numbers.h" /* NR_read and so on, as Linux numbers them for Blackfin */

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <grp.h>
#include <time.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "The host must be little endian, as the Blackfin is."
#endif

/* ---- Memory -----------------------------------------------------------------------------------
 *
 *   0          the kernel's "fixed code"; no pointer leads here
 *   0x1000     the program
 *   HEAP       what mmap2 gives out, by pages
 *   HEAP_END   nothing, up to the stack's end: whoever gets here dies (SIGSEGV)
 *   top        the stack, as large as the program's header says
 */

enum {
    LU_PAGE = 4096,
    LU_HEAP = BFIN_DEFAULT_MEM_SIZE / 2,
    LU_HEAP_END = BFIN_DEFAULT_MEM_SIZE / 16 * 15,
    LU_PAGES = (LU_HEAP_END - LU_HEAP) / LU_PAGE,
    LU_STACK = 128 * 1024, /* uClinux's own, where a program does not say */
};

static unsigned char *lu_memory;        /* what the program sees at 0 */
/* What each page of the heap is; vfork's child sees the same. */
static unsigned char *lu_heap;
enum { LU_NEW, LU_TAKEN, LU_USED };
static bu32 lu_stack_size, lu_stack_end;
unsigned char *bfin_user_memory;        /* the same, or NULL: see bfin-sim.h */

/* How many bytes of the program's there are from ADDR on. */
static bu32 lu_room (bu32 addr)
{
    if (addr >= LU_PAGE && addr < LU_HEAP_END)
        return LU_HEAP_END - addr;
    if (addr >= lu_stack_end && addr < BFIN_DEFAULT_MEM_SIZE)
        return BFIN_DEFAULT_MEM_SIZE - addr;
    return 0;
}

/* A pointer of the program's, for the host's kernel: LEN bytes can be used there. */
static void *lu_ptr (bu32 addr, bu32 len)
{
    bu32 room = lu_room (addr);

    if (addr == 0)
        return NULL;
    return room == 0 || len > room ? (void *) 1 : lu_memory + addr;
}

/* The same for ourselves: NULL, and EFAULT, where it can't be used. */
static void *lu_own (bu32 addr, bu32 len)
{
    void *p = lu_ptr (addr, len);
    if (p && p != (void *) 1)
        return p;
    errno = EFAULT;
    return NULL;
}

static char *lu_str (bu32 addr)
{
    char *s = lu_ptr (addr, 1);
    if (!s || s == (void *) 1 || !memchr (s, 0, lu_room (addr)))
        return (char *) 1;
    return s;
}

static bu32 lu_pages (bu32 len)
{
    return len / LU_PAGE + (len % LU_PAGE != 0);
}

static long lu_mmap (const bu32 *a)
{
    bu32 count = lu_pages (a[1]), addr, page, run = 0;

    if (count == 0 || (a[3] & MAP_FIXED)) {
        errno = EINVAL;
        return -1;
    }
    for (page = 0; page < LU_PAGES && run < count; page++)
        run = lu_heap[page] == LU_TAKEN ? 0 : run + 1;
    if (run < count) {
        errno = ENOMEM;
        return -1;
    }
    page -= count;
    addr = LU_HEAP + page * LU_PAGE;
    for (bu32 i = 0; i < count; i++)
        if (lu_heap[page + i] == LU_USED)
            memset (lu_memory + addr + i * LU_PAGE, 0, LU_PAGE);
    /* Without an MMU a private file is a copy, and a shared one can't be. */
    if (!(a[3] & MAP_ANONYMOUS)) {
        if ((a[3] & MAP_SHARED) && (a[2] & PROT_WRITE)) {
            errno = ENODEV;
            return -1;
        }
        memset (lu_heap + page, LU_USED, count);
        if (pread (a[4], lu_memory + addr, a[1], (off_t) a[5] * LU_PAGE) < 0)
            return -1;
    }
    memset (lu_heap + page, LU_TAKEN, count);
    return addr;
}

static long lu_munmap (bu32 addr, bu32 len)
{
    bu32 page = (addr - LU_HEAP) / LU_PAGE, count = lu_pages (len);

    if (addr % LU_PAGE || addr < LU_HEAP || page >= LU_PAGES || count > LU_PAGES - page) {
        errno = EINVAL;
        return -1;
    }
    memset (lu_heap + page, LU_USED, count);
    return 0;
}

/* ---- Signals ----------------------------------------------------------------------------------
 *
 * The host's mask is the program's, and the host's disposition is the program's, but for handlers:
 * ours notes the signal, and between two instructions the program's is called. So the host decides
 * which signal comes when, and wakes a program that waits.
 *
 * A signal that comes just before a call that waits must not be slept over. Such calls are made
 * with all signals blocked, wait by ppoll with the program's mask, and find out at once.
 */

typedef unsigned long long lu_set;

static volatile lu_set lu_accepted;     /* noted by our handler, not yet handled by the program's */
static siginfo_t lu_info[65];
static lu_set lu_catching;              /* those with a handler of the program's */
static lu_set lu_mask;
/* A mask that a call has set for its time, as ppoll does: it lasts until the handler is called, and
   this one comes back when that returns. */
static bool lu_mask_lent;
static lu_set lu_mask_after;

/* struct kernel_sigaction */
static struct lu_action {
    bu32 handler, flags, restorer, mask[2];
} lu_actions[65];

/* What lies on the stack while a handler runs. The registers are kept as the simulator has them;
   no handler here looks for them in its third argument. */
struct lu_frame {
    bu32 arguments[4]; /* the ABI lets a function keep its register arguments there */
    bu32 info[32], context[64];
    lu_set mask;
    struct bfin_cpu_state registers;
};

static lu_set lu_bit (int sig)
{
    return 1ull << (sig - 1);
}

/* Not sigprocmask: glibc keeps two signals to itself. */
static void lu_host_mask (lu_set mask)
{
    syscall (SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
}

static void lu_set_mask (lu_set mask)
{
    lu_mask = mask & ~lu_bit (SIGKILL) & ~lu_bit (SIGSTOP);
    lu_host_mask (lu_mask);
}

static void lu_note (int sig, siginfo_t *info, void *context)
{
    lu_info[sig] = *info;
    __atomic_or_fetch (&lu_accepted, lu_bit (sig), __ATOMIC_SEQ_CST);
}

static long lu_sigaction (const bu32 *a)
{
    int sig = a[0];
    struct lu_action *new = lu_ptr (a[1], sizeof *new), *old = lu_ptr (a[2], sizeof *old), was;
    struct sigaction act;

    if (sig < 1 || sig > 64 || (new && (sig == SIGKILL || sig == SIGSTOP))) {
        errno = EINVAL;
        return -1;
    }
    if (new == (void *) 1 || old == (void *) 1) {
        errno = EFAULT;
        return -1;
    }
    was = lu_actions[sig];
    if (new) {
        memset (&act, 0, sizeof act);
        act.sa_flags = new->flags & (SA_NOCLDSTOP | SA_NOCLDWAIT);
        if (new->handler == 0) {
            act.sa_handler = SIG_DFL;
        } else if (new->handler == 1) {
            act.sa_handler = SIG_IGN;
        } else {
            act.sa_sigaction = lu_note;
            act.sa_flags |= SA_SIGINFO;
            sigfillset (&act.sa_mask);
        }
        if (sigaction (sig, &act, NULL) < 0)
            return -1;
        lu_actions[sig] = *new;
        if (new->handler > 1)
            lu_catching |= lu_bit (sig);
        else
            lu_catching &= ~lu_bit (sig);
    }
    if (old)
        *old = was;
    return 0;
}

static void lu_put_info (bu32 *to, const siginfo_t *info)
{
    memset (to, 0, 128);
    to[0] = info->si_signo;
    to[1] = info->si_errno;
    to[2] = info->si_code;
    to[3] = info->si_pid;
    to[4] = info->si_uid;
    to[5] = info->si_signo == SIGCHLD ? info->si_status : info->si_int;
}

static int lu_next_signal (void)
{
    lu_set open = lu_accepted & ~lu_mask;
    return open ? __builtin_ctzll (open) + 1 : 0;
}

/* Between two instructions: calls the program's handler for a signal that was accepted. */
static void lu_deliver (SIM_CPU *cpu)
{
    int sig = lu_next_signal ();

    if (sig) {
        struct lu_action act = lu_actions[sig];
        bu32 sp = (SPREG - sizeof (struct lu_frame)) & ~7;
        struct lu_frame *frame = lu_own (sp, sizeof *frame);
        bu32 *function = lu_own (act.handler, 8);
        lu_set mask = lu_mask | act.mask[0] | (lu_set) act.mask[1] << 32;

        __atomic_and_fetch (&lu_accepted, ~lu_bit (sig), __ATOMIC_SEQ_CST);
        if (act.handler == 1)
            return;
        if (act.handler == 0 || !frame || !function) {
            /* It has gone back to the default meanwhile, or it has no stack. */
            signal (sig, SIG_DFL);
            raise (act.handler ? SIGSEGV : sig);
            return;
        }
        memset (frame->context, 0, sizeof frame->context);
        lu_put_info (frame->info, &lu_info[sig]);
        frame->registers = cpu->state;
        frame->mask = lu_mask_lent ? lu_mask_after : lu_mask;
        lu_mask_lent = false;
        lu_set_mask (act.flags & SA_NODEFER ? mask : mask | lu_bit (sig));
        if (act.flags & SA_RESETHAND)
            lu_actions[sig].handler = 0;
        SET_SPREG (sp);
        SET_DREG (0, sig);
        SET_DREG (1, sp + offsetof (struct lu_frame, info));
        SET_DREG (2, sp + offsetof (struct lu_frame, context));
        /* FDPIC: a function's address is that of its entry and its data's. */
        SET_PREG (3, function[1]);
        SET_PCREG (function[0]);
        /* The fixed code's first lines call rt_sigreturn. */
        SET_RETSREG (0x400);
        /* Hardware loops and circular buffers are the interrupted code's. */
        for (int i = 0; i < 2; i++)
            SET_LCREG (i, 0);
        for (int i = 0; i < 4; i++)
            SET_LREG (i, 0);
    } else if (lu_mask_lent) {
        lu_mask_lent = false;
        lu_set_mask (lu_mask_after);
    }
}

static void lu_sigreturn (SIM_CPU *cpu)
{
    struct lu_frame *frame = lu_own (SPREG, sizeof *frame);

    if (!frame) {
        signal (SIGSEGV, SIG_DFL);
        raise (SIGSEGV);
        return;
    }
    cpu->state = frame->registers;
    BFIN_CPU_STATE.did_jump = true; /* the program counter is right as it is */
    lu_set_mask (frame->mask);
}

/* Begins a wait with MASK (NULL: the program's own). False, and EINTR: a signal is there. From here
   to lu_wait_end all signals are blocked but in the call that waits. */
static bool lu_wait_begin (const lu_set *mask)
{
    lu_host_mask (~0ull);
    if (mask && !lu_mask_lent) {
        lu_mask_lent = true;
        lu_mask_after = lu_mask;
        lu_mask = *mask & ~lu_bit (SIGKILL) & ~lu_bit (SIGSTOP);
    }
    if (!lu_next_signal ())
        return true;
    errno = EINTR;
    return false;
}

/* Its end, with what the call has returned. A mask that was lent stays until a handler is called,
   as it is by that mask that the signal was let in. */
static long lu_wait_end (long result)
{
    int error = errno;

    if (lu_mask_lent && !lu_next_signal ()) {
        lu_mask_lent = false;
        lu_mask = lu_mask_after;
    }
    lu_host_mask (lu_mask_lent ? lu_mask_after : lu_mask);
    errno = error;
    return result;
}

/* ppoll of the program's, or what sleeps like it. */
static long lu_ppoll (struct pollfd *fds, nfds_t count, struct timespec *time, const lu_set *mask)
{
    long r = -1;

    if (lu_wait_begin (mask))
        r = syscall (SYS_ppoll, fds, count, time, &lu_mask, sizeof lu_mask);
    return lu_wait_end (r);
}

/* Before a call that may block at FD: waits until it will not. False, and EINTR: a signal came.
   Only where a handler may run; the rest is between the program and the host. */
static bool lu_ready (int fd, short events, int message_flags)
{
    struct pollfd polled = { fd, events, 0 };

    if (!(lu_catching & ~lu_mask) || (message_flags & MSG_DONTWAIT)
        || (fcntl (fd, F_GETFL) & O_NONBLOCK))
        return true;
    return lu_ppoll (&polled, 1, NULL, NULL) >= 0 || errno != EINTR;
}

/* Calls that go on after a handler with SA_RESTART, as if nothing had been (signal(7)). */
static bool lu_restarts (int nr)
{
    int sig = lu_next_signal ();

    switch (nr) {
    case NR_read: case NR_readv: case NR_write: case NR_writev: case NR_open: case NR_openat:
    case NR_wait4: case NR_waitid: case NR_flock: case NR_accept: case NR_connect: case NR_recv:
    case NR_recvfrom: case NR_recvmsg: case NR_send: case NR_sendto: case NR_sendmsg:
    case NR_splice:
        return sig && (lu_actions[sig].flags & SA_RESTART);
    }
    return false;
}

/* A timespec of two words; NULL where the program has none. */
static struct timespec *lu_time (bu32 addr, struct timespec *time)
{
    bu32 *t = lu_ptr (addr, 8);

    if (!t)
        return NULL;
    if (t == (void *) 1)
        return (void *) 1;
    time->tv_sec = (bs32) t[0];
    time->tv_nsec = (bs32) t[1];
    return time;
}

/* A set of the program's, or NULL. False, and EFAULT: it can't be there. */
static bool lu_set_at (bu32 addr, lu_set **set)
{
    *set = lu_ptr (addr, sizeof **set);
    if (*set != (void *) 1)
        return true;
    errno = EFAULT;
    return false;
}

static long lu_sigprocmask (const bu32 *a)
{
    lu_set *set, *old, was = lu_mask;

    if (!lu_set_at (a[1], &set) || !lu_set_at (a[2], &old))
        return -1;
    if (set && a[0] == SIG_BLOCK) {
        lu_set_mask (lu_mask | *set);
    } else if (set && a[0] == SIG_UNBLOCK) {
        lu_set_mask (lu_mask & ~*set);
    } else if (set && a[0] == SIG_SETMASK) {
        lu_set_mask (*set);
    } else if (set) {
        errno = EINVAL;
        return -1;
    }
    if (old)
        *old = was;
    return 0;
}

static long lu_sigpending (bu32 addr)
{
    lu_set *set = lu_own (addr, sizeof *set);

    if (!set || syscall (SYS_rt_sigpending, set, sizeof *set) < 0)
        return -1;
    *set |= lu_accepted & lu_mask;
    return 0;
}

static long lu_sigtimedwait (const bu32 *a)
{
    struct timespec time;
    siginfo_t info;
    bu32 *put = lu_own (a[1], 128);
    long r = syscall (SYS_rt_sigtimedwait, lu_ptr (a[0], 8), &info, lu_time (a[2], &time), 8);

    if (r > 0 && put)
        lu_put_info (put, &info);
    return r;
}

static bool lu_signals (int nr, const bu32 *a, long *r)
{
    lu_set *set;

    switch (nr) {
    case NR_rt_sigaction: *r = lu_sigaction (a); break;
    case NR_rt_sigprocmask: *r = lu_sigprocmask (a); break;
    case NR_rt_sigpending: *r = lu_sigpending (a[0]); break;
    case NR_rt_sigtimedwait: *r = lu_sigtimedwait (a); break;
    case NR_rt_sigsuspend:
        *r = (set = lu_own (a[0], sizeof *set)) ? lu_ppoll (NULL, 0, NULL, set) : -1;
        break;
    case NR_pause: *r = lu_ppoll (NULL, 0, NULL, NULL); break;
    case NR_kill: *r = kill ((int) a[0], a[1]); break;
    case NR_tkill: *r = syscall (SYS_tkill, (int) a[0], a[1]); break;
    case NR_tgkill: *r = syscall (SYS_tgkill, (int) a[0], (int) a[1], a[2]); break;
    case NR_alarm: *r = alarm (a[0]); break;
    default: return false;
    }
    return true;
}

/* ---- Time ------------------------------------------------------------------------------------ */

/* Two words for a time; the second may be in microseconds as well. */
static long lu_put_time (bu32 addr, long sec, long sub)
{
    bu32 *t = lu_ptr (addr, 8);

    if (t == (void *) 1) {
        errno = EFAULT;
        return -1;
    }
    if (t) {
        t[0] = sec;
        t[1] = sub;
    }
    return 0;
}

static long lu_sleep (const bu32 *a)
{
    struct timespec time, begin, now;
    struct timespec *want = lu_time (a[0], &time);
    long left;

    if (!want || want == (void *) 1) {
        errno = EFAULT;
        return -1;
    }
    clock_gettime (CLOCK_MONOTONIC, &begin);
    if (lu_ppoll (NULL, 0, want, NULL) == 0)
        return 0;
    clock_gettime (CLOCK_MONOTONIC, &now);
    left = (want->tv_sec - (now.tv_sec - begin.tv_sec)) * 1000000000
        + want->tv_nsec - (now.tv_nsec - begin.tv_nsec);
    left = left < 0 ? 0 : left;
    lu_put_time (a[1], left / 1000000000, left % 1000000000);
    errno = EINTR;
    return -1;
}

static bool lu_times (int nr, const bu32 *a, long *r)
{
    struct timespec time;
    struct timeval day;
    struct tms tms;
    bu32 *w;

    switch (nr) {
    case NR_time:
        clock_gettime (CLOCK_REALTIME, &time);
        *r = time.tv_sec;
        if ((w = lu_own (a[0], 4)))
            *w = *r;
        break;
    case NR_gettimeofday:
        gettimeofday (&day, NULL);
        *r = lu_put_time (a[0], day.tv_sec, day.tv_usec);
        break;
    case NR_clock_gettime:
        if ((*r = clock_gettime (a[0], &time)) == 0)
            *r = lu_put_time (a[1], time.tv_sec, time.tv_nsec);
        break;
    case NR_clock_getres:
        if ((*r = clock_getres (a[0], &time)) == 0)
            *r = lu_put_time (a[1], time.tv_sec, time.tv_nsec);
        break;
    case NR_times:
        *r = times (&tms);
        if ((w = lu_own (a[0], 16))) {
            w[0] = tms.tms_utime;
            w[1] = tms.tms_stime;
            w[2] = tms.tms_cutime;
            w[3] = tms.tms_cstime;
        }
        break;
    case NR_nanosleep: *r = lu_sleep (a); break;
    default: return false;
    }
    return true;
}

/* ---- Waiting for descriptors ----------------------------------------------------------------- */

/* The host reads and writes sets by eight bytes, the program by four. */
static long lu_pselect (const bu32 *a)
{
    unsigned char sets[3][1024 / 8];
    void *host[3] = { NULL, NULL, NULL };
    struct timespec time;
    bu32 bytes = (a[0] + 31) / 32 * 4, *extra = lu_ptr (a[5], 8);
    lu_set *mask = NULL;
    struct { const lu_set *mask; size_t size; } with = { &lu_mask, sizeof lu_mask };
    long r = -1;

    if (bytes > sizeof sets[0]) {
        errno = EINVAL;
        return -1;
    }
    if (extra && extra != (void *) 1 && !lu_set_at (extra[0], &mask))
        return -1;
    for (int i = 0; i < 3; i++) {
        void *set = lu_own (a[1 + i], bytes);
        if (set) {
            memset (sets[i], 0, sizeof sets[i]);
            host[i] = memcpy (sets[i], set, bytes);
        }
    }
    if (lu_wait_begin (mask))
        r = syscall (SYS_pselect6, a[0], host[0], host[1], host[2], lu_time (a[4], &time), &with);
    for (int i = 0; i < 3 && r >= 0; i++)
        if (host[i])
            memcpy (lu_memory + a[1 + i], host[i], bytes);
    return lu_wait_end (r);
}

/* struct epoll_event is alike: packed on x86-64, and on Blackfin by its alignment. */
static long lu_epoll_wait (int nr, const bu32 *a)
{
    void *events = lu_ptr (a[1], a[2] * 12);
    lu_set *mask = NULL;
    long r = -1;

    if (nr == NR_epoll_pwait && !lu_set_at (a[4], &mask))
        return -1;
    if (lu_wait_begin (mask))
        r = syscall (SYS_epoll_pwait, a[0], events, a[2], (int) a[3], &lu_mask, sizeof lu_mask);
    return lu_wait_end (r);
}

static bool lu_waits (int nr, const bu32 *a, long *r)
{
    struct timespec time;
    lu_set *mask;

    switch (nr) {
    case NR_ppoll:
        *r = -1;
        if (lu_set_at (a[3], &mask))
            *r = lu_ppoll (lu_ptr (a[0], a[1] * sizeof (struct pollfd)), a[1],
                           lu_time (a[2], &time), mask);
        break;
    case NR_pselect6: *r = lu_pselect (a); break;
#ifdef __x86_64__
    case NR_epoll_create: *r = epoll_create (a[0]); break;
    case NR_epoll_create1: *r = epoll_create1 (a[0]); break;
    case NR_epoll_ctl: *r = epoll_ctl (a[0], a[1], a[2], lu_ptr (a[3], 12)); break;
    case NR_epoll_wait: case NR_epoll_pwait: *r = lu_epoll_wait (nr, a); break;
#endif
    default: return false;
    }
    return true;
}

/* ---- Files ----------------------------------------------------------------------------------- */

/* Four flags of open(2) have numbers of the CPU's own. */
static const struct { int target, host; } lu_open_flags[] = {
    { 040000, O_DIRECTORY }, { 0100000, O_NOFOLLOW }, { 0200000, O_DIRECT }, { 0400000, 0 },
};

static int lu_flags_in (int flags)
{
    int host = flags & ~(040000 | 0100000 | 0200000 | 0400000);

    for (int i = 0; i < 4; i++)
        if (flags & lu_open_flags[i].target)
            host |= lu_open_flags[i].host;
    return host;
}

static int lu_flags_out (int flags)
{
    int target = flags & ~(O_DIRECTORY | O_NOFOLLOW | O_DIRECT | 0100000);

    for (int i = 0; i < 3; i++)
        if (flags & lu_open_flags[i].host)
            target |= lu_open_flags[i].target;
    return target;
}

/* struct kernel_stat64 */
static long lu_stat64 (int result, const struct stat *st, bu32 addr)
{
    bu32 *w = lu_own (addr, 96);

    if (result < 0 || !w)
        return -1;
    memset (w, 0, 96);
    w[0] = st->st_dev & 0xffff;
    w[3] = st->st_ino;
    w[4] = st->st_mode;
    w[5] = st->st_nlink;
    w[6] = st->st_uid;
    w[7] = st->st_gid;
    w[8] = st->st_rdev & 0xffff;
    w[11] = st->st_size;
    w[12] = (unsigned long) st->st_size >> 32;
    w[13] = st->st_blksize;
    w[14] = st->st_blocks;
    w[16] = st->st_atim.tv_sec;
    w[17] = st->st_atim.tv_nsec;
    w[18] = st->st_mtim.tv_sec;
    w[19] = st->st_mtim.tv_nsec;
    w[20] = st->st_ctim.tv_sec;
    w[21] = st->st_ctim.tv_nsec;
    w[22] = st->st_ino;
    w[23] = (unsigned long) st->st_ino >> 32;
    return 0;
}

static off_t lu_wide (bu32 low, bu32 high)
{
    return (off_t) ((unsigned long) high << 32 | low);
}

/* struct iovec; what they point at is used where it is. */
static int lu_iov (bu32 addr, bu32 count, struct iovec *iov)
{
    bu32 *w;

    if (count > IOV_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (count > 0 && !(w = lu_own (addr, count * 8)))
        return -1;
    for (bu32 i = 0; i < count; i++) {
        iov[i].iov_base = lu_ptr (w[2 * i], w[2 * i + 1]);
        iov[i].iov_len = w[2 * i + 1];
    }
    return count;
}

/* struct linux_dirent: the host's 64-bit one, with narrower numbers and the type at the end.
   Records only shrink, so each keeps its place. */
static long lu_getdents (int fd, bu32 addr, bu32 size)
{
    char *buffer = lu_own (addr, size);
    long end = buffer ? syscall (SYS_getdents64, fd, buffer, size) : -1;

    for (long at = 0; at < end;) {
        struct dirent64 entry;
        char *record = buffer + at;
        unsigned short len;
        memcpy (&len, record + 16, 2);
        memset (&entry, 0, sizeof entry);
        memcpy (&entry, record, len < sizeof entry ? len : sizeof entry);
        memset (record, 0, len);
        memcpy (record, &entry.d_ino, 4);
        memcpy (record + 4, &entry.d_off, 4);
        memcpy (record + 8, &len, 2);
        strcpy (record + 10, entry.d_name);
        record[len - 1] = entry.d_type;
        at += len;
    }
    return end;
}

/* struct flock, and struct flock64 for the commands from 12 on. */
static long lu_record_lock (int fd, bu32 command, bu32 addr)
{
    bool wide = command >= 12;
    bu32 *w = lu_own (addr, wide ? 24 : 16);
    struct flock lock;

    if (!w)
        return -1;
    memset (&lock, 0, sizeof lock);
    lock.l_type = w[0];
    lock.l_whence = w[0] >> 16;
    lock.l_start = wide ? lu_wide (w[1], w[2]) : (bs32) w[1];
    lock.l_len = wide ? lu_wide (w[3], w[4]) : (bs32) w[2];
    command = wide ? command - 12 : command - 5;
    if (fcntl (fd, command == 0 ? F_GETLK : command == 1 ? F_SETLK : F_SETLKW, &lock) < 0)
        return -1;
    if (command == 0) {
        w[0] = (unsigned short) lock.l_type | (bu32) lock.l_whence << 16;
        w[1] = lock.l_start;
        w[wide ? 3 : 2] = lock.l_len;
        w[wide ? 5 : 3] = lock.l_pid;
        if (wide) {
            w[2] = (unsigned long) lock.l_start >> 32;
            w[4] = (unsigned long) lock.l_len >> 32;
        }
    }
    return 0;
}

static long lu_fcntl (const bu32 *a)
{
    long r;

    if ((a[1] >= 5 && a[1] <= 7) || (a[1] >= 12 && a[1] <= 14))
        return lu_record_lock (a[0], a[1], a[2]);
    switch (a[1]) {
    case F_GETFL:
        r = fcntl (a[0], F_GETFL);
        return r < 0 ? r : lu_flags_out (r);
    case F_SETFL: return fcntl (a[0], F_SETFL, lu_flags_in (a[2]));
    case F_DUPFD: case F_DUPFD_CLOEXEC: case F_GETFD: case F_SETFD: case F_GETOWN: case F_SETOWN:
    case F_GETPIPE_SZ: case F_SETPIPE_SZ:
        return fcntl (a[0], a[1], a[2]);
    }
    errno = EINVAL;
    return -1;
}

/* Those whose argument is the same for both. */
static long lu_ioctl (const bu32 *a)
{
    switch (a[1]) {
    case TCGETS: case TCSETS: case TCSETSW: case TCSETSF: case TIOCGWINSZ: case TIOCSWINSZ:
    case TIOCGPGRP: case TIOCSPGRP: case TIOCOUTQ: case FIONREAD: case FIONBIO: case FIOCLEX:
    case FIONCLEX:
        return ioctl (a[0], a[1], lu_ptr (a[2], 64));
    }
    errno = ENOTTY;
    return -1;
}

static long lu_llseek (const bu32 *a)
{
    off_t to = lseek (a[0], lu_wide (a[2], a[1]), a[4]);
    void *result = lu_own (a[3], 8);

    if (to < 0 || !result)
        return -1;
    memcpy (result, &to, 8);
    return 0;
}

/* Calls on names. */
static bool lu_names (int nr, const bu32 *a, long *r)
{
    char *path = lu_str (a[0]), *second = lu_str (a[1]);
    struct stat st;

    switch (nr) {
    case NR_open: *r = open (path, lu_flags_in (a[1]), a[2]); break;
    case NR_creat: *r = creat (path, a[1]); break;
    case NR_openat: *r = openat (a[0], second, lu_flags_in (a[2]), a[3]); break;
    case NR_stat64: *r = lu_stat64 (stat (path, &st), &st, a[1]); break;
    case NR_lstat64: *r = lu_stat64 (lstat (path, &st), &st, a[1]); break;
    case NR_fstat64: *r = lu_stat64 (fstat (a[0], &st), &st, a[1]); break;
    case NR_fstatat64: *r = lu_stat64 (fstatat (a[0], second, &st, a[3]), &st, a[2]); break;
    case NR_access: *r = access (path, a[1]); break;
    case NR_faccessat: *r = faccessat (a[0], second, a[2], 0); break;
    case NR_chdir: *r = chdir (path); break;
    case NR_getcwd: *r = syscall (SYS_getcwd, lu_ptr (a[0], a[1]), a[1]); break;
    case NR_mkdir: *r = mkdir (path, a[1]); break;
    case NR_mkdirat: *r = mkdirat (a[0], second, a[2]); break;
    case NR_rmdir: *r = rmdir (path); break;
    case NR_mknod: *r = mknod (path, a[1], a[2]); break;
    case NR_mknodat: *r = mknodat (a[0], second, a[2], a[3]); break;
    case NR_link: *r = link (path, second); break;
    case NR_symlink: *r = symlink (path, second); break;
    case NR_unlink: *r = unlink (path); break;
    case NR_unlinkat: *r = unlinkat (a[0], second, a[2]); break;
    case NR_rename: *r = rename (path, second); break;
    case NR_renameat: *r = renameat (a[0], second, a[2], lu_str (a[3])); break;
    case NR_readlink: *r = readlink (path, lu_ptr (a[1], a[2]), a[2]); break;
    case NR_readlinkat: *r = readlinkat (a[0], second, lu_ptr (a[2], a[3]), a[3]); break;
    case NR_chmod: *r = chmod (path, a[1]); break;
    case NR_fchmodat: *r = fchmodat (a[0], second, a[2], 0); break;
    case NR_chown32: *r = chown (path, a[1], a[2]); break;
    case NR_lchown32: *r = lchown (path, a[1], a[2]); break;
    case NR_fchownat: *r = fchownat (a[0], second, a[2], a[3], a[4]); break;
    case NR_truncate: *r = truncate (path, (bs32) a[1]); break;
    case NR_truncate64: *r = truncate (path, lu_wide (a[1], a[2])); break;
    default: return false;
    }
    return true;
}

/* Between pipes: no offsets. */
static long lu_splice (const bu32 *a)
{
    bool waits = !(a[5] & SPLICE_F_NONBLOCK);

    if (a[1] || a[3])
        return errno = EINVAL, -1;
    if (waits && !(lu_ready (a[0], POLLIN, 0) && lu_ready (a[2], POLLOUT, 0)))
        return -1;
    return splice (a[0], NULL, a[2], NULL, a[4], a[5]);
}

/* Calls on descriptors. */
static bool lu_descriptors (int nr, const bu32 *a, long *r)
{
    static struct iovec iov[IOV_MAX];
    int fd = a[0], count;
    void *buffer = lu_ptr (a[1], a[2]);

    switch (nr) {
    case NR_read: *r = lu_ready (fd, POLLIN, 0) ? read (fd, buffer, a[2]) : -1; break;
    case NR_write: *r = lu_ready (fd, POLLOUT, 0) ? write (fd, buffer, a[2]) : -1; break;
    case NR_readv:
        count = lu_iov (a[1], a[2], iov);
        *r = count >= 0 && lu_ready (fd, POLLIN, 0) ? readv (fd, iov, count) : -1;
        break;
    case NR_writev:
        count = lu_iov (a[1], a[2], iov);
        *r = count >= 0 && lu_ready (fd, POLLOUT, 0) ? writev (fd, iov, count) : -1;
        break;
    case NR_pread: case NR_pread64: *r = pread (fd, buffer, a[2], lu_wide (a[3], a[4])); break;
    case NR_pwrite: case NR_pwrite64: *r = pwrite (fd, buffer, a[2], lu_wide (a[3], a[4])); break;
    case NR_lseek: *r = lseek (fd, (bs32) a[1], a[2]); break;
    case NR__llseek: *r = lu_llseek (a); break;
    case NR_ftruncate: *r = ftruncate (fd, (bs32) a[1]); break;
    case NR_ftruncate64: *r = ftruncate (fd, lu_wide (a[1], a[2])); break;
    case NR_fsync: *r = fsync (fd); break;
    case NR_fdatasync: *r = fdatasync (fd); break;
    case NR_sync: sync (); break;
    case NR_close: *r = close (fd); break;
    case NR_dup: *r = dup (fd); break;
    case NR_dup2: *r = dup2 (fd, a[1]); break;
    case NR_dup3: *r = dup3 (fd, a[1], a[2]); break;
    case NR_pipe: *r = pipe (lu_ptr (a[0], 8)); break;
    case NR_pipe2: *r = pipe2 (lu_ptr (a[0], 8), lu_flags_in (a[1])); break;
    case NR_splice: *r = lu_splice (a); break;
    case NR_fcntl: case NR_fcntl64: *r = lu_fcntl (a); break;
    case NR_ioctl: *r = lu_ioctl (a); break;
    case NR_flock: *r = flock (fd, a[1]); break;
    case NR_fchmod: *r = fchmod (fd, a[1]); break;
    case NR_fchown32: *r = fchown (fd, a[1], a[2]); break;
    case NR_fchdir: *r = fchdir (fd); break;
    case NR_getdents64: *r = syscall (SYS_getdents64, fd, buffer, a[2]); break;
    case NR_getdents: *r = lu_getdents (fd, a[1], a[2]); break;
    default: return false;
    }
    return true;
}

/* ---- Sockets --------------------------------------------------------------------------------- */

enum { LU_CMSG = 12, LU_CONTROL = 4096 }; /* struct cmsghdr of the program's; room for ours */

static bu32 lu_align (bu32 n)
{
    return (n + 3) & ~3;
}

/* The program's control messages, for the host. Returns their length. */
static long lu_control_in (bu32 addr, bu32 len, char *control)
{
    char *from = lu_own (addr, len), *to = control;

    if (len > 0 && !from)
        return -1;
    while (len >= LU_CMSG) {
        struct cmsghdr *header = (struct cmsghdr *) to;
        bu32 w[3];
        memcpy (w, from, LU_CMSG);
        if (w[0] < LU_CMSG || w[0] > len || to + CMSG_SPACE (w[0]) > control + LU_CONTROL) {
            errno = EINVAL;
            return -1;
        }
        header->cmsg_len = CMSG_LEN (w[0] - LU_CMSG);
        header->cmsg_level = w[1];
        header->cmsg_type = w[2];
        memcpy (CMSG_DATA (header), from + LU_CMSG, w[0] - LU_CMSG);
        to += CMSG_SPACE (w[0] - LU_CMSG);
        w[0] = lu_align (w[0]) < len ? lu_align (w[0]) : len;
        from += w[0];
        len -= w[0];
    }
    return to - control;
}

/* The host's control messages, for the program. Where its room ends, they are cut as its own kernel
   would: descriptors that it can't be told of are not left open. Returns their length. */
static bu32 lu_control_out (struct msghdr *msg, bu32 addr, bu32 room)
{
    char *to = lu_own (addr, room);
    bu32 used = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR (msg); h; h = CMSG_NXTHDR (msg, h)) {
        bu32 len = h->cmsg_len - CMSG_LEN (0), fits = len;
        bool rights = h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS;
        if (!to || used + LU_CMSG > room)
            fits = 0;
        else if (used + LU_CMSG + len > room)
            fits = room - used - LU_CMSG;
        if (rights)
            fits &= ~3;
        if (fits < len)
            msg->msg_flags |= MSG_CTRUNC;
        for (bu32 at = fits; rights && at < len; at += 4) {
            int fd;
            memcpy (&fd, CMSG_DATA (h) + at, 4);
            close (fd);
        }
        if (fits > 0) {
            bu32 w[3] = { LU_CMSG + fits, h->cmsg_level, h->cmsg_type };
            memcpy (to + used, w, LU_CMSG);
            memcpy (to + used + LU_CMSG, CMSG_DATA (h), fits);
            used += lu_align (LU_CMSG + fits);
        }
    }
    return used < room ? used : room;
}

/* struct msghdr: name, its length, iov, how many, control, its length, flags. */
static long lu_message (int nr, const bu32 *a)
{
    static struct iovec iov[IOV_MAX];
    static char control[LU_CONTROL] __attribute__ ((aligned (8)));
    bu32 *w = lu_own (a[1], 28);
    struct msghdr msg;
    int count = w ? lu_iov (w[2], w[3], iov) : -1;
    long r, len = LU_CONTROL;

    if (count < 0)
        return -1;
    memset (&msg, 0, sizeof msg);
    msg.msg_iov = iov;
    msg.msg_iovlen = count;
    if (w[0]) {
        msg.msg_name = lu_ptr (w[0], w[1]);
        msg.msg_namelen = w[1];
    }
    if (w[4] && w[5]) {
        if (nr == NR_sendmsg && (len = lu_control_in (w[4], w[5], control)) < 0)
            return -1;
        msg.msg_control = control;
        msg.msg_controllen = len;
    }
    if (nr == NR_sendmsg)
        return lu_ready (a[0], POLLOUT, a[2]) ? sendmsg (a[0], &msg, a[2]) : -1;
    r = lu_ready (a[0], POLLIN, a[2]) ? recvmsg (a[0], &msg, a[2]) : -1;
    if (r >= 0) {
        if (w[0])
            w[1] = msg.msg_namelen;
        w[5] = msg.msg_control ? lu_control_out (&msg, w[4], w[5]) : 0;
        w[6] = msg.msg_flags;
    }
    return r;
}

/* SO_RCVTIMEO and SO_SNDTIMEO have a time in them. */
static long lu_option (int nr, const bu32 *a)
{
    struct timeval time;
    socklen_t size = sizeof time, *len;
    bu32 *w = lu_own (a[3], 8);

    if (a[1] == SOL_SOCKET && (a[2] == SO_RCVTIMEO || a[2] == SO_SNDTIMEO) && w) {
        if (nr == NR_setsockopt) {
            time.tv_sec = (bs32) w[0];
            time.tv_usec = (bs32) w[1];
            return setsockopt (a[0], a[1], a[2], &time, size);
        }
        if (getsockopt (a[0], a[1], a[2], &time, &size) < 0)
            return -1;
        return lu_put_time (a[3], time.tv_sec, time.tv_usec);
    }
    if (nr == NR_setsockopt)
        return setsockopt (a[0], a[1], a[2], lu_ptr (a[3], a[4]), a[4]);
    len = lu_own (a[4], 4);
    return len ? getsockopt (a[0], a[1], a[2], lu_ptr (a[3], *len), len) : -1;
}

static bool lu_sockets (int nr, const bu32 *a, long *r)
{
    int fd = a[0];
    void *buffer = lu_ptr (a[1], a[2]);
    socklen_t *len;

    switch (nr) {
    case NR_socket: *r = socket (a[0], a[1], a[2]); break;
    case NR_socketpair: *r = socketpair (a[0], a[1], a[2], lu_ptr (a[3], 8)); break;
    case NR_bind: *r = bind (fd, buffer, a[2]); break;
    case NR_connect: *r = connect (fd, buffer, a[2]); break;
    case NR_listen: *r = listen (fd, a[1]); break;
    case NR_shutdown: *r = shutdown (fd, a[1]); break;
    case NR_accept: case NR_getsockname: case NR_getpeername:
        len = a[2] ? lu_own (a[2], 4) : NULL;
        buffer = lu_ptr (a[1], len ? *len : 0);
        *r = -1;
        if (nr == NR_getsockname)
            *r = getsockname (fd, buffer, len);
        else if (nr == NR_getpeername)
            *r = getpeername (fd, buffer, len);
        else if (lu_ready (fd, POLLIN, 0))
            *r = accept (fd, buffer, len);
        break;
    case NR_recv: *r = lu_ready (fd, POLLIN, a[3]) ? recv (fd, buffer, a[2], a[3]) : -1; break;
    case NR_send: *r = lu_ready (fd, POLLOUT, a[3]) ? send (fd, buffer, a[2], a[3]) : -1; break;
    case NR_recvfrom:
        len = a[5] ? lu_own (a[5], 4) : NULL;
        *r = lu_ready (fd, POLLIN, a[3])
            ? recvfrom (fd, buffer, a[2], a[3], lu_ptr (a[4], len ? *len : 0), len) : -1;
        break;
    case NR_sendto:
        *r = lu_ready (fd, POLLOUT, a[3])
            ? sendto (fd, buffer, a[2], a[3], lu_ptr (a[4], a[5]), a[5]) : -1;
        break;
    case NR_recvmsg: case NR_sendmsg: *r = lu_message (nr, a); break;
    case NR_getsockopt: case NR_setsockopt: *r = lu_option (nr, a); break;
    default: return false;
    }
    return true;
}

/* ---- Processes ------------------------------------------------------------------------------- */

/* Linux does the waiting of vfork's parent, until its child has exec'd or ended. The child has a
   copy of the simulator, registers and handlers among it; the program's memory is shared. */
static long lu_vfork (void)
{
    long pid = syscall (SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0)
        lu_accepted = 0; /* what was sent to its parent is the parent's */
    return pid;
}

/* Strings of argv or envp, behind SKIP free places. NULL, and an error, where it can't be. */
static char **lu_strings (bu32 addr, int skip)
{
    bu32 *from = addr ? lu_own (addr, 4) : NULL;
    char **to;
    int count = 0;

    if (addr && !from)
        return NULL;
    while (from && from[count])
        count++;
    to = xcalloc (skip + count + 1, sizeof *to);
    for (int i = 0; i < count; i++)
        to[skip + i] = lu_str (from[i]);
    return to;
}

static bool lu_is_blackfin (const char *path)
{
    unsigned char head[20];
    int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && read (fd, head, 20) == 20 && memcmp (head, "\177ELF", 4) == 0
        && head[4] == 1 && head[18] == EM_BLACKFIN && head[19] == 0;

    if (fd >= 0)
        close (fd);
    return is;
}

/* A Blackfin program is run by this simulator again, whatever else by the host. */
static long lu_execve (const bu32 *a)
{
    enum { OPTIONS = 5 };
    static char self[4096], argv0[4096 + 8] = "--argv0=";
    char *path = lu_str (a[0]);
    char **argv = lu_strings (a[1], OPTIONS), **envp = lu_strings (a[2], 0), **program;

    if (!argv || !envp)
        return -1;
    program = argv + OPTIONS;
    if (path != (void *) 1 && program[0] != (void *) 1 && access (path, X_OK) == 0
        && lu_is_blackfin (path)) {
        ssize_t len = readlink ("/proc/self/exe", self, sizeof self - 1);
        if (len < 0)
            return -1;
        strncpy (argv0 + 8, program[0] ? program[0] : "", 4095);
        /* In place of its argv[0], which an option says, the program's file. */
        argv[0] = self;
        argv[1] = (char *) "--environment=user";
        argv[2] = argv0;
        argv[3] = (char *) "--";
        argv[4] = path;
        if (program[0])
            memmove (program, program + 1, (countargv (program + 1) + 1) * sizeof *program);
        /* Not by its name: its folder may be closed to whom the program has become. */
        return execve ("/proc/self/exe", argv, envp);
    }
    return execve (path, program, envp);
}

static void lu_put_usage (bu32 addr, const struct rusage *usage)
{
    bu32 *w = lu_own (addr, 72);

    if (!w)
        return;
    lu_put_time (addr, usage->ru_utime.tv_sec, usage->ru_utime.tv_usec);
    lu_put_time (addr + 8, usage->ru_stime.tv_sec, usage->ru_stime.tv_usec);
    for (int i = 0; i < 14; i++)
        w[4 + i] = (&usage->ru_maxrss)[i];
}

/* A wait that may last is not begun where a handler is to run first. */
static long lu_wait (int nr, const bu32 *a)
{
    struct rusage usage;
    siginfo_t info;
    bu32 *w;
    long r;

    if (lu_next_signal ()) {
        errno = EINTR;
        return -1;
    }
    if (nr == NR_wait4) {
        r = wait4 ((int) a[0], lu_ptr (a[1], 4), a[2], &usage);
        if (r > 0)
            lu_put_usage (a[3], &usage);
        return r;
    }
    memset (&info, 0, sizeof info);
    r = waitid (a[0], a[1], &info, a[3]);
    if (r == 0 && (w = lu_own (a[2], 128)))
        lu_put_info (w, &info);
    return r;
}

static rlim_t lu_limit_in (bu32 limit)
{
    return limit == 0xffffffff ? RLIM_INFINITY : limit;
}

static bu32 lu_limit_out (rlim_t limit)
{
    return limit > 0xffffffff ? 0xffffffff : limit;
}

static long lu_limits (int nr, const bu32 *a)
{
    struct rlimit limit;
    bu32 *w = lu_own (a[1], 8);

    if (!w)
        return -1;
    if (nr == NR_setrlimit) {
        limit.rlim_cur = lu_limit_in (w[0]);
        limit.rlim_max = lu_limit_in (w[1]);
        return setrlimit (a[0], &limit);
    }
    if (getrlimit (a[0], &limit) < 0)
        return -1;
    w[0] = lu_limit_out (limit.rlim_cur);
    w[1] = lu_limit_out (limit.rlim_max);
    return 0;
}

static long lu_uname (bu32 addr)
{
    struct utsname *name = lu_own (addr, sizeof *name);

    if (!name || uname (name) < 0)
        return -1;
    strcpy (name->machine, "blackfin");
    return 0;
}

static bool lu_identities (int nr, const bu32 *a, long *r)
{
    switch (nr) {
    case NR_getuid: case NR_getuid32: *r = getuid (); break;
    case NR_getgid: case NR_getgid32: *r = getgid (); break;
    case NR_geteuid: case NR_geteuid32: *r = geteuid (); break;
    case NR_getegid: case NR_getegid32: *r = getegid (); break;
    case NR_setuid32: *r = setuid (a[0]); break;
    case NR_setgid32: *r = setgid (a[0]); break;
    case NR_setreuid32: *r = setreuid (a[0], a[1]); break;
    case NR_setregid32: *r = setregid (a[0], a[1]); break;
    case NR_setresuid32: *r = setresuid (a[0], a[1], a[2]); break;
    case NR_setresgid32: *r = setresgid (a[0], a[1], a[2]); break;
    case NR_getresuid32:
        *r = getresuid (lu_ptr (a[0], 4), lu_ptr (a[1], 4), lu_ptr (a[2], 4));
        break;
    case NR_getresgid32:
        *r = getresgid (lu_ptr (a[0], 4), lu_ptr (a[1], 4), lu_ptr (a[2], 4));
        break;
    case NR_getgroups32: *r = getgroups (a[0], lu_ptr (a[1], a[0] * 4)); break;
    case NR_setgroups32: *r = setgroups (a[0], lu_ptr (a[1], a[0] * 4)); break;
    default: return false;
    }
    return true;
}

static bool lu_processes (int nr, const bu32 *a, long *r)
{
    struct rusage usage;

    switch (nr) {
    case NR_exit: case NR_exit_group:
        fflush (NULL); /* of traces */
        _exit (a[0] & 0xff);
    case NR_vfork: *r = lu_vfork (); break;
    case NR_execve: *r = lu_execve (a); break;
    case NR_wait4: case NR_waitid: *r = lu_wait (nr, a); break;
    case NR_getpid: *r = getpid (); break;
    case NR_getppid: *r = getppid (); break;
    case NR_gettid: case NR_set_tid_address: *r = syscall (SYS_gettid); break;
    case NR_setpgid: *r = setpgid (a[0], a[1]); break;
    case NR_getpgid: *r = getpgid (a[0]); break;
    case NR_getpgrp: *r = getpgrp (); break;
    case NR_setsid: *r = setsid (); break;
    case NR_getsid: *r = getsid (a[0]); break;
    case NR_umask: *r = umask (a[0]); break;
    case NR_nice: *r = nice ((int) a[0]); break;
    case NR_sched_yield: *r = sched_yield (); break;
    case NR_prctl: *r = syscall (SYS_prctl, a[0], a[1], a[2], a[3], a[4]); break;
    case NR_uname: *r = lu_uname (a[0]); break;
    case NR_getrlimit: case NR_setrlimit: *r = lu_limits (nr, a); break;
    case NR_prlimit64:
        *r = syscall (SYS_prlimit64, a[0], a[1], lu_ptr (a[2], 16), lu_ptr (a[3], 16));
        break;
    case NR_getrusage:
        if ((*r = getrusage ((int) a[0], &usage)) == 0)
            lu_put_usage (a[1], &usage);
        break;
    case NR_mmap2: *r = lu_mmap (a); break;
    case NR_munmap: *r = lu_munmap (a[0], a[1]); break;
    case NR_cacheflush: break;
    default: return lu_identities (nr, a, r);
    }
    return true;
}

/* ---- The program's start, its calls ---------------------------------------------------------- */

static struct sigaction lu_interrupt;

/* A program is loaded, and its stack begins at SP. */
static void lu_start (SIM_DESC sd, SIM_CPU *cpu, bu32 sp)
{
    char * const *argv = STATE_PROG_ARGV (sd);
    const char *name = argv && argv[0] ? lbasename (argv[0]) : "";
    struct sigaction act;

    /* The program's own descriptors are all that is open: bfd lets go of the file. */
    bfd_cache_close_all ();
    prctl (PR_SET_NAME, name);
    lu_memory = sim_core_trans_addr (sd, cpu, read_map, 0);
    lu_heap = mmap (NULL, LU_PAGES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!lu_memory || lu_heap == MAP_FAILED)
        sim_io_error (sd, "no memory");
    if (!TRACE_ANY_P (cpu))
        bfin_user_memory = lu_memory;
    lu_stack_end = (sp - (lu_stack_size ? lu_stack_size : LU_STACK)) & ~(LU_PAGE - 1);
    if (lu_stack_end < LU_HEAP_END)
        lu_stack_end = LU_HEAP_END;
    mprotect (lu_memory + LU_HEAP_END, lu_stack_end - LU_HEAP_END, PROT_NONE);
    syscall (SYS_rt_sigprocmask, SIG_BLOCK, NULL, &lu_mask, sizeof lu_mask);
    for (int sig = 1; sig <= 64; sig++)
        if (sigaction (sig, NULL, &act) == 0 && act.sa_handler == SIG_IGN)
            lu_actions[sig].handler = 1;
    sigaction (SIGINT, NULL, &lu_interrupt);
}

static sim_cia step_once (SIM_CPU *);

/* Runs the program. It ends here, by _exit or a signal; or, if it breaks the rules, by a jump. */
static void lu_run (SIM_DESC sd, SIM_CPU *cpu)
{
    /* The simulator has taken SIGINT meanwhile; it is the program's. */
    if (STATE_OPEN_KIND (sd) == SIM_OPEN_STANDALONE)
        sigaction (SIGINT, &lu_interrupt, NULL);
    /* No device and no clock of the simulator's needs a look after each instruction. */
    for (;;) {
        step_once (cpu);
        if (lu_accepted || lu_mask_lent)
            lu_deliver (cpu);
    }
}

static void lu_syscall (SIM_DESC sd, SIM_CPU *cpu)
{
    const bu32 a[6] = { DREG (0), DREG (1), DREG (2), DREG (3), DREG (4), DREG (5) };
    int nr = PREG (0);
    long r = 0;

    if (nr == NR_rt_sigreturn) {
        lu_sigreturn (cpu);
        return;
    }
    if (!lu_descriptors (nr, a, &r) && !lu_sockets (nr, a, &r) && !lu_waits (nr, a, &r)
        && !lu_signals (nr, a, &r) && !lu_times (nr, a, &r) && !lu_names (nr, a, &r)
        && !lu_processes (nr, a, &r)) {
        sim_io_eprintf (sd, "bfin-linux: no system call %d, at %#x\n", nr, PCREG);
        errno = ENOSYS;
        r = -1;
    }
    TRACE_SYSCALL (cpu, "linux_%d(%#x, %#x, %#x, %#x, %#x, %#x) = %ld", nr, a[0], a[1], a[2], a[3],
                   a[4], a[5], r == -1 ? -(long) errno : r);
    if (r == -1 && errno == EINTR && lu_restarts (nr))
        BFIN_CPU_STATE.did_jump = true; /* the same instruction again */
    else
        SET_DREG (0, r == -1 ? -errno : r);
}
