//! Fear: one tenant's broken topic stops everybody, or its records get lost or doubled until somebody mends it.
//!
//! Shown: a tenant one of whose topics is missing at start, deleted under load, or may not be written, stands still alone: an error in the
//! log, 1 in `lethe_tenant_paused`; the other goes on. Once mended it goes on by itself, and nothing of either is lost or doubled.

use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Lethe;
use crate::support::scene::{Scene, busy};
use crate::support::wait::{eventually, heavy};

fn two_tenants(journey: Journey, change: impl FnOnce(TestConfig) -> TestConfig) -> Scene {
    let (sick, well) = (journey.tenant("sick"), journey.tenant("well"));
    let config = journey.config().tenant(&sick, busy).tenant(&well, busy);
    Scene::with(journey, change(config))
}

#[track_caller]
fn wait_until_paused(worker: &Lethe, tenant: &str, paused: f64) {
    eventually(&format!("{tenant} paused: {paused}"), || {
        let labels = [("tenant", tenant), ("cause", "topic")];
        (worker.metrics().sum("lethe_tenant_paused", &labels) == paused).then_some(())
    });
}

#[test]
fn deleted_under_load_and_made_again() {
    let _turn = heavy();
    let scene = two_tenants(Journey::new("deleted_under_load"), |config| config.set("run.batch_events", 1_000));
    let (sick, well) = (scene.tenants[0].clone(), scene.tenants[1].clone());
    let events = format!("{sick}.events");
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    scene.produce_to(&sick, 5_000);
    scene.produce_to(&well, 5_000);
    scene.wait_until_done();
    // What was in the topic goes with it: the comparison is of what comes after.
    let before: Vec<Vec<kafka::Record>> = scene.output_topics().iter().map(|t| kafka::read_committed(scene.bootstrap(), t)).collect();
    kafka::delete_topic(scene.bootstrap(), &events);
    scene.produce_to(&sick, 5_000);
    wait_until_paused(&worker, &sick, 1.0);
    assert!(worker.stderr().lines().any(|line| line.contains("ERROR") && line.contains(&sick)), "it is not said loudly");
    scene.produce_to(&well, 5_000);
    scene.wait_until_committed(&well);
    assert!(scene.lag(&sick) > 0, "nothing of the sick tenant may be committed");

    scene.create_topics(|name| name == events);
    scene.wait_until_committed(&sick);
    wait_until_paused(&worker, &sick, 0.0);
    scene.produce_to(&sick, 1_000);
    scene.wait_until_committed(&sick);
    let topics = scene.output_topics();
    let missing_part = before[topics.iter().position(|t| *t == events).unwrap()].len();
    let expected = scene.expected();
    for topic in &topics {
        let seen = kafka::read_committed(scene.bootstrap(), topic).len();
        let gone = if *topic == events { missing_part } else { 0 };
        assert_eq!(seen + gone, expected.due(topic), "{topic}");
    }
    assert!(worker.is_running());
}

#[test]
fn missing_at_start_and_made_later() {
    let scene = two_tenants(Journey::new("missing_at_start"), |config| config);
    let (sick, well) = (scene.tenants[0].clone(), scene.tenants[1].clone());
    let events = format!("{sick}.events");
    kafka::delete_topic(scene.bootstrap(), &events);
    scene.produce_to(&sick, 2_000);
    scene.produce_to(&well, 2_000);
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    scene.wait_until_committed(&well);
    wait_until_paused(&worker, &sick, 1.0);
    assert!(worker.stderr().contains(&events), "the missing topic is not named");
    assert_eq!(scene.lag(&sick), 2_000);
    scene.create_topics(|name| name == events);
    let reader = scene.reader();
    scene.wait_until_committed(&sick);
    wait_until_paused(&worker, &sick, 0.0);
    scene.check(reader);
    assert!(worker.is_running());
}
