//! Connected stream sockets, TCP and local: two directions, ends and resets.

use super::{Polled, Time};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// Side 0 is the daemon's, side 1 the browser's.
pub struct Stream {
    pub tcp: bool,
    pub sides: [Side; 2],
}

#[derive(Default)]
pub struct Side {
    /// What has arrived here.
    inbox: VecDeque<u8>,
    /// What fits into the inbox.
    room: usize,
    /// Open descriptors.
    pub holders: usize,
    /// FIN sent.
    shut: bool,
    /// Told once, by the next call.
    error: Option<ErrorKind>,
    reset: bool,
    /// No memory for what it sends until then.
    starved_until: Time,
    /// The end has been read so many times.
    pub ends_read: u32,
}

impl Stream {
    /// Open at both sides, once each.
    pub fn new(tcp: bool, room: usize) -> Stream {
        let side = || Side {
            room: room.max(1),
            holders: 1,
            ..Side::default()
        };
        Stream {
            tcp,
            sides: [side(), side()],
        }
    }

    fn gone(&self, side: usize) -> bool {
        self.sides[side].holders == 0
    }

    /// What one side has sent and the other not read.
    pub fn unsent(&self, side: usize) -> usize {
        self.sides[1 - side].inbox.len()
    }

    /// No other end any more.
    pub fn unconnected(&self, side: usize) -> bool {
        self.sides[side].reset
    }

    pub fn recv(&mut self, side: usize, buf: &mut [u8]) -> io::Result<usize> {
        let ended = self.sides[1 - side].shut || self.gone(1 - side);
        let me = &mut self.sides[side];
        if !me.inbox.is_empty() {
            let count = buf.len().min(me.inbox.len());
            for (to, from) in buf.iter_mut().zip(me.inbox.drain(..count)) {
                *to = from;
            }
            return Ok(count);
        }
        if let Some(error) = me.error.take() {
            return Err(error.into());
        }
        if ended || me.reset {
            me.ends_read += 1;
            return Ok(0);
        }
        Err(ErrorKind::WouldBlock.into())
    }

    pub fn send(&mut self, side: usize, bytes: &[u8], now: Time) -> io::Result<usize> {
        if let Some(error) = self.sides[side].error.take() {
            return Err(error.into());
        }
        let other_gone = self.gone(1 - side);
        let tcp = self.tcp;
        let me = &mut self.sides[side];
        if me.shut || me.reset || (other_gone && !tcp) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if other_gone {
            // It leaves, and comes back as a reset.
            me.reset = true;
            me.error = Some(ErrorKind::ConnectionReset);
            return Ok(bytes.len());
        }
        let starved = me.starved_until > now;
        let other = &mut self.sides[1 - side];
        let free = other.room - other.inbox.len();
        if free == 0 || starved {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(free);
        other.inbox.extend(&bytes[..count]);
        Ok(count)
    }

    /// shutdown(2) of the sending side.
    pub fn shut(&mut self, side: usize) {
        self.sides[side].shut = true;
    }

    /// close(2) by one holder.
    pub fn release(&mut self, side: usize, reset: bool) {
        self.sides[side].holders -= 1;
        if self.gone(side) {
            let unread = !self.sides[side].inbox.is_empty();
            self.sides[side].shut = true;
            self.sides[side].inbox.clear();
            if reset || unread {
                self.tell_reset(1 - side);
            }
        }
    }

    /// The network loses it, both ways.
    pub fn break_off(&mut self) {
        self.tell_reset(0);
        self.tell_reset(1);
    }

    fn tell_reset(&mut self, side: usize) {
        let side = &mut self.sides[side];
        if !side.reset && side.holders > 0 {
            side.reset = true;
            side.error = Some(ErrorKind::ConnectionReset);
        }
    }

    pub fn starve(&mut self, side: usize, until: Time) {
        self.sides[side].starved_until = until;
    }

    pub fn readable(&self, side: usize) -> bool {
        let me = &self.sides[side];
        !me.inbox.is_empty()
            || me.error.is_some()
            || me.reset
            || self.sides[1 - side].shut
            || self.gone(1 - side)
    }

    pub fn poll(&self, side: usize, now: Time) -> Polled {
        let (me, other) = (&self.sides[side], &self.sides[1 - side]);
        let free = other.room.saturating_sub(other.inbox.len());
        let sends_nothing = me.shut || me.reset || (self.gone(1 - side) && !self.tcp);
        Polled {
            readable: self.readable(side),
            writable: sends_nothing
                || (free * 3 >= other.room && free > 0 && me.starved_until <= now),
            trouble: me.error.is_some()
                || me.reset
                || (self.gone(1 - side) && !self.tcp)
                || (me.shut && other.shut),
        }
    }

    /// When a want of memory ends that is not over now.
    pub fn starved_until(&self, now: Time) -> Option<Time> {
        let until = self.sides[0].starved_until;
        (until > now).then_some(until)
    }
}
