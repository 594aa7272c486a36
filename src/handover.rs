//! What the programs that a web server runs have in common: they give its client to the daemon.

use crate::handoff::Record;
use crate::http::Refusal;
use crate::limits::{HANDOFF_RETRY, HANDOFF_WAIT};
use crate::logging;
use crate::rundir::RunDir;
use crate::sys::{Environment, Kind, Sys};
use crate::variables::Variables;
use std::io::ErrorKind;

/// What the daemon is told of the request. None: there is none; it has been said on stderr.
pub fn record<S: Sys>(program: &str, env: &Environment) -> Option<Record> {
    let mut variables = Variables::default();
    for (name, value) in env {
        if let Some(name) = name.to_str() {
            variables.offer(name, value.as_encoded_bytes());
        }
    }
    if variables.text("REQUEST_METHOD").is_empty() {
        let why = "is a CGI program for a web server to run; see ws2cgi(8)";
        S::log(&logging::line(&format!("{program}: {why}")));
        return None;
    }
    Some(Record {
        program: program.to_owned(),
        variables,
    })
}

/// Standard input or output, and what it is.
pub fn descriptor<S: Sys>(sys: &S, number: u32) -> Option<(S::Fd, Kind)> {
    let fd = sys.inherited(number).ok()?;
    let kind = sys.kind(&fd).unwrap_or(Kind::Other);
    Some((fd, kind))
}

/// Sends a record to the daemon, with descriptors.
pub fn send<S: Sys>(
    sys: &mut S,
    record: &Record,
    run: &RunDir,
    fds: &[&S::Fd],
) -> Result<(), Refusal> {
    let bytes = record.encode();
    let bytes = bytes.ok_or(Refusal::new(
        431,
        "record",
        "431: the request head is too large",
    ))?;
    let path = run.handoff();
    let deadline = sys.now() + HANDOFF_WAIT;
    loop {
        let error = match sys.send_handoff(&path, &bytes, fds) {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        return Err(match error.kind() {
            ErrorKind::WouldBlock if sys.now() < deadline => {
                let _ = sys.wait(Some(sys.now() + HANDOFF_RETRY), &mut Vec::new());
                continue;
            }
            ErrorKind::WouldBlock => Refusal::busy("busy", "503: ws2cgi is busy"),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Refusal::busy(
                "down",
                format!("503: ws2cgi is not running: nobody is at {path}"),
            ),
            _ => Refusal::busy(
                "down",
                format!("503: cannot reach ws2cgi at {path}: {error}"),
            ),
        });
    }
}

/// For the web server's error log: what its owner should know.
pub fn log<S: Sys>(program: &str, refusal: &Refusal) {
    if refusal.status >= 500 {
        S::log(&logging::line(&format!("{program}: {}", refusal.text)));
    }
}
