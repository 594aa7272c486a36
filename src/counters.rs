//! What has happened since the start: nothing is dropped in silence.

use crate::table::Table;

/// Counters for status.json.
#[derive(Debug, Default)]
pub struct Counters {
    /// Accepted by an open program.
    pub connections: u64,
    /// Refused, by cause.
    pub refusals: Table<&'static str, u64>,
    /// Closes by the code of WS_CLOSE_CODE.
    pub closes: Table<u16, u64>,
    /// Events by kind, done and failed.
    pub events: Table<&'static str, Outcomes>,
    /// Close events that a shutdown left no time for.
    pub closes_not_run: u64,
    /// Outbox lines carried out.
    pub outbox_lines: u64,
    /// Outbox lines that were no commands.
    pub outbox_bad: u64,
    /// Messages and commands whose target was nobody: an id that is gone, an empty room.
    pub nobody: u64,
    /// Messages put into browsers' queues.
    pub messages_out: u64,
    /// Messages dropped from a queue whose browser was closed or refused or vanished.
    pub messages_dropped: u64,
    /// Messages from browsers that we had closed already.
    pub messages_discarded: u64,
    /// Bytes read from browsers behind the heads of their requests, and written to them.
    pub bytes_in: u64,
    /// See `bytes_in`.
    pub bytes_out: u64,
}

/// How events of one kind ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes {
    /// As they should.
    pub done: u64,
    /// With a line in the log.
    pub failed: u64,
}

impl Counters {
    /// Counts a refusal.
    pub fn refused(&mut self, cause: &'static str) {
        *self.refusals.entry(cause) += 1;
    }

    /// Counts an event's end.
    pub fn event(&mut self, kind: &'static str, failed: bool) {
        let outcomes = self.events.entry(kind);
        match failed {
            true => outcomes.failed += 1,
            false => outcomes.done += 1,
        }
    }
}
