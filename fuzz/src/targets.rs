//! What ws2cgi reads of strangers, each as a function of bytes that panics where a property does
//! not hold. `fuzz_targets` runs them under libFuzzer; `replay.rs` runs them on the committed
//! corpora, as a test of the main package.

pub mod forms;
pub mod forwarded;
pub mod frames;
pub mod handoff;
pub mod head;
pub mod input;
pub mod outbox;
pub mod queue;
pub mod reply;
pub mod request;
pub mod rules;
pub mod simulation;
pub mod spool;
pub mod target;

/// A target's name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets: each has its folder in `corpus` and its program in `fuzz_targets`.
pub const TARGETS: [Target; 12] = [
    ("forms", forms::run),
    ("forwarded", forwarded::run),
    ("frames", frames::run),
    ("handoff", handoff::run),
    ("head", head::run),
    ("outbox", outbox::run),
    ("queue", queue::run),
    ("reply", reply::run),
    ("request", request::run),
    ("simulation", simulation::run),
    ("spool", spool::run),
    ("target", target::run),
];
