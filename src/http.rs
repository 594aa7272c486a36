//! HTTP answers.

/// How an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// With a status line: it goes to the browser as it is.
    Http,
    /// With a `Status` field: a web server makes its own head of it (RFC 3875 §6.3.3).
    Cgi,
}

/// A header field: name and value.
pub type Field<'a> = (&'a str, &'a [u8]);

/// Header fields, as they are sent: a list of many small ones would take many times their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// Adds one.
    pub fn put(&mut self, name: &str, value: impl AsRef<[u8]>) {
        for part in [name.as_bytes(), b": ", value.as_ref(), b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// Each as a line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is one of this name.
    fn has(&self, name: &[u8]) -> bool {
        let mut lines = self.0.split(|&b| b == b'\n');
        lines.any(|line| name_of(line).eq_ignore_ascii_case(name))
    }

    /// Adds those of names that are not there.
    pub fn add_missing(&mut self, more: &Fields) {
        for line in more.0.split_inclusive(|&b| b == b'\n') {
            if !self.has(name_of(line)) {
                self.0.extend_from_slice(line);
            }
        }
    }

    /// Adds all of these.
    pub fn append(&mut self, more: &Fields) {
        self.0.extend_from_slice(&more.0);
    }
}

fn name_of(line: &[u8]) -> &[u8] {
    line.split(|&b| b == b':').next().unwrap_or_default()
}

impl<'a> FromIterator<Field<'a>> for Fields {
    fn from_iter<I: IntoIterator<Item = Field<'a>>>(all: I) -> Fields {
        let mut fields = Fields::default();
        all.into_iter()
            .for_each(|(name, value)| fields.put(name, value));
        fields
    }
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status, and the phrase.
    pub status: (u16, String),
    /// Its fields, but those of the connection and its length.
    pub fields: Fields,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// One without a body.
    pub fn empty(status: u16, fields: Fields) -> Answer {
        Answer {
            status: (status, reason(status).to_owned()),
            fields,
            body: Vec::new(),
        }
    }

    /// Its bytes. It ends its connection.
    pub fn to_bytes(&self, style: Style) -> Vec<u8> {
        let (status, phrase) = &self.status;
        // RFC 9110 §6.4.1, §8.6: these have no body, and a 204 no length.
        let body = match status {
            204 | 304 => &[][..],
            _ => &self.body,
        };
        let length = (![204, 304].contains(status)).then_some(body.len());
        let mut bytes = head(style, (*status, phrase), &self.fields, length);
        bytes.extend_from_slice(body);
        bytes
    }
}

/// An answer that refuses a connection, and the cause it is counted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// One word for the counters.
    pub cause: &'static str,
    /// The body: one line that names the cause and the cure.
    pub text: String,
    /// Header fields beside the usual ones.
    pub fields: &'static [(&'static str, &'static str)],
}

impl Refusal {
    /// Without more header fields.
    pub fn new(status: u16, cause: &'static str, text: impl Into<String>) -> Refusal {
        Refusal {
            status,
            cause,
            text: text.into(),
            fields: &[],
        }
    }

    /// 503 with Retry-After, which a program may say too, and WS-Retry, which it can't: what was
    /// asked for has not been begun, and may be asked for again.
    pub fn busy(cause: &'static str, text: impl Into<String>) -> Refusal {
        Refusal {
            fields: &[("Retry-After", "1"), ("WS-Retry", "1")],
            ..Refusal::new(503, cause, text)
        }
    }

    /// The answer that says so.
    pub fn answer(&self) -> Answer {
        let usual = [("Content-Type", "text/plain; charset=utf-8")];
        let all = usual.iter().chain(self.fields);
        let fields = all.map(|(name, value)| (*name, value.as_bytes())).collect();
        Answer {
            status: (self.status, reason(self.status).to_owned()),
            fields,
            body: format!("{}\n", self.text).into_bytes(),
        }
    }
}

/// The head of an answer. `length`: of its body; None: the body ends with the connection, or
/// there is none.
pub fn head(
    style: Style,
    (status, reason): (u16, &str),
    fields: &Fields,
    length: Option<usize>,
) -> Vec<u8> {
    // First: boa passes over a Status that stands elsewhere.
    let mut bytes = match style {
        Style::Http => format!("HTTP/1.1 {status} {reason}\r\n"),
        Style::Cgi => format!("Status: {status} {reason}\r\n"),
    }
    .into_bytes();
    bytes.extend_from_slice(fields.as_bytes());
    if let Some(length) = length {
        bytes.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
    }
    bytes.extend_from_slice(match style {
        Style::Http => b"Connection: close\r\n\r\n",
        Style::Cgi => b"\r\n",
    });
    bytes
}

/// The answer that makes a connection a WebSocket (RFC 6455 §4.2.2).
pub fn switching(accept: &str, protocol: Option<&str>, fields: &Fields) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: "
        .to_vec();
    bytes.extend_from_slice(accept.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        bytes.extend_from_slice(format!("Sec-WebSocket-Protocol: {protocol}\r\n").as_bytes());
    }
    bytes.extend_from_slice(fields.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The usual phrase of a status (RFC 9110 §15).
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_answers_have_no_body() {
        for (status, length, body) in [
            (200, "Content-Length: 2\r\n", "no"),
            (204, "", ""),
            (304, "", ""),
        ] {
            let answer = Answer {
                status: (status, "x".to_owned()),
                fields: Fields::default(),
                body: b"no".to_vec(),
            };
            let expected =
                format!("HTTP/1.1 {status} x\r\n{length}Connection: close\r\n\r\n{body}");
            assert_eq!(answer.to_bytes(Style::Http), expected.as_bytes());
        }
    }
}
