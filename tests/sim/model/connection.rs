//! One connection as it must be.

use super::exchange::{Exchange, Posted};
use super::membership::{Membership, Order};
use super::{Frame, Rules};
use crate::browser::{Browser, Sent};
use crate::child::{Kind, Process};
use crate::frames::{Heard, Hearing};
use crate::os::{MS, SECOND, Time};
use crate::request::Asks;
use std::collections::VecDeque;
use std::rc::Rc;
use ws2cgi::limits::QUEUE_SLOT;

/// Why a connection may end.
pub mod reason {
    /// The browser has sent a close frame.
    pub const CLOSE: u32 = 1;
    pub const GONE: u32 = 2;
    pub const WRONG: u32 = 4;
    /// By a line, or a reply.
    pub const ASKED: u32 = 8;
    pub const FAILED: u32 = 16;
    pub const STOP: u32 = 32;
    pub const PING: u32 = 64;
    pub const SLOW: u32 = 128;
    pub const MEMORY: u32 = 256;
    pub const REFUSED: u32 = 512;
    pub const NO_START: u32 = 1024;
    /// A subprotocol that was not offered.
    pub const PROTOCOL: u32 = 2048;

    pub fn names(reasons: u32) -> String {
        let all = [
            "its close",
            "gone",
            "wrong",
            "asked for",
            "failed",
            "stop",
            "no answer to a ping",
            "slow",
            "memory",
            "refused",
            "not started",
            "subprotocol",
        ];
        let there = all
            .iter()
            .enumerate()
            .filter(|(i, _)| reasons >> i & 1 == 1);
        let names: Vec<_> = there.map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// No event yet.
    New,
    Opening,
    Refused,
    Accepted,
    Closing,
    Over,
}

/// A message that it gets, or may get.
#[derive(Clone, Debug)]
pub struct Expected {
    pub order: Order,
    pub binary: bool,
    pub payload: Rc<[u8]>,
    pub must: bool,
    /// It has a number, where there is a history.
    pub numbered: bool,
}

pub struct Connection {
    pub id: Option<String>,
    pub route: &'static str,
    pub life: Life,
    pub running: Option<u32>,
    pub events: u32,
    pub messages_run: u32,
    /// It has offered subprotocols.
    pub offers: bool,
    pub membership: Membership,
    pub expected: VecDeque<Expected>,
    /// The turn since which it may have ended.
    pub loose: Option<u64>,
    pub reasons: u32,
    codes: Vec<u16>,
    /// Length of WS_STATE, where it is known.
    pub state: Option<usize>,
    hearing: Hearing,
    /// Messages written in this turn.
    pub frames: Vec<Frame>,
    pub head: Option<u16>,
    /// The daemon's close frame.
    pub closed: Option<Option<u16>>,
    /// Bytes that the daemon has read, and whether what it reads now is thrown away.
    pub taken: u64,
    pub shut: bool,
    /// We have closed it: what it sends still is counted, and no more.
    pub discards: bool,
    pub heard_at: Time,
    /// Since when something may wait in its queue; from its open program's start on all does.
    waits_since: Option<Time>,
    /// Its socket takes nothing.
    stuck: bool,
    pub asks: Asks,
    /// What asked for it, where that was no WebSocket.
    pub exchange: Exchange,
    /// What proves that somebody may speak for it.
    pub key: Option<String>,
    /// Messages that came by POST, in their order.
    pub posts: VecDeque<Posted>,
    /// The largest of their numbers.
    pub posted: Option<u64>,
    /// Requests that are, or may be, polls of it.
    pub polls: Vec<usize>,
    /// One of them waits, for certain.
    pub waiting: bool,
    /// Nothing of it runs, or waits to, since then.
    pub idle_since: Option<Time>,
    /// Of a chain no poll waits since then.
    pub quiet_since: Option<Time>,
    /// Its open program's verdict is carried out, for certain.
    pub opened: bool,
    /// A second poll of the chain has come, for certain.
    pub confirmed: bool,
    /// What was sent until this turn may have gone with an answer that was cut off.
    pub cut: Option<u64>,
    /// What was sent until one of these turns it may get once more, in answers under way at once.
    pub repeats: Vec<u64>,
    /// It can be told that messages are missing: it is no plain WebSocket.
    pub told: bool,
    /// It may read what was sent before it came, or before it joined.
    pub behind: bool,
    /// It must be told that messages are missing.
    pub owes_gap: u32,
    /// The last number that it has got for certain.
    pub last: Option<u64>,
    /// Data frames of `ws2cgi1`, of this turn; its first word has come; messages told done.
    pub marked: Vec<Frame>,
    pub begun: bool,
    pub done: u64,
}

impl Connection {
    pub fn new(browser: &Browser) -> Connection {
        Connection {
            id: None,
            route: browser.route(),
            life: Life::New,
            running: None,
            events: 0,
            messages_run: 0,
            offers: browser.offers(),
            membership: Membership::default(),
            expected: VecDeque::new(),
            loose: None,
            reasons: 0,
            codes: Vec::new(),
            state: Some(0),
            hearing: Hearing::default(),
            frames: Vec::new(),
            head: None,
            closed: None,
            taken: 0,
            shut: false,
            discards: false,
            heard_at: 0,
            waits_since: None,
            stuck: false,
            asks: browser.ask.asks,
            exchange: Exchange {
                reader: browser.new_reader(),
                ..Exchange::default()
            },
            key: None,
            posts: VecDeque::new(),
            posted: None,
            polls: Vec::new(),
            waiting: false,
            idle_since: None,
            quiet_since: None,
            opened: false,
            confirmed: false,
            cut: None,
            repeats: Vec::new(),
            told: browser.ask.asks != Asks::WebSocket || browser.ask.offers,
            behind: browser.ask.asks == Asks::Poll,
            owes_gap: 0,
            last: None,
            marked: Vec::new(),
            begun: false,
            done: 0,
        }
    }

