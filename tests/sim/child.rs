//! Event programs: processes that do what their act says, and the grandchildren they leave.

use crate::frames::payload;
use crate::lines::{Names, room};
use crate::os::{MS, Os, Time};
use crate::plan::{Act, target};
use crate::trace::note;
use std::io::ErrorKind;
use std::rc::Rc;
use ws2cgi::sys::{Exit, Kill};

/// Which event a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Open,
    Message,
    Close,
}

/// What a program's output asks for.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u32,
    pub protocol: u32,
    pub to: Option<String>,
    pub join: Option<String>,
    pub leave: Option<String>,
    pub state: Option<usize>,
    pub close: Option<u16>,
    pub binary: bool,
    /// Some: there is a message.
    pub message: Option<Vec<u8>>,
    /// Bytes behind the head.
    pub body: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Running,
    /// All of its descriptors are closed; a zombie then.
    Exiting(Time, Exit),
    Zombie(Exit),
    Reaped,
}

struct Grandchild {
    until: Time,
    away: bool,
}

pub struct Process {
    pub pid: u32,
    name: String,
    pub browser: usize,
    pub kind: Kind,
    pub id: String,
    act: Vec<Act>,
    step: usize,
    next: Time,
    pub life: Life,
    stdin: Option<usize>,
    stdout: Option<usize>,
    stderr: Option<usize>,
    ignores_term: bool,
    reading: bool,
    hangs: bool,
    out: Vec<u8>,
    piece: usize,
    complaint: usize,
    line: Vec<u8>,
    /// All that it has read.
    pub input: Vec<u8>,
    /// Read to its end.
    pub input_whole: bool,
    grandchildren: Vec<Grandchild>,
    /// What the grandchildren hold.
    held: Option<usize>,
    /// It has printed something else than a reply; text that is none, where `Some(false)`: that
    /// fails only where it is sent.
    malformed: Option<bool>,
    /// What its stdin must hold.
    pub payload: Option<Rc<[u8]>>,
    printed: bool,
    pub reply: Reply,
    /// It is fed a message that came by POST: by the first bytes one knows which.
    pub unknown: Option<(usize, bool)>,
    /// The POST that its reply answers.
    pub asked: Option<usize>,
    /// Bytes of the outbox stream behind its last line.
    pub mark: u64,
    /// Signals that the daemon has sent it.
    pub kills: u32,
    pub started: Time,
    /// Bytes that it has printed.
    pub output: usize,
}

/// Our ends of a new process's pipes.
pub struct Pipes {
    pub stdin: Option<usize>,
    pub stdout: usize,
    pub stderr: usize,
}

impl Process {
    pub fn new(
        pid: u32,
        browser: usize,
        kind: Kind,
        id: &str,
        act: &[Act],
        pipes: Pipes,
    ) -> Process {
        Process {
            pid,
            name: format!("child {pid}"),
            browser,
            kind,
            id: id.to_owned(),
            act: act.to_vec(),
            step: 0,
            next: 0,
            life: Life::Running,
            stdin: pipes.stdin,
            stdout: Some(pipes.stdout),
            stderr: Some(pipes.stderr),
            ignores_term: false,
            reading: false,
            hangs: false,
            out: Vec::new(),
            piece: 0,
            complaint: 0,
            line: Vec::new(),
            input: Vec::new(),
            input_whole: false,
            grandchildren: Vec::new(),
            held: None,
            malformed: None,
            payload: None,
            printed: false,
            reply: Reply::default(),
            unknown: None,
            asked: None,
            mark: 0,
            kills: 0,
            started: 0,
            output: 0,
        }
    }

    pub fn next_time(&self, os: &Os) -> Option<Time> {
        let leader = match self.life {
            Life::Running if self.hangs => None,
            Life::Running if self.next > os.now => Some(self.next),
            Life::Exiting(at, _) => Some(at),
            _ => None,
        };
        let others = self.grandchildren.iter().map(|g| g.until);
        others.chain(leader).min()
    }

    /// Does what it can now. True: it did something.
    pub fn act(&mut self, os: &mut Os, names: &mut Names, fifo: usize) -> bool {
        let now = os.now;
        let left = self.grandchildren.len();
        self.grandchildren.retain(|g| g.until > now);
        for _ in self.grandchildren.len()..left {
            self.let_go(os);
        }
        match self.life {
            Life::Running => {}
            Life::Exiting(at, exit) if at <= now => {
                note!(os, self.name, "is a zombie: {exit:?}");
                self.life = Life::Zombie(exit);
                os.signals.child = true;
                return true;
            }
            _ => return false,
        }
        let mut did = false;
        while self.life == Life::Running && !self.hangs && self.next <= now {
            if !self.one_thing(os, names, fifo) {
                break;
            }
            did = true;
        }
        did
    }

