//! Fear: a crash splits a session, counts an event twice, or a late event leaves two sessions where there was one.
//!
//! Shown: two processes, each killed (SIGKILL) once under load; in the end `T.sessions` holds, key by key, the sessions that a sort and a walk
//! over all events give: late ones that join two sessions and replays included, each in its events' partition. Then people use their rights: the
//! group's commits say so, idle partitions too, and sessions of theirs go, or stay as they are.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Lethe;
use crate::support::metrics::Metrics;
use crate::support::pseudonymised::{Event, produce};
use crate::support::wait::{PATIENCE, eventually, eventually_within};
use lethe::derive::session::Session;
use lethe::model::consent::Purpose;
use lethe::model::directive::{Order, Pseudonyms};
use lethe::model::header::Header;
use lethe::model::pseudonym::{self, Epoch, Pseudonym};
use lethe::ops::clock::now_ms;
use lethe::transform::avro::single_object_prefix;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

pub const PARTITIONS: u32 = 2;
const MINUTE_MS: i64 = 60_000;
const SUBJECTS: u64 = 400;

/// Events of twelve hours in no order at all, some of them twice, some nobody's, some too old.
pub fn events(now_ms: i64) -> Vec<Event> {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut below = move |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let mut events: Vec<Event> = Vec::new();
    for n in 0..9_000u64 {
        if n % 40 == 39 {
            events.push(events[below(n) as usize % events.len()].clone());
            continue;
        }
        let subject = below(SUBJECTS + 20);
        let too_old = below(50) == 0;
        events.push(Event {
            id: format!("e{n}"),
            name: "view".into(),
            occurred_at_ms: now_ms - MINUTE_MS * (1 + below(12 * 60) as i64 + if too_old { 40 * 60 } else { 0 }),
            subject: if subject >= SUBJECTS { String::new() } else { format!("1.subject{subject}") },
            path: format!("/{n}"),
            source: if n % 3 == 0 { format!("campaign{n}") } else { String::new() },
            ..Event::default()
        });
    }
    events
}

/// Start, end, events and partition of each session, by subject and start.
pub type Shape = BTreeMap<(String, i64), (i64, u64, i32)>;

pub fn naive(events: &[Event], now_ms: i64) -> Shape {
    let mut shape = Shape::new();
    let mut seen = BTreeSet::new();
    let mut by_subject: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|e| !e.subject.is_empty() && now_ms - e.occurred_at_ms < 24 * 60 * MINUTE_MS && seen.insert(&e.id)) {
        by_subject.entry(&event.subject).or_default().push(event);
    }
    for (subject, mut events) in by_subject {
        events.sort_by_key(|e| e.occurred_at_ms);
        for session in events.chunk_by(|a, b| b.occurred_at_ms - a.occurred_at_ms <= 30 * MINUTE_MS) {
            let (first, last) = (session[0], session[session.len() - 1]);
            let value = (last.occurred_at_ms, session.len() as u64, first.partition(PARTITIONS));
            shape.insert((subject.to_owned(), first.occurred_at_ms), value);
        }
    }
    shape
}

/// What stands in the topic once every key has its newest version.
pub fn standing(journey: &Journey, topic: &str) -> Shape {
    let prefix = single_object_prefix(include_str!("../../schemas/session/session.avsc")).unwrap();
    let mut newest = BTreeMap::new();
    for record in kafka::read_committed(journey.bootstrap(), topic) {
        newest.insert(record.key.clone().unwrap(), record);
    }
    let mut shape = Shape::new();
    for (key, record) in newest {
        let Some(value) = &record.value else { continue };
        let (subject, id) = Session::read_key(&key).unwrap();
        let header = Header::read(&record.headers.iter().find(|(name, _)| name == "lethe").unwrap().1).unwrap();
        let session = Session::read(&prefix, value, header.identifiers().collect()).unwrap();
        assert_eq!((session.id, header.occurred_at_ms, session.identifiers.len()), (id, session.start_ms, 1));
        let twice = shape.insert((subject.to_owned(), session.start_ms), (session.end_ms, session.events, record.partition));
        assert_eq!(twice, None, "two sessions at once");
    }
    shape
}

