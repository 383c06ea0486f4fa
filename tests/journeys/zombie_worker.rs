//! Fear: a worker that slept while others took its place wakes up and writes everything again.
//!
//! Shown: a worker is frozen (SIGSTOP) under load until its session and its transaction have timed out and the other has done its work;
//! thawed (SIGCONT), it is fenced: nothing is lost or doubled, and both go on. This three times, as where it was caught is chance.

use crate::support::journey::Journey;
use crate::support::scene::{Scene, rows};
use crate::support::wait::{eventually, heavy};

#[test]
fn a_worker_that_wakes_up_is_fenced() {
    let _turn = heavy();
    let scene = Scene::new(Journey::new("a_worker_that_wakes_up"), |config| {
        config.set("run.batch_events", 1_000).set("kafka.transaction_timeout_ms", 4_000)
    });
    let reader = scene.reader();
    let (mut other, mut zombie) = (scene.worker("a"), scene.worker("z"));
    other.wait_until_ready();
    zombie.wait_until_ready();
    for _ in 0..3 {
        let before = rows(&zombie.metrics());
        scene.produce(30_000);
        eventually("the zombie to have work", || (rows(&zombie.metrics()) > before).then_some(()));
        zombie.freeze();
        scene.wait_until_done();
        // What comes now is the other's alone; then the zombie wakes with old batches in its hands, and more to do.
        scene.produce(5_000);
        scene.wait_until_done();
        scene.produce(5_000);
        zombie.thaw();
        scene.wait_until_done();
        eventually("the zombie to be a worker again", || {
            scene.produce(400);
            scene.wait_until_done();
            (rows(&zombie.metrics()) > before + 1_000).then_some(())
        });
    }
    let outcomes = zombie.metrics();
    for outcome in ["committed", "void", "aborted", "recreated", "fenced"] {
        println!("transactions of the zombie {outcome}: {}", outcomes.sum("lethe_transactions_total", &[("outcome", outcome)]));
    }
    scene.check(reader);
    assert!(zombie.is_running() && other.is_running());
}
