//! The WebSocket protocol of one connection (RFC 6455), without I/O: bytes in, messages
//! out. tungstenite decodes, and answers pings and closes into the queue.

mod meter;

use crate::close::{Close, may_be_sent};
use crate::limits::IDLE_BUFFER;
use crate::memory::{Charge, Memory};
use crate::outbox::Opcode;
use crate::queue::Queue;
use meter::Meter;
use std::io::{self, Read, Write};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Error, Message};

/// One connection's protocol state.
#[derive(Debug)]
pub struct WebSocket {
    context: WebSocketContext,
    max_message: usize,
    /// Bytes read and not decoded yet, from `taken` on.
    input: Vec<u8>,
    taken: usize,
    /// No more bytes will come.
    ended: bool,
    /// Our close frame is queued: nothing may follow it. The context does not know, so that it can
    /// be renewed.
    closed: bool,
    meter: Meter,
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Next {
    /// A whole message; text is UTF-8.
    Message(Opcode, Payload),
    /// A closing handshake by the peer, or its answer to ours. Our answer is queued.
    Closed(Option<Close>),
    /// More bytes are needed.
    Starved,
    /// Memory is needed for the message that goes on behind what has been decoded.
    Unpaid,
    /// The end came without a close frame.
    Vanished,
    /// The peer is to be told this code, and nothing more of it is understood.
    Failed(Close),
}

/// A message's bytes, charged.
#[derive(Debug)]
pub struct Payload {
    /// The bytes.
    pub bytes: Bytes,
    _charge: Option<Charge>,
}

impl Payload {
    /// What came in another way than by frames.
    pub fn new(bytes: Vec<u8>, charge: Charge) -> Payload {
        Payload {
            bytes: bytes.into(),
            _charge: Some(charge),
        }
    }
}

impl WebSocket {
    /// `max_message`: bytes of a message, all its fragments together.
    pub fn new(max_message: usize) -> WebSocket {
        WebSocket {
            context: new_context(max_message),
            max_message,
            input: Vec::new(),
            taken: 0,
            ended: false,
            closed: false,
            meter: Meter::default(),
        }
    }

    /// Adds bytes that were read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.taken);
        self.taken = 0;
        self.input.extend_from_slice(bytes);
    }

    /// No more bytes will come; what has come is still decoded.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Decodes. Pongs and the answer to a close go into `queue`.
    pub fn next(&mut self, queue: &mut Queue, memory: &Memory) -> Next {
        loop {
            let (context, mut port) = self.port(queue, memory);
            let (opcode, bytes) = match context.read(&mut port) {
                Ok(Message::Text(text)) => (Opcode::Text, Bytes::from(text)),
                Ok(Message::Binary(bytes)) => (Opcode::Binary, bytes),
                Ok(Message::Close(frame)) => {
                    // The frame tells of 1002 where tungstenite does not know the peer's code.
                    let close = frame.map(|_| self.meter.close_frame());
                    if close.as_ref().is_some_and(|c| !may_be_sent(c.code)) {
                        let why = "a close code that may not be sent";
                        return Next::Failed(Close::new(1002, why));
                    }
                    if !self.closed {
                        let frame = Frame::close(close.as_ref().map(contents));
                        queue.push_control(encode(frame));
                    }
                    return Next::Closed(close);
                }
                Ok(_) => continue,
                Err(error) => return self.failed(error),
            };
            let charge = self.meter.charge.take();
            if bytes.len() >= IDLE_BUFFER {
                // Its buffer would keep this message's memory. At this point it holds
                // nothing else: it is given no byte past the end of a frame, the message
                // is whole, and a pong before it has been queued.
                self.context = new_context(self.max_message);
            }
            let payload = Payload {
                bytes,
                _charge: charge,
            };
            return Next::Message(opcode, payload);
        }
    }

