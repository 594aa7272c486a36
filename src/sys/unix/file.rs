//! Files.

use super::super::{FileType, Open, Stat};
use super::{c_path, check, owned};
use nix::libc;
use nix::sys::stat::{FileStat, Mode};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

// Their types differ from CPU to CPU.
#[allow(clippy::useless_conversion)]
fn stat_of(stat: FileStat) -> Stat {
    Stat {
        file_type: match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => FileType::Regular,
            libc::S_IFDIR => FileType::Folder,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            libc::S_IFLNK => FileType::Link,
            _ => FileType::Other,
        },
        size: stat.st_size.max(0) as u64,
        links: stat.st_nlink.into(),
        id: (stat.st_dev.into(), stat.st_ino.into()),
        changed: stat.st_ctime as u64,
        roots: stat.st_uid == 0 && (stat.st_mode & 0o022 == 0 || stat.st_mode & libc::S_ISVTX != 0),
    }
}

pub fn stat(path: &str) -> io::Result<Stat> {
    Ok(stat_of(nix::sys::stat::stat(path)?))
}

pub fn lstat(path: &str) -> io::Result<Stat> {
    Ok(stat_of(nix::sys::stat::lstat(path)?))
}

pub fn fstat(fd: &OwnedFd) -> io::Result<Stat> {
    Ok(stat_of(nix::sys::stat::fstat(fd)?))
}

pub fn list(path: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)?.take(crate::limits::NAMES) {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

pub fn make_fifo(path: &str) -> io::Result<()> {
    Ok(nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?)
}

pub fn set_access(fd: &OwnedFd, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    if let Some((uid, gid)) = owner {
        // SAFETY: a live descriptor.
        check(unsafe { libc::fchown(fd, uid, gid) })?;
    }
    // After the owner: chown clears the set-id bits.
    // SAFETY: a live descriptor.
    check(unsafe { libc::fchmod(fd, mode as libc::mode_t) })
}

pub fn give(path: &str, (uid, gid): (u32, u32)) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    check(unsafe { libc::lchown(path.as_ptr(), uid, gid) })
}

pub fn open(path: &str, how: Open) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let (flags, mode) = match how {
        Open::Read => (libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0),
        Open::Folder => (libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0),
        Open::Fifo => (libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0),
        Open::FifoWriter => (libc::O_WRONLY | libc::O_NONBLOCK, 0),
        Open::Create(mode) => (
            libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW,
            mode,
        ),
    };
    // SAFETY: a NUL-terminated path, and a mode for O_CREAT.
    let fd = owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) });
    if how != Open::FifoWriter {
        return fd;
    }
    let fd = fd.map_err(|e| match e.raw_os_error() {
        Some(libc::ENXIO) => io::ErrorKind::NotConnected.into(),
        _ => e,
    })?;
    // It did not wait for a reader; from now on it waits for room.
    // SAFETY: a live descriptor, a plain flag.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, 0) })?;
    Ok(fd)
}

pub fn lock(fd: &OwnedFd) -> io::Result<bool> {
    // SAFETY: a live descriptor.
    match check(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}

pub fn duplicate(number: u32) -> io::Result<OwnedFd> {
    // SAFETY: any number may be asked for; the result is checked.
    owned(unsafe { libc::fcntl(number as libc::c_int, libc::F_DUPFD_CLOEXEC, 3) })
}

pub fn take(number: u32) -> io::Result<OwnedFd> {
    let fd = libc::c_int::try_from(number).map_err(io::Error::other)?;
    // SAFETY: reads flags, or fails where no such descriptor is open.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    check(flags)?;
    if flags & libc::FD_CLOEXEC != 0 {
        // It has not come through an exec: it is one of our own.
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: sets a flag of an open descriptor.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    owned(fd)
}
