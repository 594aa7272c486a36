//! ws2cgi: WebSockets for boards whose web server only knows CGI.
//!
//! One binary, many programs: the name it is called by decides (`small.rs`). A second binary,
//! `ws2cgi-small`, is all of them but the daemon.
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
pub mod memory;
pub mod name;
pub mod query;
pub mod table;
pub mod variables;

// those made of them,
pub mod counters;
pub mod handoff;
pub mod handshake;
pub mod json;
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

// Which of the small ones a name means.
pub mod small;

use config::{Config, HELP, Wish};
use std::ffi::OsString;
use sys::{Environment, Sys, print, variable};

/// Runs what `args` (argv, its name included) asks `ws2cgi` for: a small program, else the
/// daemon. Returns the exit code: 0 done, 100 usage, 111 system.
pub fn run<S: Sys>(mut sys: S, args: Vec<OsString>, env: Environment) -> u8 {
    match small::Call::of(args, &env) {
        Ok(call) => call.run(&mut sys, &env),
        Err(args) => daemon(sys, args, &env),
    }
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
