//! One browser's queue, filled and written in any order, against one that holds all its bytes.

use super::input::stretch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ws2cgi::copy::Place;
use ws2cgi::element::Element;
use ws2cgi::frame::{Form, Mark, Message};
use ws2cgi::limits::QUEUE_SLOT;
use ws2cgi::memory::{Bounds, Memory};
use ws2cgi::outbox::Opcode;
use ws2cgi::queue::Queue;
use ws2cgi::target::Boot;

/// What an item of the queue is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Message(Option<Mark>),
    Element,
    Pong,
    Other,
}

/// The queue, made eagerly.
#[derive(Default)]
struct Eager {
    items: Vec<(Kind, Vec<u8>)>,
    /// Bytes of the first one that are written.
    begun: usize,
}

impl Eager {
    fn push(&mut self, kind: Kind, bytes: impl Into<Vec<u8>>) {
        self.items.push((kind, bytes.into()));
    }

    fn bytes(&self) -> Vec<u8> {
        let all: Vec<_> = self.items.iter().map(|(_, bytes)| &bytes[..]).collect();
        all.concat().split_off(self.begun)
    }

    fn wrote(&mut self, count: usize) {
        self.begun += count;
        while self
            .items
            .first()
            .is_some_and(|(_, bytes)| bytes.len() <= self.begun)
        {
            self.begun -= self.items.remove(0).1.len();
        }
    }

    fn size(&self) -> usize {
        let messages = self.items.iter().filter(|(kind, _)| is_message(kind));
        messages.map(|(_, bytes)| bytes.len() + QUEUE_SLOT).sum()
    }
}

fn is_message(kind: &Kind) -> bool {
    matches!(kind, Kind::Message(_))
}

