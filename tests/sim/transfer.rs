//! Bytes and names on their way between the daemon and the world: where faults strike, and where
//! the model learns what was read and written.

use crate::os::file::Node;
use crate::os::{End, MS};
use crate::request::Asks;
use crate::trace::{note, shown};
use crate::world::World;
use std::io::{self, ErrorKind};
use ws2cgi::limits::PIPE_BUF;
use ws2cgi::sys::{FileType, Stat};

/// An error of this number (errno(3)).
pub fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
pub const EBADF: i32 = 9;
pub const EINVAL: i32 = 22;
pub const ENOMEM: i32 = 12;
pub const EIO: i32 = 5;
pub const ENXIO: i32 = 6;
pub const EMFILE: i32 = 24;
pub const ENOSPC: i32 = 28;
pub const ELOOP: i32 = 40;
pub const ENOTDIR: i32 = 20;

/// The result of a transfer, noted.
pub fn noted(world: &mut World, call: &str, fd: usize, bytes: &[u8], result: &io::Result<usize>) {
    if world.os.trace.wanted {
        let name = world.fd_name(fd);
        match result {
            Ok(count) => {
                let shown = shown(&bytes[..(*count).min(bytes.len())]);
                note!(world.os, call, "{name} -> {count}: {shown}");
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                note!(world.os, call, "{name} -> would block");
            }
            Err(e) => note!(world.os, call, "{name} -> {e}"),
        }
    }
    match result {
        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
        _ => world.os.progress += 1,
    }
}

impl World {
    pub fn read_end(&mut self, fd: usize, buf: &mut [u8]) -> io::Result<usize> {
        let end = self.os.descriptor(fd).end.clone();
        let rate = self.os.faults.rates.short_read;
        let len = self.os.faults.cut(rate, buf.len());
        let buf = &mut buf[..len];
        let result = match end {
            End::Reader(p) | End::Both(p) => self.os.pipes[p].read(buf),
            End::Stream(s, side) => {
                self.strike_stream(s);
                self.os.streams[s].recv(side, buf)
            }
            End::File(inode, at) => {
                let rate = self.os.faults.rates.bad_disk;
                if self.os.faults.strikes(rate) {
                    return Err(errno(EIO));
                }
                let Node::Regular { bytes, .. } = self.os.files.node(inode) else {
                    return Err(errno(EIO));
                };
                let rest = &bytes[at.min(bytes.len())..];
                let count = rest.len().min(buf.len());
                buf[..count].copy_from_slice(&rest[..count]);
                self.os.descriptor_mut(fd).end = End::File(inode, at + count);
                Ok(count)
            }
            _ => Ok(0),
        };
        let blocks = !self.os.descriptor(fd).non_blocking;
        if let Err(e) = &result {
            if e.kind() == ErrorKind::WouldBlock && blocks {
                let name = self.fd_name(fd);
                self.fail(format!("a read of {name} that would block"));
            }
        }
        result
    }

    /// The network or the kernel's memory may fail a socket.
    fn strike_stream(&mut self, stream: usize) {
        if self.os.faults.strikes(self.os.faults.rates.reset) {
            let browser = self.owners.streams[stream];
            note!(self.os, "network", "loses browser {browser}");
            self.os.streams[stream].break_off();
            self.browsers[browser].endings.gone = true;
            self.browsers[browser].endings.gone_since = self.os.now;
            self.gone_now(browser);
        }
    }

    /// It may end in this very turn.
    fn gone_now(&mut self, browser: usize) {
        let turn = self.model.turn;
        let gone = crate::model::reason::GONE;
        if matches!(
            self.browsers[browser].ask.asks,
            Asks::WebSocket | Asks::Events
        ) {
            self.model.connections[browser].may_end(turn, gone, None);
        }
    }

    pub fn after_read(&mut self, fd: usize, bytes: &[u8]) {
        let end = self.os.descriptor(fd).end.clone();
        match end {
            End::Both(_) => self.model.outbox_read(&self.os, bytes),
            End::Stream(s, _) if bytes.is_empty() && self.os.streams[s].sides[0].ends_read > 6 => {
                self.model
                    .fail("it reads the end of a connection again and again");
            }
            End::Reader(p) if bytes.is_empty() && self.os.pipes[p].ends_read > 6 => {
                self.model
                    .fail("it reads the end of a pipe again and again");
            }
            _ => {}
        }
        if let Some(browser) = self.owners.browser(&end).filter(|_| !bytes.is_empty()) {
            let now = self.os.now;
            self.model.connections[browser].read(bytes.len(), now);
            self.came(browser);
            self.seen.add("bytes read", bytes.len() as u64);
        }
        self.stop_if_wrong();
    }

    /// A request may have come in whole. Where a browser has gone meanwhile, it is none.
    pub fn came(&mut self, browser: usize) {
        self.model.came(browser, &self.browsers);
    }

