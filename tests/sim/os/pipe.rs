//! Pipes and FIFOs (pipe(7)).

use super::Polled;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use ws2cgi::limits::PIPE_BUF;

pub struct Pipe {
    bytes: VecDeque<u8>,
    room: usize,
    /// Open ends of each kind.
    pub readers: usize,
    pub writers: usize,
    /// Bytes ever written and ever read: places in the stream.
    pub written: u64,
    pub taken: u64,
    /// The end has been read so many times.
    pub ends_read: u32,
}

impl Pipe {
    pub fn new(room: usize) -> Pipe {
        Pipe {
            bytes: VecDeque::new(),
            room,
            readers: 0,
            writers: 0,
            written: 0,
            taken: 0,
            ends_read: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            if self.writers > 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.ends_read += 1;
            return Ok(0);
        }
        let count = buf.len().min(self.bytes.len());
        for (to, from) in buf.iter_mut().zip(self.bytes.drain(..count)) {
            *to = from;
        }
        self.taken += count as u64;
        Ok(count)
    }

    /// A write that does not block: of up to PIPE_BUF bytes all or nothing.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.readers == 0 {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = self.room - self.bytes.len();
        let count = match bytes.len() {
            len if len <= PIPE_BUF && len > room => 0,
            len => len.min(room),
        };
        if count == 0 && !bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.bytes.extend(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    pub fn poll_reader(&self) -> Polled {
        Polled {
            readable: !self.bytes.is_empty(),
            writable: false,
            trouble: self.writers == 0,
        }
    }

    pub fn poll_writer(&self) -> Polled {
        Polled {
            readable: false,
            writable: self.room - self.bytes.len() >= PIPE_BUF,
            trouble: self.readers == 0,
        }
    }
}
