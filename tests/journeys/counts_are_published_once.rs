//! Fear: a count is published twice, with different numbers, and their difference is a person; or a crash loses or doubles what was counted.
//!
//! Shown: two processes, the active one killed (SIGKILL), then the broker for longer than a request may take, then the successor, which had
//! gone on; what stands in `T.aggregates` in the end is, cell by cell, what one
//! pass over all events gives, no key was ever written twice, nothing is over fewer than `k` subjects, and five tenants make a benchmark.

use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
pub use crate::support::pseudonymised::Event;
use crate::support::pseudonymised::produce;
use crate::support::wait::eventually;
use lethe::derive::aggregate::{self, Aggregate, Lateness, Rules, Until};
use lethe::derive::cell::Cell;
use lethe::derive::money::Micros;
use lethe::derive::subjects::{Subject, hash};
use lethe::model::pseudonym::Epoch;
use lethe::ops::clock::now_ms;
use std::collections::BTreeMap;

pub const PARTITIONS: u32 = 2;
const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;
const K: usize = 5;
/// So long that the clock closes nothing: the events' own times do.
pub const LATENESS_MS: i64 = 7 * DAY_MS;

/// Events of 30 hours, in the order in which they were stored; a few come late, a few twice.
pub fn events(start_ms: i64, seed: u64) -> Vec<Event> {
    let mut random = seed | 1;
    let mut below = move |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let mut events: Vec<Event> = (0..4_000)
        .map(|n| {
            let occurred_at_ms = start_ms + below(30 * 3_600) as i64 * 1_000;
            let late_ms = if below(20) == 0 { below(20) as i64 * HOUR_MS } else { below(60_000) as i64 };
            let subject = below(60);
            Event {
                id: format!("e{}", n - below(20).min(1) as i64 * i64::from(n > 0 && n % 50 == 0)),
                name: ["view", "view", "view", "purchase", "signup"][below(5) as usize].into(),
                occurred_at_ms,
                stored_at_ms: occurred_at_ms + LATENESS_MS - HOUR_MS + late_ms,
                subject: if subject == 0 { String::new() } else { format!("1.subject{subject}") },
                country: ["DE", "FR", "PT"][below(3) as usize].into(),
                path: "/".into(),
                source: String::new(),
                value: (below(3) > 0).then(|| below(10_000) as f64 / 100.0),
            }
        })
        .collect();
    events.sort_by_key(|e| e.stored_at_ms);
    events
}

/// What one pass gives.
pub fn expected(tenant: &str, events: &[Event]) -> BTreeMap<String, Cell> {
    let rules = Rules { k: K, lateness: Lateness::of_all(LATENESS_MS), groups_max: 1_000 };
    let mut counts = Aggregate::new(rules, Until::NOTHING, &[(0, None); PARTITIONS as usize]);
    for event in events {
        let anonymous = event.subject.is_empty();
        let counted = aggregate::Event {
            occurred_at_ms: event.occurred_at_ms,
            key: hash(event.key().as_bytes()),
            group: [&event.name, &event.country, "", ""],
            subject: (!anonymous).then(|| Subject::new(Epoch(1), hash(event.subject().as_bytes()))),
            value: event.value.map(|value| ("EUR", Micros::of_double(value).unwrap())),
        };
        counts.take(event.partition(PARTITIONS) as usize, 0, event.stored_at_ms, &counted);
    }
    (0..PARTITIONS as usize).for_each(|p| counts.nothing_before(p, 0, events[0].stored_at_ms + 10 * DAY_MS));
    let cells = counts.close().into_iter().map(|cell| Cell { tenant: Some(tenant.to_owned()), ..cell });
    cells.map(|cell| (cell.key(), cell)).collect()
}

pub fn published(journey: &Journey, topic: &str) -> BTreeMap<String, Cell> {
    let mut cells = BTreeMap::new();
    for record in kafka::read_committed(journey.bootstrap(), topic) {
        let cell = Cell::read(record.value.as_deref().unwrap()).unwrap();
        assert_eq!(cell.key(), record.key_text());
        assert!(cell.subjects >= K as u64, "{cell:?}");
        assert_eq!(cells.insert(record.key_text(), cell), None, "{} is published twice", record.key_text());
    }
    cells
}

