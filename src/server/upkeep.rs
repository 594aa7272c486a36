//! The run folder over the years: what others find the daemon by is put back where it was
//! removed, and what writers left behind is taken away.

use super::Server;
use crate::limits::{LOOK_AGAIN, SPOOL_LEFT};
use crate::rundir::{Handoff, Place};
use crate::sys::Sys;
use core::time::Duration;
use log::{error, info, warn};

/// When the run folder is looked at, and what was seen there.
pub struct Upkeep {
    next: Duration,
    /// Files of the spool folder at a moment when no line waited, each with the time of its last
    /// change, and that moment.
    spooled: (Duration, Vec<(String, u64)>),
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

    /// Whether the run folder is still ours. What lies in another daemon's is not touched.
    pub(super) fn has_folder(&self) -> bool {
        self.run.is_locked_by(&self.shared.sys, &self.lock)
    }

    /// Whatever is not there any more under its name, nobody finds.
    fn put_back(&mut self) -> Result<(), String> {
        if !self.has_folder() {
            let folder = self.run.path();
            return Err(format!(
                "{folder} was removed or replaced: nobody can reach this daemon; restart it"
            ));
        }
        // Each is tried, whatever becomes of the others.
        let done = [
            self.put_back_outbox(),
            self.put_back_handoff(),
            self.put_back_place(Place::Spool),
            self.put_back_place(Place::Pid),
        ];
        done.into_iter().collect()
    }

    fn put_back_outbox(&mut self) -> Result<(), String> {
        let sys = &self.shared.sys;
        let path = self.run.outbox();
        let there = sys.lstat(&path).map(|stat| stat.id).ok();
        // Lines that wait in the old one come first. A writer that keeps it open is told by
        // EPIPE, as when a daemon ends.
        if there != Some(self.outbox.id(sys)) && self.outbox.idle(sys) {
            let fifo = self.run.prepare_outbox(sys)?;
            self.outbox.replace(fifo);
            warn!("{path} was removed or replaced; this is another one");
        }
        Ok(())
    }

    fn put_back_handoff(&mut self) -> Result<(), String> {
        let path = self.run.handoff();
        let there = self.shared.sys.lstat(&path).map(|stat| stat.id).ok();
        let other = |ours: &Handoff<_>| ours.name != there;
        // Those who wait at the old one come first, in as many turns as it takes.
        if self.handoff.as_ref().is_some_and(other) && self.take_handoffs() {
            self.handoff = Some(self.run.bind_handoff(&self.shared.sys)?);
            warn!("{path} was removed or replaced; made anew");
        }
        Ok(())
    }

    fn put_back_place(&mut self, place: Place) -> Result<(), String> {
        if self.run.put_back(&self.shared.sys, place)? {
            warn!("{} was removed; made anew", self.run.of(place));
        }
        Ok(())
    }

    /// A file that lay there for long, while the outbox was empty then and is now, has lost
    /// its writer: no line will name it.
    fn clear_spool(&mut self) {
        let (now, sys) = (self.shared.now, &self.shared.sys);
        let (seen_at, seen) = &self.upkeep.spooled;
        if now < *seen_at + SPOOL_LEFT || !self.outbox.idle(sys) || !self.has_folder() {
            return;
        }
        let (mut there, mut gone) = (Vec::new(), 0);
        for name in self.run.spooled(sys) {
            let path = self.run.spool(&name);
            // The next of its name may well have its inode.
            let changed = sys.lstat(&path).map_or(0, |stat| stat.changed);
            let file = (name, changed);
            match seen.contains(&file) && sys.unlink(&path).is_ok() {
                true => gone += 1,
                false => there.push(file),
            }
        }
        if gone > 0 {
            let seconds = SPOOL_LEFT.as_secs();
            let folder = self.run.of(Place::Spool);
            info!("{gone} files removed from {folder}: no line named them for {seconds} s");
        }
        self.upkeep.spooled = (now, there);
    }
}
