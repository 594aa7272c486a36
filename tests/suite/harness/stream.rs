//! Event streams, as a browser reads them.

use super::{Answer, read_answer};
use std::io::{BufRead, BufReader, Read};

/// One event of a stream (HTML, "Interpreting an event stream").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: String,
}

/// An event stream.
pub struct Events {
    lines: BufReader<Box<dyn Read>>,
    /// The head.
    pub answer: Answer,
    /// The connection's id, and its key.
    pub id: String,
    pub key: String,
    /// The id of the last event that had one.
    pub last: String,
    /// Comments so far.
    pub comments: usize,
}

impl Events {
    /// Reads the head and the first event.
    pub fn open(mut stream: impl Read + 'static) -> Events {
        let answer = head(&mut stream);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("content-type"), Some("text/event-stream"));
        let mut events = Events {
            lines: BufReader::new(Box::new(stream)),
            answer,
            id: String::new(),
            key: String::new(),
            last: String::new(),
            comments: 0,
        };
        let open = events.next().expect("an event");
        assert_eq!(open.name, "open");
        let data: serde_json::Value = serde_json::from_str(&open.data).expect("JSON");
        let text = |name: &str| data[name].as_str().expect("text").to_owned();
        (events.id, events.key) = (text("id"), text("key"));
        events
    }

    /// `id=…&key=…`.
    pub fn query(&self) -> String {
        format!("id={}&key={}", self.id, self.key)
    }

    /// The next event; None: the stream has ended.
    pub fn next(&mut self) -> Option<Event> {
        let (mut event, mut data) = (Event::default(), Vec::new());
        loop {
            let mut line = String::new();
            let count = self.lines.read_line(&mut line).expect("read an event");
            if count == 0 {
                return None;
            }
            let line = line.strip_suffix('\n').expect("a whole line");
            match line.split_once(": ").unwrap_or((line, "")) {
                ("", _) if data.is_empty() => {}
                ("", _) => {
                    event.data = data.join("\n");
                    if !event.id.is_empty() {
                        self.last.clone_from(&event.id);
                    }
                    return Some(event);
                }
                ("event", value) => event.name = value.to_owned(),
                ("id", value) => event.id = value.to_owned(),
                ("data", value) => data.push(value.to_owned()),
                (":", _) => self.comments += 1,
                other => panic!("no field of an event: {other:?}"),
            }
        }
    }

    /// The data of the next event, a message.
    pub fn text(&mut self) -> String {
        let event = self.next().expect("an event");
        assert_eq!(event.name, "", "{event:?}");
        event.data
    }
}

/// Reads the head of an answer alone.
fn head(stream: &mut impl Read) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).expect("read"), 1, "in the head");
        head.push(byte[0]);
    }
    read_answer(&mut &head[..])
}
