//! What processes cost, as the kernel counts it.

use crate::harness::proc_stat;
use std::fs::read_to_string;
use std::time::Duration;

/// Proportional set size of a process, in KB: of what it shares with others, its part.
pub fn pss(pid: u32) -> f64 {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kb = line
        .and_then(|line| line.split_whitespace().next())
        .and_then(|kb| kb.parse().ok());
    kb.expect("Pss")
}

/// Processor time of a process with one thread, and of those of its children that it has
/// waited for: the former to the nanosecond, the latter in ticks, as wait4(2) adds them up.
pub fn cpu(pid: u32) -> Duration {
    let schedstat = read_to_string(format!("/proc/{pid}/schedstat")).expect("schedstat");
    let own = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
    // cutime and cstime of proc(5); a tick is 10 ms for every program.
    let ticks = |field| -> u32 {
        let ticks = proc_stat(pid, field).and_then(|ticks| ticks.parse().ok());
        ticks.expect("ticks")
    };
    let reaped = Duration::from_millis(10) * (ticks(16) + ticks(17));
    Duration::from_nanos(own.expect("nanoseconds")) + reaped
}
