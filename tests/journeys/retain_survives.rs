//! Fear: a crash at the wrong moment forgets too much, or for ever too little. Five SIGKILLs and a broker restart, two processes that share the work,
//! and a reader that keeps a table: what is there equals a model that knows the rule for several versions of a key.

use crate::support::journey::Journey;
use crate::support::kafka::{self, Record};
use crate::support::lethe::Lethe;
use crate::support::wait::eventually;
use crate::window_elapsed::prepared;
use std::collections::BTreeMap;

/// What the status says of one topic.
#[track_caller]
fn keep_ms(journey: &Journey, config: &crate::support::config::TestConfig, topic: &str) -> i64 {
    let status = journey.lethe(config).args(["status", "--json"]).finish();
    let status: serde_json::Value = serde_json::from_str(&status.assert_done().stdout).unwrap();
    let topics = status["topics"].as_array().unwrap();
    topics.iter().find(|t| t["topic"] == topic).unwrap()["tombstone_after_ms"].as_i64().unwrap()
}

/// What a reader that keeps a table has: upsert by key, delete on null.
fn table(records: &[Record]) -> BTreeMap<String, Vec<u8>> {
    let mut table = BTreeMap::new();
    for record in records.iter().filter(|r| r.key_text() != "~roll") {
        match &record.value {
            Some(value) => table.insert(record.key_text(), value.clone()),
            None => table.remove(&record.key_text()),
        };
    }
    table
}

/// Asserts, of everything ever stored (read by somebody who missed nothing), that each tombstone had a version that was due, and that it came in time.
#[track_caller]
fn assert_only_due_ones_went(all: &[Record], keep_ms: i64) {
    let mut stored: BTreeMap<String, i64> = BTreeMap::new();
    for record in all.iter().filter(|r| r.key_text() != "~roll") {
        match &record.value {
            Some(_) => {
                stored.entry(record.key_text()).or_insert(record.timestamp_ms);
            }
            None => {
                let earliest =
                    stored.get(&record.key_text()).unwrap_or_else(|| panic!("a tombstone for {} that never was", record.key_text()));
                assert!(
                    record.timestamp_ms >= earliest + keep_ms,
                    "{} went {} ms early",
                    record.key_text(),
                    earliest + keep_ms - record.timestamp_ms
                );
            }
        }
    }
}

/// Writes the next few keys, every tenth of them again under a key of the batch before.
#[track_caller]
fn write(journey: &Journey, topic: &str, round: u32) {
    let keys = (0..200).map(|n| if n % 10 == 0 && round > 0 { format!("s{}/{n}", round - 1) } else { format!("s{round}/{n}") });
    kafka::produce(journey.bootstrap(), topic, keys.map(|key| (Some(key), Some(format!("value {round}")))));
}

#[test]
fn five_kills_and_a_broker_restart() {
    let journey = Journey::with_own_broker("five_kills_and_a_restart");
    let (config, topic) = prepared(&journey, "16s");
    let config = config.set("retain.instance", "one").set("kafka.session_timeout_ms", 6_000).set("retain.batch_records", 50);
    let keep = keep_ms(&journey, &config, &topic);
    let reader = kafka::Reader::start(journey.bootstrap(), &[&topic]);
    let mut retain: Option<Lethe> = None;
    for round in 0..6 {
        write(&journey, &topic, round);
        let mut next = journey.lethe(&config).args(["retain"]).start();
        next.wait_until_ready();
        let before = reader.seen();
        eventually("tombstones to be written", || (reader.seen() > before + 100).then_some(()));
        if round < 5 {
            next.kill();
        } else {
            retain = Some(next);
        }
        if round == 2 {
            journey.broker().kill();
            journey.broker().restart();
        }
    }
    let retain = retain.unwrap();
    eventually("everything to be gone", || {
        let left = kafka::read_uncommitted(journey.bootstrap(), &topic);
        left.iter().all(|r| r.key_text() == "~roll").then_some(())
    });
    retain.terminate_within(std::time::Duration::from_secs(10)).assert_done();
    let all = reader.finish().remove(&topic).unwrap();
    assert_only_due_ones_went(&all, keep);
    assert!(table(&all).is_empty(), "the table of a reader that kept up equals the topic");
}

