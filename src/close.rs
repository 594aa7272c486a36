//! How a connection ends: close codes and reasons (RFC 6455 §7.4).

use crate::limits::CLOSE_REASON;

/// A close frame's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code, one that may be sent.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: String,
}

impl Close {
    /// A reason that is too long is cut on a character.
    pub fn new(code: u16, reason: &str) -> Close {
        let mut end = reason.len().min(CLOSE_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Close {
            code,
            reason: reason[..end].to_owned(),
        }
    }

    /// Reads `[CODE [REASON]]` as in `WS-Close` and the outbox; the code defaults to 1000.
    pub fn parse(text: &str) -> Result<Close, String> {
        let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
        let code = match code {
            "" => 1000,
            _ => match code.parse() {
                Ok(number) if may_be_sent(number) => number,
                _ => return Err(format!("no close code that may be sent: '{code}'")),
            },
        };
        Ok(Close::new(code, reason))
    }
}

/// Whether a code may stand in a close frame: those of the IANA registry but 1004, 1005, 1006
/// and 1015, which are reserved, those for frameworks, and private ones (RFC 6455 §7.4).
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// How a connection ended: `WS_CLOSE_CODE`, `WS_CLOSE_REASON`, `WS_CLOSE_BY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The peer's code, 1005 where it sent none, 1006 where it vanished, ours as sent.
    pub code: u16,
    /// The reason given.
    pub reason: String,
    /// Who ended it.
    pub by: By,
}

impl Ending {
    /// The peer vanished, without a close frame.
    pub fn vanished(by: By) -> Ending {
        Ending {
            code: 1006,
            reason: String::new(),
            by,
        }
    }
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The browser: a close frame, or it vanished.
    Client,
    /// `WS-Close`, the outbox, a shutdown.
    Server,
    /// It answered no ping, or was too slow a reader.
    Timeout,
    /// It broke the protocol or a bound, or its program failed.
    Error,
}

impl By {
    /// The value of `WS_CLOSE_BY`.
    pub fn name(self) -> &'static str {
        match self {
            By::Client => "client",
            By::Server => "server",
            By::Timeout => "timeout",
            By::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_arguments() {
        assert_eq!(Close::parse("").unwrap(), Close::new(1000, ""));
        assert_eq!(
            Close::parse("4000 so long").unwrap(),
            Close::new(4000, "so long")
        );
        for bad in [
            "0", "999", "1004", "1005", "1006", "1015", "1016", "2999", "5000", "x", "-1",
        ] {
            assert!(Close::parse(bad).is_err(), "{bad}");
        }
        for good in ["1000", "1003", "1007", "1014", "3000", "4999"] {
            assert!(Close::parse(good).is_ok(), "{good}");
        }
        assert_eq!(Close::new(1000, &"é".repeat(100)).reason, "é".repeat(61));
    }
}
