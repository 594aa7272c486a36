//! `make bench-longpoll`: the same updates by long polling over CGI, as boards do it, and by
//! ws2cgi's three ways, through the same web server in one run.

// The ban is on the daemon's floors.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

// It needs a part of it only.
#[allow(dead_code, unused_imports)]
#[path = "../../suite/harness/mod.rs"]
mod harness;

mod browsers;
#[path = "../cost.rs"]
mod cost;
mod plot;
mod programs;
mod report;
mod run;
mod way;

use programs::Programs;
use report::Report;
use run::{Run, measure};
use std::path::PathBuf;
use std::time::Duration;
use way::Way;

/// Updates a second.
const RATE: u32 = 10;

/// What `make bench-longpoll NAME=VALUE …` says.
struct Wishes {
    time: Duration,
    rounds: usize,
    clients: Vec<usize>,
    server: String,
    out: PathBuf,
}

impl Wishes {
    fn read(args: &[String]) -> Wishes {
        let mut wishes = Wishes {
            time: Duration::from_secs(10),
            rounds: 3,
            clients: vec![5, 20, 60],
            server: "boa".to_owned(),
            out: harness::built().join("longpoll"),
        };
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number: {text}"));
        for arg in args {
            match arg.split_once('=').unwrap_or((arg, "")) {
                ("SECONDS", value) => wishes.time = Duration::from_secs(number(value)),
                ("ROUNDS", value) => wishes.rounds = number(value) as usize,
                ("CLIENTS", value) => {
                    wishes.clients = value.split(' ').map(|n| number(n) as usize).collect();
                }
                ("SERVER", value) => wishes.server = value.to_owned(),
                ("OUT", value) => wishes.out = harness::project(value),
                _ => panic!("{arg}: SECONDS=, ROUNDS=, CLIENTS=, SERVER= or OUT="),
            }
        }
        wishes
    }
}

fn main() {
    let all = std::env::args().skip(1);
    let (cargo, args): (Vec<_>, Vec<_>) = all.partition(|arg| arg == "--bench");
    if cargo.is_empty() {
        return; // `cargo test` builds it, and runs nothing
    }
    let wishes = Wishes::read(&args);
    let programs = Programs::compile();
    let mut report = Report::new(&args, &wishes, &programs);
    for round in 0..wishes.rounds {
        for &clients in &wishes.clients {
            // Whoever else is busy on this machine is so for all of them.
            for i in 0..Way::ALL.len() {
                let way = Way::ALL[(i + round) % Way::ALL.len()];
                let run = Run {
                    way,
                    clients,
                    time: wishes.time,
                    server: &wishes.server,
                    programs: &programs,
                };
                report.add(way, clients, measure(&run));
            }
        }
    }
    report.print_goals();
    report.write(&wishes.out);
}
