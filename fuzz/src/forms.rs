//! A message in each form that browsers get it in, written in pieces, and read again as they do.

use super::input::{pieces, stretch};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ws2cgi::frame::{Form, Message};
use ws2cgi::limits::QUEUE_SLOT;
use ws2cgi::memory::{Bounds, Memory};
use ws2cgi::outbox::Opcode;
use ws2cgi::queue::Queue;
use ws2cgi::target::{Boot, Id};

/// Whatever the payload holds, a browser reads this one message and its mark, however the
/// bytes are cut as they are written.
pub fn run(bytes: &[u8]) {
    let Some((&how, rest)) = bytes.split_first() else {
        return;
    };
    // However little a write takes, the scratch is filled: a few hundred bytes are enough.
    let mut payload = stretch(rest);
    payload.truncate(700);
    let text = core::str::from_utf8(&payload).is_ok() && how & 0x80 == 0;
    let opcode = if text { Opcode::Text } else { Opcode::Binary };
    let mark = (how & 0x40 != 0).then_some(Id {
        boot: Boot(7),
        number: 12,
    });
    let memory = Memory::new(Bounds {
        all: 1 << 20,
        set_aside: 0,
        for_outbound: 0,
        for_slots: 0,
    });
    let charge = memory.outbound(payload.len()).expect("memory");
    let mut message = Message::new(opcode, payload.clone(), charge);
    message.mark = mark;
    let id = mark.map_or(String::new(), |mark| mark.to_string());
    for form in [Form::WebSocket, Form::Marked, Form::Event, Form::Body] {
        let written = write(&message, form, &memory, how);
        match form {
            Form::WebSocket => assert_eq!(read_frame(&written), (opcode, payload.clone())),
            Form::Marked => {
                let marked = [id.as_bytes(), b"\n", &payload].concat();
                assert_eq!(read_frame(&written), (opcode, marked));
            }
            Form::Event => assert_eq!(read_event(&written), (id.clone(), opcode, payload.clone())),
            Form::Body => assert_eq!(written, payload),
        }
    }
    drop(message);
    assert_eq!(memory.used(), 0);
}

/// What leaves a queue that holds the message and a control frame behind it.
fn write(message: &Message, form: Form, memory: &Memory, how: u8) -> Vec<u8> {
    let frame = message.frame(form, memory).expect("memory");
    let len = frame.len();
    let mut queue = Queue::new(1);
    queue.push(frame, memory.slots(QUEUE_SLOT).expect("memory"));
    assert!(queue.is_full() && queue.size() == len + QUEUE_SLOT);
    queue.push_control(b"END".to_vec());
    let whole = vec![0; len + 3];
    let mut sizes = pieces(&whole, how).into_iter().map(<[u8]>::len);
    let mut scratch = [0; 256];
    let mut written = Vec::new();
    while !queue.is_empty() {
        let next = queue.next(&mut scratch);
        let taken = sizes.next().unwrap_or(1).min(next.len());
        assert!(taken > 0);
        written.extend_from_slice(&next[..taken]);
        queue.wrote(taken);
    }
    assert_eq!(queue.size(), 0);
    let message = written.strip_suffix(b"END").expect("what was behind it");
    assert_eq!(message.len(), len);
    message.to_vec()
}

/// RFC 6455 §5.2, one whole unmasked message and nothing behind it.
fn read_frame(bytes: &[u8]) -> (Opcode, Vec<u8>) {
    let (&[first, second], rest) = bytes.split_first_chunk().expect("a header");
    let (len, payload) = match second {
        ..=125 => (usize::from(second), rest),
        126 => {
            let (len, rest) = rest.split_first_chunk().expect("a length");
            let len = usize::from(u16::from_be_bytes(*len));
            assert!(len > 125);
            (len, rest)
        }
        _ => panic!("a mask, or more than there can be"),
    };
    assert_eq!(payload.len(), len);
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        _ => panic!("{first:x}"),
    };
    (opcode, payload.to_vec())
}

/// HTML, "Server-sent events", §9.2.6: one event, its id and data.
fn read_event(bytes: &[u8]) -> (String, Opcode, Vec<u8>) {
    let stream = core::str::from_utf8(bytes).expect("UTF-8");
    let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
    let (mut event, mut id, mut data) = ("", String::new(), None::<String>);
    let (body, behind) = stream.split_once("\n\n").expect("a blank line");
    assert_eq!(behind, "");
    for line in body.split('\n') {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event = value,
            "id" => id = value.to_owned(),
            "data" => {
                data = Some(data.map_or(value.to_owned(), |data| format!("{data}\n{value}")));
            }
            _ => panic!("{field}"),
        }
    }
    let data = data.expect("data");
    let decoded = || STANDARD.decode(&data).expect("base64");
    match event {
        "" => (id, Opcode::Text, data.into_bytes()),
        "text64" => (id, Opcode::Text, decoded()),
        "binary" => (id, Opcode::Binary, decoded()),
        _ => panic!("{event}"),
    }
}
