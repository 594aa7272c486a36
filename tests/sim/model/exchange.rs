//! One request without a WebSocket as it must be: that it is answered, how, and in time.

use super::history::Place;
use super::{Life, Model, reason};
use crate::browser::Browser;
use crate::http::{Head, Part, Reader};
use crate::os::{SECOND, Time};
use crate::plan::head;
use crate::request::Asks;
use ws2cgi::limits;

/// A request, and its answer as far as it is written.
#[derive(Default)]
pub struct Exchange {
    pub reader: Reader,
    /// Its head had come then.
    pub received: Option<Time>,
    /// In this turn.
    pub turn: u64,
    /// A POST's body has come, too.
    pub complete: bool,
    pub head: Head,
    /// Something of the answer is written; last then.
    pub wrote_at: Option<Time>,
    /// Its answer was there then.
    pub answered_at: Option<Time>,
    pub whole: bool,
    /// At the last wait it was there to be written.
    pub writes: bool,
    pub closed: bool,
    /// Of a poll: the chain that it goes on with, or is the first of.
    pub chain: Option<usize>,
    /// That is certain.
    pub sure: bool,
    /// Another poll has come.
    pub superseded: bool,
    /// Memory may have been short when it came.
    pub short: bool,
    /// As many POSTs of its connection as may be may have been under way when it came.
    pub crowded: bool,
    /// It must be told that messages are missing.
    pub owes_gap: bool,
    /// Of a POST: its event has been started.
    pub run: bool,
    /// What its answer must be: one of these, and the body.
    pub expects: Option<(Vec<u16>, Vec<u8>)>,
}

impl Exchange {
    /// It has come, and nothing of its answer is there.
    pub fn unanswered(&self) -> bool {
        self.received.is_some() && self.wrote_at.is_none() && !self.writes && !self.closed
    }
}

/// A message that came by POST, whole, and has not become an event.
pub struct Posted {
    pub request: usize,
    pub binary: bool,
    pub payload: Vec<u8>,
    pub act: u32,
    /// It must become one.
    pub sure: bool,
}

/// How a browser asks for what is not there, on purpose.
fn judged(browser: &Browser) -> bool {
    browser.head == head::GOOD && browser.goes_somewhere()
}

impl Model {
    // ---- Requests

    /// Bytes of a request have come, or its hand-off record.
    pub fn came(&mut self, j: usize, browsers: &[Browser]) {
        let browser = &browsers[j];
        if browser.ask.asks == Asks::WebSocket || !judged(browser) {
            return;
        }
        let connection = &mut self.connections[j];
        if connection.exchange.received.is_none() && connection.taken >= browser.head_len {
            connection.exchange.received = Some(self.now);
            connection.exchange.turn = self.turn;
            let short = self.short_of_memory(browser.ask.length);
            let crowded = self.posts_crowd(browsers, j);
            let exchange = &mut self.connections[j].exchange;
            (exchange.short, exchange.crowded) = (short, crowded);
            if browser.ask.asks == Asks::Poll {
                self.see_who_may_end(browsers);
                self.poll_came(j, browser);
            }
        }
        let (ask, connection) = (&browser.ask, &mut self.connections[j]);
        let end = browser.head_len + ask.length as u64;
        let received = connection.exchange.received.is_some();
        let complete = received && !connection.exchange.complete && connection.taken >= end;
        if ask.asks == Asks::Post && complete && !connection.shut {
            connection.exchange.complete = true;
            self.see_who_may_end(browsers);
            self.post_came(j, browser);
        }
    }

    /// What may have ended by now, in this very turn.
    pub fn see_who_may_end(&mut self, browsers: &[Browser]) {
        for (connection, browser) in self.connections.iter_mut().zip(browsers) {
            if !connection.is_done() {
                connection.look_for_endings(self.now, self.turn, browser, &self.rules);
            }
        }
    }

    pub fn find(&self, id: &str) -> Option<usize> {
        let is = |c: &super::Connection| c.id.as_deref() == Some(id);
        self.connections.iter().position(is)
    }

