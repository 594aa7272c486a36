//! Strings in JSON.

use core::fmt::{self, Display};

/// A JSON string (RFC 8259 §7).
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut written = Ok(());
        pieces(self.0, |piece| {
            written = f.write_str(piece);
            written.is_ok()
        });
        written
    }
}

/// What a JSON string is made of, quotes included, piece by piece, as long as `piece` says true.
pub fn pieces(text: &str, mut piece: impl FnMut(&str) -> bool) {
    let mut begin = 0;
    if !piece("\"") {
        return;
    }
    for (at, c) in text.char_indices() {
        let escape = match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", c as u32),
            _ => continue,
        };
        if !piece(&text[begin..at]) || !piece(&escape) {
            return;
        }
        begin = at + c.len_utf8();
    }
    let _ = piece(&text[begin..]) && piece("\"");
}
