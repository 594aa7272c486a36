//! Sockets, and descriptors that came from elsewhere.

use super::super::{Address, Datagram, FileType, Kind};
use super::transit::Transit;
use super::{check, owned};
use crate::limits::{BACKLOG, HANDOFF_DESCRIPTORS};
use core::net::SocketAddr;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage, UnixAddr, setsockopt,
    sockopt,
};
use nix::sys::stat::Mode;
use std::io::{self, IoSlice};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

fn socket(family: AddressFamily, kind: SockType) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(nix::sys::socket::socket(family, kind, flags, None)?)
}

pub fn listen(address: &Address) -> io::Result<OwnedFd> {
    let listener = match address {
        Address::Tcp(tcp) => {
            let family = match tcp {
                SocketAddr::V4(_) => AddressFamily::Inet,
                SocketAddr::V6(_) => AddressFamily::Inet6,
            };
            let fd = socket(family, SockType::Stream)?;
            // A restart must not wait for the old connections' TIME_WAIT.
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            nix::sys::socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(*tcp))?;
            fd
        }
        Address::Unix(path) => {
            let fd = socket(AddressFamily::Unix, SockType::Stream)?;
            let name = UnixAddr::new(path.as_str())?;
            if abandoned(path, &name)? {
                nix::unistd::unlink(path.as_str())?;
            }
            bind_in_file_system(&fd, &name)?;
            fd
        }
    };
    nix::sys::socket::listen(&listener, Backlog::new(BACKLOG as i32)?)?;
    Ok(listener)
}

/// Mode 0660 from the moment it is there.
fn bind_in_file_system(socket: &OwnedFd, name: &UnixAddr) -> io::Result<()> {
    let before = nix::sys::stat::umask(Mode::from_bits_truncate(0o117));
    let bound = nix::sys::socket::bind(socket.as_raw_fd(), name);
    nix::sys::stat::umask(before);
    Ok(bound?)
}

/// Whether a socket is there that nobody listens at any more.
fn abandoned(path: &str, name: &UnixAddr) -> io::Result<bool> {
    // A regular file would refuse a connection too.
    if !super::file::lstat(path).is_ok_and(|stat| stat.file_type == FileType::Socket) {
        return Ok(false);
    }
    let probe = socket(AddressFamily::Unix, SockType::Stream)?;
    let answer = nix::sys::socket::connect(probe.as_raw_fd(), name);
    Ok(answer == Err(Errno::ECONNREFUSED))
}

