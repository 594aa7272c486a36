//! A browser: comes in one of the ways, does its steps, reads in its own time.

use crate::frames::{Heard, Hearing, masked, payload, unmasked};
use crate::lines::ROUTES;
use crate::os::stream::Stream;
use crate::os::{Datagram, Descriptor, End, MS, Os, SECOND, Time};
use crate::plan::{self, Browse, Come, way, wrong};
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
    name: String,
    max_message: usize,
    way: u32,
    route: u32,
    at: Time,
    room: usize,
    latency: Time,
    piece: usize,
    gap: Time,
    eager: bool,
    deaf: bool,
    rude: bool,
    pub head: u32,
    pub offer: bool,
    linger: bool,
    pub open: u32,
    pub close: u32,
    steps: Rc<[Browse]>,
    step: usize,
    pub phase: Phase,
    /// What it holds: its end of a socket, or a pipe's writing end and another's reading end.
    ends: Vec<End>,
    out: VecDeque<u8>,
    /// Bytes that it has begun to send: an offset of all that it sends.
    pub queued: u64,
    write_at: Time,
    next: Time,
    await_until: Option<Time>,
    read_at: Option<Time>,
    stalled_until: Time,
    hearing: Hearing,
    pub received: u32,
    pub sent: Vec<Sent>,
    pub endings: Endings,
    mask: u32,
    /// The record that finds no room yet.
    knocking: Option<Datagram>,
}

