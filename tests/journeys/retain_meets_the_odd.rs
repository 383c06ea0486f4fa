//! Fear: what is out of the ordinary stays for ever, or goes unseen. Rewritten, replayed and aborted records, a cursor whose offsets are forgotten, a
//! transaction that hangs, a cleaner that does not come.

use crate::support::config::TestTenant;
use crate::support::journey::Journey;
use crate::support::kafka::{self, Reader};
use crate::support::wait::eventually;
use crate::window_elapsed::{Writer, prepared};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// A producer with an open transaction that holds one stored record.
#[track_caller]
fn left_open(journey: &Journey, topic: &str, partition: i32, key: &str, value: &str) -> BaseProducer {
    let mut settings: ClientConfig = kafka::client(journey.bootstrap());
    settings.set("transactional.id", format!("{topic}-open")).set("transaction.timeout.ms", "120000").set("compression.type", "none");
    let producer: BaseProducer = settings.create().unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::to(topic).key(key).payload(value).partition(partition)).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    producer
}

#[test]
fn rewritten_replayed_aborted_and_forgotten() {
    let journey = Journey::new("rewritten_replayed_aborted");
    let (config, topic) = prepared(&journey, "8s");
    let files_with = |needle: &str| kafka::files_with(journey.broker(), &topic, needle.as_bytes());
    let reader = Reader::start(journey.bootstrap(), &[&topic]);
    let writer = Writer::new(journey.bootstrap(), &topic);
    let mut retain = journey.lethe(&config).args(["retain"]).start();
    retain.wait_until_ready();

    // Partition 1 sees nothing but an aborted transaction; partition 0 a key with two versions.
    left_open(&journey, &topic, 1, "subject-aborted/1", "MARKED-ABORTED").abort_transaction(Duration::from_secs(30)).unwrap();
    writer.put(0, "subject-twice/1", "MARKED-FIRST");
    writer.put(0, "subject-twice/1", "MARKED-SECOND");
    assert!(!files_with("MARKED-SECOND").is_empty());
    let tombstones = |n: f64| {
        eventually("its tombstone", || (retain.metrics().sum("lethe_retention_tombstones_total", &[("topic", &topic)]) >= n).then_some(()));
    };
    tombstones(1.0);
    // An event that is produced again lands on the key of the first time.
    writer.put(0, "subject-twice/1", "MARKED-REPLAYED");
    tombstones(3.0);
    for needle in ["MARKED-ABORTED", "subject-aborted", "MARKED", "subject-"] {
        eventually(&format!("{needle} to go"), || files_with(needle).is_empty().then_some(()));
    }
    retain.terminate_within(SOON).assert_done();

    // Another group is a cursor without offsets: it reads everything again, and ends as clean.
    writer.put(0, "subject-later/1", "MARKED-LATER");
    let forgotten = config.set("retain.group", format!("{}-forgotten", journey.namespace()));
    let mut retain = journey.lethe(&forgotten).args(["retain"]).start();
    retain.wait_until_ready();
    eventually("the later one to go", || (files_with("MARKED").is_empty() && files_with("subject-").is_empty()).then_some(()));
    retain.terminate_within(SOON).assert_done();
    let all = reader.finish().remove(&topic).unwrap();
    assert!(all.iter().all(|r| !r.key_text().contains("aborted")), "what was aborted gets no tombstone: nobody has read it");
    assert_eq!(all.iter().filter(|r| r.value.is_some()).count(), 4);
}

#[test]
fn a_hanging_transaction_and_a_dead_cleaner_show_as_overdue() {
    let journey = Journey::new("a_hanging_transaction");
    let acme = journey.tenant("a");
    let both = |t: TestTenant| t.set("windows.events", "8s").set("windows.conversions", "8s");
    let config = journey.config().set("topics.partitions", 2).tenant(&acme, both);
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    let (events, conversions) = (format!("{acme}.events"), format!("{acme}.conversions"));
    let mut retain = journey.lethe(&config).args(["retain"]).start();
    retain.wait_until_ready();
    let overdue = |topic: &str| retain.metrics().sum("lethe_retention_overdue_seconds", &[("topic", topic)]);
    let told = |topic: &str, partition: i32, cause: &str| {
        let place = [format!("topic=\"{topic}\""), format!("partition={partition} "), cause.to_owned()];
        retain
            .stderr()
            .lines()
            .any(|line| line.contains("a window is overdue") && place.iter().all(|word| line.contains(word)))
            .then_some(())
    };

    // The partitions are known to be empty before anything is written.
    eventually("some looks", || (retain.metrics().sum("lethe_retention_look_seconds_count", &[]) >= 3.0).then_some(()));

    // In partition 1 of one topic a transaction is left open; the cleaner does not come to the other any more.
    let hanging = left_open(&journey, &events, 1, "subject-open/1", "open");
    Writer::new(journey.bootstrap(), &events).put(1, "subject-behind/1", "behind");
    let admin: AdminClient<DefaultClientContext> = kafka::client(journey.bootstrap()).create().unwrap();
    let never = AlterConfig::new(ResourceSpecifier::Topic(&conversions)).set("cleanup.policy", "delete").set("retention.ms", "-1");
    let never = never.set("message.timestamp.type", "LogAppendTime");
    kafka::block_on(admin.alter_configs([&never], &AdminOptions::new())).unwrap().remove(0).unwrap();
    Writer::new(journey.bootstrap(), &conversions).put(0, "subject-uncleaned/1", "uncleaned");

    eventually("the hanging transaction to show", || told(&events, 1, "a transaction hanging before it"));
    eventually("the dead cleaner to show", || told(&conversions, 0, "is the log cleaner alive"));
    eventually("both to be overdue", || (overdue(&events) > 0.0 && overdue(&conversions) > 0.0).then_some(()));
    let status = journey.lethe(&config).args(["status"]).finish();
    assert_eq!(status.assert_done().stdout.matches("OVERDUE by").count(), 2, "{}", status.stdout);

    // Mended, both catch up.
    hanging.abort_transaction(Duration::from_secs(30)).unwrap();
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    eventually("both to be in time again", || (overdue(&events) + overdue(&conversions) == 0.0).then_some(()));
    for topic in [&events, &conversions] {
        eventually("the bytes to go", || kafka::files_with(journey.broker(), topic, b"subject-").is_empty().then_some(()));
    }
    retain.terminate_within(SOON).assert_done();
}
