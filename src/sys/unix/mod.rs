//! [`Sys`] on Linux by nix and libc, with and without an MMU.

#![allow(unsafe_code)]
// This room is what the ban on std's operating-system parts sends everyone to.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod child;
mod file;
mod log;
mod process;
mod socket;
mod transit;
mod wait;

use super::{
    Address, Child, Datagram, Environment, Exit, Interest, Kill, Kind, Open, Program, Ready,
};
use super::{Signals, Stat, Sys};
use core::time::Duration;
use nix::libc;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// Linux.
pub struct Unix {
    waiter: wait::Waiter,
    launcher: child::Launcher,
    transit: transit::Transit,
}

/// Runs `run` with the arguments and the environment, in a process made safe to work in;
/// `run` returns the exit code. [`entry`](crate::entry) calls it.
///
/// # Safety
/// `argv` is that of C's `main`: `argc` strings.
pub unsafe fn start(
    run: fn(Unix, Vec<OsString>, Environment) -> u8,
    argc: libc::c_int,
    argv: *const *const libc::c_char,
) -> libc::c_int {
    let unix = match Unix::new() {
        Ok(unix) => unix,
        Err(e) => {
            Unix::log(format!("ws2cgi: cannot start: {e}\n").as_bytes());
            return 111;
        }
    };
    let args = (0..argc.max(0) as usize).map(|i| {
        // SAFETY: the caller's promise.
        let arg = unsafe { CStr::from_ptr(*argv.add(i)) };
        OsString::from_vec(arg.to_bytes().to_vec())
    });
    run(unix, args.collect(), std::env::vars_os().collect()).into()
}

/// The program's entry, in place of std's: that one guards its stack by mprotect, and without
/// an MMU dies of it. What else std does there, [`Unix::new`] does.
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        #[allow(unsafe_code)]
        // SAFETY: C's `main`, defined once, with what it is given.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            argc: core::ffi::c_int,
            argv: *const *const core::ffi::c_char,
        ) -> core::ffi::c_int {
            unsafe { $crate::sys::unix::start($run, argc, argv) }
        }
    };
}

impl Unix {
    /// Occupies descriptors 0 to 2 where a parent left one closed (uClinux boa closes 0),
    /// so that nothing we open lands there, opens the log, ignores signals that errors
    /// tell as well, and makes the allocator give back what is large.
    pub fn new() -> io::Result<Unix> {
        occupy_standard_descriptors()?;
        log::open();
        wait::ignore_errors();
        process::keep_large_blocks_apart();
        Ok(Unix {
            waiter: wait::Waiter::default(),
            launcher: child::Launcher::new()?,
            transit: transit::Transit::default(),
        })
    }
}

fn occupy_standard_descriptors() -> io::Result<()> {
    loop {
        // SAFETY: a constant path; the descriptor is ours.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        if fd > 2 {
            // SAFETY: just opened, and nobody else knows it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            return Ok(());
        }
    }
}

fn c_path(path: &str) -> io::Result<CString> {
    CString::new(path).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "NUL in a path"))
}

