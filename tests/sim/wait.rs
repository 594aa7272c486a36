//! The daemon's wait: the world moves until there is something to tell it. Before, its turn is
//! looked at.

use crate::model::{Watched, reason};
use crate::os::{End, MS, SECOND, Time};
use crate::owners::Owner;
use crate::sys::open_descriptors;
use crate::trace::note;
use crate::world::{World, micros};
use ws2cgi::limits;
use ws2cgi::sys::{Interest, Ready, Signals};

/// Wake-ups in a row that change nothing, beside one of each browser: a chain of polls may end
/// unseen.
const IDLE_TURNS: usize = 40;
/// Calls in one turn of the loop.
const CALLS: u32 = 200_000;
const TURNS: u64 = 400_000;

impl World {
    pub fn wait(&mut self, deadline: Option<Time>, ready: &mut Vec<Ready>) -> Signals {
        self.held.get_or_insert(open_descriptors(&self.os));
        self.turn_ends(deadline);
        self.os.now += 1 + self.os.noise.below(60);
        if self.os.faults.strikes(self.os.faults.rates.jump) {
            let jump = self.os.faults.below(60 * SECOND);
            note!(self.os, "time", "jumps by {} ms", jump / MS);
            self.os.now += jump;
            if self.model.stopping.is_some() {
                self.jumped += jump;
            }
        }
        let empty = self.os.faults.strikes(self.os.faults.rates.empty_turn);
        if empty {
            note!(self.os, "wait", "no memory for it");
            self.os.now += 50 * MS;
            self.excused = true;
        }
        let signals = loop {
            let did = self.act();
            if !empty {
                self.poll(ready);
            }
            let signals = core::mem::take(&mut self.os.signals);
            let late = deadline.is_some_and(|at| at <= self.os.now);
            if empty || !ready.is_empty() || signals.child || signals.stop || signals.status || late
            {
                break signals;
            }
            let next = self.next_time();
            let Some(next) = next.into_iter().chain(deadline).min() else {
                self.fail("the daemon waits for what never comes");
            };
            let least = if did { 0 } else { 1 };
            self.os.now = next.max(self.os.now + least);
        };
        if signals.stop && self.model.stopping.is_none() {
            self.model.stopping = Some(self.os.now);
            let turn = self.model.turn;
            for connection in &mut self.model.connections {
                connection.may_end(turn, reason::STOP, None);
            }
        }
        if self.os.trace.wanted {
            let ready: Vec<String> = ready.iter().map(|r| self.token_name(r)).collect();
            let signals = [
                (signals.child, " SIGCHLD"),
                (signals.stop, " SIGTERM"),
                (signals.status, " SIGUSR1"),
            ];
            let signals: String = signals.iter().filter(|s| s.0).map(|s| s.1).collect();
            note!(self.os, "wait", "-> {}{signals}", ready.join(", "));
        }
        self.model.now = self.os.now;
        self.watched.clear();
        self.calls = 0;
        self.progress = self.os.progress;
        signals
    }

    fn token_name(&self, ready: &Ready) -> String {
        let watched = self
            .watched
            .iter()
            .find(|(_, token, _)| *token == ready.token);
        let name = watched.map_or(String::new(), |(fd, ..)| self.fd_name(*fd));
        let (r, w) = (ready.readable, ready.writable);
        format!(
            "{name}{}{}",
            if r { " r" } else { "" },
            if w { " w" } else { "" }
        )
    }

    pub fn fd_name(&self, fd: usize) -> String {
        let Some(Some(descriptor)) = self.os.descriptors.get(fd) else {
            return format!("{fd}?");
        };
        let what = match &descriptor.end {
            End::Stream(s, _) => format!("browser {}", self.owners.streams[*s]),
            End::Reader(p) | End::Writer(p) => match self.owners.pipes[*p] {
                Some(Owner::Child(pid)) => format!("child {pid}"),
                Some(Owner::Up(b) | Owner::Down(b)) => format!("browser {b}"),
                _ => "ready".to_owned(),
            },
            End::Both(_) => "outbox".to_owned(),
            End::Listener(l) => self.os.listeners[*l].address.clone(),
            other => format!("{other:?}"),
        };
        format!("{fd}({what})")
    }

    fn turn_ends(&mut self, deadline: Option<Time>) {
        let mut watched = Watched {
            outbox: false,
            browsers: vec![(false, false); self.browsers.len()],
            children: self.children(),
            goes_on: deadline.is_some_and(|at| at <= self.os.now),
        };
        for (fd, _, interest) in &self.watched {
            let end = &self.os.descriptor(*fd).end;
            if let End::Both(_) = end {
                watched.outbox = true;
            }
            if let Some(b) = self.owners.browser(end) {
                let (reads, writes) = &mut watched.browsers[b];
                *reads |= *interest != Interest::Write;
                *writes |= *interest != Interest::Read;
            }
        }
        self.model.end_of_turn(&self.os, &self.browsers, &watched);
        // A wake-up must change something.
        let late = deadline.is_some_and(|at| at <= self.os.now);
        let moved = self.os.progress != self.progress || core::mem::take(&mut self.excused);
        self.idle_turns = if moved { 0 } else { self.idle_turns + 1 };
        let idle = self.idle_turns;
        if idle > IDLE_TURNS + self.browsers.len() {
            let why = if late {
                "a deadline that has passed"
            } else {
                "a descriptor"
            };
            self.model
                .fail(format!("{idle} wake-ups change nothing: {why}"));
        }
        if self.model.turn > TURNS {
            self.model.fail("it goes on for ever");
        }
        for (fd, descriptor) in self.os.descriptors.iter().enumerate() {
            if let Some(End::File(..)) = descriptor.as_ref().map(|d| &d.end) {
                self.model
                    .fail(format!("descriptor {fd}, a file, is still open at a wait"));
            }
        }
        if let Some(stopped) = self.model.stopping {
            if self.os.now > stopped + micros(limits::SHUTDOWN) + SECOND + self.jumped {
                self.model.fail("the shutdown does not end");
            }
        }
        self.stop_if_wrong();
    }

    /// A call of the daemon's.
    pub fn called(&mut self) {
        self.calls += 1;
        if self.calls > CALLS {
            self.fail("a turn of the loop does not end");
        }
        if self.os.faults.strikes(self.os.faults.rates.slow) {
            self.os.now += self.os.faults.below(20 * MS);
        }
    }

    fn poll(&mut self, ready: &mut Vec<Ready>) {
        for &(fd, token, interest) in &self.watched {
            let end = &self.os.descriptor(fd).end;
            let mut polled = self.os.poll(end);
            let spurious = match end {
                End::Stream(..) | End::Listener(_) | End::Handoff => self.os.faults.rates.spurious,
                _ => 0,
            };
            if self.os.faults.strikes(spurious) {
                polled.readable = true;
                polled.writable = true;
                self.excused = true;
            }
            let (reads, writes) = match interest {
                Interest::Read => (true, false),
                Interest::Write => (false, true),
                Interest::Both => (true, true),
            };
            let readable = polled.readable && reads || polled.trouble;
            let writable = polled.writable && writes || polled.trouble;
            if readable || writable {
                ready.push(Ready {
                    token,
                    readable,
                    writable,
                });
            }
        }
    }
}
