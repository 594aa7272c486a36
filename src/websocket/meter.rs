//! The frames of one connection as they come, and what of the memory each will take.

use crate::close::Close;
use crate::limits::IDLE_BUFFER;
use crate::memory::{Charge, Memory};

/// Follows the frames in the byte stream (RFC 6455 §5.2) to know where they end and what
/// they will make tungstenite allocate, before it does.
#[derive(Debug, Default)]
pub struct Meter {
    /// The part of the current frame's header that has been seen.
    header: [u8; 14],
    seen: usize,
    /// Payload bytes to come, once the header is complete.
    payload: Option<u64>,
    /// For the message being put together.
    pub charge: Option<Charge>,
    /// Its bytes so far, if it goes on behind the frames that were seen.
    begun: Option<u64>,
    /// There was no memory for the frame whose header is complete but for its last byte.
    pub unpaid: bool,
    /// The payload of a close frame, unmasked.
    close: Vec<u8>,
}

impl Meter {
    /// How many of these bytes may be decoded now: up to the end of the frame. 0: there is
    /// no memory for the frame that begins here; once there is, it may be asked again.
    pub fn admit(&mut self, bytes: &[u8], max_message: usize, memory: &Memory) -> usize {
        let mut count = 0;
        self.unpaid = false;
        while self.payload.is_none() && count < bytes.len() {
            self.header[self.seen] = bytes[count];
            self.seen += 1;
            count += 1;
            if self.seen == self.header_len() {
                if !self.charge_frame(max_message, memory) {
                    // Without its last byte nobody believes the header.
                    self.unpaid = true;
                    self.seen -= 1;
                    return count - 1;
                }
                let length = self.payload_len();
                if !self.control() {
                    let so_far = self.begun.unwrap_or(0).saturating_add(length);
                    self.begun = Some(so_far).filter(|_| !self.fin());
                }
                self.payload = Some(length);
            }
        }
        let Some(left) = &mut self.payload else {
            return count;
        };
        let more = (bytes.len() - count).min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= more as u64;
        let whole = *left == 0;
        self.note_close(&bytes[count..count + more]);
        if whole {
            (self.seen, self.payload) = (0, None);
        }
        count + more
    }

    fn note_close(&mut self, payload: &[u8]) {
        const FIN_CLOSE: u8 = 0x88;
        const MASKED: u8 = 0x80;
        if self.header[0] != FIN_CLOSE || self.header[1] & MASKED == 0 {
            return;
        }
        // The header's last four bytes. A payload of more than 125 is refused.
        let mask = &self.header[self.seen - 4..self.seen];
        for byte in payload.iter().take(125 - self.close.len()) {
            self.close.push(byte ^ mask[self.close.len() % 4]);
        }
    }

    /// What the close frame said that has been decoded, if it had a code.
    pub fn close_frame(&self) -> Close {
        let (code, reason) = self.close.split_first_chunk().unwrap_or((&[0; 2], &[]));
        let reason = core::str::from_utf8(reason).unwrap_or_default();
        Close::new(u16::from_be_bytes(*code), reason)
    }

    fn header_len(&self) -> usize {
        if self.seen < 2 {
            return 2;
        }
        let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + mask
    }

    fn payload_len(&self) -> u64 {
        let h = &self.header;
        match h[1] & 0x7f {
            126 => u16::from_be_bytes([h[2], h[3]]).into(),
            127 => u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]),
            short => short.into(),
        }
    }

    fn charge_frame(&mut self, max_message: usize, memory: &Memory) -> bool {
        let length = self.payload_len();
        // A larger one is refused by tungstenite, and a small one lies in buffers that are
        // charged with the connection.
        if length > max_message as u64 || length < IDLE_BUFFER as u64 && !self.fragment() {
            return true;
        }
        // A fragment is copied as the message is put together, into a vector that may grow
        // to twice its need; but not one that makes the message too large.
        let whole = self.begun.unwrap_or(0).saturating_add(length);
        let copied = self.fragment() && whole <= max_message as u64;
        let copies = if copied { 3 } else { 1 };
        let Some(more) = memory.inbound(length as usize * copies) else {
            return false;
        };
        match &mut self.charge {
            Some(charge) => charge.absorb(more),
            None => self.charge = Some(more),
        }
        true
    }

    fn fin(&self) -> bool {
        self.header[0] & 0x80 != 0
    }

    fn control(&self) -> bool {
        self.header[0] & 0x08 != 0
    }

    /// It is a part of a message. Anything else is a whole one, a control frame, or breaks the
    /// protocol, and is never put together.
    fn fragment(&self) -> bool {
        match self.header[0] & 0x7f {
            0 => true,
            1 | 2 => !self.fin() && self.begun.is_none(),
            _ => false,
        }
    }
}