    fn poll_came(&mut self, j: usize, browser: &Browser) {
        let ask = &browser.ask;
        let named = ask.of.as_ref().filter(|_| !ask.wrong_key);
        let chain = named.and_then(|(id, _)| self.find(id));
        let Some(c) = chain else {
            // Its own.
            let exchange = &mut self.connections[j].exchange;
            (exchange.chain, exchange.sure) = (Some(j), ask.of.is_none());
            self.connections[j].polls.push(j);
            if ask.unnamed && ask.of.is_some() {
                self.connections[j].may_end(self.turn, reason::CLOSE, Some(1000));
            }
            return;
        };
        // Another window's may wait.
        let mut before = self.connections[c].polls.iter();
        let done = |poll: &usize| {
            let exchange = &self.connections[*poll].exchange;
            exchange.whole || exchange.closed
        };
        let sure = self.goes_on(c) && (!ask.unnamed || before.all(done));
        for before in self.connections[c].polls.clone() {
            self.connections[before].exchange.superseded = true;
        }
        let exchange = &mut self.connections[j].exchange;
        (exchange.chain, exchange.sure) = (Some(c), sure);
        if let Some(place) = self.place_of(browser) {
            let nowhere = matches!(place, Place::Nowhere);
            self.connections[j].exchange.owes_gap = nowhere && sure && !ask.close;
            self.connections[c].owes_gap += u32::from(nowhere);
            self.read_from(c, place, None);
            let seen = |poll: &usize| {
                let exchange = &self.connections[*poll].exchange;
                exchange.closed || exchange.whole && exchange.wrote_at < Some(self.now)
            };
            if !self.connections[c].polls.iter().all(seen) {
                let turn = self.turn;
                self.connections[c].may_repeat(turn);
            }
            if !sure {
                self.connections[c].may_miss();
            }
        }
        self.connections[c].polls.push(j);
        // Of one that has gone before it got here nothing may be seen.
        if sure && !browser.endings.gone {
            self.connections[c].confirmed = true;
            self.connections[c].quiet_since = None;
        }
        if ask.close {
            self.connections[c].may_end(self.turn, reason::CLOSE, Some(1000));
        }
        if ask.unnamed && !sure {
            // It may become a connection of its own, for one answer.
            self.connections[j].polls.push(j);
            self.connections[j].may_end(self.turn, reason::CLOSE, Some(1000));
        }
    }

    /// A stream or chain that is open for certain.
    fn goes_on(&self, c: usize) -> bool {
        let connection = &self.connections[c];
        connection.life == Life::Accepted && connection.loose.is_none()
    }

    fn post_came(&mut self, j: usize, browser: &Browser) {
        let ask = &browser.ask;
        let text = &ask.body[..ask.length.min(ask.body.len())];
        if ask.length > self.rules.max_message {
            return;
        }
        if !ask.binary && core::str::from_utf8(text).is_err() {
            return;
        }
        let c = match &ask.of {
            None => j,
            Some((id, _)) => match self.find(id).filter(|_| !ask.wrong_key) {
                Some(c) => c,
                None => return,
            },
        };
        let alone = c == j;
        let short = self.short_of_memory(ask.length);
        let sure = !alone && self.goes_on(c) && !short;
        let life = self.connections[c].life;
        if !alone && matches!(life, Life::Over | Life::Closing | Life::Refused) {
            return;
        }
        let connection = &mut self.connections[c];
        let known = ask.number.is_some() && ask.number <= connection.posted;
        if known {
            return;
        }
        connection.posted = connection.posted.max(ask.number);
        let waiting = connection.posts.len() + usize::from(connection.running.is_some());
        connection.posts.push_back(Posted {
            request: j,
            binary: ask.binary,
            payload: text.to_vec(),
            act: ask.act,
            sure: sure && waiting < limits::POSTS,
        });
    }

    /// Whether so many bytes more may find no room in `--memory`: what the daemon has charged is
    /// no more than this; a message in fragments three times its bytes.
    pub fn short_of_memory(&self, bytes: usize) -> bool {
        let rules = &self.rules;
        let alive = self.connections.iter().filter(|c| !c.exchange.closed);
        let charged = 3 * crate::heap::live() + alive.count() * limits::CONNECTION_CHARGE;
        rules.set_aside + charged + rules.for_outbound + bytes + 32 * 1024 > rules.memory
    }

