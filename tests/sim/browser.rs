//! A browser: comes in one of the ways, does its steps, reads in its own time.

use crate::frames::{Heard, Hearing};
use crate::http::{Part, Reader};
use crate::lines::ROUTES;
use crate::os::{Datagram, End, MS, Os, SECOND, Time};
use crate::plan::{self, Browse, Come, head, since, way};
use crate::request::{Ask, Asks};
use crate::trace::note;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// A socket's buffer, where the plan does not say.
const ROOM: usize = 70_000;

/// A message that it has sent, or will.
pub struct Sent {
    pub binary: bool,
    pub payload: Rc<[u8]>,
    /// The act of its program.
    pub act: u32,
    /// Where it ends in all that the browser sends.
    pub end: u64,
    /// It takes memory beside the connection's.
    pub charged: bool,
}

/// What a browser has done that may end its connection, and where in all that it sends.
#[derive(Default)]
pub struct Endings {
    /// Its close frame.
    pub close: Option<(u64, u16)>,
    /// What breaks the protocol begins there.
    pub wrong: Option<(u64, u16)>,
    /// It has gone, half or whole, or was reset.
    pub gone: bool,
    pub gone_since: Time,
    /// It leaves as soon as all is sent.
    pub leaves: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Before,
    /// The hand-off waits for room since then.
    Knocking(Time),
    Waiting,
    Open,
    Over,
}

pub struct Browser {
    pub index: usize,
    pub name: String,
    pub max_message: usize,
    pub way: u32,
    pub route: u32,
    pub at: Time,
    pub room: usize,
    pub latency: Time,
    pub piece: usize,
    pub gap: Time,
    pub eager: bool,
    pub deaf: bool,
    pub rude: bool,
    pub head: u32,
    pub offer: bool,
    pub linger: bool,
    pub open: u32,
    pub close: u32,
    pub steps: Rc<[Browse]>,
    pub step: usize,
    pub phase: Phase,
    /// What it holds: its end of a socket, or a pipe's writing end and another's reading end.
    pub ends: Vec<End>,
    pub out: VecDeque<u8>,
    /// Bytes that it has begun to send: an offset of all that it sends.
    pub queued: u64,
    pub write_at: Time,
    pub next: Time,
    pub await_until: Option<Time>,
    pub read_at: Option<Time>,
    pub stalled_until: Time,
    pub hearing: Hearing,
    pub received: u32,
    pub sent: Vec<Sent>,
    pub endings: Endings,
    pub mask: u32,
    /// Its request, beside the route.
    pub ask: Ask,
    /// By a program whose name does not begin with nph-.
    pub named: bool,
    /// The plan's browser that it is one request of.
    pub page: usize,
    /// The length of its head, where it sends that itself.
    pub head_len: u64,
    pub reader: Reader,
    /// What it has read of an HTTP answer, for its page.
    pub parts: Vec<Part>,
    pub plan: plan::Browser,
    /// Marks that it has got by `ws2cgi1`.
    pub marks: Vec<String>,
    /// It comes again, behind one of them, for these steps.
    pub again: Option<u32>,
    pub rest: Rc<[Browse]>,
    /// The record that finds no room yet.
    pub knocking: Option<Datagram>,
}

/// What the world does for it.
pub trait Ways {
    fn stream_made(&mut self, stream: usize, browser: usize);
    fn pipe_made(&mut self, pipe: usize, browser: usize, to_daemon: bool);
    fn file_made(&mut self, inode: u64, browser: usize);
}

