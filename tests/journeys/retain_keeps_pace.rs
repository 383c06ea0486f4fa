//! Fear: more falls due than `retain` can do away with, or it costs the cluster more the more is stored.
//!
//! By default a few thousand records show that it works. The figures in `benches/README.md` are of
//! `LETHE_RETAIN_RECORDS=1000000 LETHE_RETAIN_LIVE=10000000 cargo test --release --test journeys retain_keeps_pace -- --nocapture --test-threads 1`,
//! on a quiet machine.

use crate::support::journey::Journey;
use crate::support::kafka::{self, Keep};
use crate::support::lethe::cpu_ms;
use crate::support::wait::eventually;
use lethe::kafka::client;
use lethe::ops::clock::now_ms;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::time::{Duration, Instant};

/// The least share of a plain loop's rate.
const LEAST: f64 = 0.5;
const PARTITIONS: usize = 4;

/// How many records; whether they were asked for, so that the figure counts.
fn asked() -> (usize, bool) {
    let given = std::env::var("LETHE_RETAIN_RECORDS").ok().and_then(|n| n.parse().ok());
    (given.unwrap_or(5_000), given.is_some())
}

/// A key as `run` writes it: subject and event id, both pseudonyms.
fn key(n: usize) -> String {
    format!("1.{:022}/1.{:022}", n / 7, n)
}

