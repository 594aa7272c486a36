//! A browser's descriptors, and the way they end.

use crate::http::{Answer, Style};
use crate::limits::{ANSWER, CLOSE_TIMEOUT, LINGER};
use crate::memory::Charge;
use crate::queue::Queue;
use crate::sys::{Interest, Sys};
use core::time::Duration;
use std::io::{self, ErrorKind};

/// The way to a browser.
#[derive(Debug)]
pub enum Wire<F> {
    /// Its socket.
    Socket(F),
    /// A socket to a web server that keeps the browser's: apache's mod_cgid.
    Server {
        /// Goes both ways, but ends with the request: the browser is still there.
        fd: F,
        /// What the web server makes of an answer.
        style: Style,
    },
    /// Two descriptors to a web server that keeps the socket, and does the TLS.
    Pipes {
        /// From the browser: a pipe, or a file that holds all it sent.
        from: F,
        /// To the browser: a pipe.
        to: F,
        /// What the web server makes of an answer.
        style: Style,
    },
    /// A pipe to a web server: the way to the browser alone.
    Writer {
        /// The pipe.
        to: F,
        /// What the web server makes of an answer.
        style: Style,
    },
}

impl<F> Wire<F> {
    /// All has come that is wanted: the way to the browser alone.
    pub fn back(self) -> Wire<F> {
        match self {
            Wire::Pipes { to, style, .. } => Wire::Writer { to, style },
            wire => wire,
        }
    }

    /// How an answer over it begins.
    pub fn style(&self) -> Style {
        match self {
            Wire::Socket(_) => Style::Http,
            Wire::Server { style, .. } | Wire::Pipes { style, .. } | Wire::Writer { style, .. } => {
                *style
            }
        }
    }

    /// Whether reading, or waiting to read, shows that the browser has gone. Else only writing
    /// does.
    pub fn shows_end(&self) -> bool {
        !matches!(self, Wire::Server { .. })
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        match self {
            Wire::Socket(_) | Wire::Server { .. } | Wire::Writer { .. } => 1,
            Wire::Pipes { .. } => 2,
        }
    }

    /// Reads what the browser sent. 0 is the end; where there is only a way to it, an error is.
    pub fn read<S: Sys<Fd = F>>(&self, sys: &S, buf: &mut [u8]) -> io::Result<usize> {
        let (Wire::Socket(from)
        | Wire::Server { fd: from, .. }
        | Wire::Pipes { from, .. }
        | Wire::Writer { to: from, .. }) = self;
        sys.recv(from, buf)
    }

    /// Writes to the browser.
    pub fn write<S: Sys<Fd = F>>(&self, sys: &S, bytes: &[u8]) -> io::Result<usize> {
        let (Wire::Socket(to)
        | Wire::Server { fd: to, .. }
        | Wire::Pipes { to, .. }
        | Wire::Writer { to, .. }) = self;
        sys.send(to, bytes)
    }

    /// Ends it. `reset`: what the peer has not taken is thrown away.
    pub fn end<S: Sys<Fd = F>>(&self, sys: &S, reset: bool) {
        if let Wire::Socket(fd) | Wire::Server { fd, .. } = self {
            sys.before_close(fd, reset);
        }
    }

    /// Watches for what is wanted; not at all where nothing is: a hang-up is reported even
    /// to those who ask for nothing, and would make the loop spin.
    pub fn watch<S: Sys<Fd = F>>(&self, sys: &mut S, token: usize, read: bool, write: bool) {
        match self {
            // Of a pipe that is written to, only the reader's end shows as readable.
            Wire::Socket(fd) | Wire::Server { fd, .. } | Wire::Writer { to: fd, .. } => {
                let interest = match (read, write) {
                    (true, true) => Interest::Both,
                    (true, false) => Interest::Read,
                    (false, true) => Interest::Write,
                    (false, false) => return,
                };
                sys.watch(fd, token, interest);
            }
            Wire::Pipes { from, to, .. } => {
                if read {
                    sys.watch(from, token, Interest::Read);
                }
                if write {
                    sys.watch(to, token, Interest::Write);
                }
            }
        }
    }
}

/// A connection that has only its last bytes to write: an HTTP refusal, or the end of a
/// queue with the close frame.
#[derive(Debug)]
pub struct Farewell<F> {
    wire: Wire<F>,
    queue: Queue,
    stage: Stage,
    /// Until its descriptor is ready there is nothing to do.
    stuck: bool,
    deadline: Duration,
    /// The last deadline, whatever is taken meanwhile.
    last: Duration,
    /// The same where others wait for what it holds.
    hurried: Duration,
    written: usize,
}

