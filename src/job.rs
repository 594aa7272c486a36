//! One child: an event program while it runs.

use crate::event::Kind;
use crate::limits::{KILL_GRACE, REPLY_HEAD, STDERR_LOGGED};
use crate::reply::head_end;
use crate::sys::{Child, Exit, Kill, Sys};
use crate::target::Id;
use crate::websocket::Payload;
use core::fmt;
use core::time::Duration;
use log::warn;
use std::io::ErrorKind;

/// A running event program.
pub struct Job<F> {
    /// Whose event it is.
    pub client: Id,
    /// Which.
    pub kind: Kind,
    /// The program, as the handlers folder names it: `/chat`.
    pub program: String,
    pid: u32,
    stdin: Option<Feeding<F>>,
    stdout: Option<F>,
    stderr: Option<F>,
    output: Vec<u8>,
    head: Option<usize>,
    max_reply: usize,
    complaints: Complaints,
    stage: Stage,
}

/// A payload on its way into the child.
struct Feeding<F> {
    pipe: F,
    payload: Payload,
    written: usize,
}

enum Stage {
    Running {
        deadline: Duration,
    },
    /// SIGTERM is sent.
    Terminated {
        kill_at: Duration,
    },
    /// SIGKILL is sent, for this fault.
    Killed(Fault),
}

/// Why an event failed, beside what its reply may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not done by its deadline, or by the end.
    Timeout,
    /// Printed more than it may.
    TooMuch,
    /// Its exit status, not 0.
    Code(u8),
    /// Ended by this signal.
    Signal(u8),
    /// Could not be started.
    Launch(String),
    /// Its output is no CGI reply.
    Malformed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Timeout => {
                write!(f, "not done within --event-timeout, or a shutdown")
            }
            Fault::TooMuch => write!(
                f,
                "printed more than --max-reply, or a header over {REPLY_HEAD}"
            ),
            Fault::Code(code) => write!(f, "exit status {code}"),
            Fault::Signal(signal) => write!(f, "killed by signal {signal}"),
            Fault::Launch(why) => write!(f, "could not be started: {why}"),
            Fault::Malformed(why) => write!(f, "printed no CGI reply: {why}"),
        }
    }
}

impl<F> Job<F> {
    /// Takes care of a child just started.
    pub fn new(
        client: Id,
        kind: Kind,
        program: &str,
        child: Child<F>,
        payload: Option<Payload>,
        max_reply: usize,
        deadline: Duration,
    ) -> Job<F> {
        let stdin = child.stdin.zip(payload).map(|(pipe, payload)| Feeding {
            pipe,
            payload,
            written: 0,
        });
        Job {
            client,
            kind,
            program: program.to_owned(),
            pid: child.pid,
            stdin,
            stdout: Some(child.stdout),
            stderr: Some(child.stderr),
            output: Vec::new(),
            head: None,
            max_reply,
            complaints: Complaints::default(),
            stage: Stage::Running { deadline },
        }
    }

    /// The pipe that wants writing.
    pub fn stdin(&self) -> Option<&F> {
        self.stdin.as_ref().map(|s| &s.pipe)
    }
    /// A pipe to read.
    pub fn stdout(&self) -> Option<&F> {
        self.stdout.as_ref()
    }
    /// A pipe to read.
    pub fn stderr(&self) -> Option<&F> {
        self.stderr.as_ref()
    }

    /// Writes what the child takes of its payload.
    pub fn feed<S: Sys<Fd = F>>(&mut self, sys: &S) {
        let Some(feeding) = &mut self.stdin else {
            return;
        };
        let rest = &feeding.payload.bytes[feeding.written..];
        match sys.write(&feeding.pipe, rest) {
            Ok(n) if n < rest.len() => feeding.written += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            // All written, or the program does not care to read it: no error.
            _ => self.stdin = None,
        }
    }