/// A plain loop: produces records of these numbers, as fast as librdkafka goes with Lethe's settings, and waits until they are stored.
#[track_caller]
fn plain_loop(settings: &rdkafka::ClientConfig, topic: &str, n: usize, value: Option<&[u8]>, stored_at_ms: Option<i64>) -> Duration {
    let producer: ThreadedProducer<DefaultProducerContext> = settings.create().unwrap();
    let header = [&[1u8, 0, 1][..], &[0; 8]].concat();
    let begun = Instant::now();
    for i in 0..n {
        let key = key(i);
        let headers = OwnedHeaders::new_with_capacity(1).insert(Header { key: "lethe", value: Some(&header) });
        let mut record = BaseRecord::<str, [u8]>::to(topic).key(&key).partition((i % PARTITIONS) as i32).headers(headers);
        record.payload = value;
        record.timestamp = stored_at_ms;
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            std::thread::sleep(Duration::from_millis(2));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    begun.elapsed()
}

#[test]
fn due_records_go_at_half_the_rate_of_a_plain_loop_at_least() {
    let (n, counts) = asked();
    let journey = if counts { Journey::alone("due_records_go") } else { Journey::new("due_records_go") };
    let acme = journey.tenant("a");
    let topic = format!("{acme}.events");
    let config = journey.config().set("retain.testing", false).tenant(&acme, |t| t.set("windows.events", "30d"));
    journey.create_topic(&topic, PARTITIONS as i32, &[("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime")]);
    let plain = format!("{}.plain", journey.namespace());
    journey.create_topic(&plain, PARTITIONS as i32, &[("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")]);
    let file = journey.home().join("settings.toml");
    std::fs::write(&file, config.to_toml()).unwrap();
    let settings = client::producer(&lethe::config::load::load(&file, std::iter::empty()).unwrap().kafka).unwrap();

    // Stored forty days ago: the broker takes a producer's word for it until `topics apply` mends that.
    let value = [b'v'; 300];
    plain_loop(&settings, &topic, n, Some(&value), Some(now_ms() - 40 * 86_400_000));
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    let by_loop = plain_loop(&settings, &plain, n, None, None);

    let mut retain = journey.lethe(&config).args(["retain"]).start();
    retain.wait_until_ready();
    eventually("every record to have its tombstone", || {
        (retain.metrics().sum("lethe_retention_tombstones_total", &[("topic", &topic)]) >= n as f64).then_some(())
    });
    let ended_ms = now_ms();
    assert_eq!(retain.metrics().sum("lethe_retention_tombstones_total", &[("topic", &topic)]), n as f64);
    retain.terminate_within(Duration::from_secs(10)).assert_done();

    let reader = kafka::Reader::start_keeping(Keep::Keys, journey.bootstrap(), &[&topic]);
    let all = reader.finish().remove(&topic).unwrap();
    let tombstones = || all.iter().filter(|r| r.value.is_none() && r.key_text() != "~roll");
    assert_eq!(tombstones().map(|r| r.key.as_deref().unwrap()).collect::<std::collections::HashSet<_>>().len(), n, "each key has its own");
    let begun_ms = tombstones().map(|r| r.timestamp_ms).min().unwrap();
    let by_retain = Duration::from_millis((ended_ms - begun_ms).max(1) as u64);
    let rate = |took: Duration| n as f64 / took.as_secs_f64();
    let share = rate(by_retain) / rate(by_loop);
    println!("{n} records: plain loop {:.0}/s, retain {:.0}/s, share {share:.2}", rate(by_loop), rate(by_retain));
    assert!(!counts || share >= LEAST, "{share:.2} of a plain loop");
}

/// What looks cost when nothing is due. Units: ms of time and of CPU of the whole process, each per look.
#[track_caller]
fn cost_of_a_look(journey: &Journey, name: &str, live: usize, looks_wanted: f64) -> (f64, f64) {
    let tenant = journey.tenant(name);
    let topic = format!("{tenant}.events");
    let group = format!("{tenant}-retain");
    let config = journey.config().set("retain.group", group).set("topics.partitions", PARTITIONS as i64);
    let config = config.tenant(&tenant, |t| t.set("windows.events", "90s"));
    journey.create_topic(&topic, PARTITIONS as i32, &[("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime")]);
    let file = journey.home().join("settings.toml");
    std::fs::write(&file, config.to_toml()).unwrap();
    let settings = client::producer(&lethe::config::load::load(&file, std::iter::empty()).unwrap().kafka).unwrap();
    // Stored in fifty minutes, if a producer is believed: nothing is due while this is measured.
    plain_loop(&settings, &topic, live, Some(&[b'v'; 20]), Some(now_ms() + 50 * 60_000));
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    let mut retain = journey.lethe(&config).args(["retain"]).start();
    retain.wait_until_ready();
    let id = retain.id();
    let looks = || {
        let metrics = retain.metrics();
        (metrics.sum("lethe_retention_look_seconds_count", &[]), metrics.sum("lethe_retention_look_seconds_sum", &[]))
    };
    eventually("the cursors to be parked", || {
        (looks().0 >= 3.0 && retain.metrics().sum("lethe_retention_next_due_seconds", &[("topic", &topic)]) > 0.0).then_some(())
    });
    let (count, seconds) = looks();
    let cpu = cpu_ms(id);
    let (more, sum) = eventually("some looks", || Some(looks()).filter(|(now, _)| *now >= count + looks_wanted));
    let cost = ((sum - seconds) * 1_000.0 / (more - count), (cpu_ms(id) - cpu) / (more - count));
    assert_eq!(retain.metrics().sum("lethe_retention_tombstones_total", &[]), 0.0, "nothing was due");
    println!("{live} live records: a look takes {:.1} ms, {:.1} ms of CPU between two of them", cost.0, cost.1);
    cost
}

#[test]
fn a_tick_with_nothing_due_costs_the_same_however_much_is_stored() {
    let given: Option<usize> = std::env::var("LETHE_RETAIN_LIVE").ok().and_then(|n| n.parse().ok());
    let name = "a_tick_with_nothing_due";
    let journey = if given.is_some() { Journey::alone(name) } else { Journey::new(name) };
    let looks = if given.is_some() { 20.0 } else { 3.0 };
    let few = cost_of_a_look(&journey, "few", given.map_or(500, |_| 10_000), looks);
    let many = cost_of_a_look(&journey, "many", given.unwrap_or(20_000), looks);
    assert!(given.is_none() || many.0 < 2.0 * few.0 + 5.0, "{many:?} and {few:?}");
}
