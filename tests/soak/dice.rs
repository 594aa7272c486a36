//! Chance from a seed: SplitMix64 (Steele, Lea, Flood 2014), whose whole state is a number.

/// A sequence of numbers that looks like chance, and is the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// The sequence of one of those that share a seed.
    pub fn new(seed: u64, whose: u64) -> Dice {
        let mut dice = Dice(seed.wrapping_add(whose << 32));
        Dice(dice.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// One of these, each as often as its weight says.
    pub fn weighed<T: Copy>(&mut self, all: &[(usize, T)]) -> T {
        let mut n = self.below(all.iter().map(|(weight, _)| weight).sum());
        for (weight, one) in all {
            match n.checked_sub(*weight) {
                None => return *one,
                Some(rest) => n = rest,
            }
        }
        unreachable!("n is below the sum")
    }
}
