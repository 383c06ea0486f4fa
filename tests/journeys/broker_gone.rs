//! Fear: the broker goes away, and with it records, or the workers for good.
//!
//! Shown: a broker killed (SIGKILL) and restarted under load, after seconds and after longer than a request may take, costs nothing; the
//! same workers make progress within 30 s after it is back. A worker asked to stop while there is no broker ends within 10 s.

use crate::support::journey::Journey;
use crate::support::scene::Scene;
use crate::support::wait::{eventually, eventually_within, heavy};
use lethe::kafka::consumer::{Place, RawConsumer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_broker_that_comes_back_finds_the_workers_at_work() {
    let _turn = heavy();
    let scene = Scene::new(Journey::with_own_broker("a_broker_that_comes_back"), |config| config.set("run.batch_events", 1_000));
    let reader = scene.reader();
    let (mut a, mut b) = (scene.worker("a"), scene.worker("b"));
    a.wait_until_ready();
    b.wait_until_ready();
    for away in [Duration::from_secs(1), Duration::from_secs(18)] {
        let before = reader.seen();
        scene.produce(40_000);
        eventually("work under way", || (reader.seen() > before).then_some(()));
        scene.journey.broker().kill();
        std::thread::sleep(away);
        assert!(a.is_running() && b.is_running(), "a worker gave up: {}\n{}", a.stderr(), b.stderr());
        scene.journey.broker().restart();
        let (back, seen) = (Instant::now(), reader.seen());
        if scene.lag(scene.tenant()) > 0 {
            eventually_within(Duration::from_secs(30), "progress after the broker is back", || (reader.seen() > seen).then_some(()));
            println!("away for {away:?}: progress {:?} after it was back", back.elapsed());
        }
        scene.wait_until_done();
    }
    scene.check(reader);
    assert!(a.is_running() && b.is_running());

    scene.journey.broker().kill();
    let stopped = a.terminate_within(Duration::from_secs(10));
    println!("stopped without a broker: {}", stopped.status);
}

/// A broker that stops, or has just started, answers for a moment that it knows of topics and of no broker. librdkafka's clients then have nobody left
/// to ask, for good (its issue 5301; 86 of 90 without what Lethe does about it).
#[test]
fn clients_outlive_a_broker_that_knows_of_none() {
    let _turn = heavy();
    let scene = Scene::new(Journey::with_own_broker("clients_outlive"), |config| config);
    let (config, raw) = (scene.loaded().kafka, scene.raw_topic(scene.tenant()));
    let observe = || RawConsumer::observe(&config, "nobody", std::slice::from_ref(&raw), Arc::default()).unwrap();
    let places: Vec<Place> = (0..4).map(|partition| (0, partition)).collect();
    let asking: Vec<RawConsumer> = (0..25).map(|_| observe().with_patience(Duration::from_millis(300))).collect();
    // Those that only read hear of it by what they do not get.
    let reading: Vec<RawConsumer> = (0..25).map(|_| observe()).collect();
    for reader in &reading {
        reader.assign(&places.iter().map(|place| (*place, None)).collect::<Vec<_>>()).unwrap();
    }
    let (asks, reads) = (
        |client: &RawConsumer| client.ends(&places).is_ok(),
        |client: &RawConsumer| client.lend(Duration::from_millis(300), |_| ()).is_ok_and(|came| came),
    );
    let broker = scene.journey.broker();
    for round in 0..3 {
        let (back, left) = (AtomicBool::new(false), AtomicUsize::new(asking.len() + reading.len()));
        let outlive = |answers: &dyn Fn() -> bool| {
            while !back.load(Ordering::Relaxed) {
                answers();
            }
            let since = Instant::now();
            while !answers() && since.elapsed() < Duration::from_secs(30) {}
            if since.elapsed() < Duration::from_secs(30) {
                left.fetch_sub(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            let mut all = Vec::new();
            all.extend(asking.iter().map(|client| scope.spawn(|| outlive(&|| asks(client)))));
            all.extend(reading.iter().map(|client| scope.spawn(|| outlive(&|| reads(client)))));
            if round == 1 {
                broker.kill()
            } else {
                broker.stop()
            }
            broker.restart();
            back.store(true, Ordering::Relaxed);
            while !all.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                scene.produce(1);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        assert_eq!(left.into_inner(), 0, "clients without an answer in round {round}");
    }
}
