//! Fear: a crash at the wrong moment forgets too much, or for ever too little. Five SIGKILLs and a broker restart, two processes that share the work,
//! and a client of another house that keeps a table: what is there equals a model that knows the rule for several versions of a key.

use crate::support::journey::Journey;
use crate::support::kafka::{self, Record};
use crate::support::lethe::Lethe;
use crate::support::python::python;
use crate::support::wait::eventually;
use crate::window_elapsed::prepared;
use lethe::ops::clock::now_ms;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

/// Keeps a table as consumers downstream do, by Confluent's Python client: upsert by key, delete on null. Once its input ends it reads to the ends of
/// all partitions and prints the table.
const TABLE_CONSUMER: &str = r#"
import json, sys, threading
from confluent_kafka import Consumer, KafkaError, TopicPartition
bootstrap, topic, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "table", "isolation.level": "read_committed", "enable.auto.commit": False,
                     "auto.offset.reset": "earliest", "enable.partition.eof": True, "log_level": 2, "reconnect.backoff.max.ms": 500})
table, position, stop = {}, {p: 0 for p in range(partitions)}, threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
def assign():
    consumer.assign([TopicPartition(topic, p, offset) for p, offset in position.items()])
assign()
ended = None
while ended is None or len(ended) < partitions:
    message = consumer.poll(0.2)
    if stop.is_set() and ended is None:
        ended = set()
        assign()
        continue
    if message is None:
        continue
    if message.error():
        if ended is not None and message.error().code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        continue
    position[message.partition()] = message.offset() + 1
    if message.value() is None:
        table.pop(message.key().decode(), None)
    else:
        table[message.key().decode()] = message.value().decode()
print(json.dumps(table))
"#;

/// A consumer downstream that keeps a table.
struct TableConsumer(Child);

impl TableConsumer {
    #[track_caller]
    fn start(bootstrap: &str, topic: &str, partitions: i32) -> Self {
        let mut command = Command::new(python());
        command.args(["-c", TABLE_CONSUMER, bootstrap, topic, &partitions.to_string()]);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Its table, once it has read everything.
    #[track_caller]
    fn finish(mut self) -> BTreeMap<String, Vec<u8>> {
        drop(self.0.stdin.take());
        let done = self.0.wait_with_output().unwrap();
        let table: BTreeMap<String, String> = serde_json::from_slice(&done.stdout).unwrap();
        table.into_iter().map(|(key, value)| (key, value.into_bytes())).collect()
    }
}

/// What must be there: each key and when its first version was stored, at the earliest. A key may be absent once that one is due, not before.
#[derive(Default)]
pub struct Written(BTreeMap<String, i64>);

impl Written {
    /// Writes these keys.
    #[track_caller]
    pub fn write(&mut self, journey: &Journey, topic: &str, keys: Vec<String>, value: &str) {
        let now_ms = now_ms();
        keys.iter().for_each(|key| {
            self.0.entry(key.clone()).or_insert(now_ms);
        });
        kafka::produce(journey.bootstrap(), topic, keys.into_iter().map(|key| (Some(key), Some(value))));
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Asserts that nothing is missing that is not due, and that nothing is there that was not written. Returns how many had to be there.
    #[track_caller]
    fn assert_nothing_missing(&self, journey: &Journey, topic: &str, keep_ms: i64) -> usize {
        let table = table(&kafka::read_committed(journey.bootstrap(), topic));
        let now_ms = now_ms();
        assert!(table.keys().all(|key| self.0.contains_key(key)));
        let must = self.0.iter().filter(|(_, stored_ms)| now_ms < **stored_ms + keep_ms);
        must.inspect(|(key, _)| assert!(table.contains_key(*key), "{key} is not due and not there")).count()
    }
}

/// What the status says of one topic.
#[track_caller]
pub fn keep_ms(journey: &Journey, config: &crate::support::config::TestConfig, topic: &str) -> i64 {
    let status = journey.lethe(config).args(["status", "--json"]).finish();
    let status: serde_json::Value = serde_json::from_str(&status.assert_done().stdout).unwrap();
    let topics = status["topics"].as_array().unwrap();
    topics.iter().find(|t| t["topic"] == topic).unwrap()["tombstone_after_ms"].as_i64().unwrap()
}

/// What a reader that keeps a table has: upsert by key, delete on null.
pub fn table(records: &[Record]) -> BTreeMap<String, Vec<u8>> {
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
pub fn assert_only_due_ones_went(all: &[Record], keep_ms: i64) {
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

/// Two hundred keys of a round, every tenth of them a key of the round before.
pub fn keys(round: u32) -> Vec<String> {
    (0..200).map(|n| if n % 10 == 0 && round > 0 { format!("s{}/{n}", round - 1) } else { format!("s{round}/{n}") }).collect()
}

/// Writes the next few keys.
#[track_caller]
fn write(journey: &Journey, topic: &str, round: u32) {
    Written::default().write(journey, topic, keys(round), &format!("value {round}"));
}

#[test]
fn five_kills_and_a_broker_restart() {
    let journey = Journey::with_own_broker("five_kills_and_a_restart");
    let (config, topic) = prepared(&journey, "16s");
    let config = config.set("retain.instance", "one").set("kafka.session_timeout_ms", 6_000).set("retain.batch_records", 50);
    let keep = keep_ms(&journey, &config, &topic);
    let reader = kafka::Reader::start(journey.bootstrap(), &[&topic]);
    let downstream = TableConsumer::start(journey.bootstrap(), &topic, 2);
    let (mut written, mut had_to_be_there) = (Written::default(), 0);
    let mut retain: Option<Lethe> = None;
    for round in 0..6 {
        written.write(&journey, &topic, keys(round), &format!("value {round}"));
        let mut next = journey.lethe(&config).args(["retain"]).start();
        next.wait_until_ready();
        // Ready, it has aborted what the killed one left open, which would hide what follows.
        had_to_be_there += written.assert_nothing_missing(&journey, &topic, keep);
        let before = reader.seen();
        eventually("tombstones to be written", || (reader.seen() > before + 100).then_some(()));
        written.write(&journey, &topic, (0..20).map(|n| format!("fresh{round}/{n}")).collect(), "fresh");
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
    assert!(had_to_be_there > 0, "nothing was compared");
    let retain = retain.unwrap();
    eventually("everything to be gone", || {
        let left = kafka::read_uncommitted(journey.bootstrap(), &topic);
        left.iter().all(|r| r.key_text() == "~roll").then_some(())
    });
    written.write(&journey, &topic, keys(7), "last");
    retain.terminate_within(std::time::Duration::from_secs(10)).assert_done();
    let all = reader.finish().remove(&topic).unwrap();
    assert_only_due_ones_went(&all, keep);
    let now = table(&kafka::read_committed(journey.bootstrap(), &topic));
    assert_eq!(table(&all), now, "the table of a reader that kept up equals the topic");
    assert_eq!(downstream.finish(), now, "so does the one of another house's client");
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
        let now = now_ms();
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
