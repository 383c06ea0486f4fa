//! Fear: what the disk has spoilt is passed over: rows are lost, an order is never heard of, records that cannot be read are taken to be gone.
//!
//! Shown: with a bit of a batch flipped in the broker's file, `run` goes up to the batch and not past it, the other tenant goes on, and a run that is to
//! end by itself ends there and says where; `export` hands out nothing that claims to be whole; nobody passes a directive that cannot be read. With the
//! bit flipped back everything goes on where it stood, and nothing is lost or doubled.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::scene::{Scene, busy};
use crate::support::wait::{eventually, heavy};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Where of a file: in its first batch, or in its last.
#[derive(Clone, Copy)]
enum Batch {
    First,
    Last,
}

/// Flips a bit of a batch of a topic with one partition, as it is stored.
#[track_caller]
fn flip_a_bit(scene: &Scene, topic: &str, of: Batch) {
    let path = scene.journey.broker().log_dir().join(format!("{topic}-0")).join("00000000000000000000.log");
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let at = match of {
        Batch::First => 100, // behind its header, which has 61 bytes
        Batch::Last => file.metadata().unwrap().len() - 1,
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn two_tenants(name: &str) -> (Scene, String, String) {
    let journey = Journey::with_own_broker(name);
    let (sick, well) = (journey.tenant("sick"), journey.tenant("well"));
    let config = journey
        .config()
        .tenant(&sick, busy)
        .tenant(&well, busy)
        .set("topics.partitions", 1)
        .set("sessions.group", format!("{name}-sessions"));
    (Scene::with(journey, config), sick, well)
}

#[test]
fn rows_wait_before_a_batch_that_cannot_be_read() {
    let _turn = heavy();
    let (scene, sick, well) = two_tenants("spoilt_rows");
    let raw = scene.raw_topic(&sick);
    let reader = scene.reader();
    scene.produce_to(&well, 2_000);
    scene.produce_to(&sick, 1_000);
    scene.produce_to(&sick, 500);
    flip_a_bit(&scene, &raw, Batch::Last);

    let run = scene.journey.lethe(&scene.config).args(["run", "--until-caught-up"]).finish();
    run.assert_code(1);
    let why = format!("rows wait that nobody may process now: topic {raw} partition 0 cannot be read");
    assert!(run.stderr.contains(&why), "{}", run.stderr);
    assert_eq!(scene.lag(&well), 0);
    let left = scene.lag(&sick);
    assert!((1..=500).contains(&left), "all of the sick tenant up to the batch that is spoilt: {left} rows wait");
    let place = format!("topic {raw} partition 0 offset {}: a batch cannot be read", 1_500 - left);
    assert!(run.stderr.contains(&place), "no word of {place}: {}", run.stderr);

    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    scene.produce_to(&well, 1_000);
    scene.wait_until_committed(&well);
    eventually("an error in the log", || worker.stderr().contains(&place).then_some(()));
    assert_eq!(scene.lag(&sick), left);
    flip_a_bit(&scene, &raw, Batch::Last);
    scene.produce_to(&sick, 500);
    scene.wait_until_done();
    scene.check_but_places(reader);
    assert!(worker.is_running());
}

#[test]
fn what_cannot_be_read_is_not_taken_to_be_gone_or_never_said() {
    let _turn = heavy();
    let (scene, sick, _) = two_tenants("spoilt_records");
    let call = |arguments: &[&str]| scene.journey.lethe(&scene.config).args(arguments).finish();
    let events = format!("{sick}.events");
    call(&["topics", "apply", "--missing-only"]).assert_done();
    for _ in 0..2 {
        scene.produce_to(&sick, 500);
        call(&["run", "--until-caught-up"]).assert_done();
    }
    flip_a_bit(&scene, &events, Batch::First);
    let export = |to: &str| call(&["export", "--tenant", &sick, "--format", "jsonl", "--output", to]);
    let refused = export("spoilt");
    refused.assert_code(1);
    assert!(refused.stderr.contains(&format!("read {events}: a batch cannot be read")), "{}", refused.stderr);
    let sessions = scene.journey.lethe(&scene.config).args(["sessions"]).start();
    eventually("sessions to say so", || sessions.stderr().contains("a batch cannot be read").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    let lag = || kafka::lag(scene.bootstrap(), "spoilt_records-sessions", &events);
    assert!(lag() > 0, "sessions went past what they could not read");
    flip_a_bit(&scene, &events, Batch::First);
    eventually("sessions to go on", || (lag() == 0).then_some(()));
    export("whole").assert_done();

    let directives = format!("{}.directives", scene.journey.namespace());
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    call(&["pause", "--tenant", &sick]).assert_done();
    worker.terminate_within(Duration::from_secs(10)).assert_done();
    flip_a_bit(&scene, &directives, Batch::Last);
    scene.produce_to(&sick, 100);
    for (arguments, code) in [(["status"].as_slice(), 0), (&["run", "--until-caught-up"], 1)] {
        let told = call(arguments);
        told.assert_code(code);
        assert!(told.stderr.contains(&format!("topic {directives}: a batch cannot be read")), "{arguments:?}: {}", told.stderr);
    }
    assert_eq!(scene.lag(&sick), 100, "paused by a directive that could not be read");
    flip_a_bit(&scene, &directives, Batch::Last);
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    call(&["resume", "--tenant", &sick]).assert_done();
    scene.wait_until_committed(&sick);
    assert!(worker.is_running());
}
