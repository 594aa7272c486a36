//! A page without a WebSocket, or without one now: it reads an event stream or polls, says what
//! it has to say by POST, and comes again. Each of its requests is a [`Browser`] of its own.

use crate::browser::{Browser, Phase, Ways};
use crate::frames::payload;
use crate::http::Part;
use crate::lines::GONE;
use crate::os::{End, MS, Os, SECOND, Time};
use crate::plan::{self, Browse, Come, head, post, since, via};
use crate::request::{Ask, Asks};
use crate::trace::note;

/// Polls of one page, in all.
const POLLS: u32 = 30;

pub struct Page {
    pub index: usize,
    name: String,
    plan: plan::Browser,
    via: u32,
    max_message: usize,
    step: usize,
    next: Time,
    /// How long it waits for what its step needs.
    until: Option<Time>,
    /// Of its connection: id and key.
    id: Option<(String, String)>,
    marks: Vec<String>,
    /// Its stream, or its poll.
    current: Option<usize>,
    /// Its other requests that have not ended.
    others: Vec<usize>,
    received: u32,
    poll_at: Option<Time>,
    polls: u32,
    stalled_until: Time,
    patience: u32,
    number: u64,
    /// Where its next stream or poll begins.
    since: u32,
    over: bool,
}

impl Page {
    /// The page, and its first request.
    pub fn new(index: usize, plan: &plan::Browser, max_message: usize) -> (Page, Browser) {
        let Come::Browser {
            via,
            since,
            at,
            open,
            ..
        } = plan.come;
        let mut page = Page {
            index,
            name: format!("page {index}"),
            plan: plan.clone(),
            via,
            max_message,
            step: 0,
            next: SECOND + Time::from(at) * MS,
            until: None,
            id: None,
            marks: Vec::new(),
            current: Some(index),
            others: Vec::new(),
            received: 0,
            poll_at: None,
            polls: 1,
            stalled_until: 0,
            patience: 0,
            number: 0,
            since,
            over: false,
        };
        let ask = match via {
            via::POSTS => {
                page.current = None;
                page.others.push(index);
                let body = payload(&format!("b{index}.0 "), 30, false);
                Ask {
                    asks: Asks::Post,
                    length: body.len(),
                    body,
                    act: open.saturating_sub(1),
                    ..Ask::default()
                }
            }
            _ => page.asks(),
        };
        let first = Browser::request(index, plan, page.next, index, ask);
        (page, first)
    }

    fn polls(&self) -> bool {
        matches!(self.via, via::POLLS | via::BATCHES | via::OLD)
    }

    /// The mark that it begins behind.
    fn mark(&mut self) -> Option<String> {
        let kind = core::mem::replace(&mut self.since, since::NEWEST);
        since::mark(kind, &self.marks)
    }

    /// Its next stream or poll.
    fn asks(&mut self) -> Ask {
        if !self.polls() {
            let accept = self.via == via::ACCEPT;
            return Ask {
                asks: Asks::Events,
                offers: accept,
                via: if accept { "" } else { "sse" },
                since: self.mark(),
                last_event: accept,
                ..Ask::default()
            };
        }
        let old = self.via == via::OLD;
        Ask {
            asks: Asks::Poll,
            via: if old { "" } else { "poll" },
            of: self.id.clone(),
            cookie: old,
            unnamed: old,
            wait: self.patience.checked_sub(1).map(Time::from),
            batch: self.via == via::BATCHES,
            since: if old { None } else { self.mark() },
            ..Ask::default()
        }
    }

    // ---- Time

    pub fn next_time(&self, now: Time, browsers: &[Browser]) -> Option<Time> {
        let all = self.current.iter().chain(&self.others);
        let unread = |request: &usize| !browsers[*request].parts.is_empty();
        if all.copied().any(|request| unread(&request)) {
            return Some(now);
        }
        let step = match self.step < self.plan.steps.len() {
            true if browsers[self.index].phase != Phase::Before => {
                Some(self.until.unwrap_or(self.next))
            }
            _ => None,
        };
        // It goes on once that one has ended.
        let waits = |current: usize| browsers[current].waits();
        let waits = self.current.is_some_and(waits);
        let poll = self.poll_at.filter(|_| !waits);
        let poll = poll.map(|at| at.max(self.stalled_until));
        let poll = poll.filter(|at| *at < Time::MAX);
        [step, poll].into_iter().flatten().min()
    }

    /// Does what is due. True: it did something.
    pub fn act(&mut self, os: &mut Os, ways: &mut dyn Ways, browsers: &mut Vec<Browser>) -> bool {
        if browsers[self.index].phase == Phase::Before {
            return false;
        }
        let mut did = self.read(os, browsers);
        while self.step < self.plan.steps.len() && self.next <= os.now {
            if !self.go_on(os, ways, browsers) {
                break;
            }
            did = true;
        }
        let free = self.polls() && self.current.is_none() && self.stalled_until <= os.now;
        if free && self.poll_at.is_some_and(|at| at <= os.now) {
            self.poll_at = None;
            self.ask_again(os, ways, browsers);
            did = true;
        }
        did
    }

