//! `make soak`: everything at once, for hours if need be, at a rate that leaves the machine mostly
//! idle: on a daemon of this machine, native and by way of C, and on a board without an MMU.
//!
//!     soak MINUTES SEED PLACE ...
//!
//! Each of several places is a process of its own, side by side. It ends with 1 where a promise
//! was broken.

// The ban is on the daemon's floors.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

// Neither is needed as a whole.
#[allow(dead_code)]
#[path = "../nommu/board.rs"]
mod board;
#[allow(dead_code, unused_imports)]
#[path = "../suite/harness/mod.rs"]
mod harness;

mod dice;
mod door;
mod ear;
mod guest;
mod lines;
mod load;
mod measure;
mod place;
mod plot;
mod reader;
mod reading;
mod report;
mod rooms;
mod rush;
mod tally;
mod trouble;
mod visit;

use guest::Guest;
use harness::{PATIENCE, Site, free_port, project, send_head, wait_for};
use load::Load;
use measure::{INTERVAL, Measurement, events};
use place::{Here, Look, NoMmu, Place};
use report::Verdict;
use serde_json::Value;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Each thing that is drawn has come by then, on the slowest board too.
const WARM: Duration = Duration::from_secs(600);

/// One place to soak, for so long.
struct Run {
    name: String,
    minutes: f64,
    seed: u64,
}

fn main() -> ExitCode {
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    let benches = args.iter().position(|arg| arg == "--bench");
    let Some(benches) = benches else {
        return ExitCode::SUCCESS; // `cargo test` builds it, and runs nothing
    };
    args.remove(benches);
    match &args[..] {
        [minutes, seed, only, name] if only == "only" => {
            let run = Run {
                name: name.clone(),
                minutes: minutes.parse().expect("minutes"),
                seed: seed.parse().expect("a seed"),
            };
            ExitCode::from(u8::from(!run.run()))
        }
        [minutes, seed, names @ ..] if !names.is_empty() => {
            ExitCode::from(u8::from(!side_by_side(minutes, seed, names)))
        }
        _ => {
            eprintln!("usage: make soak MINUTES=… [ON='native c nommu'] [SEED=…]");
            ExitCode::from(100)
        }
    }
}

/// A process for each place; whether all promises held in all of them.
fn side_by_side(minutes: &str, seed: &str, names: &[String]) -> bool {
    let start = |name: &String| {
        let mut run = Command::new(std::env::current_exe().expect("this program"));
        run.args(["--bench", minutes, seed, "only", name]);
        if name == "c" {
            run.env("WS2CGI_BIN", project("target/cross/host/ws2cgi"));
            run.env("WS2CGI_SMALL", project("target/cross/host/ws2cgi-small"));
        }
        run.spawn().expect("start")
    };
    let all: Vec<_> = names.iter().map(start).collect();
    let held = all
        .into_iter()
        .map(|mut run| run.wait().expect("wait").success());
    // All of them, before any is looked at.
    held.collect::<Vec<_>>().into_iter().all(|held| held)
}

impl Run {
    /// Whether all promises held.
    fn run(&self) -> bool {
        match self.name.as_str() {
            "native" => self.soak(&Here::start(size_of::<usize>())),
            "c" => self.soak(&Here::start(4)),
            "nommu" => self.soak(&NoMmu::boot()),
            name => panic!("no place {name}: native, c or nommu"),
        }
    }

