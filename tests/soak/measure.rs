//! Looks at the daemon every few seconds, in a moment at which no step is under way.

use crate::load::Load;
use crate::place::Look;
use serde_json::Value;
use std::time::{Duration, Instant};

/// From one look to the next.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// What one look has seen.
pub struct Sample {
    /// Minutes since the measurement began.
    pub minutes: f64,
    /// By name, in KB.
    pub memory: Vec<(&'static str, f64)>,
    pub descriptors: usize,
    pub clients: usize,
    /// Whether no program runs and nobody makes trouble. What is there otherwise comes and goes
    /// with them.
    pub calm: bool,
    /// Seen at the last look, too.
    pub zombies: usize,
    /// Median and 99th percentile since the last look, in milliseconds.
    pub latency: Option<(f64, f64)>,
    /// Events a second since the last look.
    pub events: f64,
    /// What the daemon takes of a processor, in percent.
    pub processor: f64,
    /// All so far.
    pub losses: u64,
    /// All so far.
    pub restarts: usize,
}

/// All of a run.
pub struct Measurement<'a> {
    load: &'a Load<'a>,
    start: Instant,
    last: (Look, Value, Instant),
    restarts: usize,
    pub samples: Vec<Sample>,
}

/// A fresh look, and status.json with it.
fn look(load: &Load) -> (Look, Value, Instant) {
    // The other way round, writing it would be seen.
    let look = load.place.look();
    (look, load.place.status(), Instant::now())
}

/// How many events have ended.
pub fn events(status: &Value) -> u64 {
    let kinds = status["events"].as_object().into_iter().flatten();
    let outcomes = kinds.flat_map(|(_, outcomes)| outcomes.as_object());
    outcomes
        .flat_map(|o| o.values())
        .filter_map(Value::as_u64)
        .sum()
}

impl<'a> Measurement<'a> {
    /// Begins now.
    pub fn begin(load: &'a Load<'a>) -> Measurement<'a> {
        load.tally.latency();
        Measurement {
            load,
            start: Instant::now(),
            last: load.still(|| look(load)),
            restarts: 0,
            samples: Vec::new(),
        }
    }

    /// Waits until the next look is due, and looks.
    pub fn next(&mut self) -> &Sample {
        let due = self.start + INTERVAL * (self.samples.len() as u32 + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let load = self.load;
        let (look, status, now) = load.still(|| look(load));
        let (before, then, when) = &self.last;
        let passed = (now - *when).as_secs_f64();
        if status["boot"] != then["boot"] {
            self.restarts += 1;
        }
        let memory = &status["memory"]["used"];
        let own = (
            "counted to --memory",
            memory.as_f64().unwrap_or(0.0) / 1024.0,
        );
        let still = |pid: &&u32| before.zombies.contains(pid);
        self.samples.push(Sample {
            minutes: (now - self.start).as_secs_f64() / 60.0,
            memory: look.memory.iter().copied().chain([own]).collect(),
            descriptors: look.descriptors,
            clients: status["connections"].as_array().map_or(0, Vec::len),
            calm: look.children == 0 && !load.troubled(),
            zombies: look.zombies.iter().filter(still).count(),
            latency: load.tally.latency(),
            events: events(&status).saturating_sub(events(then)) as f64 / passed,
            processor: (look.seconds - before.seconds).max(0.0) / passed * 100.0,
            losses: load.tally.losses(),
            restarts: self.restarts,
        });
        self.last = (look, status, now);
        self.samples.last().expect("one")
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (median, late) = self.latency.unwrap_or_default();
        let (name, kb) = self.memory[0];
        write!(
            f,
            "{:.0} min, {kb:.0} KB {name}, {} descriptors, {} clients, {:.0} events/s, echo \
             {median:.1} and {late:.0} ms, processor {:.1} %, {} lost, {} zombies",
            self.minutes,
            self.descriptors,
            self.clients,
            self.events,
            self.processor,
            self.losses,
            self.zombies
        )
    }
}
