//! The third [`Sys`]: every call of the daemon's comes here. Faults strike here, and here the
//! model learns what happens.

use crate::call::{Fd, LOG, Sim};
use crate::child::{Life, Pipes};
use crate::heap::Turn;
use crate::os::file::Node;
use crate::os::{End, Listener, Os, Time};
use crate::owners::Owner;
use crate::trace::note;
use crate::transfer::{EBADF, EINVAL, ELOOP, EMFILE, ENOMEM, ENOSPC, ENOTDIR, ENXIO, errno, noted};
use crate::world::World;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind};
use ws2cgi::limits::PIPE_BUF;
use ws2cgi::sys::{
    Address, Child, Datagram, Exit, FileType, Interest, Kill, Kind, Open, Program, Ready,
};
use ws2cgi::sys::{Signals, Stat, Sys};

fn local(address: &str) -> Option<SocketAddr> {
    address.parse().ok()
}

impl Sys for Sim {
    type Fd = Fd;

    fn now(&self) -> Duration {
        Duration::from_micros(self.0.borrow().os.now)
    }
    fn seed(&self) -> [u8; 20] {
        let mut world = self.world();
        core::array::from_fn(|_| world.os.noise.next() as u8)
    }
    fn pid(&self) -> u32 {
        42
    }
    fn descriptor_limit(&self) -> usize {
        self.0.borrow().os.limit
    }
    fn memory_limit(&self) -> usize {
        usize::MAX
    }
    fn current_dir(&self) -> io::Result<String> {
        Ok("/".to_owned())
    }
    fn user(&self, _: &str) -> io::Result<(u32, u32)> {
        Ok((1000, 1000))
    }
    fn group(&self, _: &str) -> io::Result<u32> {
        Ok(1000)
    }
    fn identity(&self) -> (u32, u32) {
        (1000, 1000)
    }
    fn become_user(&self, _: u32, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn log(line: &[u8]) -> bool {
        let _turn = Turn::simulator();
        LOG.with(|log| {
            let log = log.borrow();
            let Some(mut world) = log.as_ref().and_then(|world| world.try_borrow_mut().ok()) else {
                return true;
            };
            let world = &mut *world;
            // Never false: the daemon counts that for its whole process, so status.json would tell
            // of other runs in this one.
            let text = String::from_utf8_lossy(line);
            note!(world.os, "log", "{}", text.trim_end());
            true
        })
    }

    fn catch_signals(&mut self) -> io::Result<()> {
        self.world().os.caught = true;
        Ok(())
    }
    fn watch(&mut self, fd: &Fd, token: usize, interest: Interest) {
        let _turn = Turn::simulator();
        self.0
            .borrow_mut()
            .watched
            .push((fd.number, token, interest));
    }
    fn wait(&mut self, deadline: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<Signals> {
        let deadline = deadline.map(|at| at.as_nanos().div_ceil(1000) as Time);
        let _turn = Turn::simulator();
        Ok(self.0.borrow_mut().wait(deadline, ready))
    }

    fn read(&self, fd: &Fd, buf: &mut [u8]) -> io::Result<usize> {
        let world = &mut *self.world();
        let result = world.read_end(fd.number, buf);
        noted(world, "read", fd.number, buf, &result);
        if let Ok(count) = result {
            world.after_read(fd.number, &buf[..count]);
        }
        result
    }
    fn write(&self, fd: &Fd, bytes: &[u8]) -> io::Result<usize> {
        let world = &mut *self.world();
        let result = world.write_end(fd.number, bytes);
        noted(world, "write", fd.number, bytes, &result);
        if let End::Writer(p) = world.os.descriptor(fd.number).end {
            match (world.owners.pipes[p], &result) {
                // From now on anything may happen.
                (Some(Owner::Ready), _) => world.os.faults.off = false,
                (Some(Owner::Child(pid)), Ok(count)) => world.fed(pid, &bytes[..*count]),
                _ => {}
            }
        }
        result
    }
    fn pending(&self, fd: &Fd) -> io::Result<usize> {
        let world = self.world();
        match world.os.descriptor(fd.number).end {
            End::Both(p) | End::Reader(p) => Ok(world.os.pipes[p].len()),
            _ => Ok(0),
        }
    }
    fn inherited(&self, number: u32) -> io::Result<Fd> {
        let world = &mut *self.world();
        world.no_descriptor()?;
        if number > 2 {
            return Err(errno(EBADF));
        }
        Ok(self.fd(world, End::Null, false))
    }
    fn take_inherited(&self, _: u32) -> io::Result<Fd> {
        let world = &mut *self.world();
        let pipe = world.os.new_pipe(65536);
        world.os.pipes[pipe].readers = 1;
        world.os.pipes[pipe].writers = 1;
        world.owners.pipes.resize(pipe + 1, None);
        world.owners.pipes[pipe] = Some(Owner::Ready);
        Ok(self.fd(world, End::Writer(pipe), false))
    }

    fn recv(&self, fd: &Fd, buf: &mut [u8]) -> io::Result<usize> {
        let world = &mut *self.world();
        if !world.os.descriptor(fd.number).non_blocking {
            let name = world.fd_name(fd.number);
            world.fail(format!("{name} was not adopted"));
        }
        let result = world.read_end(fd.number, buf);
        noted(world, "recv", fd.number, buf, &result);
        if let Ok(count) = result {
            world.after_read(fd.number, &buf[..count]);
        }
        result
    }
    fn send(&self, fd: &Fd, bytes: &[u8]) -> io::Result<usize> {
        let world = &mut *self.world();
        // A pipe that is writable has room for that much.
        let bytes = match world.os.descriptor(fd.number).end {
            End::Writer(p) => {
                let polled = world.os.pipes[p].poll_writer();
                match polled.writable || polled.trouble {
                    true => &bytes[..bytes.len().min(PIPE_BUF)],
                    false => &[],
                }
            }
            _ => bytes,
        };
        let result = match bytes {
            [] => Err(ErrorKind::WouldBlock.into()),
            bytes => world.write_end(fd.number, bytes),
        };
        noted(world, "send", fd.number, bytes, &result);
        world.after_write(fd.number, bytes, &result);
        result
    }
    fn listen(&self, address: &Address) -> io::Result<Fd> {
        let world = &mut *self.world();
        world.os.listeners.push(Listener {
            address: address.to_string(),
            open: true,
            ..Listener::default()
        });
        let listener = world.os.listeners.len() - 1;
        Ok(self.fd(world, End::Listener(listener), true))
    }
    fn accept(&self, listener: &Fd) -> io::Result<(Fd, Kind)> {
        let world = &mut *self.world();
        let End::Listener(l) = world.os.descriptor(listener.number).end else {
            return Err(errno(EINVAL));
        };
        if world.os.listeners[l].waiting.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        world.no_descriptor()?;
        let Some(s) = world.os.listeners[l].waiting.pop_front() else {
            return Err(ErrorKind::WouldBlock.into());
        };
        world.os.progress += 1;
        let browser = world.owners.streams[s];
        let aborted = world.os.faults.strikes(world.os.faults.rates.aborted);
        if aborted || world.os.streams[s].unconnected(0) {
            note!(world.os, "accept", "browser {browser} has gone");
            world.os.streams[s].release(0, true);
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let tcp = world.os.streams[s].tcp;
        let kind = Kind::Stream {
            remote: local("10.0.0.1:999").filter(|_| tcp),
            local: local("10.0.0.2:80").filter(|_| tcp),
        };
        let fd = self.fd(world, End::Stream(s, 0), true);
        note!(world.os, "accept", "-> {}", world.fd_name(fd.number));
        Ok((fd, kind))
    }
    fn adopt(&self, fd: Fd) -> io::Result<(Fd, Kind)> {
        let kind = self.kind(&fd)?;
        let mut world = self.world();
        if !matches!(kind, Kind::Other | Kind::Unconnected) {
            world.os.descriptor_mut(fd.number).non_blocking = true;
        }
        drop(world);
        Ok((fd, kind))
    }
    fn kind(&self, fd: &Fd) -> io::Result<Kind> {
        let world = self.world();
        Ok(match world.os.descriptor(fd.number).end {
            End::Stream(s, side) if world.os.streams[s].unconnected(side) => Kind::Unconnected,
            End::Stream(s, _) => {
                let tcp = world.os.streams[s].tcp;
                Kind::Stream {
                    remote: local("10.0.0.1:999").filter(|_| tcp),
                    local: local("10.0.0.2:80").filter(|_| tcp),
                }
            }
            End::Reader(_) => Kind::PipeReader,
            End::Writer(_) => Kind::PipeWriter,
            End::File(..) => Kind::File,
            _ => Kind::Other,
        })
    }
    fn shutdown(&self, fd: &Fd, both: bool) {
        let world = &mut *self.world();
        note!(
            world.os,
            "shutdown",
            "{} both: {both}",
            world.fd_name(fd.number)
        );
        if let End::Stream(s, side) = world.os.descriptor(fd.number).end {
            world.os.streams[s].shut(side);
            world.os.progress += 1;
            let browser = world.owners.streams[s];
            // What is read from now on is thrown away.
            world.model.connections[browser].shut = true;
        }
    }
    fn before_close(&self, socket: &Fd, reset: bool) {
        let mut world = self.world();
        let descriptor = world.os.descriptor_mut(socket.number);
        descriptor.waits_at_close = false;
        descriptor.resets = reset;
    }
    fn bind_handoff(&self, path: &str) -> io::Result<Fd> {
        let world = &mut *self.world();
        world.os.files.make(path, Node::Socket)?;
        Ok(self.fd(world, End::Handoff, true))
    }
    fn receive_handoff(&self, _: &Fd, buf: &mut [u8]) -> io::Result<Datagram<Fd>> {
        let world = &mut *self.world();
        let Some(datagram) = world.os.handoffs.pop_front() else {
            return Err(ErrorKind::WouldBlock.into());
        };
        world.os.progress += 1;
        let len = datagram.bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&datagram.bytes[..len]);
        let lost = world
            .os
            .faults
            .strikes(world.os.faults.rates.lost_descriptors);
        let needs = datagram.ends.len();
        let full = world.os.open_count() + needs > world.os.limit;
        if full || world.os.faults.descriptors_were_short(world.os.now) {
            // It could have known.
            world
                .model
                .fail("a hand-off record is taken with no descriptor free: its own are lost");
        }
        let (mut fds, mut truncated) = (Vec::new(), len < datagram.bytes.len());
        let browser = datagram
            .ends
            .first()
            .and_then(|d| world.owners.browser(&d.end));
        if lost || full {
            note!(world.os, "recvmsg", "the descriptors are gone");
            truncated = true;
            for descriptor in datagram.ends {
                world.os.release(descriptor);
            }
        } else {
            for descriptor in datagram.ends {
                fds.push(self.adopt_descriptor(world, descriptor));
            }
            if let Some(browser) = browser {
                world.came(browser);
            }
        }
        note!(
            world.os,
            "recvmsg",
            "-> {len} bytes, {} descriptors",
            fds.len()
        );
        Ok(Datagram {
            len,
            fds,
            truncated,
            uid: Some(datagram.uid),
        })
    }
    fn send_handoff(&self, _: &str, _: &[u8], _: &[&Fd]) -> io::Result<()> {
        Err(errno(EINVAL))
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        let world = &mut *self.world();
        let inode = world.lookup(path, true)?;
        Ok(world.stat_of(inode))
    }
    fn lstat(&self, path: &str) -> io::Result<Stat> {
        let world = &mut *self.world();
        let inode = world.lookup(path, false)?;
        Ok(world.stat_of(inode))
    }
    fn fstat(&self, fd: &Fd) -> io::Result<Stat> {
        let world = self.world();
        Ok(match world.os.descriptor(fd.number).end {
            End::File(inode, _) | End::Folder(inode) => world.stat_of(inode),
            End::Both(p) => Stat {
                file_type: FileType::Fifo,
                size: 0,
                links: 1,
                id: (2, p as u64),
                changed: 0,
                roots: false,
            },
            End::Reader(p) | End::Writer(p) => Stat {
                file_type: FileType::Fifo,
                size: 0,
                links: 1,
                id: (2, p as u64),
                changed: 0,
                roots: false,
            },
            _ => Stat {
                file_type: FileType::Socket,
                size: 0,
                links: 1,
                id: (3, fd.number as u64),
                changed: 0,
                roots: false,
            },
        })
    }
    fn executable(&self, path: &str) -> bool {
        let world = &mut *self.world();
        let node = world.lookup(path, true).ok().filter(|inode| *inode > 0);
        let node = node.map(|inode| world.os.files.node(inode));
        matches!(
            node,
            Some(Node::Regular {
                executable: true,
                ..
            })
        )
    }
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        Ok(self.world().os.files.list(path))
    }
    fn make_dir(&self, path: &str) -> io::Result<()> {
        self.world().os.files.make(path, Node::Folder).map(drop)
    }
    fn make_fifo(&self, path: &str) -> io::Result<()> {
        let world = &mut *self.world();
        let pipe = world.os.new_pipe(65536);
        world.owners.pipes.resize(pipe + 1, None);
        world.owners.pipes[pipe] = Some(Owner::Fifo);
        world.os.files.make(path, Node::Fifo(pipe)).map(drop)
    }
    fn set_access(&self, _: &Fd, _: Option<(u32, u32)>, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn give(&self, _: &str, _: (u32, u32)) -> io::Result<()> {
        Ok(())
    }
    fn unlink(&self, path: &str) -> io::Result<()> {
        let world = &mut *self.world();
        let result = world.os.files.unlink(path);
        note!(world.os, "unlink", "{path} -> {result:?}");
        result
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.world().os.files.rename(from, to)
    }
    fn open(&self, path: &str, how: Open) -> io::Result<Fd> {
        let world = &mut *self.world();
        let result = self.open_in(world, path, how);
        let shown = result.as_ref().map(|fd| fd.number);
        note!(world.os, "open", "{path} {how:?} -> {shown:?}");
        result
    }
    fn lock(&self, _: &Fd) -> io::Result<bool> {
        Ok(true)
    }

    fn spawn(&mut self, program: &Program) -> io::Result<Child<Fd>> {
        let world = &mut *self.world();
        let needs = if program.stdin { 6 } else { 4 };
        let error = if world.os.faults.strikes(world.os.faults.rates.no_clone) {
            Some(errno(ENOMEM))
        } else if world.os.open_count() + needs > world.os.limit {
            Some(errno(EMFILE))
        } else {
            world.no_descriptor().err()
        };
        if let Some(error) = error {
            note!(world.os, "spawn", "{} -> {error}", program.path);
            // With none running there is nothing to wait for: the event has failed.
            if world.children() == 0 {
                world.start(program.path, program.env, None);
                world.os.progress += 1;
            }
            return Err(error);
        }
        world.os.progress += 1;
        let mut pipe = |ours_writes: bool| {
            let small = world.os.faults.strikes(world.os.faults.rates.small_pipe);
            let pipe = world.os.new_pipe(if small { PIPE_BUF } else { 65536 });
            world.os.pipes[pipe].readers = 1;
            world.os.pipes[pipe].writers = 1;
            let end = if ours_writes {
                End::Writer
            } else {
                End::Reader
            };
            (pipe, self.fd(world, end(pipe), true))
        };
        let stdin = program.stdin.then(|| pipe(true));
        let (stdout, stderr) = (pipe(false), pipe(false));
        let theirs = Pipes {
            stdin: stdin.as_ref().map(|(pipe, _)| *pipe),
            stdout: stdout.0,
            stderr: stderr.0,
        };
        let pid = world.start(program.path, program.env, Some(theirs));
        if world.os.trace.wanted {
            let wanted = [
                "WS_EVENT=",
                "WS_ID=",
                "WS_ROOMS=",
                "WS_CLOSE",
                "HTTP_COOKIE=",
            ];
            let env = program.env.iter().map(|v| String::from_utf8_lossy(v));
            let env: Vec<_> = env
                .filter(|v| wanted.iter().any(|w| v.starts_with(w)))
                .collect();
            note!(
                world.os,
                "spawn",
                "{} -> {pid}: {}",
                program.path,
                env.join(" ")
            );
        }
        Ok(Child {
            pid,
            stdin: stdin.map(|(_, fd)| fd),
            stdout: stdout.1,
            stderr: stderr.1,
        })
    }
    fn exited(&self, pid: u32) -> bool {
        let world = &mut *self.world();
        match world.processes.get(&pid).map(|p| p.life) {
            Some(Life::Reaped) | None => world.fail(format!("waitid of {pid}, reaped or none")),
            Some(life) => matches!(life, Life::Zombie(_)),
        }
    }
    fn kill(&self, pid: u32, signal: Kill) {
        let world = &mut *self.world();
        world.os.progress += 1;
        world.kill(pid, signal);
    }
    fn reap(&self, pid: u32) -> Exit {
        let world = &mut *self.world();
        world.os.progress += 1;
        world.reap(pid)
    }
}

impl Sim {
    fn open_in(&self, world: &mut World, path: &str, how: Open) -> io::Result<Fd> {
        world.no_descriptor()?;
        match how {
            Open::Read => {
                let inode = world.lookup(path, false)?;
                match world.os.files.node(inode) {
                    Node::Link(_) => Err(errno(ELOOP)),
                    Node::Folder => Ok(self.fd(world, End::Folder(inode), false)),
                    Node::Regular { .. } => Ok(self.fd(world, End::File(inode, 0), false)),
                    Node::Fifo(_) | Node::Socket => Err(errno(ENXIO)),
                }
            }
            Open::Folder => {
                let inode = world.lookup(path, false)?;
                match world.os.files.node(inode) {
                    Node::Folder => Ok(self.fd(world, End::Folder(inode), false)),
                    _ => Err(errno(ENOTDIR)),
                }
            }
            Open::Fifo => {
                let inode = world.lookup(path, false)?;
                let &Node::Fifo(pipe) = world.os.files.node(inode) else {
                    return Ok(self.fd(world, End::File(inode, 0), false));
                };
                world.os.pipes[pipe].readers += 1;
                world.os.pipes[pipe].writers += 1;
                world.fifo = Some(pipe);
                Ok(self.fd(world, End::Both(pipe), true))
            }
            Open::FifoWriter => Err(errno(ENXIO)),
            Open::Create(_) => {
                if world.os.faults.strikes(world.os.faults.rates.disk_full) {
                    return Err(errno(ENOSPC));
                }
                let node = Node::Regular {
                    bytes: Vec::new(),
                    executable: false,
                };
                let inode = world.os.files.make(path, node)?;
                Ok(self.fd(world, End::File(inode, 0), false))
            }
        }
    }
}

/// For those who look on.
pub fn open_descriptors(os: &Os) -> usize {
    os.descriptors.iter().flatten().count()
}
