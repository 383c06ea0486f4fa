//! The aggregates against a model that knows every set of events, and an attacker who has all published numbers.

use super::aggregate::{Aggregate, Event, Held, Lateness, Outcome, Rules, Until};
use super::cell::{Cell, Group, Window, time_text};
use super::money::Micros;
use super::subjects::Subject;
use crate::model::pseudonym::Epoch;
use crate::model::time::{DAY_MS, HOUR_MS};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LATENESS_MS: i64 = HOUR_MS;

fn rules(k: usize) -> Rules {
    Rules { k, lateness: Lateness::of_all(LATENESS_MS), groups_max: 100 }
}

/// Later than every window.
const THE_END_MS: i64 = 100 * DAY_MS;

/// An event as it lies in a partition.
#[derive(Clone, Debug)]
struct Row {
    key: u64,
    occurred_at_ms: i64,
    stored_at_ms: i64,
    /// 0: anonymous.
    subject: u64,
    group: u8,
    /// Currency and amount.
    value: Option<(u8, u8)>,
}

fn group(n: u8) -> [&'static str; 4] {
    [["view", "buy", "go"][usize::from(n % 3)], "DE", "mobile", ""]
}

const CURRENCIES: [&str; 2] = ["EUR", ""];

impl Row {
    fn subject(&self) -> Option<Subject> {
        (self.subject > 0).then(|| Subject::new(Epoch(1), self.subject))
    }

    fn event(&self) -> Event<'static> {
        let value = self.value.map(|(currency, amount)| (CURRENCIES[usize::from(currency)], Micros(i128::from(amount))));
        Event { occurred_at_ms: self.occurred_at_ms, key: self.key, group: group(self.group), subject: self.subject(), value }
    }
}

/// Rows of one partition in the order in which they were stored; a subject is in one partition.
fn partitions() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let row = (0u64..40, 0i64..30, 0i64..40, 0u64..9, 0u8..3, proptest::option::of((0u8..2, any::<u8>())));
    proptest::collection::vec(row, 0..60).prop_map(|rows| {
        let mut partitions = vec![Vec::new(), Vec::new()];
        for (key, hour, delay, subject, group, value) in rows {
            // Most arrive at once; the same key is always the same person's.
            let delay_ms = if delay < 30 { delay * 60_000 } else { (delay - 29) * 3 * HOUR_MS };
            let occurred_at_ms = hour * HOUR_MS + 5;
            let row = Row { key: key * 10 + subject, occurred_at_ms, stored_at_ms: occurred_at_ms + delay_ms, subject, group, value };
            partitions[(subject % 2) as usize].push(row);
        }
        partitions.iter_mut().for_each(|rows| rows.sort_by_key(|row| row.stored_at_ms));
        partitions
    })
}

/// The same, where what is sent again occurred when it did, in the group that it had. One that is sent again as another is one event more where its
/// first version is gone: `aggregate` says so.
fn sent_again_as_they_were(mut partitions: Vec<Vec<Row>>) -> Vec<Vec<Row>> {
    for rows in &mut partitions {
        let mut first = BTreeMap::new();
        for row in rows {
            (row.occurred_at_ms, row.group) = *first.entry(row.key).or_insert((row.occurred_at_ms, row.group));
        }
    }
    partitions
}

/// Indices of rows, and whose they are.
type Set = BTreeSet<(usize, u64)>;

fn people(set: &Set) -> usize {
    set.iter().map(|(_, subject)| *subject).filter(|s| *s > 0).collect::<BTreeSet<_>>().len()
}

/// What is published, as sets: of events, and by currency of the events whose values are summed.
type Published = BTreeMap<(Window, i64, Option<u8>), (Set, BTreeMap<u8, Set>)>;

