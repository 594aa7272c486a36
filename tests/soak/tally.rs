//! What came, what was lost, and how long echoes took.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Counts of one run, from all threads.
pub struct Tally {
    name: String,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    kinds: BTreeMap<&'static str, Kind>,
    latencies: Vec<f64>,
}

/// Of one kind of promise.
#[derive(Clone, Copy, Default)]
pub struct Kind {
    /// How often it was kept.
    pub came: u64,
    /// How often it was not.
    pub lost: u64,
}

impl Tally {
    /// Nothing yet, at the place of this name.
    pub fn new(name: &str) -> Tally {
        Tally {
            name: name.to_owned(),
            counts: Mutex::default(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What was expected has come.
    pub fn came(&self, kind: &'static str) {
        self.counts().kinds.entry(kind).or_default().came += 1;
    }

    /// So many have not, or come wrong; says so.
    pub fn lost(&self, kind: &'static str, count: u64, what: &str) {
        eprintln!("{}: lost: {kind}: {what}", self.name);
        self.counts().kinds.entry(kind).or_default().lost += count;
    }

    /// An echo has come, after so many milliseconds.
    pub fn echoed(&self, kind: &'static str, millis: f64) {
        self.came(kind);
        self.counts().latencies.push(millis);
    }

    /// How often a kind came.
    pub fn count(&self, kind: &str) -> u64 {
        self.counts().kinds.get(kind).map_or(0, |k| k.came)
    }

    /// All kinds.
    pub fn kinds(&self) -> BTreeMap<&'static str, Kind> {
        self.counts().kinds.clone()
    }

    /// All losses so far.
    pub fn losses(&self) -> u64 {
        self.counts().kinds.values().map(|kind| kind.lost).sum()
    }

    /// Median and 99th percentile of the echoes since the last call, in milliseconds; None:
    /// there were none.
    pub fn latency(&self) -> Option<(f64, f64)> {
        let mut all = std::mem::take(&mut self.counts().latencies);
        all.sort_by(f64::total_cmp);
        let at = |part: usize| all.get(all.len() * part / 100).copied();
        Some((at(50)?, at(99)?))
    }
}