    /// The event of a message that came by POST: which it is, by the first bytes that its
    /// program is fed, and its length.
    pub fn run_post(
        &mut self,
        c: usize,
        (first, length, binary): (&[u8], usize, bool),
    ) -> Option<Posted> {
        let connection = &mut self.connections[c];
        let is = |posted: &Posted| {
            posted.payload.len() == length
                && posted.binary == binary
                && posted.payload.starts_with(first)
        };
        let Some(place) = connection.posts.iter().position(is) else {
            self.fail(format!(
                "browser {c}: a message event, and nobody sent that"
            ));
            return None;
        };
        // Those before it are refused, or were never let in.
        if connection
            .posts
            .iter()
            .take(place)
            .any(|before| before.sure)
        {
            self.fail(format!("browser {c}: a POST is overtaken by another"));
            return None;
        }
        connection.posts.drain(..place);
        let posted = connection.posts.pop_front()?;
        self.connections[posted.request].exchange.run = true;
        Some(posted)
    }

    // ---- Answers

    /// Bytes of an answer are written.
    pub fn answers(&mut self, j: usize, bytes: &[u8], all: &[Browser]) -> Result<(), String> {
        let (now, browser) = (self.now, &all[j]);
        if matches!(browser.ask.asks, Asks::Post | Asks::Poll) {
            self.see_who_may_end(all);
        }
        let exchange = &mut self.connections[j].exchange;
        exchange.wrote_at = Some(now);
        exchange.answered_at.get_or_insert(now);
        exchange.reader.push(bytes);
        loop {
            let exchange = &mut self.connections[j].exchange;
            match exchange.reader.next()? {
                Some(part) => self.part(j, part, all)?,
                None => return Ok(()),
            }
        }
    }

