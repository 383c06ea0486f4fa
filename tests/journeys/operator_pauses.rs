//! Fear: after "pause" something is still written, after "resume" something is missing.
//!
//! Shown: once the command has ended, which waits until the mark of every raw partition is past its directive, no further record of the
//! tenant appears, whatever is produced; `resume` loses and doubles nothing; a rate limit holds over seconds; a directive reaches an idle tenant.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::scene::{Scene, busy, rows};
use crate::support::wait::{eventually, heavy};
use std::time::{Duration, Instant};

fn ends(scene: &Scene, tenant: &str) -> Vec<Vec<(i64, i64)>> {
    let of_tenant = |name: &String| name.starts_with(&format!("{tenant}."));
    scene.output_topics().iter().filter(|name| of_tenant(name)).map(|topic| kafka::watermarks(scene.bootstrap(), topic)).collect()
}

fn order(scene: &Scene, arguments: &[&str]) -> String {
    let finished = scene.journey.lethe(&scene.config).args(arguments).finish();
    finished.assert_done().request()
}

/// Rows that wait when the switch is thrown.
fn backlog() -> u64 {
    std::env::var("LETHE_PAUSE_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(40_000)
}

#[test]
fn nothing_is_written_after_pause_and_nothing_lost_after_resume() {
    let _turn = heavy();
    let journey = Journey::new("nothing_after_pause");
    let (acme, other) = (journey.tenant("acme"), journey.tenant("other"));
    let config = journey.config().set("run.batch_events", 5_000).tenant(&acme, busy).tenant(&other, busy);
    let scene = Scene::with(journey, config);
    let reader = scene.reader();
    let rows_waiting = backlog();
    scene.produce_to(&acme, rows_waiting);
    scene.produce_to(&other, 2_000);
    let (mut a, mut b) = (scene.worker("a"), scene.worker("b"));
    a.wait_until_ready();
    b.wait_until_ready();
    let under_way = |share: u64| {
        let done = || rows(&a.metrics()) + rows(&b.metrics());
        eventually("work under way", || (done() > rows_waiting / share).then_some(()));
    };
    // One tenant, in the middle of full load.
    under_way(20);
    let request = order(&scene, &["pause", "--tenant", &acme]);
    let ends_then = ends(&scene, &acme);
    assert_eq!(request.len(), 32);
    println!("{} of {rows_waiting} rows wait behind the switch", scene.lag(&acme));
    // Every raw partition says so in its mark.
    let directives = kafka::watermarks(scene.bootstrap(), &format!("{}.directives", scene.journey.namespace()))[0].1;
    for committed in kafka::committed(scene.bootstrap(), &scene.group(), &scene.raw_topic(&acme)) {
        assert!(committed.metadata.contains(&format!("directives={directives} ")), "{committed:?}");
    }
    scene.produce_to(&acme, 1_000);
    scene.produce_to(&other, 2_000);
    eventually("the other tenant to go on", || (scene.lag(&other) == 0).then_some(()));
    // Nor does a member that comes or goes let anything out.
    let mut c = scene.worker("c");
    c.wait_until_ready();
    c.terminate_within(Duration::from_secs(10)).assert_done();
    assert_eq!(ends(&scene, &acme), ends_then, "something was written after the pause");
    assert!(scene.lag(&acme) >= 1_000);
    order(&scene, &["resume", "--tenant", &acme]);
    // Everybody, as soon as it goes on.
    scene.produce_to(&other, 10_000);
    order(&scene, &["pause", "--all"]);
    let ends_then = [ends(&scene, &acme), ends(&scene, &other)];
    scene.produce_to(&acme, 1_000);
    scene.produce_to(&other, 1_000);
    let mut c = scene.worker("c");
    c.wait_until_ready();
    c.terminate_within(Duration::from_secs(10)).assert_done();
    assert_eq!([ends(&scene, &acme), ends(&scene, &other)], ends_then, "something was written after the pause of all");
    assert!(scene.lag(&acme) >= 1_000 && scene.lag(&other) >= 1_000);
    order(&scene, &["resume", "--all"]);
    scene.wait_until_done();
    scene.check(reader);
}

#[test]
fn everybody_pauses_and_goes_on() {
    let scene = Scene::new(Journey::new("everybody_pauses"), |config| config);
    // Nobody runs: the group is empty, the order stands all the same.
    order(&scene, &["pause", "--all"]);
    scene.produce(500);
    // Whoever would run until everything is done learns that it cannot be.
    let stands = scene.journey.lethe(&scene.config).args(["run", "--until-caught-up"]).finish();
    stands.assert_code(1);
    assert!(stands.stderr.lines().last().is_some_and(|line| line.contains(&format!("{} is paused", scene.tenant()))), "{}", stands.stderr);
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    eventually("the pause to be seen", || {
        (worker.metrics().sum("lethe_tenant_paused", &[("tenant", scene.tenant()), ("cause", "directive")]) == 1.0).then_some(())
    });
    assert_eq!(scene.lag(scene.tenant()), 500);
    let still = scene.journey.lethe(&scene.config).args(["resume", "--tenant", scene.tenant()]).finish();
    assert!(still.assert_done().stdout.contains("stays paused"), "{}", still.stdout);
    let reader = scene.reader();
    order(&scene, &["resume", "--all"]);
    scene.wait_until_done();
    scene.check(reader);
}

#[test]
fn a_rate_limit_holds() {
    let scene = Scene::new(Journey::new("a_rate_limit"), |config| config);
    let reader = scene.reader();
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    order(&scene, &["rate-limit", "--tenant", scene.tenant(), "--events-per-second", "500"]);
    scene.produce(10_000);
    let done = || rows(&worker.metrics());
    eventually("the first rows", || (done() > 0).then_some(()));
    let (begun, before) = (Instant::now(), done());
    eventually("six seconds of it", || (begun.elapsed() > Duration::from_secs(6)).then_some(()));
    let rate = (done() - before) as f64 / begun.elapsed().as_secs_f64();
    println!("limited to 500: {rate:.0} events per second");
    // The bound above is the promise; the one below asks for progress, on a machine that has other work.
    assert!((250.0..=600.0).contains(&rate), "{rate} events per second");
    order(&scene, &["rate-limit", "--tenant", scene.tenant(), "--events-per-second", "off"]);
    scene.wait_until_done();
    scene.check(reader);
}

#[test]
fn an_order_that_makes_no_sense_is_refused() {
    let scene = Scene::new(Journey::new("an_order_refused"), |config| config);
    let refused = |arguments: &[&str], words: &str| {
        let finished = scene.journey.lethe(&scene.config).args(arguments).finish();
        finished.assert_code(2);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    };
    refused(&["pause", "--tenant", "nobody"], "nobody");
    refused(&["pause"], "--tenant");
    refused(&["pause", "--all", "--tenant", scene.tenant()], "--all");
    refused(&["rate-limit", "--all", "--events-per-second", "0"], "lethe pause");
    assert_eq!(kafka::watermarks(scene.bootstrap(), &format!("{}.directives", scene.journey.namespace())), [(0, 0)]);
}