    fn soak(&self, place: &dyn Place) -> bool {
        let Run {
            name,
            minutes,
            seed,
        } = self;
        let load = Load::new(name, place, *seed);
        // What is opened or allocated once, is now.
        for door in place.doors() {
            let mut guest = Guest::come(&load, door, "echo", &[]);
            assert_eq!(guest.ws.close(1000, ""), 1000);
        }
        // With pipes the daemon opens one of its own, for all of them.
        for pipe in place.pipes() {
            let (answer, _) = pipe.post("/act", "text/plain", b"echo;exit 0;");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        rush::rush(&load);
        let empty = until_empty(place);
        let begin = place.look();
        println!("{name}: seed {seed}; warms up until everything has happened once");
        let mut samples = Vec::new();
        std::thread::scope(|threads| {
            let _end = load.start(threads);
            let start = Instant::now();
            while !load.warm() {
                assert!(
                    start.elapsed() < WARM,
                    "{name}: not everything has happened yet"
                );
                std::thread::sleep(Duration::from_millis(100));
            }
            let mut measurement = Measurement::begin(&load);
            let count = (minutes * 60.0 / INTERVAL.as_secs_f64()).ceil() as usize;
            for n in 1..=count {
                let sample = measurement.next();
                if n % 12 == 0 {
                    println!("{name}: {sample}");
                }
            }
            samples = measurement.samples;
        });
        let status = until_empty(place);
        let end = at_last(place, begin.descriptors);
        let tally = &load.tally;
        let mut verdicts = report::growth(&samples);
        let lost = tally.kinds().values().map(|kind| kind.lost).sum();
        verdicts.push(Verdict::equal("losses", lost, 0));
        let zombies = samples.iter().map(|s| s.zombies as u64).sum();
        verdicts.push(Verdict::equal("zombies", zombies, 0));
        let restarts = samples.last().map_or(0, |s| s.restarts as u64);
        verdicts.push(Verdict::equal("restarts", restarts, 0));
        let [before, after] = [begin.descriptors, end.descriptors].map(|n| n as u64);
        verdicts.push(Verdict::equal("descriptors at the end", after, before));
        verdicts.push(Verdict::equal(
            "children at the end",
            end.children as u64,
            0,
        ));
        let [before, after] = [empty, status.clone()].map(|s| s["memory"]["used"].as_u64());
        verdicts.push(Verdict::equal(
            "bytes counted to --memory at the end",
            after.expect("a number"),
            before.expect("a number"),
        ));
        verdicts.extend(accounts(&status, tally));
        let complaints = place.complaints();
        for line in complaints.iter().take(20) {
            println!("{name}: unexpected: {line}");
        }
        let count = complaints.len() as u64;
        verdicts.push(Verdict::equal("unexpected lines in the log", count, 0));

        report::table(name, &samples);
        let title = format!("ws2cgi, {name}: {minutes} minutes, seed {seed}");
        report::plot(&project("target/soak"), name, &title, &samples);
        for (what, kind) in tally.kinds() {
            println!("{name}: {what}: {}, {} lost", kind.came, kind.lost);
        }
        println!("{name}: {} events", events(&status));
        for ((what, before), (_, after)) in begin.memory.iter().zip(&end.memory) {
            println!("{name}: {what} without clients: {before:.0} KB before, {after:.0} KB after");
        }
        report::verdicts(name, &verdicts)
    }
}

/// Waits until all clients have gone; what status.json says then.
fn until_empty(place: &dyn Place) -> Value {
    wait_for("all clients to go", || {
        let status = place.status();
        let connections = status["connections"].as_array().map(Vec::len);
        (connections == Some(0) && status["jobs"] == 0).then_some(status)
    })
}

/// A look at it once it has no more descriptors than so many, as answers are read and lingered
/// behind; or at last.
fn at_last(place: &dyn Place, descriptors: usize) -> Look {
    let start = Instant::now();
    loop {
        let look = place.look();
        if look.descriptors <= descriptors || start.elapsed() > PATIENCE {
            return look;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What the daemon counted is what was done to it.
fn accounts(status: &Value, tally: &tally::Tally) -> Vec<Verdict> {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let closes = status["closes"].as_object().into_iter().flatten();
    let closes: u64 = closes.filter_map(|(_, count)| count.as_u64()).sum();
    let accepted = tally.count("connections accepted");
    let failed = |kind| tally.count(kind);
    vec![
        Verdict::equal("accepted", number("/accepted"), accepted),
        Verdict::equal("closes by code", closes, accepted),
        Verdict::equal("close events", number("/events/close/done"), accepted),
        Verdict::equal("close events failed", number("/events/close/failed"), 0),
        Verdict::equal("close events not run", number("/closes_not_run"), 0),
        Verdict::equal(
            "message events failed on purpose",
            number("/events/message/failed"),
            failed("message events failed"),
        ),
        Verdict::equal(
            "open events failed on purpose",
            number("/events/open/failed"),
            failed("open events failed"),
        ),
        Verdict::equal(
            "slow readers closed with 1013",
            number("/closes/1013"),
            failed("slow readers closed"),
        ),
        Verdict::equal(
            "messages numbered",
            number("/history/next"),
            tally.count("lines sent") + 1,
        ),
        Verdict::equal("bad lines in the outbox", number("/outbox/bad"), 0),
        Verdict::equal("log lines dropped", number("/log_lines_dropped"), 0),
    ]
}
