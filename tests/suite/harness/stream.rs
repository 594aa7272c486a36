//! Event streams, as a browser reads them.

use super::{Answer, read_head};
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
    pub fn open(stream: impl Read + 'static) -> Events {
        let events = Events::parsed(stream);
        assert_eq!(events.answer.field("connection"), Some("close"));
        events
    }

    /// The same where a web server has made the head.
    pub fn parsed(mut stream: impl Read + 'static) -> Events {
        let answer = read_head(&mut stream).expect("a head");
        Events::after(answer, stream)
    }

    /// The same behind a head, and without what a web server makes of a body.
    pub fn after(answer: Answer, stream: impl Read + 'static) -> Events {
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
            let line = self.line()?;
            match line.split_once(": ").unwrap_or((&line, "")) {
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
                (":", _) => {}
                other => panic!("no field of an event: {other:?}"),
            }
        }
    }

    /// The next line; None: the stream has ended.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("read an event");
        self.comments += usize::from(line.starts_with(':'));
        let whole = line.strip_suffix('\n').map(str::to_owned);
        assert!(
            whole.is_some() || line.is_empty(),
            "a part of a line: {line}"
        );
        whole
    }

    /// The data of the next event, a message.
    pub fn text(&mut self) -> String {
        let event = self.next().expect("an event");
        assert_eq!(event.name, "", "{event:?}");
        event.data
    }
}