    fn failed(&mut self, error: Error) -> Next {
        let fail = |code, reason: &str| Next::Failed(Close::new(code, reason));
        match error {
            Error::Io(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if self.meter.unpaid {
                    return Next::Unpaid;
                }
                if self.taken == self.input.len() {
                    (self.input, self.taken) = (Vec::new(), 0);
                }
                Next::Starved
            }
            Error::ConnectionClosed | Error::AlreadyClosed => Next::Closed(None),
            Error::Capacity(_) => fail(1009, "message too big"),
            Error::Utf8(_) => fail(1007, "text is not UTF-8"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => {
                Next::Vanished
            }
            Error::Protocol(e) => fail(1002, &e.to_string()),
            e => fail(1002, &e.to_string()),
        }
    }

    /// Whether memory is charged for a message that has not come in whole.
    pub fn unfinished(&self) -> bool {
        self.meter.charge.is_some()
    }

    /// Queues our close frame; the peer's answer will show as [`Next::Closed`].
    pub fn close(&mut self, close: &Close, queue: &mut Queue) {
        self.closed = true;
        queue.push_control(close_frame(close));
    }

    fn port<'a>(
        &'a mut self,
        queue: &'a mut Queue,
        memory: &'a Memory,
    ) -> (&'a mut WebSocketContext, Port<'a>) {
        let port = Port {
            input: &self.input,
            taken: &mut self.taken,
            ended: self.ended,
            closed: self.closed,
            meter: &mut self.meter,
            max_message: self.max_message,
            memory,
            queue,
        };
        (&mut self.context, port)
    }
}

/// A close frame for a peer that can't be understood any more.
pub fn close_frame(close: &Close) -> Vec<u8> {
    encode(Frame::close(Some(contents(close))))
}

fn encode(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.len());
    // Only a masked frame or a failing writer could fail; this is neither.
    let _ = frame.format(&mut bytes);
    bytes
}

fn contents(close: &Close) -> CloseFrame {
    CloseFrame {
        code: close.code.into(),
        reason: close.reason.as_str().into(),
    }
}

/// A whole text message, for one connection alone.
pub fn text_frame(text: String) -> Vec<u8> {
    encode(Frame::message(text, OpCode::Data(Data::Text), true))
}

/// A ping without payload.
pub fn ping_frame() -> Vec<u8> {
    encode(Frame::ping(Bytes::new()))
}

fn new_context(max_message: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        // Allocated at once, for every connection.
        .read_buffer_size(IDLE_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        // A frame's length is believed, and allocated, as soon as its header is there.
        // Control frames must pass (RFC 6455 §5.5).
        .max_frame_size(Some(max_message.max(125)));
    WebSocketContext::new(Role::Server, Some(config))
}

/// The stream tungstenite sees: our input, and the queue.
struct Port<'a> {
    input: &'a [u8],
    taken: &'a mut usize,
    ended: bool,
    closed: bool,
    meter: &'a mut Meter,
    max_message: usize,
    memory: &'a Memory,
    queue: &'a mut Queue,
}

impl Read for Port<'_> {
    /// Gives bytes up to the end of a frame, no further; a frame's header only when the
    /// memory it asks for has been charged.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let input = &self.input[*self.taken..];
        if input.is_empty() {
            return match self.ended {
                true => Ok(0),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let offered = &input[..input.len().min(buf.len())];
        let count = self.meter.admit(offered, self.max_message, self.memory);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buf[..count].copy_from_slice(&offered[..count]);
        *self.taken += count;
        Ok(count)
    }
}

