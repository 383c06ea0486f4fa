//! The sweep: one pass over a tenant's topics for all its pending requests, uncommitted data included, matching the header `lethe` against a set.

use crate::config::governed::Governed;
use crate::kafka::client::Fault;
use crate::kafka::consumer::ROLL_KEY;
use crate::kafka::whole::{Seen, WholeReader};
use crate::lifecycle::hold::Holds;
use crate::model::header::Header;
use crate::model::pseudonym::{Epoch, Pseudonym};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a sweep looks for on behalf of one request.
pub(super) struct Wish {
    pub id: String,
    /// What occurred up to then. Units: ms since the epoch.
    pub cutoff_ms: i64,
    pub people: Vec<Pseudonym>,
    /// Short names of the topics concerned; none: all.
    pub topics: Option<HashSet<String>>,
    /// Instead of people: everything behind the cursor, which a hold had kept when it was due.
    pub overdue: bool,
    /// Instead of people: everything.
    pub everything: bool,
    /// A certificate follows, and before it the topics are read again.
    pub certified: bool,
}

/// All wishes of a tenant, ready to match.
pub(super) struct Wishes {
    all: Vec<Wish>,
    by_person: HashMap<Pseudonym, Vec<u32>>,
    overdue: Vec<u32>,
    everything: Vec<u32>,
    /// The retention cursors: topic and partition. Empty without an overdue wish.
    cursors: HashMap<(String, i32), i64>,
}

/// A key that must go.
pub(super) struct Hit {
    pub epoch: Option<Epoch>,
    pub wishes: Vec<u32>,
    pub held: bool,
    found_in: i32,
}

/// What one pass over one topic found.
#[derive(Default)]
pub(super) struct Pass {
    /// Keys whose newest version must go, by partition and key.
    pub hits: HashMap<(i32, Vec<u8>), Hit>,
    /// Records that must go and are followed by another of their key: the cleaner takes them. By partition.
    pub superseded: BTreeMap<i32, u64>,
}

impl Wishes {
    pub(super) fn new(all: Vec<Wish>, cursors: HashMap<(String, i32), i64>) -> Self {
        let mut by_person: HashMap<Pseudonym, Vec<u32>> = HashMap::new();
        let (mut overdue, mut everything) = (Vec::new(), Vec::new());
        for (i, wish) in all.iter().enumerate() {
            for p in &wish.people {
                by_person.entry(*p).or_default().push(i as u32);
            }
            if wish.overdue {
                overdue.push(i as u32);
            }
            if wish.everything {
                everything.push(i as u32);
            }
        }
        Wishes { all, by_person, overdue, everything, cursors }
    }

