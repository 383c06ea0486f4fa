//! A bounded memo in front of the user-agent rules: parsing takes microseconds, real traffic repeats its user agents.
//!
//! Reading a user agent is pure, so remembering the answer changes no result, only the time it takes. The table is shared by all
//! threads behind small locks; a [`DeviceMemo`] belongs to one chunk of rows and answers without any lock.
//! Both hold user agents, which are personal data: they are bounded in number and length, stay in memory, and cannot be printed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::transform::{avro, bits};

use super::device::{Device, DeviceRules, RulesError, USER_AGENT_BYTES_MAX};

/// Locks of the shared table.
const SHARDS: usize = 64;
/// User agents per lock: 16,384 in all, at most 8 MiB of text.
const SHARD_ENTRIES: usize = 256;
/// Slots of a chunk's memo, one user agent each; about 100 KiB.
const MEMO_SLOTS: usize = 2048;

/// A device, and what records hold of it.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownDevice {
    /// What is known.
    pub device: Device,
    /// As a record has it: all of it, and what is written without consent.
    records: [Box<[u8]>; 2],
}

impl KnownDevice {
    fn new(device: Device) -> Self {
        let records = [true, false].map(|full| {
            let mut out = Vec::new();
            avro::string(device.class.as_str().as_bytes(), &mut out);
            for text in [&device.os, &device.os_major, &device.browser, &device.browser_major] {
                avro::optional_string(if full { text } else { "" }, &mut out);
            }
            out.push(u8::from(device.is_bot));
            out.into()
        });
        KnownDevice { device, records }
    }

    /// The value of a record's `device`, all of it or its class alone.
    #[must_use]
    pub fn record(&self, full: bool) -> &[u8] {
        &self.records[usize::from(!full)]
    }
}

/// One remembered answer. No `Debug`: it holds a user agent.
#[derive(Clone)]
struct Entry {
    hash: u64,
    user_agent: Arc<str>,
    device: Arc<KnownDevice>,
}

impl Entry {
    fn is_for(&self, hash: u64, user_agent: &str) -> bool {
        self.hash == hash && *self.user_agent == *user_agent
    }
}

/// The rules and the memo that all threads share. Shape: at most 16,384 user agents; a new one takes the place of another with the same slot.
pub struct DeviceTable {
    rules: DeviceRules,
    shards: Box<[Mutex<Vec<Option<Entry>>>]>,
    unknown: Arc<KnownDevice>,
}

impl DeviceTable {
    /// A table over the embedded rules. Errors: only if the build was broken.
    pub fn embedded() -> Result<Self, RulesError> {
        let shards = (0..SHARDS).map(|_| Mutex::new(vec![None; SHARD_ENTRIES])).collect();
        Ok(Self { rules: DeviceRules::embedded()?, shards, unknown: Arc::new(KnownDevice::new(Device::default())) })
    }

    /// The device of a user agent, through the shared memo. Shape: takes one short lock; the rules run outside it.
    #[must_use]
    pub fn lookup(&self, user_agent: &str) -> Arc<KnownDevice> {
        self.entry(hash(user_agent.as_bytes()), user_agent).map_or_else(|| self.unknown.clone(), |e| e.device)
    }

    /// `None` for the empty user agent, which is common and needs no slot.
    fn entry(&self, hash: u64, user_agent: &str) -> Option<Entry> {
        if user_agent.is_empty() {
            return None;
        }
        if user_agent.len() > USER_AGENT_BYTES_MAX {
            // Too long to be remembered: the bound on memory holds for any input.
            return Some(Entry { hash, user_agent: "".into(), device: Arc::new(KnownDevice::new(self.rules.read(user_agent))) });
        }
        let shard = &self.shards[hash as usize % SHARDS];
        let slot = (hash as usize / SHARDS) % SHARD_ENTRIES;
        {
            let held = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = held[slot].as_ref().filter(|e| e.is_for(hash, user_agent)) {
                return Some(entry.clone());
            }
        }
        let entry = Entry { hash, user_agent: user_agent.into(), device: Arc::new(KnownDevice::new(self.rules.read(user_agent))) };
        shard.lock().unwrap_or_else(PoisonError::into_inner)[slot] = Some(entry.clone());
        Some(entry)
    }
}

