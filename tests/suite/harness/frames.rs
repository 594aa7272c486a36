//! Frames as bytes (RFC 6455 §5.2).

use super::Daemon;

pub const FIN: u8 = 0x80;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A server's frame (RFC 6455 §5.2): first byte (FIN, RSV, opcode), payload.
pub fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..=125 => frame.push(n as u8),
        n @ 126..=65535 => {
            frame.push(126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// A client's frame: the same, masked.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_by([0x37, 0xfa, 0x21, 0x3d], first, payload)
}

/// The same with this masking key.
pub fn masked_by(mask: [u8; 4], first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = plain(first, payload);
    frame.truncate(frame.len() - payload.len());
    frame[1] |= 0x80;
    frame.extend(mask);
    frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
    frame
}

/// The bytes of several frames of a client; FIN and opcode, payload.
pub fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
    let frames = frames.iter();
    frames
        .flat_map(|(first, payload)| masked(*first, payload))
        .collect()
}

/// A close frame's payload.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

impl Daemon {
    /// Sends bytes that break the protocol or a bound on a connection of their own: the close
    /// frame on the wire, the close event and the log tell of it.
    pub fn refuses(&mut self, bytes: &[u8], code: u16, reason: &str) {
        let mut ws = self.connect("/act");
        let id = ws.id();
        ws.send_raw(bytes);
        let rest = ws.rest();
        assert_eq!(
            rest.escape_ascii().to_string(),
            plain(FIN | CLOSE, &close_payload(code, reason))
                .escape_ascii()
                .to_string(),
            "after {:?}",
            bytes[..bytes.len().min(20)].escape_ascii().to_string()
        );
        self.expect(&format!("INFO {id}: closed with {code}: {reason}"));
        self.event(&format!("close {id} 0 {code} error {reason}"));
    }
}
