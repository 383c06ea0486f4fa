//! Faults of brokers and of the way to them.

use super::armed::Gate;
use super::run::{scene, settle};
use super::{Ground, Shown};
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::moments::Moments;
use crate::support::proxy::{Api, Meddle};
use crate::support::scene::Scene;
use crate::support::wait::{PATIENCE, eventually, eventually_within, heavy};
use lethe::faults::Step;
use std::time::Duration;

const ALL_KINDS: [Api; 6] =
    [Api::EndTxn, Api::TxnOffsetCommit, Api::AddOffsetsToTxn, Api::AddPartitionsToTxn, Api::Produce, Api::InitProducerId];

/// Requests and answers of transactions lost or late, and the connection back.
pub fn answers_lost(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let (broker, proxy) = ground.behind_a_proxy();
    let bootstrap = format!("127.0.0.1:{}", proxy.port());
    let scene = scene(Journey::on(broker, &bootstrap, "answers_lost"), |config| config);
    let reader = scene.reader();
    let worker = scene.worker("a");
    let before = proxy.meddled();
    let mut rules = 0;
    let mut meddle = |api: Api, after: u64, what: Meddle| {
        proxy.meddle(api, after, what);
        rules += 1;
    };
    // The end of a transaction every way that it can go wrong.
    meddle(Api::EndTxn, 2 + moments.below(3), Meddle::LoseAnswer);
    meddle(Api::EndTxn, 1 + moments.below(3), Meddle::LoseRequest);
    meddle(Api::EndTxn, 1 + moments.below(3), Meddle::DelayAnswer(Duration::from_millis(500 + moments.below(6_000))));
    for api in ALL_KINDS.into_iter().take(5).skip(1) {
        let what = if moments.below(2) == 0 { Meddle::LoseAnswer } else { Meddle::LoseRequest };
        meddle(api, 2 + moments.below(6), what);
    }
    if ground.is_whole() {
        // Longer than a call may take: what the broker did is unknown, and a new producer has to settle it.
        meddle(Api::EndTxn, 2, Meddle::DelayAnswer(Duration::from_secs(25)));
    }
    // Some of it costs a new producer, or the timeout of a transaction.
    eventually_within(2 * PATIENCE, "everything to have gone wrong", || {
        scene.produce(300);
        (proxy.meddled() - before == rules).then_some(())
    });
    scene.produce(500);
    let shown = settle(&scene, reader);
    worker.terminate_within(Duration::from_secs(10)).assert_done();
    shown
}

/// Progress within thirty seconds after a fault is healed.
#[track_caller]
fn progress(scene: &Scene, reader: &crate::support::kafka::Reader) {
    let seen = reader.seen();
    if scene.lag(scene.tenant()) > 0 {
        eventually_within(Duration::from_secs(30), "progress after the fault is healed", || (reader.seen() > seen).then_some(()));
    }
}

/// The broker, which is the coordinator too, is killed or stopped while a transaction stands at a step, and comes back.
pub fn coordinator_restarted(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let (broker, _) = ground.behind_a_proxy();
    let scene = scene(Journey::on(broker, broker.bootstrap(), "coordinator_restarted"), |config| config);
    let reader = scene.reader();
    for (round, step) in [Step::Begun, Step::Producing, Step::OffsetsSent].into_iter().enumerate() {
        let gate = Gate::new(scene.journey.home(), &format!("gate{round}"));
        let mut worker = scene.faulty_worker("a", &format!("{}:{}:{}", step.as_str(), 2 + moments.below(4), gate.deed()));
        eventually("a transaction at its step", || {
            scene.produce(300);
            gate.is_reached().then_some(())
        });
        let hard = moments.below(2) == 0;
        if hard {
            broker.kill();
        } else {
            broker.stop();
        }
        // Once for longer than the transaction and the session may take.
        let away_s = if round == 1 { 8 } else { moments.below(3) };
        std::thread::sleep(Duration::from_secs(away_s));
        broker.restart();
        gate.open();
        progress(&scene, &reader);
        scene.wait_until_done();
        assert!(worker.is_running(), "a worker gave up: {}", worker.stderr());
        worker.terminate_within(Duration::from_secs(10)).assert_done();
    }
    let _last = scene.worker("b");
    settle(&scene, reader)
}

/// Three brokers, each in its turn stopped or killed and started again under load.
pub fn one_broker_after_the_other(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let cluster = ground.cluster();
    let scene = scene(Journey::on_cluster(cluster, "one_broker_after_the"), |config| config.set("kafka.transaction_timeout_ms", 10_000));
    let reader = scene.reader();
    let (mut a, mut b) = (scene.worker("a"), scene.worker("b"));
    a.wait_until_ready();
    b.wait_until_ready();
    for n in 0..cluster.len() {
        scene.produce(3_000);
        if moments.below(2) == 0 {
            cluster.node(n).stop();
        } else {
            cluster.node(n).kill();
        }
        scene.produce(2_000);
        progress(&scene, &reader);
        cluster.node(n).restart();
        for topic in scene.output_topics().iter().take(1).chain([&scene.raw_topic(scene.tenant())]) {
            cluster.wait_for_replicas(topic, cluster.len(), false);
        }
    }
    let shown = settle(&scene, reader);
    assert!(a.is_running() && b.is_running(), "a worker gave up: {}\n{}", a.stderr(), b.stderr());
    shown
}

/// A leader goes away with values that the others expire meanwhile, comes back when their tombstones are gone too, and leads again.
pub fn comes_back_and_leads(ground: &Ground, _: &mut Moments) -> Shown {
    let _turn = heavy();
    let cluster = ground.cluster();
    let journey = Journey::on_cluster(cluster, "comes_back_and_leads");
    let acme = journey.tenant("a");
    let config = journey.config().set("topics.partitions", 1).set("topics.replication_factor", 3);
    let config = config.tenant(&acme, |t| t.set("windows.events", "16s"));
    journey.lethe(&config).args(["topics", "apply"]).finish().assert_done();
    let (bootstrap, topic) = (journey.bootstrap(), format!("{acme}.events"));
    let keys = 50;
    cluster.wait_for_replicas(&topic, cluster.len(), false);
    let first = eventually("a leader", || kafka::leader_of(bootstrap, &topic));
    let away = cluster.node(usize::try_from(first - 1).expect("nodes count from 1"));
    kafka::produce(bootstrap, &topic, (0..keys).map(|n| (Some(format!("subject-{n}/1")), Some("value"))));
    eventually("every copy to have them", || (kafka::watermarks(bootstrap, &topic) == [(0, keys)]).then_some(()));
    away.kill();
    let retain = journey.lethe(&config).args(["retain"]).start();
    let left = || kafka::read_uncommitted(bootstrap, &topic).into_iter().filter(|r| r.key_text() != "~roll").count();
    eventually("keys and tombstones to go from the others", || (left() == 0).then_some(()));
    away.restart();
    eventually("the first one to lead again", || (kafka::leader_of(bootstrap, &topic) == Some(first)).then_some(()));
    println!("{} of {keys} records are there again", left());
    eventually("what came back to go", || (left() == 0).then_some(()));
    retain.terminate_within(Duration::from_secs(10)).assert_done();
    Shown { rows: keys as u64, of: 0 }
}
