//! This process: clock, chance, limits, user.

use core::time::Duration;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Group, Uid, User};
use std::io::{self, Read};

pub fn now() -> Duration {
    clock(libc::CLOCK_MONOTONIC)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec. It can't fail for the two clocks used here.
    unsafe { libc::clock_gettime(id, &mut time) };
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

pub fn seed() -> [u8; 20] {
    let mut urandom = [0; 16];
    // Without /dev (an early boot) the clocks and the pid still tell starts apart.
    let _ = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut urandom));
    let mut hash = sha1_smol::Sha1::new();
    hash.update(&urandom);
    for id in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
        hash.update(&clock(id).as_nanos().to_le_bytes());
    }
    hash.update(&std::process::id().to_le_bytes());
    hash.digest().bytes()
}

/// From how many bytes on a block is large: four pages, of which the part that is lost is small.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 16 * 1024;

/// Large blocks lie in pages of their own, which go back to the system when they are freed: in the
/// heap each would leave a hole, which the next small one keeps. glibc begins at 128 KB, and with
/// each freed block higher; a message and its copies are less. musl keeps blocks of each size
/// apart.
pub fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a number.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// glibc by itself gives back only what is free at the very end of its heap, above a threshold that
/// rises to twice the largest block ever freed. musl gives back by pages, at once.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

pub fn descriptor_limit() -> usize {
    soft_limit(Resource::RLIMIT_NOFILE).unwrap_or(256)
}

pub fn memory_limit() -> usize {
    let limit = match soft_limit(Resource::RLIMIT_AS) {
        None | Some(usize::MAX) => return usize::MAX,
        Some(limit) => limit,
    };
    // The program and its libraries count too: proc_pid_statm(5), in pages.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|size| size.parse().ok());
    // SAFETY: a plain question.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(0) as usize;
    limit.saturating_sub(pages.unwrap_or(0usize) * page)
}

fn soft_limit(resource: Resource) -> Option<usize> {
    let (soft, _) = getrlimit(resource).ok()?;
    Some(usize::try_from(soft).unwrap_or(usize::MAX))
}

pub fn current_dir() -> io::Result<String> {
    let path = std::env::current_dir()?.into_os_string();
    path.into_string()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "its path is not UTF-8"))
}

fn unknown(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no such {what}"))
}

pub fn user(name: &str) -> io::Result<(u32, u32)> {
    let found = match name.parse() {
        // A number need not stand in /etc/passwd; its group is then the same number.
        Ok(uid) => match User::from_uid(Uid::from_raw(uid))? {
            Some(user) => Some(user),
            None => return Ok((uid, uid)),
        },
        Err(_) => User::from_name(name)?,
    };
    let user = found.ok_or_else(|| unknown("user"))?;
    Ok((user.uid.as_raw(), user.gid.as_raw()))
}

pub fn group(name: &str) -> io::Result<u32> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    let group = Group::from_name(name)?.ok_or_else(|| unknown("group"))?;
    Ok(group.gid.as_raw())
}

pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if Uid::effective().is_root() {
        nix::unistd::setgroups(&[group])?;
    }
    nix::unistd::setgid(group)?;
    nix::unistd::setuid(user)?;
    // A setuid that reports success and leaves a way back has been seen.
    let same = Uid::current() == user
        && Uid::effective() == user
        && Gid::current() == group
        && Gid::effective() == group;
    let way_back = !user.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok();
    if !same || way_back {
        return Err(io::Error::other("the change of user did not hold"));
    }
    if !user.is_root() {
        // For good means its programs too: none of them gets more by sudo or a set-id bit.
        // Linux before 3.5 does not know it.
        // SAFETY: plain numbers, as the call wants them.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as libc::c_ulong, 0, 0, 0) };
    }
    Ok(())
}