impl Browser {
    pub fn new(index: usize, plan: &plan::Browser, max_message: usize) -> Browser {
        let Come::Browser {
            way,
            route,
            at,
            room,
            latency,
            piece,
            gap,
            eager,
            deaf,
            rude,
            head,
            offer,
            linger,
            open,
            close,
            named,
            ..
        } = plan.come;
        Browser {
            index,
            name: format!("browser {index}"),
            max_message,
            way,
            route,
            at: SECOND + Time::from(at) * MS,
            room: if room == 0 { ROOM } else { room as usize },
            latency: latency.into(),
            piece: piece as usize,
            gap: gap.into(),
            eager: eager != 0,
            deaf: deaf != 0,
            rude: rude != 0,
            head,
            offer: offer != 0,
            linger: linger != 0,
            open,
            close,
            steps: plan.steps.clone().into(),
            step: 0,
            phase: Phase::Before,
            ends: Vec::new(),
            out: VecDeque::new(),
            queued: 0,
            write_at: 0,
            next: 0,
            await_until: None,
            read_at: None,
            stalled_until: 0,
            hearing: Hearing::default(),
            received: 0,
            sent: Vec::new(),
            endings: Endings::default(),
            mask: 0,
            ask: Ask::default(),
            named: named != 0,
            page: index,
            head_len: 0,
            reader: Reader::default(),
            parts: Vec::new(),
            plan: plan.clone(),
            marks: Vec::new(),
            again: None,
            rest: Rc::from([]),
            knocking: None,
        }
    }

    /// One request of a page, which comes then.
    pub fn request(index: usize, plan: &plan::Browser, at: Time, page: usize, ask: Ask) -> Browser {
        let mut browser = Browser::new(index, plan, 0);
        browser.name = match page == index {
            true => format!("browser {page}"),
            false => format!("browser {page}/{index}"),
        };
        browser.page = page;
        browser.at = at;
        browser.steps = Rc::from([]);
        if page != index {
            // Only its first request may be wrong.
            browser.head = head::GOOD;
        }
        // Some ways to be so need a WebSocket, or a query.
        match (browser.head, ask.asks) {
            (head::UPGRADE, _) | (head::VERSION, Asks::Post) => browser.head = head::GOOD,
            _ => {}
        }
        // And only a WebSocket has subprotocols.
        browser.offer = false;
        browser.ask = ask;
        browser.reader = browser.new_reader();
        browser
    }

    /// The same with another WebSocket, for the rest of its steps.
    pub fn again(index: usize, before: &Browser, since: u32) -> Browser {
        let mut browser = Browser::new(index, &before.plan, before.max_message);
        browser.name = format!("browser {}/{index}", before.page);
        browser.page = before.page;
        browser.head = head::GOOD;
        browser.steps = before.rest.clone();
        browser.ask.offers = before.ask.offers;
        browser.marks = before.marks.clone();
        let mark = since::mark(since, &browser.marks);
        browser.ask.since = mark.filter(|_| browser.ask.offers);
        browser
    }

    /// What reads the answer to its request.
    pub fn new_reader(&self) -> Reader {
        Reader::new(self.by_cgi(), self.ask.batch)
    }

    /// Its web server has kept its body in a file.
    pub fn comes_in_file(&self) -> bool {
        let piped = self.way == way::HANDOFF_PIPES && self.linger;
        piped && self.ask.asks == Asks::Post
    }

    /// Whether there is a program at its route.
    pub fn goes_somewhere(&self) -> bool {
        matches!(self.route(), "/a" | "/b/sub" | "/broken")
    }

    /// Whether it has offered subprotocols: one and two.
    pub fn offers(&self) -> bool {
        self.offer
    }

    /// How often its stream is to show that it lives: more often by way of a web server.
    pub fn sign_of_life(&self, ping: Time) -> Time {
        match self.way {
            way::HANDOFF_UNIX | way::HANDOFF_PIPES => ping.div_ceil(3),
            _ => ping,
        }
    }

