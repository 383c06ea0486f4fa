//! Fear: only our own clients understand us. Raw events from kcat and from Kafka's console producer, through `run`, read back by Python's
//! confluent-kafka and fastavro with the schema files: every row accounted for, keys, headers and partitions as designed.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::outside::program;
use crate::support::python::read_back;
use crate::support::scene::Scene;
use lethe::config::kafka::KafkaConfig;
use lethe::generator::{Expectation, Generator};
use lethe::kafka::consumer::Place;
use lethe::kafka::fetcher::{Fetcher, Most};
use lethe::model::record::RawRecords;
use lethe::ops::clock::now_ms;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROWS: u64 = 4_000;

/// Gives a producer its lines and waits for its end.
#[track_caller]
fn feed(mut producer: Command, lines: &[Vec<u8>]) {
    let mut producer = producer.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    for line in lines {
        input.write_all(line).and_then(|()| input.write_all(b"\n")).unwrap();
    }
    drop(input);
    assert!(producer.wait().unwrap().success());
}

#[test]
fn other_clients_produce_and_read() {
    let scene = Scene::new(Journey::new("other_clients_produce_and_read"), |config| config);
    let raw = scene.raw_topic(scene.tenant());
    let now_ms = now_ms();
    let generator = Generator::new(11, scene.tenant(), now_ms);
    let (mut for_kcat, mut for_java, mut let_in) = (Vec::new(), Vec::new(), 0);
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for i in 0..ROWS {
        let mut payload = Vec::new();
        match generator.generate(i, &mut payload).expectation {
            Expectation::Good | Expectation::Expired => let_in += 1,
            Expectation::Quarantined(reason, _) => *reasons.entry(reason.as_str()).or_default() += 1,
        }
        // Kafka's console producer reads text: what is not UTF-8 would reach the broker as something else.
        let lines = if i % 2 == 0 && std::str::from_utf8(&payload).is_ok() { &mut for_java } else { &mut for_kcat };
        lines.push(payload);
    }
    let mut kcat = program("kcat", "-V", "kcat");
    kcat.args(["-P", "-b", scene.bootstrap(), "-t", &raw]);
    feed(kcat, &for_kcat);
    let mut console = scene.journey.broker().tool("ConsoleProducer");
    console.args(["--bootstrap-server", scene.bootstrap(), "--topic", &raw]).stdout(Stdio::null());
    feed(console, &for_java);

    scene.journey.lethe(&scene.config).args(["run", "--until-caught-up"]).finish().assert_done();

    let topics = scene.output_topics();
    let read = read_back(scene.bootstrap(), scene.tenant(), &topics);
    for (reason, count) in &reasons {
        assert_eq!(read["reasons"][*reason], *count, "{reason}: {read}");
    }
    assert_eq!(reasons.values().sum::<u64>() + let_in, ROWS);
    // What another house's clients count is what the line makes of what another house's clients produced.
    let expected = scene.expected();
    assert_eq!(expected.rows, ROWS);
    for topic in &topics {
        let counted = read["counts"][topic.strip_prefix(&format!("{}.", scene.tenant())).unwrap()].as_u64().unwrap_or(0);
        assert_eq!(counted as usize, expected.due(topic), "{topic}: {read}");
    }
    assert!(read["counts"]["dest.meta"].as_u64() > Some(100), "{read}");
    assert!(read["facts"]["bot"].as_array().unwrap().len() > 1, "{read}");
}