    /// From now on it may end, for this reason and with this code.
    pub fn may_end(&mut self, turn: u64, why: u32, code: Option<u16>) {
        self.loose.get_or_insert(turn);
        self.reasons |= why;
        self.codes.extend(code);
    }

    /// Whether it may end with this code, by whom.
    pub fn may_end_so(&self, code: u16, by: &str) -> bool {
        let has = |why: u32| self.reasons & why != 0;
        let told = self.codes.contains(&code);
        match (code, by) {
            (1006, "client") => has(reason::GONE),
            (_, "client") => has(reason::CLOSE) && told,
            (1006, "timeout") => has(reason::PING),
            (1013, "timeout") => has(reason::SLOW),
            (1013, "error") => has(reason::MEMORY | reason::WRONG),
            // A control frame may be too big, too.
            (1009, "error") => has(reason::WRONG),
            (1011, "error") => has(reason::FAILED | reason::NO_START | reason::PROTOCOL),
            (_, "error") => has(reason::WRONG) && told,
            (1001, "server") if has(reason::STOP) => true,
            (_, "server") => has(reason::ASKED) && told,
            _ => false,
        }
    }

    /// Whatever lets it end by now.
    pub fn look_for_endings(&mut self, now: Time, turn: u64, browser: &Browser, rules: &Rules) {
        if self.life == Life::New {
            return;
        }
        let endings = &browser.endings;
        if let Some((_, code)) = endings.close.filter(|_| self.reasons & reason::CLOSE == 0) {
            self.may_end(turn, reason::CLOSE, Some(code));
        }
        if let Some((_, code)) = endings.wrong.filter(|_| self.reasons & reason::WRONG == 0) {
            self.may_end(turn, reason::WRONG, Some(code));
        }
        if endings.gone && matches!(self.asks, Asks::WebSocket | Asks::Events) {
            self.may_end(turn, reason::GONE, None);
        }
        if browser.sent.iter().any(|m| m.charged) {
            self.may_end(turn, reason::MEMORY, None);
        }
        // A turn takes some time.
        let soon = now + 100 * MS;
        let patience = rules.ping.and_then(|ping| match self.asks {
            Asks::WebSocket => Some(2 * ping),
            Asks::Events => Some(browser.sign_of_life(ping) + ping),
            Asks::Poll | Asks::Post => None,
        });
        if patience.is_some_and(|patience| self.heard_at + patience <= soon) {
            self.may_end(turn, reason::PING, None);
        }
        if let Some(quiet) = self.quiet_since.filter(|_| !self.polls.is_empty()) {
            // One that never goes on may have to make place for another.
            let most = match self.confirmed {
                false => SECOND,
                true => 2 * rules.poll_wait,
            };
            if quiet + most.min(2 * rules.poll_wait) <= soon {
                self.may_end(turn, reason::PING, None);
            }
        }
        if self
            .waits_since
            .is_some_and(|since| since + rules.slow <= soon)
        {
            self.may_end(turn, reason::SLOW, None);
        }
    }

    /// Nothing more can come of it.
    pub fn is_done(&self) -> bool {
        matches!(self.life, Life::New | Life::Refused | Life::Over) && self.exchange.closed
    }

    /// What is for it waits for its 101, or for a poll.
    pub fn holds_back(&self) -> bool {
        let unopened = match self.asks {
            Asks::Poll => !(self.waiting && self.opened),
            _ => self.head.is_none(),
        };
        unopened && matches!(self.life, Life::Opening | Life::Accepted)
    }

