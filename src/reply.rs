//! What an event program printed → what to do. CGI output (RFC 3875 §6) with our WS-*
//! header fields.

use crate::close::Close;
use crate::http::{self, Answer, Fields};
use crate::limits::{REPLY_HEAD, REPLY_WARNINGS, STATE};
use crate::outbox::Opcode;
use crate::target::{Target, room};

/// A reply, understood.
#[derive(Debug, Default)]
pub struct Reply {
    /// `Status:` and its phrase.
    pub status: Option<(u16, String)>,
    /// `Sec-WebSocket-Protocol:`.
    pub protocol: Option<String>,
    /// `WS-To:`.
    pub to: Option<Target>,
    /// `WS-Join:`.
    pub join: Rooms,
    /// `WS-Leave:`.
    pub leave: Rooms,
    /// `WS-State:`.
    pub state: Option<Vec<u8>>,
    /// `WS-Close:`.
    pub close: Option<Close>,
    /// What was asked for and is not done, for the log: the first of it.
    pub warnings: Vec<String>,
    /// Whether any WS-* field was there.
    opinionated: bool,
    /// By Content-Type.
    opcode: Option<Opcode>,
    /// `Content-Length: 0`: an empty body is an empty message.
    empty_message: bool,
    /// All that was printed; only its head, once the message is taken.
    output: Vec<u8>,
    /// Where its body begins.
    body: usize,
}

/// Names of rooms as they were printed: as a list they would take many times the memory.
#[derive(Debug, Default)]
pub struct Rooms(String);

impl Rooms {
    /// Each name, without `@`.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let words = self.0.split_ascii_whitespace();
        words.filter_map(|word| word.strip_prefix('@'))
    }

    fn add(&mut self, value: &str) -> Result<(), String> {
        for word in value.split_ascii_whitespace() {
            room(word)?;
        }
        self.0.push(' ');
        self.0.push_str(value);
        Ok(())
    }
}

/// A message in a reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// By Content-Type.
    pub opcode: Opcode,
    /// UTF-8 where it is text.
    pub payload: Vec<u8>,
}

/// What an open program wants.
#[derive(Debug)]
pub enum Verdict {
    /// The 101, with these fields.
    Accept,
    /// This HTTP answer.
    Refuse(Answer),
    /// It knows nothing of events: accepted, and the rest of its reply means nothing.
    NoOpinion,
}

/// Where the header block ends: the body's offset. None: not yet.
pub fn head_end(output: &[u8]) -> Option<usize> {
    let mut line = 0;
    for (i, _) in output.iter().enumerate().filter(|(_, b)| **b == b'\n') {
        let text = &output[line..i];
        line = i + 1;
        if text.is_empty() || text == b"\r" {
            return Some(line);
        }
    }
    None
}

impl Reply {
    /// Reads all of a program's output. The error says what is wrong with it.
    pub fn parse(output: Vec<u8>) -> Result<Reply, String> {
        let mut reply = Reply::default();
        if output.is_empty() {
            return Ok(reply);
        }
        let end = head_end(&output).ok_or("no blank line ends its header")?;
        if end > REPLY_HEAD {
            return Err(format!("its header is longer than {REPLY_HEAD} bytes"));
        }
        for line in lines(&output[..end]) {
            let (name, value) = field(line)?;
            match name.to_ascii_lowercase().as_str() {
                "content-type" => reply.opcode = Some(opcode_of(value)),
                "content-length" => reply.empty_message = value == b"0",
                lower => reply.take(name, lower, value)?,
            }
        }
        (reply.output, reply.body) = (output, end);
        Ok(reply)
    }

