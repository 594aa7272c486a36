//! The run folder over the years: what others find the daemon by is put back where it was
//! removed, and what writers left behind is taken away.

use super::Server;
use crate::limits::{LOOK_AGAIN, SPOOL_LEFT};
use crate::rundir::Place;
use crate::sys::Sys;
use core::time::Duration;
use log::{error, info, warn};

/// When the run folder is looked at, and what was seen there.
pub struct Upkeep {
    next: Duration,
    /// Files of the spool folder at a moment when no line waited, and that moment.
    spooled: (Duration, Vec<String>),
    /// What could not be put back, so that it is said once.
    failure: String,
}

impl Upkeep {
    pub fn new(now: Duration) -> Upkeep {
        Upkeep {
            next: now + LOOK_AGAIN,
            spooled: (now, Vec::new()),
            failure: String::new(),
        }
    }

    /// The next moment at which there is something to look at.
    pub fn due(&self) -> Duration {
        self.next
    }
}

impl<S: Sys> Server<S> {
    /// After each turn.
    pub(super) fn look_after_folder(&mut self) {
        if self.shared.now < self.upkeep.next || self.stopping.is_some() {
            return;
        }
        self.upkeep.next = self.shared.now + LOOK_AGAIN;
        match self.put_back() {
            Ok(()) => self.upkeep.failure.clear(),
            Err(why) if why == self.upkeep.failure => {}
            Err(why) => {
                error!("{why}");
                self.upkeep.failure = why;
            }
        }
        self.clear_spool();
    }

    /// Whatever is not there any more under its name, nobody finds.
    fn put_back(&mut self) -> Result<(), String> {
        let sys = &self.shared.sys;
        if !self.run.is_locked_by(sys, &self.lock) {
            let folder = self.run.path();
            return Err(format!(
                "{folder} was removed or replaced: nobody can reach this daemon; restart it"
            ));
        }
        for place in [Place::Pid, Place::Spool] {
            if self.run.put_back(sys, place)? {
                warn!("{} was removed; made anew", self.run.of(place));
            }
        }
        let path = self.run.handoff();
        if self.handoff.is_some() && sys.lstat(&path).map(|stat| stat.id).ok() != self.handoff_id {
            warn!("{path} was removed or replaced; made anew");
            self.take_handoffs();
            let (socket, id) = self.run.bind_handoff(&self.shared.sys)?;
            (self.handoff, self.handoff_id) = (Some(socket), id);
        }
        let sys = &self.shared.sys;
        let path = self.run.outbox();
        // Lines that wait in the old one come first. A writer that keeps it open is told by
        // EPIPE, as when a daemon ends.
        let replaced = sys.lstat(&path).map(|stat| stat.id).ok() != Some(self.outbox.id(sys));
        if replaced && self.outbox.idle(sys) {
            let fifo = self.run.prepare_outbox(sys)?;
            warn!("{path} was removed or replaced; this is another one");
            self.outbox.replace(fifo);
        }
        Ok(())
    }

    /// A file that lay there for long, while the outbox was empty then and is now, has lost
    /// its writer: no line will name it.
    fn clear_spool(&mut self) {
        let (now, sys) = (self.shared.now, &self.shared.sys);
        let (seen_at, seen) = &self.upkeep.spooled;
        if now < *seen_at + SPOOL_LEFT || !self.outbox.idle(sys) {
            return;
        }
        let mut names = self.run.spooled(sys);
        let before = names.len();
        names.retain(|name| !(seen.contains(name) && sys.unlink(&self.run.spool(name)).is_ok()));
        let gone = before - names.len();
        if gone > 0 {
            let seconds = SPOOL_LEFT.as_secs();
            let folder = self.run.of(Place::Spool);
            info!("{gone} files removed from {folder}: no line named them for {seconds} s");
        }
        self.upkeep.spooled = (now, names);
    }
}
