//! Faults of brokers and of the way to them.

use super::armed::Gate;
use super::run::{scene, settle};
use super::{Ground, Shown};
use crate::retain_survives::{assert_only_due_ones_went, keep_ms, table};
use crate::support::broker::Broker;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::moments::Moments;
use crate::support::proxy::{Api, Meddle, Proxy};
use crate::support::scene::Scene;
use crate::support::wait::{PATIENCE, eventually, eventually_within, heavy};
use crate::window_elapsed::prepared;
use lethe::faults::Step;
use std::sync::Arc;
use std::time::Duration;

/// Requests and answers of transactions lost or late, and the connection back.
pub fn answers_lost(ground: &Ground, moments: &mut Moments) -> Shown {
    lose_answers(ground, ground.behind_a_proxy(), "answers_lost", &[Api::TxnOffsetCommit, Api::Produce], moments)
}

/// The same with transactions as they were before KIP-890, which take two requests more.
pub fn answers_lost_before_890(ground: &Ground, moments: &mut Moments) -> Shown {
    let kinds = [Api::TxnOffsetCommit, Api::Produce, Api::AddOffsetsToTxn, Api::AddPartitionsToTxn];
    lose_answers(ground, ground.behind_a_proxy_before_890(), "answers_lost_890", &kinds, moments)
}

fn lose_answers(ground: &Ground, (broker, proxy): (&Arc<Broker>, &Proxy), name: &str, kinds: &[Api], moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let bootstrap = format!("127.0.0.1:{}", proxy.port());
    let scene = scene(Journey::on(broker, &bootstrap, name), |config| config);
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
    for api in kinds.iter().copied() {
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
    if scene.lag_at_once(scene.tenant()) > 0 {
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

/// All three brokers killed at once, and away for longer than transactions and sessions may take.
pub fn all_brokers_away(ground: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let cluster = ground.cluster();
    let scene = scene(Journey::on_cluster(cluster, "all_brokers_away"), |config| config);
    let reader = scene.reader();
    let (mut a, mut b) = (scene.worker("a"), scene.worker("b"));
    a.wait_until_ready();
    b.wait_until_ready();
    for _ in 0..2 {
        scene.produce(2_000 + moments.below(2_000));
        cluster.away_for(Duration::from_secs(8 + moments.below(8)));
        scene.produce(1_000);
        progress(&scene, &reader);
    }
    let shown = settle(&scene, reader);
    assert!(a.is_running() && b.is_running(), "a worker gave up: {}\n{}", a.stderr(), b.stderr());
    shown
}

/// Partitions added under load, to the raw topic and to an output topic: subjects move, nothing is lost or doubled.
pub fn partitions_added(_: &Ground, moments: &mut Moments) -> Shown {
    let _turn = heavy();
    let scene = scene(Journey::new("partitions_added"), |config| config);
    let reader = scene.reader();
    let (mut kept, mut other) = (scene.worker("a"), scene.worker("b"));
    kept.wait_until_ready();
    other.wait_until_ready();
    let mut add = |topic: &str| kafka::add_partitions(scene.bootstrap(), topic, 5 + moments.below(4) as usize);
    scene.produce(2_000);
    add(&scene.raw_topic(scene.tenant()));
    scene.produce(2_000);
    scene.wait_until_done();
    add(&format!("{}.events", scene.tenant()));
    scene.produce(2_000);
    // One that begins now knows of more partitions than one that has been there.
    std::mem::replace(&mut other, scene.worker("c")).terminate_within(Duration::from_secs(10)).assert_done();
    other.wait_until_ready();
    scene.produce(2_000);
    scene.wait_until_done();
    let expected = scene.check_but_places(reader);
    assert!(kept.is_running() && other.is_running());
    Shown { rows: expected.rows, of: expected.records }
}

/// A broker whose clock is an hour ahead, an hour behind and right again: `doctor` says so, `run` goes by what is stamped, `retain` takes nothing before
/// its stamp is due.
pub fn leader_with_a_skewed_clock(_: &Ground, _: &mut Moments) -> Shown {
    let _turn = heavy();
    let shown = run_under_a_skewed_clock();
    let journey = Journey::with_own_broker("skewed_clock_retain");
    let (config, topic) = prepared(&journey, "16s");
    let keep = keep_ms(&journey, &config, &topic);
    let bootstrap = journey.bootstrap();
    let reader = kafka::Reader::start(bootstrap, &[&topic]);
    let put = |name: &str| kafka::produce(bootstrap, &topic, (0..50).map(|n| (Some(format!("{name}-{n}/1")), Some("value"))));
    journey.broker().restart_with_clock(-HOUR_S);
    put("stamped-early");
    journey.broker().restart_with_clock(0);
    put("stamped-right");
    let retain = journey.lethe(&config).args(["retain"]).start();
    eventually("everything to be gone", || {
        let left = kafka::read_uncommitted(bootstrap, &topic);
        left.iter().all(|r| r.key_text() == "~roll").then_some(())
    });
    retain.terminate_within(Duration::from_secs(10)).assert_done();
    let all = reader.finish().remove(&topic).unwrap_or_default();
    assert_only_due_ones_went(&all, keep);
    assert!(table(&all).is_empty(), "a reader that kept up has what is gone");
    shown
}

const HOUR_S: i64 = 3_600;

fn run_under_a_skewed_clock() -> Shown {
    let scene = scene(Journey::with_own_broker("skewed_clock_run"), |config| config);
    let reader = scene.reader();
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    scene.produce(500);
    for off_s in [HOUR_S, -HOUR_S, 0] {
        scene.journey.broker().restart_with_clock(off_s);
        scene.produce(500);
        progress(&scene, &reader);
        scene.wait_until_done();
        let doctor = scene.journey.lethe(&scene.config).args(["doctor"]).finish();
        let told = [&doctor.stdout, &doctor.stderr].iter().any(|text| text.contains("ms ahead of") || text.contains("ms behind"));
        assert!(told || off_s == 0, "doctor says nothing of a clock that is off by {off_s} s: {}", doctor.stdout);
    }
    let shown = settle(&scene, reader);
    assert!(worker.is_running(), "it gave up: {}", worker.stderr());
    shown
}
