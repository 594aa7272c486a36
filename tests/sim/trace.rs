//! What happened, in order, for people.

use crate::os::Time;
use std::fmt;

/// Lines, if anyone wants them.
#[derive(Default)]
pub struct Trace {
    pub wanted: bool,
    pub lines: Vec<String>,
}

impl Trace {
    pub fn note(&mut self, now: Time, who: &str, what: fmt::Arguments) {
        if self.wanted {
            let (secs, micros) = (now / 1_000_000, now % 1_000_000);
            self.lines
                .push(format!("{secs:4}.{micros:06} {who:<10} {what}"));
        }
    }
}

/// Notes what someone did: `note!(os, "browser 1", "sends {n} bytes")`.
macro_rules! note {
    ($os:expr, $who:expr, $($what:tt)*) => {
        if $os.trace.wanted {
            let now = $os.now;
            $os.trace.note(now, $who.as_ref(), format_args!($($what)*));
        }
    };
}
pub(crate) use note;

/// Bytes for people: text as it is, cut.
pub fn shown(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(60)].escape_ascii().to_string();
    match bytes.len() > 60 {
        true => format!("{text}... ({} bytes)", bytes.len()),
        false => text,
    }
}
