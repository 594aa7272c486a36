//! A message to browsers, and the form it takes on each transport. The payload is there once,
//! however many receive it, in whichever forms.

use crate::copy::{Copy, Place, SPELLED, base64_len, text_len};
use crate::limits::FORM_CHARGE;
use crate::memory::{Charge, Memory};
use crate::outbox::Opcode;
use crate::target::Id;
use std::rc::Rc;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The place of a message in the history: the daemon's start, and a number that counts on from
/// 1. It is written as an [`Id`] is, `BOOT-N`.
pub type Mark = Id;

/// What a message looks like to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A WebSocket frame (RFC 6455 §5.2).
    WebSocket,
    /// The same, its payload behind its mark and a newline: the subprotocol `ws2cgi1`.
    Marked,
    /// An event of an event stream (HTML, "Server-sent events").
    Event,
    /// The payload alone: the body of an HTTP answer.
    Body,
}

impl Form {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// A message, before it takes a form.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it holds.
    pub opcode: Opcode,
    /// UTF-8 where it is text.
    pub payload: Rc<Vec<u8>>,
    /// Its place in the history, if it has one.
    pub mark: Option<Mark>,
    charge: Rc<Charge>,
}

impl Message {
    /// `charge`: for the payload, and [`MESSAGE_CHARGE`](crate::limits::MESSAGE_CHARGE).
    pub fn new(opcode: Opcode, payload: impl Into<Rc<Vec<u8>>>, charge: Charge) -> Message {
        Message {
            opcode,
            payload: payload.into(),
            mark: None,
            charge: Rc::new(charge),
        }
    }

    /// The message in a form. None: no memory.
    pub fn frame(&self, form: Form, memory: &Memory) -> Option<Rc<Frame>> {
        let charges = (memory.outbound(FORM_CHARGE)?, self.charge.clone());
        let mark = self.mark.map(|mark| mark.to_string()).unwrap_or_default();
        let text = self.opcode == Opcode::Text;
        let (head, body) = match form {
            Form::WebSocket => (header(self.opcode, self.payload.len()), Body::Plain),
            Form::Marked => {
                let mut head = header(self.opcode, mark.len() + 1 + self.payload.len());
                head.extend_from_slice(mark.as_bytes());
                head.push(b'\n');
                (head, Body::Plain)
            }
            Form::Event => {
                let id = match mark.is_empty() {
                    true => String::new(),
                    false => format!("id: {mark}\n"),
                };
                // A line of data ends at a CR too: that would be lost.
                let (name, body) = match text && !self.payload.contains(&b'\r') {
                    true => ("", Body::Lines),
                    false if text => ("event: text64\n", Body::Base64),
                    false => ("event: binary\n", Body::Base64),
                };
                (format!("{name}{id}data: ").into_bytes(), body)
            }
            Form::Body => (Vec::new(), Body::Plain),
        };
        let len = match body {
            Body::Plain => self.payload.len(),
            Body::Lines => text_len(&self.payload, spell),
            Body::Base64 => base64_len(self.payload.len()),
        };
        Some(Rc::new(Frame {
            len: head.len() + len + body.end().len(),
            head,
            body,
            opcode: self.opcode,
            payload: self.payload.clone(),
            mark: self.mark,
            _charges: charges,
        }))
    }
}

/// The header of an unmasked frame that is a whole message.
fn header(opcode: Opcode, len: usize) -> Vec<u8> {
    let opcode = OpCode::Data(match opcode {
        Opcode::Text => Data::Text,
        Opcode::Binary => Data::Binary,
    });
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let mut bytes = Vec::new();
    // Only a failing writer could fail.
    let _ = header.format(len as u64, &mut bytes);
    bytes
}

/// A message in one form, shared by all queues that hold it. What the form adds to the payload
/// is made as it is written.
#[derive(Debug)]
pub struct Frame {
    head: Vec<u8>,
    body: Body,
    len: usize,
    /// What the payload is.
    pub opcode: Opcode,
    payload: Rc<Vec<u8>>,
    /// Its place in the history.
    pub mark: Option<Mark>,
    _charges: (Charge, Rc<Charge>),
}

/// What stands behind a frame's head.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// The payload.
    Plain,
    /// Its lines, each but the first, which the head begins, behind `data: `; and a blank line.
    Lines,
    /// Base64 of it, and a blank line.
    Base64,
}

impl Body {
    /// What stands behind the payload.
    fn end(self) -> &'static [u8] {
        match self {
            Body::Plain => b"",
            Body::Lines | Body::Base64 => b"\n\n",
        }
    }
}

/// [`Body::Lines`], byte by byte.
fn spell(byte: u8, to: &mut [u8; SPELLED]) -> usize {
    if byte == b'\n' {
        *to = *b"\ndata: ";
        return to.len();
    }
    to[0] = byte;
    1
}

impl Frame {
    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none: the body of an answer may be empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its bytes from offset `from` to its end, where they are there as they are.
    pub fn rest(&self, from: usize) -> Option<&[u8]> {
        let from = from.checked_sub(self.head.len())?;
        match self.body {
            Body::Plain => self.payload.get(from..),
            Body::Lines | Body::Base64 => None,
        }
    }