#[test]
fn two_processes_share_the_work() {
    let journey = Journey::new("two_processes_share");
    let acme = journey.tenant("a");
    let config = journey.config().set("topics.partitions", 4).tenant(&acme, |t| t.set("windows.events", "10s"));
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    let topic = format!("{acme}.events");
    let mut two = [0, 1].map(|_| journey.lethe(&config).args(["retain"]).start());
    two.iter_mut().for_each(Lethe::wait_until_ready);
    let reader = kafka::Reader::start(journey.bootstrap(), &[&topic]);
    let done = |lethe: &Lethe| lethe.metrics().sum("lethe_retention_tombstones_total", &[("topic", &topic)]);
    let mut round = 0;
    eventually("both to have written tombstones", || {
        write(&journey, &topic, round);
        round += 1;
        two.iter().all(|lethe| done(lethe) > 0.0).then_some(())
    });
    let [first, second] = two;
    first.terminate_within(std::time::Duration::from_secs(10)).assert_done();
    eventually("the other to finish the work", || {
        kafka::read_uncommitted(journey.bootstrap(), &topic).iter().all(|r| r.key_text() == "~roll").then_some(())
    });
    drop(second);
    assert!(table(&reader.finish()[&topic]).is_empty());
}

#[test]
fn a_shortened_window_takes_effect_and_what_is_not_due_stays() {
    let journey = Journey::new("a_shortened_window");
    let (long, topic) = prepared(&journey, "1h");
    write(&journey, &topic, 0);
    let retain = journey.lethe(&long).args(["retain", "--until-caught-up"]).finish();
    retain.assert_done();
    assert_eq!(table(&kafka::read_committed(journey.bootstrap(), &topic)).len(), 200, "nothing was due");
    let acme = topic.trim_end_matches(".events");
    let short = journey.config().set("topics.partitions", 2).tenant(acme, |t| t.set("windows.events", "10s"));
    journey.lethe(&short).args(["topics", "apply"]).finish().assert_done();
    let keep = keep_ms(&journey, &short, &topic);
    let newest = kafka::read_committed(journey.bootstrap(), &topic).iter().map(|r| r.timestamp_ms).max().unwrap();
    eventually("the old ones to be due", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        (now > newest + keep).then_some(())
    });
    write(&journey, &topic, 5);
    let retain = journey.lethe(&short).args(["retain"]).start();
    eventually("the old ones to go", || {
        let table = table(&kafka::read_committed(journey.bootstrap(), &topic));
        (!table.keys().any(|k| k.starts_with("s0/"))).then_some(())
    });
    drop(retain);
}

#[test]
fn raw_records_are_trimmed_once_they_are_processed() {
    let journey = Journey::new("raw_records_are_trimmed");
    let acme = journey.tenant("a");
    let raw = format!("{acme}.raw.web");
    let config = journey
        .config()
        .set("topics.partitions", 1)
        .tenant(&acme, |t| t.set("trim_raw", true).set("windows.raw", "12s").set("max_lateness", "2s"));
    journey.set_up(&config);
    kafka::produce(journey.bootstrap(), &raw, [(None::<&str>, Some("MARKED-RAW"))]);
    assert_eq!(kafka::watermarks(journey.bootstrap(), &raw), [(0, 1)]);
    journey.lethe(&config).args(["run", "--until-caught-up"]).finish().assert_done();
    let retain = journey.lethe(&config).args(["retain"]).start();
    eventually("the processed record to be hidden", || (kafka::watermarks(journey.bootstrap(), &raw)[0].0 >= 1).then_some(()));
    eventually("its bytes to go", || kafka::files_with(journey.broker(), &raw, b"MARKED-RAW").is_empty().then_some(()));
    drop(retain);
}
