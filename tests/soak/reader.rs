//! A client that is cut off now and then and comes again behind its mark: each line to its rooms
//! comes once and in order, or it is told that some are gone, and they are.

use crate::door::Door;
use crate::ear::{Ear, Heard, Way};
use crate::harness::PATIENCE;
use crate::lines::Lines;
use crate::load::Load;
use crate::rooms;
use std::time::Instant;
use tungstenite::Message;

/// An event stream, a chain of polls or a WebSocket that speaks `ws2cgi1`.
pub struct Reader<'a> {
    load: &'a Load<'a>,
    pub door: &'a Door,
    pub way: Way,
    pub ear: Ear,
    pub lines: Lines<'a>,
    url: String,
    /// What had been said for certain when what it has heard last began.
    from: u64,
    /// How many messages it has sent.
    pub sent: usize,
}

impl<'a> Reader<'a> {
    /// Comes in by a door and a way, and is in these rooms.
    pub fn come(load: &'a Load<'a>, door: &'a Door, way: Way, rooms: &[usize]) -> Reader<'a> {
        let url = format!("/act?{}", rooms::join(rooms));
        let from = load.said.least();
        let ear = Ear::open(door, way, &url, "");
        load.tally.came("connections accepted");
        Reader {
            load,
            door,
            way,
            ear,
            lines: Lines::of(load, rooms),
            url,
            from,
            sent: 0,
        }
    }

    /// Comes again, by this door, behind what it has heard.
    pub fn come_again(&mut self, door: &'a Door) {
        let mark = self.ear.mark().to_owned();
        (self.door, self.sent) = (door, 0);
        self.ear = Ear::open(door, self.way, &self.url, &mark);
        self.load.tally.came("connections accepted");
        self.load.tally.came("cuts");
    }

    /// Whether what comes next should be gone from the history.
    pub fn late(&self) -> bool {
        self.load.passed(self.from, self.load.said.least())
    }

    /// What comes next but lines to its rooms; None: nothing has come yet.
    pub fn hear(&mut self) -> Option<Heard> {
        match self.ear.next(self.door) {
            Heard::Message(message) => {
                let Some(line) = self.lines.count(&message) else {
                    return Some(Heard::Message(message));
                };
                self.from = line.map_or(self.from, |(room, n)| self.load.rooms[room].before(n));
            }
            Heard::Gap if self.load.passed(self.from, self.load.said.most()) => {
                self.load.tally.came("gaps announced");
                self.lines.gap();
            }
            Heard::Gap => {
                let said = self.load.said.most() - self.from;
                let what = format!("{said} bytes after {}", self.ear.mark());
                self.load.tally.lost("gaps announced", 1, &what);
                self.lines.gap();
            }
            Heard::Nothing => {}
            closed @ Heard::Closed(_) => return Some(closed),
        }
        None
    }

    /// The next message that is no line to a room.
    pub fn message(&mut self) -> Message {
        match self.until(|reader| reader.hear()) {
            Heard::Message(message) => message,
            other => panic!("{other:?}, not a message"),
        }
    }

    /// Reads on until the daemon has closed it; with which code.
    pub fn closed(&mut self) -> u16 {
        match self.until(|reader| reader.hear()) {
            Heard::Closed(code) => code,
            other => panic!("{other:?}, not a close"),
        }
    }

    fn until<T>(&mut self, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "nothing came");
        }
    }

    /// Reads on until it has heard a room's line.
    pub fn hears_line(&mut self, room: usize, number: u64) {
        self.until(|reader| {
            if !reader.lines.awaits(room, number) {
                return Some(());
            }
            let heard = reader.hear();
            assert!(heard.is_none(), "{heard:?}, not line {number}");
            None
        });
    }

    /// Reads all lines that are on their way for certain.
    pub fn catch_up(&mut self) {
        while let Some((room, number)) = self.lines.behind() {
            self.hears_line(room, number);
        }
    }
}