/// Fear: what another house's client wrote is read otherwise than its own house reads it. All codecs by librdkafka and by the Java client, transactions that
/// were aborted among others, tombstones, times of the broker: our fetcher gives what librdkafka's consumer gives.
#[test]
fn what_others_write_is_fetched_as_others_read_it() {
    let journey = Journey::new("what_others_write_is_fetched_as_others_read_it");
    let topics = ["by_producer", "by_broker"].map(|name| format!("{}.{name}", journey.namespace()));
    journey.create_topic(&topics[0], 2, &[]);
    journey.create_topic(&topics[1], 2, &[("message.timestamp.type", "LogAppendTime")]);
    let send = |producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, name: &str, count: usize| {
        for i in 0..count {
            // Some that do not fit into what is unpacked at once, some of nothing, some that do not compress.
            let long = if i % 50 == 7 { 90_000 } else { i % 700 };
            let value: String = (0..long).map(|n| char::from(b'a' + (n * n * (i + 1) % 26) as u8)).collect();
            let value = format!("{name} {i} {value}");
            let key = format!("{i}");
            let mut record = BaseRecord::<str, str>::to(topic).partition((i % 2) as i32).key(&key);
            record.payload = (i % 60 != 11).then_some(&value);
            while let Err((_, back)) = producer.send(record) {
                std::thread::sleep(Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    };
    let lines: Vec<Vec<u8>> = (0..300).map(|i| format!("a line of Java's, {i}{}", "x".repeat(i)).into_bytes()).collect();
    for topic in &topics {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let mut settings = kafka::client(journey.bootstrap());
            settings.set("compression.type", codec).set("linger.ms", "20");
            send(&settings.create().unwrap(), topic, codec, 400);
            let mut console = journey.broker().tool("ConsoleProducer");
            console.args(["--bootstrap-server", journey.bootstrap(), "--topic", topic, "--compression-codec", codec]).stdout(Stdio::null());
            feed(console, &lines);
        }
        let writers = ["one", "two"].map(|id| kafka::transactional_producer(journey.bootstrap(), &format!("{topic}.{id}")));
        for turn in 0..6 {
            writers.iter().for_each(|writer| writer.begin_transaction().unwrap());
            for part in 0..3 {
                writers.iter().zip(["one", "two"]).for_each(|(writer, id)| send(writer, topic, &format!("{id}, {turn}.{part}"), 20));
            }
            for (i, writer) in writers.iter().enumerate() {
                let end = Duration::from_secs(30);
                if (turn + i) % 3 == 0 { writer.abort_transaction(end).unwrap() } else { writer.commit_transaction(end).unwrap() }
            }
        }
    }
    let mut due = BTreeMap::<Place, Vec<(i64, i64, Vec<u8>)>>::new();
    let mut ends = BTreeMap::<Place, i64>::new();
    for (source, topic) in (0..).zip(&topics) {
        for record in kafka::read_committed(journey.bootstrap(), topic) {
            let value = record.value.unwrap_or_default();
            due.entry((source, record.partition)).or_default().push((record.offset, record.timestamp_ms, value));
        }
        ends.extend((0..).zip(kafka::watermarks(journey.bootstrap(), topic)).map(|(partition, (_, end))| ((source, partition), end)));
    }
    assert!(due.len() == 4 && due.values().all(|records| records.len() > 1_000));

    let config = KafkaConfig { bootstrap_servers: journey.bootstrap().to_owned(), ..KafkaConfig::default() };
    let mut fetcher = Fetcher::start(&config, &topics).unwrap();
    for (from, rows, bytes) in [(None, 1_000, 1 << 20), (Some(0), 7, 1 << 20), (Some(333), 1_000, 1)] {
        fetcher.assign(&due.keys().map(|place| (*place, from)).collect());
        let (mut records, mut next, began) = (RawRecords::default(), BTreeMap::new(), Instant::now());
        while next != ends {
            assert!(began.elapsed() < Duration::from_secs(60), "{next:?} of {ends:?}");
            fetcher.read(Duration::from_millis(100), Most { rows, bytes }, || -1, &mut records, &mut next).unwrap();
        }
        let mut read = BTreeMap::<Place, Vec<(i64, i64, Vec<u8>)>>::new();
        for row in &records.rows {
            let value = row.payload.of(&records.bytes).to_vec();
            read.entry((row.source, row.partition)).or_default().push((row.offset, row.received_at_ms, value));
        }
        let due: BTreeMap<_, Vec<_>> =
            due.iter().map(|(place, all)| (*place, all.iter().filter(|r| r.0 >= from.unwrap_or(0)).cloned().collect())).collect();
        assert!(read == due, "from {from:?}");
    }
}
