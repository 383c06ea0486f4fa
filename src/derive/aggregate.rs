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
//! # What is read twice
//!
//! A process that starts again reads the open days again, and takes of each closed hour the published number. An event that is too late for its
//! hour could then count once more if its key stood in the hour before and the log's cleaner has taken that first version away: nothing is left
//! to know it by. So each commit says how many records it stands on. Where fewer of them are left, late events up to the end of the log are in
//! no number: a day may be smaller than the truth, and never counts an event twice. What is left is an event that was sent again *as another one*,
//! with another time or group under its key: where its first version, which was counted, is gone by the next start, it is one event more of the day. Two
//! atoms then share an event; nothing that is published is the size of one of them without it.
//!
//! # Erasure
//!
//! Published numbers identify nobody, so an erasure has nothing to change in them, and must not: the difference of two versions would be the
//! person who was erased. For the same reason a process that starts again, and reads the events of a day without those of the erased, takes the
//! published hours by their published numbers and not by what it counts now (`restore`).

use crate::derive::cell::{Cell, Window, write_group};
use crate::derive::day::{Arrival, Counted, Day, NO_CURRENCY};
use crate::derive::money::Micros;
use crate::derive::subjects::Subject;
use std::collections::BTreeMap;

pub use crate::derive::lateness::Lateness;

/// No event is from before or after. Units: ms from the epoch; the years of four digits.
const TIME_MS_MAX: u64 = 250_000_000_000_000;

/// What the operator decided.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The least number of distinct subjects of a published count; at least 2.
    pub k: usize,
    /// How long after a window's end its events may be stored.
    pub lateness: Lateness,
    /// Most groups of an hour that are counted apart; the events of all others are in `other`. Units: groups.
    pub groups_max: usize,
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
    /// It is counted with others: its hour has too many groups.
    Folded,
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
            Outcome::Folded => "folded",
            Outcome::Duplicate => "duplicate",
            Outcome::Late => "late",
            Outcome::Published => "published",
        }
    }
}

/// What a commit stands on in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The next offset that had not been read.
    pub read: i64,
    /// How many values had been read from the committed offset up to there.
    pub records: u64,
}

/// One partition of the input.
struct Partition {
    /// Everything stored before this has been read. Units: ms since the epoch.
    read_until_ms: i64,
    /// The next offset.
    next: i64,
    /// Values that were read.
    records: u64,
    /// The first offset that each open day needs, and the values that were read before it.
    first: BTreeMap<i64, (i64, u64)>,
    /// What the commit that reading began from stood on, until that is found to be there, or not.
    unproven: Option<Held>,
    /// Late events before this offset may have been counted before.
    doubted_until: i64,
}

impl Partition {
    fn new(next: i64, held: Option<Held>) -> Partition {
        let unproven = held.filter(|held| held.read > next);
        Partition { read_until_ms: i64::MIN, next, records: 0, first: BTreeMap::new(), unproven, doubted_until: i64::MIN }
    }

    /// Reading has come to an offset. Returns whether what was to be there is; nothing while that is open, or has been told.
    fn proves(&mut self, next: i64) -> Option<bool> {
        let held = self.unproven.filter(|held| next >= held.read)?;
        self.unproven = None;
        let whole = self.records >= held.records;
        if !whole {
            self.doubted_until = i64::MAX;
        }
        Some(whole)
    }

    fn needed(&self) -> (i64, u64) {
        self.first.values().min().copied().unwrap_or((self.next, self.records))
    }
}

