//! Fear: only our own clients understand us. Raw events from kcat and from Kafka's console producer, through `run`, read back by Python's
//! confluent-kafka and fastavro with the schema files: every row accounted for, keys, headers and partitions as designed.

use crate::support::journey::Journey;
use crate::support::outside::program;
use crate::support::python::read_back;
use crate::support::scene::Scene;
use lethe::generator::{Expectation, Generator};
use lethe::ops::clock::now_ms;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

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
