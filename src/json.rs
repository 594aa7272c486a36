//! Strings in JSON.

use crate::copy::SPELLED;
use core::fmt::{self, Display, Write};

/// A JSON string (RFC 8259 §7).
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut bytes = [0; SPELLED];
        f.write_char('"')?;
        for c in self.0.chars() {
            let len = match c.is_ascii() {
                true => spell(c as u8, &mut bytes),
                false => c.encode_utf8(&mut bytes).len(),
            };
            f.write_str(core::str::from_utf8(&bytes[..len]).unwrap_or_default())?;
        }
        f.write_char('"')
    }
}

/// What stands for a byte between the quotes.
pub fn spell(byte: u8, to: &mut [u8; SPELLED]) -> usize {
    let digit = |digit: u8| b"0123456789abcdef"[usize::from(digit & 15)];
    let spelled: &[u8] = match byte {
        b'"' | b'\\' => &[b'\\', byte],
        byte if byte.is_ascii_control() => {
            &[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]
        }
        _ => &[byte],
    };
    to[..spelled.len()].copy_from_slice(spelled);
    spelled.len()
}