    /// The path of its request.
    pub fn route(&self) -> &'static str {
        match self.route {
            0 | 1 => ROUTES[self.route as usize],
            2 => "/none",
            3 => "/noexec",
            4 => "/b/../a",
            5 => "/folder",
            _ => "/broken",
        }
    }

    // ---- Time

    /// When it next does something by itself.
    pub fn next_time(&self, os: &Os) -> Option<Time> {
        let step = match self.phase {
            Phase::Before => Some(self.at),
            Phase::Knocking(_) => Some(os.now + 10 * MS),
            Phase::Waiting if !self.eager => None,
            Phase::Waiting | Phase::Open if self.step < self.steps.len() => {
                match (self.await_until, self.out.is_empty()) {
                    (Some(until), _) => Some(until),
                    (None, true) => Some(self.next),
                    (None, false) => None,
                }
            }
            _ => None,
        };
        let read = match self.readable(os) {
            true => self
                .read_at
                .or(Some(os.now))
                .map(|at| at.max(self.stalled_until)),
            false => None,
        };
        let read = read.filter(|at| *at < Time::MAX);
        let write = Some(self.write_at).filter(|at| !self.out.is_empty() && *at > os.now);
        [step, read, write].into_iter().flatten().min()
    }

    /// Does what is due. True: it did something.
    pub fn act(&mut self, os: &mut Os, ways: &mut dyn Ways) -> bool {
        match self.phase {
            Phase::Before if self.at <= os.now => {
                self.come(os, ways);
                true
            }
            Phase::Knocking(since) => {
                self.knock(os, since);
                false
            }
            Phase::Waiting | Phase::Open => self.write(os) | self.read(os) | self.go_on(os),
            Phase::Before | Phase::Over => false,
        }
    }

    // ---- Bytes

    pub fn queue(&mut self, bytes: &[u8]) {
        self.out.extend(bytes);
        self.queued += bytes.len() as u64;
    }

    fn send(&self, os: &mut Os, most: usize) -> io::Result<usize> {
        let (bytes, _) = self.out.as_slices();
        let bytes = &bytes[..bytes.len().min(most)];
        match self.ends.first() {
            Some(End::Stream(s, side)) => os.streams[*s].send(*side, bytes, os.now),
            Some(End::Writer(p)) => os.pipes[*p].write(bytes),
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn recv(&mut self, os: &mut Os, buf: &mut [u8]) -> io::Result<usize> {
        match self.ends.last() {
            Some(End::Stream(s, side)) => os.streams[*s].recv(*side, buf),
            Some(End::Reader(p)) => os.pipes[*p].read(buf),
            _ => Ok(0),
        }
    }

    fn readable(&self, os: &Os) -> bool {
        match self.ends.last() {
            Some(End::Stream(s, side)) => os.streams[*s].readable(*side),
            Some(End::Reader(p)) => {
                let polled = os.pipes[*p].poll_reader();
                polled.readable || polled.trouble
            }
            _ => false,
        }
    }

    fn write(&mut self, os: &mut Os) -> bool {
        let mut wrote = false;
        while !self.out.is_empty() && self.write_at <= os.now {
            let most = if self.piece == 0 { 65536 } else { self.piece };
            match self.send(os, most) {
                Ok(count) => {
                    note!(os, self.name, "sends {count} bytes");
                    self.out.drain(..count);
                    wrote = true;
                    if self.piece > 0 {
                        self.write_at = os.now + self.gap;
                    }
                    if self.out.is_empty() && self.ask.ends {
                        self.shut(os);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => {
                    note!(os, self.name, "sending: {e}");
                    self.out.clear();
                    // What can be read still is.
                    self.steps = Rc::from([]);
                    self.step = 0;
                    return true;
                }
            }
        }
        wrote
    }

    fn read(&mut self, os: &mut Os) -> bool {
        if self.stalled_until > os.now || !self.readable(os) {
            return false;
        }
        let at = match self.read_at {
            Some(at) => at,
            None => {
                let at = os.now + os.noise.below(self.latency + 1);
                self.read_at = Some(at);
                at
            }
        };
        if at > os.now {
            return false;
        }
        self.read_at = None;
        let mut buf = [0; 8192];
        loop {
            match self.recv(os, &mut buf) {
                Ok(0) => {
                    note!(os, self.name, "reads the end");
                    self.leave(os);
                    return true;
                }
                Ok(count) => {
                    note!(os, self.name, "reads {count} bytes");
                    match self.ask.asks {
                        Asks::WebSocket => {
                            self.hearing.push(&buf[..count]);
                            self.hear(os);
                        }
                        _ => self.hear_answer(os, &buf[..count]),
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) => {
                    note!(os, self.name, "reading: {e}");
                    self.leave(os);
                    return true;
                }
            }
            if self.phase == Phase::Over {
                return true;
            }
        }
    }

    /// An HTTP answer.
    fn hear_answer(&mut self, os: &mut Os, bytes: &[u8]) {
        self.reader.push(bytes);
        while let Ok(Some(part)) = self.reader.next() {
            let whole = matches!(part, Part::Whole(_));
            match &part {
                Part::Head(head) => note!(os, self.name, "is answered {}", head.status),
                Part::Event { name, data, .. } => {
                    note!(os, self.name, "gets {name}: {}", crate::trace::shown(data));
                }
                _ => {}
            }
            self.parts.push(part);
            if whole && self.rude {
                // It does not wait for the end.
                self.leave(os);
            }
        }
    }

    fn note_mark(&mut self, payload: &[u8]) {
        let head = payload.split(|&b| b == b'\n').next().unwrap_or_default();
        let mark = head.strip_prefix(b"at ").unwrap_or(head);
        if mark.contains(&b'-') {
            self.marks.push(String::from_utf8_lossy(mark).into_owned());
        }
    }

    /// It is there, and has more to come.
    pub fn waits(&self) -> bool {
        self.phase != Phase::Over
    }

    fn hear(&mut self, os: &mut Os) {
        // What is wrong with it, the tap on the daemon's side has told already.
        while let Ok(Some(heard)) = self.hearing.next() {
            match heard {
                Heard::Head(101) => {
                    if self.phase == Phase::Waiting {
                        self.phase = Phase::Open;
                        self.next = self.next.max(os.now);
                    }
                }
                Heard::Head(status) => {
                    note!(os, self.name, "is refused with {status}");
                    self.steps = Rc::from([]);
                    self.step = 0;
                }
                Heard::Data { payload, .. } => {
                    self.received += 1;
                    note!(os, self.name, "gets: {}", crate::trace::shown(&payload));
                    if self.ask.offers {
                        self.note_mark(&payload);
                    }
                }
                Heard::Ping(payload) => {
                    if !self.deaf && self.endings.close.is_none() {
                        let frame = self.frame(0x8a, &payload);
                        self.queue(&frame);
                    }
                }
                Heard::Pong(_) => {}
                Heard::Close(code) => {
                    note!(os, self.name, "hears close {code:?}");
                    if self.endings.close.is_none() && !self.rude {
                        let payload = code.map_or(Vec::new(), |c| c.to_be_bytes().to_vec());
                        let frame = self.frame(0x88, &payload);
                        self.queue(&frame);
                        self.endings.close = Some((self.queued, code.unwrap_or(1005)));
                    }
                    if !self.rude {
                        self.steps = Rc::from([]);
                        self.step = 0;
                    }
                }
            }
        }
    }

    // ---- Steps

    fn go_on(&mut self, os: &mut Os) -> bool {
        let goes = self.phase == Phase::Open || self.phase == Phase::Waiting && self.eager;
        if !goes || !self.out.is_empty() || self.next > os.now {
            return false;
        }
        let Some(step) = self.steps.get(self.step).cloned() else {
            return false;
        };
        if let Browse::Await { count, ms } = step {
            let until = *self.await_until.get_or_insert(os.now + Time::from(ms) * MS);
            if self.received < count && os.now < until {
                return false;
            }
            self.await_until = None;
        }
        self.step += 1;
        note!(os, self.name, "{step}");
        self.take_step(os, step);
        true
    }

    /// Nothing comes behind what it has sent.
    pub fn shut(&mut self, os: &mut Os) {
        match self.ends.first() {
            Some(&End::Stream(s, side)) => os.streams[s].shut(side),
            Some(&End::Writer(p)) => {
                os.pipes[p].writers -= 1;
                self.ends[0] = End::Null;
            }
            _ => {}
        }
    }

    /// As if the network had lost it.
    pub fn reset(&mut self, os: &mut Os) {
        if let Some(&End::Stream(s, side)) = self.ends.first() {
            self.ends.clear();
            os.streams[s].release(side, true);
        }
        self.leave(os);
    }

    /// Closes all that it holds.
    pub fn leave(&mut self, os: &mut Os) {
        if self.phase == Phase::Over {
            return;
        }
        note!(os, self.name, "leaves");
        self.phase = Phase::Over;
        self.endings.gone = true;
        self.endings.gone_since = os.now;
        for end in core::mem::take(&mut self.ends) {
            match end {
                End::Stream(s, side) => os.streams[s].release(side, false),
                End::Writer(p) => os.pipes[p].writers -= 1,
                End::Reader(p) => os.pipes[p].readers -= 1,
                _ => {}
            }
        }
    }
}
