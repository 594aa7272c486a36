//! HTTP answers, as a client reads them.

use std::io::{ErrorKind, Read};

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
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            // A child of the tests ended.
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            end => panic!(
                "{end:?} in an HTTP head: {:?}",
                head.escape_ascii().to_string()
            ),
        }
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
    let fields = fields.collect();
    let mut body = Vec::new();
    if status != 101 {
        stream.read_to_end(&mut body).expect("read the body");
    }
    Answer {
        status,
        fields,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}
