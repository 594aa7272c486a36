//! What must be: rooms and routes, who gets which message and in which order, which events run
//! and how they may end. It learns of the daemon only what the operating system sees of it: what
//! it reads and writes, what it starts and reaps, what it waits for.
//!
//! Whatever happens within one turn of the daemon's loop has no order that the outside could
//! know, but for the order of the outbox's lines. So everything has a window of turns, and where
//! windows overlap a message *may* reach a connection. Everywhere else it *must*, or must not.

mod connection;
mod membership;

pub use connection::{Connection, Life, reason};
pub use membership::Order;

use crate::browser::Browser;
use crate::child::{Kind, Process, Reply};
use crate::os::file::Node;
use crate::os::{Os, Time};
use connection::Expected;
use membership::Certainty;
use std::collections::VecDeque;
use std::rc::Rc;
use ws2cgi::limits::{OUTBOX_LINE, STATE};
use ws2cgi::outbox::{self, Command, Opcode, Payload};
use ws2cgi::sys::FileType;
use ws2cgi::target::{Scope, Target};

/// What the daemon was told by its options.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub max_reply: usize,
    pub queue: usize,
    pub ping: Option<Time>,
    pub slow: Time,
    pub close_on_error: bool,
    /// A spool file may be unreadable: a fault of the disk, no descriptor.
    pub bad_disk: bool,
}

/// A line of the outbox that the daemon has read.
struct Line {
    order: Order,
    command: Command,
    /// Of a spool file that can be sent.
    spooled: Option<Vec<u8>>,
}

/// A reply on its way.
struct Answer {
    order: Order,
    connection: usize,
    reply: Reply,
    kind: Kind,
    /// The outbox's end at its program's: it waits for all that is before.
    behind: u64,
    /// Events of its connection that had been started.
    events: u32,
    /// Its message has been given to those meant.
    sent: bool,
}

/// What has been seen in all.
#[derive(Default, Debug)]
pub struct Totals {
    /// Whole data frames written to browsers.
    pub frames: u64,
    /// Connections of which it is not known how many messages were understood.
    pub unrun_unknown: u64,
    pub opens: u64,
    pub messages: u64,
    pub closes: u64,
    pub accepted: u64,
    pub lines: u64,
    pub most_jobs: usize,
}

pub struct Model {
    pub rules: Rules,
    pub turn: u64,
    pub connections: Vec<Connection>,
    pub totals: Totals,
    /// The first thing that was not as it must be.
    pub wrong: Option<String>,
    pub stopping: Option<Time>,
    tail: Vec<u8>,
    offset: u64,
    lines: VecDeque<Line>,
    /// Spool files whose line is carried out.
    pub fetched: Vec<String>,
    answers: Vec<Answer>,
    serial: u64,
}

/// What a wait tells of the daemon's state.
pub struct Watched {
    /// It reads the outbox: all lines that it has read are carried out.
    pub outbox: bool,
    /// For each browser: it is read, it is written to.
    pub browsers: Vec<(bool, bool)>,
}

impl Model {
    pub fn new(rules: Rules, browsers: &[Browser]) -> Model {
        Model {
            rules,
            turn: 0,
            connections: browsers.iter().map(Connection::new).collect(),
            totals: Totals::default(),
            wrong: None,
            stopping: None,
            tail: Vec::new(),
            offset: 0,
            lines: VecDeque::new(),
            fetched: Vec::new(),
            answers: Vec::new(),
            serial: 0,
        }
    }

