//! The expiry cursor: what to do with the next record of a partition, and when a partition that nobody writes to needs a roll.
//!
//! In a partition, storage times are in order, so what falls due next is what comes next. The cursor reads while records are due, has a tombstone
//! written for each key, and parks at the first record that is not. What happens to
//!
//! - a record rewritten under the same key, a replayed event: each version is due by its own storage time, and the first due one expires the key,
//!   later versions included. The tombstone of a later version is written again when that one is due: a key is never there past its latest version.
//! - an aborted transaction's record: nobody can read it, so it needs no tombstone; the cleaner drops it, and [`Pending`] sees to it that there is
//!   a cleaning (it is found behind the cursor by the read-back, uncommitted data included).
//! - a leader with a skewed clock: within the allowance the horizon has room for it. A record stamped too early is due too early behind a later
//!   one and waits for it; a record stamped far ahead keeps the cursor waiting, which shows as overdue.
//! - a cursor whose offsets were forgotten: it starts at the beginning, passes what is null, and expires what is due: a re-read, nothing else.
//! - a hold: what is due and held is passed; at its release a sweep takes everything that the cursor has passed, whatever the window has become since.
//! - a shortened window: the parked record is judged again and the cursor goes on at once. Everything behind the cursor has its tombstone, so there is
//!   nothing to sweep.
//! - a lengthened window: from then on. What has a tombstone is gone.
//! - a hanging transaction: the cursor reads what is committed, so it stands before the last stable offset until the broker gives the transaction up;
//!   past its window, what lies behind it is overdue, and the log names the partition. A dead cleaner shows the same way, with the other cause.
//! - a rebalance or a crash in the middle: tombstones and cursor are one transaction, so the next owner goes on from before both, or after both.
//!
//! Shown by the model below, and on a real broker by the journeys `window_elapsed`, `retain_survives` and `retain_meets_the_odd`.

use super::horizon::Timing;

/// What kind of record the cursor met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has a value.
    Value,
    /// Null: it deletes its key.
    Tombstone,
    /// Null, written by `retain` to make a segment roll.
    Roll,
}

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing; the cursor goes past it.
    Pass,
    /// Its key gets a tombstone, then the cursor goes past it.
    Expire,
    /// The cursor stays before it until then. Units: ms since the epoch.
    Park {
        /// When it is due.
        due_ms: i64,
    },
}

/// Decides about the next record of a partition. `held`: a legal hold covers it. Units: ms.
#[must_use]
pub fn step(kind: Kind, stored_at_ms: i64, keep_ms: i64, now_ms: i64, held: bool) -> Step {
    if kind != Kind::Value {
        return Step::Pass;
    }
    let due_ms = stored_at_ms.saturating_add(keep_ms);
    match (due_ms > now_ms, held) {
        (true, _) => Step::Park { due_ms },
        (false, true) => Step::Pass,
        (false, false) => Step::Expire,
    }
}

/// What a partition still holds that must go: tombstones, or records behind the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// No tombstone of ours lies before this offset.
    pub from: i64,
    /// None lies at or after this one.
    pub until: i64,
    /// Since when there is something. Units: ms since the epoch.
    pub since_ms: i64,
    /// When a tombstone was added last. Units: ms since the epoch.
    pub newest_ms: i64,
    /// Roll records written since a tombstone was added last.
    pub rolls: u32,
}

impl Pending {
    /// Something from `from` on must go.
    #[must_use]
    pub fn new(from: i64, now_ms: i64) -> Pending {
        Pending { from, until: from, since_ms: now_ms, newest_ms: now_ms, rolls: 0 }
    }

    /// Tombstones were added: the rolls begin anew.
    pub fn grow(&mut self, now_ms: i64) {
        (self.newest_ms, self.rolls) = (now_ms, 0);
    }

    /// Whether an idle partition needs a roll record now. The first closes the segment of the tombstones; the second, after the tombstones' own time,
    /// brings the cleaner back for the keys; further ones only if it was slower than allowed. Units: ms.
    #[must_use]
    pub fn needs_roll(&self, timing: &Timing, last_append_ms: i64, now_ms: i64) -> bool {
        let idle_ms = now_ms.saturating_sub(last_append_ms);
        let wait_ms = if self.rolls == 0 { timing.segment_ms } else { timing.pass_ms() + timing.delete_retention_ms };
        // Strictly later: the broker rolls a segment that is older than `segment.ms`, not as old.
        idle_ms > wait_ms
    }

