//! The hand-off record: what `nph-*` tells the daemon in one datagram, beside the
//! descriptors. `ws2cgi/1 NAME`, then `KEY=VALUE`, each ended by a NUL.

use crate::http::Style;
use crate::limits::HANDOFF_RECORD;
use crate::variables::Variables;

const MAGIC: &str = "ws2cgi/1 ";

/// A record as the daemon believes it: only what the allowlist lets in.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// The name the hand-off program was called by, `nph-ws`.
    pub program: String,
    /// The web server's CGI variables.
    pub variables: Variables,
}

impl Record {
    /// What the web server makes of an answer that goes through it: from a program whose name
    /// begins with `nph-` it takes it as it is.
    pub fn style(&self) -> Style {
        let software = self.variables.text("SERVER_SOFTWARE");
        // boa 0.93 looks at the last segment of the path only.
        match self.program.starts_with("nph-") && !software.starts_with("Boa/0.93") {
            true => Style::Http,
            false => Style::Cgi,
        }
    }

    /// None: longer than a datagram may be.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for part in [MAGIC.as_bytes(), self.program.as_bytes(), b"\0"] {
            bytes.extend_from_slice(part);
        }
        for (name, value) in self.variables.iter() {
            for part in [name.as_bytes(), b"=", value, b"\0"] {
                bytes.extend_from_slice(part);
            }
        }
        (bytes.len() <= HANDOFF_RECORD).then_some(bytes)
    }

    /// Reads a record from a sender that may be anyone; the error names what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Record, &'static str> {
        let whole = bytes
            .strip_suffix(b"\0")
            .ok_or("it does not end with NUL")?;
        let mut fields = whole.split(|&b| b == 0);
        let head = fields.next().unwrap_or_default();
        let program = head
            .strip_prefix(MAGIC.as_bytes())
            .ok_or("it is of another version of ws2cgi, or no hand-off record")?;
        let program =
            core::str::from_utf8(program).map_err(|_| "its program's name is not UTF-8")?;
        let mut variables = Variables::default();
        for field in fields {
            let equals = field
                .iter()
                .position(|&b| b == b'=')
                .ok_or("a field has no '='")?;
            let name = core::str::from_utf8(&field[..equals]).unwrap_or_default();
            if !variable_name(name) {
                return Err("a field has a bad name");
            }
            variables.offer(name, &field[equals + 1..]);
        }
        Ok(Record {
            program: program.to_owned(),
            variables,
        })
    }
}

/// POSIX: letters, digits, underscores, no digit first.
fn variable_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(word) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        let mut variables = Variables::default();
        variables.offer("HTTP_HOST", b"board");
        variables.offer("QUERY_STRING", b"");
        let record = Record {
            program: "nph-ws".into(),
            variables,
        };
        assert_eq!(Record::parse(&record.encode().unwrap()), Ok(record));
    }

    #[test]
    fn malformed_records() {
        for bad in [
            &b""[..],
            b"\0",
            b"ws2cgi/1 nph-ws",
            b"ws2cgi/2 nph-ws\0",
            b"GET / HTTP/1.1\r\n\0",
            b"ws2cgi/1 nph-ws\0HTTP_HOST\0",
            b"ws2cgi/1 nph-ws\0=x\0",
            b"ws2cgi/1 nph-ws\09A=x\0",
            b"ws2cgi/1 nph-ws\0BASH_FUNC_x%%=x\0",
            b"ws2cgi/1 nph-\xff\0",
            b"ws2cgi/1 nph-ws\0\0",
        ] {
            assert!(
                Record::parse(bad).is_err(),
                "{:?}",
                bad.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn too_long_is_not_encoded() {
        let mut variables = Variables::default();
        variables.offer("HTTP_COOKIE", &[b'x'; HANDOFF_RECORD]);
        assert_eq!(
            Record {
                program: "nph-ws".into(),
                variables
            }
            .encode(),
            None
        );
    }
}
