//! The only door to the operating system, and the only room with `unsafe`.
//!
//! [`Sys`] is everything ws2cgi asks of an operating system. The rest of the code is
//! generic over it, so that it also runs where `std` has nothing under it, and against
//! an operating system in memory.
//!
//! Conventions: paths are UTF-8 and absolute where they outlive a call; a call that
//! would block returns [`ErrorKind::WouldBlock`](std::io::ErrorKind::WouldBlock), and
//! that is a value, not an error; every descriptor is close-on-exec from birth, and
//! non-blocking unless its call says otherwise.

use core::net::SocketAddr;
use core::time::Duration;
use std::ffi::OsString;
use std::io;

#[cfg(unix)]
pub mod unix;
#[cfg(target_family = "wasm")]
pub mod wasm;

/// Everything ws2cgi asks of an operating system.
pub trait Sys {
    /// An open descriptor; closed when dropped.
    type Fd;

    // ---- This process

    /// Time since an arbitrary start, never going back (`CLOCK_MONOTONIC`).
    fn now(&self) -> Duration;
    /// Bytes that differ at every start: urandom mixed with clocks and pid, as boards
    /// have little entropy when they boot.
    fn seed(&self) -> [u8; 20];
    /// This process's id.
    fn pid(&self) -> u32;
    /// The soft limit on open descriptors (`RLIMIT_NOFILE`).
    fn descriptor_limit(&self) -> usize;
    /// How many bytes of memory this process can take beside its program (RLIMIT_AS, or the
    /// ceiling of a wasm module's memory); `usize::MAX`: no limit is set.
    fn memory_limit(&self) -> usize;
    /// Gives memory that is free back to the system, where an allocator would keep it.
    fn give_memory_back(&self) {}
    /// The working folder, absolute.
    fn current_dir(&self) -> io::Result<String>;
    /// Numeric user and primary group of a user's name or number.
    fn user(&self, name: &str) -> io::Result<(u32, u32)>;
    /// Numeric group of a group's name or number.
    fn group(&self, name: &str) -> io::Result<u32>;
    /// This process's effective user and group.
    fn identity(&self) -> (u32, u32);
    /// Become this user for good: setgroups, setgid, setuid, then verified; and no program
    /// that is run from now on gets more (PR_SET_NO_NEW_PRIVS), where the kernel knows that.
    fn become_user(&self, uid: u32, gid: u32) -> io::Result<()>;
    /// Writes one line to the log (stderr) if that can't block; false: dropped.
    fn log(line: &[u8]) -> bool;

    // ---- Waiting