    /// It is open for certain: messages go out.
    pub fn is_open(&self) -> bool {
        match self.asks {
            Asks::WebSocket => self.head == Some(101),
            Asks::Events => self.exchange.head.is_stream(),
            Asks::Poll => self.waiting && self.opened,
            Asks::Post => false,
        }
    }

    /// Whatever it has not got by now it may never get.
    pub fn may_miss(&mut self) {
        self.expected.iter_mut().for_each(|e| e.must = false);
    }

    /// It is to get this, or to get it again; `never`: it need not, nor may it.
    pub fn expect(&mut self, expected: Expected, never: bool) {
        let same = |e: &&mut Expected| e.binary == expected.binary && e.payload == expected.payload;
        match self.expected.iter_mut().find(same) {
            Some(known) => known.must = expected.must && !never,
            None if never || expected.payload.is_empty() => {}
            None => self.expected.push_back(expected),
        }
    }

    /// What it is to get again it may have got already, in an answer that is not seen yet.
    pub fn may_repeat(&mut self, turn: u64) {
        self.repeats.push(turn);
        let numbered = self.expected.iter().filter(|e| e.numbered).cloned();
        let again: Vec<_> = numbered.map(|e| Expected { must: false, ..e }).collect();
        self.expected.extend(again);
    }

    /// It takes what is written to it slowly, or not.
    pub fn is_slow(&self) -> bool {
        self.stuck || self.reasons & reason::SLOW != 0
    }

    // ---- Bytes

    /// The daemon has read so many of its bytes.
    pub fn read(&mut self, count: usize, now: Time) {
        if !self.shut {
            self.taken += count as u64;
        }
        self.heard_at = now;
    }

    /// The daemon's write found no room.
    pub fn stuck(&mut self, now: Time) {
        self.stuck = true;
        self.behind |= self.told;
        self.waits_since.get_or_insert(now);
    }

