//! Log lines on stderr, never blocking.

use nix::libc;

/// Writes a whole line to stderr, or nothing: a stderr that nobody reads must not stop
/// the daemon, and making it non-blocking would do so to everyone who shares it.
pub fn write(line: &[u8]) -> bool {
    let (bytes, len) = (line.as_ptr().cast(), line.len());
    // A socket (a service manager's): poll would not tell whether all of it fits.
    // SAFETY: the slice is alive for the call.
    let sent = unsafe { libc::send(2, bytes, len, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent >= 0 || nix::errno::Errno::last() != nix::errno::Errno::ENOTSOCK {
        return sent == len as isize;
    }
    // A pipe is writable when PIPE_BUF bytes fit; files and terminals take a line.
    let mut poll = libc::pollfd {
        fd: 2,
        events: libc::POLLOUT,
        revents: 0,
    };
    let no_time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: one pollfd, one timespec, alive for the call.
    let ready = unsafe { libc::ppoll(&mut poll, 1, &no_time, core::ptr::null()) };
    if ready != 1 || poll.revents & libc::POLLOUT == 0 {
        return false;
    }
    // SAFETY: the slice is alive for the call.
    let written = unsafe { libc::write(2, bytes, len) };
    written == len as isize
}
