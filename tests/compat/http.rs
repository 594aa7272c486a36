//! Answers as web servers make them: with a length, in chunks, or to the end.

use crate::harness::{Answer, Site, read_answer};
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// A request, sent; `version`: `1.1`. Nothing of its answer has been read.
pub fn ask(
    site: &Site,
    (method, version): (&str, &str),
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut stream = site.connect();
    let mut head = format!(
        "{method} {path} HTTP/{version}\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n",
        site.port
    );
    if method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let bytes = [head.as_bytes(), body].concat();
    stream.write_all(&bytes).expect("send a request");
    stream
}

/// Reads a head, its status line with the version.
pub fn head(stream: &mut impl Read) -> io::Result<Answer> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    // boa 0.94.13 passes on the lines of a program as they are.
    let head = String::from_utf8_lossy(&head).replace("\r\n", "\n");
    let head = format!("{}\r\n\r\n", head.trim_end().replace('\n', "\r\n"));
    Ok(read_answer(&mut head.as_bytes()))
}

/// The bytes of an answer's body.
pub struct Body {
    stream: TcpStream,
    chunked: bool,
    /// Bytes of the chunk at hand, or of the whole; None: to the end.
    left: Option<u64>,
}

impl Body {
    pub fn of(answer: &Answer, stream: TcpStream) -> Body {
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

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.chunked && self.left == Some(0) {
            self.left = Some(self.next_chunk()?);
            self.chunked = self.left != Some(0);
        }
        let most = self
            .left
            .map_or(buf.len(), |left| buf.len().min(left as usize));
        let count = self.stream.read(&mut buf[..most])?;
        self.left = self.left.map(|left| left - count as u64);
        Ok(count)
    }
}

/// A whole answer, and the bytes of its body. None: there is none.
pub fn answer(mut stream: TcpStream) -> Option<(Answer, Vec<u8>)> {
    let answer = head(&mut stream).ok()?;
    let mut body = Vec::new();
    Body::of(&answer, stream).read_to_end(&mut body).ok()?;
    Some((answer, body))
}