#[test]
fn killed_twice_and_every_session_is_what_a_sort_gives() {
    let journey = Journey::new("every_session_is_exact");
    let acme = journey.tenant("a");
    let config = journey.config().set("sessions.group", format!("{}-sessions", journey.namespace())).set("sessions.batch_events", 200);
    let config = config.set("topics.partitions", i64::from(PARTITIONS)).set("kafka.session_timeout_ms", 6_000);
    let config = config.set("kafka.transaction_timeout_ms", 3_000).tenant(&acme, |t| t);
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    let now_ms = now_ms();
    let all = events(now_ms);
    let (topic, sessions) = (format!("{acme}.events"), format!("{acme}.sessions"));
    let start = || {
        let mut lethe = journey.lethe(&config).args(["sessions"]).start();
        lethe.wait_until_ready();
        lethe
    };
    let counted = |metrics: &Metrics| metrics.sum("lethe_sessions_events_total", &[("outcome", "counted")]);
    let written = || kafka::read_committed(journey.bootstrap(), &sessions).len();

    let first = start();
    produce(journey.bootstrap(), &topic, PARTITIONS, &all[..3_000]);
    eventually("the first to be at work", || (counted(&first.metrics()) > 0.0).then_some(()));
    let second = start();
    first.kill();
    let before = written();
    produce(journey.bootstrap(), &topic, PARTITIONS, &all[3_000..6_000]);
    eventually("the second to take over", || (written() > before).then_some(()));
    second.kill();
    produce(journey.bootstrap(), &topic, PARTITIONS, &all[6_000..]);
    journey.lethe(&config).args(["sessions", "--until-caught-up"]).finish().assert_done();

    let want = naive(&all, now_ms);
    assert!(want.len() > 1_000 && want.values().any(|(_, events, _)| *events > 3), "{}", want.len());
    let have = standing(&journey, &sessions);
    for (key, session) in &want {
        assert_eq!(have.get(key), Some(session), "{key:?}");
    }
    assert_eq!(have.len(), want.len());

    // Rights come into force; the events of those people come again, and one is new to each.
    let mut people: Vec<&str> = all.iter().filter(|e| !e.subject.is_empty()).map(|e| e.subject.as_str()).collect();
    people.sort_unstable();
    people.dedup();
    let [erased, restricted, withdrew] = [0, 1, 2].map(|n| people[n * 100]);
    let named = |subject: &str| Pseudonyms(vec![(Epoch(1), Event { subject: subject.into(), ..Event::default() }.pseudonym())]);
    let orders = [
        Order::Erase { pseudonyms: named(erased) },
        Order::Restrict { pseudonyms: named(restricted), lifted: false },
        Order::Withdraw { pseudonyms: named(withdrew), purpose: Purpose::Analytics },
    ];
    let directives = format!("{}.directives", journey.namespace());
    for (n, order) in orders.iter().enumerate() {
        let directive = serde_json::json!({"id": format!("r{n}"), "tenant": acme, "issued_at_ms": now_ms});
        let mut directive = directive.as_object().unwrap().clone();
        directive.extend(serde_json::to_value(order).unwrap().as_object().unwrap().clone());
        let key = format!("{acme}/{}/r{n}", order.kind());
        kafka::produce(journey.bootstrap(), &directives, [(Some(key.as_bytes()), Some(serde_json::Value::from(directive).to_string()))]);
    }
    let third = start();
    let group = format!("{}-sessions", journey.namespace());
    let taken_in = format!("directives={}", kafka::watermarks(journey.bootstrap(), &directives)[0].1);
    eventually("all partitions, idle ones too, to say that the directives were taken in", || {
        let marks = kafka::committed(journey.bootstrap(), &group, &topic);
        (marks.len() == PARTITIONS as usize && marks.iter().all(|mark| mark.metadata.split(' ').any(|word| word == taken_in))).then_some(())
    });
    let ours = |e: &&Event| [erased, restricted, withdrew].contains(&e.subject.as_str());
    let mut again: Vec<Event> = all.iter().filter(ours).cloned().collect();
    again.extend([erased, restricted, withdrew].map(|subject| Event {
        id: format!("new of {subject}"),
        subject: subject.into(),
        occurred_at_ms: now_ms - 1_000,
        ..all[0].clone()
    }));
    produce(journey.bootstrap(), &topic, PARTITIONS, &again);
    eventually("them to be passed over", || {
        let passed =
            ["erased", "restricted", "withdrawn"].map(|why| third.metrics().sum("lethe_sessions_events_total", &[("outcome", why)]));
        (passed.iter().sum::<f64>() as usize == again.len()).then_some(())
    });
    third.terminate_within(PATIENCE).assert_done();
    let left = standing(&journey, &sessions);
    let want: Shape = want.into_iter().filter(|((subject, _), _)| ![erased, withdrew].contains(&subject.as_str())).collect();
    assert_eq!(left, want, "of the restricted nothing is added and nothing taken; of the others nothing is left");
}

/// What open sessions cost: memory of the process, and events a second. `LETHE_SESSIONS_OPEN`: how many; the figures are printed.
#[test]
fn open_sessions_are_held_and_taken_over() {
    let open: usize = std::env::var("LETHE_SESSIONS_OPEN").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let journey = Journey::new("open_sessions_are_held");
    let acme = journey.tenant("a");
    let config = journey.config().set("sessions.group", format!("{}-sessions", journey.namespace()));
    let config = config.set("topics.partitions", i64::from(PARTITIONS)).tenant(&acme, |t| t);
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    let now_ms = now_ms();
    for n in (0..open).step_by(50_000) {
        let some = (n..open.min(n + 50_000)).map(|n| Event {
            id: format!("e{n}"),
            name: "view".into(),
            occurred_at_ms: now_ms - MINUTE_MS,
            subject: pseudonym::text(Epoch(1), Pseudonym(Sha256::digest(n.to_le_bytes())[..16].try_into().unwrap())),
            path: format!("/articles/{}", n % 1_000),
            ..Event::default()
        });
        produce(journey.bootstrap(), &format!("{acme}.events"), PARTITIONS, &some.collect::<Vec<_>>());
    }
    let resident = |lethe: &mut Lethe| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", lethe.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        kib.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1_024
    };
    let patience = PATIENCE * 1.max(open as u32 / 100_000);
    for what in ["read", "taken over"] {
        let mut lethe = journey.lethe(&config).args(["sessions"]).start();
        lethe.wait_until_ready();
        let (empty, begun) = (resident(&mut lethe), Instant::now());
        eventually_within(patience, "all sessions to be open", || {
            (lethe.metrics().sum("lethe_sessions_open", &[]) as usize == open).then_some(())
        });
        let seconds = begun.elapsed().as_secs_f64();
        println!("{open} sessions {what} in {seconds:.1} s; {empty} MiB before, {} MiB now", resident(&mut lethe));
        lethe.kill();
    }
}

#[test]
fn partitions_that_differ_are_refused() {
    let journey = Journey::new("partitions_that_differ");
    let acme = journey.tenant("a");
    let config = journey.config().set("topics.partitions", 2).tenant(&acme, |t| t);
    journey.create_topic(&format!("{acme}.sessions"), 3, &[]);
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    journey.lethe(&config).args(["sessions", "--until-caught-up"]).finish().assert_refused(1, "must be the same");
}
