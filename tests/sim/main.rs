//! The whole daemon against an operating system in memory. See ARCHITECTURE.md, "Simulation".
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

#[path = "mod.rs"]
mod sim;

use sim::*;

use call::Sim;
use log::LevelFilter::{Debug, Warn};
use plan::Plan;
use run::run;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use world::Seen;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name}={text} is no number"),
    }
}

fn main() -> ExitCode {
    run::keep_panics();
    // The first logger stays: it lets all through, and the level says what there is.
    ws2cgi::logging::init::<Sim>(Some("debug"));
    log::set_max_level(Warn);
    let bytes = std::env::var("BYTES").ok().filter(|path| !path.is_empty());
    if let Some(path) = bytes {
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        return one(&draw::from_bytes(&bytes), &format!("BYTES={path}"));
    }
    let plan = std::env::var("PLAN").ok().filter(|path| !path.is_empty());
    if let Some(path) = plan {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let plan = Plan::parse(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
        return one(&plan, &format!("PLAN={path}"));
    }
    if let Some(seed) = number("SEED") {
        return one(&plan_of(seed), &format!("SEED={seed}"));
    }
    let first = number("FIRST").unwrap_or(0);
    let count = number("SEEDS").unwrap_or(20_000);
    match (number("KEPT") == Some(0) || kept()) && replayed(first, count.min(REPLAYED)) {
        true => many(first, count),
        false => ExitCode::FAILURE,
    }
}

/// Seeds that are run twice.
const REPLAYED: u64 = 50;

/// Runs with all that happens in them: the level is one for all threads.
fn traced<T>(runs: impl FnOnce() -> T) -> T {
    log::set_max_level(Debug);
    let outcome = runs();
    log::set_max_level(Warn);
    outcome
}

/// Whether these seeds show again what they showed: in another thread, and with nobody looking.
fn replayed(first: u64, count: u64) -> bool {
    (first..first + count).all(|seed| {
        let plan = plan_of(seed);
        let (once, again) = traced(|| {
            std::thread::scope(|scope| {
                let again = scope.spawn(|| run(&plan, true));
                (run(&plan, true), again.join().expect("no thread panics"))
            })
        });
        let line = |trace: &[String], i: usize| trace.get(i).cloned().unwrap_or_default();
        let lines = 0..once.trace.len().max(again.trace.len());
        let differs = lines
            .into_iter()
            .find(|i| once.trace.get(*i) != again.trace.get(*i));
        if let Some(i) = differs {
            println!(
                "seed {seed}: WRONG: run twice it differs from line {} on:",
                i + 1
            );
            println!("{}\n{}", line(&once.trace, i), line(&again.trace, i));
            return false;
        }
        let (looked, alone) = (once.turns, run(&plan, false).turns);
        if looked != alone {
            println!("seed {seed}: WRONG: {looked} turns with its trace, {alone} without");
        }
        looked == alone
    })
}

/// The plans that have shown something once.
fn kept() -> bool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/kept");
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.iter().all(|path| {
        let name = path.display();
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let plan = Plan::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let good = run(&plan, false).wrong.is_none();
        if !good {
            one(&plan, &format!("PLAN={name}"));
        }
        good
    })
}

/// The plan of a seed. Some go the way of a fuzzer's bytes.
fn plan_of(seed: u64) -> Plan {
    match seed % 16 {
        15 => {
            let mut rng = rng::Rng::new(seed);
            let len = rng.below(600);
            let bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
            draw::from_bytes(&bytes)
        }
        _ => draw::from_seed(seed),
    }
}

/// One plan, with all that happens. If it fails, a smaller one that fails in the same way.
fn one(plan: &Plan, name: &str) -> ExitCode {
    let outcome = traced(|| run(plan, true));
    let Some(why) = outcome.wrong.clone() else {
        outcome.trace.iter().for_each(|line| println!("{line}"));
        let (peak, bound) = outcome.memory;
        let turns = outcome.turns;
        println!("{name}: as it must be; {turns} turns, {peak} of {bound} bytes of memory");
        return ExitCode::SUCCESS;
    };
    let class = shrink::class(&why);
    let fails = |plan: &Plan| {
        let wrong = run(plan, false).wrong;
        wrong.is_some_and(|why| shrink::class(&why) == class)
    };
    let shrunk = number("SHRINK") != Some(0);
    let (plan, outcome) = match shrunk {
        true => {
            let small = shrink::shrink(plan, &fails, Duration::from_secs(30));
            let outcome = traced(|| run(&small, true));
            (small, outcome)
        }
        false => (plan.clone(), outcome),
    };
    outcome.trace.iter().for_each(|line| println!("{line}"));
    println!("\n{plan}");
    if shrunk {
        println!("# {name} fails: {why}");
        println!("# That was the smallest plan found that fails in this way. In a file: PLAN=FILE");
    }
    println!("{name}: WRONG: {}", outcome.wrong.unwrap_or_default());
    ExitCode::FAILURE
}

/// Many seeds, on all processors; the first that fails as [`one`] shows it.
fn many(first: u64, count: u64) -> ExitCode {
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let all = Mutex::new((Seen::default(), 0u64, BTreeMap::new()));
    let most = number("FAILURES").unwrap_or(1) as usize;
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut seen, mut turns) = (Seen::default(), 0);
                while !stop.load(Relaxed) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let outcome = run(&plan_of(seed), false);
                    turns += outcome.turns;
                    for (what, count) in outcome.seen.0 {
                        seen.add(format!("{what}\0seeds"), 1);
                        seen.add(what, count);
                    }
                    if let Some(why) = outcome.wrong {
                        let mut all = all.lock().expect("no thread panics");
                        all.2.insert(seed, why);
                        stop.store(all.2.len() >= most, Relaxed);
                    }
                }
                let mut all = all.lock().expect("no thread panics");
                all.1 += turns;
                for (what, count) in seen.0 {
                    all.0.add(what, count);
                }
            });
        }
    });
    let (seen, turns, wrong) = all.into_inner().expect("no thread panics");
    let done = next.load(Relaxed).min(first + count) - first;
    let secs = begun.elapsed().as_secs_f64();
    table(&seen, done);
    println!(
        "{done} seeds from {first} on, {turns} turns of the loop, {secs:.1} s: {:.0} a second",
        done as f64 / secs
    );
    for (seed, why) in &wrong {
        println!("seed {seed}: WRONG: {why}");
    }
    match wrong.first_key_value() {
        None => ExitCode::SUCCESS,
        Some((seed, _)) => {
            println!("\nThe first of them, as make sim SEED={seed} shows it:\n");
            if one(&plan_of(*seed), &format!("SEED={seed}")) == ExitCode::SUCCESS {
                println!("SEED={seed}: WRONG: it fails only with nobody looking");
            }
            ExitCode::FAILURE
        }
    }
}

fn table(seen: &Seen, seeds: u64) {
    println!("{:40} {:>10} {:>14}", "", "in all", "% of the seeds");
    for (what, count) in seen.0.iter().filter(|(what, _)| !what.contains('\0')) {
        let in_seeds = seen.0.get(&format!("{what}\0seeds")).copied().unwrap_or(0);
        let share = 100.0 * in_seeds as f64 / seeds.max(1) as f64;
        println!("{what:40} {count:>10} {share:>14.1}");
    }
}