    /// The ordinary fields, for an HTTP answer. Read anew each time: a list of many small ones
    /// would take many times the memory of what was printed, and that is what is charged.
    pub fn fields(&self) -> impl Iterator<Item = http::Field<'_>> {
        let fields = lines(&self.output[..self.body]).filter_map(|line| field(line).ok());
        fields.filter(|(name, _)| !for_us(name) && !connections_own(name))
    }

    /// Bytes of its body, if there is anything that may be sent.
    pub fn size(&self) -> Option<usize> {
        let size = self.output.len() - self.body;
        (size > 0 || self.empty_message).then_some(size)
    }

    /// Takes the message to send: the body, or an empty one that was asked for. The error
    /// says why it can't be sent.
    pub fn take_message(&mut self) -> Result<Option<Message>, String> {
        if self.size().is_none() {
            return Ok(None);
        }
        // The head stays: its fields may go into a 101.
        let head = self.output[..self.body].to_vec();
        let mut payload = core::mem::replace(&mut self.output, head);
        // In place: a body may be all the memory there is.
        payload.drain(..self.body);
        let message = Message {
            opcode: self.opcode.unwrap_or(Opcode::Text),
            payload,
        };
        if message.opcode == Opcode::Text && core::str::from_utf8(&message.payload).is_err() {
            return Err("its text body is not UTF-8".to_owned());
        }
        Ok(Some(message))
    }

    fn take(&mut self, name: &str, lower: &str, value: &[u8]) -> Result<(), String> {
        let text = || {
            let text = core::str::from_utf8(value);
            text.map_err(|_| format!("the value of {name} is not UTF-8"))
        };
        if lower.starts_with("ws-") {
            self.opinionated = true;
        }
        match lower {
            "status" => self.status = Some(status(text()?)?),
            "sec-websocket-protocol" => self.protocol = Some(text()?.to_owned()),
            "ws-to" => self.to = Some(Target::parse(text()?)?),
            "ws-join" => self.join.add(text()?)?,
            "ws-leave" => self.leave.add(text()?)?,
            "ws-close" => self.close = Some(Close::parse(text()?)?),
            "ws-state" if value.len() > STATE => {
                let warning = format!("WS-State of {} bytes, {STATE} are kept", value.len());
                self.warn(warning);
            }
            "ws-state" => self.state = Some(value.to_vec()),
            _ if lower.starts_with("ws-") => self.warn(format!("unknown field {name}")),
            _ => {}
        }
        Ok(())
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < REPLY_WARNINGS {
            self.warnings.push(warning);
        }
    }

    /// Whether it is an open program's yes.
    pub fn accepts(&self) -> bool {
        (200..=299).contains(&self.code())
    }

    /// Reads the reply as an open program's.
    pub fn verdict(&self) -> Verdict {
        if self.accepts() {
            return Verdict::Accept;
        }
        if self.no_opinion() {
            return Verdict::NoOpinion;
        }
        Verdict::Refuse(Answer {
            status: self.status(),
            fields: self.fields().collect(),
            body: self.output[self.body..].to_vec(),
        })
    }

    /// Reads the reply as an HTTP answer: to a POST.
    pub fn take_answer(&mut self) -> Answer {
        let (status, phrase) = self.status();
        let mut fields: Fields = self.fields().collect();
        let body = self.output.split_off(self.body);
        let empty = self.status.is_none() && body.is_empty() && !self.empty_message;
        let status = match empty && status == 200 {
            true => (204, http::reason(204).to_owned()),
            false => (status, phrase),
        };
        if !body.is_empty() && self.opcode.is_none() {
            fields.put("Content-Type", "text/plain; charset=utf-8");
        }
        Answer {
            status,
            fields,
            body,
        }
    }

    fn status(&self) -> (u16, String) {
        let code = self.code();
        match &self.status {
            Some((_, phrase)) if !phrase.is_empty() => (code, phrase.clone()),
            _ => (code, http::reason(code).to_owned()),
        }
    }

    fn code(&self) -> u16 {
        let location = |(name, _): http::Field| name.eq_ignore_ascii_case("location");
        match &self.status {
            None if self.fields().any(location) => 302,
            None => 200,
            Some((code, _)) => *code,
        }
    }

    /// Whether it says what a CGI program says of GET and DELETE that only knows POST.
    pub fn no_opinion(&self) -> bool {
        matches!(self.status, Some((405 | 501, _))) && !self.opinionated
    }

    /// Whether a message or close program says it failed.
    pub fn failed(&self) -> bool {
        !matches!(self.status, None | Some((200..=299, _)))
    }

    /// The fields that go into the 101.
    pub fn switching_fields(&self) -> impl Iterator<Item = http::Field<'_>> {
        self.fields().filter(|(name, _)| {
            let lower = name.to_ascii_lowercase();
            !lower.starts_with("content-") && lower != "location"
        })
    }
}

