//! Fear: the ground itself. Does the broker keep what the design counts on: transactions, metadata of offsets, data across a SIGKILL?

use crate::support::journey::Journey;
use crate::support::kafka::{self, Reader};
use crate::support::python::python;
use crate::support::wait::{PATIENCE, eventually};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn what_is_produced_is_read_back() {
    let journey = Journey::new("what_is_produced_is_read_back");
    let topic = format!("{}.raw.web", journey.tenant("acme"));
    journey.create_topic(&topic, 4, &[("message.timestamp.type", "LogAppendTime")]);
    let reader = Reader::start(journey.bootstrap(), &[&topic]);

    let events = (0..1_000).map(|n| (Some(format!("k{}", n % 10)), Some(format!("v{n:03}"))));
    kafka::produce(journey.bootstrap(), &topic, events);
    eventually("the reader to see them", || (reader.seen() >= 1_000).then_some(()));

    let beside = reader.finish().remove(&topic).unwrap();
    let mut after = kafka::read_committed(journey.bootstrap(), &topic);
    assert_eq!(after.len(), 1_000);
    for key in (0..10).map(|n| format!("k{n}")) {
        let of_key: Vec<_> = after.iter().filter(|record| record.key_text() == key).collect();
        assert_eq!(of_key.len(), 100);
        assert!(of_key.is_sorted_by_key(|record| (record.partition, record.value.clone())), "a key has one partition and its order");
    }
    after.sort_by_key(|record| (record.partition, record.offset));
    let mut beside = beside;
    beside.sort_by_key(|record| (record.partition, record.offset));
    assert_eq!(beside, after);
}

#[test]
fn offset_metadata_of_a_transaction_is_kept_under_both_group_protocols() {
    for protocol in ["classic", "consumer"] {
        let journey = Journey::new(&format!("offset_metadata_{protocol}"));
        let (bootstrap, topic, group) = (journey.bootstrap(), format!("{}.in", journey.namespace()), format!("{}-g", journey.namespace()));
        let output = format!("{}.out", journey.namespace());
        journey.create_topic(&topic, 1, &[]);
        journey.create_topic(&output, 1, &[]);

        let mut config = kafka::client(bootstrap);
        config.set("group.id", &group).set("group.protocol", protocol).set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[&topic]).unwrap();
        eventually("an assignment", || {
            let _ = consumer.poll(Duration::from_millis(50));
            consumer.assignment().is_ok_and(|assigned| assigned.count() == 1).then_some(())
        });

        let producer = kafka::transactional_producer(bootstrap, &format!("{}-t", journey.namespace()));
        let commit = |next: i64, metadata: &str, records: usize| {
            producer.begin_transaction().unwrap();
            for _ in 0..records {
                producer.send(BaseRecord::<[u8], str>::to(&output).payload("x")).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(PATIENCE).unwrap(); // an abort drops what has not left the client
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&topic, 0, Offset::Offset(next)).unwrap();
            offsets.elements()[0].set_metadata(metadata);
            producer.send_offsets_to_transaction(&offsets, &consumer.group_metadata().unwrap(), PATIENCE).unwrap();
        };

        commit(7, "d=41", 3);
        producer.commit_transaction(PATIENCE).unwrap();
        let read = |offset, metadata: &str| {
            let expected = kafka::Committed { partition: 0, offset, metadata: metadata.to_owned() };
            assert_eq!(kafka::committed(bootstrap, &group, &topic), [expected], "group.protocol={protocol}");
        };
        read(Some(7), "d=41");

        commit(9, "d=42", 2);
        producer.abort_transaction(PATIENCE).unwrap();
        read(Some(7), "d=41");

        commit(7, "d=43", 0); // offsets only: how an idle partition tells that it has seen a directive
        producer.commit_transaction(PATIENCE).unwrap();
        read(Some(7), "d=43");

        assert_eq!(kafka::read_committed(bootstrap, &output).len(), 3, "the aborted two are not there");
        assert_eq!(kafka::read_uncommitted(bootstrap, &output).len(), 5);
    }
}

#[test]
fn an_open_transaction_is_waited_for() {
    let journey = Journey::new("an_open_transaction_is_waited_for");
    let (bootstrap, topic) = (journey.bootstrap(), format!("{}.out", journey.namespace()));
    journey.create_topic(&topic, 1, &[]);
    let producer = kafka::transactional_producer(bootstrap, journey.namespace());
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<[u8], str>::to(&topic).payload("x")).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();

    assert_eq!(kafka::watermarks(bootstrap, &topic), [(0, 1)]);
    assert_eq!(kafka::lag(bootstrap, journey.namespace(), &topic), 1);
    assert!(kafka::read_committed(bootstrap, &topic).is_empty());
    assert_eq!(kafka::read_uncommitted(bootstrap, &topic).len(), 1);
    std::mem::forget(producer); // its owner is gone without a word: the broker aborts it after its timeout
    kafka::wait_until_stable(bootstrap, &topic);
    assert!(kafka::watermarks(bootstrap, &topic)[0].1 > 1, "the mark of the abort stands behind the record");
    assert!(kafka::read_committed(bootstrap, &topic).is_empty());
}