    /// Something is not as it must be. The first counts.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.wrong.get_or_insert(why.into());
    }

    // ---- What the daemon reads and writes

    /// Bytes of the outbox that it has read.
    pub fn outbox_read(&mut self, os: &Os, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.tail.push(byte);
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
        let Ok(Some(command)) = outbox::parse(line) else {
            return;
        };
        self.totals.lines += 1;
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

    // ---- Events

    /// A program is started.
    pub fn spawned(&mut self, now: Time, process: &Process, browser: &Browser, env: &Environment) {
        let turn = self.turn;
        let i = process.browser;
        self.connections[i].look_for_endings(now, turn, browser, &self.rules);
        let who = format!("browser {i}");
        match process.kind {
            Kind::Open => self.totals.opens += 1,
            Kind::Message => self.totals.messages += 1,
            Kind::Close => self.totals.closes += 1,
        }
        if let Err(why) = self.connections[i].event(process, browser, now) {
            self.fail(format!("{who}: {why}"));
        }
        if process.kind == Kind::Open {
            let order = self.order(turn, turn);
            self.connections[i].membership.sure("#id", true, &order);
        } else {
            self.check_rooms(i, env);
            let state = &self.connections[i].state;
            if let Some(expected) = state.filter(|len| *len != env.state) {
                let got = env.state;
                self.fail(format!("{who}: WS_STATE of {got} bytes, not {expected}"));
            }
        }
        if process.kind == Kind::Message {
            let message = browser
                .sent
                .get(self.connections[i].messages_run as usize - 1);
            let expected = message.map(|m| m.payload.len());
            if env.length != expected {
                let got = env.length;
                self.fail(format!("{who}: CONTENT_LENGTH {got:?}, not {expected:?}"));
            }
            if message.is_some_and(|m| m.binary != env.binary) {
                self.fail(format!("{who}: the CONTENT_TYPE of a message is wrong"));
            }
        }
        if process.kind == Kind::Close {
            self.check_close(i, browser, env);
        }
    }

    fn check_rooms(&mut self, i: usize, env: &Environment) {
        let now = self.order(self.turn, self.turn);
        let pending = |room: &str| {
            self.lines.iter().any(|line| match &line.command {
                Command::Join(_, r) | Command::Leave(_, r) => r == room,
                _ => false,
            })
        };
        let names = self.connections[i].membership.rooms();
        let mut wrong = None;
        for room in names
            .iter()
            .map(String::as_str)
            .chain(env.rooms.iter().map(String::as_str))
        {
            let there = env.rooms.iter().any(|r| r == room);
            let certainty = self.connections[i].membership.at(room, &now);
            let fits = match certainty {
                Certainty::Yes => there,
                Certainty::No => !there,
                Certainty::Maybe => true,
            };
            if !fits && !pending(room) {
                wrong = Some(format!("browser {i}: WS_ROOMS={:?}: @{room}", env.rooms));
            }
        }
        if let Some(wrong) = wrong {
            self.fail(wrong);
        }
    }

    fn check_close(&mut self, i: usize, browser: &Browser, env: &Environment) {
        let connection = &self.connections[i];
        let by = env.by.as_str();
        if !connection.may_end_so(env.code, by) {
            let why = format!(
                "browser {i}: closed with {} by {by}, without a cause (of {})",
                env.code,
                reason::names(connection.reasons)
            );
            return self.fail(why);
        }
        // A message already read is run, whatever becomes of its browser.
        let unrun = connection.unrun(browser);
        let memory = env.code == 1013 && by == "error";
        let excused = match (env.code, by) {
            // It comes behind our close, and is counted.
            (_, "server") | (1011, "error") | (1013, "timeout") => true,
            _ if memory => connection.next_unrun(browser).is_some_and(|m| m.charged),
            _ => false,
        };
        self.connections[i].discards = excused && !memory;
        match unrun {
            0 => {}
            _ if memory && excused => self.totals.unrun_unknown += 1,
            _ if excused => {}
            _ => self.fail(format!(
                "browser {i}: {unrun} messages that were read are not run (closed with {} by {by})",
                env.code
            )),
        }
    }

    /// Messages that came behind a close of ours: at least and at most.
    pub fn unrun(&self, browsers: &[Browser]) -> (u64, u64) {
        let all = self
            .connections
            .iter()
            .zip(browsers)
            .filter(|(c, _)| c.discards);
        all.fold((0, 0), |(least, most), (connection, browser)| {
            let (unrun, uncharged) = (connection.unrun(browser), connection.uncharged(browser));
            (least + unrun.min(uncharged), most + unrun)
        })
    }

    /// A program is reaped: what its output changes.
    /// `behind`: bytes ever written to the outbox.
    pub fn reaped(&mut self, now: Time, process: &Process, failed: bool, behind: u64) {
        let i = process.browser;
        let turn = self.turn;
        self.serial += 1;
        let order = Order::answer(self.serial, i, process.mark, turn);
        let connection = &mut self.connections[i];
        connection.running = None;
        if process.kind == Kind::Close {
            connection.life = Life::Over;
        }
        let reply = process.reply.clone();
        let status = match reply.status {
            0 => 200,
            status => status,
        };
        let good = !failed && (200..300).contains(&status);
        let no_opinion = matches!(status, 405 | 501)
            && reply.to.is_none()
            && reply.join.is_none()
            && reply.leave.is_none()
            && reply.state.is_none()
            && reply.close.is_none();
        let mut does = good;
        match process.kind {
            Kind::Open => {
                let accepts = good || (!failed && no_opinion);
                match accepts {
                    true => self.totals.accepted += 1,
                    false => connection.may_end(turn, reason::REFUSED, None),
                }
                connection.verdict(accepts, now);
                let foreign = match reply.protocol {
                    0 => false,
                    1 => !connection.offers,
                    _ => true,
                };
                if good && foreign {
                    // Accepted, and an HTTP answer: the close event comes at once.
                    connection.may_end(turn, reason::PROTOCOL, None);
                    connection.expected.clear();
                    does = false;
                } else if accepts {
                    connection.membership.begin("#open", true, &order);
                }
            }
            Kind::Message => {
                if !good && self.rules.close_on_error {
                    connection.may_end(turn, reason::FAILED, None);
                }
                if let Some(code) = reply.close.filter(|_| !failed) {
                    connection.may_end(turn, reason::ASKED, Some(code));
                }
            }
            Kind::Close => does = good,
        }
        if does {
            if process.kind == Kind::Open {
                if let Some(code) = reply.close {
                    connection.may_end(turn, reason::ASKED, Some(code));
                }
            }
            if let Some(room) = &reply.join {
                connection.membership.begin(room, true, &order);
            }
            if let Some(room) = &reply.leave {
                connection.membership.begin(room, false, &order);
            }
            if let Some(len) = reply.state.filter(|len| *len <= STATE) {
                connection.state = Some(len);
            }
        }
        let events = connection.events;
        self.answers.push(Answer {
            order,
            connection: i,
            reply,
            kind: process.kind,
            behind,
            events,
            sent: !does,
        });
    }

    /// The program of an event could not be started, and the event has failed for that.
    pub fn not_started(&mut self, i: usize) {
        let turn = self.turn;
        self.connections[i].may_end(turn, reason::NO_START, None);
    }

    // ---- The end of a turn

    pub fn end_of_turn(&mut self, os: &Os, browsers: &[Browser], watched: &Watched) {
        let turn = self.turn;
        for (connection, browser) in self.connections.iter_mut().zip(browsers) {
            connection.look_for_endings(os.now, turn, browser, &self.rules);
        }
        if watched.outbox {
            while let Some(line) = self.lines.pop_front() {
                self.carry_out(line);
            }
        }
        self.finish_answers(watched);
        self.take_frames();
        for i in 0..self.connections.len() {
            let (_, writes) = watched.browsers[i];
            let connection = &mut self.connections[i];
            connection.watched(os.now, writes);
            if let Some(lost) = connection.lost(writes) {
                self.fail(format!("browser {i}: it never gets: {lost}"));
            }
            let waits = self.connections[i].waits();
            if waits > self.rules.queue {
                let queue = self.rules.queue;
                self.fail(format!(
                    "browser {i}: {waits} bytes and a message wait, --queue {queue}"
                ));
            }
        }
        let oldest = self.oldest();
        for connection in &mut self.connections {
            connection.membership.settle(oldest);
        }
        self.turn += 1;
    }

    /// What was written in this turn.
    pub fn take_frames(&mut self) {
        for i in 0..self.connections.len() {
            for (binary, payload) in core::mem::take(&mut self.connections[i].frames) {
                self.totals.frames += 1;
                self.written(i, binary, &payload);
            }
        }
    }

    /// The first turn of all that is under way.
    fn oldest(&self) -> u64 {
        let lines = self.lines.front().map(|line| line.order.from);
        let answers = self.answers.iter().map(|a| a.order.from).min();
        lines
            .into_iter()
            .chain(answers)
            .min()
            .unwrap_or(self.turn + 1)
    }

    fn order(&mut self, from: u64, to: u64) -> Order {
        self.serial += 1;
        Order::turns(self.serial, from, to)
    }

    /// A line that the daemon has carried out by now.
    fn carry_out(&mut self, mut line: Line) {
        line.order.to = self.turn;
        match line.command {
            Command::Send(opcode, target, payload) => {
                let (payload, sure) = match payload {
                    Payload::Inline(bytes) => (Some(bytes), true),
                    Payload::Spooled(name) => {
                        self.fetched.push(name);
                        (line.spooled, !self.rules.bad_disk)
                    }
                };
                if let Some(payload) = payload {
                    let binary = opcode == Opcode::Binary;
                    self.send(&target, &line.order, binary, payload, sure);
                }
            }
            Command::Close(..) => {}
            Command::Join(target, room) => self.change(&target, &room, true, &line.order),
            Command::Leave(target, room) => self.change(&target, &room, false, &line.order),
        }
    }

    fn change(&mut self, target: &Target, room: &str, join: bool, order: &Order) {
        for i in 0..self.connections.len() {
            match self.meant(i, target, order) {
                Certainty::No => {}
                Certainty::Yes => self.connections[i].membership.sure(room, join, order),
                Certainty::Maybe => self.connections[i].membership.perhaps(room, join, order),
            }
        }
    }

    /// A message for all whom a target means.
    fn send(&mut self, target: &Target, order: &Order, binary: bool, bytes: Vec<u8>, sure: bool) {
        // Empty ones can't be told apart. The counters tell whether one is lost.
        if bytes.is_empty() {
            return;
        }
        let payload: Rc<[u8]> = bytes.into();
        for i in 0..self.connections.len() {
            let certainty = self.meant(i, target, order);
            if certainty != Certainty::No {
                let must = certainty == Certainty::Yes && sure;
                self.connections[i].expected.push_back(Expected {
                    order: order.clone(),
                    binary,
                    payload: payload.clone(),
                    must,
                });
            }
        }
    }

    /// Whether a connection is meant by a target while something happens.
    fn meant(&self, i: usize, target: &Target, order: &Order) -> Certainty {
        let connection = &self.connections[i];
        let Some(id) = &connection.id else {
            return Certainty::No;
        };
        let is = |other: &ws2cgi::target::Id| other.to_string() == *id;
        if target.except.as_ref().is_some_and(is) || connection.life == Life::Refused {
            return Certainty::No;
        }
        let at = |name: &str| connection.membership.at(name, order);
        let certainty = match &target.scope {
            Scope::Connection(other) if is(other) => at("#id"),
            Scope::Route(route) if route == connection.route => at("#open"),
            Scope::All => at("#open"),
            Scope::Room(room) => {
                // A join or leave that has not been carried out for certain.
                let pending = self.lines.iter().any(|line| match &line.command {
                    Command::Join(_, r) | Command::Leave(_, r) => {
                        r == room && !order.before(&line.order)
                    }
                    _ => false,
                });
                match (at(room), pending) {
                    (_, true) => Certainty::Maybe,
                    (certainty, false) => certainty,
                }
            }
            _ => Certainty::No,
        };
        match connection.loose {
            Some(_) if certainty == Certainty::Yes => Certainty::Maybe,
            _ => certainty,
        }
    }

    /// Replies that are carried out by now.
    fn finish_answers(&mut self, watched: &Watched) {
        let writes = watched.browsers.iter().any(|(_, writes)| *writes);
        let unopened = self.connections.iter().any(Connection::holds_back);
        // Then no queue can be full.
        let free = watched.outbox && !writes && !unopened;
        let mut i = 0;
        while i < self.answers.len() {
            let answer = &self.answers[i];
            let connection = &self.connections[answer.connection];
            let (reads, _) = watched.browsers[answer.connection];
            let read = self.offset + self.tail.len() as u64;
            let done = (free && answer.behind <= read)
                || connection.events > answer.events
                || (connection.loose.is_none() && reads && connection.head == Some(101));
            if !done {
                i += 1;
                continue;
            }
            self.send_answer(i);
            let answer = self.answers.remove(i);
            let connection = &mut self.connections[answer.connection];
            connection.membership.end(&answer.order, self.turn);
        }
    }

    fn send_answer(&mut self, i: usize) {
        let answer = &mut self.answers[i];
        if core::mem::replace(&mut answer.sent, true) {
            return;
        }
        answer.order.to = self.turn;
        let own = self.connections[answer.connection].id.clone();
        let to = match (&answer.reply.to, answer.kind) {
            (Some(to), _) => Some(to.clone()),
            (None, Kind::Message) => own,
            (None, _) => None,
        };
        let (to, message) = (to, answer.reply.message.clone());
        let (order, binary) = (answer.order.clone(), answer.reply.binary);
        if let (Some(to), Some(message)) = (to, message) {
            match Target::parse(&to) {
                Ok(target) => self.send(&target, &order, binary, message, true),
                Err(why) => self.fail(format!("the simulator's own target: {why}")),
            }
        }
    }

    /// A whole data frame was written to a browser.
    fn written(&mut self, i: usize, binary: bool, payload: &[u8]) {
        while !payload.is_empty() {
            match self.connections[i].gets(binary, payload) {
                Ok(true) => return,
                Ok(false) => {}
                Err(why) => return self.fail(format!("browser {i}: {why}")),
            }
            // It may tell of a line or a reply that is carried out.
            let is = |b: bool, p: &[u8]| b == binary && p == payload;
            let line = self.lines.iter().position(|line| match &line.command {
                Command::Send(opcode, _, Payload::Inline(p)) => is(*opcode == Opcode::Binary, p),
                Command::Send(opcode, ..) => line
                    .spooled
                    .as_ref()
                    .is_some_and(|p| is(*opcode == Opcode::Binary, p)),
                _ => false,
            });
            if let Some(line) = line {
                for _ in 0..=line {
                    if let Some(line) = self.lines.pop_front() {
                        self.carry_out(line);
                    }
                }
                continue;
            }
            let answer = self.answers.iter().position(|a| {
                let message = a.reply.message.as_ref();
                !a.sent && message.is_some_and(|m| is(a.reply.binary, m))
            });
            match answer {
                Some(answer) => self.send_answer(answer),
                None => {
                    let shown = crate::trace::shown(payload);
                    return self.fail(format!(
                        "browser {i}: it gets what nobody sent to it, or twice: {shown}"
                    ));
                }
            }
        }
    }
}

/// What of an event's environment is looked at.
#[derive(Default, Debug)]
pub struct Environment {
    pub rooms: Vec<String>,
    pub state: usize,
    pub length: Option<usize>,
    pub binary: bool,
    pub code: u16,
    pub by: String,
}