    /// The requests, in the order of their numbers.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.all.iter().map(|w| &w.id)
    }

    /// Whether a topic is to be read at all.
    pub(super) fn concern(&self, short: &str) -> bool {
        self.all.iter().any(|w| w.topics.as_ref().is_none_or(|t| t.contains(short)))
    }

    /// Whether a request is done with the sweep of this topic.
    pub(super) fn end_with_the_sweep(&self, short: &str) -> bool {
        self.all.iter().any(|w| !w.certified && w.topics.as_ref().is_none_or(|t| t.contains(short)))
    }

    /// Which wishes a record with a value fulfils.
    fn of(&self, governed: &Governed, seen: &Seen<'_>, header: Option<&Header<'_>>) -> Vec<u32> {
        let mut found = self.everything.clone();
        if let Some(header) = header {
            for wishes in header.identifiers().filter_map(|p| self.by_person.get(&p)) {
                found.extend(wishes.iter().copied().filter(|i| {
                    let wish = &self.all[*i as usize];
                    header.occurred_at_ms <= wish.cutoff_ms && wish.topics.as_ref().is_none_or(|t| t.contains(&governed.short))
                }));
            }
        }
        // What lies behind the cursor was due when the cursor passed it; a window that was lengthened since gives it no second life.
        if !self.overdue.is_empty() {
            let cursor = self.cursors.get(&(governed.topic.clone(), seen.partition)).copied().unwrap_or(0);
            if seen.offset < cursor {
                found.extend(&self.overdue);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// How a topic is looked through.
pub(super) struct Look<'l> {
    pub reader: &'l WholeReader,
    pub wishes: &'l Wishes,
    pub holds: &'l Holds,
    pub stop: &'l AtomicBool,
}

impl Look<'_> {
    /// Reads ranges of one topic. `others`: by wish, the other identifiers of its records. Errors: the brokers; the process is to stop.
    pub(super) fn read(&self, governed: &Governed, ranges: &[(i32, i64, i64)], others: &mut [HashSet<Pseudonym>]) -> Result<Pass, Fault> {
        let mut pass = Pass::default();
        let mut count = 0u32;
        self.reader.read(&governed.topic, ranges, |seen| {
            count = count.wrapping_add(1);
            if count.is_multiple_of(1_024) && self.stop.load(Ordering::Relaxed) {
                return Err(Fault::Retry("asked to stop".into()));
            }
            pass.meet(governed, seen, self.wishes, self.holds, others);
            Ok(())
        })?;
        Ok(pass)
    }
}

impl Pass {
    fn meet(&mut self, governed: &Governed, seen: &Seen<'_>, wishes: &Wishes, holds: &Holds, others: &mut [HashSet<Pseudonym>]) {
        if seen.value.is_none() && seen.key == ROLL_KEY {
            return;
        }
        let header = seen.header.and_then(Header::read);
        let found = if seen.value.is_some() { wishes.of(governed, seen, header.as_ref()) } else { Vec::new() };
        if found.is_empty() && self.hits.is_empty() {
            return;
        }
        let place = (seen.partition, seen.key.to_vec());
        if let Some(before) = self.hits.remove(&place) {
            *self.superseded.entry(before.found_in).or_default() += 1;
        }
        if found.is_empty() {
            return;
        }
        for wish in &found {
            let named = &wishes.all[*wish as usize].people;
            if let (Some(header), Some(others)) = (&header, others.get_mut(*wish as usize)) {
                others.extend(header.identifiers().filter(|p| !named.contains(p)));
            }
        }
        let held = holds.cover(&governed.tenant, &governed.short, seen.header);
        self.hits.insert(place, Hit { epoch: header.map(|h| h.epoch), wishes: found, held, found_in: seen.partition });
    }

    /// Keys to be erased and keys that a hold keeps, for each wish.
    pub(super) fn count(&self, wishes: usize) -> Vec<(u64, u64)> {
        let mut counts = vec![(0, 0); wishes];
        for hit in self.hits.values() {
            for wish in &hit.wishes {
                let count = &mut counts[*wish as usize];
                if hit.held { count.1 += 1 } else { count.0 += 1 }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::horizon::govern;
    use crate::model::header;

    const DAY: i64 = 86_400_000;

    fn governed() -> Governed {
        Governed {
            tenant: "acme".into(),
            short: "events".into(),
            topic: "acme.events".into(),
            governance: govern(30 * DAY, DAY, 10_000, false).unwrap(),
        }
    }

    fn wish(people: &[u8], topics: Option<&[&str]>, overdue: bool) -> Wish {
        Wish {
            id: "r".into(),
            cutoff_ms: 100,
            people: people.iter().map(|n| Pseudonym([*n; 16])).collect(),
            topics: topics.map(|t| t.iter().map(|s| (*s).to_owned()).collect()),
            overdue,
            everything: false,
            certified: true,
        }
    }

    /// Offset, key, occurred at, people; a tombstone has none.
    type Record = (i64, &'static str, i64, Option<&'static [u8]>);

    fn pass(wishes: &Wishes, holds: &Holds, log: &[Record]) -> (Pass, Vec<HashSet<Pseudonym>>) {
        let mut pass = Pass::default();
        let mut others = vec![HashSet::new(); wishes.all.len()];
        for (offset, key, at_ms, people) in log {
            let mut bytes = Vec::new();
            header::write(Epoch(1), *at_ms, people.unwrap_or_default().iter().map(|n| Pseudonym([*n; 16])), &mut bytes);
            let seen = Seen {
                partition: 0,
                offset: *offset,
                stored_at_ms: *offset,
                key: key.as_bytes(),
                value: people.map(|_| &b"v"[..]),
                header: Some(&bytes),
            };
            pass.meet(&governed(), &seen, wishes, holds, &mut others);
        }
        (pass, others)
    }

    fn keys(pass: &Pass) -> Vec<String> {
        let mut keys: Vec<String> = pass.hits.keys().map(|(_, k)| String::from_utf8(k.clone()).unwrap()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn identifier_and_time_decide_and_others_are_counted() {
        let wishes = Wishes::new(vec![wish(&[1], None, false)], HashMap::new());
        let log: &[Record] =
            &[(0, "a", 100, Some(&[1, 9])), (1, "b", 101, Some(&[1])), (2, "c", 0, Some(&[2])), (3, "d", 0, Some(&[2, 1]))];
        let (pass, others) = pass(&wishes, &Holds::default(), log);
        assert_eq!(keys(&pass), ["a", "d"]);
        assert_eq!(others[0].len(), 2);
        assert_eq!(pass.count(1), [(2, 0)]);
    }

    #[test]
    fn everything_is_everything_even_without_a_person() {
        let wishes = Wishes::new(vec![Wish { everything: true, ..wish(&[], None, false) }], HashMap::new());
        let (pass, _) = pass(&wishes, &Holds::default(), &[(0, "a", 500, Some(&[])), (1, "b", 1, Some(&[3])), (2, "c", 1, None)]);
        assert_eq!(keys(&pass), ["a", "b"]);
    }

    #[test]
    fn the_newest_version_of_a_key_decides() {
        let wishes = Wishes::new(vec![wish(&[1], None, false)], HashMap::new());
        let log: &[Record] = &[
            (0, "gone", 1, Some(&[1])),
            (1, "gone", 1, None),
            (2, "new", 1, Some(&[1])),
            (3, "new", 200, Some(&[1])),
            (4, "twice", 1, Some(&[1])),
            (5, "twice", 2, Some(&[1])),
        ];
        let (pass, _) = pass(&wishes, &Holds::default(), log);
        assert_eq!(keys(&pass), ["twice"], "what has a tombstone needs none; what is new again stays");
        assert_eq!(pass.superseded[&0], 3, "and the cleaner has to take the older versions");
    }

    #[test]
    fn topics_bound_a_wish_and_a_release_takes_what_the_cursor_passed() {
        let wishes = Wishes::new(vec![wish(&[1], Some(&["dest.meta"]), false)], HashMap::new());
        assert!(!wishes.concern("events") && wishes.concern("dest.meta"));
        let cursors = HashMap::from([(("acme.events".to_owned(), 0), 2)]);
        let wishes = Wishes::new(vec![wish(&[], None, true)], cursors);
        let log: &[Record] = &[(0, "a", 1, Some(&[1])), (1, "b", 1, Some(&[2])), (2, "c", 1, Some(&[3]))];
        assert_eq!(keys(&pass(&wishes, &Holds::default(), log).0), ["a", "b"]);
    }
}
