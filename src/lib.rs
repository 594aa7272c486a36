//! ws2cgi: WebSockets for boards whose web server only knows CGI.
//!
//! One binary, many programs: the name it is called by decides (also `ws2cgi NAME ...`).
//! The rooms stand here in the order of their floors. Each knows only those of the blocks
//! above its own, and none of its neighbours; a test sees to it.
//! ARCHITECTURE.md shows the plan, and follows one message through it.

// Every bound.
pub mod limits;

// The only door to the operating system.
pub mod sys;

// Grammars and tables, without I/O. Those that stand alone,
pub mod close;
pub mod copy;
pub mod http;
pub mod json;
pub mod memory;
pub mod name;
pub mod query;
pub mod table;
pub mod variables;

// those made of them,
pub mod counters;
pub mod handoff;
pub mod handshake;
pub mod logging;
pub mod route;

pub mod head;
pub mod target;

pub mod key;

// what the board says to its browsers, and the forms that it takes,
pub mod outbox;

pub mod event;
pub mod frame;
pub mod reply;

pub mod config;
pub mod element;
pub mod history;
pub mod way;

pub mod queue;

// One of each: a folder, its outbox, a protocol, a browser's descriptors, a child.
pub mod rundir;
pub mod websocket;
pub mod wire;

pub mod handover;
pub mod job;
pub mod outlet;

// What all browsers share,
pub mod shared;

// and one browser, with all that is its own.
pub mod client;

// The programs.
pub mod nph;
pub mod post;
pub mod push;
pub mod send;
pub mod server;

use config::{Config, HELP, Wish};
use std::ffi::OsString;
use sys::{Environment, Sys, print};

/// Runs the program that `args` (argv, its name included) names. Returns the exit code:
/// 0 done, 100 usage, 111 system.
pub fn run<S: Sys>(mut sys: S, args: Vec<OsString>, env: Environment) -> u8 {
    let mut args = args.into_iter();
    let mut called_as = args
        .next()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut args: Vec<_> = args.collect();
    if applet(&called_as).is_none() {
        if stands_in(&called_as, &env) {
            // Before argv is read: boa makes it of the query.
            return hand_over(&mut sys, file_name(&called_as), &called_as, &env);
        }
        // `ws2cgi NAME ...`; its options begin with a dash.
        let first = args.first().map(|arg| arg.to_string_lossy().into_owned());
        if let Some(name) = first.filter(|name| applet(name).is_some()) {
            // The folder stays that of the binary.
            let folder = called_as.rsplit_once('/').map_or("", |(folder, _)| folder);
            called_as = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            args.remove(0);
        }
    }
    match applet(&called_as) {
        Some("ws-send") => send::run(&sys, &called_as, args, &env),
        // Nor do these read it.
        Some("ws-push") => push::run(&sys, &called_as, &env),
        Some(nph) if nph.starts_with("nph-") => nph::run(&mut sys, nph, &called_as, &env),
        Some(other) => hand_over(&mut sys, other, &called_as, &env),
        None => daemon(sys, args, &env),
    }
}

/// An ordinary CGI program, whose output the web server parses.
fn hand_over<S: Sys>(sys: &mut S, program: &str, called_as: &str, env: &Environment) -> u8 {
    match variable(env, "REQUEST_METHOD") {
        Some("GET") => nph::run(sys, program, called_as, env),
        _ => post::run(sys, program, called_as, env),
    }
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The small program of a name or path, if it is one.
fn applet(called_as: &str) -> Option<&str> {
    let name = file_name(called_as);
    let fixed = ["ws-send", "ws-push", "ws-post"].contains(&name);
    (fixed || name.starts_with("nph-") || name.starts_with("post-")).then_some(name)
}

/// Whether a web server runs us by a name that says nothing: that of a program whose place we
/// have taken. (A program of ours has WS_EVENT, and may run any copy of ws2cgi.)
fn stands_in(called_as: &str, env: &Environment) -> bool {
    let request = |name| variable(env, name).is_some();
    file_name(called_as) != "ws2cgi" && request("GATEWAY_INTERFACE") && !request("WS_EVENT")
}

fn variable<'a>(env: &'a Environment, name: &str) -> Option<&'a str> {
    let found = env.iter().find(|(n, _)| n == name);
    found.and_then(|(_, value)| value.to_str())
}

fn daemon<S: Sys>(sys: S, args: Vec<OsString>, env: &Environment) -> u8 {
    let complain = |why: &str| S::log(&logging::line(&format!("ws2cgi: {why}")));
    let say = |text| match print(&sys, text) {
        Ok(()) => 0,
        Err(_) => 111,
    };
    if variable(env, "GATEWAY_INTERFACE").is_some() {
        complain("the daemon is no CGI program; link it as nph-ws and let the web server run that");
        return 100;
    }
    let config = match Config::parse(args) {
        Ok(Wish::Serve(config)) => *config,
        Ok(Wish::Help) => return say(HELP),
        Ok(Wish::Version) => return say(concat!("ws2cgi ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(why) => {
            complain(&why);
            return 100;
        }
    };
    logging::init::<S>(variable(env, "RUST_LOG"));
    match server::serve(sys, config) {
        Ok(()) => 0,
        Err(why) => {
            complain(&why);
            111
        }
    }
}