pub fn accept(listener: &OwnedFd) -> io::Result<(OwnedFd, Kind)> {
    // Two calls more than accept4, which old kernels and Blackfin's do not have.
    let fd = owned(nix::sys::socket::accept(listener.as_raw_fd())?)?;
    match adopt(fd)? {
        (fd, kind @ Kind::Stream { .. }) => Ok((fd, kind)),
        // Its peer has reset it already.
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

pub fn adopt(fd: OwnedFd) -> io::Result<(OwnedFd, Kind)> {
    fcntl(&fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    let kind = kind(&fd)?;
    match kind {
        Kind::Other | Kind::File | Kind::Unconnected => {}
        Kind::Stream { remote, .. } => {
            if remote.is_some() {
                // An event's answer is one small segment; waiting for more costs 40 ms.
                let _ = setsockopt(&fd, sockopt::TcpNoDelay, &true);
            }
            non_blocking(&fd)?;
        }
        // `recv` and `send` do not wait, whoever has them open.
        Kind::PipeReader | Kind::PipeWriter => {}
    }
    Ok((fd, kind))
}

/// Whether a descriptor blocks belongs to all who have it open. `recv` and `send` do without;
/// this is for the rest of the calls.
fn non_blocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

pub fn recv(fd: &OwnedFd, buf: &mut [u8], transit: &Transit) -> io::Result<usize> {
    match nix::sys::socket::recv(fd.as_raw_fd(), buf, MsgFlags::MSG_DONTWAIT) {
        Err(Errno::ENOTSOCK) => transit.read(fd, buf),
        result => Ok(result?),
    }
}

pub fn send(fd: &OwnedFd, bytes: &[u8], transit: &Transit) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match nix::sys::socket::send(fd.as_raw_fd(), bytes, flags) {
        Err(Errno::ENOTSOCK) => transit.write(fd, bytes),
        result => Ok(result?),
    }
}

pub fn kind(fd: &OwnedFd) -> io::Result<Kind> {
    let mode = nix::sys::stat::fstat(fd)?.st_mode;
    match mode & libc::S_IFMT {
        libc::S_IFIFO => {
            let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
            Ok(match flags & OFlag::O_ACCMODE {
                OFlag::O_RDONLY => Kind::PipeReader,
                OFlag::O_WRONLY => Kind::PipeWriter,
                _ => Kind::Other,
            })
        }
        libc::S_IFSOCK => {
            let raw = fd.as_raw_fd();
            let stream = nix::sys::socket::getsockopt(fd, sockopt::SockType)? == SockType::Stream;
            match nix::sys::socket::getpeername::<SockaddrStorage>(raw) {
                Ok(remote) if stream => Ok(Kind::Stream {
                    remote: ip(&remote),
                    local: nix::sys::socket::getsockname(raw)
                        .ok()
                        .as_ref()
                        .and_then(ip),
                }),
                Err(_) if stream => Ok(Kind::Unconnected),
                _ => Ok(Kind::Other),
            }
        }
        libc::S_IFREG => Ok(Kind::File),
        _ => Ok(Kind::Other),
    }
}

fn ip(name: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = name.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    name.as_sockaddr_in6()
        .map(|v6| SocketAddr::V6((*v6).into()))
}

pub fn shutdown(fd: &OwnedFd, both: bool) {
    use nix::sys::socket::Shutdown;
    let how = if both {
        Shutdown::Both
    } else {
        Shutdown::Write
    };
    // Fails only where the peer has ended it already.
    let _ = nix::sys::socket::shutdown(fd.as_raw_fd(), how);
}

pub fn before_close(socket: &OwnedFd, reset: bool) {
    let linger = libc::linger {
        l_onoff: reset.into(),
        l_linger: 0,
    };
    // It fails for no connected socket, and a reset one needs nothing.
    let _ = setsockopt(socket, sockopt::Linger, &linger);
}

pub fn bind_handoff(path: &str) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::Datagram)?;
    setsockopt(&fd, sockopt::PassCred, &true)?;
    bind_in_file_system(&fd, &UnixAddr::new(path)?)?;
    Ok(fd)
}

pub fn send_handoff(path: &str, record: &[u8], fds: &[&OwnedFd]) -> io::Result<()> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram)?;
    let raw: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [nix::sys::socket::ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let (bytes, to) = ([IoSlice::new(record)], UnixAddr::new(path)?);
    nix::sys::socket::sendmsg(socket.as_raw_fd(), &bytes, rights, flags, Some(&to))?;
    Ok(())
}

/// Room for more descriptors than are legal, so that a wrong sender's are seen, and closed.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);
const CONTROL: usize = 64 + HANDOFF_DESCRIPTORS * size_of::<libc::c_int>();

/// nix's own recvmsg keeps back the descriptors of a truncated message, which would leak:
/// the kernel has installed them.
pub fn receive_handoff(socket: &OwnedFd, buf: &mut [u8]) -> io::Result<Datagram<OwnedFd>> {
    let mut control = Control([0; CONTROL]);
    let mut bytes = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: all zero is a valid msghdr: null pointers, no lengths.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &mut bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the header points at live buffers of the lengths it states.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    let (mut fds, mut uid) = (Vec::new(), None);
    // SAFETY: the kernel filled the control buffer; the CMSG_ macros stay inside
    // msg_controllen, which recvmsg has set to what is there.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            let data_len = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for i in 0..data_len / size_of::<libc::c_int>() {
                        let fd = data.cast::<libc::c_int>().add(i).read_unaligned();
                        fds.push(OwnedFd::from_raw_fd(fd));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
                    if data_len >= size_of::<libc::ucred>() =>
                {
                    uid = Some(data.cast::<libc::ucred>().read_unaligned().uid);
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    // A kernel that does not know MSG_CMSG_CLOEXEC ignores it.
    for fd in &fds {
        // SAFETY: a live descriptor, a plain flag.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok(Datagram {
        len: len as usize,
        fds,
        truncated: message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
        uid,
    })
}