/// A descriptor from a system call's result.
fn owned(result: libc::c_int) -> io::Result<OwnedFd> {
    check(result)?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

impl Sys for Unix {
    type Fd = OwnedFd;

    fn now(&self) -> Duration {
        process::now()
    }
    fn seed(&self) -> [u8; 20] {
        process::seed()
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
    fn descriptor_limit(&self) -> usize {
        process::descriptor_limit()
    }
    fn memory_limit(&self) -> usize {
        process::memory_limit()
    }
    fn give_memory_back(&self) {
        process::give_memory_back()
    }

    fn current_dir(&self) -> io::Result<String> {
        process::current_dir()
    }
    fn user(&self, name: &str) -> io::Result<(u32, u32)> {
        process::user(name)
    }
    fn group(&self, name: &str) -> io::Result<u32> {
        process::group(name)
    }
    fn identity(&self) -> (u32, u32) {
        (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        )
    }
    fn become_user(&self, uid: u32, gid: u32) -> io::Result<()> {
        process::become_user(uid, gid)
    }
    fn log(line: &[u8]) -> bool {
        log::write(line)
    }

    fn catch_signals(&mut self) -> io::Result<()> {
        self.waiter.catch_signals()
    }
    fn watch(&mut self, fd: &OwnedFd, token: usize, interest: Interest) {
        self.waiter.watch(fd.as_raw_fd(), token, interest);
    }
    fn wait(&mut self, deadline: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<Signals> {
        self.waiter.wait(deadline, ready)
    }

    fn read(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(fd, buf)?)
    }
    fn write(&self, fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(fd, bytes)?)
    }
    fn pending(&self, fd: &OwnedFd) -> io::Result<usize> {
        let mut count: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &mut count) })?;
        Ok(count.max(0) as usize)
    }
    fn inherited(&self, number: u32) -> io::Result<OwnedFd> {
        file::duplicate(number)
    }
    fn take_inherited(&self, number: u32) -> io::Result<OwnedFd> {
        file::take(number)
    }

    fn listen(&self, address: &Address) -> io::Result<OwnedFd> {
        socket::listen(address)
    }
    fn accept(&self, listener: &OwnedFd) -> io::Result<(OwnedFd, Kind)> {
        socket::accept(listener)
    }
    fn recv(&self, fd: &OwnedFd, buf: &mut [u8]) -> io::Result<usize> {
        socket::recv(fd, buf, &self.transit)
    }
    fn send(&self, fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        socket::send(fd, bytes, &self.transit)
    }
    fn adopt(&self, fd: OwnedFd) -> io::Result<(OwnedFd, Kind)> {
        socket::adopt(fd)
    }
    fn kind(&self, fd: &OwnedFd) -> io::Result<Kind> {
        socket::kind(fd)
    }
    fn shutdown(&self, fd: &OwnedFd, both: bool) {
        socket::shutdown(fd, both);
    }
    fn before_close(&self, socket: &OwnedFd, reset: bool) {
        socket::before_close(socket, reset);
    }
    fn bind_handoff(&self, path: &str) -> io::Result<OwnedFd> {
        socket::bind_handoff(path)
    }
    fn receive_handoff(&self, socket: &OwnedFd, buf: &mut [u8]) -> io::Result<Datagram<OwnedFd>> {
        socket::receive_handoff(socket, buf)
    }
    fn send_handoff(&self, path: &str, record: &[u8], fds: &[&OwnedFd]) -> io::Result<()> {
        socket::send_handoff(path, record, fds)
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        file::stat(path)
    }
    fn lstat(&self, path: &str) -> io::Result<Stat> {
        file::lstat(path)
    }
    fn fstat(&self, fd: &OwnedFd) -> io::Result<Stat> {
        file::fstat(fd)
    }
    fn executable(&self, path: &str) -> bool {
        nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
    }
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        file::list(path)
    }
    fn make_dir(&self, path: &str) -> io::Result<()> {
        Ok(nix::unistd::mkdir(path, nix::sys::stat::Mode::S_IRWXU)?)
    }
    fn make_fifo(&self, path: &str) -> io::Result<()> {
        file::make_fifo(path)
    }
    fn set_access(&self, fd: &OwnedFd, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
        file::set_access(fd, owner, mode)
    }
    fn give(&self, path: &str, owner: (u32, u32)) -> io::Result<()> {
        file::give(path, owner)
    }
    fn unlink(&self, path: &str) -> io::Result<()> {
        Ok(nix::unistd::unlink(path)?)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(from, to)
    }
    fn open(&self, path: &str, how: Open) -> io::Result<OwnedFd> {
        file::open(path, how)
    }
    fn lock(&self, fd: &OwnedFd) -> io::Result<bool> {
        file::lock(fd)
    }

    fn spawn(&mut self, program: &Program) -> io::Result<Child<OwnedFd>> {
        self.launcher.spawn(program)
    }
    fn exited(&self, pid: u32) -> bool {
        child::exited(pid)
    }
    fn kill(&self, pid: u32, signal: Kill) {
        child::kill(pid, signal);
    }
    fn reap(&self, pid: u32) -> Exit {
        child::reap(pid)
    }
}
