//! A WebSocket client: tungstenite's, after a handshake read byte by byte. Clients that
//! nobody here wrote are in `peers` and `browser`.

use super::{Answer, PATIENCE, read_answer};
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message, WebSocket};

/// RFC 6455 §1.3's example.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An open WebSocket. What is waited for fails the test after the stream's read time-out.
pub struct Ws {
    socket: WebSocket<Steady>,
    /// The 101.
    pub answer: Answer,
}

/// A stream whose reads begin anew when a signal ends them: with a time-out the kernel does
/// not do that, and every child of the tests that ends is a signal.
struct Steady(TcpStream);

impl Read for Steady {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Ws {
    /// Reads the 101 of a connection whose request has been made.
    pub fn accepted(stream: TcpStream) -> Ws {
        let mut stream = Steady(stream);
        let answer = read_answer(&mut stream);
        Ws::open(stream.0, answer)
    }

    /// The same where the answer has been read already.
    pub fn open(stream: TcpStream, answer: Answer) -> Ws {
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.field("sec-websocket-accept"), Some(ACCEPT));
        let stream = Steady(stream);
        Ws {
            socket: WebSocket::from_raw_socket(stream, Role::Client, None),
            answer,
        }
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.socket.get_mut().0
    }

    /// Reads as fast as others again, after [`Daemon::narrow`](super::Daemon::narrow).
    pub fn widen(&mut self) {
        setsockopt(self.stream(), RcvBuf, &(1 << 20)).expect("SO_RCVBUF");
    }

    /// Sends a text message.
    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("send");
    }

    /// Sends a binary message.
    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.socket
            .send(Message::binary(bytes.to_vec()))
            .expect("send");
    }

    /// Writes bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).expect("write");
    }

    /// The next message, pings, pongs and closes among them.
    pub fn any(&mut self) -> Message {
        let message = self.socket.read();
        message.unwrap_or_else(|e| panic!("no message: {e}"))
    }

    /// The next message that is no ping or pong. Those don't make us wait for ever.
    pub fn next(&mut self) -> Message {
        let start = Instant::now();
        loop {
            match self.any() {
                Message::Ping(_) | Message::Pong(_) => {
                    assert!(start.elapsed() < PATIENCE, "no message but pings");
                }
                message => return message,
            }
        }
    }

    /// The next bytes are these. Not behind a message: more of the stream may be read then.
    pub fn hears_raw(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        let read = self.socket.get_mut().read_exact(&mut bytes);
        read.unwrap_or_else(|e| panic!("{e}, not {}", expected.escape_ascii()));
        assert_eq!(
            bytes.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    /// The next text, if it is there and the stream does not block.
    #[allow(dead_code)] // the benchmarks'
    pub fn text_now(&mut self) -> Option<String> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => return None,
                other => panic!("no text: {other:?}"),
            }
        }
    }

    /// The next message is a ping; it is answered.
    pub fn pinged(&mut self) {
        match self.socket.read() {
            Ok(Message::Ping(_)) => self.socket.flush().expect("answer"),
            other => panic!("no ping: {other:?}"),
        }
    }

    /// The next message, a text.
    pub fn text(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next message, a binary one.
    pub fn binary(&mut self) -> Vec<u8> {
        match self.next() {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("not binary: {other:?}"),
        }
    }

    /// Sends a text and returns the text that comes.
    pub fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.text()
    }

    /// The same; None: the connection was closed instead.
    pub fn try_ask(&mut self, text: &str) -> Option<String> {
        self.socket.send(Message::text(text)).ok()?;
        loop {
            match self.socket.read().ok()? {
                Message::Text(text) => return Some(text.to_string()),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => return None,
                other => panic!("no text: {other:?}"),
            }
        }
    }

    /// This connection's WS_ID.
    pub fn id(&mut self) -> String {
        let env = self.ask("env");
        let id = env.lines().find_map(|line| line.strip_prefix("WS_ID="));
        id.expect("WS_ID").to_owned()
    }

    /// The daemon's close frame: code and reason (1005 where it has none). Answers it, and
    /// reads on to the end of the connection.
    pub fn closed(&mut self) -> (u16, String) {
        let close = loop {
            match self.socket.read() {
                Ok(Message::Close(close)) => break close,
                Ok(_) => {}
                Err(e) => panic!("no close frame: {e}"),
            }
        };
        match self.socket.read() {
            Ok(message) => panic!("{message:?} behind the close"),
            Err(Error::ConnectionClosed | Error::Io(_) | Error::Protocol(_)) => {}
            Err(e) => panic!("{e}"),
        }
        close.map_or((1005, String::new()), |c| {
            (c.code.into(), c.reason.to_string())
        })
    }

    /// Closes, and returns the code that the daemon answers with.
    pub fn close(&mut self, code: u16, reason: &str) -> u16 {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.close(Some(frame)).expect("close");
        self.closed().0
    }

    /// Reads to the end of the connection, without looking at frames.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end too.
        let _ = self.stream().read_to_end(&mut bytes);
        bytes
    }
}
