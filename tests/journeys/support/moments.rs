//! Moments at which something goes wrong: a small generator, its seed printed so that a failure can be tried again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A row of numbers that a seed decides.
pub struct Moments(u64);

impl Moments {
    /// Those of `LETHE_JOURNEY_SEED`, or new ones; says which.
    pub fn new() -> Self {
        let seed = std::env::var("LETHE_JOURNEY_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(Self::fresh_seed);
        println!("LETHE_JOURNEY_SEED={seed}");
        Self::of(seed)
    }

    /// Those of a seed.
    pub fn of(seed: u64) -> Self {
        // Neighbouring seeds give unlike rows, and none is 0.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A seed that nobody had before.
    pub fn fresh_seed() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos() as u64 % 1_000_000_000
    }

    /// The next number, less than `most`.
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}
