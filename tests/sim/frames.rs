//! The browser's side of RFC 6455, as bytes, and the daemon's answers read as strictly as the
//! RFC lets a client read them.

/// A frame as browsers send it: masked.
pub fn masked(first: u8, payload: &[u8], mask: u32) -> Vec<u8> {
    let mut frame = vec![first];
    length(&mut frame, payload.len(), 0x80);
    let mask = mask.to_be_bytes();
    frame.extend(mask);
    frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
    frame
}

/// The same without a mask, as no browser may.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    length(&mut frame, payload.len(), 0);
    frame.extend(payload);
    frame
}

fn length(frame: &mut Vec<u8>, len: usize, bit: u8) {
    match len {
        0..=125 => frame.push(bit | len as u8),
        126..=65535 => {
            frame.push(bit | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        _ => {
            frame.push(bit | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
}

/// What a browser hears of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer to its request.
    Head(u16),
    Data {
        binary: bool,
        payload: Vec<u8>,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// Cuts what comes into frames.
#[derive(Default)]
pub struct Hearing {
    bytes: Vec<u8>,
    start: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    /// Of an HTTP answer, so many bytes to come.
    Body(usize),
    Frames,
    /// A close has come: nothing may follow.
    Closed,
}

impl Hearing {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub fn next(&mut self) -> Result<Option<Heard>, String> {
        let rest = &self.bytes[self.start..];
        if rest.is_empty() {
            return Ok(None);
        }
        match self.stage {
            Stage::Head => self.head(),
            Stage::Body(left) => {
                let len = rest.len();
                if len > left {
                    return Err("more bytes than the Content-Length of an answer".to_owned());
                }
                self.start += len;
                self.stage = Stage::Body(left - len);
                Ok(None)
            }
            Stage::Frames => self.frame(),
            Stage::Closed => Err("bytes behind a close frame".to_owned()),
        }
    }

    fn head(&mut self) -> Result<Option<Heard>, String> {
        let rest = &self.bytes[self.start..];
        let end = rest.windows(4).position(|w| w == b"\r\n\r\n");
        let Some(end) = end else {
            return Ok(None);
        };
        let text = core::str::from_utf8(&rest[..end]).map_err(|_| "a head that is no text")?;
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|t| t.get(..3));
        let status: u16 = status
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| format!("no HTTP answer: {}", text.escape_debug()))?;
        let field = |name: &str| {
            text.lines().find_map(|line| {
                let (n, v) = line.split_once(':')?;
                n.eq_ignore_ascii_case(name).then(|| v.trim())
            })
        };
        self.stage = match status {
            101 => Stage::Frames,
            _ => {
                let length = field("content-length").and_then(|v| v.parse().ok());
                Stage::Body(length.ok_or("an answer without Content-Length")?)
            }
        };
        self.start += end + 4;
        Ok(Some(Heard::Head(status)))
    }

    fn frame(&mut self) -> Result<Option<Heard>, String> {
        let rest = &self.bytes[self.start..];
        if rest.len() < 2 {
            return Ok(None);
        }
        let (first, second) = (rest[0], rest[1]);
        if first & 0x70 != 0 || first & 0x80 == 0 || second & 0x80 != 0 {
            return Err(format!("a frame that begins with {first:#x} {second:#x}"));
        }
        let (head, len) = match second {
            126 if rest.len() < 4 => return Ok(None),
            127 if rest.len() < 10 => return Ok(None),
            126 => (4, u64::from(u16::from_be_bytes([rest[2], rest[3]]))),
            127 => (
                10,
                u64::from_be_bytes(rest[2..10].try_into().unwrap_or_default()),
            ),
            short => (2, u64::from(short)),
        };
        let least = [0, 0, 0, 0, 126, 0, 0, 0, 0, 0, 65536][head];
        if len < least {
            return Err("a length that is longer than it need be".to_owned());
        }
        let Some(payload) = rest[head..].get(..len as usize) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.start += head + len as usize;
        if first & 0x08 != 0 && len > 125 {
            return Err("a control frame of more than 125 bytes".to_owned());
        }
        Ok(Some(match first & 0x0f {
            1 => match core::str::from_utf8(&payload) {
                Ok(_) => Heard::Data {
                    binary: false,
                    payload,
                },
                Err(_) => return Err("text that is not UTF-8".to_owned()),
            },
            2 => Heard::Data {
                binary: true,
                payload,
            },
            8 => {
                self.stage = Stage::Closed;
                match payload.as_slice() {
                    [] => Heard::Close(None),
                    [a, b, reason @ ..] if core::str::from_utf8(reason).is_ok() => {
                        Heard::Close(Some(u16::from_be_bytes([*a, *b])))
                    }
                    _ => return Err("a close frame of one byte, or not UTF-8".to_owned()),
                }
            }
            9 => Heard::Ping(payload),
            10 => Heard::Pong(payload),
            other => return Err(format!("opcode {other}")),
        }))
    }
}

/// A payload that tells where it is from, and fills a size. None at all, or no less than that.
pub fn payload(tag: &str, size: usize, binary: bool) -> Vec<u8> {
    if size == 0 {
        return Vec::new();
    }
    let mut bytes = tag.as_bytes().to_vec();
    let mut next = tag.len() as u8;
    while bytes.len() < size {
        next = next.wrapping_add(7);
        match binary {
            true => bytes.push(next),
            false => bytes.push(b'a' + next % 26),
        }
    }
    bytes
}
