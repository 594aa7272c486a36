//! What all connections work with.

use crate::config::Config;
use crate::counters::Counters;
use crate::history::History;
use crate::key::Keys;
use crate::limits::SCRATCH;
use crate::memory::Memory;
use core::time::Duration;

/// What all connections work with.
pub struct Shared<S> {
    /// The operating system.
    pub sys: S,
    /// The options.
    pub config: Config,
    /// `--memory`.
    pub memory: Memory,
    /// `--history`.
    pub history: History,
    /// The keys of connections.
    pub keys: Keys,
    /// What has happened.
    pub counters: Counters,
    /// The time of this turn of the loop.
    pub now: Duration,
    /// For one read or write.
    pub scratch: Box<[u8; SCRATCH]>,
    /// The last ticket given to an event that waits for a job slot.
    pub tickets: u64,
}
