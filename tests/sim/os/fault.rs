//! Which faults there are, and whether one strikes now.

use super::{MS, Time};
use crate::plan::Fault;
use crate::rng::Rng;

/// How often each strikes, of 1000 calls.
#[derive(Clone, Default)]
pub struct Rates {
    pub short_read: u32,
    pub short_write: u32,
    pub spurious: u32,
    pub no_buffers: u32,
    pub reset: u32,
    pub no_descriptors: u32,
    pub lost_descriptors: u32,
    pub no_clone: u32,
    pub aborted: u32,
    pub empty_turn: u32,
    pub jump: u32,
    pub slow: u32,
    pub disk_full: u32,
    pub bad_disk: u32,
    pub small_pipe: u32,
}

pub struct Faults {
    pub rates: Rates,
    rng: Rng,
    /// EMFILE until then.
    short_until: Time,
    /// None strikes: the start, and the plan's rest.
    pub off: bool,
}

impl Faults {
    pub fn new(faults: &[Fault], rng: Rng) -> Faults {
        let mut rates = Rates::default();
        for fault in faults {
            match *fault {
                Fault::ShortRead { rate } => rates.short_read = rate,
                Fault::ShortWrite { rate } => rates.short_write = rate,
                Fault::Spurious { rate } => rates.spurious = rate,
                Fault::NoBuffers { rate } => rates.no_buffers = rate,
                Fault::Reset { rate } => rates.reset = rate,
                Fault::NoDescriptors { rate } => rates.no_descriptors = rate,
                Fault::LostDescriptors { rate } => rates.lost_descriptors = rate,
                Fault::NoClone { rate } => rates.no_clone = rate,
                Fault::Aborted { rate } => rates.aborted = rate,
                Fault::EmptyTurn { rate } => rates.empty_turn = rate,
                Fault::Jump { rate } => rates.jump = rate,
                Fault::Slow { rate } => rates.slow = rate,
                Fault::DiskFull { rate } => rates.disk_full = rate,
                Fault::BadDisk { rate } => rates.bad_disk = rate,
                Fault::SmallPipe { rate } => rates.small_pipe = rate,
            }
        }
        Faults {
            rates,
            rng,
            short_until: 0,
            off: true,
        }
    }

    /// Whether a fault of this rate strikes.
    pub fn strikes(&mut self, rate: u32) -> bool {
        rate > 0 && !self.off && self.rng.permille(rate)
    }

    /// How much of `most` is done, at least 1, where one of this rate strikes.
    pub fn cut(&mut self, rate: u32, most: usize) -> usize {
        match most > 1 && self.strikes(rate) {
            true => 1 + self.rng.below(most as u64 - 1) as usize,
            false => most,
        }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    /// A shortage has come before.
    pub fn descriptors_were_short(&self, now: Time) -> bool {
        !self.off && now < self.short_until
    }

    /// A shortage comes, and lasts.
    pub fn descriptors_are_short(&mut self, now: Time) -> bool {
        if now >= self.short_until && self.strikes(self.rates.no_descriptors) {
            self.short_until = now + MS + self.rng.below(300 * MS);
        }
        !self.off && now < self.short_until
    }
}
