//! The ways in which messages come with marks, so that who was cut off can come again: event
//! streams, polls, and WebSockets that speak `ws2cgi1`.

use crate::door::{Door, whole};
use crate::harness::{Answer, Body, Events, PATIENCE, Poller, Ws, read_head};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tungstenite::Message;

/// `--poll-wait`: a chain of polls ends after two of them without one.
pub const POLL_WAIT: Duration = Duration::from_secs(15);

/// A way.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Events,
    Poll,
    /// Polls that take all that waits.
    Batch,
    Marked,
}

/// One that is open.
pub enum Ear {
    Events(Events, Since),
    Polls(Polls),
    Marked(Box<Marked>),
    /// It was, and is cut off behind this mark.
    Cut(String),
}

/// A chain of polls.
pub struct Polls {
    page: Poller,
    /// The one that waits.
    asked: Option<TcpStream>,
    /// When the last one was asked.
    since: Instant,
    heard: VecDeque<Heard>,
    /// Its connection broke, and no poll has been answered since.
    pub broken: bool,
}

/// A WebSocket.
pub struct Marked {
    pub ws: Ws,
    mark: String,
    /// How many of its messages the daemon has said are done.
    pub done: usize,
}

/// Since when something is waited for.
type Since = Rc<Cell<Instant>>;

/// A stream that is waited for, whose comments are no answer.
struct Patient<R>(R, Since);

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buf)?;
        match self.1.get().elapsed() < PATIENCE {
            true => Ok(count),
            false => Err(Error::from(ErrorKind::TimedOut)),
        }
    }
}

/// What comes.
#[derive(Debug)]
pub enum Heard {
    Message(Message),
    Gap,
    /// Nothing yet: ask again.
    Nothing,
    /// The daemon has closed it with this code.
    Closed(u16),
}

impl Ear {
    /// Comes by a way to a program of this URL, which has a query, behind a mark or, with an
    /// empty one, from now on.
    pub fn open(door: &Door, way: Way, url: &str, mark: &str) -> Ear {
        let since = match mark {
            "" => String::new(),
            mark => format!("&since={mark}"),
        };
        match way {
            Way::Events => {
                let mut stream = door.get(&format!("{url}&via=sse{since}"));
                let answer = read_head(&mut stream).expect("a head");
                let since = Rc::new(Cell::new(Instant::now()));
                let body = Patient(Body::of(&answer, stream), since.clone());
                Ear::Events(Events::after(answer, body), since)
            }
            Way::Poll | Way::Batch => {
                let batch = u8::from(way == Way::Batch);
                let page = Poller::new(&format!("{url}&via=poll&batch={batch}"));
                let mut polls = Polls {
                    page,
                    asked: None,
                    since: Instant::now(),
                    heard: VecDeque::new(),
                    broken: false,
                };
                mark.clone_into(&mut polls.page.since);
                // What its first answer says is all that it knows of itself.
                polls.take(whole(door.get(&(polls.page.next_url() + "&wait=0"))));
                Ear::Polls(polls)
            }
            Way::Marked => {
                let mut ws = Ws::accepted(door.knock_marked(&format!("{url}{since}")));
                let said = ws.text();
                let mark = said.strip_prefix("at ").unwrap_or_else(|| panic!("{said}"));
                Ear::Marked(Box::new(Marked {
                    mark: mark.to_owned(),
                    ws,
                    done: 0,
                }))
            }
        }
    }

    /// Where it is.
    pub fn mark(&self) -> &str {
        match self {
            Ear::Events(events, _) => &events.last,
            Ear::Polls(polls) => &polls.page.since,
            Ear::Marked(marked) => &marked.mark,
            Ear::Cut(mark) => mark,
        }
    }

    /// Breaks its connection.
    pub fn cut(&mut self) {
        *self = Ear::Cut(self.mark().to_owned());
    }

    /// Its connection's id, as far as that is told.
    pub fn id(&self) -> Option<&str> {
        match self {
            Ear::Events(events, _) => Some(&events.id),
            Ear::Polls(polls) => Some(&polls.page.id),
            Ear::Marked(_) | Ear::Cut(_) => None,
        }
    }

    /// `id=…&key=…`, for POSTs.
    pub fn query(&self) -> Option<String> {
        match self {
            Ear::Events(events, _) => Some(events.query()),
            Ear::Polls(polls) => Some(polls.query()),
            Ear::Marked(_) | Ear::Cut(_) => None,
        }
    }

    /// What comes next.
    pub fn next(&mut self, door: &Door) -> Heard {
        match self {
            Ear::Events(events, since) => {
                since.set(Instant::now());
                event(events)
            }
            Ear::Polls(polls) => polls.next(door),
            Ear::Marked(marked) => marked.next(),
            Ear::Cut(mark) => panic!("cut off behind {mark}"),
        }
    }
}