/// The rules of `aggregate`'s doc, set by set.
fn naive(rows: &[Row], k: usize) -> Published {
    let on_time = |w: Window, r: &Row| r.stored_at_ms <= w.start_ms(r.occurred_at_ms) + w.length_ms() + LATENESS_MS;
    let mut published = Published::new();
    let days: BTreeSet<i64> = rows.iter().map(|r| Window::Day.start_ms(r.occurred_at_ms)).collect();
    for day in days {
        let mut seen = BTreeSet::new();
        let of_day: Vec<usize> = (0..rows.len())
            .filter(|i| {
                Window::Day.start_ms(rows[*i].occurred_at_ms) == day && on_time(Window::Day, &rows[*i]) && seen.insert(rows[*i].key)
            })
            .collect();
        let set = |wanted: &dyn Fn(&Row) -> bool| -> Set {
            of_day.iter().filter(|i| wanted(&rows[**i])).map(|i| (*i, rows[*i].subject)).collect()
        };
        let with =
            |events: &Set, c: u8| -> Set { events.iter().filter(|(i, _)| rows[*i].value.is_some_and(|(v, _)| v == c)).copied().collect() };
        let mut rest: BTreeMap<u8, Set> = (0..3).map(|g| (g, set(&|r| r.group == g && !on_time(Window::Hour, r)))).collect();
        for hour in (0..24).map(|h| day + h * HOUR_MS) {
            let mut folded = Set::new();
            let mut small = Vec::new();
            for g in 0..3 {
                let events = set(&|r| r.group == g && on_time(Window::Hour, r) && Window::Hour.start_ms(r.occurred_at_ms) == hour);
                if people(&events) >= k {
                    let sums = (0..2).map(|c| (c, with(&events, c))).filter(|(_, s)| people(s) >= k).collect();
                    published.insert((Window::Hour, hour, Some(g)), (events, sums));
                } else {
                    folded.extend(&events);
                    small.push((g, events));
                }
            }
            if people(&folded) >= k {
                let sums = (0..2).map(|c| (c, with(&folded, c))).filter(|(_, s)| people(s) >= k).collect();
                published.insert((Window::Hour, hour, None), (folded, sums));
            } else {
                small.into_iter().for_each(|(g, events)| rest.entry(g).or_default().extend(events));
            }
        }
        let mut left = Set::new();
        for group in [Some(0), Some(1), Some(2), None] {
            let hours: Vec<_> = published
                .iter()
                .filter(|((w, start, g), _)| *w == Window::Hour && *start / DAY_MS * DAY_MS == day && *g == group)
                .collect();
            let mut events: Set = hours.iter().flat_map(|(_, (events, _))| events).copied().collect();
            let rest = group.map_or_else(|| left.clone(), |g| rest[&g].clone());
            if people(&rest) >= k {
                events.extend(&rest);
            } else if group.is_some() {
                left.extend(&rest);
            }
            if events.is_empty() {
                continue;
            }
            let mut sums = BTreeMap::new();
            for c in 0..2 {
                let summed: Set = hours.iter().filter_map(|(_, (_, sums))| sums.get(&c)).flatten().copied().collect();
                let unsummed: Set = with(&events, c).difference(&summed).copied().collect();
                let all: Set = if people(&unsummed) >= k { &summed | &unsummed } else { summed };
                if people(&all) > 0 {
                    sums.insert(c, all);
                }
            }
            published.insert((Window::Day, day, group), (events, sums));
        }
    }
    published
}

