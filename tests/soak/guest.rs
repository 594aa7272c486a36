//! A client whose every message is looked at: lines to its rooms are counted and compared, what
//! is left is what it asked for.

use crate::door::Door;
use crate::harness::{Ws, masked};
use crate::lines::Lines;
use crate::load::Load;
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
    pub lines: Lines<'a>,
}

impl<'a> Guest<'a> {
    /// Comes in by a door to a program, whose open event puts it into these rooms.
    pub fn come(
        load: &'a Load<'a>,
        door: &Door,
        program: &'static str,
        rooms: &[usize],
    ) -> Guest<'a> {
        let query = match rooms {
            [] => String::new(),
            _ => format!("?{}", rooms::join(rooms)),
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
        load.tally.came("connections accepted");
        Guest {
            load,
            ws,
            program,
            lines: Lines::of(load, rooms),
        }
    }

    /// The next message that is no line to a room, nor a pong or ping.
    fn hear(&mut self) -> Message {
        loop {
            let message = self.ws.next();
            if self.lines.count(&message).is_none() {
                return message;
            }
        }
    }

    /// Reads on until it has heard a room's line.
    pub fn hears_line(&mut self, room: usize, number: u64) {
        while self.lines.awaits(room, number) {
            let message = self.ws.next();
            assert!(
                self.lines.count(&message).is_some(),
                "{message:?}, not line {number} to {}",
                NAMES[room]
            );
        }
    }

    /// Reads all lines that are on their way for certain.
    pub fn catch_up(&mut self) {
        while let Some((room, number)) = self.lines.behind() {
            self.hears_line(room, number);
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
                message => assert!(
                    self.lines.count(&message).is_some(),
                    "{message:?}, not a pong"
                ),
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