    /// Reads what it printed, at most `rounds` times. True: there may be more.
    pub fn read_stdout<S: Sys<Fd = F>>(
        &mut self,
        sys: &S,
        scratch: &mut [u8],
        rounds: usize,
    ) -> bool {
        for _ in 0..rounds {
            let Some(pipe) = &self.stdout else {
                return false;
            };
            match sys.read(pipe, scratch) {
                Ok(n) if n > 0 => self.printed(sys, &scratch[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                _ => self.stdout = None,
            }
        }
        self.stdout.is_some()
    }

    fn printed<S: Sys<Fd = F>>(&mut self, sys: &S, bytes: &[u8]) {
        if matches!(self.stage, Stage::Killed(_)) {
            return; // read and discarded, until it is dead
        }
        // No doubling: what it may hold is set aside from --memory.
        self.output.reserve_exact(bytes.len());
        self.output.extend_from_slice(bytes);
        if self.head.is_none() {
            let first = &self.output[..self.output.len().min(REPLY_HEAD)];
            self.head = head_end(first);
        }
        let bound = self.head.map_or(REPLY_HEAD, |head| head + self.max_reply);
        if self.output.len() > bound {
            self.output = Vec::new();
            self.end(sys, Fault::TooMuch);
        }
    }

    /// Reads its complaints, at most `rounds` times.
    pub fn read_stderr<S: Sys<Fd = F>>(&mut self, sys: &S, scratch: &mut [u8], rounds: usize) {
        for _ in 0..rounds {
            let Some(pipe) = &self.stderr else {
                return;
            };
            match sys.read(pipe, scratch) {
                Ok(n) if n > 0 => self
                    .complaints
                    .take(&scratch[..n], self.client, &self.program),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                _ => self.stderr = None,
            }
        }
    }

    /// When [`expire`](Job::expire) has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        match self.stage {
            Stage::Running { deadline: at } | Stage::Terminated { kill_at: at } => Some(at),
            Stage::Killed(_) => None,
        }
    }

    /// SIGTERM at the deadline, SIGKILL a little later.
    pub fn expire<S: Sys<Fd = F>>(&mut self, sys: &S, now: Duration) {
        match self.stage {
            Stage::Running { deadline } if deadline <= now => {
                sys.kill(self.pid, Kill::Term);
                let kill_at = now + KILL_GRACE;
                self.stage = Stage::Terminated { kill_at };
            }
            Stage::Terminated { kill_at } if kill_at <= now => self.end(sys, Fault::Timeout),
            _ => {}
        }
    }

    /// Moves the deadline forward: a shutdown.
    pub fn hurry(&mut self, at: Duration) {
        match &mut self.stage {
            Stage::Running { deadline } => *deadline = at.min(*deadline),
            Stage::Terminated { .. } | Stage::Killed(_) => {}
        }
    }

    /// Kills it now. The first fault is the one that counts.
    pub fn end<S: Sys<Fd = F>>(&mut self, sys: &S, fault: Fault) {
        sys.kill(self.pid, Kill::Kill);
        if !matches!(self.stage, Stage::Killed(_)) {
            self.stage = Stage::Killed(fault);
        }
    }

    /// Whether the program itself has exited. Its group may live on.
    pub fn exited<S: Sys<Fd = F>>(&self, sys: &S) -> bool {
        sys.exited(self.pid)
    }

    /// For a program that has exited: reads what is left in its pipes, without waiting for
    /// an end that a grandchild may hold open, kills what is left of its group, reaps it.
    pub fn finish<S: Sys<Fd = F>>(mut self, sys: &S, scratch: &mut [u8]) -> Result<Vec<u8>, Fault> {
        // A writer that left the group may go on for ever: after a kill nothing is read.
        while !matches!(self.stage, Stage::Killed(_)) && self.read_stdout(sys, scratch, 1) {}
        self.read_stderr(sys, scratch, 1 + STDERR_LOGGED / scratch.len());
        self.complaints.end(self.client, &self.program);
        sys.kill(self.pid, Kill::Kill);
        let exit = sys.reap(self.pid);
        match (self.stage, exit) {
            (Stage::Killed(fault), _) => Err(fault),
            (Stage::Terminated { .. }, _) => Err(Fault::Timeout),
            (_, Exit::Code(0)) => Ok(self.output),
            (_, Exit::Code(code)) => Err(Fault::Code(code)),
            (_, Exit::Signal(signal)) => Err(Fault::Signal(signal)),
        }
    }
}

/// stderr, logged by lines up to a bound.
#[derive(Default)]
struct Complaints {
    line: Vec<u8>,
    taken: usize,
}

impl Complaints {
    fn take(&mut self, bytes: &[u8], client: Id, program: &str) {
        let room = STDERR_LOGGED.saturating_sub(self.taken);
        if room == 0 {
            return;
        }
        self.taken += bytes.len();
        for &b in &bytes[..bytes.len().min(room)] {
            match b {
                b'\n' => self.end(client, program),
                _ => self.line.push(b),
            }
        }
        if self.taken >= STDERR_LOGGED {
            self.end(client, program);
            warn!("{client} {program}: the rest of its stderr is not logged");
        }
    }

    fn end(&mut self, client: Id, program: &str) {
        if !self.line.is_empty() {
            let line = String::from_utf8_lossy(&self.line);
            warn!("{client} {program}: stderr: {line}");
            self.line.clear();
        }
    }
}
