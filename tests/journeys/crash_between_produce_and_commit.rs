//! Fear: a process that dies in the middle loses records, or writes them twice.
//!
//! Shown: with two processes, one of them killed (SIGKILL) five times at random moments with rows to go and started again, every output topic
//! holds exactly the records that the library's own line makes of the raw topic: none missing, none twice, values and partitions the same,
//! rows of a raw partition in their order; and a reader of committed records that ran all the time saw just these. Without kills the
//! counts of all processes add up to the last row.

use crate::support::journey::Journey;
use crate::support::metrics::Metrics;
use crate::support::moments::Moments;
use crate::support::scene::{Scene, rows};
use crate::support::wait::{eventually, heavy};
use std::time::Duration;

/// How many events: `LETHE_JOURNEY_EVENTS`, by default few enough for every run of the tests.
fn events() -> u64 {
    std::env::var("LETHE_JOURNEY_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000)
}

#[test]
fn killed_five_times_and_nothing_is_lost_or_doubled() {
    let _turn = heavy();
    let (mut moments, events) = (Moments::new(), events());
    let scene = Scene::new(Journey::new("killed_five_times"), |config| {
        // Small batches, so that the load lasts and a kill falls into it.
        config.set("run.batch_events", (events / 400).max(100) as i64)
    });
    let reader = scene.reader();
    let mut kept = scene.worker("a");
    kept.wait_until_ready();

    let portion = events / 6;
    let (mut counted, mut producing, mut lags) = (0, events - 5 * portion, Vec::new());
    for _ in 0..5 {
        let mut victim = scene.worker("b");
        victim.wait_until_ready();
        // Both wait while their work is laid out, so that it is not done before the kill.
        kept.freeze();
        victim.freeze();
        scene.produce(producing);
        producing = portion;
        victim.thaw();
        kept.thaw();
        let more = rows(&victim.metrics()) + 1 + moments.below(portion / 10);
        let mut last = Metrics::default();
        eventually("the victim to have work", || {
            last = victim.metrics();
            (rows(&last) >= more).then_some(())
        });
        std::thread::sleep(Duration::from_millis(moments.below(100)));
        kept.freeze();
        victim.kill();
        lags.push(scene.lag_at_once(scene.tenant()));
        kept.thaw();
        counted += rows(&last);
    }
    println!("killed with {lags:?} rows to go");
    assert!(lags.iter().all(|lag| *lag > 0), "a victim had nothing to do when it was killed: {lags:?}");
    let mut last = scene.worker("b");
    last.wait_until_ready();
    scene.produce(producing);
    scene.wait_until_done();
    counted += rows(&kept.metrics()) + rows(&last.metrics());

    let expected = scene.check(reader);
    assert_eq!(expected.rows, events);
    for topic in ["events", "conversions", "network", "dest.meta", "dest.google_ads", "quarantine"] {
        assert!(expected.names(&format!("{}.{topic}", scene.tenant())), "nothing was shown of {topic}");
    }
    // What was committed between a victim's last scrape and its death is in no count.
    assert!(counted <= events && counted > events / 2, "{counted} of {events} rows are in the last scrapes");
    println!("{counted} of {events} rows are in the last scrapes");
    assert!(kept.is_running() && last.is_running());
}

#[test]
fn every_row_is_counted_in_one_outcome() {
    let scene = Scene::new(Journey::new("every_row_is_counted"), |config| config);
    let reader = scene.reader();
    let (mut a, mut b) = (scene.worker("a"), scene.worker("b"));
    a.wait_until_ready();
    b.wait_until_ready();
    scene.produce(20_000);
    scene.wait_until_done();
    let scrapes = [a.metrics(), b.metrics()];
    let expected = scene.check(reader);
    expected.assert_counted(&scrapes, 0, scene.tenant());
    assert_eq!(scrapes.iter().map(rows).sum::<u64>(), 20_000);
}