    fn part(&mut self, j: usize, part: Part, all: &[Browser]) -> Result<(), String> {
        let browser = &all[j];
        match part {
            Part::Head(head) => {
                self.totals.saw(browser.ask.asks, head.status);
                self.connections[j].head = Some(head.status);
                self.connections[j].exchange.head = head.clone();
                let judged = judged(browser);
                let unread = self.connections[j].exchange.received.is_none();
                match browser.ask.asks {
                    _ if !judged => Ok(()),
                    _ if unread && matches!(head.status, 408 | 503) => Ok(()),
                    _ if unread => Err("a request is answered before it has come".to_owned()),
                    Asks::Poll => self.poll_answer(j, &head, browser),
                    Asks::Post => self.post_answer(j, head.status, all),
                    _ => self.stream_begins(j, &head),
                }
            }
            Part::Event { name, mark, data } => self.event_written(j, &name, mark, data, browser),
            Part::Comment => {
                self.totals.comments += 1;
                Ok(())
            }
            Part::Element { binary, payload } => self.poll_gives(j, binary, payload),
            Part::Whole(body) => {
                let exchange = &mut self.connections[j].exchange;
                exchange.whole = true;
                let (status, binary) = (exchange.head.status, exchange.head.is_binary());
                match browser.ask.asks {
                    Asks::Poll if status == 200 && !browser.ask.batch => {
                        self.poll_gives(j, binary, body)
                    }
                    Asks::Post => self.post_body(j, status, &body),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Whether as many POSTs of its connection may be under way as may be.
    fn posts_crowd(&self, all: &[Browser], j: usize) -> bool {
        let others = self.connections.iter().zip(all).enumerate();
        let under_way = others.filter(|&(other, (connection, browser))| {
            let exchange = &connection.exchange;
            // One that is whole waits for its event, whether its browser is there or not.
            let there = exchange.received.is_some() && (exchange.complete || !exchange.closed);
            let there = there && exchange.wrote_at.is_none();
            let of_same = browser.ask.asks == Asks::Post && browser.ask.of == all[j].ask.of;
            other != j && there && of_same
        });
        under_way.count() >= limits::POSTS
    }

    fn post_answer(&mut self, j: usize, status: u16, all: &[Browser]) -> Result<(), String> {
        let browser = &all[j];
        let ask = &browser.ask;
        let c = match &ask.of {
            None => Some(j),
            Some((id, _)) => self.find(id).filter(|_| !ask.wrong_key),
        };
        if status == 504 && self.out_of_time() {
            return Ok(());
        }
        let exchange = &self.connections[j].exchange;
        let again = exchange.head.field("WS-Retry").is_some();
        if again != (status == 503 && !exchange.run) {
            return Err(format!(
                "a POST's {status} is wrong about whether it has run"
            ));
        }
        if exchange.run {
            return match &exchange.expects {
                None => Err(format!(
                    "a POST is answered {status} before its event is over"
                )),
                Some((statuses, _)) if statuses.contains(&status) => Ok(()),
                Some((statuses, _)) => {
                    Err(format!("a POST is answered {status}, not {statuses:?}"))
                }
            };
        }
        let late = exchange.received.unwrap_or(0) + 10 * SECOND;
        let cut = !exchange.complete;
        let gone = browser.endings.gone;
        let lets = |c: usize| self.goes_on(c) && c != j;
        let cause = match status {
            413 => ask.length > self.rules.max_message,
            400 => {
                let text = &ask.body[..ask.length.min(ask.body.len())];
                let bad = !ask.binary && core::str::from_utf8(text).is_err();
                let read = browser.comes_in_file();
                bad || cut && (ask.ends || gone || read)
            }
            408 => cut && self.now >= late,
            409 => c.is_some_and(|c| ask.number <= self.connections[c].posted) && !cut,
            410 => ask.of.is_some() && !c.is_some_and(lets),
            503 => {
                let stops = self.stopping.is_some();
                c == Some(j)
                    || stops
                    || exchange.short
                    || self.short_of_memory(ask.length)
                    || exchange.crowded
            }
            _ => false,
        };
        if !cause {
            return Err(format!("a POST is answered {status} without a cause"));
        }
        // It is not run.
        if let Some(c) = c {
            let posts = &mut self.connections[c].posts;
            if posts.iter().any(|p| p.request == j && p.sure) {
                return Err(format!("a POST is answered {status}, and must be run"));
            }
            posts.retain(|posted| posted.request != j);
        }
        Ok(())
    }

    fn post_body(&mut self, j: usize, status: u16, body: &[u8]) -> Result<(), String> {
        match &self.connections[j].exchange.expects {
            Some((_, expected)) if status == 200 && body != expected => {
                let (got, expected) = (crate::trace::shown(body), crate::trace::shown(expected));
                Err(format!("a POST's answer is {got}, not {expected}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a shutdown may leave undone what there is.
    fn out_of_time(&self) -> bool {
        self.stopping
            .is_some_and(|at| self.now + SECOND > at + 10 * SECOND)
    }

    /// The daemon closes its way to a browser that is there.
    pub fn left_alone(&self, j: usize, browser: &Browser) -> Result<(), String> {
        let connection = &self.connections[j];
        let exchange = &connection.exchange;
        if browser.ask.asks == Asks::WebSocket {
            return match self.stopping {
                Some(_) => Ok(()),
                None => connection.left_alone(),
            };
        }
        let excused = exchange.received.is_none() || connection.is_slow() || self.out_of_time();
        if exchange.whole || excused {
            return Ok(());
        }
        if !exchange.head.is_stream() {
            return Err("its request has no whole answer".to_owned());
        }
        match connection.closed {
            None if connection.reasons & reason::PING == 0 => {
                Err("its stream ends without a close event".to_owned())
            }
            _ => Ok(()),
        }
    }

    // ---- Time

    /// At the end of a turn: whether something is late.
    pub fn look_at_exchanges(&mut self, browsers: &[Browser], children: usize) {
        for (j, browser) in browsers.iter().enumerate() {
            let connection = &self.connections[j];
            if browser.ask.asks == Asks::WebSocket || connection.is_done() {
                continue;
            }
            let idle = self.is_idle(j);
            let since = &mut self.connections[j].idle_since;
            *since = since.or(Some(self.now)).filter(|_| idle);
            let late = match browser.ask.asks {
                Asks::Poll => self.late_poll(j, browser),
                Asks::Post => self.late_post(j, browser),
                _ => self.late_stream(j, browser),
            };
            if let Some(late) = late.or_else(|| self.late_chain(j, browser, children)) {
                self.fail(format!("browser {j}: {late}"));
            }
        }
    }

    fn late_post(&self, j: usize, browser: &Browser) -> Option<String> {
        let exchange = &self.connections[j].exchange;
        let cut = exchange.unanswered() && !exchange.complete && judged(browser);
        let late = exchange
            .received
            .is_some_and(|at| at + limits_head() <= self.now);
        (cut && late).then(|| "a POST's body does not come, and it is not told 408".to_owned())
    }
}

fn limits_head() -> Time {
    limits::HEAD_TIMEOUT.as_micros() as Time
}
