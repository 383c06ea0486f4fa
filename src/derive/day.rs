//! One UTC day and its hours: what is counted, and which unions of it may be shown. The argument is in `aggregate`.

use crate::derive::aggregate::Rules;
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

/// How an event came to its hour.
#[derive(Clone, Copy)]
pub(super) enum Arrival {
    /// The hour is open.
    OnTime,
    /// The hour is closed, and the event was on time: it is read again.
    Again,
    /// Too late for the hour.
    Late,
    /// Too late for the hour; whether it was counted before will be known once a partition has been read further.
    Unproven(usize),
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
    /// The least `k` of a published hour, where that was less than now.
    k_least: Option<u64>,
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
        self.k_least = Some(self.k_least.map_or(cell.k, |least| least.min(cell.k)));
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
    Open(Open),
    /// Currencies with a published sum, by group; no group: `other`.
    Closed(BTreeMap<Option<GroupBytes>, BTreeSet<Box<str>>>),
}

/// What an open hour has counted.
#[derive(Default)]
struct Open {
    groups: BTreeMap<GroupBytes, Part>,
    /// All groups that came when there were too many.
    crowd: Part,
}

/// Events by group; no group: those that came when there were too many.
type Waiting = BTreeMap<Option<GroupBytes>, Part>;

/// One day. No `Debug`: it holds hashes of people.
#[derive(Default)]
pub(super) struct Day {
    start_ms: i64,
    hours: BTreeMap<i64, Hour>,
    groups: BTreeMap<GroupBytes, GroupDay>,
    other: GroupDay,
    /// Late events that may have been counted before, by partition.
    unproven: BTreeMap<usize, Waiting>,
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

    /// Counts an event of an hour that is open; or, of one that is closed, remembers whose it was. Returns whether its group is counted apart.
    pub fn add(&mut self, hour_ms: i64, arrival: Arrival, group: &[u8], event: &Counted<'_>, rules: &Rules) -> bool {
        let k = rules.k;
        let is_closed = match arrival {
            Arrival::OnTime => false,
            Arrival::Again => true,
            Arrival::Late => {
                self.rest(group, rules).rest.add(event, k);
                return true;
            }
            Arrival::Unproven(partition) => {
                let waiting = self.unproven.entry(partition).or_default();
                let key = Some(GroupBytes::from(group));
                let key = if waiting.len() < rules.groups_max || waiting.contains_key(&key) { key } else { None };
                waiting.entry(key).or_default().add(event, k);
                return true;
            }
        };
        let empty = || if is_closed { Hour::Closed(BTreeMap::new()) } else { Hour::Open(Open::default()) };
        match self.hours.entry(hour_ms).or_insert_with(empty) {
            Hour::Open(open) => {
                if let Some(part) = open.groups.get_mut(group) {
                    part.add(event, k);
                } else if open.groups.len() < rules.groups_max {
                    open.groups.entry(group.into()).or_default().add(event, k);
                } else {
                    open.crowd.add(event, k);
                    return false;
                }
            }
            Hour::Closed(published) => {
                let key = Some(GroupBytes::from(group));
                let (currencies, is_other) = match (published.get(&key), published.get(&None)) {
                    (Some(currencies), _) => (currencies.clone(), false),
                    (None, Some(currencies)) => (currencies.clone(), true),
                    (None, None) => {
                        self.rest(group, rules).rest.add(event, k);
                        return true;
                    }
                };
                let shown = if is_other { &mut self.other } else { self.groups.entry(group.into()).or_default() };
                // Its count is in the published number. The value may not be.
                if let Some(subject) = event.subject {
                    shown.subjects.add(subject, k);
                }
                if !event.value.is_some_and(|(currency, _)| currencies.contains(currency)) {
                    add_money(&mut shown.unsummed, event, k);
                }
            }
        }
        true
    }

    /// Where the rest of a group goes; that of groups that came when there were too many goes to `other`.
    fn rest(&mut self, group: &[u8], rules: &Rules) -> &mut GroupDay {
        if !self.groups.contains_key(group) {
            if self.groups.len() >= rules.groups_max {
                return &mut self.other;
            }
            self.groups.insert(group.into(), GroupDay::default());
        }
        // Just inserted; `other` stands in for what cannot be.
        self.groups.get_mut(group).unwrap_or(&mut self.other)
    }

    /// Late events of a partition were not counted before; or, if that is not certain, are counted no more.
    pub fn prove(&mut self, partition: usize, certain: bool, rules: &Rules) {
        for (group, part) in self.unproven.remove(&partition).filter(|_| certain).into_iter().flatten() {
            let to = match group {
                Some(group) => self.rest(&group, rules),
                None => &mut self.other,
            };
            to.rest.add_all(&part, rules.k);
        }
    }

    /// Takes an hour's cell back in that an earlier process published.
    pub fn restore(&mut self, hour_ms: i64, cell: &Cell) {
        let key = cell.group.as_ref().map(Group::bytes);
        match &key {
            None => self.other.restore(cell),
            Some(group) => self.groups.entry(group.clone()).or_default().restore(cell),
        }
        if let Hour::Closed(published) = self.hours.entry(hour_ms).or_insert_with(|| Hour::Closed(BTreeMap::new())) {
            published.insert(key, cell.sums().into_keys().collect());
        }
    }

    /// Closes the hours that end up to `until_ms`, and tells what may be shown of them.
    pub fn close_hours(&mut self, until_ms: i64, rules: &Rules) -> Vec<Cell> {
        let due = |(start, hour): (&i64, &Hour)| {
            (*start + Window::Hour.length_ms() <= until_ms && matches!(hour, Hour::Open(_))).then_some(*start)
        };
        let due: Vec<i64> = self.hours.iter().filter_map(due).collect();
        due.into_iter().flat_map(|start| self.close_hour(start, rules)).collect()
    }

    fn close_hour(&mut self, start: i64, rules: &Rules) -> Vec<Cell> {
        let k = rules.k;
        let Some(Hour::Open(open)) = self.hours.insert(start, Hour::Closed(BTreeMap::new())) else { return Vec::new() };
        let (large, small): (Vec<_>, Vec<_>) = open.groups.into_iter().partition(|(_, part)| part.subjects.at_least(k));
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
        let mut folded = open.crowd.clone();
        small.iter().for_each(|(_, part)| folded.add_all(part, k));
        if folded.subjects.at_least(k) {
            publish(None, &folded, &mut self.other);
        } else {
            for (group, part) in &small {
                self.rest(group, rules).rest.add_all(part, k);
            }
            self.other.rest.add_all(&open.crowd, k);
        }
        self.hours.insert(start, Hour::Closed(published));
        cells
    }

    /// Closes the day, whose hours are closed, and tells what may be shown of it.
    pub fn close(self, k: usize) -> Vec<Cell> {
        let mut cells = Vec::new();
        let mut left_over = Part::default();
        for (group, day) in self.groups {
            let of_hours = day.k_least;
            let (shown, least, left) = day.close(k);
            if let Some(part) = shown {
                let shown = cell(Window::Day, self.start_ms, Some(&group), &part, least, k, false);
                cells.push(Cell { k: of_hours.map_or(shown.k, |of| of.min(shown.k)), ..shown });
            }
            left.iter().for_each(|part| left_over.add_all(part, k));
        }
        let mut other = self.other;
        other.rest.add_all(&left_over, k);
        let of_hours = other.k_least;
        if let (Some(part), least, _) = other.close(k) {
            let shown = cell(Window::Day, self.start_ms, None, &part, least, k, false);
            cells.push(Cell { k: of_hours.map_or(shown.k, |of| of.min(shown.k)), ..shown });
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
