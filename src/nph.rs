//! `nph-*`: the hand-off. Exec'd by the web server, it gives the client's connection and
//! the CGI environment to the daemon and exits. Where it can't, it answers for itself. So does
//! a program of another name with what is no POST.

use crate::handoff::Record;
use crate::handover::{descriptor, log, record, send};
use crate::handshake::{check_method, check_upgrade};
use crate::http::{Refusal, Style};
use crate::rundir::RunDir;
use crate::sys::{Environment, Kind, Sys, write_all};

/// Runs `nph-NAME`. The exit code is 0 where it did its part, answers among them.
pub fn run<S: Sys>(sys: &mut S, program: &str, called_as: &str, env: &Environment) -> u8 {
    let Some(record) = record::<S>(program, env) else {
        return 100;
    };
    let run = RunDir::find(sys, called_as, env);
    if let Err(refusal) = hand_over(sys, &record, &run) {
        log::<S>(program, &refusal);
        answer(sys, &refusal, record.style());
    }
    0
}

fn hand_over<S: Sys>(sys: &mut S, record: &Record, run: &RunDir) -> Result<(), Refusal> {
    let variables = &record.variables;
    check_method(variables)?;
    let software = variables.text("SERVER_SOFTWARE");
    let upgrade = check_upgrade(variables).is_ok();
    // With the key but not the wish, the server has kept the Upgrade field to itself.
    if !upgrade && variables.get("HTTP_SEC_WEBSOCKET_KEY").is_some() {
        return Err(no_way(software));
    }
    let stdin = descriptor(sys, 0);
    let (stdout, to) = descriptor(sys, 1).ok_or_else(|| no_way(software))?;
    match (stdin, to, upgrade) {
        (_, Kind::Stream { remote, .. }, _) if remote.is_some() || !upgrade => {
            send(sys, record, run, &[&stdout])
        }
        (Some((stdin, Kind::PipeReader)), Kind::PipeWriter, true) => {
            send(sys, record, run, &[&stdin, &stdout])
        }
        // Without an upgrade the browser has said all it has to say.
        (_, Kind::PipeWriter, false) => send(sys, record, run, &[&stdout]),
        // The browser has gone meanwhile: nobody is there to answer.
        (_, Kind::Unconnected, _) => Ok(()),
        _ => Err(no_way(software)),
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
fn answer<S: Sys>(sys: &S, refusal: &Refusal, style: Style) {
    let Ok(stdout) = sys.inherited(1) else {
        return;
    };
    // Nobody parses what goes to the browser's own socket.
    let style = match sys.kind(&stdout) {
        Ok(Kind::Stream { remote, .. }) if remote.is_some() => Style::Http,
        _ => style,
    };
    // A client that is gone needs no answer.
    let _ = write_all(sys, &stdout, &refusal.answer().to_bytes(style));
    sys.shutdown(&stdout, true);
}
