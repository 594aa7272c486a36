//! What a browser says by a WebSocket: messages, control frames, and what no browser should.

use crate::browser::{Browser, Sent};
use crate::frames::{masked, payload, unmasked};
use crate::os::{MS, Os, Time};
use crate::plan::{Browse, wrong};
use std::rc::Rc;

impl Browser {
    pub fn frame(&mut self, first: u8, payload: &[u8]) -> Vec<u8> {
        self.mask = self
            .mask
            .wrapping_mul(0x0123_4567)
            .wrapping_add(0x1122_3344);
        masked(first, payload, self.mask)
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

    pub fn take_step(&mut self, os: &mut Os, step: Browse) {
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
                self.shut(os);
                self.steps = Rc::from([]);
                self.step = 0;
            }
            Browse::Vanish {} => self.leave(os),
            Browse::Reset {} => self.reset(os),
            Browse::Again { since } => {
                self.again = Some(since);
                self.rest = self.steps[self.step.min(self.steps.len())..].into();
                self.leave(os);
            }
            Browse::Post { .. } => {}
            Browse::Twice {} | Browse::Patience { .. } => {}
        }
    }
}
