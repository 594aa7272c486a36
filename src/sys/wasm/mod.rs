//! [`Sys`] for CPUs that have a C compiler and no Rust: the same calls as imports of a
//! wasm32-unknown-unknown module, which wasm2c turns into C, and `cross/host/` serves.
//!
//! What passes the border are numbers, and byte strings as address and length. A path ends
//! with a NUL that counts. A result below zero is an error of [`ERRORS`], as the numbers of
//! errno differ from CPU to CPU. What a call writes to memory are bytes, or numbers in
//! little-endian order: the host may be of the other.

#![allow(unsafe_code)]
// This room is what the ban on std's operating-system parts sends everyone to.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod host;

use super::{
    Address, Child, Datagram, Environment, Exit, FileType, Interest, Kill, Kind, Open, Program,
    Ready, Signals, Stat, Sys,
};
use crate::limits::HANDOFF_DESCRIPTORS;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::ffi::OsString;
use std::io::{self, ErrorKind};

/// A result of -1 is the first, -2 the second, and so on: those that somebody tells apart.
const ERRORS: [ErrorKind; 8] = [
    ErrorKind::Other,
    ErrorKind::WouldBlock,
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::AddrInUse,
    ErrorKind::NotConnected,
    ErrorKind::ConnectionRefused,
    ErrorKind::ConnectionAborted,
];

/// A call's result, or the error that it stands for, in the words of strerror(3).
fn check(result: i32) -> io::Result<usize> {
    if let Ok(result) = usize::try_from(result) {
        return Ok(result);
    }
    let kind = ERRORS.get(result.unsigned_abs() as usize - 1).copied();
    match kind.unwrap_or(ErrorKind::Other) {
        // Every turn ends so: no text, no allocation.
        ErrorKind::WouldBlock => Err(ErrorKind::WouldBlock.into()),
        kind => {
            let mut text = [0; 96];
            let len = host::error_text(text.as_mut_ptr(), text.len());
            let text = &text[..usize::try_from(len).unwrap_or(0)];
            Err(io::Error::new(kind, String::from_utf8_lossy(text)))
        }
    }
}

fn done(result: i32) -> io::Result<()> {
    check(result).map(drop)
}

/// An open descriptor of the host.
#[derive(Debug)]
pub struct Fd(i32);

impl Drop for Fd {
    fn drop(&mut self) {
        host::close(self.0);
    }
}

fn owned(result: i32) -> io::Result<Fd> {
    check(result).map(|fd| Fd(fd as i32))
}

/// A path, or a name, as the host takes it.
struct Path(Vec<u8>);

impl Path {
    fn new(path: &str) -> io::Result<Path> {
        if path.contains('\0') {
            return Err(io::Error::new(ErrorKind::InvalidInput, "NUL in a path"));
        }
        Ok(Path([path.as_bytes(), b"\0"].concat()))
    }

    /// Calls the host with address and length.
    fn call<T>(path: &str, call: impl FnOnce(*const u8, usize) -> T) -> io::Result<T> {
        let path = Path::new(path)?;
        Ok(call(path.0.as_ptr(), path.0.len()))
    }
}

/// What a call writes whose length is not known before: the call returns how many bytes there
/// are, written or not.
fn bytes(mut call: impl FnMut(*mut u8, usize) -> i32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 256];
    loop {
        let len = check(call(bytes.as_mut_ptr(), bytes.len()))?;
        if len <= bytes.len() {
            bytes.truncate(len);
            return Ok(bytes);
        }
        bytes.resize(len, 0);
    }
}

/// Numbers as the host writes them.
fn words<const N: usize>(call: impl FnOnce(*mut u8, usize) -> i32) -> io::Result<[u64; N]> {
    let mut bytes = [[0; 8]; N];
    done(call(bytes.as_mut_ptr().cast(), 8 * N))?;
    Ok(bytes.map(u64::from_le_bytes))
}

/// What [`crate::entry`] starts.
pub fn start(run: fn(Wasm, Vec<OsString>, Environment) -> u8) -> i32 {
    std::panic::set_hook(Box::new(|panic| {
        Wasm::log(format!("ws2cgi: {panic}\n").as_bytes());
    }));
    let args = (0..).map_while(|i| bytes(|to, room| host::argument(i, to, room)).ok());
    let env = (0..).map_while(|i| bytes(|to, room| host::variable(i, to, room)).ok());
    let env = env.filter_map(|variable| {
        let (name, value) = variable.split_at(variable.iter().position(|&b| b == b'=')?);
        Some((text(name.to_vec()), text(value[1..].to_vec())))
    });
    run(Wasm::default(), args.map(text).collect(), env.collect()).into()
}

