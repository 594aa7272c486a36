//! `nph-*`: the hand-off. Exec'd by the web server, it gives the client's connection and
//! the CGI environment to the daemon and exits. Where it can't, it answers for itself.

use crate::handoff::Record;
use crate::handshake::{check_method, check_upgrade};
use crate::http::{Refusal, reason};
use crate::limits::HANDOFF_WAIT;
use crate::logging;
use crate::rundir::RunDir;
use crate::sys::{Environment, Kind, Sys, write_all};
use crate::variables::Variables;
use core::time::Duration;
use std::io::ErrorKind;

/// Between two tries while the daemon's socket is full.
const RETRY: Duration = Duration::from_millis(10);

/// Runs `nph-NAME`. The exit code is 0 where it did its part, answers among them.
pub fn run<S: Sys>(sys: &mut S, program: &str, called_as: &str, env: &Environment) -> u8 {
    let mut variables = Variables::default();
    for (name, value) in env {
        if let Some(name) = name.to_str() {
            variables.offer(name, value.as_encoded_bytes());
        }
    }
    if variables.text("REQUEST_METHOD").is_empty() {
        let why = "is a CGI program for a web server to run; see ws2cgi(8)";
        S::log(&logging::line(&format!("{program}: {why}")));
        return 100;
    }
    let run = RunDir::find(sys, called_as, env);
    let record = Record {
        program: program.to_owned(),
        variables,
    };
    if let Err(refusal) = hand_over(sys, &record, &run) {
        if refusal.status >= 500 {
            // The web server's error log.
            S::log(&logging::line(&format!("{program}: {}", refusal.text)));
        }
        answer(sys, &refusal, record.variables.text("SERVER_SOFTWARE"));
    }
    0
}

fn hand_over<S: Sys>(sys: &mut S, record: &Record, run: &RunDir) -> Result<(), Refusal> {
    let variables = &record.variables;
    check_method(variables)?;
    let software = variables.text("SERVER_SOFTWARE");
    check_upgrade(variables).map_err(|refusal| {
        // With the key but not the wish, the server has kept the Upgrade field to itself.
        match variables.get("HTTP_SEC_WEBSOCKET_KEY") {
            Some(_) => no_way(software),
            None => refusal,
        }
    })?;
    let descriptor = |number| {
        let fd = sys.inherited(number).map_err(|_| no_way(software))?;
        let kind = sys.kind(&fd).unwrap_or(Kind::Other);
        Ok((fd, kind))
    };
    let ((stdin, from), (stdout, to)) = (descriptor(0)?, descriptor(1)?);
    let fds = match (from, to) {
        (
            _,
            Kind::Stream {
                remote: Some(_), ..
            },
        ) => vec![&stdout],
        (Kind::PipeReader, Kind::PipeWriter) => vec![&stdin, &stdout],
        // The browser has gone meanwhile: nobody is there to answer.
        (_, Kind::Unconnected) => return Ok(()),
        _ => return Err(no_way(software)),
    };
    let bytes = record.encode();
    let bytes = bytes.ok_or(Refusal::new(
        431,
        "record",
        "431: the request head is too large",
    ))?;
    let path = run.handoff();
    let deadline = sys.now() + HANDOFF_WAIT;
    loop {
        let error = match sys.send_handoff(&path, &bytes, &fds) {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        return Err(match error.kind() {
            ErrorKind::WouldBlock if sys.now() < deadline => {
                let _ = sys.wait(Some(sys.now() + RETRY), &mut Vec::new());
                continue;
            }
            ErrorKind::WouldBlock => Refusal::busy("busy", "503: the WebSocket daemon is busy"),
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

/// An upgrade was asked for, but this web server gives its programs no way to the browser.
fn no_way(software: &str) -> Refusal {
    let cure = if software.starts_with("Boa/0.94.13") {
        "boa 0.94.13 gives nph- programs a pipe; use 0.94.14rc21, or take the '|| 1' out of \
         its cgi.c"
    } else if software.starts_with("Boa/0.93") {
        "boa 0.93 hands over only where the path ends in the nph- name; use /cgi-bin/nph-NAME \
         with nothing behind it"
    } else if software.starts_with("Boa/") {
        "the program's name must begin with nph- and stand right behind the ScriptAlias"
    } else if software.starts_with("lighttpd/") {
        "lighttpd needs cgi.upgrade = \"enable\""
    } else {
        "it gives CGI programs neither the socket nor two open pipes; use ws2cgi --listen behind it"
    };
    let shown = if software.is_empty() {
        "this web server"
    } else {
        software
    };
    Refusal::new(
        500,
        "server",
        format!("500: {shown} handed over no connection: {cure}"),
    )
}

/// Answers in the server's stead, and ends the connection at once: boa's parent may be
/// reading a POST's body from it, with all of boa waiting.
fn answer<S: Sys>(sys: &S, refusal: &Refusal, software: &str) {
    let Ok(stdout) = sys.inherited(1) else {
        return;
    };
    // Not run as NPH where the name is not the path's last segment: it parses CGI headers.
    let bytes = match software.starts_with("Boa/0.93")
        && sys.kind(&stdout).ok() == Some(Kind::PipeWriter)
    {
        true => {
            let status = refusal.status;
            let head = format!(
                "Status: {status} {}\r\nContent-Type: text/plain\r\n\r\n",
                reason(status)
            );
            [
                head.into_bytes(),
                refusal.text.clone().into_bytes(),
                b"\n".to_vec(),
            ]
            .concat()
        }
        false => refusal.to_bytes(),
    };
    // A client that is gone needs no answer.
    let _ = write_all(sys, &stdout, &bytes);
    sys.shutdown(&stdout, true);
}
