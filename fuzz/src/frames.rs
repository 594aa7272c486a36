//! Frames of a client, in any pieces and with memory that comes and goes, against a second
//! decoder of RFC 6455 that has all bytes at once.

use super::input::{pieces, stretch};
use super::rules;
use ws2cgi::close::Close;
use ws2cgi::memory::{Bounds, Charge, Memory};
use ws2cgi::outbox::Opcode;
use ws2cgi::queue::Queue;
use ws2cgi::websocket::{Next, WebSocket};

/// What comes out.
#[derive(Debug, PartialEq)]
enum Told {
    Message(Opcode, Vec<u8>),
    Closed(Option<(u16, String)>),
    Failed(u16),
    Vanished,
}

/// What an input's first byte chooses.
#[derive(Clone, Copy)]
struct Way {
    /// `--max-message`.
    max: usize,
    /// We have closed before.
    closing: bool,
    /// Others hold all memory until it is asked for.
    crowded: bool,
}

/// The same comes out in whichever pieces the bytes come, and it is what RFC 6455 says. A
/// message takes no more memory than is reckoned for it, and gives all of it back.
pub fn run(bytes: &[u8]) {
    let Some((&how, rest)) = bytes.split_first() else {
        return;
    };
    let way = Way {
        max: [1, 125, 600, 20_000][usize::from(how >> 6)],
        closing: how & 0x20 != 0,
        crowded: how & 0x10 != 0,
    };
    let stream = stretch(rest);
    let expected = Reference::new(way).read(&stream);
    assert_eq!(decode(&[&stream], way), expected);
    assert_eq!(decode(&pieces(&stream, how), way), expected);
}

/// All that comes out of these bytes and the end behind them, and what is sent back.
fn decode(pieces: &[&[u8]], way: Way) -> (Vec<Told>, Vec<u8>) {
    // A fragment, its copy and what the copy may grow to; and a control frame that is too long.
    let most = 4 * way.max.max(125);
    let memory = Memory::new(Bounds {
        all: most,
        set_aside: 0,
        for_outbound: 0,
        for_slots: 0,
    });
    let mut others = way
        .crowded
        .then(|| memory.inbound(most).expect("all of it"));
    let (mut socket, mut queue) = (WebSocket::new(way.max), Queue::new(1000));
    if way.closing {
        socket.close(&Close::new(4000, "ours"), &mut queue);
    }
    let mut told = Vec::new();
    let mut over = false;
    for piece in pieces {
        socket.feed(piece);
        over = step(&mut socket, &mut queue, &memory, &mut others, &mut told);
        if over {
            break;
        }
        if way.crowded && others.is_none() && !socket.unfinished() {
            others = memory.inbound(most);
            assert!(
                others.is_some(),
                "memory that nobody has: {}",
                memory.used()
            );
        }
    }
    if !over {
        socket.end();
        assert!(step(
            &mut socket,
            &mut queue,
            &memory,
            &mut others,
            &mut told
        ));
    }
    drop((socket, others));
    assert_eq!(memory.used(), 0);
    let mut sent = Vec::new();
    while !queue.is_empty() {
        let bytes = queue.next(&mut []).to_vec();
        queue.wrote(bytes.len());
        sent.extend(bytes);
    }
    (told, sent)
}

/// Goes on until more bytes are needed, or (true) nothing more can come.
fn step(
    socket: &mut WebSocket,
    queue: &mut Queue,
    memory: &Memory,
    others: &mut Option<Charge>,
    told: &mut Vec<Told>,
) -> bool {
    loop {
        told.push(match socket.next(queue, memory) {
            Next::Message(opcode, payload) => Told::Message(opcode, payload.bytes.to_vec()),
            Next::Starved => return false,
            Next::Unpaid => {
                assert!(
                    others.take().is_some(),
                    "of memory {} is used",
                    memory.used()
                );
                continue;
            }
            Next::Closed(close) => {
                close.iter().for_each(rules::check_close);
                told.push(Told::Closed(close.map(|c| (c.code, c.reason))));
                return true;
            }
            Next::Failed(close) => {
                rules::check_close(&close);
                told.push(Told::Failed(close.code));
                return true;
            }
            Next::Vanished => {
                told.push(Told::Vanished);
                return true;
            }
        });
    }
}

/// RFC 6455 §5, for a server.
struct Reference {
    way: Way,
    told: Vec<Told>,
    /// The newest pong that has not been sent.
    sent: Vec<Vec<u8>>,
    fragments: Option<(Opcode, Vec<u8>)>,
}