/// After each step the queue has the bytes, the size and the messages that it should have; once
/// it is written all memory is given back.
pub fn run(bytes: &[u8]) {
    let Some((&bound, mut rest)) = bytes.split_first() else {
        return;
    };
    let bound = usize::from(bound) * 16;
    let memory = Memory::new(Bounds {
        all: 1 << 24,
        set_aside: 0,
        for_outbound: 0,
        for_slots: 0,
    });
    let (mut queue, mut eager) = (Queue::new(bound), Eager::default());
    while let [step, len, behind @ ..] = rest {
        let (payload, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = behind;
        step_of(&mut queue, &mut eager, &memory, *step, payload);
        let messages = eager.items.iter().filter(|(kind, _)| is_message(kind));
        let marks = messages.clone().filter_map(|(kind, _)| match kind {
            Kind::Message(mark) => *mark,
            _ => None,
        });
        assert_eq!(queue.first_mark(), marks.clone().next());
        let elements = eager
            .items
            .iter()
            .filter(|(kind, _)| *kind == Kind::Element);
        assert_eq!(queue.messages(), messages.count() + elements.count());
        assert_eq!(queue.size(), eager.size());
        assert_eq!(queue.is_full(), eager.size() >= bound);
        assert_eq!(queue.is_empty(), eager.items.is_empty());
    }
    while !queue.is_empty() {
        write(&mut queue, &mut eager, 512, usize::MAX);
    }
    assert!(eager.items.is_empty());
    drop(queue);
    assert_eq!(memory.used(), 0);
}

/// Of so much scratch, at most so many bytes.
fn write(queue: &mut Queue, eager: &mut Eager, scratch: usize, most: usize) {
    let mut scratch = vec![0; scratch];
    let next = queue.next(&mut scratch);
    assert!(eager.bytes().starts_with(next));
    assert_eq!(next.is_empty(), eager.items.is_empty());
    let count = next.len().min(most);
    queue.wrote(count);
    eager.wrote(count);
}

fn step_of(queue: &mut Queue, eager: &mut Eager, memory: &Memory, step: u8, payload: &[u8]) {
    let more = usize::from(step >> 3);
    match step & 7 {
        // What is pushed is in no queue that is full.
        0 if !queue.is_full() => push(queue, eager, memory, more, payload),
        1 => {
            let mut payload = payload.to_vec();
            // A pong that has not begun gives way.
            let from = usize::from(eager.begun > 0);
            let pongs = eager.items.iter_mut().skip(from);
            payload.push(b'P');
            match pongs.into_iter().find(|(kind, _)| *kind == Kind::Pong) {
                Some((_, older)) => older.clone_from(&payload),
                None => eager.push(Kind::Pong, payload.clone()),
            }
            queue.push_pong(payload);
        }
        2 => {
            let control = [b"C", payload].concat();
            eager.push(Kind::Other, control.clone());
            queue.push_control(control);
        }
        3 if eager.begun == 0 => {
            let head = [b"H", payload].concat();
            eager.items.insert(0, (Kind::Other, head.clone()));
            queue.push_head(head);
        }
        4 => {
            let (before, mut begun) = (eager.items.len(), eager.begun > 0);
            let keep =
                |(kind, _): &(Kind, Vec<u8>)| core::mem::take(&mut begun) || !is_message(kind);
            eager.items.retain(keep);
            assert_eq!(queue.drop_waiting(), before - eager.items.len());
        }
        5 => push_array(queue, eager, memory, payload),
        6 => {
            let first = eager.items.first().filter(|_| eager.begun == 0);
            let is_message = first.is_some_and(|(kind, _)| is_message(kind));
            assert_eq!(queue.first_message().is_some(), is_message);
            let taken = queue.take_message().map(|(frame, _)| {
                let mut bytes = vec![0; frame.len()];
                assert_eq!(
                    frame.copy(0, &mut Place::default(), &mut bytes),
                    bytes.len()
                );
                bytes
            });
            assert_eq!(taken.is_some(), is_message);
            if let Some(bytes) = taken {
                assert_eq!(bytes, eager.items.remove(0).1);
            }
        }
        _ => {
            let most = payload.first().map_or(1, |&most| 1 + usize::from(most) * 4);
            write(queue, eager, 1 + more * more, most);
        }
    }
}

fn opcode_of(payload: &[u8], binary: bool) -> Opcode {
    match core::str::from_utf8(payload) {
        Ok(_) if !binary => Opcode::Text,
        _ => Opcode::Binary,
    }
}

fn message(memory: &Memory, opcode: Opcode, payload: &[u8]) -> Message {
    let charge = memory.outbound(payload.len()).expect("memory");
    Message::new(opcode, payload.to_vec(), charge)
}

/// `how`: which form, whether it has a mark, whether it is binary.
fn push(queue: &mut Queue, eager: &mut Eager, memory: &Memory, how: usize, payload: &[u8]) {
    let mut payload = stretch(payload);
    payload.truncate(1000);
    let form = [Form::WebSocket, Form::Marked, Form::Event, Form::Body][how & 3];
    let opcode = opcode_of(&payload, how & 4 != 0);
    let mark = (how & 8 != 0 || form == Form::Marked).then_some(Mark {
        boot: Boot(3),
        number: 1 + payload.len() as u64,
    });
    // No answer is without a byte: it has a head.
    if form == Form::Body && payload.is_empty() {
        return;
    }
    let mut message = message(memory, opcode, &payload);
    message.mark = mark;
    let frame = message.frame(form, memory).expect("memory");
    eager.push(
        Kind::Message(mark),
        eager_form(form, opcode, &payload, mark),
    );
    queue.push(frame, memory.slots(QUEUE_SLOT).expect("memory"));
}

fn eager_form(form: Form, opcode: Opcode, payload: &[u8], mark: Option<Mark>) -> Vec<u8> {
    let id = mark.map_or(String::new(), |mark| mark.to_string());
    let text = opcode == Opcode::Text;
    match form {
        Form::WebSocket => [header(text, payload.len()), payload.to_vec()].concat(),
        Form::Marked => {
            let payload = [id.as_bytes(), b"\n", payload].concat();
            [header(text, payload.len()), payload].concat()
        }
        Form::Event => {
            let id = match mark {
                Some(_) => format!("id: {id}\n"),
                None => String::new(),
            };
            let (name, data) = match core::str::from_utf8(payload) {
                Ok(lines) if text && !lines.contains('\r') => ("", lines.replace('\n', "\ndata: ")),
                _ if text => ("event: text64\n", STANDARD.encode(payload)),
                _ => ("event: binary\n", STANDARD.encode(payload)),
            };
            format!("{name}{id}data: {data}\n\n").into_bytes()
        }
        Form::Body => payload.to_vec(),
    }
}

/// RFC 6455 §5.2.
fn header(text: bool, len: usize) -> Vec<u8> {
    let first = if text { 0x81 } else { 0x82 };
    match len {
        ..=125 => vec![first, len as u8],
        _ => {
            let [high, low] = u16::try_from(len).expect("less than 64 KB").to_be_bytes();
            vec![first, 126, high, low]
        }
    }
}

/// `payload`: messages, each behind its length, whose highest bit says that it is binary.
fn push_array(queue: &mut Queue, eager: &mut Eager, memory: &Memory, mut payload: &[u8]) {
    let (mut elements, mut expected) = (Vec::new(), Vec::new());
    eager.push(Kind::Other, *b"HEAD");
    let from = eager.items.len();
    while let [len, rest @ ..] = payload {
        let (one, rest) = rest.split_at(usize::from(*len & 0x7f).min(rest.len()));
        payload = rest;
        let opcode = opcode_of(one, len & 0x80 != 0);
        let frame = message(memory, opcode, one).frame(Form::Body, memory);
        let first = elements.is_empty();
        let element = Element::new(frame.expect("memory"), first);
        let charge = memory.slots(QUEUE_SLOT).expect("memory");
        let value = match opcode {
            Opcode::Text => serde_json::json!(String::from_utf8_lossy(one)),
            Opcode::Binary => serde_json::json!({ "binary": STANDARD.encode(one) }),
        };
        // What a reader makes of it is looked at below.
        let mut bytes = vec![0; element.len() + 1];
        let copied = element.copy(0, &mut Place::default(), &mut bytes);
        assert_eq!(copied, element.len());
        bytes.truncate(element.len());
        eager.push(Kind::Element, bytes);
        expected.push(value);
        elements.push((Box::new(element), charge));
    }
    if elements.is_empty() {
        // Nobody is sent an array of nothing.
        eager.items.pop();
        return;
    }
    eager.push(Kind::Other, *b"]");
    let array: Vec<_> = eager.items[from..]
        .iter()
        .map(|(_, bytes)| &bytes[..])
        .collect();
    let array: serde_json::Value = serde_json::from_slice(&array.concat()).expect("JSON");
    assert_eq!(array, serde_json::Value::Array(expected));
    queue.push_array(b"HEAD".to_vec(), elements, "]");
}