    /// From now on [`wait`](Sys::wait) reports the signals of [`Signals`], and no
    /// other call is interrupted by them.
    fn catch_signals(&mut self) -> io::Result<()>;
    /// Adds a descriptor to the set that the next [`wait`](Sys::wait) looks at.
    fn watch(&mut self, fd: &Self::Fd, token: usize, interest: Interest);
    /// Waits until a watched descriptor is ready, a signal came or `deadline` (on the
    /// clock of [`now`](Sys::now)) has passed; appends what is ready; empties the set.
    fn wait(&mut self, deadline: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<Signals>;

    // ---- Bytes

    /// read(2). 0 is the end.
    fn read(&self, fd: &Self::Fd, buf: &mut [u8]) -> io::Result<usize>;
    /// write(2), never raising SIGPIPE.
    fn write(&self, fd: &Self::Fd, bytes: &[u8]) -> io::Result<usize>;
    /// Bytes that wait in a pipe (FIONREAD).
    fn pending(&self, fd: &Self::Fd) -> io::Result<usize>;
    /// A descriptor that this process was started with: 0, 1 or 2. Blocking or not is
    /// left as it is: it belongs to others too.
    fn inherited(&self, number: u32) -> io::Result<Self::Fd>;
    /// Takes over descriptor `number`, above 2, that a parent left open for us
    /// (`--ready-fd`). Those that we have opened ourselves are refused.
    fn take_inherited(&self, number: u32) -> io::Result<Self::Fd>;

    // ---- Sockets

    /// recv(2), or read(2) of a pipe, that does not block even where another process made the
    /// socket or pipe blocking, as whoever handed it over can. 0 is the end.
    fn recv(&self, fd: &Self::Fd, buf: &mut [u8]) -> io::Result<usize>;
    /// send(2), or write(2) of at most PIPE_BUF bytes to a pipe, likewise.
    fn send(&self, fd: &Self::Fd, bytes: &[u8]) -> io::Result<usize>;
    /// A listening stream socket; mode 0660 from birth in the file system. A socket there at
    /// which nobody listens any more is replaced; anything else there is AddrInUse.
    fn listen(&self, address: &Address) -> io::Result<Self::Fd>;
    /// The next connection of a listening socket, fit for the loop, and what it is:
    /// [`Kind::Stream`].
    fn accept(&self, listener: &Self::Fd) -> io::Result<(Self::Fd, Kind)>;
    /// Makes a descriptor that came from elsewhere fit for the loop, and says what it is. A
    /// TCP socket gets TCP_NODELAY.
    fn adopt(&self, fd: Self::Fd) -> io::Result<(Self::Fd, Kind)>;
    /// Says what a descriptor is and changes nothing.
    fn kind(&self, fd: &Self::Fd) -> io::Result<Kind>;
    /// Ends the sending side, or both sides, of a socket (shutdown(2)).
    fn shutdown(&self, fd: &Self::Fd, both: bool);
    /// Before a socket is closed: sees to it that close(2) does not wait, whatever the sender
    /// of a hand-off has set (SO_LINGER). `reset`: what the peer has not taken is thrown away.
    fn before_close(&self, socket: &Self::Fd, reset: bool);
    /// The datagram socket that hand-off records arrive at, mode 0660; nothing may stand at
    /// `path`.
    fn bind_handoff(&self, path: &str) -> io::Result<Self::Fd>;
    /// The next hand-off record. The descriptors come close-on-exec.
    fn receive_handoff(&self, socket: &Self::Fd, buf: &mut [u8]) -> io::Result<Datagram<Self::Fd>>;
    /// Sends one hand-off record with descriptors to the socket at `path`. WouldBlock: its
    /// queue is full.
    fn send_handoff(&self, path: &str, record: &[u8], fds: &[&Self::Fd]) -> io::Result<()>;

    // ---- Files

    /// stat(2), following links.
    fn stat(&self, path: &str) -> io::Result<Stat>;
    /// lstat(2).
    fn lstat(&self, path: &str) -> io::Result<Stat>;
    /// fstat(2).
    fn fstat(&self, fd: &Self::Fd) -> io::Result<Stat>;
    /// Whether this process may execute the file (access(2), X_OK).
    fn executable(&self, path: &str) -> bool;
    /// Names in a folder, without `.` and `..`, at most [`NAMES`](crate::limits::NAMES) of them;
    /// names that are not UTF-8 are left out.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// mkdir(2), mode 0700.
    fn make_dir(&self, path: &str) -> io::Result<()>;
    /// mkfifo(3), mode 0600.
    fn make_fifo(&self, path: &str) -> io::Result<()>;
    /// fchown (if an owner is given), then fchmod: the mode holds whatever the umask. By
    /// descriptor, as a name may meanwhile have become a link.
    fn set_access(&self, fd: &Self::Fd, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()>;
    /// lchown(2), for a socket: it can't be opened.
    fn give(&self, path: &str, owner: (u32, u32)) -> io::Result<()>;
    /// unlink(2).
    fn unlink(&self, path: &str) -> io::Result<()>;
    /// rename(2).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// open(2) in one of the ways of [`Open`].
    fn open(&self, path: &str, how: Open) -> io::Result<Self::Fd>;
    /// Takes an exclusive lock for as long as the descriptor lives; false: another
    /// process has it (flock(2)).
    fn lock(&self, fd: &Self::Fd) -> io::Result<bool>;

    // ---- Children

    /// Runs a program in a process group of its own; it is killed when this process dies
    /// (PR_SET_PDEATHSIG). Returns when exec has happened or
    /// failed; a failed exec is a child that exits 127 with a line on its stderr.
    fn spawn(&mut self, program: &Program) -> io::Result<Child<Self::Fd>>;
    /// Whether a child has exited; it stays a zombie, so its group's number stays taken.
    fn exited(&self, pid: u32) -> bool;
    /// Signals a child's whole process group.
    fn kill(&self, pid: u32, signal: Kill);
    /// Collects a child that has exited.
    fn reap(&self, pid: u32) -> Exit;
}

/// Writes all of `bytes` to a descriptor that blocks, or to a file.
pub fn write_all<S: Sys>(sys: &S, fd: &S::Fd, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match sys.write(fd, &bytes[written..])? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(())
}

/// Prints on standard output.
pub fn print<S: Sys>(sys: &S, text: &str) -> io::Result<()> {
    let stdout = sys.inherited(1)?;
    write_all(sys, &stdout, text.as_bytes())
}

/// Whether nobody but root can change where a path leads, up to its last name.
pub fn only_roots<S: Sys>(sys: &S, path: &str) -> bool {
    // From each folder up to the root by `..`: links may lead anywhere.
    let guarded = |folder: &str| {
        let (mut folder, mut below) = (folder.to_owned(), None);
        while let Ok(stat) = sys.stat(&folder) {
            if !stat.roots || below == Some(stat.id) {
                return stat.roots;
            }
            below = Some(stat.id);
            folder.push_str("../");
        }
        false
    };
    let mut ends = path.match_indices('/').map(|(end, _)| end);
    ends.all(|end| guarded(&path[..=end]))
}

/// The environment the program was started with.
pub type Environment = Vec<(OsString, OsString)>;

/// A variable of it. None where it is not UTF-8, too.
pub fn variable<'a>(env: &'a Environment, name: &str) -> Option<&'a str> {
    let found = env.iter().find(|(n, _)| n == name);
    found.and_then(|(_, value)| value.to_str())
}