pub fn prepared(journey: &Journey) -> (TestConfig, Vec<String>) {
    let tenants: Vec<String> = (0..5).map(|n| journey.tenant(&format!("t{n}"))).collect();
    let benchmarks = format!("{}.benchmarks", journey.namespace());
    let config = journey
        .config()
        .set("aggregate.group", format!("{}-aggregate", journey.namespace()))
        .set("aggregate.k", K as i64)
        .set("aggregate.lateness", "7d");
    let config = config.set("topics.benchmarks", benchmarks.as_str()).set("topics.partitions", i64::from(PARTITIONS));
    let config = config.set("kafka.session_timeout_ms", 6_000);
    let config = tenants.iter().fold(config, |config, id| config.tenant(id, |t| t.set("benchmarks", true)));
    for tenant in &tenants {
        // The topic takes the producer's times.
        let times = [("message.timestamp.type", "CreateTime"), ("retention.ms", "-1"), ("message.timestamp.after.max.ms", "999999999999")];
        journey.create_topic(&format!("{tenant}.events"), PARTITIONS as i32, &times);
    }
    journey.lethe(&config).args(["topics", "apply", "--missing-only"]).finish().assert_done();
    (config, tenants)
}

#[test]
fn killed_twice_and_every_count_is_published_once() {
    let journey = Journey::with_own_broker("every_count_is_published_once");
    let (config, tenants) = prepared(&journey);
    let now_ms = now_ms();
    // A day that is over, and the morning after.
    let start_ms = now_ms.div_euclid(DAY_MS) * DAY_MS - 2 * DAY_MS;
    let stored_ms = start_ms + LATENESS_MS;
    let all: Vec<Vec<Event>> = (0..5).map(|n| events(start_ms, n + 3)).collect();
    let produce_until = |from_ms: i64, until_ms: i64| {
        for (tenant, events) in tenants.iter().zip(&all) {
            let some: Vec<Event> = events.iter().filter(|e| e.stored_at_ms >= from_ms && e.stored_at_ms < until_ms).cloned().collect();
            produce(journey.bootstrap(), &format!("{tenant}.events"), PARTITIONS, &some);
        }
    };
    let topics: Vec<String> = tenants.iter().map(|t| format!("{t}.aggregates")).collect();
    let count = || topics.iter().map(|t| kafka::read_committed(journey.bootstrap(), t).len()).sum::<usize>();

    produce_until(i64::MIN, stored_ms + 10 * HOUR_MS);
    let mut first = journey.lethe(&config).args(["aggregate"]).start();
    first.wait_until_ready();
    eventually("the first hours", || (count() > 0).then_some(()));
    let mut second = journey.lethe(&config).args(["aggregate"]).start();
    second.wait_until_ready();
    let before = count();
    first.kill();
    produce_until(stored_ms + 10 * HOUR_MS, stored_ms + 20 * HOUR_MS);
    eventually("the second to take over", || (count() > before).then_some(()));
    journey.broker().kill();
    eventually("the active one to notice", || second.stderr().contains("a turn failed").then_some(()));
    journey.broker().restart();
    let before = count();
    produce_until(stored_ms + 20 * HOUR_MS, i64::MAX);
    eventually("the active one to go on", || (count() > before).then_some(()));
    // What nobody counts only says that time goes by.
    for tenant in &tenants {
        let clock = (0..20).map(|n| Event { id: format!("clock{n}"), stored_at_ms: stored_ms + 9 * DAY_MS, ..Event::default() });
        produce(journey.bootstrap(), &format!("{tenant}.events"), PARTITIONS, &clock.collect::<Vec<_>>());
    }
    second.kill();
    journey.lethe(&config).args(["aggregate", "--until-caught-up"]).finish().assert_done();

    for ((tenant, topic), events) in tenants.iter().zip(&topics).zip(&all) {
        let (have, want) = (published(&journey, topic), expected(tenant, events));
        assert!(want.len() > 100 && want.keys().any(|key| key.starts_with("day/")), "{}", want.len());
        assert_eq!(have.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
        for (key, cell) in want {
            assert_eq!(have[&key], cell);
        }
    }
    let benchmarks = published(&journey, &format!("{}.benchmarks", journey.namespace()));
    assert!(benchmarks.values().any(|c| c.tenants == Some(5) && c.tenant.is_none()), "{benchmarks:?}");
    let text = format!("{benchmarks:?}");
    assert!(tenants.iter().all(|t| !text.contains(t.as_str())), "a benchmark names nobody");
}
