//! One UTC day and its hours: what is counted, and which unions of it may be shown. The argument is in `aggregate`.

use crate::derive::cell::{Cell, Group, GroupBytes, Sum, Window, time_text};
use crate::derive::money::Micros;
use crate::derive::subjects::{Subject, Subjects};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Stands for a currency that an event with a value does not name. Source: ISO 4217, "no currency".
pub(super) const NO_CURRENCY: &str = "XXX";

/// What is counted of one event.
#[derive(Clone, Copy)]
pub(super) struct Counted<'e> {
    /// Nobody, of an anonymous event.
    pub subject: Option<Subject>,
    pub value: Option<(&'e str, Micros)>,
}

/// Values of one currency, and whose they are.
#[derive(Clone, Default)]
struct Money {
    sum: Micros,
    subjects: Subjects,
}

impl Money {
    fn add(&mut self, amount: Micros, subject: Option<Subject>, k: usize) {
        self.sum = self.sum.plus(amount);
        if let Some(subject) = subject {
            self.subjects.add(subject, k);
        }
    }

    fn add_all(&mut self, other: &Money, k: usize) {
        self.sum = self.sum.plus(other.sum);
        self.subjects.add_all(&other.subjects, k);
    }
}

type Monies = BTreeMap<Box<str>, Money>;

fn add_money(monies: &mut Monies, event: &Counted<'_>, k: usize) {
    let Some((currency, amount)) = event.value else { return };
    if let Some(money) = monies.get_mut(currency) {
        money.add(amount, event.subject, k);
    } else {
        monies.entry(currency.into()).or_default().add(amount, event.subject, k);
    }
}

fn add_monies(monies: &mut Monies, other: &Monies, k: usize) {
    for (currency, money) in other {
        monies.entry(currency.clone()).or_default().add_all(money, k);
    }
}

/// Events that may only be shown together.
#[derive(Clone, Default)]
struct Part {
    events: u64,
    subjects: Subjects,
    monies: Monies,
}

impl Part {
    fn add(&mut self, event: &Counted<'_>, k: usize) {
        self.events += 1;
        if let Some(subject) = event.subject {
            self.subjects.add(subject, k);
        }
        add_money(&mut self.monies, event, k);
    }

    fn add_all(&mut self, other: &Part, k: usize) {
        self.events += other.events;
        self.subjects.add_all(&other.subjects, k);
        add_monies(&mut self.monies, &other.monies, k);
    }
}

/// One group's day.
#[derive(Default)]
struct GroupDay {
    /// Events of the published hours, by their published numbers.
    events: u64,
    /// The largest published number of subjects of an hour.
    subjects_least: u64,
    /// Subjects of the published hours.
    subjects: Subjects,
    /// Published sums.
    sums: BTreeMap<Box<str>, Micros>,
    /// Values of published hours whose sums were not.
    unsummed: Monies,
    /// Events that no hour showed.
    rest: Part,
}

impl GroupDay {
    fn publish_hour(&mut self, part: &Part, cell: &Cell, k: usize) {
        self.subjects.add_all(&part.subjects, k);
        self.restore(cell);
        for (currency, money) in part.monies.iter().filter(|(currency, _)| !cell.values.iter().any(|v| *v.currency == ***currency)) {
            self.unsummed.entry(currency.clone()).or_default().add_all(money, k);
        }
    }

    fn restore(&mut self, cell: &Cell) {
        self.events += cell.events;
        self.subjects_least = self.subjects_least.max(cell.subjects);
        for (currency, sum) in cell.sums() {
            let total = self.sums.entry(currency).or_default();
            *total = total.plus(sum);
        }
    }

    /// The day's part, as it is shown; and takes out what is left over.
    fn close(mut self, k: usize) -> (Option<Part>, u64, Option<Part>) {
        let rest = std::mem::take(&mut self.rest);
        let (with_rest, left) = if rest.subjects.at_least(k) { (rest, None) } else { (Part::default(), (rest.events > 0).then_some(rest)) };
        let events = self.events + with_rest.events;
        if events == 0 {
            return (None, 0, left);
        }
        let mut whole = Part { events, subjects: self.subjects, monies: Monies::new() };
        whole.subjects.add_all(&with_rest.subjects, k);
        // What the hours did not sum is a part of its own, by currency: it is shown if it is large enough itself.
        add_monies(&mut self.unsummed, &with_rest.monies, k);
        self.unsummed.retain(|_, money| money.subjects.at_least(k));
        whole.monies = self.unsummed;
        for (currency, sum) in self.sums {
            let money = whole.monies.entry(currency).or_default();
            money.sum = money.sum.plus(sum);
        }
        (Some(whole), self.subjects_least, left)
    }
}

/// An hour: open, or what was published of it.
enum Hour {
    Open(BTreeMap<GroupBytes, Part>),
    /// Currencies with a published sum, by group; no group: `other`.
    Closed(BTreeMap<Option<GroupBytes>, BTreeSet<Box<str>>>),
}

/// One day. No `Debug`: it holds hashes of people.
#[derive(Default)]
pub(super) struct Day {
    start_ms: i64,
    hours: BTreeMap<i64, Hour>,
    groups: BTreeMap<GroupBytes, GroupDay>,
    other: GroupDay,
    /// Hashes of the keys that were counted.
    seen: HashSet<u64>,
}

impl Day {
    pub fn new(start_ms: i64) -> Day {
        Day { start_ms, ..Day::default() }
    }

    /// Whether a key is met for the first time.
    pub fn is_new(&mut self, key: u64) -> bool {
        self.seen.insert(key)
    }