    /// Whether the keys may be gone by now, so that it is worth reading back. Units: ms.
    #[must_use]
    pub fn may_be_clean(&self, timing: &Timing, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.since_ms) > timing.delete_retention_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::horizon::govern;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn parks_at_what_is_not_due_and_passes_what_is_null() {
        assert_eq!(step(Kind::Value, 100, 50, 149, false), Step::Park { due_ms: 150 });
        assert_eq!(step(Kind::Value, 100, 50, 150, false), Step::Expire);
        assert_eq!(step(Kind::Value, 100, 50, 150, true), Step::Pass);
        assert_eq!(step(Kind::Value, 100, 50, 149, true), Step::Park { due_ms: 150 }, "a hold does not make the cursor hurry");
        for kind in [Kind::Tombstone, Kind::Roll] {
            assert_eq!(step(kind, i64::MAX, 50, 0, false), Step::Pass);
        }
    }

    #[test]
    fn an_idle_partition_is_rolled_twice_and_then_only_if_the_cleaner_is_slow() {
        let t = govern(20_000, 0, 10_000, true).unwrap().timing;
        let mut p = Pending::new(5, 0);
        assert!(!p.needs_roll(&t, 0, t.segment_ms));
        assert!(p.needs_roll(&t, 0, t.segment_ms + 1));
        p.rolls = 1;
        assert!(!p.needs_roll(&t, 0, t.segment_ms + 1), "the keys have their own time");
        assert!(p.needs_roll(&t, 0, t.pass_ms() + t.delete_retention_ms + 1));
        assert!(!p.needs_roll(&t, 1_000_000, 1_000_000), "traffic rolls by itself");
        p.grow(7);
        assert_eq!((p.rolls, p.since_ms, p.newest_ms), (0, 0, 7));
    }

    /// A record of the model's log.
    #[derive(Clone, Debug)]
    struct Entry {
        key: u8,
        at_ms: i64,
        kind: Kind,
    }

    /// One partition with a cursor over it, killed at any point: what is not committed is lost.
    struct Machine {
        log: Vec<Entry>,
        committed: usize,
    }

    impl Machine {
        /// One transaction of at most `batch` records; `dies` before its commit.
        fn run(&mut self, keep_ms: i64, now_ms: i64, batch: usize, held: &BTreeSet<u8>, dies: bool) -> bool {
            let mut tombstones = Vec::new();
            let mut next = self.committed;
            let mut parked = false;
            while next < self.log.len() && next - self.committed < batch {
                let e = &self.log[next];
                match step(e.kind, e.at_ms, keep_ms, now_ms, held.contains(&e.key)) {
                    Step::Park { .. } => {
                        parked = true;
                        break;
                    }
                    Step::Pass => {}
                    Step::Expire => tombstones.push(Entry { key: e.key, at_ms: now_ms, kind: Kind::Tombstone }),
                }
                next += 1;
            }
            let went_on = next > self.committed;
            if !dies {
                self.committed = next;
                self.log.extend(tombstones);
            }
            went_on && !parked
        }

        /// A release: what the cursor has passed of this key goes now, whatever the window has become since.
        fn sweep(&mut self, key: u8, now_ms: i64) {
            if self.log[..self.committed].iter().any(|e| e.key == key && e.kind == Kind::Value) {
                self.log.push(Entry { key, at_ms: now_ms, kind: Kind::Tombstone });
            }
        }

        /// Keys that a reader of the topic has.
        fn table(&self) -> BTreeSet<u8> {
            let mut newest = BTreeMap::new();
            self.log.iter().for_each(|e| {
                newest.insert(e.key, e.kind);
            });
            newest.into_iter().filter(|(_, kind)| *kind == Kind::Value).map(|(key, _)| key).collect()
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        /// A key is written; the leader's clock is so far ahead.
        Write(u8, i64),
        Tick {
            batch: usize,
            dies: bool,
        },
        Wait(i64),
        Keep(i64),
        Hold(u8),
        Release(u8),
        /// The cursor's offsets are forgotten.
        Forget,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let one = prop_oneof![
            8 => (0u8..12, prop_oneof![Just(0), 0i64..15]).prop_map(|(key, ahead_ms)| Event::Write(key, ahead_ms)),
            6 => (1usize..5, any::<bool>()).prop_map(|(batch, dies)| Event::Tick { batch, dies }),
            6 => (0i64..40).prop_map(Event::Wait),
            2 => (1i64..100).prop_map(Event::Keep),
            1 => (0u8..12).prop_map(Event::Hold),
            2 => (0u8..12).prop_map(Event::Release),
            1 => Just(Event::Forget),
        ];
        prop::collection::vec(one, 1..160)
    }

