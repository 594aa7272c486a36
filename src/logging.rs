//! The log: one line a record on stderr, that no peer can forge and that never blocks.

use crate::limits::LOG_LINE;
use crate::sys::Sys;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use log::{LevelFilter, Log, Metadata, Record};

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// The target of the one line that every start logs.
pub const START: &str = "start";

/// Lines that could not be written because nobody reads stderr.
pub fn dropped() -> usize {
    DROPPED.load(Relaxed)
}

/// Starts logging; `level` is RUST_LOG.
pub fn init<S: Sys>(level: Option<&str>) {
    let level = level.filter(|level| !level.is_empty());
    let known = level.map(|level| level.parse().map_err(|_| level));
    let (level, unknown) = match known {
        Some(Ok(level)) => (level, None),
        Some(Err(unknown)) => (LevelFilter::Warn, Some(unknown)),
        None => (LevelFilter::Warn, None),
    };
    let logger = Logger {
        level,
        write: S::log,
    };
    // Fails only where a logger is set already, as in tests.
    if log::set_logger(Box::leak(Box::new(logger))).is_ok() {
        // The line of the start is for everyone who has not asked for silence.
        log::set_max_level(match level {
            LevelFilter::Off => LevelFilter::Off,
            level => level.max(LevelFilter::Info),
        });
    }
    if let Some(unknown) = unknown {
        log::warn!("RUST_LOG={unknown} is no level (off, error, warn, info, debug or trace)");
    }
}

struct Logger {
    level: LevelFilter,
    write: fn(&[u8]) -> bool,
}

impl Log for Logger {
    fn enabled(&self, record: &Metadata) -> bool {
        record.level() <= self.level || record.target() == START
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let text = format!("{} {}", record.level(), record.args());
            if !(self.write)(&line(&text)) {
                DROPPED.fetch_add(1, Relaxed);
            }
        }
    }

    fn flush(&self) {}
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