    /// Writes or reads what is under way, or goes on. False: it would block.
    fn one_thing(&mut self, os: &mut Os, names: &mut Names, fifo: usize) -> bool {
        if self.reading {
            let Some(pipe) = self.stdin else {
                self.reading = false;
                return true;
            };
            let mut buf = [0; 4096];
            return match os.pipes[pipe].read(&mut buf) {
                Ok(0) => {
                    self.input_whole = true;
                    self.reading = false;
                    true
                }
                Ok(count) => {
                    self.input.extend_from_slice(&buf[..count]);
                    true
                }
                Err(_) => false,
            };
        }
        if !self.out.is_empty() {
            return self.write_out(os);
        }
        if self.complaint > 0 {
            let Some(pipe) = self.stderr else {
                self.complaint = 0;
                return true;
            };
            let len = self.complaint.min(4096);
            let mut text = vec![b'e'; len];
            text[len - 1] = b'\n';
            return match os.pipes[pipe].write(&text) {
                Ok(count) => {
                    self.complaint -= count;
                    true
                }
                Err(e) => self.write_failed(os, e.kind()),
            };
        }
        if !self.line.is_empty() {
            return match os.pipes[fifo].write(&self.line) {
                Ok(count) => {
                    self.line.drain(..count);
                    self.mark = os.pipes[fifo].written;
                    true
                }
                Err(e) => self.write_failed(os, e.kind()),
            };
        }
        match self.act.get(self.step).cloned() {
            None => {
                self.exit(os, Exit::Code(0));
                true
            }
            Some(step) => {
                self.step += 1;
                note!(os, self.name, "{step}");
                self.take_step(os, names, step);
                true
            }
        }
    }

    fn write_out(&mut self, os: &mut Os) -> bool {
        let Some(pipe) = self.stdout else {
            self.out.clear();
            return true;
        };
        let most = if self.piece == 0 {
            self.out.len()
        } else {
            self.piece
        };
        let len = self.out.len().min(most);
        match os.pipes[pipe].write(&self.out[..len]) {
            Ok(count) => {
                self.out.drain(..count);
                self.output += count;
                if self.piece > 0 {
                    self.next = os.now + os.noise.below(200);
                }
                true
            }
            Err(e) => self.write_failed(os, e.kind()),
        }
    }

    fn write_failed(&mut self, os: &mut Os, kind: ErrorKind) -> bool {
        if kind == ErrorKind::WouldBlock {
            return false;
        }
        // SIGPIPE.
        self.exit(os, Exit::Signal(13));
        true
    }

    fn take_step(&mut self, os: &mut Os, names: &mut Names, step: Act) {
        match step {
            Act::Read {} => self.reading = true,
            Act::ReadSome { size } => {
                if let Some(pipe) = self.stdin {
                    let mut buf = vec![0; size as usize];
                    if let Ok(count) = os.pipes[pipe].read(&mut buf) {
                        self.input.extend_from_slice(&buf[..count]);
                    }
                }
            }
            Act::CloseStdin {} => close_reader(os, self.stdin.take()),
            Act::Sleep { ms } => self.next = os.now + Time::from(ms) * MS + os.noise.below(50),
            Act::Reply { .. } if self.printed || self.stdout.is_none() => {}
            Act::Reply { piece, .. } => {
                self.printed = true;
                self.piece = piece as usize;
                self.out = self.reply(names, &step);
            }
            Act::Malformed { kind } => {
                if self.stdout.is_some() {
                    self.malformed.get_or_insert(kind != 1);
                }
                self.printed = true;
                if kind == 1 {
                    self.reply.message = Some(vec![0xff]);
                }
                self.out.extend_from_slice(match kind {
                    0 => b"hello".as_slice(),
                    1 => b"Content-Type: text/plain\n\n\xff",
                    2 => b"a b: c\n\n",
                    _ => b"WS-To: nobody\n\nx",
                });
            }
            Act::Flood { kilobytes } => {
                if self.stdout.is_some() {
                    self.malformed = Some(true);
                }
                self.printed = true;
                self.out.extend(vec![b'#'; kilobytes as usize * 1024]);
            }
            Act::Complain { size } => self.complaint = size as usize,
            Act::Line { verb, target, size } => {
                let own = self.id.clone();
                self.line = names.line(os, &self.name, Some(&own), (verb, target, size));
            }
            Act::CloseStdout {} => close_writer(os, self.stdout.take()),
            Act::IgnoreTerm {} => self.ignores_term = true,
            Act::Grandchild { ms, away } => {
                if let Some(pipe) = self.stdout {
                    os.pipes[pipe].writers += 1;
                    self.grandchildren.push(Grandchild {
                        until: os.now + Time::from(ms) * MS,
                        away: away != 0,
                    });
                    self.held = Some(pipe);
                }
            }
            Act::Exit { code } => self.exit(os, Exit::Code(code as u8)),
            Act::Die { signal } => self.exit(os, Exit::Signal(signal as u8)),
            Act::Hang {} => self.hangs = true,
        }
    }

