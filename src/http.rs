//! HTTP answers.

/// An answer that refuses a connection, and the cause it is counted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// One word for the counters.
    pub cause: &'static str,
    /// The body: one line that names the cause and the cure.
    pub text: String,
    /// A header field beside the usual ones.
    pub header: Option<(&'static str, &'static str)>,
}

impl Refusal {
    /// Without an extra header field.
    pub fn new(status: u16, cause: &'static str, text: impl Into<String>) -> Refusal {
        Refusal {
            status,
            cause,
            text: text.into(),
            header: None,
        }
    }

    /// 503 with Retry-After.
    pub fn busy(cause: &'static str, text: impl Into<String>) -> Refusal {
        Refusal {
            header: Some(("Retry-After", "1")),
            ..Refusal::new(503, cause, text)
        }
    }

    /// The whole answer as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let fields = [("Content-Type", "text/plain; charset=utf-8")];
        let fields = fields.into_iter().chain(self.header);
        let fields = fields.map(|(name, value)| (name, value.as_bytes()));
        let line = format!("{}\n", self.text);
        answer(self.status, reason(self.status), fields, line.as_bytes())
    }
}

/// A header field: name and value.
pub type Field<'a> = (&'a str, &'a [u8]);

/// A whole answer that ends its connection, with our own Content-Length.
pub fn answer<'a>(
    status: u16,
    reason: &str,
    fields: impl Iterator<Item = Field<'a>>,
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    put_fields(&mut bytes, fields);
    let rest = format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The answer that makes a connection a WebSocket (RFC 6455 §4.2.2).
pub fn switching<'a>(
    accept: &str,
    protocol: Option<&str>,
    fields: impl Iterator<Item = Field<'a>>,
) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: "
        .to_vec();
    bytes.extend_from_slice(accept.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        bytes.extend_from_slice(format!("Sec-WebSocket-Protocol: {protocol}\r\n").as_bytes());
    }
    put_fields(&mut bytes, fields);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn put_fields<'a>(bytes: &mut Vec<u8>, fields: impl Iterator<Item = Field<'a>>) {
    for (name, value) in fields {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
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