/// Whether a late event may have been counted by a process before, and its first version be gone.
#[derive(Clone, Copy)]
enum Doubt {
    None,
    /// That will be known later.
    Open,
    Certain,
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
    /// Goes on where `until` and `next` say: of each partition the offset, and what the commit stands on.
    #[must_use]
    pub fn new(rules: Rules, until: Until, next: &[(i64, Option<Held>)]) -> Aggregate {
        let partitions = next.iter().map(|(next, held)| Partition::new(*next, *held)).collect();
        Aggregate { rules, until, days: BTreeMap::new(), partitions, group: Vec::new() }
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
        self.came_to(partition, offset);
        let doubt = self.partitions.get_mut(partition).map_or(Doubt::None, |p| {
            p.records += 1;
            match p.unproven {
                Some(_) => Doubt::Open,
                None if offset < p.doubted_until => Doubt::Certain,
                None => Doubt::None,
            }
        });
        if event.occurred_at_ms.unsigned_abs() > TIME_MS_MAX {
            return Outcome::Late;
        }
        let (hour_ms, day_ms) = (Window::Hour.start_ms(event.occurred_at_ms), Window::Day.start_ms(event.occurred_at_ms));
        let lateness_ms = self.rules.lateness.of_ms(day_ms);
        let on_time = |window: Window, start_ms: i64| stored_at_ms <= start_ms + window.length_ms() + lateness_ms;
        if !on_time(Window::Day, day_ms) {
            return Outcome::Late;
        }
        if day_ms < self.until.days_ms {
            return Outcome::Published;
        }
        let arrival = match (on_time(Window::Hour, hour_ms), doubt) {
            (true, _) if hour_ms < self.until.hours_ms => Arrival::Again,
            (true, _) => Arrival::OnTime,
            (false, Doubt::None) => Arrival::Late,
            (false, Doubt::Open) => Arrival::Unproven(partition),
            (false, Doubt::Certain) => return Outcome::Late,
        };
        let day = self.days.entry(day_ms).or_insert_with(|| Day::new(day_ms));
        if !day.is_new(event.key) {
            return Outcome::Duplicate;
        }
        write_group(event.group, &mut self.group);
        let value = event.value.map(|(currency, amount)| (if currency.is_empty() { NO_CURRENCY } else { currency }, amount));
        let counted = Counted { subject: event.subject, value };
        let alone = day.add(hour_ms, arrival, &self.group, &counted, &self.rules);
        if let Some(p) = self.partitions.get_mut(partition) {
            p.first.entry(day_ms).or_insert((offset, p.records - 1));
        }
        if alone { Outcome::Counted } else { Outcome::Folded }
    }

    /// Judges what a commit stood on, once reading is past it.
    fn came_to(&mut self, partition: usize, next: i64) {
        let Some(whole) = self.partitions.get_mut(partition).and_then(|p| p.proves(next)) else { return };
        for day in self.days.values_mut() {
            day.prove(partition, whole, &self.rules);
        }
    }

    /// A record, whatever it was, has been read. Units: ms since the epoch.
    pub fn passed(&mut self, partition: usize, offset: i64, stored_at_ms: i64) {
        self.came_to(partition, offset + 1);
        if let Some(p) = self.partitions.get_mut(partition) {
            p.next = p.next.max(offset + 1);
            p.read_until_ms = p.read_until_ms.max(stored_at_ms);
        }
    }

    /// A partition was seen to hold nothing from `next` on that was stored before this. Units: ms since the epoch.
    pub fn nothing_before(&mut self, partition: usize, next: i64, read_until_ms: i64) {
        self.came_to(partition, next);
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

    /// Whether records are gone that published numbers stand on, and it is to be told where the log ended then, see [`Aggregate::doubt_until`].
    #[must_use]
    pub fn doubts(&self, partition: usize) -> bool {
        self.partitions.get(partition).is_some_and(|p| p.doubted_until == i64::MAX)
    }

    /// Late events from this offset on were stored after what is left had been read: they are counted again.
    pub fn doubt_until(&mut self, partition: usize, offset: i64) {
        if let Some(p) = self.partitions.get_mut(partition) {
            p.doubted_until = offset;
        }
    }

    /// Up to when windows are closed where everything has been read that was stored before a time. Units: ms since the epoch.
    #[must_use]
    pub fn due_ms(&self, window: Window, read_until_ms: i64) -> i64 {
        self.rules.lateness.due_ms(window, read_until_ms)
    }

    /// Closes the windows that are due: what is published of them, hours before days. It counts as published from now on.
    pub fn close(&mut self) -> Vec<Cell> {
        let least = self.partitions.iter().map(|p| p.read_until_ms).min();
        let Some(read_until_ms) = least.filter(|ms| ms.unsigned_abs() <= TIME_MS_MAX) else { return Vec::new() };
        if self.partitions.iter().any(|p| p.unproven.is_some()) {
            return Vec::new();
        }
        let rules = self.rules;
        self.until.hours_ms = self.until.hours_ms.max(self.due_ms(Window::Hour, read_until_ms));
        let hours_ms = self.until.hours_ms;
        let mut cells: Vec<Cell> = self.days.values_mut().flat_map(|day| day.close_hours(hours_ms, &rules)).collect();
        self.until.days_ms = self.until.days_ms.max(self.due_ms(Window::Day, read_until_ms));
        let open = self.days.split_off(&self.until.days_ms);
        for (_, day) in std::mem::replace(&mut self.days, open) {
            cells.extend(day.close(rules.k));
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

    /// From which offset on a partition must be read again if this process dies now, and what stands on it.
    #[must_use]
    pub fn needed(&self, partition: usize) -> (i64, Held) {
        let Some(p) = self.partitions.get(partition) else { return (0, Held::default()) };
        let (offset, before) = p.needed();
        (offset, Held { read: p.next, records: p.records - before })
    }

    /// How many days are open.
    #[must_use]
    pub fn open_days(&self) -> usize {
        self.days.len()
    }
}
