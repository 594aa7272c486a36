//! What must be: rooms and routes, who gets which message and in which order, which events run
//! and how they may end. It learns of the daemon only what the operating system sees of it: what
//! it reads and writes, what it starts and reaps, what it waits for.
//!
//! Whatever happens within one turn of the daemon's loop has no order that the outside could
//! know, but for the order of the outbox's lines. So everything has a window of turns, and where
//! windows overlap a message *may* reach a connection. Everywhere else it *must*, or must not.

mod connection;
mod deliver;
mod events;
mod exchange;
mod history;
mod marked;
mod membership;
mod outbox;
mod poll;
mod stream;

pub use connection::{Connection, Life, reason};
pub use membership::Order;
pub use outbox::Counted;

use crate::browser::Browser;
use crate::child::{Kind, Reply};
use crate::os::{Os, Time};
use crate::request::Asks;
use history::History;
use outbox::Line;
use std::collections::{BTreeMap, VecDeque};

/// What the daemon was told by its options.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub max_reply: usize,
    pub queue: usize,
    pub ping: Option<Time>,
    pub slow: Time,
    pub close_on_error: bool,
    pub max_message: usize,
    pub poll_wait: Time,
    pub history: usize,
    /// Of `--memory`: all, what is in use from the start, what messages from browsers leave free.
    pub memory: usize,
    pub set_aside: usize,
    pub for_outbound: usize,
    /// A spool file may be unreadable: a fault of the disk, no descriptor.
    pub bad_disk: bool,
}

/// A reply on its way.
struct Answer {
    order: Order,
    connection: usize,
    reply: Reply,
    kind: Kind,
    /// A POST gets its message.
    asked: bool,
    /// The outbox's end at its program's: it waits for all that is before.
    behind: u64,
    /// Events of its connection that had been started.
    events: u32,
    /// Its message has been given to those meant.
    sent: bool,
}

/// A message as a browser gets it.
pub struct Frame {
    pub binary: bool,
    pub payload: Vec<u8>,
    /// Its number in the history, where it says so.
    pub mark: Option<u64>,
    /// The request that it answers.
    pub request: usize,
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
    pub most_jobs: usize,
    /// Of streams: messages, signs of life. Messages in answers to polls. Gaps told.
    pub events: u64,
    pub comments: u64,
    pub polled: u64,
    pub gaps: u64,
    pub marked: u64,
    pub resumes: u64,
    /// Answers by what was asked and status.
    pub answers: BTreeMap<String, u64>,
}

impl Totals {
    pub fn saw(&mut self, asks: Asks, status: u16) {
        let what = match asks {
            Asks::WebSocket => "upgrades",
            Asks::Events => "streams",
            Asks::Poll => "polls",
            Asks::Post => "POSTs",
        };
        *self
            .answers
            .entry(format!("{what} answered {status}"))
            .or_default() += 1;
    }
}

pub struct Model {
    pub rules: Rules,
    pub turn: u64,
    /// When this turn began: what the daemon takes the time for.
    pub now: Time,
    pub connections: Vec<Connection>,
    pub totals: Totals,
    /// The first thing that was not as it must be.
    pub wrong: Option<String>,
    pub stopping: Option<Time>,
    tail: Vec<u8>,
    offset: u64,
    lines: VecDeque<Line>,
    /// Of the lines read until now, and of those carried out for certain.
    counted: Counted,
    done: Counted,
    /// Messages and commands for nobody: at least and at most.
    nobody: (u64, u64),
    /// Spool files whose line is carried out.
    pub fetched: Vec<String>,
    answers: Vec<Answer>,
    history: History,
    serial: u64,
}

/// What a wait tells of the daemon's state.
pub struct Watched {
    /// It reads the outbox: all lines that it has read are carried out.
    pub outbox: bool,
    /// For each browser: it is read, it is written to.
    pub browsers: Vec<(bool, bool)>,
    /// How many programs have not been reaped.
    pub children: usize,
    /// It does not wait: what it takes from the history it writes in the next turn.
    pub goes_on: bool,
}

impl Model {
    pub fn new(rules: Rules, browsers: &[Browser]) -> Model {
        Model {
            rules,
            turn: 0,
            now: 0,
            connections: browsers.iter().map(Connection::new).collect(),
            totals: Totals::default(),
            wrong: None,
            stopping: None,
            tail: Vec::new(),
            offset: 0,
            lines: VecDeque::new(),
            counted: Counted::default(),
            done: Counted::default(),
            nobody: (0, 0),
            fetched: Vec::new(),
            answers: Vec::new(),
            history: History::default(),
            serial: 0,
        }
    }

    /// Something is not as it must be. The first counts.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.wrong.get_or_insert(why.into());
    }

    // ---- The end of a turn

    pub fn end_of_turn(&mut self, os: &Os, browsers: &[Browser], watched: &Watched) {
        let turn = self.turn;
        for (connection, (_, writes)) in self.connections.iter_mut().zip(&watched.browsers) {
            connection.exchange.writes = *writes;
            if *writes {
                connection.exchange.answered_at.get_or_insert(self.now);
            }
        }
        self.look_at_chains();
        for (connection, browser) in self.connections.iter_mut().zip(browsers) {
            if !connection.is_done() {
                connection.look_for_endings(os.now, turn, browser, &self.rules);
            }
        }
        if watched.outbox {
            while let Some(line) = self.lines.pop_front() {
                self.carry_out(line);
            }
            self.done = self.counted;
        }
        self.finish_verdicts(watched);
        self.finish_answers(watched);
        self.take_frames();
        for i in 0..self.connections.len() {
            if self.connections[i].is_done() {
                continue;
            }
            let (_, writes) = watched.browsers[i];
            let connection = &mut self.connections[i];
            connection.watched(os.now, writes);
            let writes = writes || watched.goes_on && connection.told;
            let lost = connection.lost(writes);
            // An earlier poll's answer may be on its way with it.
            let lost = lost.filter(|_| !self.is_answering(i));
            let connection = &self.connections[i];
            let stream = connection.asks != Asks::Poll && connection.is_open();
            let open = stream && connection.life == Life::Accepted;
            if open && !writes && connection.owes_gap > 0 && connection.loose.is_none() {
                self.fail(format!(
                    "browser {i}: it is not told that messages are missing"
                ));
            }
            // For what it reads from the history there may be no memory now.
            let short = self.reads(i) && self.short_of_memory(self.rules.max_reply);
            if let Some(lost) = lost.filter(|_| !short) {
                self.fail(format!("browser {i}: it never gets: {lost}"));
            }
            let waits = self.connections[i].waits();
            if waits > self.rules.queue && !self.is_answering(i) && !self.reads(i) {
                let queue = self.rules.queue;
                self.fail(format!(
                    "browser {i}: {waits} bytes and a message wait, --queue {queue}"
                ));
            }
        }
        self.look_at_exchanges(browsers, watched.children);
        let oldest = self.oldest();
        for connection in self.connections.iter_mut().filter(|c| !c.is_done()) {
            connection.membership.settle(oldest);
        }
        self.turn += 1;
    }

    /// What was written in this turn.
    pub fn take_frames(&mut self) {
        for i in 0..self.connections.len() {
            for frame in core::mem::take(&mut self.connections[i].frames) {
                self.totals.frames += 1;
                self.written(i, &frame);
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
}

/// What of an event's environment is looked at.
#[derive(Default, Debug)]
pub struct Environment {
    pub rooms: Vec<String>,
    pub state: usize,
    pub transport: String,
    pub length: Option<usize>,
    pub binary: bool,
    pub code: u16,
    pub by: String,
}
