//! Distinct subjects: exactly while they are few, by a sketch once they are many.
//!
//! What decides whether a cell may be shown is the number of subjects *under one key generation*: after a rotation the same person has a second
//! pseudonym, and ten of them could be five people.

use crate::model::pseudonym::Epoch;
use datasketches::hll::{HllType, HllUnion};
use std::hash::{DefaultHasher, Hasher};

/// log2 of the sketch's registers.
const LG_REGISTERS: u8 = 12;
/// Relative standard error of a count from the sketch, as a union has it. Source: Apache DataSketches, "HLL sketch", 1.04 / √registers.
pub const SKETCH_ERROR: f64 = 0.016_25;

/// 64 bits of a text. The same within a process; not for keeping.
#[must_use]
pub fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

/// A subject as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    epoch: u16,
    hash: u64,
}

impl Subject {
    /// `hash`: 64 bits of the subject's pseudonym, see [`hash`].
    #[must_use]
    pub fn new(epoch: Epoch, hash: u64) -> Subject {
        Subject { epoch: epoch.0, hash }
    }
}

/// A set of subjects. No `Debug`: its members stand for people.
#[derive(Clone)]
pub struct Subjects {
    /// In order; until one generation has more than the limit.
    exact: Vec<Subject>,
    sketch: Option<Box<HllUnion>>,
}

impl Default for Subjects {
    fn default() -> Self {
        Subjects::new()
    }
}

impl Subjects {
    /// None.
    #[must_use]
    pub const fn new() -> Subjects {
        Subjects { exact: Vec::new(), sketch: None }
    }

    /// Adds one. `k`: counts are exact up to twice that.
    pub fn add(&mut self, subject: Subject, k: usize) {
        if let Some(sketch) = &mut self.sketch {
            return sketch.update_value(subject.hash ^ u64::from(subject.epoch));
        }
        if let Err(at) = self.exact.binary_search(&subject) {
            self.exact.insert(at, subject);
            if self.exact.len() > 2 * k && self.sure() > 2 * k {
                self.become_sketch();
            }
        }
    }

    /// Adds all of another set. `k`: as in [`Subjects::add`].
    pub fn add_all(&mut self, other: &Subjects, k: usize) {
        if let Some(theirs) = &other.sketch {
            self.become_sketch();
            if let (Some(ours), true) = (&mut self.sketch, !theirs.is_empty()) {
                ours.update(&theirs.to_sketch(HllType::Hll8));
            }
            return;
        }
        for subject in &other.exact {
            self.add(*subject, k);
        }
    }

    /// Whether there are at least `k` people, whatever happened to keys.
    #[must_use]
    pub fn at_least(&self, k: usize) -> bool {
        self.sketch.is_some() || self.sure() >= k
    }

    /// How many, and the relative standard error of that.
    #[must_use]
    pub fn count(&self) -> (u64, f64) {
        match &self.sketch {
            Some(sketch) => (sketch.estimate().round() as u64, SKETCH_ERROR),
            None => (self.exact.len() as u64, 0.0),
        }
    }

    /// The largest number of subjects under one key generation.
    fn sure(&self) -> usize {
        self.exact.chunk_by(|a, b| a.epoch == b.epoch).map(<[Subject]>::len).max().unwrap_or(0)
    }

    fn become_sketch(&mut self) {
        if self.sketch.is_some() {
            return;
        }
        // Refused only for a number of registers out of range, which a test would find; counting exactly would be right then, too.
        let Ok(mut sketch) = HllUnion::new(LG_REGISTERS) else { return };
        for subject in self.exact.drain(..) {
            sketch.update_value(subject.hash ^ u64::from(subject.epoch));
        }
        self.exact.shrink_to_fit();
        self.sketch = Some(Box::new(sketch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A well mixed number, as a pseudonym's bits are (splitmix64).
    fn mixed(n: u64) -> u64 {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one(n: u64) -> Subject {
        Subject::new(Epoch(1), mixed(n))
    }

    proptest! {
        #[test]
        fn exact_up_to_twice_k_and_near_above(n in 0u64..20_000, k in 1usize..200, parts in 1u64..5) {
            let mut all = Subjects::new();
            for part in 0..parts {
                let mut some = Subjects::new();
                for i in (0..n).filter(|i| i % parts == part || i % 7 == 0) {
                    some.add(one(i), k);
                    some.add(one(i), k);
                }
                all.add_all(&some, k);
            }
            let (count, error) = all.count();
            prop_assert_eq!(all.at_least(k), n >= k as u64);
            if n <= 2 * k as u64 {
                prop_assert_eq!((count, error), (n, 0.0));
            } else {
                // Five standard errors.
                prop_assert!((count as f64 - n as f64).abs() <= 5.0 * SKETCH_ERROR * n as f64 + 1.0, "{} of {}", count, n);
            }
        }

        #[test]
        fn people_are_never_counted_twice_towards_k(ids in proptest::collection::vec((0u16..4, 0u64..12), 0..60), k in 1usize..8) {
            let mut set = Subjects::new();
            for (epoch, n) in &ids {
                set.add(Subject::new(Epoch(*epoch), mixed(*n + 1_000 * u64::from(*epoch))), k);
            }
            let people: BTreeSet<u64> = ids.iter().map(|(_, n)| *n).collect();
            if set.at_least(k) {
                prop_assert!(people.len() >= k, "each number is one person, whatever the epoch");
            }
        }
    }
}
