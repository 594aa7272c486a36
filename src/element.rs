//! A message as an element of a JSON array, made as it is written: text as a string, binary as
//! an object of its base64.

use crate::copy::{Copy, Place, base64_len, text_len};
use crate::frame::Frame;
use crate::json;
use crate::outbox::Opcode;
use std::rc::Rc;

/// An element, and what stands before it: the array's bracket, or a comma.
#[derive(Debug)]
pub struct Element {
    frame: Rc<Frame>,
    before: &'static [u8],
    len: usize,
}

impl Element {
    /// `first`: of its array.
    pub fn new(frame: Rc<Frame>, first: bool) -> Element {
        let [begin, end] = ends(frame.opcode);
        let len = match frame.opcode {
            Opcode::Text => text_len(frame.payload(), json::spell),
            Opcode::Binary => base64_len(frame.payload().len()),
        };
        Element {
            frame,
            before: if first { b"[" } else { b"," },
            len: 1 + begin.len() + len + end.len(),
        }
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// It never is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies its bytes from offset `from` on; returns how many fitted. `place`: where an earlier
    /// copy has left it, no further than `from`.
    pub fn copy(&self, from: usize, place: &mut Place, to: &mut [u8]) -> usize {
        let mut copy = Copy::new(from, to);
        let [begin, end] = ends(self.frame.opcode);
        copy.part(self.before);
        copy.part(begin);
        match self.frame.opcode {
            Opcode::Text => copy.text(self.frame.payload(), json::spell, place),
            Opcode::Binary => copy.base64(self.frame.payload()),
        }
        copy.part(end);
        copy.len()
    }
}

/// What stands around the payload.
fn ends(opcode: Opcode) -> [&'static [u8]; 2] {
    match opcode {
        Opcode::Text => [b"\"", b"\""],
        Opcode::Binary => [b"{\"binary\":\"", b"\"}"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Form, Message};
    use crate::memory::{Bounds, Memory};

    #[test]
    fn elements_are_json_however_they_are_cut() {
        let memory = Memory::new(Bounds {
            all: 1 << 20,
            set_aside: 0,
            for_outbound: 0,
            for_slots: 0,
        });
        let long: Vec<u8> = (0..=255).collect();
        for (opcode, payload, first, expected) in [
            (Opcode::Text, &b""[..], true, "[\"\"".to_owned()),
            (
                Opcode::Text,
                b"a\"b\\\n\0",
                false,
                ",\"a\\\"b\\\\\\u000a\\u0000\"".to_owned(),
            ),
            (
                Opcode::Text,
                "\u{85}\u{e9}".as_bytes(),
                false,
                ",\"\u{85}\u{e9}\"".to_owned(),
            ),
            (Opcode::Binary, b"", true, "[{\"binary\":\"\"}".to_owned()),
            (
                Opcode::Binary,
                &long,
                false,
                format!(",{{\"binary\":\"{}\"}}", {
                    use base64::Engine;
                    base64::engine::general_purpose::STANDARD.encode(&long)
                }),
            ),
        ] {
            let charge = memory.outbound(payload.len()).unwrap();
            let message = Message::new(opcode, payload.to_vec(), charge);
            let element = Element::new(message.frame(Form::Body, &memory).unwrap(), first);
            assert_eq!(element.len(), expected.len());
            for step in [1, 7, 1000] {
                let (mut whole, mut piece) = (Vec::new(), vec![0; step]);
                let mut place = Place::default();
                while whole.len() < element.len() {
                    let count = element.copy(whole.len(), &mut place, &mut piece);
                    whole.extend_from_slice(&piece[..count]);
                }
                assert_eq!(String::from_utf8(whole).unwrap(), expected);
            }
        }
    }
}
