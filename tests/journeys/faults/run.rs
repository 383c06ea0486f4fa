//! Faults of `run`: its processes killed, frozen, doubled, slowed and stopped at named steps, under load.

use super::Ground;
use super::Shown;
use super::armed::Gate;
use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::lethe::Lethe;
use crate::support::moments::Moments;
use crate::support::scene::{Scene, rows};
use crate::support::wait::{eventually, heavy};
use lethe::faults::Step;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// One tenant, small batches, transactions that are given up soon.
pub(super) fn scene(journey: Journey, change: impl FnOnce(TestConfig) -> TestConfig) -> Scene {
    Scene::new(journey, |config| change(config.set("run.batch_events", 200).set("kafka.transaction_timeout_ms", 4_000)))
}

/// Ends a scene: everything is committed and stands as it must.
pub(super) fn settle(scene: &Scene, reader: crate::support::kafka::Reader) -> Shown {
    scene.wait_until_done();
    let expected = scene.check(reader);
    Shown { rows: expected.rows, of: expected.records }
}

/// A worker for each step of a transaction, killed there; another takes over.
pub fn killed_at_each_step(_: &Ground, moments: &mut Moments) -> Shown {
    killed(moments, "killed_at_each_step", "")
}

/// The same where offsets are committed before anything is produced: what a killed worker had not produced is lost.
pub fn killed_with_offsets_first(_: &Ground, moments: &mut Moments) -> Shown {
    killed(moments, "killed_with_offsets_first", ";plant:offsets_before_produce")
}

fn killed(moments: &mut Moments, name: &str, plant: &str) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new(name), |config| config);
    let reader = scene.reader();
    let mut victims: Vec<Lethe> = Step::OF_TRANSACTIONS
        .iter()
        .map(|step| scene.faulty_worker(step.as_str(), &format!("{}:{}:kill{plant}", step.as_str(), 1 + moments.below(8))))
        .collect();
    // All in one group: while some are dead and not yet missed, the others go on.
    eventually("every worker to be killed at its step", || {
        scene.produce(100);
        victims.iter_mut().all(|victim| !victim.is_running()).then_some(())
    });
    for victim in victims {
        assert_eq!(victim.finish().status.to_string(), "signal: 9 (SIGKILL)");
    }
    // Under the name of one that was killed, or under a new one, for which the open transactions must time out.
    let heir = *["begun", "producing", "offsets_sent", "committed", "heir"].get(moments.below(5) as usize).expect("a name");
    let worker = scene.worker(heir);
    scene.produce(500);
    let shown = settle(&scene, reader);
    worker.terminate_within(SOON).assert_done();
    shown
}

/// Two workers that freeze at steps of a transaction until their sessions and transactions are over, and then wake up with them in their hands.
pub fn frozen_at_steps(_: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("frozen_at_steps"), |config| config);
    let reader = scene.reader();
    let mut frozen: Vec<(Lethe, u32)> = [Step::Producing, Step::OffsetsSent]
        .iter()
        .map(|step| scene.faulty_worker(step.as_str(), &format!("{}:{}:stop", step.as_str(), 2 + moments.below(6))))
        .map(|mut worker| {
            let id = worker.id();
            (worker, id)
        })
        .collect();
    eventually("both to be frozen", || {
        scene.produce(100);
        frozen.iter().all(|(_, id)| is_frozen(*id)).then_some(())
    });
    let other = scene.worker("other");
    scene.wait_until_done();
    scene.produce(1_000);
    scene.wait_until_done();
    scene.produce(1_000);
    frozen.iter().for_each(|(worker, _)| worker.thaw());
    scene.wait_until_done();
    let before: Vec<u64> = frozen.iter().map(|(worker, _)| rows(&worker.metrics())).collect();
    eventually("both to be workers again", || {
        scene.produce(200);
        frozen.iter().zip(&before).all(|((worker, _), before)| rows(&worker.metrics()) > *before).then_some(())
    });
    let shown = settle(&scene, reader);
    assert!(frozen.iter_mut().all(|(worker, _)| worker.is_running()));
    other.terminate_within(SOON).assert_done();
    shown
}

/// Whether a process is stopped, all of it.
fn is_frozen(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Two processes with one `run.instance`: they fence each other, and none can do harm.
pub fn two_with_one_id(_: &Ground, _: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("two_with_one_id"), |config| config);
    let reader = scene.reader();
    let mut both = [scene.worker("same"), scene.worker("same")];
    eventually("one of them to say so and end", || {
        scene.produce(100);
        both.iter_mut().any(|worker| !worker.is_running()).then_some(())
    });
    let told = both.iter().any(|worker| worker.stderr().contains("another process uses the transactional id"));
    assert!(told, "nobody is told: {}", both.iter().map(Lethe::stderr).collect::<String>());
    let ended = both.iter_mut().filter_map(|worker| (!worker.is_running()).then_some(())).count();
    // Both may have had enough in the same moment.
    let _next = (ended == 2).then(|| scene.worker("another"));
    settle(&scene, reader)
}