/// The memo of one chunk of rows: no lock, one comparison on a hit. Shape: 2,048 user agents; make one per chunk and drop it with it.
pub struct DeviceMemo {
    slots: Box<[Option<Entry>]>,
}

impl Default for DeviceMemo {
    fn default() -> Self {
        Self { slots: vec![None; MEMO_SLOTS].into_boxed_slice() }
    }
}

impl DeviceMemo {
    /// The device of a user agent: from this memo, else from the table.
    #[inline]
    pub fn lookup<'a>(&'a mut self, table: &'a DeviceTable, user_agent: &str) -> &'a Arc<KnownDevice> {
        let hash = hash(user_agent.as_bytes());
        let slot = &mut self.slots[(hash >> 20) as usize % MEMO_SLOTS];
        if !slot.as_ref().is_some_and(|e| e.is_for(hash, user_agent)) {
            *slot = table.entry(hash, user_agent);
        }
        slot.as_ref().map_or(&table.unknown, |e| &e.device)
    }
}

/// A folded multiply over 16 bytes at a time. A collision costs a comparison and a slot, never a wrong answer, so it needs no secret seed:
/// who sends colliding user agents could as well send new ones.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    const A: u64 = 0x9e37_79b9_7f4a_7c15;
    const B: u64 = 0xd1b5_4a32_d192_ed03;
    let fold = |x: u64, y: u64| {
        let wide = u128::from(x) * u128::from(y);
        wide as u64 ^ (wide >> 64) as u64
    };
    let mut state = A ^ bytes.len() as u64;
    let mut mix = |both: u128| state = fold(both as u64 ^ state, (both >> 64) as u64 ^ B);
    bytes.as_chunks().0.iter().for_each(|pair| mix(u128::from_le_bytes(*pair)));
    mix(bits::end(bytes));
    fold(state ^ A, B)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    fn table() -> &'static DeviceTable {
        static TABLE: OnceLock<DeviceTable> = OnceLock::new();
        TABLE.get_or_init(|| DeviceTable::embedded().unwrap())
    }

    /// More user agents than both memos have slots, twice: every answer is the rules' own.
    #[test]
    fn remembered_answers_are_the_rules_own() {
        let mut memo = DeviceMemo::default();
        for _ in 0..2 {
            for i in 0..3000 {
                let ua =
                    format!("Mozilla/5.0 (Linux; Android {}; X{i}) AppleWebKit/537.36 Chrome/{}.0 Mobile Safari/537.36", i % 15, i % 140);
                let device = memo.lookup(table(), &ua).clone();
                assert_eq!(device.device, table().rules.read(&ua));
                assert_eq!(*table().lookup(&ua), *device);
            }
        }
    }

    #[test]
    fn the_empty_and_the_endless_user_agent() {
        let mut memo = DeviceMemo::default();
        assert_eq!(memo.lookup(table(), "").device, Device::default());
        assert_eq!(table().lookup("").device, Device::default());
        let (a, b) = ("curl/8 ".to_string() + &"x".repeat(9000), "Wget/1 ".to_string() + &"x".repeat(9000));
        for ua in [&a, &b, &a] {
            assert_eq!(memo.lookup(table(), ua).device, table().rules.read(ua));
        }
        assert!(memo.slots.iter().flatten().all(|e| e.user_agent.len() <= USER_AGENT_BYTES_MAX));
    }

    #[test]
    fn one_table_serves_many_threads() {
        std::thread::scope(|scope| {
            for t in 0..4 {
                scope.spawn(move || {
                    for i in 0..500 {
                        let ua = format!("curl/{}", (i * (t + 1)) % 97);
                        assert_eq!(table().lookup(&ua).device.browser_major.parse::<usize>(), Ok((i * (t + 1)) % 97));
                    }
                });
            }
        });
    }
}
