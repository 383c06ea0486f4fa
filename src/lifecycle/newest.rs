//! Which records of a partition are the newest of their keys, found in one pass or several, so that memory stays bounded whatever the partition holds.
//!
//! A key lives in one partition of a topic, so partitions are looked at one after the other. A pass remembers at most `most` keys; where there
//! are more, it goes on with half of them (by a bit of the key's hash) and leaves the other half to a further pass:
//!
//! ```text
//! pass 1: ....aabb   too many: only hash % 2 == 0 from here      pass 2: hash % 2 == 1
//! ```

use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Finds the newest records.
pub struct Newest {
    most: usize,
    modulus: u64,
    residue: u64,
    seen: HashMap<[u8; 16], i64>,
    rest: Vec<(u64, u64)>,
    found: Vec<i64>,
}

impl Newest {
    /// Begins the first pass. `most`: keys remembered in one pass, at least 1. Units: some 50 bytes a key.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Newest { most: most.max(1), modulus: 1, residue: 0, seen: HashMap::new(), rest: Vec::new(), found: Vec::new() }
    }

    /// Takes one record of a pass, in the order of the partition. `wanted`: it has a value, and is one of those that are looked for; if not, no
    /// older record of the key is wanted either.
    pub fn take(&mut self, key: &[u8], offset: i64, wanted: bool) {
        if !wanted && self.seen.is_empty() {
            return;
        }
        let hash = hash(key);
        if !self.is_mine(&hash) {
            return;
        }
        if !wanted {
            self.seen.remove(&hash);
            return;
        }
        self.seen.insert(hash, offset);
        while self.seen.len() > self.most && self.modulus < 1 << 62 {
            self.modulus *= 2;
            self.rest.push((self.modulus, self.residue + self.modulus / 2));
            let (modulus, residue) = (self.modulus, self.residue);
            self.seen.retain(|hash, _| number(hash) % modulus == residue);
        }
    }

    /// Ends a pass. Returns whether there must be another, over the same records.
    pub fn end_pass(&mut self) -> bool {
        self.found.extend(self.seen.drain().map(|(_, offset)| offset));
        match self.rest.pop() {
            Some((modulus, residue)) => {
                (self.modulus, self.residue) = (modulus, residue);
                true
            }
            None => false,
        }
    }

    /// The offsets of the newest records, after the last pass. Shape: ascending. Units: 8 bytes each.
    #[must_use]
    pub fn offsets(mut self) -> Vec<i64> {
        self.found.sort_unstable();
        self.found
    }

    fn is_mine(&self, hash: &[u8; 16]) -> bool {
        self.modulus == 1 || number(hash) % self.modulus == self.residue
    }
}

/// 128 bits of SHA-256: two keys of ten million that share one are less likely than the machine to fail.
fn hash(key: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(key);
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

fn number(hash: &[u8; 16]) -> u64 {
    hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One map over everything.
    fn naive(records: &[(u8, bool)]) -> Vec<i64> {
        let mut newest: HashMap<u8, i64> = HashMap::new();
        for (offset, (key, wanted)) in records.iter().enumerate() {
            if *wanted {
                newest.insert(*key, offset as i64);
            } else {
                newest.remove(key);
            }
        }
        let mut offsets: Vec<i64> = newest.into_values().collect();
        offsets.sort_unstable();
        offsets
    }

    proptest! {
        #[test]
        fn equals_one_map_over_everything_however_little_is_remembered(
            records in prop::collection::vec((0u8..40, prop::bool::weighted(0.8)), 0..300), most in 1usize..50
        ) {
            let mut newest = Newest::new(most);
            loop {
                for (offset, (key, wanted)) in records.iter().enumerate() {
                    newest.take(&[*key], offset as i64, *wanted);
                    prop_assert!(newest.seen.len() <= most);
                }
                if !newest.end_pass() {
                    break;
                }
            }
            prop_assert_eq!(newest.offsets(), naive(&records));
        }
    }
}