/// A worker stands in the middle of a transaction for longer than it may go without a poll.
pub fn slower_than_the_poll_interval(_: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("slower_than_the_poll"), |config| config.set("kafka.max_poll_interval_ms", 6_000));
    let reader = scene.reader();
    let step = Step::OF_TRANSACTIONS[moments.below(3) as usize];
    let gate = Gate::new(scene.journey.home(), "slow");
    let mut slow = scene.faulty_worker("slow", &format!("{}:{}:{}", step.as_str(), 2 + moments.below(4), gate.deed()));
    eventually("a batch that goes on for ever", || {
        scene.produce(200);
        gate.is_reached().then_some(())
    });
    let other = scene.worker("other");
    // The other one gets everything once the slow one is thrown out.
    scene.wait_until_done();
    scene.produce(500);
    gate.open();
    eventually("the slow one to be a worker again", || {
        scene.produce(200);
        (slow.is_running() && rows(&slow.metrics()) > 0).then_some(())
    });
    let shown = settle(&scene, reader);
    assert!(slow.is_running());
    other.terminate_within(SOON).assert_done();
    shown
}

/// A worker stands before its commit until the coordinator has ended its transaction, and stays a member all the while.
pub fn outlived_its_transaction(_: &Ground, moments: &mut Moments) -> Shown {
    outlived(moments, "outlived_its_transaction", "")
}

/// The same where a commit that failed is taken for one that was made.
pub fn outlived_and_taken_for_granted(_: &Ground, moments: &mut Moments) -> Shown {
    outlived(moments, "outlived_taken_for_granted", ";plant:commit_taken_for_granted")
}

fn outlived(moments: &mut Moments, name: &str, plant: &str) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new(name), |config| config);
    let reader = scene.reader();
    let nth = 2 + moments.below(4);
    // Longer than a transaction may take, and than the broker's looks are apart; shorter than a worker may go without a poll.
    let fault = format!("offsets_sent:{nth}:sleep=9000;offsets_sent:{}:sleep=9000{plant}", nth + 3);
    let worker = scene.faulty_worker("a", &fault);
    for _ in 0..12 {
        scene.produce(200);
        scene.wait_until_done();
    }
    let shown = settle(&scene, reader);
    worker.terminate_within(SOON).assert_done();
    shown
}

/// SIGTERM under load, again and again: each ends soon and well, the next one goes on.
pub fn asked_to_stop_again_and_again(ground: &Ground, moments: &mut Moments) -> Shown {
    asked_to_stop(ground, moments, "asked_to_stop_again", "")
}

/// The same where each begins some rows before the place where the last one stopped.
pub fn asked_to_stop_and_read_again(ground: &Ground, moments: &mut Moments) -> Shown {
    asked_to_stop(ground, moments, "asked_to_stop_read_again", "plant:read_again")
}

fn asked_to_stop(ground: &Ground, moments: &mut Moments, name: &str, plant: &str) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new(name), |config| config);
    let reader = scene.reader();
    for _ in 0..ground.times(4, 50) {
        let worker = scene.faulty_worker("one", plant);
        let before = reader.seen();
        scene.produce(2_000);
        let more = before + 1 + moments.below(1_000);
        eventually("work under way", || (reader.seen() >= more).then_some(()));
        worker.terminate_within(SOON).assert_done();
    }
    let _last = scene.worker("one");
    settle(&scene, reader)
}

/// Workers that join and leave every two seconds, by each of Kafka's ways to share partitions.
pub fn members_every_two_seconds(_: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let ways = [
        ("range", "kafka.partition_assignment_strategy", "range"),
        ("cooperative", "kafka.partition_assignment_strategy", "cooperative-sticky"),
        ("consumer", "kafka.group_protocol", "consumer"),
    ];
    let mut sum = Shown { rows: 0, of: 0 };
    for (name, setting, value) in ways {
        let scene = scene(Journey::new(&format!("every_two_{name}")), |config| config.set(setting, value));
        let reader = scene.reader();
        let kept = scene.worker("kept");
        let mut others: Vec<Lethe> = Vec::new();
        for n in 0..8 {
            others.push(scene.worker(&format!("w{n}")));
            scene.produce(300 + moments.below(700));
            std::thread::sleep(Duration::from_secs(2));
            if others.len() > 1 {
                let leaves = others.remove(moments.below(2) as usize);
                // One that has not begun yet is killed as well as any.
                if moments.below(4) == 0 {
                    leaves.kill()
                } else {
                    leaves.terminate_within(SOON)
                };
            }
        }
        let shown = settle(&scene, reader);
        sum = Shown { rows: sum.rows + shown.rows, of: sum.of + shown.of };
        kept.terminate_within(SOON).assert_done();
    }
    sum
}
