//! Requests and answers, in both versions of HTTP.

use crate::harness::{Answer, Body, Site, read_head};
use std::io::{Read, Write};
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

/// A whole answer, and the bytes of its body. None: there is none.
pub fn answer(mut stream: TcpStream) -> Option<(Answer, Vec<u8>)> {
    let answer = read_head(&mut stream).ok()?;
    let mut body = Vec::new();
    Body::of(&answer, stream).read_to_end(&mut body).ok()?;
    Some((answer, body))
}