    fn ask_again(&mut self, os: &mut Os, ways: &mut dyn Ways, browsers: &mut Vec<Browser>) {
        if self.polls >= POLLS {
            return;
        }
        self.polls += 1;
        let ask = self.asks();
        self.current = Some(self.send(os, ways, browsers, ask));
    }

    /// One more request.
    fn send(
        &mut self,
        os: &mut Os,
        ways: &mut dyn Ways,
        browsers: &mut Vec<Browser>,
        ask: Ask,
    ) -> usize {
        let number = browsers.len();
        note!(
            os,
            self.name,
            "asks by {number}: {:?} {}",
            ask.asks,
            ask.query()
        );
        let mut browser = Browser::request(number, &self.plan, os.now, self.index, ask);
        browser.stalled_until = self.stalled_until;
        browser.come(os, ways);
        browsers.push(browser);
        number
    }

    // ---- What it reads

    fn read(&mut self, os: &mut Os, browsers: &mut [Browser]) -> bool {
        let mut did = false;
        for request in self.current.into_iter().chain(self.others.clone()) {
            let browser = &mut browsers[request];
            for part in core::mem::take(&mut browser.parts) {
                did = true;
                self.hear(part, request);
            }
            let sent = browser.phase == Phase::Waiting && browser.out.is_empty();
            if sent && browser.ask.asks == Asks::Post && browser.endings.leaves {
                browser.leave(os);
            }
        }
        self.others.retain(|request| browsers[*request].waits());
        let ended = |current: &usize| browsers[*current].phase == Phase::Over;
        if self.current.take_if(|current| ended(current)).is_some() {
            did = true;
            if self.polls() && !self.over {
                let pause = os.noise.below(40 * MS) * os.noise.below(3);
                self.poll_at = Some(os.now + pause);
            }
        }
        did
    }

    fn hear(&mut self, part: Part, request: usize) {
        match part {
            Part::Head(head) => {
                let current = self.current == Some(request);
                let of_poll = current && self.polls();
                if let (Some(id), Some(key)) = (head.field("WS-Id"), head.field("WS-Key")) {
                    let cookie = head.field("Set-Cookie").is_some();
                    if self.via != via::OLD || cookie {
                        self.id = Some((id.to_owned(), key.to_owned()));
                    }
                }
                if let Some(mark) = head.field("WS-Since") {
                    self.marks.push(mark.to_owned());
                }
                // A page that knows nothing of us asks again whatever it hears.
                let good = matches!(head.status, 200 | 204) || self.via == via::OLD;
                if of_poll && !good {
                    self.over = true;
                }
            }
            Part::Event { name, mark, data } => {
                self.marks.extend(mark);
                match name.as_str() {
                    "open" => {
                        let value: serde_json::Value =
                            serde_json::from_slice(&data).unwrap_or_default();
                        let text = |name: &str| value[name].as_str().unwrap_or("").to_owned();
                        self.id = Some((text("id"), text("key")));
                    }
                    "" | "binary" | "text64" => self.received += 1,
                    _ => {}
                }
            }
            Part::Element { .. } => self.received += 1,
            Part::Whole(body) => self.received += u32::from(!body.is_empty()),
            Part::Comment => {}
        }
    }

    // ---- Steps