#[test]
fn the_binary_is_at_hand() {
    let journey = Journey::new("the_binary_is_at_hand");
    let config = journey.config().tenant(&journey.tenant("acme"), |tenant| tenant);
    journey.lethe(&config).args(["--help"]).finish().assert_done();
}

#[test]
fn kafkas_own_producer_is_at_hand() {
    let journey = Journey::new("kafkas_own_producer_is_at_hand");
    let topic = format!("{}.raw", journey.namespace());
    journey.create_topic(&topic, 1, &[]);
    let mut tool = journey.broker().tool("ConsoleProducer");
    tool.args(["--bootstrap-server", journey.bootstrap(), "--topic", &topic]).stdin(Stdio::piped());
    let mut producer = tool.spawn().unwrap();
    producer.stdin.take().unwrap().write_all(b"{\"n\":1}\n{\"n\":2}\n").unwrap();
    assert!(producer.wait().unwrap().success());
    let read: Vec<_> = kafka::read_committed(journey.bootstrap(), &topic).iter().map(|record| record.json()["n"].clone()).collect();
    assert_eq!(read, [1, 2]);
}

#[test]
fn a_killed_broker_comes_back_with_its_data() {
    let journey = Journey::with_own_broker("a_killed_broker_comes_back");
    let bootstrap = journey.bootstrap();
    journey.create_topic("kept", 2, &[]);
    let batch = |from: u32| (from..from + 500).map(|n| (Some(n.to_string()), Some("v")));
    kafka::produce(bootstrap, "kept", batch(0));
    let reader = Reader::start(bootstrap, &["kept"]);
    eventually("the first half", || (reader.seen() == 500).then_some(()));

    journey.broker().kill();
    assert!(!kafka::answers(bootstrap, Duration::from_secs(1)), "nobody answers for a killed broker");
    journey.broker().restart();

    kafka::produce(bootstrap, "kept", batch(500));
    let mut keys: Vec<u32> = reader.finish()["kept"].iter().map(|record| record.key_text().parse().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..1_000).collect::<Vec<_>>(), "the reader went on where it was");
}

#[test]
fn deleted_bytes_can_be_seen_to_go() {
    let journey = Journey::new("deleted_bytes_can_be_seen_to_go");
    let (bootstrap, topic) = (journey.bootstrap(), format!("{}.compacted", journey.namespace()));
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1000"),
        ("max.compaction.lag.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "1000"),
    ];
    journey.create_topic(&topic, 1, &settings);
    let put = |key: &str, value: Option<&str>| produce_plain(bootstrap, &topic, key, value);
    put("subject/1", Some("MARKED-VALUE"));
    assert!(!kafka::files_with(journey.broker(), &topic, b"MARKED-VALUE").is_empty(), "it is there at first");
    put("subject/1", None);
    eventually("the value and then the key to go from the disk", || {
        put("~roll", None); // an active segment is never cleaned: something must be appended for it to roll
        let value = kafka::files_with(journey.broker(), &topic, b"MARKED-VALUE");
        let key = kafka::files_with(journey.broker(), &topic, b"subject/1");
        (value.is_empty() && key.is_empty()).then_some(())
    });
}

/// One record, uncompressed, so that its bytes stand in the file as they are.
fn produce_plain(bootstrap: &str, topic: &str, key: &str, value: Option<&str>) {
    let producer: rdkafka::producer::BaseProducer = kafka::client(bootstrap).set("compression.type", "none").create().unwrap();
    let mut record = BaseRecord::<str, str>::to(topic).key(key);
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

#[test]
fn a_user_without_an_acl_may_nothing() {
    let journey = Journey::with_own_broker("a_user_without_an_acl");
    journey.create_topic("granted", 1, &[]);
    journey.create_topic("closed", 1, &[]);
    journey.broker().acls(&["--add", "--allow-principal", "User:lethe", "--operation", "Read", "--topic", "granted"]);
    let mut config = kafka::client(journey.broker().sasl_bootstrap());
    config.set("security.protocol", "sasl_plaintext").set("sasl.mechanisms", "PLAIN");
    config.set("sasl.username", "lethe").set("sasl.password", "lethe-password");
    let consumer: BaseConsumer = config.create().unwrap();
    let error_of = |topic: &str| {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        metadata.topics()[0].error()
    };
    eventually("the grant to hold", || error_of("granted").is_none().then_some(()));
    assert!(error_of("closed").is_some());
}

#[test]
fn clients_of_other_houses_are_at_hand() {
    let asked = Command::new(python()).args(["-c", "import confluent_kafka, fastavro; print('here')"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "here", "{}", String::from_utf8_lossy(&asked.stderr));
}
