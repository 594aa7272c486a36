//! Chance: numbers that follow from a seed alone, or from given bytes.

/// SplitMix64: small, fast, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        let mut rng = Rng(seed ^ 0x5eed_0f5e_ed0f_5eed);
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True in so many of 1000 cases.
    pub fn permille(&mut self, rate: u32) -> bool {
        rate > 0 && self.below(1000) < u64::from(rate)
    }
}

/// Where a plan's choices come from.
pub enum Choices<'a> {
    Seed(Rng),
    /// A fuzzer's bytes; behind their end every choice is the first.
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    /// From 0 to `bound` - 1.
    pub fn below(&mut self, bound: u32) -> u32 {
        match self {
            Choices::Seed(rng) => rng.below(u64::from(bound)) as u32,
            Choices::Bytes(bytes) => {
                let len = if bound <= 256 { 1 } else { 2 };
                let (first, rest) = bytes.split_at(len.min(bytes.len()));
                *bytes = rest;
                let number = first.iter().fold(0, |n, &b| n << 8 | u32::from(b));
                number % bound.max(1)
            }
        }
    }

    /// From `least` to `most`.
    pub fn range(&mut self, least: u32, most: u32) -> u32 {
        least + self.below(most - least + 1)
    }

    /// True in so many of 100 cases.
    pub fn percent(&mut self, rate: u32) -> bool {
        // The first choice is the plain case.
        self.below(100) >= 100 - rate.min(100)
    }

    pub fn one_of(&mut self, of: &[u32]) -> u32 {
        of[self.below(of.len() as u32) as usize]
    }

    /// Small ones often, large ones too.
    pub fn size(&mut self, most: u32) -> u32 {
        let bits = 32 - most.leading_zeros();
        let up_to = 1 << self.below(bits + 1);
        self.below(up_to + 1).min(most)
    }
}
