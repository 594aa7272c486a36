//! Reading and writing pipes that others have open too, and can make blocking at any moment:
//! bytes go through a pipe of our own by splice(2), which can be told at each call not to wait.

use super::wait;
use crate::limits::PIPE_BUF;
use nix::errno::Errno;
use nix::libc;
use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Our own pipe, empty between calls; made when the first pipe is handed over. None: there
/// can't be one.
#[derive(Default)]
pub struct Transit(OnceCell<Option<(OwnedFd, OwnedFd)>>);

impl Transit {
    fn pipe(&self) -> Option<&(OwnedFd, OwnedFd)> {
        self.0.get_or_init(|| super::child::pipe().ok()).as_ref()
    }

    pub fn read(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(PIPE_BUF);
        let Some((from, to)) = self.pipe() else {
            return look_and_read(fd, buf);
        };
        match splice(fd, to, len) {
            Err(Errno::ENOSYS | Errno::EINVAL) => look_and_read(fd, buf),
            // They are there: this does not wait.
            Ok(count @ 1..) => Ok(nix::unistd::read(from, &mut buf[..count])?),
            result => Ok(result?),
        }
    }

    pub fn write(&self, fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIPE_BUF)];
        let Some((from, to)) = self.pipe() else {
            return look_and_write(fd, bytes);
        };
        // An empty pipe has room for that much.
        let mut waiting = nix::unistd::write(to, bytes)?;
        let spliced = splice(from, fd, waiting);
        waiting -= spliced.unwrap_or(0);
        let mut rest = [0; PIPE_BUF];
        while waiting > 0 {
            waiting -= nix::unistd::read(from, &mut rest[..waiting])?;
        }
        match spliced {
            Err(Errno::ENOSYS | Errno::EINVAL) => look_and_write(fd, bytes),
            result => Ok(result?),
        }
    }
}

/// EAGAIN where it would wait.
fn splice(from: &OwnedFd, to: &OwnedFd, len: usize) -> Result<usize, Errno> {
    let (from, to, none) = (from.as_raw_fd(), to.as_raw_fd(), core::ptr::null_mut());
    // SAFETY: live descriptors, no offsets.
    let count = unsafe { libc::splice(from, none, to, none, len, libc::SPLICE_F_NONBLOCK) };
    Errno::result(count).map(|count| count as usize)
}

// Before Linux 2.6.17, and in emulators. Between the look and the call somebody may take what
// is there, or fill the pipe.

fn look_and_read(fd: &OwnedFd, buf: &mut [u8]) -> io::Result<usize> {
    ready_now(fd, libc::POLLIN)?;
    Ok(nix::unistd::read(fd, buf)?)
}

fn look_and_write(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    ready_now(fd, libc::POLLOUT)?;
    // A pipe that is writable has room for PIPE_BUF bytes.
    Ok(nix::unistd::write(fd, bytes)?)
}

/// WouldBlock where a call would wait.
fn ready_now(fd: &OwnedFd, events: libc::c_short) -> io::Result<()> {
    match wait::look(fd.as_raw_fd(), events)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}
