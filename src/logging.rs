//! The log: one line a record on stderr, that no peer can forge and that never blocks.

use crate::limits::LOG_LINE;
use crate::sys::Sys;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::io::{self, Write};

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// The target of the one line that every start logs.
pub const START: &str = "start";

/// Lines that could not be written because nobody reads stderr.
pub fn dropped() -> usize {
    DROPPED.load(Relaxed)
}

/// Starts logging; `filter` is RUST_LOG.
pub fn init<S: Sys>(filter: Option<&str>) {
    const DEFAULT: &str = "warn";
    let known = |f: &&str| f.contains('=') || f.parse::<log::LevelFilter>().is_ok();
    let filter = filter.filter(|filter| !filter.is_empty());
    let (chosen, unknown) = match filter {
        Some(filter) if !known(&filter) => (DEFAULT, Some(filter)),
        filter => (filter.unwrap_or(DEFAULT), None),
    };
    let mut builder = env_logger::Builder::new();
    // The line of the start is for everyone who has not asked for silence.
    let start = if chosen == "off" { "off" } else { "info" };
    builder
        .parse_filters(&format!("{START}={start},{chosen}"))
        .format(|out, record| {
            out.write_all(&line(&format!("{} {}", record.level(), record.args())))
        });
    builder.target(env_logger::Target::Pipe(Box::new(Stderr(S::log))));
    // Fails only where a logger is set already, as in tests.
    let _ = builder.try_init();
    if let Some(unknown) = unknown {
        log::warn!("RUST_LOG={unknown} is no level (off, error, warn, info, debug or trace)");
    }
}

/// A text as one line: control characters escaped, cut to what one write takes whole.
pub fn line(text: &str) -> Vec<u8> {
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if line.len() + 12 > LOG_LINE {
            line.push_str("...");
            break;
        }
        match c.is_control() || MISLEADING.contains(&c) {
            // Infallible on a String.
            true => drop(write!(line, "{}", c.escape_default())),
            false => line.push(c),
        }
    }
    line.push('\n');
    line.into_bytes()
}

/// Line and paragraph separators, and what turns the direction of writing.
const MISLEADING: [char; 13] = [
    '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}',
    '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

struct Stderr(fn(&[u8]) -> bool);

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !(self.0)(line) {
            DROPPED.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_forged_lines() {
        assert_eq!(line("a\nb\x1b[2J\r\u{85}"), b"a\\nb\\u{1b}[2J\\r\\u{85}\n");
        let long = line(&"\n".repeat(9999));
        assert!(long.len() <= LOG_LINE && long.ends_with(b"...\n"));
    }
}