/// Fields that we act on ourselves.
fn for_us(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower == "status" || lower.starts_with("ws-")
}

/// Fields that are about this connection and this answer, so ours alone.
fn connections_own(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let ours = [
        "connection",
        "upgrade",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "content-length",
    ];
    ours.contains(&lower.as_str())
        || lower.starts_with("proxy-")
        || lower.starts_with("sec-websocket-")
}

/// The lines of a header block that are not blank.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = head.split(|&b| b == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty())
}

/// A header line: a token, a colon, a value without blanks around it.
fn field(line: &[u8]) -> Result<(&str, &[u8]), String> {
    let shown = || line[..line.len().min(60)].escape_ascii().to_string();
    let colon = line.iter().position(|&b| b == b':');
    let colon = colon.ok_or_else(|| format!("no header field: '{}'", shown()))?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let token = |&b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.iter().all(token) {
        return Err(format!("no header field: '{}'", shown()));
    }
    // What we keep to ourselves may hold more than what goes into an HTTP answer (RFC 9110 §5.5).
    let ours = name.len() > 3 && name[..3].eq_ignore_ascii_case(b"ws-");
    let bad = |&b: &u8| match ours {
        true => b"\r\0".contains(&b),
        false => b.is_ascii_control() && b != b'\t',
    };
    if value.iter().any(bad) {
        return Err(format!(
            "a control character in a header field: '{}'",
            shown()
        ));
    }
    // Token bytes are ASCII.
    Ok((core::str::from_utf8(name).unwrap_or_default(), value))
}

fn status(value: &str) -> Result<(u16, String), String> {
    let (code, phrase) = value.split_once(' ').unwrap_or((value, ""));
    match code.parse() {
        Ok(status @ 200..=599) if code.len() == 3 => Ok((status, phrase.trim_ascii().to_owned())),
        _ => Err(format!("no status from 200 to 599: '{value}'")),
    }
}

