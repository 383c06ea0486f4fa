//! Fear: with many partitions records get lost between batches, or each of them costs more and more.
//!
//! Shown: a reader finds exactly what the line makes of the rows, whatever the number of partitions (where each goes, the journeys with four of them show). What a row costs is a measurement, and printed:
//! `LETHE_PARTITIONS=4,40,400 LETHE_PARTITIONS_EVENTS=500000 cargo test --release --test journeys partitions_are_many -- --nocapture --test-threads 1`

use crate::support::journey::Journey;
use crate::support::lethe::cpu_ms;
use crate::support::scene::{Scene, rows};
use crate::support::wait::eventually;
use std::time::Duration;

fn numbers(name: &str, default: &str) -> Vec<u64> {
    let given = std::env::var(name).unwrap_or_default();
    let text = if given.is_empty() { default } else { &given };
    text.split(',').map(|n| n.parse().unwrap()).collect()
}

#[test]
fn many_partitions_lose_nothing() {
    let events = numbers("LETHE_PARTITIONS_EVENTS", "3000")[0];
    for partitions in numbers("LETHE_PARTITIONS", "1,24") {
        let journey = Journey::new(&format!("partitions_{partitions}"));
        let scene = Scene::new(journey, |config| config.set("topics.partitions", partitions as i64));
        let reader = scene.reader();
        scene.produce(events);
        let mut worker = scene.worker("one");
        worker.wait_until_ready();
        let (done, before) = (rows(&worker.metrics()), cpu_ms(worker.id()));
        eventually("every row to be counted", || (rows(&worker.metrics()) >= events).then_some(()));
        let (count, cpu) = ((events - done).max(1), cpu_ms(worker.id()) - before);
        println!("{partitions} partitions a topic: {:.1} µs of CPU a row, over {count} rows", cpu * 1_000.0 / count as f64);
        scene.wait_until_done();
        scene.check_but_places(reader);
        worker.terminate_within(Duration::from_secs(10)).assert_done();
    }
}
