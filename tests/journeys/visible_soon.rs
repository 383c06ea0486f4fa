//! Fear: what is appended to a raw topic is seen late downstream, long before the machine is busy.
//!
//! Shown: every row that was written is read by a reader of committed records, who takes the time since its raw record was appended. How long that is at
//! a rate is a measurement, and printed, once for all and once without the first half, in which a broker that has just started warms up: `LETHE_LATENCY=50000 cargo test --release --test journeys visible_soon -- --nocapture --test-threads 1`
//! (events a second, for 40 s; by default 500, for 2 s). `LETHE_LATENCY_WAIT=250ms` sets `run.batch_wait`.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::scene::{Scene, busy, rows};
use crate::support::wait::{PATIENCE, Stop, eventually};
use lethe::generator::Generator;
use lethe::ops::clock::now_ms;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Events that are sent again and again: making one costs more than processing it.
const POOL: u64 = 20_000;
/// Sent so often.
const EVERY: Duration = Duration::from_millis(5);

/// The next number of an Avro datum: zigzag, seven bits a byte.
fn number(bytes: &mut &[u8]) -> i64 {
    let length = bytes.iter().position(|b| b & 0x80 == 0).unwrap() + 1;
    let (these, rest) = bytes.split_at(length);
    *bytes = rest;
    let whole = these.iter().rev().fold(0u64, |n, b| n << 7 | u64::from(b & 0x7f));
    (whole >> 1) as i64 ^ -((whole & 1) as i64)
}

fn skip_text(bytes: &mut &[u8]) {
    let length = number(bytes) as usize;
    *bytes = &bytes[length..];
}

/// When the raw record of this one was appended. Units: ms since the epoch. By `schemas/record/record.avsc`; a general reader would cost more than the
/// line that is measured.
fn received_at(value: &[u8]) -> i64 {
    let mut rest = &value[10..]; // single-object encoding: a marker and the schema's fingerprint
    skip_text(&mut rest); // event_id
    skip_text(&mut rest); // category
    if number(&mut rest) == 1 {
        skip_text(&mut rest); // event_name
    }
    number(&mut rest); // occurred_at
    number(&mut rest)
}

/// Milliseconds from the append of the raw record to the read, of each record of the topic, until all was written and read.
fn read(bootstrap: &str, topic: &str, is_over: &AtomicBool) -> Vec<i64> {
    let mut settings = kafka::client(bootstrap);
    settings.set("group.id", "none").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = settings.create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in kafka::partitions_of(bootstrap, topic) {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut waits = Vec::new();
    loop {
        match consumer.poll(Duration::from_millis(500)) {
            Some(message) => {
                let message = message.unwrap();
                waits.push(now_ms() - received_at(message.payload().unwrap()));
            }
            None if is_over.load(Ordering::Relaxed) => return waits,
            None => {}
        }
    }
}

/// Sends the pool's events at this rate, and returns how many.
fn send(scene: &Scene, rate: u64, long: Duration) -> u64 {
    let generator = Generator::new(7, scene.tenant(), now_ms());
    let pool: Vec<(Vec<u8>, Vec<u8>)> = (0..POOL)
        .map(|i| {
            let mut payload = Vec::with_capacity(1_024);
            let key = generator.generate(i, &mut payload).key.as_bytes().to_vec();
            (key, payload)
        })
        .collect();
    let mut settings = kafka::client(scene.bootstrap());
    settings.set("compression.type", "lz4").set("linger.ms", "5").set("partitioner", "murmur2_random");
    let producer: ThreadedProducer<DefaultProducerContext> = settings.create().unwrap();
    let (topic, begun, mut sent) = (scene.raw_topic(scene.tenant()), Instant::now(), 0);
    while begun.elapsed() < long {
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        for n in sent..due {
            let (key, payload) = &pool[(n % POOL) as usize];
            producer.send(BaseRecord::to(&topic).key(key.as_slice()).payload(payload.as_slice())).map_err(|(e, _)| e).unwrap();
        }
        sent = due.max(sent);
        std::thread::sleep(EVERY);
    }
    producer.flush(PATIENCE).unwrap();
    sent
}

/// Prints how long records took to be visible. Units: ms.
fn tell(which: &str, mut waits: Vec<i64>) {
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    println!("{which}: visible after {} ms (median), {} ms (p99), {} ms (at most), {} records", at(0.5), at(0.99), at(1.0), waits.len());
}

#[test]
fn what_is_appended_is_soon_visible() {
    let wish = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let rate = wish("LETHE_LATENCY").map(|text| text.parse().unwrap());
    let (rate, long) = (rate.unwrap_or(500), Duration::from_secs(if rate.is_some() { 40 } else { 2 }));
    let journey = Journey::new("visible_soon");
    let tenant = journey.tenant("acme");
    let config = journey.config().tenant(&tenant, busy);
    let config = match wish("LETHE_LATENCY_WAIT") {
        Some(wait) => config.set("run.batch_wait", wait),
        None => config,
    };
    let scene = Scene::with(journey, config);
    let mut worker = scene.worker("one");
    worker.wait_until_ready();
    let (is_over, topic) = (AtomicBool::new(false), format!("{tenant}.events"));
    let mut waits = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(scene.bootstrap(), &topic, &is_over));
        let stop = Stop(&is_over);
        let sent = send(&scene, rate, long);
        eventually("the rows to be counted", || (rows(&worker.metrics()) >= sent).then_some(()));
        drop(stop);
        println!("{sent} events in {long:?}");
        reader.join().unwrap()
    });
    assert_eq!(waits.len(), kafka::read_committed(scene.bootstrap(), &topic).len(), "some were not read in time");
    assert!(!waits.is_empty() && waits.iter().all(|ms| *ms >= 0), "a record was read before its row was appended");
    let warm = waits.split_off(waits.len() / 2);
    tell("the second half", warm.clone());
    tell("all", [waits, warm].concat());
}
