//! Fear: the window is over and the bytes are still there. Written over a while, on busy and on idle partitions: gone inside the window, value and
//! key, from the broker's files; and nothing goes that is not due.

use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::wait::eventually;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::{Duration, Instant};

/// Writes records as `run` does, uncompressed, so that their bytes can be found in the files.
pub struct Writer {
    producer: BaseProducer,
    topic: String,
}

impl Writer {
    #[track_caller]
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        Self { producer: kafka::client(bootstrap).set("compression.type", "none").create().unwrap(), topic: topic.to_owned() }
    }

    #[track_caller]
    pub fn put(&self, partition: i32, key: &str, value: &str) {
        let header = [&[1u8, 0, 1][..], &7i64.to_be_bytes(), b"MARKED-PSEUDONYM"].concat();
        let headers = OwnedHeaders::new().insert(Header { key: "lethe", value: Some(&header) });
        let record = BaseRecord::<str, str>::to(&self.topic).key(key).payload(value).partition(partition).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }
}

/// A tenant whose events live for so long.
#[track_caller]
pub fn prepared(journey: &Journey, window: &str) -> (TestConfig, String) {
    let acme = journey.tenant("a");
    let config = journey.config().set("topics.partitions", 2).tenant(&acme, |t| t.set("windows.events", window));
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    (config, format!("{acme}.events"))
}

#[test]
fn the_bytes_are_gone_inside_the_window() {
    const WINDOW: Duration = Duration::from_secs(30);
    // The window's parts are a second and a half each: nothing else may keep the machine busy.
    let journey = Journey::alone("the_bytes_are_gone");
    let (config, topic) = prepared(&journey, "30s");
    let writer = Writer::new(journey.bootstrap(), &topic);
    let files_with = |needle: &str| kafka::files_with(journey.broker(), &topic, needle.as_bytes());
    let mut retain = journey.lethe(&config).args(["retain"]).start();
    retain.wait_until_ready();

    // Partition 0 is written to all the time, partition 1 only once. What was stored before a moment is looked for after it: a look takes its time.
    let idle = Instant::now();
    writer.put(1, "subject-idle/1", "MARKED-IDLE");
    let stored_idle = Instant::now();
    let mut written: Vec<Instant> = Vec::new();
    eventually("a minute of records", || {
        let n = written.len();
        let before = Instant::now();
        writer.put(0, &format!("subject-busy-{n:03}/1"), &format!("MARKED-BUSY-{n:03}"));
        written.push(Instant::now());
        std::thread::sleep(Duration::from_millis(500));
        assert!(!files_with(&format!("MARKED-BUSY-{n:03}")).is_empty() || before.elapsed() > WINDOW / 4, "the newest record is gone");
        if n < 10 {
            assert!(!files_with("MARKED-IDLE").is_empty() || idle.elapsed() > WINDOW / 4, "gone before it was due");
        }
        let over: Vec<usize> = (0..=n).filter(|old| written[*old].elapsed() > WINDOW).collect();
        for needle in over.iter().flat_map(|old| [format!("MARKED-BUSY-{old:03}"), format!("subject-busy-{old:03}/1")]) {
            assert!(files_with(&needle).is_empty(), "{needle} is there after its window: {:?}", files_with(&needle));
        }
        if stored_idle.elapsed() > WINDOW {
            for needle in ["MARKED-IDLE", "subject-idle/1"] {
                assert!(files_with(needle).is_empty(), "{needle} is there after its window: {:?}", files_with(needle));
            }
        }
        (idle.elapsed() > Duration::from_secs(60)).then_some(())
    });
    let last = Instant::now();
    for needle in ["MARKED", "subject-"] {
        eventually("the last record's bytes to go, value and key", || {
            let begun = last.elapsed();
            let gone = files_with(needle).is_empty();
            assert!(gone || begun <= WINDOW, "{needle} is there {begun:?} after the last record");
            gone.then_some(())
        });
    }
    println!("the last bytes went {:?} after the last record, of {WINDOW:?}", last.elapsed());

    // Once clean, no more rolls: the ends stay where they are.
    eventually("nothing pending", || {
        (retain.metrics().sum("lethe_retention_pending_partitions", &[("topic", &topic)]) == 0.0).then_some(())
    });
    let ends = kafka::watermarks(journey.bootstrap(), &topic);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(kafka::watermarks(journey.bootstrap(), &topic), ends, "a clean partition gets no roll records");
    let metrics = retain.metrics();
    assert_eq!(metrics.sum("lethe_retention_overdue_seconds", &[("topic", &topic)]), 0.0);
    // One each; only what a late cleaner left over, which the log tells, gets a second one.
    let (tombstones, records) = (metrics.sum("lethe_retention_tombstones_total", &[("topic", &topic)]), 1.0 + written.len() as f64);
    let is_left_over = retain.stderr().contains("left over");
    assert!(tombstones == records || is_left_over && tombstones > records, "{tombstones} tombstones of {records} records");
    retain.terminate_within(Duration::from_secs(10)).assert_done();
}

