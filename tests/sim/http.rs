//! HTTP answers and event streams, read as strictly as their specifications let a client.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A part of an answer, as soon as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Head(Head),
    /// An event of a stream: its name, empty for a message as it is.
    Event {
        name: String,
        mark: Option<String>,
        data: Vec<u8>,
    },
    Comment,
    /// An element of a JSON array.
    Element {
        binary: bool,
        payload: Vec<u8>,
    },
    /// All is there: the body, but for an array's.
    Whole(Vec<u8>),
}

/// The head of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().find(same).map(|(_, value)| &**value)
    }

    pub fn is_stream(&self) -> bool {
        self.status == 200 && self.field("Content-Type") == Some("text/event-stream")
    }

    pub fn is_binary(&self) -> bool {
        self.field("Content-Type") == Some("application/octet-stream")
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    /// So many bytes.
    Body(usize),
    /// A JSON array, of so many bytes yet.
    Array(usize),
    Events,
    Done,
}

/// Cuts what comes into parts.
#[derive(Default)]
pub struct Reader {
    /// It is the output of a program whose head the web server makes (RFC 3875 §6.3.3).
    cgi: bool,
    /// An array of messages is asked for.
    batch: bool,
    bytes: Vec<u8>,
    start: usize,
    /// So many bytes behind `start` have been looked through for an end.
    looked: usize,
    /// Of an element of an array, there: whether a string goes on, and a backslash was last.
    inside: (bool, bool),
    stage: Stage,
}

impl Reader {
    pub fn new(cgi: bool, batch: bool) -> Reader {
        Reader {
            cgi,
            batch,
            ..Reader::default()
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Where what comes next ends.
    fn find(&mut self, end: &[u8]) -> Option<usize> {
        let from = self.looked.saturating_sub(end.len());
        let found = self.rest()[from..]
            .windows(end.len())
            .position(|w| w == end);
        self.looked = if found.is_some() {
            0
        } else {
            self.rest().len()
        };
        found.map(|place| from + place)
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.rest()[..count].to_vec();
        self.start += count;
        taken
    }

    pub fn next(&mut self) -> Result<Option<Part>, String> {
        match self.stage {
            Stage::Head => self.head(),
            Stage::Body(left) if self.rest().len() < left => Ok(None),
            Stage::Body(left) => {
                self.stage = Stage::Done;
                Ok(Some(Part::Whole(self.take(left))))
            }
            Stage::Array(left) => self.element(left),
            Stage::Events => self.event(),
            Stage::Done if self.rest().is_empty() => Ok(None),
            Stage::Done => Err("bytes behind the end of an answer".to_owned()),
        }
    }

    fn head(&mut self) -> Result<Option<Part>, String> {
        let end = self.find(b"\r\n\r\n");
        let Some(end) = end else {
            return Ok(None);
        };
        let text = self.take(end + 4);
        let text = core::str::from_utf8(&text[..end]).map_err(|_| "a head that is no text")?;
        let (first, rest) = text.split_once("\r\n").unwrap_or((text, ""));
        let status = match self.cgi {
            true => first.strip_prefix("Status: "),
            false => first.strip_prefix("HTTP/1.1 "),
        };
        let status = status.and_then(|text| text.get(..3)?.parse().ok());
        let shown = || text.escape_debug().to_string();
        let status: u16 =
            status.ok_or_else(|| format!("no such head of an answer: {}", shown()))?;
        let mut head = Head {
            status,
            fields: Vec::new(),
        };
        for line in rest.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").ok_or("a line that is no field")?;
            head.fields.push((name.to_owned(), value.to_owned()));
        }
        for once in [
            "Content-Length",
            "Content-Type",
            "WS-Id",
            "WS-Key",
            "WS-Since",
        ] {
            let same = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(once);
            if head.fields.iter().filter(same).count() > 1 {
                return Err(format!("more than one {once}: {}", shown()));
            }
        }
        if !self.cgi && head.field("Connection") != Some("close") {
            return Err("an answer that does not end its connection".to_owned());
        }
        let length = head.field("Content-Length");
        self.stage = match (head.is_stream(), status) {
            (true, _) if length.is_none() => Stage::Events,
            (_, 204 | 304) if length.is_none() => Stage::Body(0),
            (_, 204 | 304) | (true, _) => return Err(format!("a length: {}", shown())),
            _ => {
                let length = length.and_then(|length| length.parse().ok());
                let length = length.ok_or("an answer without Content-Length")?;
                let array = head.field("Content-Type") == Some("application/json");
                match self.batch && array && status == 200 {
                    true => Stage::Array(length),
                    false => Stage::Body(length),
                }
            }
        };
        Ok(Some(Part::Head(head)))
    }

    fn event(&mut self) -> Result<Option<Part>, String> {
        let end = self.find(b"\n\n");
        let Some(end) = end else {
            return Ok(None);
        };
        let block = self.take(end + 2);
        let (mut name, mut mark, mut data) = (String::new(), None, None::<Vec<u8>>);
        let block = &block[..end];
        if block == b":" {
            return Ok(Some(Part::Comment));
        }
        for line in block.split(|&b| b == b'\n') {
            if let Some(more) = line.strip_prefix(b"data: ") {
                match &mut data {
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(more);
                    }
                    None => data = Some(more.to_vec()),
                }
                continue;
            }
            let line = core::str::from_utf8(line).map_err(|_| "an event that is no text")?;
            match line.split_once(": ") {
                Some(("event", value)) if name.is_empty() => name = value.to_owned(),
                Some(("id", value)) if mark.is_none() => mark = Some(value.to_owned()),
                _ => return Err(format!("a line of an event: {}", line.escape_debug())),
            }
        }
        let mut data = data.ok_or("an event without data")?;
        if name == "binary" || name == "text64" {
            let decoded = STANDARD.decode(&data);
            data = decoded.map_err(|_| "an event's base64 is none")?;
        }
        if name != "binary" && core::str::from_utf8(&data).is_err() {
            return Err("text that is not UTF-8".to_owned());
        }
        Ok(Some(Part::Event { name, mark, data }))
    }