    /// One step. False: it waits.
    fn go_on(&mut self, os: &mut Os, ways: &mut dyn Ways, browsers: &mut Vec<Browser>) -> bool {
        let step = self.plan.steps[self.step].clone();
        let (met, patience) = match step {
            Browse::Await { count, ms } => (self.received >= count, Time::from(ms) * MS),
            // What it needs its id for.
            Browse::Text { .. } | Browse::Binary { .. } | Browse::Fragments { .. } => {
                (self.id.is_some(), SECOND)
            }
            Browse::Post { to, .. } if to != post::ALONE => (self.id.is_some(), SECOND),
            Browse::Close { .. } | Browse::Twice {} => (self.id.is_some(), SECOND),
            _ => (true, 0),
        };
        if !met && os.now < *self.until.get_or_insert(os.now + patience) {
            return false;
        }
        self.until = None;
        self.step += 1;
        note!(os, self.name, "{step}");
        let current = self.current;
        match step {
            Browse::Text { size, act } => {
                self.post(
                    os,
                    ways,
                    browsers,
                    (size, act, 0),
                    (post::OWN, post::WHOLE, 0),
                );
            }
            Browse::Binary { size, act } | Browse::Fragments { size, act, .. } => {
                self.post(
                    os,
                    ways,
                    browsers,
                    (size, act, 1),
                    (post::OWN, post::WHOLE, 0),
                );
            }
            Browse::Post {
                size,
                act,
                binary,
                to,
                fault,
                number,
            } => self.post(os, ways, browsers, (size, act, binary), (to, fault, number)),
            Browse::Wait { ms } => self.next = os.now + Time::from(ms) * MS,
            Browse::Stall { ms } => {
                self.stalled_until = match ms {
                    0 => Time::MAX,
                    ms => os.now + Time::from(ms) * MS,
                };
                if let Some(current) = current {
                    browsers[current].stalled_until = self.stalled_until;
                }
            }
            Browse::Close { .. } => self.close(os, ways, browsers),
            // Nobody listens to that.
            Browse::Wrong { .. } => {
                let asked = |b: &Browser| b.phase == Phase::Waiting && b.head == head::GOOD;
                if let Some(current) = current.filter(|c| asked(&browsers[*c])) {
                    browsers[current].queue(b"\r\nGET / HTTP/1.1\r\n\r\n");
                }
            }
            Browse::HalfClose {} => {
                let browser = current.map(|current| &mut browsers[current]);
                // A pipe from the daemon can't be ended by half.
                let stream = |b: &Browser| matches!(b.ends.first(), Some(End::Stream(..)));
                if let Some(browser) = browser.filter(|b| stream(b)) {
                    browser.endings.gone = true;
                    browser.endings.gone_since = os.now;
                    browser.shut(os);
                }
            }
            Browse::Vanish {} => {
                if let Some(current) = current {
                    browsers[current].leave(os);
                }
            }
            Browse::Reset {} => {
                if let Some(current) = current {
                    browsers[current].reset(os);
                }
            }
            Browse::Again { since } => {
                self.since = since;
                if let Some(current) = self.current.take() {
                    browsers[current].leave(os);
                }
                if self.via != via::POSTS {
                    self.over = false;
                    self.ask_again(os, ways, browsers);
                }
            }
            Browse::Twice {} => {
                if self.polls() && self.polls < POLLS {
                    self.polls += 1;
                    let ask = self.asks();
                    let second = self.send(os, ways, browsers, ask);
                    self.others.extend(self.current.replace(second));
                }
            }
            Browse::Patience { secs } => self.patience = secs,
            Browse::Ping { .. } | Browse::Pong { .. } | Browse::Await { .. } => {}
        }
        true
    }

    fn close(&mut self, os: &mut Os, ways: &mut dyn Ways, browsers: &mut Vec<Browser>) {
        let named = matches!(self.via, via::POLLS | via::BATCHES) && self.id.is_some();
        self.over = true;
        self.poll_at = None;
        if named {
            let mut ask = self.asks();
            ask.close = true;
            let request = self.send(os, ways, browsers, ask);
            self.others.push(request);
        } else if let Some(current) = self.current {
            browsers[current].leave(os);
        }
    }

    fn post(
        &mut self,
        os: &mut Os,
        ways: &mut dyn Ways,
        browsers: &mut Vec<Browser>,
        (size, act, binary): (u32, u32, u32),
        (to, fault, number): (u32, u32, u32),
    ) {
        let own = self.id.clone();
        let (of, wrong_key) = match to {
            post::ALONE => (None, false),
            post::GONE => (Some((GONE.to_owned(), "0".repeat(32))), true),
            _ => match own {
                Some((id, key)) if to == post::WRONG_KEY => {
                    // One digit of it is another.
                    let last = if key.ends_with('0') { "1" } else { "0" };
                    (Some((id, format!("{}{last}", &key[..key.len() - 1]))), true)
                }
                Some(own) => (Some(own), false),
                None => return,
            },
        };
        let binary = binary != 0 && fault != post::UTF8;
        let tag = format!("b{}.0 ", browsers.len());
        let mut body = payload(&tag, size as usize, binary);
        if fault == post::UTF8 {
            body.push(0xff);
        }
        let length = match fault {
            post::ENDLESS | post::CUT => body.len() + 50,
            post::TOO_LONG => self.max_message + 1,
            _ => body.len(),
        };
        if fault == post::MORE {
            body.extend_from_slice(b"and more than was said");
        }
        let number = match number {
            0 => None,
            2 if self.number > 0 => Some(self.number),
            _ => {
                self.number += 1;
                Some(self.number)
            }
        };
        let ask = Ask {
            asks: Asks::Post,
            of,
            wrong_key,
            number: number.filter(|_| to != post::ALONE),
            binary,
            body,
            length,
            ends: fault == post::CUT,
            act,
            ..Ask::default()
        };
        let request = self.send(os, ways, browsers, ask);
        browsers[request].endings.leaves = fault == post::LEAVES;
        self.others.push(request);
    }

    /// It does nothing more.
    pub fn retire(&mut self) {
        self.step = self.plan.steps.len();
        self.poll_at = None;
        self.over = true;
    }
}
