//! HTTP answers, as a client reads them.

use std::io::{self, Read};

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// All until the end of the connection; nothing for a 101.
    pub body: String,
}

impl Answer {
    /// The first field of a name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads an answer: a 101's head only, anything else to the end of the connection.
pub fn read_answer(stream: &mut impl Read) -> Answer {
    let mut answer = read_head(stream).expect("an HTTP head");
    let mut body = Vec::new();
    let read = match answer.field("transfer-encoding") {
        _ if answer.status == 101 => Ok(0),
        Some(_) => Body::of(&answer, stream).read_to_end(&mut body),
        None => stream.read_to_end(&mut body),
    };
    read.expect("read the body");
    answer.body = String::from_utf8_lossy(&body).into_owned();
    answer
}

/// Reads the head of an answer.
pub fn read_head(stream: &mut impl Read) -> io::Result<Answer> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("an ASCII head");
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no HTTP answer: {head}"));
    let fields = lines.map(|line| {
        let (name, value) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("no field: {line}"));
        (name.to_ascii_lowercase(), value.to_owned())
    });
    Ok(Answer {
        status,
        fields: fields.collect(),
        body: String::new(),
    })
}

/// The bytes of an answer's body: by its length, without what chunks add, or to the end. That it
/// ends sooner is an error.
pub struct Body<R> {
    stream: R,
    chunked: bool,
    /// Bytes of the chunk at hand, or of the whole; None: to the end.
    left: Option<u64>,
}

impl<R: Read> Body<R> {
    /// Behind a head.
    pub fn of(answer: &Answer, stream: R) -> Body<R> {
        let length = answer
            .field("content-length")
            .map(|n| n.parse().expect("a length"));
        let chunked = answer.field("transfer-encoding") == Some("chunked");
        let none = matches!(answer.status, 204 | 304);
        Body {
            stream,
            chunked,
            left: if chunked || none { Some(0) } else { length },
        }
    }

    fn next_chunk(&mut self) -> io::Result<u64> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        loop {
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_start();
            if let Some(size) = text.strip_suffix("\r\n").filter(|size| !size.is_empty()) {
                return Ok(u64::from_str_radix(size, 16).expect("a chunk's size"));
            }
        }
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.chunked && self.left == Some(0) {
            self.left = Some(self.next_chunk()?);
            self.chunked = self.left != Some(0);
        }
        let most = self
            .left
            .map_or(buf.len(), |left| buf.len().min(left as usize));
        let count = self.stream.read(&mut buf[..most])?;
        if count == 0 && most > 0 && self.left.is_some() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.map(|left| left - count as u64);
        Ok(count)
    }
}
