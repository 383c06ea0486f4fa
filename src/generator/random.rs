//! Random streams that stay the same for ever: one per event and per person.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// Salt of the streams of events.
pub const EVENT: u64 = 0x6c65_7468_652d_6576;
/// Salt of the streams of people.
pub const PERSON: u64 = 0x6c65_7468_652d_7065;

/// Xoshiro256++ as published by Blackman and Vigna, seeded through SplitMix64: both fixed algorithms, so the stream cannot change with a
/// release of `rand`, whose own ranges and shuffles may. That is why [`Random::below`] is ours.
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The stream of one index under a seed.
    pub fn new(seed: u64, salt: u64, index: u64) -> Self {
        let mixed = split_mix(split_mix(seed ^ salt).wrapping_add(index));
        Random(Xoshiro256PlusPlus::seed_from_u64(mixed))
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`, for small `n` as good as even; 0 for 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// True `share` times of 10,000.
    #[inline]
    pub fn one_of(&mut self, share: u64) -> bool {
        self.below(10_000) < share
    }

    /// One of a list.
    #[inline]
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of an independent implementation of both algorithms: a release of `rand` must not change them.
    #[test]
    fn the_stream_is_fixed() {
        assert_eq!(split_mix(0), 0xe220_a839_7b1d_cdaf);
        let mut random = Random::new(1, EVENT, 2);
        assert_eq!([random.bits(), random.bits()], [9_213_208_067_348_816_934, 6_009_602_478_474_330_252]);
    }

    #[test]
    fn ranges_hold() {
        let mut random = Random::new(7, PERSON, 0);
        let mut seen = [0; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