/// Runs the aggregate over partitions, which are read in turns of `turn` rows; it dies after every `dies` turns and goes on as a new process does.
/// `cleans`: while it is dead, the cleaner takes the versions of a key that are not the newest.
fn run(partitions: &[Vec<Row>], rules: Rules, turn: usize, dies: usize, cleans: bool) -> Vec<Cell> {
    let mut aggregate = Aggregate::new(rules, Until::NOTHING, &[(0, None), (0, None)]);
    let mut next = [0usize, 0];
    let mut gone: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut published: Vec<Cell> = Vec::new();
    let mut committed = (Until::NOTHING, [(0i64, None::<Held>); 2]);
    // Of two partitions the one that was stored earlier is read first, give or take a turn.
    let mut turns = 0;
    let mut deaths = 0;
    while next.iter().zip(partitions).any(|(n, rows)| *n < rows.len()) {
        let which = turns % 2;
        for _ in 0..turn {
            let Some(row) = partitions[which].get(next[which]) else { break };
            if !gone.contains(&(which, next[which])) {
                aggregate.take(which, next[which] as i64, row.stored_at_ms, &row.event());
                aggregate.passed(which, next[which] as i64, row.stored_at_ms);
            }
            next[which] += 1;
        }
        turns += 1;
        let cells = aggregate.close();
        if aggregate.doubts(which) {
            aggregate.doubt_until(which, partitions[which].len() as i64);
        }
        if !cells.is_empty() {
            published.extend(cells);
            committed = (aggregate.until(), [0, 1].map(|p| aggregate.needed(p)).map(|(offset, held)| (offset, Some(held))));
        }
        if dies > 0 && turns % dies == 0 && deaths < 20 {
            deaths += 1;
            aggregate = Aggregate::new(rules, committed.0, &committed.1);
            published.iter().for_each(|cell| aggregate.restore(cell));
            next = committed.1.map(|(n, _)| n as usize);
            for (p, rows) in partitions.iter().enumerate().filter(|_| cleans) {
                let newest: BTreeMap<u64, usize> = rows.iter().enumerate().map(|(i, row)| (row.key, i)).collect();
                gone.extend(rows.iter().enumerate().filter(|(i, row)| newest[&row.key] != *i).map(|(i, _)| (p, i)));
            }
        }
    }
    for (partition, rows) in partitions.iter().enumerate() {
        aggregate.nothing_before(partition, rows.len() as i64, THE_END_MS);
    }
    published.extend(aggregate.close());
    assert_eq!(aggregate.open_days(), 0);
    published
}

/// The published numbers of a model, in the form of cells.
fn numbers(published: &Published, rows: &[Row]) -> BTreeMap<String, (u64, u64, BTreeMap<String, String>)> {
    let cells = published.iter().map(|((window, start, g), (events, sums))| {
        let [event_name, country, device_class, campaign_source] = g.map_or([""; 4], group).map(String::from);
        let group = g.map(|_| Group { event_name, country, device_class, campaign_source });
        let cell = Cell {
            tenant: None,
            tenants: None,
            window: *window,
            start: time_text(*start),
            group,
            k: 0,
            events: 0,
            subjects: 0,
            subjects_error: 0.0,
            values: vec![],
        };
        let sum = |set: &Set| Micros(set.iter().map(|(i, _)| i128::from(rows[*i].value.unwrap().1)).sum()).to_text();
        let sums = sums.iter().map(|(c, set)| (["EUR", "XXX"][usize::from(*c)].to_owned(), sum(set))).collect();
        (cell.key(), (events.len() as u64, people(events) as u64, sums))
    });
    cells.collect()
}

fn as_numbers(cells: Vec<Cell>) -> BTreeMap<String, (u64, u64, BTreeMap<String, String>)> {
    let mut all = BTreeMap::new();
    for cell in cells {
        let sums = cell.values.iter().map(|v| (v.currency.clone(), v.sum.clone())).collect();
        let twice = all.insert(cell.key(), (cell.events, cell.subjects, sums));
        assert!(twice.is_none(), "{} is published twice", cell.key());
    }
    all
}

/// Every set of events that a linear combination of the published numbers can count is a union of these: events that are in the same numbers.
fn indistinguishable<'s>(sets: impl Iterator<Item = &'s Set> + Clone) -> Vec<Set> {
    let mut classes: BTreeMap<Vec<usize>, Set> = BTreeMap::new();
    for event in sets.clone().flatten() {
        let pattern = sets.clone().enumerate().filter(|(_, set)| set.contains(event)).map(|(i, _)| i).collect();
        classes.entry(pattern).or_default().insert(*event);
    }
    classes.into_values().collect()
}

