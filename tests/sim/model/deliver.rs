//! Lines and replies that are carried out: who gets what.

use super::connection::Expected;
use super::membership::Certainty;
use super::{Answer, Connection, Frame, Life, Line, Model, Order, Watched};
use crate::child::Kind;
use crate::request::Asks;
use std::rc::Rc;
use ws2cgi::outbox::{Command, Opcode, Payload};
use ws2cgi::target::{Scope, Target};

impl Model {
    /// A line that the daemon has carried out by now.
    pub(super) fn carry_out(&mut self, mut line: Line) {
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
            Command::Close(target, _) => self.count_nobody(&target, &line.order, true),
            Command::Join(target, room) => self.change(&target, &room, true, &line.order),
            Command::Leave(target, room) => self.change(&target, &room, false, &line.order),
        }
    }

    fn change(&mut self, target: &Target, room: &str, join: bool, order: &Order) {
        self.count_nobody(target, order, true);
        for i in 0..self.connections.len() {
            match self.meant(i, target, order) {
                Certainty::No => continue,
                Certainty::Yes => self.connections[i].membership.sure(room, join, order),
                Certainty::Maybe => self.connections[i].membership.perhaps(room, join, order),
            }
            self.room_changes(i, room, join);
        }
    }

    /// A message for all whom a target means.
    fn send(&mut self, target: &Target, order: &Order, binary: bool, bytes: Vec<u8>, sure: bool) {
        self.count_nobody(target, order, sure);
        self.keep(target, order, binary, &bytes, sure);
        // Empty ones can't be told apart. The counters tell whether one is lost.
        if bytes.is_empty() {
            return;
        }
        let payload: Rc<[u8]> = bytes.into();
        for i in 0..self.connections.len() {
            let certainty = self.meant(i, target, order);
            let certainty = self.reads_certainly(i, target, certainty);
            if certainty != Certainty::No {
                let cut = self.connections[i]
                    .cut
                    .is_some_and(|turn| order.from <= turn);
                let must = certainty == Certainty::Yes && sure && !cut;
                let numbered = !matches!(target.scope, Scope::Connection(_));
                let expected = Expected {
                    order: order.clone(),
                    binary,
                    payload: payload.clone(),
                    must,
                    numbered,
                };
                let connection = &mut self.connections[i];
                let again = connection
                    .repeats
                    .iter()
                    .filter(|&&turn| order.from <= turn);
                let times = if numbered { again.count() } else { 0 };
                let again = Expected {
                    must: false,
                    ..expected.clone()
                };
                connection.expected.push_back(expected);
                // What comes first is what it must get.
                connection
                    .expected
                    .extend(std::iter::repeat_n(again, times));
            }
        }
    }

    /// Whether a target is for all but this one.
    pub fn excepted(&self, i: usize, target: &Target) -> bool {
        let except = target.except.as_ref().map(ToString::to_string);
        except.is_some() && except == self.connections[i].id
    }

    /// Whether a connection is meant by a target while something happens.
    pub fn meant(&self, i: usize, target: &Target, order: &Order) -> Certainty {
        let connection = &self.connections[i];
        let Some(id) = &connection.id else {
            return Certainty::No;
        };
        let is = |other: &ws2cgi::target::Id| other.to_string() == *id;
        let none = connection.life == Life::Refused || connection.asks == Asks::Post;
        if self.excepted(i, target) || none {
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

    /// Which open programs' verdicts are carried out by now: those wait for the lines before them.
    pub fn finish_verdicts(&mut self, watched: &Watched) {
        let read = self.offset + self.tail.len() as u64;
        for i in 0..self.answers.len() {
            let Answer {
                kind,
                behind,
                connection,
                ..
            } = &self.answers[i];
            if *kind == Kind::Open && watched.outbox && *behind <= read {
                self.connections[*connection].opened = true;
            }
        }
    }

    /// Replies that are carried out by now.
    pub fn finish_answers(&mut self, watched: &Watched) {
        let writes = watched.browsers.iter().any(|(_, writes)| *writes);
        let unopened = self.connections.iter().any(Connection::holds_back);
        // Then no queue can be full.
        let free = watched.outbox && !writes && !unopened;
        let mut i = 0;
        while i < self.answers.len() {
            let answer = &self.answers[i];
            let connection = &self.connections[answer.connection];
            let idle = |request: &usize| watched.browsers[*request].0;
            let reads = match connection.asks {
                Asks::Poll => {
                    let waits = |poll: &&usize| self.connections[**poll].exchange.unanswered();
                    connection.waiting && connection.polls.iter().filter(waits).all(idle)
                }
                _ => idle(&answer.connection),
            };
            let read = self.offset + self.tail.len() as u64;
            let done = (free && answer.behind <= read)
                || connection.events > answer.events
                || (connection.loose.is_none() && reads && connection.is_open());
            if !done {
                i += 1;
                continue;
            }
            self.send_answer(i);
            let answer = self.answers.remove(i);
            let connection = &mut self.connections[answer.connection];
            connection.opened |= answer.kind == Kind::Open;
            connection.membership.end(&answer.order, self.turn);
        }
    }

    pub fn send_answer(&mut self, i: usize) {
        let answer = &mut self.answers[i];
        if core::mem::replace(&mut answer.sent, true) {
            return;
        }
        answer.order.to = self.turn;
        let own = self.connections[answer.connection].id.clone();
        let to = match (&answer.reply.to, answer.kind) {
            (Some(to), _) => Some(to.clone()),
            (None, Kind::Message) if !answer.asked => own,
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

    /// A whole message was written to a browser.
    pub fn written(&mut self, i: usize, frame: &Frame) {
        let (binary, payload) = (frame.binary, &*frame.payload);
        let earlier = self.earlier_polls(i, frame.request);
        let superseded = self.connections[frame.request].exchange.superseded;
        if let Some(number) = frame.mark {
            if let Err(why) = self.numbered(i, number, binary, payload) {
                return self.fail(format!("browser {i}: {why}"));
            }
        }
        while !payload.is_empty() {
            match self.connections[i].gets(frame, earlier, superseded) {
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