/// What a watched descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read, or the end.
    Read,
    /// Room to write, or the reader's end.
    Write,
    /// Either.
    Both,
}

/// A watched descriptor that is ready. Errors and hang-ups show as both: the next
/// read or write tells.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The number given to [`Sys::watch`].
    pub token: usize,
    /// A read will not block.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
}

/// Signals that came since the last [`Sys::wait`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Signals {
    /// SIGCHLD.
    pub child: bool,
    /// SIGTERM, SIGINT or SIGHUP.
    pub stop: bool,
    /// SIGUSR1.
    pub status: bool,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A stream socket in the file system.
    Unix(String),
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Address::Tcp(tcp) => write!(f, "{tcp}"),
            Address::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// What a descriptor turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connected stream socket; addresses where it is TCP.
    Stream {
        /// The other end.
        remote: Option<SocketAddr>,
        /// Our end.
        local: Option<SocketAddr>,
    },
    /// A stream socket that has no other end (any more).
    Unconnected,
    /// The reading end of a pipe.
    PipeReader,
    /// The writing end of a pipe.
    PipeWriter,
    /// A regular file.
    File,
    /// Anything else, a FIFO opened for both among it.
    Other,
}

/// One hand-off record as it arrived.
#[derive(Debug)]
pub struct Datagram<F> {
    /// Bytes written to the buffer.
    pub len: usize,
    /// The descriptors that came along.
    pub fds: Vec<F>,
    /// Bytes or descriptors were cut off (MSG_TRUNC, MSG_CTRUNC).
    pub truncated: bool,
    /// The sender's user (SO_PASSCRED).
    pub uid: Option<u32>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A folder.
    Folder,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A symbolic link ([`Sys::lstat`] only).
    Link,
    /// A device.
    Other,
}

/// What [`Sys::stat`] tells.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// What it is.
    pub file_type: FileType,
    /// Bytes of a regular file.
    pub size: u64,
    /// Names it has.
    pub links: u64,
    /// Device and inode: two descriptors of one file are equal here.
    pub id: (u64, u64),
    /// When it was last made, written, renamed or given other rights (`st_ctime`, seconds of the
    /// wall clock): to be compared with itself only.
    pub changed: u64,
    /// Of a folder: only root can change which names it holds, or everyone his own (sticky).
    pub roots: bool,
}

/// The ways in which ws2cgi opens files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Read, following no link at the last name and blocking on nothing.
    Read,
    /// A folder, and no link to one.
    Folder,
    /// A FIFO for both, so that it has no end while its writers come and go.
    Fifo,
    /// A FIFO to write, blocking writes; NotConnected where nobody reads.
    FifoWriter,
    /// A new file with this mode; AlreadyExists where something stands.
    Create(u32),
}

/// A program to run. Environment and argument hold no NUL.
#[derive(Debug)]
pub struct Program<'a> {
    /// Absolute path: what is executed, and its only argument.
    pub path: &'a str,
    /// `NAME=VALUE`.
    pub env: &'a [Vec<u8>],
    /// Make a pipe for stdin; otherwise stdin is /dev/null.
    pub stdin: bool,
}

/// A running program: our ends of its pipes, non-blocking.
#[derive(Debug)]
pub struct Child<F> {
    /// Its process id, also its group's.
    pub pid: u32,
    /// To its stdin.
    pub stdin: Option<F>,
    /// From its stdout.
    pub stdout: F,
    /// From its stderr.
    pub stderr: F,
}

/// How a child is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Its exit status.
    Code(u8),
    /// The signal that ended it.
    Signal(u8),
}