/// The opcode of a Content-Type: `text/*`, `*/json`, `*/xml` and their `+json`, `+xml` kin
/// are text; all else is binary.
pub fn opcode_of(content_type: &[u8]) -> Opcode {
    let media = content_type
        .split(|&b| b == b';')
        .next()
        .unwrap_or_default();
    let media = media.trim_ascii().to_ascii_lowercase();
    let ends = ["/json", "/xml", "+json", "+xml"];
    if media.is_empty()
        || media.starts_with(b"text/")
        || ends.iter().any(|end| media.ends_with(end.as_bytes()))
    {
        Opcode::Text
    } else {
        Opcode::Binary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(output: impl AsRef<[u8]>) -> Result<Reply, String> {
        Reply::parse(output.as_ref().to_vec())
    }

    #[test]
    fn an_ordinary_reply() {
        let mut reply =
            parse(b"Content-Type: application/json\r\nWS-To: @a\nWS-Join: @a @b\n\n{}").unwrap();
        assert_eq!(reply.to, Some(Target::parse("@a").unwrap()));
        assert!(reply.join.iter().eq(["a", "b"]));
        let message = Message {
            opcode: Opcode::Text,
            payload: b"{}".to_vec(),
        };
        assert_eq!(reply.take_message(), Ok(Some(message)));
    }

    #[test]
    fn nothing_and_emptiness() {
        let message = |output: &[u8]| parse(output).unwrap().take_message();
        assert_eq!(message(b""), Ok(None));
        assert_eq!(message(b"WS-Join: @a\n\n"), Ok(None));
        let empty = Message {
            opcode: Opcode::Text,
            payload: vec![],
        };
        assert_eq!(message(b"Content-Length: 0\n\n"), Ok(Some(empty)));
        assert!(message(b"Content-Type: text/plain\n\n\xff").is_err());
    }

    #[test]
    fn opcodes() {
        for (content_type, opcode) in [
            ("text/plain; charset=x", Opcode::Text),
            ("Text/HTML", Opcode::Text),
            ("application/json", Opcode::Text),
            ("image/svg+xml", Opcode::Text),
            ("application/octet-stream", Opcode::Binary),
            ("image/png", Opcode::Binary),
        ] {
            let output = format!("Content-Type: {content_type}\n\nx");
            let message = parse(output.as_bytes()).unwrap().take_message();
            assert_eq!(message.unwrap().unwrap().opcode, opcode, "{content_type}");
        }
    }

    #[test]
    fn malformed_output() {
        for bad in [
            &b"hello"[..],
            b"hello\n\n",
            b"Content-Type: text/plain\n",
            b"Content-Type: text/plain\nbody",
            b" folded: x\n\n",
            b"a b: c\n\n",
            b": c\n\n",
            b"A: b\rc\n\n",
            b"A: b\0c\n\n",
            b"A: b\x1bc\n\n",
            b"Status: 403 b\x7fc\n\n",
            b"WS-State: b\0c\n\n",
            b"Status: 99 x\n\n",
            b"Status: 101 x\n\n",
            b"Status: x\n\n",
            b"Status: +200 x\n\n",
            b"Status: 0200 x\n\n",
            b"Status: +20 x\n\n",
            b"WS-To: nobody\n\n",
            b"WS-Join: a\n\n",
            b"WS-Close: 1005\n\n",
        ] {
            assert!(parse(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
        }
        let long = [&b"A: "[..], &[b'x'; REPLY_HEAD], b"\n\n"].concat();
        assert!(parse(&long).is_err());
    }

    #[test]
    fn verdicts() {
        let verdict = |output: &str| match parse(output.as_bytes()).unwrap().verdict() {
            Verdict::Accept => "accept".to_owned(),
            Verdict::NoOpinion => "none".to_owned(),
            Verdict::Refuse(answer) => {
                String::from_utf8(answer.to_bytes(http::Style::Http)).unwrap()
            }
        };
        assert_eq!(verdict(""), "accept");
        assert_eq!(verdict("Status: 204 x\n\n"), "accept");
        assert_eq!(verdict("Status: 405 x\nAllow: POST\n\nno"), "none");
        assert!(verdict("Status: 405 x\nWS-State: y\n\nno").starts_with("HTTP/1.1 405 x\r\n"));
        assert!(verdict("Location: /login\n\n").starts_with("HTTP/1.1 302 Found\r\n"));
        let refusal =
            verdict("Status: 403\nX-A: b\nConnection: keep-alive\nContent-Length: 9\n\nno");
        assert_eq!(
            refusal,
            "HTTP/1.1 403 Forbidden\r\nX-A: b\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        );
    }

    #[test]
    fn what_goes_into_the_101() {
        let output = "Set-Cookie: a=1\nContent-Language: de\nSec-WebSocket-Accept: x\n\
            Upgrade: h2c\nLocation: /x\nProxy-Authenticate: x\nX-Mine: y\nStatus: 200\n\
            WS-State: z\n\nbody";
        let mut reply = parse(output.as_bytes()).unwrap();
        reply.take_message().unwrap();
        let names: Vec<_> = reply.switching_fields().map(|(n, _)| n).collect();
        assert_eq!(names, ["Set-Cookie", "X-Mine"]);
    }

    #[test]
    fn a_state_is_bytes() {
        let reply = parse(b"WS-State: b\x1b\xffc\n\n").unwrap();
        assert_eq!(reply.state.as_deref(), Some(&b"b\x1b\xffc"[..]));
    }

    #[test]
    fn warnings_do_not_fail() {
        let output = format!("WS-State: {}\nWS-Later: x\n\n", "s".repeat(STATE + 1));
        let reply = parse(output.as_bytes()).unwrap();
        assert_eq!((reply.state, reply.warnings.len()), (None, 2));
    }
}
