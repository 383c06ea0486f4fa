//! Fear: the broker goes away, and with it records, or the workers for good.
//!
//! Shown: a broker killed (SIGKILL) and restarted under load, after seconds and after longer than a request may take, costs nothing; the
//! same workers make progress within 30 s after it is back. A worker asked to stop while there is no broker ends within 10 s.

use crate::support::journey::Journey;
use crate::support::scene::Scene;
use crate::support::wait::{eventually, eventually_within, heavy};
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