    /// The daemon has written this to it.
    pub fn wrote(&mut self, bytes: &[u8], request: usize) -> Result<(), String> {
        self.hearing.push(bytes);
        while let Some(heard) = self.hearing.next()? {
            match heard {
                Heard::Head(status) => {
                    let unsaid = matches!(self.life, Life::New | Life::Opening | Life::Refused);
                    if status == 101 && unsaid {
                        return Err(format!("a 101, and it is {:?}", self.life));
                    }
                    self.head = Some(status);
                }
                Heard::Data { binary, payload } => {
                    let marked = self.told;
                    let frames = if marked {
                        &mut self.marked
                    } else {
                        &mut self.frames
                    };
                    frames.push(Frame {
                        binary,
                        payload,
                        mark: None,
                        request,
                    });
                }
                Heard::Ping(_) | Heard::Pong(_) => {}
                Heard::Close(code) => {
                    self.closed = Some(code);
                    code.map_or(Ok(()), |code| self.close_has_cause(code))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a close frame of ours with this code has a cause. An answer repeats the peer's.
    pub fn close_has_cause(&self, code: u16) -> Result<(), String> {
        let by = ["client", "server", "timeout", "error"];
        match by.iter().any(|by| self.may_end_so(code, by)) {
            true => Ok(()),
            false => {
                let names = reason::names(self.reasons);
                Err(format!("a close with {code}, without a cause (of {names})"))
            }
        }
    }

    /// At a wait: whether its queue holds something that its socket does not take.
    pub fn watched(&mut self, now: Time, writes: bool) {
        if writes {
            return self.stuck(now);
        }
        self.stuck = false;
        match self.asks {
            Asks::Poll if self.waiting && self.opened => self.waits_since = None,
            Asks::Poll if self.life == Life::New => {}
            Asks::Poll => drop(self.waits_since.get_or_insert(now)),
            _ if self.head.is_some() => self.waits_since = None,
            _ => {}
        }
    }

    /// Bytes that must be in its queue, but for one message: the last it may take though it has no
    /// room for all of it, and which is the last is not known of a line and a reply.
    pub fn waits(&self) -> usize {
        let must = self.expected.iter().filter(|e| e.must);
        let sizes = must.map(|e| e.payload.len() + QUEUE_SLOT);
        let (all, most) = sizes.fold((0, 0), |(all, most), size| (all + size, size.max(most)));
        // A part of the first may be written.
        let first = self.expected.front().map_or(0, |e| e.payload.len());
        all.saturating_sub(most + first)
    }

    /// A message that it should have been sent by now.
    pub fn lost(&self, writes: bool) -> Option<String> {
        let open = self.is_open() && self.life == Life::Accepted;
        if !open || writes || self.loose.is_some() {
            return None;
        }
        let lost = self.expected.iter().find(|e| e.must)?;
        Some(crate::trace::shown(&lost.payload))
    }

    /// A message is written to it. Ok(false): it was not meant to get it, as far as known.
    /// `earlier`: those before it may come later, in the answers to earlier polls. `superseded`: a
    /// later poll has come, which may ask once more for those before it.
    pub fn gets(&mut self, frame: &Frame, earlier: bool, superseded: bool) -> Result<bool, String> {
        let (binary, payload) = (frame.binary, &*frame.payload);
        let is = |e: &Expected| e.binary == binary && *e.payload == *payload;
        let Some(at) = self.expected.iter().position(is) else {
            return Ok(false);
        };
        let order = self.expected[at].order.clone();
        if earlier {
            self.expected.remove(at);
            self.may_miss();
            return Ok(true);
        }
        // Those with a number come from the history, the others at once.
        let (told, numbered) = (self.told, self.expected[at].numbered);
        let before = |e: &Expected| {
            let same = !told || e.numbered == numbered;
            same && e.order.before(&order)
        };
        let repeats = &self.repeats;
        // The next answer may begin with them again.
        let again = |e: &Expected| e.numbered && repeats.iter().any(|turn| e.order.from <= *turn);
        let missing = |e: &&Expected| e.must && before(e) && !(superseded && again(e));
        let missed = self.expected.iter().take(at).find(missing);
        if let Some(missed) = missed {
            return Err(format!(
                "it gets {}, and before it should have got {}",
                crate::trace::shown(payload),
                crate::trace::shown(&missed.payload)
            ));
        }
        self.expected.remove(at);
        let mut i = 0;
        self.expected.retain(|e| {
            i += 1;
            i > at || !before(e) || again(e)
        });
        Ok(true)
    }

    /// The daemon closes its way to a browser that is there: it must have said so before.
    pub fn left_alone(&self) -> Result<(), String> {
        if self.life == Life::New || self.is_slow() {
            return Ok(());
        }
        match self.head {
            None => Err("its connection is closed without an HTTP answer".to_owned()),
            Some(101) if self.closed.is_none() && self.reasons & reason::PING == 0 => {
                Err("its connection is closed without a close frame".to_owned())
            }
            _ => Ok(()),
        }
    }

    // ---- Events

    /// The open program has spoken.
    pub fn verdict(&mut self, accepts: bool, now: Time) {
        self.heard_at = now;
        self.life = if accepts {
            Life::Accepted
        } else {
            Life::Refused
        };
        if !accepts {
            self.expected.clear();
        }
    }

    /// An event of it is started.
    pub fn event(&mut self, process: &Process, browser: &Browser, now: Time) -> Result<(), String> {
        if let Some(pid) = self.running.replace(process.pid) {
            return Err(format!("two events at a time: {pid} still runs"));
        }
        self.events += 1;
        match (process.kind, self.life) {
            (Kind::Open, Life::New) => {
                self.life = Life::Opening;
                self.id = Some(process.id.clone());
                self.waits_since = Some(now);
            }
            // Which it is, what it is fed tells.
            (Kind::Message, Life::Accepted) if self.asks != Asks::WebSocket => {}
            (Kind::Message, Life::New) if self.asks == Asks::Post => {
                self.life = Life::Closing;
                self.id = Some(process.id.clone());
            }
            (Kind::Message, Life::Accepted) => {
                let message = browser.sent.get(self.messages_run as usize);
                self.messages_run += 1;
                match message {
                    Some(message) if message.end <= self.taken => {}
                    Some(_) => return Err("an event for a message that is not read".to_owned()),
                    None => return Err("an event for a message that was not sent".to_owned()),
                }
            }
            (Kind::Close, Life::Accepted) => self.life = Life::Closing,
            (kind, life) => return Err(format!("a {kind:?} event, and it is {life:?}")),
        }
        if self.id.as_deref() != Some(&process.id) {
            return Err(format!("WS_ID {} is another's", process.id));
        }
        Ok(())
    }

    /// Messages that the daemon has read whole and that no event was run for.
    pub fn unrun(&self, browser: &Browser) -> u64 {
        let until = [browser.endings.close, browser.endings.wrong];
        let until = until.into_iter().flatten().map(|(at, _)| at).min();
        let until = until.unwrap_or(u64::MAX).min(self.taken);
        let read = browser.sent.iter().filter(|m| m.end <= until).count() as u64;
        read.saturating_sub(self.messages_run.into())
    }

    /// How many of those not run come before one that memory may be lacking for.
    pub fn uncharged(&self, browser: &Browser) -> u64 {
        let rest = browser.sent.iter().skip(self.messages_run as usize);
        rest.take_while(|m| !m.charged).count() as u64
    }

    pub fn next_unrun<'a>(&self, browser: &'a Browser) -> Option<&'a Sent> {
        browser.sent.get(self.messages_run as usize)
    }
}
