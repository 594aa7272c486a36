//! `ws-send`: the outbox from a command line.

use crate::close::Close;
use crate::config::complaint;
use crate::logging;
use crate::outbox::Opcode;
use crate::outlet::{Failure, Outlet, read_input};
use crate::rundir::RunDir;
use crate::sys::{Environment, Sys, print, variable};
use crate::target::{Target, room};
use lexopt::prelude::*;
use std::ffi::OsString;

const HELP: &str = "\
ws-send: send to the browsers of ws2cgi

usage: ws-send [--binary] [--run DIR] TARGET [WORD ...]
       ws-send --close [--run DIR] TARGET [CODE [REASON ...]]
       ws-send --join|--leave [--run DIR] TARGET @ROOM
       ws-send --help|--version

TARGET is a connection's id, @room, /route or @all; ~ID behind it leaves one out.
Without a WORD the message is read from standard input. See ws-send(1).
";

enum Verb {
    Send(Opcode),
    Close,
    Join,
    Leave,
}

/// Runs `ws-send`. Returns its exit code: 0, 100 or 111.
pub fn run<S: Sys>(sys: &S, called_as: &str, args: Vec<OsString>, env: &Environment) -> u8 {
    let failure = match send(sys, called_as, args, env) {
        Ok(()) => return 0,
        Err(failure) => failure,
    };
    let (code, why) = match failure {
        Failure::Usage(why) => (100, why),
        Failure::NotRunning(why) | Failure::System(why) => (111, why),
    };
    S::log(&logging::line(&format!("ws-send: {why}")));
    code
}

fn send<S: Sys>(
    sys: &S,
    called_as: &str,
    args: Vec<OsString>,
    env: &Environment,
) -> Result<(), Failure> {
    let variable = |name| variable(env, name);
    if variable("GATEWAY_INTERFACE").is_some() && variable("WS_EVENT").is_none() {
        let why = "this is no web endpoint (ws-push is); only event programs may call it";
        return Err(Failure::Usage(why.to_owned()));
    }
    let say = |text| print(sys, text).map_err(|e| Failure::System(e.to_string()));
    let usage = |why: String| Failure::Usage(format!("{why} (--help shows the usage)"));
    let (mut verb, mut run) = (Verb::Send(Opcode::Text), None);
    let mut parser = lexopt::Parser::from_args(args);
    let target = loop {
        match parser.next().map_err(|e| usage(complaint(e)))? {
            Some(Long("binary")) => verb = Verb::Send(Opcode::Binary),
            Some(Long("close")) => verb = Verb::Close,
            Some(Long("join")) => verb = Verb::Join,
            Some(Long("leave")) => verb = Verb::Leave,
            Some(Long("run")) => {
                let value = parser.value().and_then(|v| v.string());
                run = Some(value.map_err(|e| usage(e.to_string()))?);
            }
            Some(Long("help") | Short('h')) => {
                return say(HELP);
            }
            Some(Long("version") | Short('V')) => {
                return say(concat!("ws-send ", env!("CARGO_PKG_VERSION"), "\n"));
            }
            Some(Value(target)) => break target,
            Some(other) => return Err(usage(complaint(other.unexpected()))),
            None => return Err(usage("no TARGET".to_owned())),
        }
    };
    let text = |word: OsString| {
        word.into_string()
            .map_err(|_| usage("a word is not UTF-8".into()))
    };
    let target = Target::parse(&text(target)?).map_err(usage)?;
    // Behind TARGET a word is a word, `-3.5` too.
    let words = parser.raw_args().map_err(|e| usage(e.to_string()))?;
    let words = words.map(text).collect::<Result<Vec<_>, _>>()?;

    let run = match (
        run,
        variable("WS_OUTBOX").and_then(|path| path.strip_suffix("/outbox")),
    ) {
        (Some(run), _) => RunDir::new(&run),
        (None, Some(run)) => RunDir::new(run),
        (None, None) => RunDir::find(sys, called_as, env),
    };
    let outlet = Outlet::new(run);
    let line = match verb {
        Verb::Send(opcode) => {
            let payload = payload(sys, opcode, &words)?;
            return outlet.send(sys, opcode, &target, &payload);
        }
        Verb::Close => {
            let close = Close::parse(&words.join(" ")).map_err(usage)?;
            // One line, whatever the reason holds.
            let reason: String = close
                .reason
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            format!("close {target} {} {reason}\n", close.code)
        }
        Verb::Join | Verb::Leave => {
            let room = room(&words.join(" ")).map_err(usage)?;
            let verb = if matches!(verb, Verb::Join) {
                "join"
            } else {
                "leave"
            };
            format!("{verb} {target} @{room}\n")
        }
    };
    outlet.command(sys, &line)
}

fn payload<S: Sys>(sys: &S, opcode: Opcode, words: &[String]) -> Result<Vec<u8>, Failure> {
    if !words.is_empty() {
        return Ok(words.join(" ").into_bytes());
    }
    let mut input = read_input(sys, None)?;
    if opcode == Opcode::Text && input.last() == Some(&b'\n') {
        input.pop();
    }
    Ok(input)
}
