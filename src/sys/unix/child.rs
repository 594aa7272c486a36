//! Launching: clone(CLONE_VM | CLONE_VFORK) and execve, which needs no MMU and copies no
//! page tables. Never fork; nor posix_spawn, whose file actions uClibc-ng refuses without
//! an MMU.
//!
//! The child runs in our memory until it execs, while we are suspended. So all it needs
//! is made before, and it makes system calls only: no allocation (the heap is ours; nix's
//! own execve wrapper would leak there), no lock, no return.

use super::super::{Child, Exit, Kill, Program};
use super::{c_path, check, owned};
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

/// The child's own stack. It holds a few frames; 16 KB leave room for a signal frame.
const STACK: usize = 16 * 1024;

/// The signals of POSIX; nobody ignores real-time ones for others.
const SIGNALS: libc::c_int = 31;

pub struct Launcher {
    stack: Vec<u8>,
    /// stdin of events that have no payload.
    null: OwnedFd,
}

impl Launcher {
    pub fn new() -> io::Result<Launcher> {
        // SAFETY: a constant path.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        Ok(Launcher {
            stack: Vec::new(),
            null: owned(null)?,
        })
    }

    pub fn spawn(&mut self, program: &Program) -> io::Result<Child<OwnedFd>> {
        let path = c_path(program.path)?;
        let folder = match program.path.rsplit_once('/') {
            Some((folder, _)) if !folder.is_empty() => c_path(folder)?,
            _ => c"/".to_owned(),
        };
        let env: Vec<CString> = program
            .env
            .iter()
            .map(|variable| CString::new(variable.as_slice()))
            .collect::<Result<_, _>>()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "NUL in a variable"))?;
        let argv = [path.as_ptr(), ptr::null()];
        let envp: Vec<_> = env
            .iter()
            .map(|v| v.as_ptr())
            .chain([ptr::null()])
            .collect();

        let stdin = if program.stdin { Some(pipe()?) } else { None };
        let (stdout, stderr) = (pipe()?, pipe()?);
        for ours in [&stdout.0, &stderr.0]
            .into_iter()
            .chain(stdin.as_ref().map(|p| &p.1))
        {
            // SAFETY: a live descriptor; only our end becomes non-blocking.
            check(unsafe { libc::fcntl(ours.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
        }
        let image = Image {
            path: &path,
            folder: &folder,
            argv: &argv,
            envp: &envp,
            stdio: [
                stdin.as_ref().map_or(&self.null, |p| &p.0).as_raw_fd(),
                stdout.1.as_raw_fd(),
                stderr.1.as_raw_fd(),
            ],
            parent: std::process::id() as libc::pid_t,
        };
        if self.stack.is_empty() {
            self.stack = vec![0; STACK];
            keep_inherited_descriptors();
        }
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // A handler that ran in the child would act on our memory: none may.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        // SAFETY: CLONE_VFORK suspends us until the child has exec'd or exited, so all it
        // borrows outlives its use, and it obeys the rules at the top of this file.
        let pid = unsafe {
            clone(
                Box::new(|| image.become_program()),
                &mut self.stack,
                flags,
                Some(libc::SIGCHLD),
            )
        };
        before.thread_set_mask()?;
        let pid = pid?;
        // The child's ends close as the pipes go out of scope.
        Ok(Child {
            pid: pid.as_raw() as u32,
            stdin: stdin.map(|p| p.1),
            stdout: stdout.0,
            stderr: stderr.0,
        })
    }
}

/// Descriptors that a careless parent left open to us are not for our programs: one that
/// outlives its event would hold a stranger's pipe open.
fn keep_inherited_descriptors() {
    let listed = std::fs::read_dir("/proc/self/fd").map(|entries| {
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect()
    });
    // Without /proc: what a shell can open by number, and some more.
    let numbers: Vec<libc::c_int> = listed.unwrap_or_else(|_| (3..256).collect());
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: sets a flag, or fails where no such descriptor is open.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Reading end, writing end.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

/// Everything the child needs, made beforehand.
struct Image<'a> {
    path: &'a CStr,
    folder: &'a CStr,
    argv: &'a [*const libc::c_char],
    envp: &'a [*const libc::c_char],
    stdio: [libc::c_int; 3],
    parent: libc::pid_t,
}

impl Image<'_> {
    /// The child's whole life in our memory. Async-signal-safe calls only.
    fn become_program(&self) -> ! {
        // SAFETY: plain system calls on live pointers; on any failure the child exits.
        unsafe {
            // Handlers first, then the mask: with it open, a handler could run. All of them:
            // a shell that starts us in the background ignores SIGINT and SIGQUIT for good,
            // nohup SIGHUP. SIGKILL and SIGSTOP fail, and need nothing.
            for signal in 1..=SIGNALS {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none: libc::sigset_t = core::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
            libc::setpgid(0, 0);
            // Nobody would end or hear it once the daemon is killed. It may have been before.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != self.parent {
                libc::_exit(127);
            }
            // The pipes' numbers are above 2, as 0 to 2 are always taken.
            for (number, &fd) in self.stdio.iter().enumerate() {
                if libc::dup2(fd, number as libc::c_int) < 0 {
                    libc::_exit(127);
                }
            }
            if libc::chdir(self.folder.as_ptr()) == 0 {
                libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
            }
            let why = match *libc::__errno_location() {
                libc::ENOENT => {
                    c"cannot be executed: it, or the interpreter it names, is missing\n"
                }
                libc::EACCES => c"cannot be executed: permission denied\n",
                libc::ENOEXEC => c"cannot be executed: not a program for this machine\n",
                libc::ENOMEM => c"cannot be executed: not enough memory\n",
                libc::E2BIG => c"cannot be executed: its environment is too large\n",
                _ => c"cannot be executed\n",
            };
            libc::write(2, why.as_ptr().cast(), why.count_bytes());
            libc::_exit(127);
        }
    }
}

pub fn exited(pid: u32) -> bool {
    // waitid with WNOWAIT: the zombie keeps the group's number taken until all of the
    // group is killed.
    // SAFETY: all zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: writes one siginfo_t.
    let result = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) };
    // An error (ECHILD) can only mean that it is gone.
    // SAFETY: si_pid is set, or zero as we made it, where no child has changed.
    result != 0 || unsafe { info.si_pid() } != 0
}

pub fn kill(pid: u32, signal: Kill) {
    let signal = match signal {
        Kill::Term => libc::SIGTERM,
        Kill::Kill => libc::SIGKILL,
    };
    let pid = pid as libc::pid_t;
    // SAFETY: plain system calls; the group's number is our child's, not yet reaped.
    unsafe {
        libc::kill(-pid, signal);
        // It may have moved itself to another group, and left others in this one.
        libc::kill(pid, signal);
    }
}

pub fn reap(pid: u32) -> Exit {
    let mut status: libc::c_int = 0;
    loop {
        // SAFETY: writes one int.
        let result = unsafe { libc::waitpid(pid as libc::pid_t, &mut status, 0) };
        if result >= 0 {
            break;
        }
        if nix::errno::Errno::last() != nix::errno::Errno::EINTR {
            // Someone made SIGCHLD ignored: the status is lost, the child is not.
            return Exit::Code(255);
        }
    }
    if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status) as u8)
    } else {
        Exit::Code(libc::WEXITSTATUS(status) as u8)
    }
}