impl Write for Port<'_> {
    /// tungstenite writes one whole control frame at a time, and only pongs: its answer to a close
    /// would come with the next read, and there is none.
    fn write(&mut self, pong: &[u8]) -> io::Result<usize> {
        if !self.closed {
            self.queue.push_pong(pong.to_vec());
        }
        Ok(pong.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Bounds;

    fn memory(all: usize) -> Memory {
        Memory::new(Bounds {
            all,
            set_aside: 0,
            for_outbound: 0,
            for_slots: 0,
        })
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            n @ 0..=125 => frame.push(0x80 | n as u8),
            n @ 126..=65535 => {
                frame.push(0xfe);
                frame.extend((n as u16).to_be_bytes());
            }
            n => {
                frame.push(0xff);
                frame.extend((n as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
        frame
    }

    /// Feeds a stream in pieces and lists what comes out.
    fn run(stream: &[u8], piece: usize, bound: usize) -> (Vec<String>, Vec<u8>) {
        let memory = memory(bound);
        let mut socket = WebSocket::new(70_000);
        let mut queue = Queue::new(1000);
        let mut seen = Vec::new();
        'all: for bytes in stream.chunks(piece) {
            socket.feed(bytes);
            loop {
                match socket.next(&mut queue, &memory) {
                    Next::Starved => break,
                    Next::Message(opcode, p) => seen.push(format!("{opcode:?} {}", p.bytes.len())),
                    other => {
                        seen.push(match other {
                            Next::Unpaid => "unpaid".to_owned(),
                            Next::Closed(close) => format!("closed {:?}", close.map(|c| c.code)),
                            Next::Failed(close) => format!("failed {}", close.code),
                            other => format!("{other:?}"),
                        });
                        break 'all;
                    }
                }
            }
        }
        drop(socket);
        assert_eq!(memory.used(), 0);
        let mut out = Vec::new();
        while !queue.is_empty() {
            let bytes = queue.next(&mut []).to_vec();
            queue.wrote(bytes.len());
            out.extend(bytes);
        }
        (seen, out)
    }

    #[test]
    fn the_same_from_any_pieces() {
        let mut stream = Vec::new();
        for len in [0, 1, 125, 126, 511, 512, 513, 4096, 65535, 65536] {
            stream.extend(masked(0x82, &vec![7; len]));
        }
        stream.extend(masked(0x01, "grü".as_bytes().split_last().unwrap().1));
        stream.extend(masked(0x89, b"ping"));
        stream.extend(masked(0x80, &"ü".as_bytes()[1..]));
        stream.extend(masked(0x88, &[0x0f, 0xa0, b'b']));
        let (whole, out) = run(&stream, stream.len(), 1 << 20);
        assert_eq!(out, [&b"\x8a\x04ping"[..], b"\x88\x03\x0f\xa0b"].concat());
        assert_eq!(whole.len(), 12);
        assert_eq!(whole[10..], ["Text 4", "closed Some(4000)"]);
        for piece in [1, 2, 3, 13, 512, 4096] {
            assert_eq!(run(&stream, piece, 1 << 20).0, whole, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        for (frame, expected) in [
            (b"\x81\x01x".to_vec(), "failed 1002"),     // unmasked
            (masked(0xc1, b"x"), "failed 1002"),        // RSV1
            (masked(0x83, b"x"), "failed 1002"),        // reserved opcode
            (masked(0x80, b"x"), "failed 1002"),        // continuation of nothing
            (masked(0x09, b"x"), "failed 1002"),        // fragmented ping
            (masked(0x89, &[0; 126]), "failed 1002"),   // long ping
            (masked(0x88, b"x"), "failed 1002"),        // close of one byte
            (masked(0x88, b"\x03\xed"), "failed 1002"), // 1005
            (masked(0x81, b"\xff"), "failed 1007"),
            (masked(0x88, b"\x03\xe8\xff"), "failed 1007"),
            (masked(0x82, &[0; 70_001]), "failed 1009"),
            (masked(0x88, b""), "closed None"),
        ] {
            assert_eq!(
                run(&frame, 9999, 1 << 20).0,
                [expected],
                "{:x?}",
                &frame[..4]
            );
        }
    }

    #[test]
    fn memory_is_asked_for_before_a_frame_is_believed() {
        let claim = &masked(0x82, &[0; 60_000])[..8];
        assert_eq!(run(claim, 1, 59_999).0, ["unpaid"]);
        assert_eq!(run(claim, 1, 60_000).0, [""; 0]);
        let first = masked(0x02, &[0; 30_000]);
        assert_eq!(run(&first, 4096, 89_999).0, ["unpaid"]);
        // What came before it is run.
        let two = [masked(0x81, b"hi"), claim.to_vec()].concat();
        assert_eq!(run(&two, 999, 50).0, ["Text 2", "unpaid"]);
    }

    #[test]
    fn a_frame_goes_on_once_there_is_memory() {
        let memory = memory(90_000);
        let mut queue = Queue::new(1000);
        let fragments = [masked(0x02, &[1; 20_000]), masked(0x80, &[2; 1000])].concat();
        for piece in [1, 5, 4096, fragments.len()] {
            let mut socket = WebSocket::new(70_000);
            let mut others = memory.inbound(89_999);
            for bytes in fragments.chunks(piece) {
                socket.feed(bytes);
                let mut next = socket.next(&mut queue, &memory);
                if matches!(next, Next::Unpaid) {
                    assert!(matches!(socket.next(&mut queue, &memory), Next::Unpaid));
                    assert!(!socket.unfinished());
                    others = None;
                    next = socket.next(&mut queue, &memory);
                }
                match next {
                    Next::Starved => assert_eq!(socket.unfinished(), others.is_none()),
                    Next::Message(Opcode::Binary, p) => assert_eq!(p.bytes.len(), 21_000),
                    other => panic!("{other:?}"),
                }
            }
            assert!(others.is_none() && !socket.unfinished());
        }
        assert_eq!(memory.used(), 0);
    }
}
