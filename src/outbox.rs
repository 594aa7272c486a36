//! The outbox: one command a line, from any program that may write to the FIFO.

use crate::close::Close;
use crate::limits::{OUTBOX_LINE, PIPE_BUF};
use crate::name;
use crate::target::{Target, room};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a data frame holds (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// One line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `text`, `text64`, `binary`, `textfile`, `binaryfile`.
    Send(Opcode, Target, Payload),
    /// `close`.
    Close(Target, Close),
    /// `join`; the room without `@`.
    Join(Target, String),
    /// `leave`.
    Leave(Target, String),
}

/// Where a message's bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload {
    /// In the line; text is UTF-8.
    Inline(Vec<u8>),
    /// In this file of the spool folder; text is not checked yet.
    Spooled(String),
}

/// Reads a line without its newline. None: a blank line or a comment. The error names
/// what is wrong.
pub fn parse(line: &[u8]) -> Result<Option<Command>, String> {
    let not_text = || "it is not UTF-8 (binary needs base64)".to_owned();
    let line = core::str::from_utf8(line).map_err(|_| not_text())?;
    if line.trim_ascii().is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.contains('\0') {
        return Err("it holds a NUL (use text64)".to_owned());
    }
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (target, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    // A payload keeps its CR; everything else may end as DOS lines do.
    let word = rest.trim_ascii_end();
    let target = || Target::parse(target.trim_ascii_end());
    Ok(Some(match verb {
        "text" => Command::Send(
            Opcode::Text,
            target()?,
            Payload::Inline(rest.as_bytes().to_vec()),
        ),
        "text64" => {
            let bytes = decode(word)?;
            core::str::from_utf8(&bytes).map_err(|_| not_text())?;
            Command::Send(Opcode::Text, target()?, Payload::Inline(bytes))
        }
        "binary" => Command::Send(Opcode::Binary, target()?, Payload::Inline(decode(word)?)),
        "textfile" => Command::Send(Opcode::Text, target()?, spooled(word)?),
        "binaryfile" => Command::Send(Opcode::Binary, target()?, spooled(word)?),
        "close" => Command::Close(target()?, Close::parse(word)?),
        "join" => Command::Join(target()?, room(word)?),
        "leave" => Command::Leave(target()?, room(word)?),
        _ => {
            return Err(format!(
                "no verb: '{}'",
                verb.chars().take(20).collect::<String>()
            ));
        }
    }))
}

fn decode(word: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(word).map_err(|e| format!("no base64: {e}"))
}

fn spooled(word: &str) -> Result<Payload, String> {
    if name::valid(word) && !word.starts_with('.') {
        Ok(Payload::Spooled(word.to_owned()))
    } else {
        Err(format!("no name of a spool file: '{word}'"))
    }
}

/// The line that sends a message, newline included, so that no payload can forge a second
/// one. None: longer than one atomic write; it must go through the spool folder.
pub fn encode(opcode: Opcode, target: &Target, payload: &[u8]) -> Option<Vec<u8>> {
    let plain = match opcode {
        Opcode::Text => core::str::from_utf8(payload).ok(),
        Opcode::Binary => None,
    };
    let line = match plain {
        Some(text) if !text.contains(['\n', '\0']) => format!("text {target} {text}\n"),
        Some(text) => format!("text64 {target} {}\n", STANDARD.encode(text)),
        None => format!("binary {target} {}\n", STANDARD.encode(payload)),
    };
    (line.len() <= PIPE_BUF).then(|| line.into_bytes())
}

/// The line that sends a spool file.
pub fn encode_spooled(opcode: Opcode, target: &Target, name: &str) -> Vec<u8> {
    let verb = match opcode {
        Opcode::Text => "textfile",
        Opcode::Binary => "binaryfile",
    };
    format!("{verb} {target} {name}\n").into_bytes()
}

/// Cuts a byte stream into lines, and knows how far in the stream it is.
#[derive(Debug, Default)]
pub struct Lines {
    buf: Vec<u8>,
    /// Bytes of `buf` that are already given out.
    start: usize,
    /// Bytes of `buf` known to hold no newline, from `start`.
    searched: usize,
    /// The rest of an over-long line is being passed over.
    discarding: bool,
    /// Bytes ever pushed.
    pushed: u64,
}

/// What [`Lines::take`] gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its newline.
    Whole(Vec<u8>),
    /// A line longer than [`OUTBOX_LINE`] has begun; the rest of it is passed over.
    TooLong,
}