struct Frame<'a> {
    first: u8,
    masked: bool,
    payload: Option<Vec<u8>>,
    len: u64,
    rest: &'a [u8],
}

impl Reference {
    fn new(way: Way) -> Reference {
        let ours = frame(0x88, &[&4000_u16.to_be_bytes()[..], b"ours"].concat());
        Reference {
            way,
            told: Vec::new(),
            sent: way.closing.then_some(ours).into_iter().collect(),
            fragments: None,
        }
    }

    fn read(mut self, mut stream: &[u8]) -> (Vec<Told>, Vec<u8>) {
        let last = loop {
            let Some(frame) = split(stream) else {
                break Told::Vanished;
            };
            stream = frame.rest;
            match self.take(frame) {
                Ok(()) => {}
                Err(end) => break end,
            }
        };
        self.told.push(last);
        (self.told, self.sent.concat())
    }

    fn take(&mut self, frame: Frame) -> Result<(), Told> {
        let (fin, opcode) = (frame.first & 0x80 != 0, frame.first & 0x0f);
        let broken = Err(Told::Failed(1002));
        if matches!(opcode, 3..=7 | 11..) {
            return broken;
        }
        if frame.len > self.way.max.max(125) as u64 {
            return Err(Told::Failed(1009));
        }
        let Some(payload) = frame.payload else {
            return Err(Told::Vanished);
        };
        if !frame.masked || frame.first & 0x70 != 0 {
            return broken;
        }
        match opcode {
            8.. if !fin || payload.len() > 125 => broken,
            8 => Err(self.close(&payload)),
            9 => {
                if !self.way.closing {
                    self.sent = vec![self::frame(0x8a, &payload)];
                }
                Ok(())
            }
            10 => Ok(()),
            _ => self.data(fin, opcode, payload),
        }
    }

    fn close(&mut self, payload: &[u8]) -> Told {
        let close = match payload {
            [] => None,
            [_] => return Told::Failed(1002),
            [high, low, reason @ ..] => match core::str::from_utf8(reason) {
                Ok(reason) => Some((u16::from_be_bytes([*high, *low]), reason.to_owned())),
                Err(_) => return Told::Failed(1007),
            },
        };
        if close
            .as_ref()
            .is_some_and(|(code, _)| !rules::close_code(*code))
        {
            return Told::Failed(1002);
        }
        if !self.way.closing {
            self.sent.push(frame(0x88, payload));
        }
        Told::Closed(close)
    }

    fn data(&mut self, fin: bool, opcode: u8, payload: Vec<u8>) -> Result<(), Told> {
        let (opcode, message) = match (opcode, self.fragments.take()) {
            (0, Some((opcode, start))) => (opcode, [start, payload].concat()),
            (1, None) => (Opcode::Text, payload),
            (2, None) => (Opcode::Binary, payload),
            _ => return Err(Told::Failed(1002)),
        };
        if message.len() > self.way.max {
            return Err(Told::Failed(1009));
        }
        // A character may be cut off only where more may come.
        let text = core::str::from_utf8(&message);
        let wrong = text.is_err_and(|e| fin || e.error_len().is_some());
        if opcode == Opcode::Text && wrong {
            return Err(Told::Failed(1007));
        }
        match fin {
            true => self.told.push(Told::Message(opcode, message)),
            false => self.fragments = Some((opcode, message)),
        }
        Ok(())
    }
}

/// The frame that a stream begins with. None: its header is not whole.
fn split(stream: &[u8]) -> Option<Frame<'_>> {
    let (&[first, second], rest) = stream.split_first_chunk()?;
    let (len, rest) = match second & 0x7f {
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*len).into(), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*len), rest)
        }
        len => (len.into(), rest),
    };
    let masked = second & 0x80 != 0;
    let (mask, rest) = match masked {
        true => rest.split_first_chunk()?,
        false => (&[0; 4], rest),
    };
    let whole = usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len));
    let unmask = |payload: &[u8]| {
        let bytes = payload.iter().zip(mask.iter().cycle());
        bytes.map(|(byte, mask)| byte ^ mask).collect()
    };
    Some(Frame {
        first,
        masked,
        payload: whole.map(|(payload, _)| unmask(payload)),
        len,
        rest: whole.map_or(&[], |(_, rest)| rest),
    })
}

/// A server's control frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}
