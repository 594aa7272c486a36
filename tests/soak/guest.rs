//! A client whose every message is looked at: lines to its rooms are counted and compared, what
//! is left is what it asked for.

use crate::harness::{Ws, masked};
use crate::load::Load;
use crate::place::Door;
use crate::rooms::{self, NAMES};
use std::net::TcpStream;
use std::time::Instant;
use tungstenite::Message;

/// An open WebSocket.
pub struct Guest<'a> {
    load: &'a Load<'a>,
    pub ws: Ws,
    /// What runs at its events.
    pub program: &'static str,
    rooms: Vec<Member>,
}

/// What a guest knows of a room that it is in.
struct Member {
    room: usize,
    /// The next line's number; as long as none has come, the highest that it may have.
    next: u64,
    heard: bool,
}

impl<'a> Guest<'a> {
    /// Comes in by a door to a program, whose open event puts it into these rooms.
    pub fn come(
        load: &'a Load<'a>,
        door: &Door,
        program: &'static str,
        rooms: &[usize],
    ) -> Guest<'a> {
        let names: String = rooms.iter().map(|&r| format!("%20@{}", NAMES[r])).collect();
        let query = match rooms {
            [] => String::new(),
            _ => format!("?open=head%20WS-Join:{names}"),
        };
        let stream = door.knock(&format!("/{program}{query}"));
        Guest::accepted(load, stream, program, rooms)
    }

    /// Whoever has asked to come in is let in, and is in these rooms.
    pub fn accepted(
        load: &'a Load<'a>,
        stream: TcpStream,
        program: &'static str,
        rooms: &[usize],
    ) -> Guest<'a> {
        // As browsers do: or a fragment would wait for the acknowledgement of the one before.
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let ws = Ws::accepted(stream);
        let member = |&room: &usize| Member {
            room,
            // One that was on its way may have come before this guest.
            next: load.rooms[room].begun() + 1,
            heard: false,
        };
        load.tally.came("connections accepted");
        Guest {
            load,
            ws,
            program,
            rooms: rooms.iter().map(member).collect(),
        }
    }

    /// Which rooms it is in.
    pub fn rooms(&self) -> Vec<usize> {
        self.rooms.iter().map(|member| member.room).collect()
    }

    /// The next message that is no line to a room, nor a pong or ping.
    fn hear(&mut self) -> Message {
        loop {
            let message = self.ws.next();
            if !self.is_line(&message) {
                return message;
            }
        }
    }

    /// Whether a message is a line to a room, which then is counted.
    fn is_line(&mut self, message: &Message) -> bool {
        let (room, number) = match rooms::read(message) {
            None => return false,
            Some(Ok(line)) => line,
            Some(Err(what)) => {
                self.load.tally.lost("lines unchanged", 1, &what);
                return true;
            }
        };
        let tally = &self.load.tally;
        let Some(member) = self.rooms.iter_mut().find(|m| m.room == room) else {
            tally.lost("lines to members only", 1, NAMES[room]);
            return true;
        };
        let sooner = number < member.next && !member.heard;
        if number == member.next || sooner {
            tally.came("lines to rooms");
        } else {
            let first = if member.heard { "" } else { ", the first" };
            let what = format!("{} {number}, not {}{first}", NAMES[room], member.next);
            let missing = number.saturating_sub(member.next).max(1);
            tally.lost("lines to rooms", missing, &what);
        }
        (member.next, member.heard) = (number + 1, true);
        true
    }

    /// Reads on until it has heard a room's line.
    pub fn hears_line(&mut self, room: usize, number: u64) {
        let at = self.rooms.iter().position(|member| member.room == room);
        let at = at.expect("a member");
        while !(self.rooms[at].heard && self.rooms[at].next > number) {
            let message = self.ws.next();
            assert!(
                self.is_line(&message),
                "{message:?}, not line {number} to {}",
                NAMES[room]
            );
        }
    }

    /// Reads all lines that are on their way for certain.
    pub fn catch_up(&mut self) {
        for room in self.rooms() {
            let last = self.load.rooms[room].last();
            // Otherwise none has been sent since it came.
            let member = self.rooms.iter().find(|member| member.room == room);
            if member.is_some_and(|member| member.heard || member.next <= last) {
                self.hears_line(room, last);
            }
        }
    }

    /// Sends a message in fragments of these sizes, the last of what is left, each but the first
    /// behind a ping. It comes back as it went.
    pub fn echoes(&mut self, kind: &'static str, message: &Message, fragments: &[usize]) {
        let (mut opcode, mut rest) = match message {
            Message::Text(text) => (1, text.as_bytes()),
            message => (2, payload(message)),
        };
        let start = Instant::now();
        for (n, fragment) in fragments.iter().enumerate() {
            let (first, then) = rest.split_at((*fragment).min(rest.len()));
            self.ws.send_raw(&masked(opcode, first));
            self.ws.send_raw(&masked(0x89, format!("{n}").as_bytes()));
            (opcode, rest) = (0, then);
        }
        self.ws.send_raw(&masked(0x80 | opcode, rest));
        let heard = self.hear();
        assert!(
            heard == *message,
            "{} bytes sent, heard {heard:.200?}",
            payload(message).len()
        );
        let millis = start.elapsed().as_secs_f64() * 1000.0;
        self.load.tally.echoed(kind, millis);
    }

    /// A ping comes back as a pong.
    pub fn pings(&mut self, payload: &str) {
        self.ws.send_raw(&masked(0x89, payload.as_bytes()));
        loop {
            match self.ws.any() {
                Message::Pong(pong) if pong == payload.as_bytes() => break,
                Message::Ping(_) | Message::Pong(_) => {}
                message => assert!(self.is_line(&message), "{message:?}, not a pong"),
            }
        }
        self.load.tally.came("pongs");
    }

    /// Sends a script; its program's reply is this text.
    pub fn asks(&mut self, script: &str) -> String {
        self.ws.send(script);
        match self.hear() {
            Message::Text(text) => text.to_string(),
            message => panic!("{message:?}, not a text"),
        }
    }

    /// This connection's WS_ID.
    pub fn id(&mut self) -> String {
        self.variable("WS_ID")
    }

    /// A variable of the next event.
    pub fn variable(&mut self, name: &str) -> String {
        let env = self.asks("env");
        let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        env.lines().find_map(value).expect("the variable")
    }
}

fn payload(message: &Message) -> &[u8] {
    match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
        _ => unreachable!("data only"),
    }
}