/// Whether `seed` weighs the numbers so that their combination counts exactly a set of events, each once; and which.
fn counted(sets: &[&Set], weights: &[i64]) -> Option<Set> {
    let mut sums: BTreeMap<(usize, u64), i64> = BTreeMap::new();
    for (set, weight) in sets.iter().zip(weights) {
        set.iter().for_each(|event| *sums.entry(*event).or_default() += weight);
    }
    sums.values().all(|n| (0..=1).contains(n)).then(|| sums.into_iter().filter(|(_, n)| *n == 1).map(|(event, _)| event).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_model_however_it_is_read_and_however_often_it_dies(
        partitions in partitions(), k in 2usize..5, turn in 1usize..20, dies in 0usize..6,
    ) {
        let rows: Vec<Row> = partitions.iter().flatten().cloned().collect();
        let want = numbers(&naive(&rows, k), &rows);
        let have = as_numbers(run(&partitions, rules(k), turn, dies, false));
        prop_assert_eq!(have, want);
    }

    #[test]
    fn what_the_cleaner_takes_while_it_is_dead_makes_no_event_count_twice(
        partitions in partitions(), k in 2usize..4, turn in 1usize..20, dies in 1usize..6,
    ) {
        let partitions = sent_again_as_they_were(partitions);
        let mut keys: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for row in partitions.iter().flatten() {
            keys.entry(time_text(Window::Day.start_ms(row.occurred_at_ms))).or_default().insert(row.key);
        }
        let cells = run(&partitions, rules(k), turn, dies, true);
        let mut days: BTreeMap<String, u64> = BTreeMap::new();
        for cell in cells.iter().filter(|c| c.window == Window::Day) {
            *days.entry(cell.start.clone()).or_default() += cell.events;
        }
        for (day, events) in days {
            prop_assert!(events <= keys[&day].len() as u64, "{}: {}", day, events);
        }
        as_numbers(cells);
    }

    #[test]
    fn too_many_groups_are_counted_together_and_nobody_is_lost_or_shown(
        partitions in partitions(), k in 2usize..4, turn in 1usize..20, dies in 0usize..6,
    ) {
        let few = Rules { groups_max: 1, ..rules(k) };
        let cells = run(&partitions, few, turn, dies, false);
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        let mut hours: BTreeMap<String, u64> = BTreeMap::new();
        let mut days: BTreeMap<String, u64> = BTreeMap::new();
        for cell in &cells {
            prop_assert!(cell.subjects >= k as u64);
            let day = time_text(Window::Day.start_ms(cell.start_ms().unwrap()));
            match cell.window {
                Window::Hour => {
                    *groups.entry(cell.start.clone()).or_default() += usize::from(cell.group.is_some());
                    *hours.entry(day).or_default() += cell.events;
                }
                Window::Day => *days.entry(day).or_default() += cell.events,
            }
        }
        prop_assert!(groups.values().all(|n| *n <= 1), "{:?}", cells);
        for (day, events) in hours {
            prop_assert!(days[&day] >= events, "a day has its hours");
        }
        as_numbers(cells);
    }

    #[test]
    fn no_difference_of_published_counts_is_of_few_people(partitions in partitions(), k in 2usize..5) {
        let rows: Vec<Row> = partitions.into_iter().flatten().collect();
        let published = naive(&rows, k);
        let events = || published.values().map(|(events, _)| events);
        for class in indistinguishable(events()) {
            prop_assert!(people(&class) >= k, "{} of {:?}", people(&class), published);
        }
        for c in 0..2 {
            for class in indistinguishable(published.values().filter_map(|(_, sums)| sums.get(&c))) {
                prop_assert!(people(&class) >= k, "sums: {} of {:?}", people(&class), published);
            }
        }
    }

    /// The same by brute force, so that the argument above is not taken on trust: every weighing of up to seven numbers with -1, 0 and 1.
    #[test]
    fn no_weighing_of_published_counts_is_of_few_people(partitions in partitions(), k in 2usize..4, from in 0usize..12) {
        let rows: Vec<Row> = partitions.into_iter().flatten().collect();
        let published = naive(&rows, k);
        let sets: Vec<&Set> = published.values().map(|(events, _)| events).skip(from).take(7).collect();
        for n in 0..3u32.pow(sets.len() as u32) {
            let weights: Vec<i64> = (0..sets.len()).map(|i| i64::from(n / 3u32.pow(i as u32) % 3) - 1).collect();
            if let Some(set) = counted(&sets, &weights).filter(|set| !set.is_empty()) {
                prop_assert!(people(&set) >= k, "{:?}", weights);
            }
        }
    }
}

fn row(key: u64, hour: i64, subject: u64, group: u8, amount: u8) -> Row {
    let occurred_at_ms = hour * HOUR_MS + 1;
    Row { key, occurred_at_ms, stored_at_ms: occurred_at_ms, subject, group, value: Some((0, amount)) }
}

fn feed(aggregate: &mut Aggregate, rows: &[Row]) {
    for (offset, row) in rows.iter().enumerate() {
        aggregate.take(0, offset as i64, row.stored_at_ms, &row.event());
        aggregate.passed(0, offset as i64, row.stored_at_ms);
    }
}

#[test]
fn an_erasure_between_the_hour_and_the_day_leaves_no_trace() {
    let rules = rules(3);
    let rows: Vec<Row> = (1..=3).map(|n| row(n, 0, n, 0, n as u8)).collect();
    let mut aggregate = Aggregate::new(rules, Until::NOTHING, &[(0, None)]);
    feed(&mut aggregate, &rows);
    aggregate.nothing_before(0, 3, 3 * HOUR_MS);
    let hours = aggregate.close();
    assert_eq!((hours.len(), hours[0].events, hours[0].values[0].sum.as_str()), (1, 3, "0.000006"));
    // The second of them is erased, and the process dies: the day is read again without her, back to its first event.
    assert_eq!(aggregate.needed(0), (0, Held { read: 3, records: 3 }));
    let mut next = Aggregate::new(rules, aggregate.until(), &[(0, None)]);
    next.restore(&hours[0]);
    feed(&mut next, &[rows[0].clone(), rows[2].clone()]);
    next.nothing_before(0, 3, 3 * DAY_MS);
    let day = next.close();
    assert_eq!(day.len(), 1);
    assert_eq!((day[0].window, day[0].events, day[0].subjects), (Window::Day, 3, 3));
    assert_eq!(day[0].values, hours[0].values);
}

#[test]
fn one_more_person_than_the_hour_is_not_told_by_the_day() {
    let rules = rules(3);
    let mut rows: Vec<Row> = (1..=3).map(|n| row(n, 0, n, 0, 1)).collect();
    rows.push(row(4, 1, 4, 0, 100));
    let mut aggregate = Aggregate::new(rules, Until::NOTHING, &[(0, None)]);
    feed(&mut aggregate, &rows);
    aggregate.nothing_before(0, 4, 3 * DAY_MS);
    let cells = aggregate.close();
    assert_eq!(cells.iter().map(|c| (c.window, c.events)).collect::<Vec<_>>(), [(Window::Hour, 3), (Window::Day, 3)]);
    assert!(cells.iter().all(|c| c.values[0].sum == "0.000003"));
}

#[test]
fn late_is_what_the_record_says() {
    let rules = rules(2);
    let mut aggregate = Aggregate::new(rules, Until::NOTHING, &[(0, None)]);
    let late = |stored_at_ms| Row { stored_at_ms, ..row(1, 0, 1, 0, 1) };
    assert_eq!(aggregate.take(0, 0, DAY_MS + HOUR_MS + 1, &late(0).event()), Outcome::Late);
    assert_eq!(aggregate.take(0, 0, DAY_MS + HOUR_MS, &late(0).event()), Outcome::Counted);
    assert_eq!(aggregate.take(0, 1, DAY_MS + HOUR_MS, &late(0).event()), Outcome::Duplicate);
    aggregate.nothing_before(0, 2, 3 * DAY_MS);
    assert!(aggregate.close().is_empty());
    assert_eq!(aggregate.take(0, 1, 0, &late(0).event()), Outcome::Published);
    assert_eq!(aggregate.take(0, 1, 0, &Row { occurred_at_ms: i64::MIN, ..late(0) }.event()), Outcome::Late);
    assert_eq!(aggregate.needed(0).0, 2);
}

/// Three people in an hour that is published; one of their events comes again, too late for the hour, and the cleaner takes its first version.
fn replayed(left: impl Fn(&Row) -> bool, late: &[Row]) -> Vec<(Window, u64)> {
    let rules = rules(3);
    let rows: Vec<Row> = (1..=3).map(|n| row(n, 0, n, 0, n as u8)).collect();
    let mut aggregate = Aggregate::new(rules, Until::NOTHING, &[(0, None)]);
    feed(&mut aggregate, &rows);
    aggregate.nothing_before(0, 3, 3 * HOUR_MS);
    let hours = aggregate.close();
    let (offset, held) = aggregate.needed(0);
    let mut next = Aggregate::new(rules, aggregate.until(), &[(offset, Some(held))]);
    hours.iter().for_each(|cell| next.restore(cell));
    for (offset, row) in rows.iter().chain(late).enumerate().filter(|(_, row)| row.stored_at_ms > HOUR_MS || left(row)) {
        next.take(0, offset as i64, row.stored_at_ms, &row.event());
        next.passed(0, offset as i64, row.stored_at_ms);
        if next.doubts(0) {
            next.doubt_until(0, 6);
        }
    }
    next.nothing_before(0, 9, 3 * DAY_MS);
    next.close().into_iter().chain(hours).map(|c| (c.window, c.events)).collect()
}

#[test]
fn a_replay_whose_first_version_was_compacted_counts_once() {
    let late = |key: u64| Row { stored_at_ms: 5 * HOUR_MS, ..row(key, 0, key, 0, 1) };
    let all = [late(1), late(2), late(3)];
    assert_eq!(replayed(|_| true, &all), [(Window::Day, 3), (Window::Hour, 3)]);
    assert_eq!(replayed(|row| row.key != 2, &all), [(Window::Day, 3), (Window::Hour, 3)], "one of them would do");
    assert_eq!(replayed(|_| false, &all), [(Window::Day, 3), (Window::Hour, 3)]);
    let new = [late(4), late(5), late(6)];
    assert_eq!(replayed(|_| true, &new), [(Window::Day, 6), (Window::Hour, 3)]);
    assert_eq!(replayed(|_| false, &new), [(Window::Day, 3), (Window::Hour, 3)], "nobody knows any more that they are new");
    let later: Vec<Row> = all.iter().cloned().chain((7..10).map(late)).collect();
    assert_eq!(replayed(|_| false, &later), [(Window::Day, 6), (Window::Hour, 3)], "what came after that is known again");
}

#[test]
fn a_shorter_lateness_does_not_count_the_hours_of_a_begun_day_again() {
    let day = |wanted_ms: i64| {
        let long = rules(3);
        let rows: Vec<Row> = (1..=3).map(|n| Row { stored_at_ms: HOUR_MS + HOUR_MS / 2, ..row(n, 0, n, 0, 1) }).collect();
        let mut aggregate = Aggregate::new(long, Until::NOTHING, &[(0, None)]);
        feed(&mut aggregate, &rows);
        aggregate.nothing_before(0, 3, 3 * HOUR_MS);
        let hours = aggregate.close();
        let lateness = long.lateness.changed(wanted_ms, aggregate.until().hours_ms);
        let (offset, held) = aggregate.needed(0);
        let mut next = Aggregate::new(Rules { lateness, ..long }, aggregate.until(), &[(offset, Some(held))]);
        hours.iter().for_each(|cell| next.restore(cell));
        feed(&mut next, &rows);
        next.nothing_before(0, 3, 3 * DAY_MS);
        next.close().iter().map(|c| c.events).collect::<Vec<_>>()
    };
    assert_eq!(day(60_000), [3]);
    assert_eq!(day(9 * HOUR_MS), [3]);
}

#[test]
fn a_larger_k_does_not_claim_more_of_a_day_than_its_hours_kept() {
    let rows: Vec<Row> = (1..=3).map(|n| row(n, 0, n, 0, 1)).collect();
    let mut aggregate = Aggregate::new(rules(3), Until::NOTHING, &[(0, None)]);
    feed(&mut aggregate, &rows);
    aggregate.nothing_before(0, 3, 3 * HOUR_MS);
    let hours = aggregate.close();
    let mut next = Aggregate::new(rules(5), aggregate.until(), &[(0, None)]);
    hours.iter().for_each(|cell| next.restore(cell));
    feed(&mut next, &rows);
    next.nothing_before(0, 3, 3 * DAY_MS);
    assert_eq!(next.close().iter().map(|c| (c.events, c.k)).collect::<Vec<_>>(), [(3, 3)]);
}