    /// Copies its bytes from offset `from` on; returns how many fitted. `place`: where an earlier
    /// copy has left it, no further than `from`.
    pub fn copy(&self, from: usize, place: &mut Place, to: &mut [u8]) -> usize {
        let mut copy = Copy::new(from, to);
        copy.part(&self.head);
        match self.body {
            Body::Plain => copy.part(&self.payload),
            Body::Lines => copy.text(&self.payload, spell, place),
            Body::Base64 => copy.base64(&self.payload),
        }
        copy.part(self.body.end());
        copy.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Bounds;
    use crate::target::Boot;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn memory() -> Memory {
        Memory::new(Bounds {
            all: 1 << 20,
            set_aside: 0,
            for_outbound: 0,
            for_slots: 0,
        })
    }

    /// The bytes of a frame, copied in pieces.
    fn bytes(opcode: Opcode, payload: &[u8], mark: Option<Mark>, form: Form) -> Vec<u8> {
        let memory = memory();
        let charge = memory.outbound(payload.len()).unwrap();
        let mut message = Message::new(opcode, payload.to_vec(), charge);
        message.mark = mark;
        let frame = message.frame(form, &memory).unwrap();
        drop(message);
        let mut whole = vec![0; frame.len() + 1];
        let len = frame.copy(0, &mut Place::default(), &mut whole);
        whole.truncate(len);
        assert_eq!(len, frame.len());
        for piece in [1, 2, 3, 7, 63, 64, 65] {
            let (mut pieces, mut place) = (Vec::new(), Place::default());
            while pieces.len() < len {
                let mut to = vec![0; piece];
                let count = frame.copy(pieces.len(), &mut place, &mut to);
                assert!(count > 0);
                pieces.extend_from_slice(&to[..count]);
            }
            assert_eq!(pieces, whole, "in pieces of {piece}");
        }
        for from in 0..len {
            if let Some(rest) = frame.rest(from) {
                assert_eq!(rest, &whole[from..]);
            }
        }
        drop(frame);
        assert_eq!(memory.used(), 0);
        whole
    }

    #[test]
    fn forms() {
        let mark = Mark {
            boot: Boot(1),
            number: 7,
        };
        let (shown, mark) = (mark.to_string(), Some(mark));
        let long = "x".repeat(200);
        let lines = format!("{long}\n\n{long}");
        for (opcode, payload, mark, form, expected) in [
            (
                Opcode::Text,
                "hi",
                mark,
                Form::WebSocket,
                "\x02hi".to_owned(),
            ),
            (
                Opcode::Text,
                "hi",
                mark,
                Form::Marked,
                format!("\x12{shown}\nhi"),
            ),
            (Opcode::Text, "", None, Form::Marked, "\x01\n".to_owned()),
            (Opcode::Text, "a\nb", None, Form::Body, "a\nb".to_owned()),
            (
                Opcode::Text,
                "hi",
                None,
                Form::Event,
                "data: hi\n\n".to_owned(),
            ),
            (Opcode::Text, "", None, Form::Event, "data: \n\n".to_owned()),
            (
                Opcode::Text,
                "a\n\nb\n",
                mark,
                Form::Event,
                format!("id: {shown}\ndata: a\ndata: \ndata: b\ndata: \n\n"),
            ),
            (
                Opcode::Text,
                &long,
                None,
                Form::Event,
                format!("data: {long}\n\n"),
            ),
            (
                Opcode::Text,
                &lines,
                None,
                Form::Event,
                format!("data: {long}\ndata: \ndata: {long}\n\n"),
            ),
            (
                Opcode::Text,
                "a\r\nb",
                None,
                Form::Event,
                format!("event: text64\ndata: {}\n\n", STANDARD.encode("a\r\nb")),
            ),
            (
                Opcode::Binary,
                &long,
                mark,
                Form::Event,
                format!(
                    "event: binary\nid: {shown}\ndata: {}\n\n",
                    STANDARD.encode(&long)
                ),
            ),
            (
                Opcode::Binary,
                "",
                None,
                Form::Event,
                "event: binary\ndata: \n\n".to_owned(),
            ),
        ] {
            let frame = bytes(opcode, payload.as_bytes(), mark, form);
            let frame = match form {
                Form::WebSocket | Form::Marked => frame.strip_prefix(b"\x81").unwrap().to_vec(),
                Form::Event | Form::Body => frame,
            };
            assert_eq!(
                String::from_utf8(frame).unwrap(),
                expected,
                "{form:?} of {payload:?}"
            );
        }
        assert_eq!(
            bytes(Opcode::Binary, &[0; 300], None, Form::WebSocket)[..4],
            [0x82, 126, 1, 44]
        );
        for len in 0..150 {
            let payload: Vec<u8> = (0..len).collect();
            let event = bytes(Opcode::Binary, &payload, None, Form::Event);
            let expected = format!("event: binary\ndata: {}\n\n", STANDARD.encode(&payload));
            assert_eq!(event, expected.as_bytes());
        }
    }
}
