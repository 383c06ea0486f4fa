//! Anonymous counts of one tenant: windows that open and close by what the data say, each published once.
//!
//! An event belongs to the hour and the UTC day in which it occurred. It is late for a window if it was *stored* later than the window's end
//! and the lateness: a fact of the record, not of the clock, so that reading again gives the same. A window is closed once every partition has
//! been read past that moment; it is then published, once, whatever may come.
//!
//! # Why nobody can be told from what is published
//!
//! Let an *atom* be a set of events of at least `k` distinct subjects. Every published number of events is the size of a union of atoms that
//! are pairwise disjoint, over all windows of a tenant together:
//!
//! - An hour publishes each group of at least `k` subjects, an atom, and `other`, the union of the smaller groups, if that has `k`: an atom.
//! - A day publishes for a group the sum of its published hours, and with it the *rest* of the group: events of hours in which neither the group
//!   nor that hour's `other` was published, and events too late for their hour and not for the day. The rest goes in only if it is itself of
//!   `k` subjects: one more atom, which is in no hour's number and in one day's.
//! - A day's `other` is the sum of its hours' `other`, and the union of the rests of all groups that were too small, if that has `k`: an atom.
//! - What remains is published nowhere. A day's number can thus be smaller than the truth; it is never one that an hour's number can be
//!   taken from to leave fewer than `k` people.
//!
//! Any linear combination of published numbers is therefore one of sizes of disjoint atoms. If it counts a set of events at all, each once and no
//! other, that set is a union of atoms: empty, or of at least `k` subjects. Sums of values stand on atoms of their own, in the same way: by
//! currency, an atom is what at least `k` subjects have a *value* in. `attack` tries it.
//!
//! What it does not promise: numbers of distinct *subjects* are no sums, and from those of two sets and of their union follows how many subjects
//! are in both, which can be few. It says that such subjects exist, nothing of what they did: no event or value of theirs can be told apart. And
//! a subject is a pseudonym: somebody who is known by two identifiers that were never seen together counts as two.
//!
//! # Erasure
//!
//! Published numbers identify nobody, so an erasure has nothing to change in them, and must not: the difference of two versions would be the
//! person who was erased. For the same reason a process that starts again, and reads the events of a day without those of the erased, takes the
//! published hours by their published numbers and not by what it counts now (`restore`).

use crate::derive::cell::{Cell, Window, write_group};
use crate::derive::day::{Counted, Day, NO_CURRENCY};
use crate::derive::money::Micros;
use crate::derive::subjects::Subject;
use std::collections::BTreeMap;

/// No event is from before or after. Units: ms from the epoch; the years of four digits.
const TIME_MS_MAX: u64 = 250_000_000_000_000;

/// What the operator decided.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The least number of distinct subjects of a published count; at least 2.
    pub k: usize,
    /// How long after a window's end its events may be stored. Units: ms.
    pub lateness_ms: i64,
}

/// Everything that begins before is published. Units: ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// Hours.
    pub hours_ms: i64,
    /// Days.
    pub days_ms: i64,
}

impl Until {
    /// Nothing is published.
    pub const NOTHING: Until = Until { hours_ms: i64::MIN, days_ms: i64::MIN };
}

/// What is counted of an event.
#[derive(Clone, Copy)]
pub struct Event<'e> {
    /// When it happened. Units: ms since the epoch.
    pub occurred_at_ms: i64,
    /// 64 bits of its key: the same key again is the same event again.
    pub key: u64,
    /// Event name, country, device class, campaign source.
    pub group: [&'e str; 4],
    /// Whose it is.
    pub subject: Option<Subject>,
    /// Currency and amount.
    pub value: Option<(&'e str, Micros)>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is counted.
    Counted,
    /// It was counted before.
    Duplicate,
    /// It came too late for its day.
    Late,
    /// Its day is published: it was read again.
    Published,
}

impl Outcome {
    /// The metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Counted => "counted",
            Outcome::Duplicate => "duplicate",
            Outcome::Late => "late",
            Outcome::Published => "published",
        }
    }
}

/// One partition of the input.
struct Partition {
    /// Everything stored before this has been read. Units: ms since the epoch.
    read_until_ms: i64,
    /// The next offset.
    next: i64,
    /// The first offset that each open day needs.
    first: BTreeMap<i64, i64>,
}

/// One tenant's open windows.
pub struct Aggregate {
    rules: Rules,
    until: Until,
    days: BTreeMap<i64, Day>,
    partitions: Vec<Partition>,
    group: Vec<u8>,
}

impl Aggregate {
    /// Goes on where `until` and `next`, the offset of each partition, say.
    #[must_use]
    pub fn new(rules: Rules, until: Until, next: &[i64]) -> Aggregate {
        let partition = |next: &i64| Partition { read_until_ms: i64::MIN, next: *next, first: BTreeMap::new() };
        Aggregate { rules, until, days: BTreeMap::new(), partitions: next.iter().map(partition).collect(), group: Vec::new() }
    }

