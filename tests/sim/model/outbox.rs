//! The outbox: its lines as the daemon reads them, and what it must count of them.

use super::membership::Certainty;
use super::{Life, Model, Order, reason};
use crate::os::Os;
use crate::os::file::Node;
use crate::request::Asks;
use ws2cgi::limits::OUTBOX_LINE;
use ws2cgi::outbox::{self, Command, Opcode, Payload};
use ws2cgi::sys::FileType;
use ws2cgi::target::{Scope, Target};

/// A line that the daemon has read.
pub struct Line {
    pub order: Order,
    pub command: Command,
    /// Of a spool file that can be sent.
    pub spooled: Option<Vec<u8>>,
}

impl Line {
    pub fn size(&self) -> usize {
        match &self.command {
            Command::Send(_, _, Payload::Inline(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

/// How many lines have been, by what they are.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counted {
    /// Carried out.
    pub lines: u64,
    /// No commands.
    pub bad: u64,
    /// One or the other: the disk decides whether a spool file can be read.
    pub either: u64,
}

impl Model {
    /// Bytes of the outbox that the daemon has read.
    pub fn outbox_read(&mut self, os: &Os, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let before = self.tail.len();
            self.tail.extend_from_slice(text);
            // It is none, however it ends.
            let too_long = before <= OUTBOX_LINE && self.tail.len() > OUTBOX_LINE;
            self.counted.bad += u64::from(too_long);
            if text.len() == piece.len() {
                continue;
            }
            let line = core::mem::take(&mut self.tail);
            let start = self.offset;
            self.offset += line.len() as u64 + 1;
            if line.len() <= OUTBOX_LINE {
                self.line(os, &line, start);
            }
        }
    }

    fn line(&mut self, os: &Os, line: &[u8], start: u64) {
        let command = match outbox::parse(line) {
            Ok(Some(command)) => command,
            Ok(None) => return,
            Err(_) => return self.counted.bad += 1,
        };
        self.serial += 1;
        let order = Order::line(self.serial, start, self.turn);
        let spooled = match &command {
            Command::Send(opcode, _, Payload::Spooled(name)) => self.spool_file(os, *opcode, name),
            Command::Close(target, close) => {
                for i in 0..self.connections.len() {
                    if self.meant(i, target, &order) != Certainty::No {
                        let turn = self.turn;
                        self.connections[i].may_end(turn, reason::ASKED, Some(close.code));
                    }
                }
                None
            }
            _ => None,
        };
        let names_file = matches!(&command, Command::Send(_, _, Payload::Spooled(_)));
        match (names_file, &spooled) {
            (true, None) => self.counted.bad += 1,
            (true, Some(_)) if self.rules.bad_disk => self.counted.either += 1,
            _ => self.counted.lines += 1,
        }
        self.lines.push_back(Line {
            order,
            command,
            spooled,
        });
    }

    fn spool_file(&self, os: &Os, opcode: Opcode, name: &str) -> Option<Vec<u8>> {
        let path = format!("{}/spool/{name}", crate::lines::RUN);
        let inode = os.files.find(&path).ok()?;
        let stat = os.files.stat(inode);
        let Node::Regular { bytes, .. } = os.files.node(inode) else {
            return None;
        };
        let text = opcode == Opcode::Binary || core::str::from_utf8(bytes).is_ok();
        let fits = stat.size <= self.rules.max_reply as u64;
        let good = stat.file_type == FileType::Regular && stat.links == 1 && fits && text;
        good.then(|| bytes.clone())
    }

    // ---- What must be counted

    /// A line is carried out, or a reply's message is sent, which may be nobody's. `sure`: it is
    /// sent for certain.
    pub fn count_nobody(&mut self, target: &Target, order: &Order, sure: bool) {
        let mut somebody = Certainty::No;
        for i in 0..self.connections.len() {
            match self.is_there(i, target, order) {
                Certainty::Yes => return,
                Certainty::Maybe => somebody = Certainty::Maybe,
                Certainty::No => {}
            }
        }
        let (least, most) = &mut self.nobody;
        *least += u64::from(somebody == Certainty::No && sure);
        *most += 1;
    }

    /// Whether a target means a connection, if only one that gets nothing for that: one that is
    /// refused, until that is carried out, or one that only brings a message.
    fn is_there(&self, i: usize, target: &Target, order: &Order) -> Certainty {
        let connection = &self.connections[i];
        let replies = || self.answers.iter().any(|a| a.connection == i);
        let lingers = match (connection.life, connection.asks) {
            (Life::Refused, _) | (Life::Over, Asks::Post) => replies(),
            (_, asks) => asks == Asks::Post,
        };
        let named = matches!(target.scope, Scope::Connection(_) | Scope::Room(_));
        match self.meant(i, target, order) {
            Certainty::No if lingers && named && connection.id.is_some() => Certainty::Maybe,
            certainty => certainty,
        }
    }

    /// Messages and commands for nobody, at least and at most: of what waits it is not known.
    pub fn for_nobody(&self) -> (u64, u64) {
        let (least, most) = self.nobody;
        let answers = self.answers.iter().filter(|a| !a.sent).count();
        (least, most + (self.lines.len() + answers) as u64)
    }

    /// What must be counted of the lines: at least this, and at most that. `whole`: whatever was
    /// read is carried out by now.
    pub fn counted(&self, whole: bool) -> (Counted, Counted) {
        let least = if whole { self.counted } else { self.done };
        (least, self.counted)
    }
}