#[test]
fn a_tombstone_keeps_nothing_of_anybody_but_its_key() {
    let journey = Journey::new("a_tombstone_keeps_nothing");
    let (config, topic) = prepared(&journey, "30s");
    Writer::new(journey.bootstrap(), &topic).put(1, "subject/1", "value");
    let mut retain = journey.lethe(&config).args(["retain"]).start();
    retain.wait_until_ready();
    let tombstone = eventually("the tombstone", || {
        kafka::read_committed(journey.bootstrap(), &topic).into_iter().find(|r| r.key_text() == "subject/1" && r.value.is_none())
    });
    assert_eq!(tombstone.partition, 1);
    assert_eq!(
        tombstone.headers,
        [("lethe".to_owned(), vec![1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])],
        "version and epoch, no time and no pseudonym"
    );
}

#[test]
fn until_caught_up_ends_once_nothing_is_due_or_pending() {
    let journey = Journey::new("until_caught_up_ends");
    let (config, topic) = prepared(&journey, "8s");
    let writer = Writer::new(journey.bootstrap(), &topic);
    journey.lethe(&config).args(["retain", "--until-caught-up"]).finish().assert_done();
    writer.put(0, "subject/1", "MARKED-VALUE");
    eventually("it to be due", || {
        let status = journey.lethe(&config).args(["status", "--json"]).finish();
        let status: serde_json::Value = serde_json::from_str(&status.assert_done().stdout).unwrap();
        let events = status["topics"].as_array().unwrap().iter().find(|t| t["topic"] == topic.as_str()).unwrap().clone();
        (events["next_due_ms"].as_i64().unwrap() < status["now_ms"].as_i64().unwrap()).then_some(())
    });
    assert!(!kafka::files_with(journey.broker(), &topic, b"MARKED-VALUE").is_empty());
    journey.lethe(&config).args(["retain", "--until-caught-up"]).finish().assert_done();
    assert!(kafka::files_with(journey.broker(), &topic, b"MARKED-VALUE").is_empty());
    assert!(kafka::files_with(journey.broker(), &topic, b"subject/1").is_empty());
    let table = journey.lethe(&config).args(["status"]).finish();
    assert!(table.assert_done().stdout.lines().any(|l| l.contains(&topic) && l.trim_end().ends_with('-')), "{}", table.stdout);
}

#[test]
fn settings_that_cannot_keep_the_promise_are_refused() {
    let journey = Journey::new("settings_that_cannot_keep");
    let acme = journey.tenant("a");
    let config = |window: &str| journey.config().tenant(&acme, |t| t.set("windows.events", window));
    journey.lethe(&config("60s")).args(["retain", "--until-caught-up"]).finish().assert_refused(1, "lethe topics apply");
    journey.lethe(&config("60s")).args(["topics", "apply"]).finish().assert_done();
    journey.lethe(&config("60s")).args(["retain", "--until-caught-up"]).finish().assert_done();
    journey.lethe(&config("10s")).args(["retain", "--until-caught-up"]).finish().assert_refused(1, "delete.retention.ms");
}
