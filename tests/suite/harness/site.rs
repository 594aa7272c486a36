//! A web server, as clients see it.

use super::{Answer, KEY, PATIENCE, Ws, read_answer};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};

/// What listens on a loopback port.
pub struct Site {
    pub port: u16,
}

impl Site {
    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream
    }

    /// The start of its URLs, and the origin of its pages.
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks for a page, and reads it.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[("Connection", "close")], "")
    }

    /// A request and its answer.
    pub fn request(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.connect();
        let host = format!("127.0.0.1:{}", self.port);
        let fields = [&[("Host", host.as_str())], fields].concat();
        send_head(&mut stream, method, path, &fields);
        stream.write_all(body.as_bytes()).expect("write the body");
        read_answer(&mut stream)
    }

    /// A WebSocket.
    pub fn ws(&self, path: &str) -> Ws {
        Ws::accepted(self.upgrade(path, &[]))
    }

    /// An upgrade request, sent. `changes` replace fields of those names, or add them; an
    /// empty value takes a field away.
    pub fn upgrade(&self, path: &str, changes: &[(&str, &str)]) -> TcpStream {
        let mut stream = self.connect();
        self.ask_upgrade(&mut stream, path, changes);
        stream
    }

    /// The same on a connection that is there.
    pub fn ask_upgrade(&self, stream: &mut TcpStream, path: &str, changes: &[(&str, &str)]) {
        let (host, origin) = (format!("127.0.0.1:{}", self.port), self.origin());
        let usual = [
            ("Host", host.as_str()),
            ("Origin", &origin),
            ("Upgrade", "websocket"),
            ("Connection", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        let changed = |(name, _): &&(&str, &str)| changes.iter().any(|(n, _)| n == name);
        let usual = usual.iter().filter(|field| !changed(field));
        let fields = usual.chain(changes).filter(|(_, value)| !value.is_empty());
        let fields: Vec<_> = fields.copied().collect();
        send_head(stream, "GET", path, &fields);
    }
}

/// Sends a request head in one write, as clients do.
pub fn send_head(stream: &mut TcpStream, method: &str, path: &str, fields: &[(&str, &str)]) {
    let fields = fields.iter().map(|(n, v)| format!("{n}: {v}\r\n"));
    let fields: String = fields.collect();
    let head = format!("{method} {path} HTTP/1.1\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).expect("send the head");
}

/// A port that nobody listens on, from below those that the kernel gives out by itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 97;
        let port = 15000 + (n % 15000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