fn text(bytes: Vec<u8>) -> OsString {
    // SAFETY: an OsString is plain bytes on this target, as it is on Unix.
    unsafe { OsString::from_encoded_bytes_unchecked(bytes) }
}

/// The program's entry: the export `run`, which the host calls from its `main`.
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        #[allow(unsafe_code)]
        // SAFETY: the only export of that name.
        #[unsafe(no_mangle)]
        extern "C" fn run() -> i32 {
            $crate::sys::wasm::start($run)
        }
    };
}

/// tungstenite's client masks its frames with random numbers; a server draws none.
// SAFETY: the name and signature that getrandom asks for, defined once.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    _: *mut u8,
    _: usize,
) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}

/// The operating system behind `cross/host/`.
#[derive(Default)]
pub struct Wasm {
    /// Of the descriptors that are watched, in the host's order.
    tokens: Vec<usize>,
    ready: Vec<u8>,
}

impl Sys for Wasm {
    type Fd = Fd;

    fn now(&self) -> Duration {
        Duration::from_nanos(host::now().unsigned_abs())
    }
    fn seed(&self) -> [u8; 20] {
        let mut chance = [0; 48];
        // Without /dev (an early boot) the clocks and the pid still tell starts apart.
        host::seed(chance.as_mut_ptr(), chance.len());
        sha1_smol::Sha1::from(chance).digest().bytes()
    }
    fn pid(&self) -> u32 {
        host::pid().unsigned_abs()
    }
    fn descriptor_limit(&self) -> usize {
        check(host::descriptor_limit()).unwrap_or(256)
    }
    fn memory_limit(&self) -> usize {
        check(host::memory_limit()).unwrap_or(usize::MAX)
    }
    fn current_dir(&self) -> io::Result<String> {
        let path = bytes(|to, room| host::current_dir(to, room))?;
        String::from_utf8(path)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, "its path is not UTF-8"))
    }
    fn user(&self, name: &str) -> io::Result<(u32, u32)> {
        pair(Path::call(name, |name, len| host::user(name, len))?).ok_or_else(|| unknown("user"))
    }
    fn group(&self, name: &str) -> io::Result<u32> {
        let found = pair(Path::call(name, |name, len| host::group(name, len))?);
        found.map(|(_, gid)| gid).ok_or_else(|| unknown("group"))
    }
    fn identity(&self) -> (u32, u32) {
        pair(host::identity()).unwrap_or_default()
    }
    fn become_user(&self, uid: u32, gid: u32) -> io::Result<()> {
        done(host::become_user(uid, gid))
    }
    fn log(line: &[u8]) -> bool {
        host::log(line.as_ptr(), line.len()) == 1
    }

    fn catch_signals(&mut self) -> io::Result<()> {
        done(host::catch_signals())
    }
    fn watch(&mut self, fd: &Fd, token: usize, interest: Interest) {
        let interest = match interest {
            Interest::Read => READABLE,
            Interest::Write => WRITABLE,
            Interest::Both => READABLE | WRITABLE,
        };
        host::watch(fd.0, interest.into());
        self.tokens.push(token);
    }
    fn wait(&mut self, deadline: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<Signals> {
        let deadline = deadline.map_or(-1, |at| i64::try_from(at.as_nanos()).unwrap_or(i64::MAX));
        self.ready.clear();
        self.ready.resize(self.tokens.len(), 0);
        let (to, room) = (self.ready.as_mut_ptr(), self.ready.len());
        let signals = check(host::wait(deadline, to, room))?;
        for (&ready_for, token) in self.ready.iter().zip(self.tokens.drain(..)) {
            if ready_for != 0 {
                ready.push(Ready {
                    token,
                    readable: ready_for & READABLE != 0,
                    writable: ready_for & WRITABLE != 0,
                });
            }
        }
        Ok(Signals {
            child: signals & 1 != 0,
            stop: signals & 2 != 0,
            status: signals & 4 != 0,
        })
    }

    fn read(&self, fd: &Fd, buf: &mut [u8]) -> io::Result<usize> {
        check(host::read(fd.0, buf.as_mut_ptr(), buf.len()))
    }
    fn write(&self, fd: &Fd, bytes: &[u8]) -> io::Result<usize> {
        check(host::write(fd.0, bytes.as_ptr(), bytes.len()))
    }
    fn pending(&self, fd: &Fd) -> io::Result<usize> {
        check(host::pending(fd.0))
    }
    fn inherited(&self, number: u32) -> io::Result<Fd> {
        owned(host::inherited(number))
    }
    fn take_inherited(&self, number: u32) -> io::Result<Fd> {
        owned(host::take_inherited(number))
    }

    fn recv(&self, fd: &Fd, buf: &mut [u8]) -> io::Result<usize> {
        check(host::recv(fd.0, buf.as_mut_ptr(), buf.len()))
    }
    fn send(&self, fd: &Fd, bytes: &[u8]) -> io::Result<usize> {
        check(host::send(fd.0, bytes.as_ptr(), bytes.len()))
    }
    fn listen(&self, address: &Address) -> io::Result<Fd> {
        owned(match address {
            Address::Tcp(SocketAddr::V4(v4)) => {
                let ip = v4.ip().octets();
                host::listen_tcp(ip.as_ptr(), ip.len(), v4.port().into())
            }
            Address::Tcp(SocketAddr::V6(v6)) => {
                let ip = v6.ip().octets();
                host::listen_tcp(ip.as_ptr(), ip.len(), v6.port().into())
            }
            Address::Unix(path) => Path::call(path, |path, len| host::listen_unix(path, len))?,
        })
    }
    fn accept(&self, listener: &Fd) -> io::Result<(Fd, Kind)> {
        match self.adopt(owned(host::accept(listener.0))?)? {
            (fd, kind @ Kind::Stream { .. }) => Ok((fd, kind)),
            // Its peer has reset it already.
            _ => Err(ErrorKind::ConnectionAborted.into()),
        }
    }
    fn adopt(&self, fd: Fd) -> io::Result<(Fd, Kind)> {
        // The host may open it anew; the old one closes here.
        let own = match check(host::adopt(fd.0))? as i32 {
            same if same == fd.0 => fd,
            own => Fd(own),
        };
        let kind = self.kind(&own)?;
        Ok((own, kind))
    }
    fn kind(&self, fd: &Fd) -> io::Result<Kind> {
        let mut names = [0; 2 * NAME];
        let kind = check(host::kind(fd.0, names.as_mut_ptr(), names.len()))?;
        let (remote, local) = names.split_at(NAME);
        Ok(match kind {
            1 => Kind::Stream {
                remote: socket_address(remote),
                local: socket_address(local),
            },
            2 => Kind::Unconnected,
            3 => Kind::PipeReader,
            4 => Kind::PipeWriter,
            5 => Kind::File,
            _ => Kind::Other,
        })
    }
    fn shutdown(&self, fd: &Fd, both: bool) {
        host::shutdown(fd.0, both.into());
    }
    fn before_close(&self, socket: &Fd, reset: bool) {
        host::before_close(socket.0, reset.into());
    }
    fn bind_handoff(&self, path: &str) -> io::Result<Fd> {
        owned(Path::call(path, |path, len| host::bind_handoff(path, len))?)
    }
    fn receive_handoff(&self, socket: &Fd, buf: &mut [u8]) -> io::Result<Datagram<Fd>> {
        let mut len = 0;
        // Cut off or not, the sender's user, how many descriptors, the descriptors.
        let [truncated, uid, count, fds @ ..] =
            words::<{ 3 + HANDOFF_DESCRIPTORS }>(|to, room| {
                len = host::receive_handoff(socket.0, buf.as_mut_ptr(), buf.len(), to, room);
                len
            })?;
        let fds = fds.iter().take(count as usize);
        Ok(Datagram {
            len: check(len)?,
            fds: fds.map(|&fd| Fd(fd as i32)).collect(),
            truncated: truncated != 0,
            uid: u32::try_from(uid).ok(),
        })
    }
    fn send_handoff(&self, path: &str, record: &[u8], fds: &[&Fd]) -> io::Result<()> {
        let fds: Vec<u8> = fds.iter().flat_map(|fd| fd.0.to_le_bytes()).collect();
        let (bytes, len, fds_len) = (record.as_ptr(), record.len(), fds.len());
        done(Path::call(path, |path, path_len| {
            host::send_handoff(path, path_len, bytes, len, fds.as_ptr(), fds_len)
        })?)
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        Ok(stat_of(words(|to, room| {
            Path::call(path, |path, len| host::stat(path, len, to, room)).unwrap_or(-1)
        })?))
    }
    fn lstat(&self, path: &str) -> io::Result<Stat> {
        Ok(stat_of(words(|to, room| {
            Path::call(path, |path, len| host::lstat(path, len, to, room)).unwrap_or(-1)
        })?))
    }
    fn fstat(&self, fd: &Fd) -> io::Result<Stat> {
        Ok(stat_of(words(|to, room| host::fstat(fd.0, to, room))?))
    }
    fn executable(&self, path: &str) -> bool {
        Path::call(path, |path, len| host::executable(path, len)).is_ok_and(|found| found == 1)
    }
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let path = Path::new(path)?;
        let names = bytes(|to, room| host::list(path.0.as_ptr(), path.0.len(), to, room))?;
        let names = names
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty());
        Ok(names
            .filter_map(|name| String::from_utf8(name.to_vec()).ok())
            .collect())
    }
    fn make_dir(&self, path: &str) -> io::Result<()> {
        done(Path::call(path, |path, len| host::make_dir(path, len))?)
    }
    fn make_fifo(&self, path: &str) -> io::Result<()> {
        done(Path::call(path, |path, len| host::make_fifo(path, len))?)
    }
    fn set_access(&self, fd: &Fd, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
        let (uid, gid) = owner.unwrap_or_default();
        done(host::set_access(
            fd.0,
            owner.is_some().into(),
            uid,
            gid,
            mode,
        ))
    }
    fn give(&self, path: &str, (uid, gid): (u32, u32)) -> io::Result<()> {
        done(Path::call(path, |path, len| {
            host::give(path, len, uid, gid)
        })?)
    }
    fn unlink(&self, path: &str) -> io::Result<()> {
        done(Path::call(path, |path, len| host::unlink(path, len))?)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = Path::new(to)?;
        done(Path::call(from, |from, len| {
            host::rename(from, len, to.0.as_ptr(), to.0.len())
        })?)
    }
    fn open(&self, path: &str, how: Open) -> io::Result<Fd> {
        let (how, mode) = match how {
            Open::Read => (0, 0),
            Open::Folder => (1, 0),
            Open::Fifo => (2, 0),
            Open::FifoWriter => (3, 0),
            Open::Create(mode) => (4, mode),
        };
        owned(Path::call(path, |path, len| {
            host::open(path, len, how, mode)
        })?)
    }
    fn lock(&self, fd: &Fd) -> io::Result<bool> {
        check(host::lock(fd.0)).map(|locked| locked == 1)
    }

    fn spawn(&mut self, program: &Program) -> io::Result<Child<Fd>> {
        let path = Path::new(program.path)?;
        let mut env = Vec::new();
        for variable in program.env {
            if variable.contains(&0) {
                return Err(io::Error::new(ErrorKind::InvalidInput, "NUL in a variable"));
            }
            env.extend_from_slice(variable);
            env.push(0);
        }
        let mut pid = 0;
        let [stdin, stdout, stderr] = words::<3>(|to, room| {
            let (path, path_len) = (path.0.as_ptr(), path.0.len());
            let stdin = program.stdin.into();
            pid = host::spawn(path, path_len, env.as_ptr(), env.len(), stdin, to, room);
            pid
        })?;
        Ok(Child {
            pid: pid.unsigned_abs(),
            stdin: program.stdin.then_some(Fd(stdin as i32)),
            stdout: Fd(stdout as i32),
            stderr: Fd(stderr as i32),
        })
    }
    fn exited(&self, pid: u32) -> bool {
        host::exited(pid) == 1
    }
    fn kill(&self, pid: u32, signal: Kill) {
        host::kill(pid, (signal == Kill::Kill).into());
    }
    fn reap(&self, pid: u32) -> Exit {
        // An exit status, or a signal above all of those.
        match host::reap(pid) {
            code @ 0..256 => Exit::Code(code as u8),
            signal => Exit::Signal((signal - 256) as u8),
        }
    }
}

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;

/// A user in the upper half of a number, a group in the lower; below zero: there is none.
fn pair(ids: i64) -> Option<(u32, u32)> {
    (ids >= 0).then_some(((ids >> 32) as u32, ids as u32))
}

fn unknown(what: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("no such {what}"))
}

/// Bytes of a socket's name: 4 or 6 (anything else: it has none of TCP), the port in network
/// order, the IP address.
const NAME: usize = 1 + 2 + 16;

fn socket_address(name: &[u8]) -> Option<SocketAddr> {
    let (&[family, high, low], ip) = name.split_first_chunk()?;
    let ip: [u8; 16] = ip.try_into().ok()?;
    let ip = match family {
        4 => IpAddr::from(*ip.first_chunk::<4>()?),
        6 => IpAddr::from(Ipv6Addr::from(ip)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
}

fn stat_of([file_type, size, links, device, inode, changed, roots]: [u64; 7]) -> Stat {
    Stat {
        file_type: match file_type {
            1 => FileType::Regular,
            2 => FileType::Folder,
            3 => FileType::Fifo,
            4 => FileType::Socket,
            5 => FileType::Link,
            _ => FileType::Other,
        },
        size,
        links,
        id: (device, inode),
        changed,
        roots: roots != 0,
    }
}