    /// Counts an event of an hour that is open; or, of one that is closed, remembers whose it was. `on_time`: for its hour.
    pub fn add(&mut self, hour_ms: i64, is_closed: bool, on_time: bool, group: &[u8], event: &Counted<'_>, k: usize) {
        if !on_time {
            return self.group(group).rest.add(event, k);
        }
        let empty = || if is_closed { Hour::Closed(BTreeMap::new()) } else { Hour::Open(BTreeMap::new()) };
        match self.hours.entry(hour_ms).or_insert_with(empty) {
            Hour::Open(parts) => match parts.get_mut(group) {
                Some(part) => part.add(event, k),
                None => parts.entry(group.into()).or_default().add(event, k),
            },
            Hour::Closed(published) => {
                let key = Some(GroupBytes::from(group));
                let (currencies, is_other) = match (published.get(&key), published.get(&None)) {
                    (Some(currencies), _) => (currencies.clone(), false),
                    (None, Some(currencies)) => (currencies.clone(), true),
                    (None, None) => return self.group(group).rest.add(event, k),
                };
                let shown = if is_other { &mut self.other } else { self.group(group) };
                // Its count is in the published number. The value may not be.
                if let Some(subject) = event.subject {
                    shown.subjects.add(subject, k);
                }
                if !event.value.is_some_and(|(currency, _)| currencies.contains(currency)) {
                    add_money(&mut shown.unsummed, event, k);
                }
            }
        }
    }

    fn group(&mut self, group: &[u8]) -> &mut GroupDay {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.into(), GroupDay::default());
        }
        // Just inserted; `other` stands in for what cannot be.
        self.groups.get_mut(group).unwrap_or(&mut self.other)
    }

    /// Takes an hour's cell back in that an earlier process published.
    pub fn restore(&mut self, hour_ms: i64, cell: &Cell) {
        let key = cell.group.as_ref().map(Group::bytes);
        match &key {
            None => self.other.restore(cell),
            Some(group) => self.group(group).restore(cell),
        }
        if let Hour::Closed(published) = self.hours.entry(hour_ms).or_insert_with(|| Hour::Closed(BTreeMap::new())) {
            published.insert(key, cell.sums().into_keys().collect());
        }
    }

    /// Closes the hours that end up to `until_ms`, and tells what may be shown of them.
    pub fn close_hours(&mut self, until_ms: i64, k: usize) -> Vec<Cell> {
        let due = |(start, hour): (&i64, &Hour)| {
            (*start + Window::Hour.length_ms() <= until_ms && matches!(hour, Hour::Open(_))).then_some(*start)
        };
        let due: Vec<i64> = self.hours.iter().filter_map(due).collect();
        due.into_iter().flat_map(|start| self.close_hour(start, k)).collect()
    }

    fn close_hour(&mut self, start: i64, k: usize) -> Vec<Cell> {
        let Some(Hour::Open(parts)) = self.hours.insert(start, Hour::Closed(BTreeMap::new())) else { return Vec::new() };
        let (large, small): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(_, part)| part.subjects.at_least(k));
        let mut cells = Vec::new();
        let mut published = BTreeMap::new();
        let mut publish = |key: Option<GroupBytes>, part: &Part, to: &mut GroupDay| {
            let cell = cell(Window::Hour, start, key.as_deref(), part, 0, k, true);
            to.publish_hour(part, &cell, k);
            published.insert(key, cell.sums().into_keys().collect());
            cells.push(cell);
        };
        for (group, part) in large {
            publish(Some(group.clone()), &part, self.groups.entry(group).or_default());
        }
        let mut folded = Part::default();
        small.iter().for_each(|(_, part)| folded.add_all(part, k));
        if folded.subjects.at_least(k) {
            publish(None, &folded, &mut self.other);
        } else {
            for (group, part) in &small {
                self.group(group).rest.add_all(part, k);
            }
        }
        self.hours.insert(start, Hour::Closed(published));
        cells
    }

    /// Closes the day, whose hours are closed, and tells what may be shown of it.
    pub fn close(self, k: usize) -> Vec<Cell> {
        let mut cells = Vec::new();
        let mut left_over = Part::default();
        for (group, day) in self.groups {
            let (shown, least, left) = day.close(k);
            if let Some(part) = shown {
                cells.push(cell(Window::Day, self.start_ms, Some(&group), &part, least, k, false));
            }
            left.iter().for_each(|part| left_over.add_all(part, k));
        }
        let mut other = self.other;
        other.rest.add_all(&left_over, k);
        if let (Some(part), least, _) = other.close(k) {
            cells.push(cell(Window::Day, self.start_ms, None, &part, least, k, false));
        }
        cells
    }
}

/// What is published of a part. `judge`: sums are held back where too few subjects have a value; else that has been done.
fn cell(window: Window, start_ms: i64, group: Option<&[u8]>, part: &Part, subjects_least: u64, k: usize, judge: bool) -> Cell {
    let (subjects, error) = part.subjects.count();
    let shown = part.monies.iter().filter(|(_, money)| !judge || money.subjects.at_least(k));
    Cell {
        tenant: None,
        tenants: None,
        window,
        start: time_text(start_ms),
        group: group.map(Group::of),
        k: k as u64,
        events: part.events,
        subjects: subjects.max(subjects_least),
        subjects_error: error,
        values: shown.map(|(currency, money)| Sum { currency: currency.to_string(), sum: money.sum.to_text() }).collect(),
    }
}
