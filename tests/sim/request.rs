//! What a browser asks for, good or bad, as bytes: a request head, or the hand-off record that a
//! web server's nph-ws makes of one.

use crate::browser::Browser;
use crate::os::Time;
use crate::plan::{head, way};

/// The way of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asks {
    #[default]
    WebSocket,
    Events,
    Poll,
    Post,
}

/// What a request says beside its route.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub asks: Asks,
    /// The subprotocol `ws2cgi1`, or a stream by its Accept field.
    pub offers: bool,
    /// What its query says: `via`, where it does.
    pub via: &'static str,
    /// The connection that it names, and a key.
    pub of: Option<(String, String)>,
    /// That is not the one of that connection.
    pub wrong_key: bool,
    /// The connection is named by the cookie.
    pub cookie: bool,
    /// A poll of a page that knows nothing of us.
    pub unnamed: bool,
    pub wait: Option<Time>,
    pub batch: bool,
    pub close: bool,
    pub since: Option<String>,
    /// A stream says it in its Last-Event-ID.
    pub last_event: bool,
    /// A POST's number, its body, and the length that it says.
    pub number: Option<u64>,
    pub binary: bool,
    pub body: Vec<u8>,
    pub length: usize,
    /// Nothing comes behind what it sends.
    pub ends: bool,
    /// The act of its program.
    pub act: u32,
}

impl Ask {
    pub fn query(&self) -> String {
        let mut words = Vec::new();
        let mut put = |name: &str, value: &str| words.push(format!("{name}={value}"));
        if !self.via.is_empty() {
            put("via", self.via);
        }
        if let Some((id, key)) = self.of.as_ref().filter(|_| !self.cookie) {
            put("id", id);
            put("key", key);
        }
        if let Some(wait) = self.wait {
            put("wait", &wait.to_string());
        }
        if self.batch {
            put("batch", "1");
        }
        if self.close {
            put("close", "1");
        }
        if let Some(since) = self.since.as_ref().filter(|_| !self.last_event) {
            put("since", since);
        }
        if let Some(number) = self.number {
            put("n", &number.to_string());
        }
        words.join("&")
    }
}

impl Browser {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let ask = &self.ask;
        let mut cookie = format!("browser={}", self.index);
        if let Some((id, key)) = ask.of.as_ref().filter(|_| ask.cookie) {
            cookie = format!("{cookie}; ws2cgi={id}.{key}");
        }
        let mut fields = vec![("Host", "board".to_owned()), ("Cookie", cookie)];
        if ask.asks == Asks::WebSocket {
            fields.push(("Upgrade", "websocket".to_owned()));
            fields.push(("Sec-WebSocket-Version", "13".to_owned()));
            fields.push(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()));
            let offered = match (self.offer, ask.offers) {
                (true, true) => "one, ws2cgi1, two",
                (true, false) => "one, two",
                (false, true) => "ws2cgi1",
                (false, false) => "",
            };
            if !offered.is_empty() {
                fields.push(("Sec-WebSocket-Protocol", offered.to_owned()));
            }
        }
        if ask.asks == Asks::Events && ask.offers {
            fields.push(("Accept", "text/event-stream".to_owned()));
        }
        if let Some(mark) = ask.since.as_ref().filter(|_| ask.last_event) {
            fields.push(("Last-Event-ID", mark.clone()));
        }
        if ask.asks == Asks::Post {
            fields.push(("Content-Length", ask.length.to_string()));
            let media = match ask.binary {
                true => "application/octet-stream",
                false => "text/plain",
            };
            fields.push(("Content-Type", media.to_owned()));
        }
        let mut set = |name: &str, value: &str| {
            for field in fields.iter_mut().filter(|(n, _)| *n == name) {
                field.1 = value.to_owned();
            }
        };
        match self.head {
            head::VERSION => set("Sec-WebSocket-Version", "8"),
            head::KEY => set("Sec-WebSocket-Key", "x"),
            head::UPGRADE => set("Upgrade", "h2c"),
            head::ORIGIN => fields.push(("Origin", "http://evil.example".to_owned())),
            head::NO_HOST => {
                fields.remove(0);
                fields.push(("Origin", "http://board".to_owned()));
            }
            _ => {}
        }
        fields
    }

    fn method(&self) -> &'static str {
        match (self.ask.asks, self.head) {
            (Asks::WebSocket, head::METHOD) => "POST",
            (_, head::METHOD) => "PUT",
            (Asks::Post, _) => "POST",
            _ => "GET",
        }
    }

    fn query(&self) -> String {
        let query = self.ask.query();
        match (self.ask.asks, self.head) {
            (Asks::Events | Asks::Poll, head::VERSION) => "via=ws".to_owned(),
            (Asks::Events | Asks::Poll | Asks::Post, head::KEY) => "id=x&key=y".to_owned(),
            _ => query,
        }
    }

    pub fn request_head(&self) -> Vec<u8> {
        if self.head == head::GARBAGE {
            return b"\x16\x03\x01\x02\x00garbage\r\n\r\n".to_vec();
        }
        let mark = if self.query().is_empty() { "" } else { "?" };
        let connection = match self.ask.asks {
            Asks::WebSocket => "keep-alive, Upgrade",
            _ => "keep-alive",
        };
        let mut text = format!(
            "{} {}{mark}{} HTTP/1.1\r\nConnection: {connection}\r\n",
            self.method(),
            self.route(),
            self.query(),
        );
        for (name, value) in self.fields() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.head != head::CUT {
            text.push_str("\r\n");
        }
        text.into_bytes()
    }

    /// The program that hands it over, and what of the route is behind its name.
    fn program(&self) -> (String, &'static str) {
        let route = self.route();
        let post = self.ask.asks == Asks::Post;
        let rest = route.strip_prefix("/a").or(route.strip_prefix("/b"));
        let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let named = self.named && self.ask.asks != Asks::WebSocket;
        match (rest, named, post) {
            // By a program in the old one's place.
            (Some(rest), true, _) => (route[1..2].to_owned(), rest),
            (_, _, true) => ("ws-post".to_owned(), route),
            _ => ("nph-ws".to_owned(), route),
        }
    }

    /// A web server makes the head of its answer: what is no socket of the browser's.
    pub fn by_cgi(&self) -> bool {
        let served = matches!(self.way, way::HANDOFF_UNIX | way::HANDOFF_PIPES);
        served && self.ask.asks != Asks::WebSocket && !self.program().0.starts_with("nph-")
    }

    pub fn record(&self) -> Vec<u8> {
        if self.head == head::GARBAGE {
            return b"GET / HTTP/1.1\r\n\r\n".to_vec();
        }
        let (program, path_info) = self.program();
        let mut text = format!("ws2cgi/1 {program}\0");
        let mut put = |name: &str, value: &str| text.push_str(&format!("{name}={value}\0"));
        put("REQUEST_METHOD", self.method());
        put("SERVER_SOFTWARE", "Boa/0.94.14rc21");
        put("SCRIPT_NAME", &format!("/cgi-bin/{program}"));
        put("PATH_INFO", path_info);
        put("QUERY_STRING", &self.query());
        put("REMOTE_ADDR", "10.0.0.1");
        for (name, value) in self.fields() {
            let name = name.to_ascii_uppercase().replace('-', "_");
            match name.starts_with("CONTENT_") {
                true => put(&name, &value),
                false => put(&format!("HTTP_{name}"), &value),
            }
        }
        if self.head == head::CUT {
            text.pop();
        }
        text.into_bytes()
    }
}