/// What the world does for it.
pub trait Ways {
    fn stream_made(&mut self, stream: usize, browser: usize);
    fn pipe_made(&mut self, pipe: usize, browser: usize, to_daemon: bool);
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
            knocking: None,
        }
    }

    /// Whether it has offered subprotocols: one and two.
    pub fn offers(&self) -> bool {
        self.offer
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

    // ---- Coming

    fn come(&mut self, os: &mut Os, ways: &mut dyn Ways) {
        note!(os, self.name, "comes, {}", self.route());
        let descriptor = |end, waits_at_close| Descriptor {
            end,
            non_blocking: false,
            waits_at_close,
            resets: false,
        };
        let mut theirs = Vec::new();
        if self.way == way::HANDOFF_PIPES {
            let (up, down) = (
                os.new_pipe(65536),
                os.new_pipe(65536.min(self.room.max(4096))),
            );
            ways.pipe_made(up, self.index, true);
            ways.pipe_made(down, self.index, false);
            for pipe in [up, down] {
                os.pipes[pipe].readers = 1;
                os.pipes[pipe].writers = 1;
            }
            theirs.push(descriptor(End::Reader(up), false));
            theirs.push(descriptor(End::Writer(down), false));
            self.ends = vec![End::Writer(up), End::Reader(down)];
        } else {
            let tcp = matches!(self.way, way::HANDOFF_TCP | way::LISTEN_TCP);
            os.streams.push(Stream::new(tcp, self.room));
            let stream = os.streams.len() - 1;
            ways.stream_made(stream, self.index);
            theirs.push(descriptor(End::Stream(stream, 0), self.linger));
            self.ends = vec![End::Stream(stream, 1)];
        }
        if matches!(self.way, way::LISTEN_TCP | way::LISTEN_UNIX) {
            let address = match self.way {
                way::LISTEN_TCP => "127.0.0.1:8000",
                _ => "unix:/run/ws.sock",
            };
            let End::Stream(stream, _) = self.ends[0] else {
                return;
            };
            if os.connect(address, stream) {
                self.phase = Phase::Waiting;
                let head = self.request_head();
                self.queue(&head);
            } else {
                note!(os, self.name, "nobody listens");
                os.streams[stream].release(0, true);
                self.leave(os);
            }
            return;
        }
        // The program that hands over knocks.
        let bytes = self.record();
        let datagram = Datagram {
            bytes,
            ends: theirs,
            uid: 33,
        };
        self.phase = Phase::Knocking(os.now);
        self.send_record(os, datagram);
    }

    fn send_record(&mut self, os: &mut Os, datagram: Datagram) {
        match os.hand_off(datagram) {
            Ok(()) => self.phase = Phase::Waiting,
            Err(Some(datagram)) => {
                note!(os, self.name, "finds the queue of records full");
                self.knocking = Some(datagram);
            }
            Err(None) => {
                note!(os, self.name, "there is no daemon");
                self.leave(os);
            }
        }
    }

    /// As nph-* does: again and again for a second.
    fn knock(&mut self, os: &mut Os, since: Time) {
        let Some(datagram) = self.knocking.take() else {
            return;
        };
        if os.now < since + SECOND {
            return self.send_record(os, datagram);
        }
        note!(os, self.name, "is told that the daemon is busy");
        for end in datagram.ends {
            os.release(end);
        }
        self.leave(os);
    }

    // ---- Bytes

    fn queue(&mut self, bytes: &[u8]) {
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
                    self.hearing.push(&buf[..count]);
                    self.hear(os);
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

    fn frame(&mut self, first: u8, payload: &[u8]) -> Vec<u8> {
        self.mask = self
            .mask
            .wrapping_mul(0x0123_4567)
            .wrapping_add(0x1122_3344);
        masked(first, payload, self.mask)
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

    fn message(&mut self, binary: bool, size: u32, act: u32, pieces: u32, ping: bool) {
        let tag = format!("b{}.{} ", self.index, self.sent.len());
        let payload = payload(&tag, size as usize, binary);
        if payload.len() > self.max_message {
            self.endings.wrong.get_or_insert((self.queued, 1009));
        }
        let pieces = (pieces as usize).clamp(1, payload.len().max(1));
        let each = payload.len().div_ceil(pieces).max(1);
        let mut chunks: Vec<&[u8]> = payload.chunks(each).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let count = chunks.len();
        for (i, chunk) in chunks.into_iter().enumerate() {
            let opcode = match (i, binary) {
                (0, false) => 1,
                (0, true) => 2,
                _ => 0,
            };
            let fin = if i + 1 == count { 0x80 } else { 0 };
            let frame = self.frame(fin | opcode, chunk);
            self.queue(&frame);
            if ping && i + 1 < count {
                let frame = self.frame(0x89, b"between");
                self.queue(&frame);
            }
        }
        self.sent.push(Sent {
            binary,
            charged: count > 1 || payload.len() >= 512,
            payload: payload.into(),
            act,
            end: self.queued,
        });
    }

    fn take_step(&mut self, os: &mut Os, step: Browse) {
        match step {
            Browse::Text { size, act } => self.message(false, size, act, 1, false),
            Browse::Binary { size, act } => self.message(true, size, act, 1, false),
            Browse::Fragments {
                size,
                pieces,
                ping,
                act,
            } => self.message(true, size, act, pieces, ping != 0),
            Browse::Ping { size } => {
                let frame = self.frame(0x89, &vec![b'p'; size.min(125) as usize]);
                self.queue(&frame);
            }
            Browse::Pong { size } => {
                let frame = self.frame(0x8a, &vec![b'p'; size.min(125) as usize]);
                self.queue(&frame);
            }
            Browse::Await { .. } => {}
            Browse::Wait { ms } => self.next = os.now + Time::from(ms) * MS,
            Browse::Stall { ms: 0 } => self.stalled_until = Time::MAX,
            Browse::Stall { ms } => self.stalled_until = os.now + Time::from(ms) * MS,
            Browse::Close { code, reason } => {
                let mut payload = Vec::new();
                if code > 0 {
                    payload.extend((code as u16).to_be_bytes());
                    payload.extend(vec![b'r'; reason.min(123) as usize]);
                }
                let frame = self.frame(0x88, &payload);
                self.queue(&frame);
                let code = if code == 0 { 1005 } else { code as u16 };
                self.endings.close.get_or_insert((self.queued, code));
            }
            Browse::Wrong { kind } => {
                let begin = self.queued;
                let frame = match kind {
                    wrong::UNMASKED => unmasked(0x81, b"x"),
                    wrong::RESERVED_BIT => self.frame(0xc1, b"x"),
                    wrong::OPCODE => self.frame(0x83, b"x"),
                    wrong::CONTINUATION => self.frame(0x80, b"x"),
                    wrong::LONG_PING => self.frame(0x89, &[0; 126]),
                    wrong::CLOSE_CODE => self.frame(0x88, &1005u16.to_be_bytes()),
                    wrong::UTF8 => self.frame(0x81, b"\xff\xfe"),
                    _ => self.frame(0x82, &vec![0; 70_000]),
                };
                self.queue(&frame);
                self.endings.wrong.get_or_insert((begin, wrong::code(kind)));
            }
            Browse::HalfClose {} => {
                self.endings.gone = true;
                match self.ends.first() {
                    Some(&End::Stream(s, side)) => os.streams[s].shut(side),
                    Some(&End::Writer(p)) => {
                        os.pipes[p].writers -= 1;
                        self.ends[0] = End::Null;
                    }
                    _ => {}
                }
                self.steps = Rc::from([]);
                self.step = 0;
            }
            Browse::Vanish {} => self.leave(os),
            Browse::Reset {} => {
                if let Some(&End::Stream(s, side)) = self.ends.first() {
                    self.ends.clear();
                    os.streams[s].release(side, true);
                }
                self.leave(os);
            }
        }
    }

    /// Closes all that it holds.
    pub fn leave(&mut self, os: &mut Os) {
        if self.phase == Phase::Over {
            return;
        }
        note!(os, self.name, "leaves");
        self.phase = Phase::Over;
        self.endings.gone = true;
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