    pub fn write_end(&mut self, fd: usize, bytes: &[u8]) -> io::Result<usize> {
        let end = self.os.descriptor(fd).end.clone();
        let rate = self.os.faults.rates.short_write;
        match end {
            End::Writer(p) => {
                let len = match bytes.len() {
                    len if len > PIPE_BUF => self.os.faults.cut(rate, len - PIPE_BUF) + PIPE_BUF,
                    len => len,
                };
                self.os.pipes[p].write(&bytes[..len])
            }
            End::Stream(s, side) => {
                self.strike_stream(s);
                if self.os.faults.strikes(self.os.faults.rates.no_buffers) {
                    let until = self.os.now + self.os.faults.below(50 * MS);
                    self.os.streams[s].starve(side, until);
                }
                let len = self.os.faults.cut(rate, bytes.len());
                let now = self.os.now;
                self.os.streams[s].send(side, &bytes[..len], now)
            }
            End::File(inode, at) => {
                if self.os.faults.strikes(self.os.faults.rates.disk_full) {
                    return Err(errno(ENOSPC));
                }
                let len = self.os.faults.cut(rate, bytes.len());
                if let Node::Regular { bytes: file, .. } = self.os.files.node_mut(inode) {
                    file.extend_from_slice(&bytes[..len]);
                }
                self.os.descriptor_mut(fd).end = End::File(inode, at + len);
                Ok(len)
            }
            _ => Ok(bytes.len()),
        }
    }

    pub fn after_write(&mut self, fd: usize, bytes: &[u8], result: &io::Result<usize>) {
        let end = self.os.descriptor(fd).end.clone();
        let Some(browser) = self.owners.browser(&end) else {
            return;
        };
        let now = self.os.now;
        match result {
            Ok(count) => {
                let connection = &mut self.model.connections[browser];
                connection.look_for_endings(
                    now,
                    self.model.turn,
                    &self.browsers[browser],
                    &self.model.rules,
                );
                let wrote = match self.browsers[browser].ask.asks {
                    Asks::WebSocket => {
                        let wrote = connection.wrote(&bytes[..*count], browser);
                        wrote.and_then(|()| self.model.marked(browser, &self.browsers[browser]))
                    }
                    _ => self
                        .model
                        .answers(browser, &bytes[..*count], &self.browsers),
                };
                self.seen.add("bytes written", *count as u64);
                if let Err(why) = wrote {
                    self.model.fail(format!("browser {browser}: {why}"));
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.model.connections[browser].stuck(now);
            }
            Err(_) => {
                let gone = self.browsers[browser].endings.gone;
                if !gone {
                    self.model
                        .fail(format!("browser {browser}: a write fails, and it is there"));
                }
            }
        }
        self.stop_if_wrong();
    }

    /// The daemon has closed its way to a browser.
    pub fn closed(&mut self, end: &End) {
        let sends = matches!(end, End::Stream(..) | End::Writer(_));
        let Some(browser) = self.owners.browser(end).filter(|_| sends) else {
            return;
        };
        let who = &self.browsers[browser];
        self.model.connections[browser].exchange.closed = true;
        self.model.poll_cut(browser, who);
        if who.endings.gone {
            return;
        }
        let (now, turn) = (self.os.now, self.model.turn);
        let connection = &mut self.model.connections[browser];
        connection.look_for_endings(now, turn, who, &self.model.rules);
        if let Err(why) = self.model.left_alone(browser, who) {
            self.model.fail(format!("browser {browser}: {why}"));
        }
    }

    pub fn lookup(&mut self, path: &str, follow: bool) -> io::Result<u64> {
        // `..` is the only spelling that the daemon adds to a path.
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match part {
                ".." => drop(parts.pop()),
                "." => {}
                part => parts.push(part),
            }
        }
        let path = format!("/{}", parts.join("/"));
        if path == "/" {
            // No folder of ours.
            return Ok(0);
        }
        let inode = self.os.files.find(&path)?;
        match self.os.files.node(inode) {
            Node::Link(to) if follow => {
                let to = to.clone();
                self.os.files.find(&to)
            }
            _ => Ok(inode),
        }
    }

    pub fn stat_of(&self, inode: u64) -> Stat {
        match inode {
            0 => Stat {
                file_type: FileType::Folder,
                size: 0,
                links: 1,
                id: (1, 0),
                changed: 0,
                roots: true,
            },
            inode => self.os.files.stat(inode),
        }
    }

    pub fn no_descriptor(&mut self) -> io::Result<()> {
        match self.os.no_descriptor() {
            true => {
                note!(self.os, "fault", "no descriptor");
                Err(errno(EMFILE))
            }
            false => Ok(()),
        }
    }
}
