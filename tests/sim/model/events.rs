//! Events: what starts one, what its environment says, what its program's output changes.

use super::history::Place;
use super::membership::Certainty;
use super::{Answer, Environment, Life, Model, Order, reason};
use crate::browser::Browser;
use crate::child::{Kind, Process};
use crate::os::Time;
use crate::request::Asks;
use ws2cgi::limits::STATE;
use ws2cgi::outbox::Command;

impl Model {
    /// A program is started.
    pub fn spawned(&mut self, now: Time, process: &Process, browser: &Browser, env: &Environment) {
        let turn = self.turn;
        let i = process.browser;
        self.connections[i].look_for_endings(now, turn, browser, &self.rules);
        self.history.id(&process.id);
        let who = format!("browser {i}");
        match process.kind {
            Kind::Open => self.totals.opens += 1,
            Kind::Message => self.totals.messages += 1,
            Kind::Close => self.totals.closes += 1,
        }
        if let Err(why) = self.connections[i].event(process, browser, now) {
            self.fail(format!("{who}: {why}"));
        }
        let transport = match browser.ask.asks {
            Asks::WebSocket => "websocket",
            Asks::Events => "sse",
            Asks::Poll => "poll",
            Asks::Post => "post",
        };
        if env.transport != transport {
            let got = &env.transport;
            self.fail(format!("{who}: WS_TRANSPORT={got}, not {transport}"));
        }
        if process.kind == Kind::Open && browser.ask.asks == Asks::Poll {
            self.begins_chain(i);
        }
        if process.kind == Kind::Open {
            let order = self.order(turn, turn);
            self.connections[i].membership.sure("#id", true, &order);
        } else if browser.ask.asks != Asks::Post {
            self.check_rooms(i, env);
            let state = &self.connections[i].state;
            if let Some(expected) = state.filter(|len| *len != env.state) {
                let got = env.state;
                self.fail(format!("{who}: WS_STATE of {got} bytes, not {expected}"));
            }
        }
        if process.kind == Kind::Message && browser.ask.asks == Asks::WebSocket {
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
        if connection.posts.iter().any(|posted| posted.sure) {
            return self.fail(format!("browser {i}: a POST that has come is not run"));
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
    pub fn reaped(
        &mut self,
        now: Time,
        process: &Process,
        browser: &Browser,
        failed: bool,
        behind: u64,
    ) {
        let i = process.browser;
        let turn = self.turn;
        self.serial += 1;
        let order = Order::answer(self.serial, i, process.mark, turn);
        let connection = &mut self.connections[i];
        connection.running = None;
        if process.kind == Kind::Close || connection.asks == Asks::Post {
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
        if let Some(asked) = process.asked {
            self.connections[asked].exchange.expects = Some(process.answer(failed));
        }
        let connection = &mut self.connections[i];
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
            for (room, join) in [(&reply.join, true), (&reply.leave, false)] {
                if let Some(room) = room {
                    self.room_changes(i, room, join);
                }
            }
        }
        if process.kind == Kind::Open && self.connections[i].life == Life::Accepted {
            self.begins_to_read(i, browser, does.then_some(reply.join.as_deref()).flatten());
        }
        let connection = &self.connections[i];
        let events = connection.events;
        self.answers.push(Answer {
            order,
            connection: i,
            reply,
            kind: process.kind,
            asked: process.asked.is_some(),
            behind,
            events,
            sent: !does,
        });
    }

    /// A connection that is accepted goes to its place in the history.
    fn begins_to_read(&mut self, i: usize, browser: &Browser, joins: Option<&str>) {
        let connection = &self.connections[i];
        if !connection.told {
            return;
        }
        let polls = browser.ask.asks == Asks::Poll;
        let came = Place::Turn(connection.exchange.turn);
        let place = self.place_of(browser).or(polls.then_some(came));
        if let Some(place) = place {
            self.connections[i].owes_gap = matches!(place, Place::Nowhere).into();
            self.read_from(i, place, Some(joins));
        }
    }

    /// The program of an event could not be started, and the event has failed for that.
    pub fn not_started(&mut self, i: usize) {
        let turn = self.turn;
        self.connections[i].may_end(turn, reason::NO_START, None);
    }
}
