//! The load: visitors who come, stay and go, someone who feeds the rooms, and someone who makes
//! trouble, each at a beat of its own. What each does follows from the seed; only when exactly
//! it happens does not.

use crate::dice::Dice;
use crate::guest::Guest;
use crate::place::Place;
use crate::reader::Reader;
use crate::rooms::{NAMES, Room, Said, feed};
use crate::tally::Tally;
use crate::{reading, trouble, visit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// What all of them share.
pub struct Load<'a> {
    pub place: &'a dyn Place,
    pub rooms: [Room; NAMES.len()],
    pub said: Said,
    pub tally: Tally,
    seed: u64,
    /// Each step holds it for reading; who measures takes it for writing, and sees a daemon
    /// that has nothing to do.
    gate: RwLock<()>,
    over: AtomicBool,
    troubles: AtomicUsize,
    troubled: AtomicBool,
}

/// One of those that make the load.
pub struct Actor<'a> {
    pub load: &'a Load<'a>,
    pub dice: Dice,
    period: Duration,
    next: Instant,
    /// Who is there, of a visitor.
    pub guest: Option<Guest<'a>>,
    /// Who is there, of one that comes again.
    pub reader: Option<Reader<'a>>,
    /// How often it has acted.
    pub round: usize,
    /// What it is about to see, for the case that it does not.
    pub doing: &'static str,
}

/// Ends the load, whatever happens to who holds it.
pub struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<'a> Load<'a> {
    /// For the place of this name; nothing happens yet.
    pub fn new(name: &str, place: &'a dyn Place, seed: u64) -> Load<'a> {
        Load {
            place,
            rooms: Default::default(),
            said: Said::default(),
            tally: Tally::new(name),
            seed,
            gate: RwLock::new(()),
            over: AtomicBool::new(false),
            troubles: AtomicUsize::new(0),
            troubled: AtomicBool::new(false),
        }
    }

    /// Starts them. They end soon after what it returns is dropped.
    pub fn start<'s>(&'a self, threads: &'s Scope<'s, '_>) -> End<'a>
    where
        'a: 's,
    {
        let pace = self.place.pace();
        let each = Duration::from_secs_f64(pace.visitors as f64 / pace.steps);
        let line = Duration::from_secs_f64(1.0 / pace.lines);
        for n in 0..pace.visitors {
            self.actor(threads, 2 + n as u64, each, visit::visit);
        }
        for n in pace.visitors..pace.visitors + pace.readers {
            self.actor(threads, 2 + n as u64, each, reading::read);
        }
        self.actor(threads, 0, line, |actor| {
            actor.doing = "lines sent";
            actor.step(|actor| feed(actor.load, &mut actor.dice));
        });
        self.actor(threads, 1, Duration::from_secs(1), |actor| {
            self.troubled.store(false, Ordering::SeqCst);
            trouble::wait(actor);
            self.troubled.store(true, Ordering::SeqCst);
            trouble::make(actor);
            self.troubles.store(actor.round, Ordering::SeqCst);
        });
        End(&self.over)
    }

    fn actor<'s>(
        &'a self,
        threads: &'s Scope<'s, '_>,
        whose: u64,
        period: Duration,
        act: impl Fn(&mut Actor<'a>) + Send + 's,
    ) where
        'a: 's,
    {
        threads.spawn(move || {
            let mut actor = Actor {
                load: self,
                dice: Dice::new(self.seed, whose),
                period,
                next: Instant::now(),
                guest: None,
                reader: None,
                round: 0,
                doing: "",
            };
            // They do not all begin at once.
            actor.next += period.mul_f64(actor.dice.below(1000) as f64 / 1000.0);
            while !self.over() {
                actor.round += 1;
                if !actor.survives(&act) {
                    actor.beat();
                }
            }
            actor.survives(visit::last);
            actor.survives(reading::last);
        });
    }

    /// Whether it is time to go.
    pub fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Whether everything has happened at least once.
    pub fn warm(&self) -> bool {
        self.troubles.load(Ordering::SeqCst) >= trouble::KINDS
    }

    /// Whether somebody makes trouble.
    pub fn troubled(&self) -> bool {
        self.troubled.load(Ordering::SeqCst)
    }

    /// Whether a line may be gone from the history when at most so much has been said.
    pub fn gone(&self, room: usize, number: u64, said: u64) -> bool {
        self.passed(self.rooms[room].before(number), said)
    }

    /// Whether the history may have passed from one state of what has been said to another.
    pub fn passed(&self, from: u64, to: u64) -> bool {
        to.saturating_sub(from) > self.place.history() as u64
    }

    /// Does something while no step is under way.
    pub fn still<R>(&self, look: impl FnOnce() -> R) -> R {
        let _gate = self.gate.write().unwrap_or_else(|e| e.into_inner());
        look()
    }
}

impl<'a> Actor<'a> {
    /// Whether all came that should. What did not is counted, and nobody dies of it.
    fn survives(&mut self, act: impl Fn(&mut Actor<'a>)) -> bool {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| act(self))) else {
            return true;
        };
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied());
        self.load.tally.lost(self.doing, 1, said.unwrap_or("panic"));
        false
    }

    /// Waits for its next beat. One that is late does not hurry after.
    fn beat(&mut self) {
        let now = Instant::now();
        self.next = now.max(self.next + self.period);
        while !self.load.over() && Instant::now() < self.next {
            let rest = self.next.saturating_duration_since(Instant::now());
            std::thread::sleep(rest.min(Duration::from_millis(200)));
        }
    }

    /// Something short, at the next beat.
    pub fn step<R>(&mut self, act: impl FnOnce(&mut Self) -> R) -> R {
        self.beat();
        self.now(act)
    }

    /// The same, without a wait.
    pub fn now<R>(&mut self, act: impl FnOnce(&mut Self) -> R) -> R {
        let gate = &self.load.gate;
        let _gate = gate.read().unwrap_or_else(|e| e.into_inner());
        act(self)
    }
}