    /// What the naive model knows of one version of a key.
    struct Version {
        /// Its own stamp, and the newest one in the log up to it: behind a clock that was ahead, a record waits.
        at_ms: i64,
        waits_for_ms: i64,
        /// Whether it was ever due, by its own stamp; by the other, when the cursor had caught up and no hold was on it.
        may_go: bool,
        must_go: bool,
    }

    proptest! {
        /// The naive model looks at every version ever written, whenever the cursor has caught up: a key whose newest version is due, were the clock
        /// behind by its skew, is absent; one that never had a due version is present; one that is held stays.
        #[test]
        fn equals_a_naive_model(events in events()) {
            let mut m = Machine { log: Vec::new(), committed: 0 };
            let (mut now_ms, mut keep_ms, mut newest_ms) = (0, 50, 0);
            let (mut held, mut there_before) = (BTreeSet::new(), BTreeSet::new());
            let mut versions: BTreeMap<u8, Vec<Version>> = BTreeMap::new();
            for event in events {
                match event {
                    Event::Write(key, ahead_ms) => {
                        let at_ms = now_ms + ahead_ms;
                        newest_ms = newest_ms.max(at_ms);
                        m.log.push(Entry { key, at_ms, kind: Kind::Value });
                        versions.entry(key).or_default().push(Version { at_ms, waits_for_ms: newest_ms, may_go: false, must_go: false });
                    }
                    Event::Wait(ms) => now_ms += ms,
                    Event::Keep(ms) => keep_ms = ms,
                    Event::Hold(key) => {
                        held.insert(key);
                    }
                    Event::Release(key) => {
                        held.remove(&key);
                        m.sweep(key, now_ms);
                    }
                    Event::Forget => m.committed = 0,
                    Event::Tick { batch, dies } => {
                        m.run(keep_ms, now_ms, batch, &held, dies);
                        while m.run(keep_ms, now_ms, batch, &held, false) {}
                    }
                }
                if !matches!(event, Event::Tick { .. } | Event::Release(_)) {
                    continue;
                }
                let ticked = matches!(event, Event::Tick { .. });
                for (key, versions) in &mut versions {
                    for v in versions {
                        v.may_go |= v.at_ms + keep_ms <= now_ms;
                        v.must_go |= ticked && !held.contains(key) && v.waits_for_ms + keep_ms <= now_ms;
                    }
                }
                let (table, before) = (m.table(), std::mem::replace(&mut there_before, m.table()));
                for (key, versions) in &versions {
                    let there = table.contains(key);
                    prop_assert!(!(there && versions.last().unwrap().must_go), "due and still there: {key}");
                    prop_assert!(there || versions.iter().any(|v| v.may_go), "not due and gone: {key}");
                    prop_assert!(there || !(held.contains(key) && before.contains(key)), "held and gone: {key}");
                }
            }
        }

        /// A second cursor from the beginning, its offsets forgotten, takes nothing that was not due.
        #[test]
        fn a_forgotten_cursor_costs_a_re_read(writes in prop::collection::vec((0u8..12, 0i64..30), 1..60)) {
            let mut m = Machine { log: Vec::new(), committed: 0 };
            let mut now_ms = 0;
            for (key, wait) in writes {
                now_ms += wait;
                m.log.push(Entry { key, at_ms: now_ms, kind: Kind::Value });
                while m.run(40, now_ms, 3, &BTreeSet::new(), false) {}
            }
            let before = m.table();
            m.committed = 0;
            while m.run(40, now_ms, 3, &BTreeSet::new(), false) {}
            // A key rewritten after its first version expired loses that newer version early: a due version expires its key.
            prop_assert!(m.table().is_subset(&before));
            let due_once: BTreeSet<u8> = m.log.iter().filter(|e| e.kind == Kind::Value && e.at_ms + 40 <= now_ms).map(|e| e.key).collect();
            prop_assert!(before.difference(&m.table()).all(|key| due_once.contains(key)));
        }

        /// A clock that jumps back makes records late by no more than the jump.
        #[test]
        fn a_skewed_clock_costs_its_skew(stamps in prop::collection::vec((0i64..20, 0i64..15), 1..40)) {
            let mut m = Machine { log: Vec::new(), committed: 0 };
            let mut true_ms = 0;
            for (key, (wait, ahead)) in stamps.iter().enumerate() {
                true_ms += wait;
                m.log.push(Entry { key: key as u8, at_ms: true_ms + ahead, kind: Kind::Value });
            }
            while m.run(100, true_ms + 100 + 15, 50, &BTreeSet::new(), false) {}
            prop_assert!(m.table().is_empty());
        }
    }
}