    /// Takes a cell back in that was published before. Those of closed days are passed over.
    pub fn restore(&mut self, cell: &Cell) {
        let Some(start_ms) = cell.start_ms() else { return };
        if cell.window == Window::Hour && start_ms < self.until.hours_ms && start_ms >= self.until.days_ms {
            let day_ms = Window::Day.start_ms(start_ms);
            self.days.entry(day_ms).or_insert_with(|| Day::new(day_ms)).restore(start_ms, cell);
        }
    }

    /// Counts one event. `stored_at_ms`: the broker's time of it. Units: ms since the epoch.
    pub fn take(&mut self, partition: usize, offset: i64, stored_at_ms: i64, event: &Event<'_>) -> Outcome {
        if event.occurred_at_ms.unsigned_abs() > TIME_MS_MAX {
            return Outcome::Late;
        }
        let (hour_ms, day_ms) = (Window::Hour.start_ms(event.occurred_at_ms), Window::Day.start_ms(event.occurred_at_ms));
        let on_time = |window: Window, start_ms: i64| stored_at_ms <= start_ms + window.length_ms() + self.rules.lateness_ms;
        if !on_time(Window::Day, day_ms) {
            return Outcome::Late;
        }
        if day_ms < self.until.days_ms {
            return Outcome::Published;
        }
        let on_time = on_time(Window::Hour, hour_ms);
        let is_closed = hour_ms < self.until.hours_ms;
        let day = self.days.entry(day_ms).or_insert_with(|| Day::new(day_ms));
        if !day.is_new(event.key) {
            return Outcome::Duplicate;
        }
        write_group(event.group, &mut self.group);
        let value = event.value.map(|(currency, amount)| (if currency.is_empty() { NO_CURRENCY } else { currency }, amount));
        let counted = Counted { subject: event.subject, value };
        day.add(hour_ms, is_closed, on_time, &self.group, &counted, self.rules.k);
        if let Some(p) = self.partitions.get_mut(partition) {
            p.first.entry(day_ms).or_insert(offset);
        }
        Outcome::Counted
    }

    /// A record, whatever it was, has been read. Units: ms since the epoch.
    pub fn passed(&mut self, partition: usize, offset: i64, stored_at_ms: i64) {
        if let Some(p) = self.partitions.get_mut(partition) {
            p.next = p.next.max(offset + 1);
            p.read_until_ms = p.read_until_ms.max(stored_at_ms);
        }
    }

    /// A partition was seen to hold nothing from `next` on that was stored before this. Units: ms since the epoch.
    pub fn nothing_before(&mut self, partition: usize, next: i64, read_until_ms: i64) {
        if let Some(p) = self.partitions.get_mut(partition) {
            p.next = p.next.max(next);
            p.read_until_ms = p.read_until_ms.max(read_until_ms);
        }
    }

    /// Up to when a partition has been read. Units: ms since the epoch.
    #[must_use]
    pub fn read_until_ms(&self, partition: usize) -> i64 {
        self.partitions.get(partition).map_or(i64::MIN, |p| p.read_until_ms)
    }

    /// Closes the windows that are due: what is published of them, hours before days. It counts as published from now on.
    pub fn close(&mut self) -> Vec<Cell> {
        let least = self.partitions.iter().map(|p| p.read_until_ms).min();
        let Some(read_until_ms) = least.filter(|ms| ms.unsigned_abs() <= TIME_MS_MAX) else { return Vec::new() };
        // A window is closed once something stored *after* its end and the lateness has been seen everywhere.
        let due_ms = read_until_ms.saturating_sub(self.rules.lateness_ms).saturating_sub(1);
        let k = self.rules.k;
        self.until.hours_ms = self.until.hours_ms.max(Window::Hour.start_ms(due_ms));
        let hours_ms = self.until.hours_ms;
        let mut cells: Vec<Cell> = self.days.values_mut().flat_map(|day| day.close_hours(hours_ms, k)).collect();
        self.until.days_ms = self.until.days_ms.max(Window::Day.start_ms(due_ms));
        let open = self.days.split_off(&self.until.days_ms);
        for (_, day) in std::mem::replace(&mut self.days, open) {
            cells.extend(day.close(k));
        }
        for p in &mut self.partitions {
            p.first = p.first.split_off(&self.until.days_ms);
        }
        cells
    }

    /// What is published.
    #[must_use]
    pub fn until(&self) -> Until {
        self.until
    }

    /// From which offset on a partition must be read again if this process dies now.
    #[must_use]
    pub fn needed(&self, partition: usize) -> i64 {
        self.partitions.get(partition).map_or(0, |p| p.first.values().min().map_or(p.next, |first| *first))
    }

    /// How many days are open.
    #[must_use]
    pub fn open_days(&self) -> usize {
        self.days.len()
    }
}