fn event(events: &mut Events) -> Heard {
    let event = events.next().expect("an event");
    let decode = || STANDARD.decode(&event.data).expect("base64");
    match event.name.as_str() {
        "" => Heard::Message(Message::text(event.data)),
        "binary" => Heard::Message(Message::binary(decode())),
        "text64" => Heard::Message(text(decode())),
        "gap" => Heard::Gap,
        "close" => Heard::Closed(code(&event.data)),
        name => panic!("an event {name}"),
    }
}

fn text(bytes: Vec<u8>) -> Message {
    Message::text(String::from_utf8(bytes).expect("UTF-8"))
}

/// That of `4001 enough`.
fn code(said: &str) -> u16 {
    let code = said.split(' ').next().and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no close code: {said}"))
}

impl Polls {
    fn query(&self) -> String {
        format!("id={}&key={}", self.page.id, self.page.key)
    }

    /// Sees to it that a poll waits, as a page does whatever else it is at.
    pub fn ask(&mut self, door: &Door) {
        if self.asked.as_ref().is_some_and(answered)
            && let Some(asked) = self.asked.take()
        {
            self.take(whole(asked));
        }
        if self.asked.is_none() {
            self.since = Instant::now();
            self.asked = Some(door.get(&self.page.next_url()));
        }
    }

    fn next(&mut self, door: &Door) -> Heard {
        if self.heard.is_empty() {
            self.ask(door);
        }
        if self.heard.is_empty()
            && let Some(asked) = self.asked.take()
        {
            self.take(whole(asked));
        }
        self.heard.pop_front().unwrap_or(Heard::Nothing)
    }

    fn take(&mut self, (answer, body): (Answer, Vec<u8>)) {
        self.broken = false;
        self.page.note(&answer);
        if answer.field("ws-gap").is_some() {
            self.heard.push_back(Heard::Gap);
        }
        match (answer.status, answer.field("content-type")) {
            (200, Some("application/json")) => {
                let all: Vec<Value> = serde_json::from_slice(&body).expect("an array");
                self.heard.extend(all.iter().map(element));
            }
            (200, Some("application/octet-stream")) => {
                self.heard.push_back(Heard::Message(Message::binary(body)));
            }
            (200, _) => self.heard.push_back(Heard::Message(text(body))),
            (204, _) => {}
            (410, _) => {
                let close = answer.field("ws-close");
                let close = close.unwrap_or_else(|| panic!("no such chain: {answer:?}"));
                self.heard.push_back(Heard::Closed(code(close)));
            }
            _ => panic!("{answer:?}"),
        }
    }

    /// Its connection breaks. What is missing of an answer comes again.
    pub fn lose(&mut self) {
        self.asked = None;
        self.broken = true;
    }

    /// Whether it is so long since it has asked that the daemon may soon give it up.
    pub fn late(&self) -> bool {
        self.since.elapsed() > POLL_WAIT * 3 / 2
    }

    /// Whether all that has come has been heard.
    pub fn heard_all(&self) -> bool {
        self.heard.is_empty()
    }

    /// Says goodbye.
    pub fn close(&mut self, door: &Door) {
        let (answer, _) = whole(door.get(&(self.page.next_url() + "&close=1")));
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

/// Whether there is something to read, if only the end.
fn answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    let ready = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("O_NONBLOCK");
    !matches!(ready, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

/// One of a batch.
fn element(value: &Value) -> Heard {
    Heard::Message(match (value.as_str(), value["binary"].as_str()) {
        (Some(text), _) => Message::text(text),
        (_, Some(base64)) => Message::binary(STANDARD.decode(base64).expect("base64")),
        _ => panic!("{value}"),
    })
}

impl Marked {
    fn next(&mut self) -> Heard {
        let message = self.ws.next();
        let bytes = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            Message::Close(close) => {
                return Heard::Closed(close.as_ref().map_or(1005, |close| close.code.into()));
            }
            other => panic!("{other:?}"),
        };
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            let said = String::from_utf8_lossy(bytes);
            match said.strip_prefix("ok ") {
                Some(more) => self.done += more.parse::<usize>().expect("a number"),
                None => assert_eq!(said, "gap"),
            }
            return if said == "gap" {
                Heard::Gap
            } else {
                Heard::Nothing
            };
        };
        if end > 0 {
            self.mark = String::from_utf8(bytes[..end].to_vec()).expect("a mark");
        }
        let payload = bytes[end + 1..].to_vec();
        Heard::Message(match message {
            Message::Text(_) => text(payload),
            _ => Message::binary(payload),
        })
    }
}