    /// The bytes of a reply, and what they ask for.
    fn reply(&mut self, names: &mut Names, step: &Act) -> Vec<u8> {
        let &Act::Reply {
            to,
            join,
            leave,
            state,
            close,
            kind,
            size,
            status,
            protocol,
            fields,
            ..
        } = step
        else {
            return Vec::new();
        };
        names.last += 1;
        let tag = format!("r{}.{} ", self.browser, names.last);
        let body = payload(&tag, size as usize, kind == 2);
        let mut reply = Reply {
            status,
            protocol,
            to: (to != target::NONE).then(|| names.target(to, Some(&self.id))),
            join: room(join),
            leave: room(leave),
            state: (state > 0).then_some(state as usize),
            close: (close > 0).then_some(close as u16),
            binary: kind == 2,
            message: None,
            body: body.len(),
        };
        let mut text = String::new();
        let mut put = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
        if status > 0 {
            put("Status", &format!("{status} so"));
        }
        match kind {
            1 => put("Content-Type", "text/plain; charset=utf-8"),
            2 => put("Content-Type", "application/octet-stream"),
            _ => {}
        }
        if let Some(to) = &reply.to {
            put("WS-To", to);
        }
        if let Some(room) = &reply.join {
            put("WS-Join", &format!("@{room}"));
        }
        if let Some(room) = &reply.leave {
            put("WS-Leave", &format!("@{room}"));
        }
        if let Some(len) = reply.state {
            put("WS-State", &"s".repeat(len));
        }
        if let Some(code) = reply.close {
            put("WS-Close", &format!("{code} bye"));
        }
        match protocol {
            0 => {}
            1 => put("Sec-WebSocket-Protocol", "two"),
            _ => put("Sec-WebSocket-Protocol", "three"),
        }
        for _ in 0..fields {
            put("x", "");
        }
        if size == 0 && kind > 0 {
            put("Content-Length", "0");
            reply.message = Some(Vec::new());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if !body.is_empty() {
            bytes.extend_from_slice(&body);
            reply.message = Some(body);
        }
        self.reply = reply;
        bytes
    }

    /// Whether its output fails its event.
    pub fn malformed(&self) -> bool {
        let sent = self.kind == Kind::Message && self.asked.is_none();
        self.malformed.is_some_and(|always| always || sent)
    }

    /// It is known now what it is fed, and what it does.
    pub fn serves(&mut self, request: usize, payload: &[u8], act: &[Act]) {
        self.unknown = None;
        self.asked = Some(request);
        self.payload = Some(payload.into());
        self.act = act.to_vec();
    }

    /// What a POST that it serves must be answered: one of these, and a body.
    pub fn answer(&self, failed: bool) -> (Vec<u16>, Vec<u8>) {
        if failed {
            return (vec![502, 504], Vec::new());
        }
        let reply = &self.reply;
        let body = reply.message.clone().unwrap_or_default();
        let status = match reply.status {
            0 if reply.message.is_none() => 204,
            0 => 200,
            status => status as u16,
        };
        match reply.to.is_some() && (200..300).contains(&status) {
            true => (vec![204], Vec::new()),
            false => (vec![status], body),
        }
    }

    // ---- Its end

    fn exit(&mut self, os: &mut Os, exit: Exit) {
        note!(os, self.name, "ends: {exit:?}");
        close_reader(os, self.stdin.take());
        close_writer(os, self.stdout.take());
        close_writer(os, self.stderr.take());
        // Its descriptors are closed before it is a zombie.
        self.life = Life::Exiting(os.now + os.noise.below(300), exit);
    }

    fn let_go(&mut self, os: &mut Os) {
        if let Some(pipe) = self.held {
            os.pipes[pipe].writers -= 1;
        }
    }

    /// A signal to its group.
    pub fn signal(&mut self, os: &mut Os, signal: Kill) {
        note!(os, self.name, "gets {signal:?}");
        self.kills += 1;
        let left = self.grandchildren.len();
        self.grandchildren.retain(|g| g.away);
        for _ in self.grandchildren.len()..left {
            self.let_go(os);
        }
        if self.life == Life::Running {
            match signal {
                Kill::Term if self.ignores_term => {}
                Kill::Term => self.exit(os, Exit::Signal(15)),
                Kill::Kill => self.exit(os, Exit::Signal(9)),
            }
        }
    }
}

fn close_reader(os: &mut Os, pipe: Option<usize>) {
    if let Some(pipe) = pipe {
        os.pipes[pipe].readers -= 1;
    }
}

fn close_writer(os: &mut Os, pipe: Option<usize>) {
    if let Some(pipe) = pipe {
        os.pipes[pipe].writers -= 1;
    }
}