#[derive(Debug)]
enum Stage {
    /// The queue is not empty.
    Writing,
    /// All is written and FIN sent. What the peer still sends is read and discarded:
    /// closing on unread bytes would reset the connection, and the peer would lose what
    /// it has not read.
    Lingering,
    /// Nothing is left to do.
    Over,
}

impl<F> Farewell<F> {
    /// An HTTP answer, the end of its connection.
    pub fn whole(
        wire: Wire<F>,
        answer: &Answer,
        charge: Option<Charge>,
        now: Duration,
    ) -> Farewell<F> {
        let mut queue = Queue::new(0);
        queue.push_answer(answer.to_bytes(wire.style()), charge);
        Farewell::answer(wire, queue, now)
    }

    /// The same in a queue. While some of it is taken now and then, it may take its time.
    pub fn answer(wire: Wire<F>, queue: Queue, now: Duration) -> Farewell<F> {
        Farewell {
            last: now + ANSWER,
            ..Farewell::new(wire, queue, now + CLOSE_TIMEOUT)
        }
    }

    /// After `deadline` the connection ends, by a reset if not all is written.
    pub fn new(wire: Wire<F>, queue: Queue, deadline: Duration) -> Farewell<F> {
        Farewell {
            wire,
            queue,
            stage: Stage::Writing,
            stuck: false,
            deadline,
            last: deadline,
            hurried: deadline,
            written: 0,
        }
    }

    /// When it ends at the latest.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Others wait for its memory, or its descriptors.
    pub fn hurry(&mut self) {
        self.last = self.last.min(self.hurried);
        self.deadline = self.deadline.min(self.last);
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        self.wire.descriptors()
    }

    /// The daemon ends: closing it must not wait.
    pub fn abandon<S: Sys<Fd = F>>(&self, sys: &S) {
        self.wire.end(sys, false);
    }

    /// Messages that have not been written.
    pub fn unsent(&self) -> usize {
        self.queue.messages()
    }

    /// Bytes that have been written.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether nothing is left to do.
    pub fn over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Watches for the next step.
    pub fn watch<S: Sys<Fd = F>>(&self, sys: &mut S, token: usize) {
        let writing = matches!(self.stage, Stage::Writing);
        self.wire.watch(sys, token, !writing, writing);
    }

    /// Its descriptor is ready.
    pub fn ready(&mut self) {
        self.stuck = false;
    }

    /// Goes as far as it can: at first, when it is ready, at the deadline.
    pub fn step<S: Sys<Fd = F>>(&mut self, sys: &S, scratch: &mut [u8], now: Duration) {
        if self.deadline <= now {
            // Where it takes too long to take its last bytes, the kernel need not keep them.
            let reset = matches!(self.stage, Stage::Writing);
            self.end(sys, reset);
        }
        if self.stuck {
            return;
        }
        if matches!(self.stage, Stage::Writing) {
            self.write(sys, scratch, now);
        }
        if matches!(self.stage, Stage::Lingering) {
            self.stuck = true;
            match self.wire.read(sys, scratch) {
                Ok(1..) => {} // discarded; a flood ends at the deadline
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                _ => self.end(sys, false),
            }
        }
    }

    fn end<S: Sys<Fd = F>>(&mut self, sys: &S, reset: bool) {
        self.wire.end(sys, reset);
        self.stage = Stage::Over;
    }

    fn write<S: Sys<Fd = F>>(&mut self, sys: &S, scratch: &mut [u8], now: Duration) {
        while !self.queue.is_empty() {
            match self.wire.write(sys, self.queue.next(scratch)) {
                Ok(count) => {
                    self.written += count;
                    self.deadline = self.last.min(now + CLOSE_TIMEOUT);
                    self.queue.wrote(count);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.stuck = true;
                    return;
                }
                Err(_) => return self.end(sys, false),
            }
        }
        match &self.wire {
            Wire::Socket(fd) | Wire::Server { fd, .. } => {
                sys.shutdown(fd, false);
                self.stage = Stage::Lingering;
                self.deadline = self.deadline.min(now + LINGER);
            }
            // The web server writes what is in its pipe before it ends the connection.
            Wire::Pipes { .. } | Wire::Writer { .. } => self.stage = Stage::Over,
        }
    }
}
