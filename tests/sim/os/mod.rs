//! An operating system in memory: what happens. It knows nothing of WebSockets, nor of what
//! should be. Time is in microseconds.

pub mod fault;
pub mod file;
pub mod pipe;
pub mod stream;

use crate::rng::Rng;
use crate::trace::Trace;
use fault::Faults;
use file::Files;
use pipe::Pipe;
use std::collections::VecDeque;
use stream::Stream;
use ws2cgi::sys::Signals;

/// Microseconds since the machine started.
pub type Time = u64;

pub const MS: Time = 1000;
pub const SECOND: Time = 1_000_000;

/// What a descriptor leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Null,
    Reader(usize),
    Writer(usize),
    /// Both ends of a FIFO.
    Both(usize),
    Stream(usize, usize),
    Listener(usize),
    Handoff,
    /// An inode, to read from the given place on or to write at the end.
    File(u64, usize),
    Folder(u64),
}

/// An open descriptor of the daemon.
#[derive(Clone, Debug)]
pub struct Descriptor {
    pub end: End,
    pub non_blocking: bool,
    /// SO_LINGER: closing waits until all is sent.
    pub waits_at_close: bool,
    /// SO_LINGER with no time: closing resets.
    pub resets: bool,
}

/// A hand-off record on its way.
pub struct Datagram {
    pub bytes: Vec<u8>,
    pub ends: Vec<Descriptor>,
    pub uid: u32,
}

/// A listening socket, and those who wait there.
#[derive(Default)]
pub struct Listener {
    pub address: String,
    pub waiting: VecDeque<usize>,
    pub open: bool,
}

/// Readiness as poll(2) tells it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Polled {
    pub readable: bool,
    pub writable: bool,
    /// HUP or ERR: told whether asked for or not.
    pub trouble: bool,
}

pub struct Os {
    pub now: Time,
    pub noise: Rng,
    pub faults: Faults,
    pub trace: Trace,
    pub descriptors: Vec<Option<Descriptor>>,
    /// How many may be open, 0 to 2 among them.
    pub limit: usize,
    pub most_open: usize,
    pub pipes: Vec<Pipe>,
    pub streams: Vec<Stream>,
    pub files: Files,
    pub handoffs: VecDeque<Datagram>,
    pub listeners: Vec<Listener>,
    pub caught: bool,
    pub signals: Signals,
    /// Counts what has changed something: a wake-up must.
    pub progress: u64,
}

/// 0 to 2, the log and `/dev/null`, which the daemon holds from its start.
const STANDARD: usize = 5;
/// What the queue of a datagram socket holds.
const HANDOFFS: usize = 11;

impl Os {
    pub fn new(noise: Rng, faults: Faults, trace: Trace, limit: usize) -> Os {
        Os {
            now: SECOND,
            noise,
            faults,
            trace,
            descriptors: Vec::new(),
            limit,
            most_open: 0,
            pipes: Vec::new(),
            streams: Vec::new(),
            files: Files::new(),
            handoffs: VecDeque::new(),
            listeners: Vec::new(),
            caught: false,
            signals: Signals::default(),
            progress: 0,
        }
    }

    // ---- Descriptors of the daemon

    pub fn open_count(&self) -> usize {
        STANDARD + self.descriptors.iter().flatten().count()
    }

    /// EMFILE, now or for a while.
    pub fn no_descriptor(&mut self) -> bool {
        self.open_count() >= self.limit || self.faults.descriptors_are_short(self.now)
    }

    /// Opens a descriptor; its end is counted already.
    pub fn install(&mut self, descriptor: Descriptor) -> usize {
        let free = self.descriptors.iter().position(Option::is_none);
        let number = free.unwrap_or(self.descriptors.len());
        if number == self.descriptors.len() {
            self.descriptors.push(None);
        }
        self.descriptors[number] = Some(descriptor);
        self.most_open = self.most_open.max(self.open_count());
        number
    }

    pub fn descriptor(&self, number: usize) -> &Descriptor {
        self.descriptors[number]
            .as_ref()
            .expect("an open descriptor")
    }

    pub fn descriptor_mut(&mut self, number: usize) -> &mut Descriptor {
        self.descriptors[number]
            .as_mut()
            .expect("an open descriptor")
    }

    /// Closes one. Err: that would have waited.
    pub fn close(&mut self, number: usize) -> Result<End, String> {
        let descriptor = self.descriptors[number].take().expect("an open descriptor");
        self.progress += 1;
        let end = descriptor.end.clone();
        let waits = match end {
            End::Stream(s, side) => descriptor.waits_at_close && self.streams[s].unsent(side) > 0,
            _ => false,
        };
        self.release(descriptor);
        match waits {
            true => Err(format!(
                "close(2) of descriptor {number} waits: SO_LINGER is set"
            )),
            false => Ok(end),
        }
    }

    /// An end that is open once less.
    pub fn release(&mut self, descriptor: Descriptor) {
        match descriptor.end {
            End::Reader(p) => self.pipes[p].readers -= 1,
            End::Writer(p) => self.pipes[p].writers -= 1,
            End::Both(p) => {
                self.pipes[p].readers -= 1;
                self.pipes[p].writers -= 1;
            }
            End::Stream(s, side) => self.streams[s].release(side, descriptor.resets),
            End::Listener(l) => {
                self.listeners[l].open = false;
                for s in core::mem::take(&mut self.listeners[l].waiting) {
                    self.streams[s].release(0, true);
                }
            }
            End::Handoff => {
                for datagram in core::mem::take(&mut self.handoffs) {
                    for end in datagram.ends {
                        self.release(end);
                    }
                }
            }
            End::Null | End::File(..) | End::Folder(_) => {}
        }
    }

    pub fn new_pipe(&mut self, room: usize) -> usize {
        self.pipes.push(Pipe::new(room));
        self.pipes.len() - 1
    }

    pub fn poll(&self, end: &End) -> Polled {
        match *end {
            End::Reader(p) => self.pipes[p].poll_reader(),
            End::Writer(p) => self.pipes[p].poll_writer(),
            End::Both(p) => Polled {
                readable: self.pipes[p].len() > 0,
                writable: self.pipes[p].poll_writer().writable,
                trouble: false,
            },
            End::Stream(s, side) => self.streams[s].poll(side, self.now),
            End::Listener(l) => Polled {
                readable: !self.listeners[l].waiting.is_empty(),
                ..Polled::default()
            },
            End::Handoff => Polled {
                readable: !self.handoffs.is_empty(),
                ..Polled::default()
            },
            End::Null | End::File(..) | End::Folder(_) => Polled {
                readable: true,
                writable: true,
                trouble: false,
            },
        }
    }

    // ---- What others do

    /// Sends a hand-off record. Err: the queue is full, the ends come back; or nobody is there.
    pub fn hand_off(&mut self, datagram: Datagram) -> Result<(), Option<Datagram>> {
        let bound = self.descriptors.iter().flatten();
        if !bound.into_iter().any(|d| d.end == End::Handoff) {
            for end in datagram.ends {
                self.release(end);
            }
            return Err(None);
        }
        if self.handoffs.len() >= HANDOFFS {
            return Err(Some(datagram));
        }
        self.handoffs.push_back(datagram);
        Ok(())
    }

    /// Connects to `--listen`. False: nobody listens, or too many wait.
    pub fn connect(&mut self, listener: &str, stream: usize) -> bool {
        let at = |l: &&mut Listener| l.open && l.address == listener;
        match self.listeners.iter_mut().find(at) {
            Some(l) if l.waiting.len() < 64 => {
                l.waiting.push_back(stream);
                true
            }
            _ => false,
        }
    }
}
