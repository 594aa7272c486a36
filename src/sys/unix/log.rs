//! Log lines on stderr, never blocking.

use super::wait;
use nix::libc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

/// Where lines go: stderr until it is opened anew.
static LOG: AtomicI32 = AtomicI32::new(2);

/// Writes a whole line to stderr, or nothing: a stderr that nobody reads must not stop
/// the daemon.
pub fn write(line: &[u8]) -> bool {
    let fd = LOG.load(Relaxed);
    let (bytes, len) = (line.as_ptr().cast(), line.len());
    // A socket (a service manager's): poll would not tell whether all of it fits.
    // SAFETY: the slice is alive for the call.
    let sent = unsafe { libc::send(fd, bytes, len, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent >= 0 || nix::errno::Errno::last() != nix::errno::Errno::ENOTSOCK {
        return sent == len as isize;
    }
    // Where it is still everyone's: a pipe is writable when PIPE_BUF bytes fit.
    let ready = wait::look(fd, libc::POLLOUT);
    if !ready.is_ok_and(|events| events & libc::POLLOUT != 0) {
        return false;
    }
    // A terminal may have taken a part of the line before.
    static TORN: AtomicBool = AtomicBool::new(false);
    if TORN.load(Relaxed) && put(fd, b"\n") != 1 {
        return false;
    }
    let written = put(fd, line);
    TORN.store(written > 0 && written < len as isize, Relaxed);
    written == len as isize
}

fn put(fd: libc::c_int, bytes: &[u8]) -> isize {
    // SAFETY: the slice is alive for the call.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }
}

/// Opens a terminal or pipe anew, so that it never blocks us, and goes on blocking those who
/// share it: a serial console takes a line in its own time, or with flow control never. Before
/// any change of user, who may not open root's console.
pub fn open() {
    // SAFETY: all zero is a valid stat, which fstat fills.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: a live struct.
    let known = unsafe { libc::fstat(2, &mut stat) } == 0;
    let format = stat.st_mode & libc::S_IFMT;
    if !known || (format != libc::S_IFCHR && format != libc::S_IFIFO) {
        return;
    }
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: a constant path.
    match unsafe { libc::open(c"/proc/self/fd/2".as_ptr(), flags | libc::O_CLOEXEC) } {
        -1 => {}
        fd => LOG.store(fd, Relaxed),
    }
}