impl Lines {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pushed += bytes.len() as u64;
        self.buf.drain(..self.start);
        self.start = 0;
        self.buf.extend_from_slice(bytes);
    }

    /// The next line. None: more bytes are needed.
    pub fn take(&mut self) -> Option<Line> {
        loop {
            let rest = &self.buf[self.start..];
            let newline = rest[self.searched..].iter().position(|&b| b == b'\n');
            let Some(newline) = newline.map(|i| i + self.searched) else {
                self.searched = rest.len();
                if self.discarding {
                    self.start = self.buf.len();
                    self.searched = 0;
                } else if rest.len() > OUTBOX_LINE {
                    self.discarding = true;
                    return Some(Line::TooLong);
                }
                self.give_back();
                return None;
            };
            self.searched = 0;
            let line = rest[..newline].to_vec();
            self.start += newline + 1;
            if core::mem::take(&mut self.discarding) {
                continue;
            }
            return Some(match line.len() {
                0..=OUTBOX_LINE => Line::Whole(line),
                _ => Line::TooLong,
            });
        }
    }

    /// An idle outbox holds no large buffer.
    fn give_back(&mut self) {
        if self.start == self.buf.len() {
            *self = Lines {
                discarding: self.discarding,
                pushed: self.pushed,
                ..Lines::default()
            };
        }
    }

    /// Bytes of the stream that have been given out as lines, or would have been, were
    /// they lines: an unfinished last line counts as given out, as it waits for its writer.
    pub fn position(&self) -> u64 {
        let rest = &self.buf[self.start..];
        let waiting = if rest.contains(&b'\n') { rest.len() } else { 0 };
        self.pushed - waiting as u64
    }

    /// Bytes ever pushed.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room_a() -> Target {
        Target::parse("@a").unwrap()
    }

    fn text(payload: &str) -> Command {
        Command::Send(Opcode::Text, room_a(), Payload::Inline(payload.into()))
    }

    #[test]
    fn lines_understood() {
        let ok = |line: &str| parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!(ok("text @a hello world "), text("hello world "));
        assert_eq!(ok("text @a  two"), text(" two"));
        assert_eq!(ok("text @a cr\r"), text("cr\r"));
        assert_eq!(ok("text @a"), text(""));
        assert_eq!(ok("text64 @a YQpi"), text("a\nb"));
        assert_eq!(
            ok("binary @a AAE="),
            Command::Send(Opcode::Binary, room_a(), Payload::Inline(vec![0, 1]))
        );
        assert_eq!(
            ok("textfile @a big-1"),
            Command::Send(Opcode::Text, room_a(), Payload::Spooled("big-1".into()))
        );
        assert_eq!(
            ok("close @a"),
            Command::Close(room_a(), Close::new(1000, ""))
        );
        assert_eq!(
            ok("close @a 4001 go away"),
            Command::Close(room_a(), Close::new(4001, "go away"))
        );
        assert_eq!(ok("join @a @b\r"), Command::Join(room_a(), "b".into()));
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b" \r"), Ok(None));
        assert_eq!(parse(b"# text @a x"), Ok(None));
    }

    #[test]
    fn lines_refused() {
        for bad in [
            &b"TEXT @a x"[..],
            b" text @a x",
            b"text",
            b"text nobody x",
            b"text @a \xff",
            b"text @a a\0b",
            b"text64 @a !!",
            b"text64 @a /w==",
            b"binary @a AAE",
            b"textfile @a ../x",
            b"textfile @a .hidden",
            b"textfile @a",
            b"close @a 1005",
            b"close",
            b"join @a b",
            b"join @a @all",
        ] {
            assert!(parse(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_is_encoded_reads_back() {
        for payload in [
            "",
            " x",
            "a\nb\0",
            "text @all forged\ntext @all forged",
            "\r",
        ] {
            let line = encode(Opcode::Text, &room_a(), payload.as_bytes()).unwrap();
            let one = line.strip_suffix(b"\n").unwrap();
            assert!(!one.contains(&b'\n'));
            assert_eq!(parse(one), Ok(Some(text(payload))));
        }
        let line = encode(Opcode::Binary, &room_a(), &[0, 255, 10]).unwrap();
        let binary = Command::Send(Opcode::Binary, room_a(), Payload::Inline(vec![0, 255, 10]));
        assert_eq!(parse(&line[..line.len() - 1]), Ok(Some(binary)));
        assert_eq!(
            encode(Opcode::Text, &room_a(), &[b'x'; PIPE_BUF - 8]).map(|l| l.len()),
            None
        );
        assert_eq!(
            encode(Opcode::Text, &room_a(), &[b'x'; PIPE_BUF - 9]).map(|l| l.len()),
            Some(PIPE_BUF)
        );
    }

    #[test]
    fn lines_from_any_pieces() {
        let long = "x".repeat(OUTBOX_LINE + 1);
        let stream = format!("one\n\n{long}\ntwo\n{}\nrest", "y".repeat(OUTBOX_LINE));
        for piece in [1, 7, 4096, stream.len()] {
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            for bytes in stream.as_bytes().chunks(piece) {
                lines.push(bytes);
                while let Some(line) = lines.take() {
                    got.push(match line {
                        Line::Whole(line) => line.len() as i64,
                        Line::TooLong => -1,
                    });
                }
                assert_eq!(lines.position(), lines.pushed());
            }
            assert_eq!(got, [3, 0, -1, 3, OUTBOX_LINE as i64], "pieces of {piece}");
        }
    }

    #[test]
    fn position_stops_before_a_whole_line() {
        let mut lines = Lines::default();
        lines.push(b"one\ntwo\nthr");
        assert_eq!(lines.position(), 0);
        assert_eq!(lines.take(), Some(Line::Whole(b"one".to_vec())));
        assert_eq!(lines.position(), 4);
        lines.take();
        assert_eq!(lines.position(), 11);
    }
}