    fn element(&mut self, left: usize) -> Result<Option<Part>, String> {
        let rest = self.rest();
        if rest.len() > left {
            return Err("more bytes than the Content-Length of an answer".to_owned());
        }
        match rest.first() {
            None => return Ok(None),
            Some(b']') if left == 1 => {
                self.start += 1;
                self.stage = Stage::Done;
                return Ok(Some(Part::Whole(Vec::new())));
            }
            Some(b'[' | b',') => {}
            Some(_) => return Err("an array that is none".to_owned()),
        }
        let (mut quoted, mut escaped) = self.inside;
        let object = rest.get(1) == Some(&b'{');
        let from = self.looked.max(1);
        let end = rest.iter().skip(from).position(|&b| {
            if escaped {
                escaped = false;
                return false;
            }
            match b {
                b'\\' if quoted => escaped = true,
                b'"' => {
                    quoted = !quoted;
                    return !quoted && !object;
                }
                b'}' if !quoted => return true,
                _ => {}
            }
            false
        });
        let Some(end) = end else {
            (self.looked, self.inside) = (rest.len(), (quoted, escaped));
            return Ok(None);
        };
        let end = from + end + 1;
        let value: serde_json::Value = serde_json::from_slice(&rest[1..end])
            .map_err(|e| format!("an element of an array: {e}"))?;
        self.start += end;
        (self.looked, self.inside) = (0, (false, false));
        self.stage = Stage::Array(left - end);
        let (binary, payload) = match (value.as_str(), value["binary"].as_str()) {
            (Some(text), _) => (false, text.as_bytes().to_vec()),
            (_, Some(text)) => {
                let decoded = STANDARD.decode(text);
                (true, decoded.map_err(|_| "an element's base64 is none")?)
            }
            _ => return Err(format!("an element of an array: {value}")),
        };
        Ok(Some(Part::Element { binary, payload }))
    }
}
