//! Fear: a right is missing, and the job hangs in silence, or half of it is written.
//!
//! Shown: a refused password, and each right that is missing (topics, group, transactional id), is told in one line, with exit code 1 and
//! nothing written. A tenant one of whose topics may not be written, or not be seen, stands still alone, and goes on by itself once it may.

use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka::{self, Keep, Reader};
use crate::support::scene::Scene;
use crate::support::wait::{eventually, heavy};

#[test]
fn a_missing_right_is_told_and_one_topic_stops_one_tenant() {
    let _turn = heavy();
    let journey = Journey::with_own_broker("a_missing_right");
    let sasl = journey.broker().sasl_bootstrap().to_owned();
    let (right, wrong) = (journey.home().join("right"), journey.home().join("wrong"));
    std::fs::write(&right, "lethe-password\n").unwrap();
    std::fs::write(&wrong, "guessed").unwrap();
    let (sick, well) = (journey.tenant("sick"), journey.tenant("well"));
    let plain = journey.config().tenant(&sick, |t| t).tenant(&well, |t| t);
    let mut scene = Scene::with(journey, plain);
    let open = scene.config.clone();
    scene.config = open
        .clone()
        .set("kafka.bootstrap_servers", sasl)
        .set("kafka.security_protocol", "sasl_plaintext")
        .set("kafka.sasl_mechanism", "PLAIN")
        .set("kafka.sasl_username", "lethe")
        .set("kafka.sasl_password_file", right.display().to_string());
    let names = scene.output_topics();
    let reader = Reader::start_keeping(Keep::Digest, scene.bootstrap(), &names.iter().map(String::as_str).collect::<Vec<_>>());
    scene.produce_to(&sick, 500);

    // Before anything is granted: who are you?
    let run = |config: &TestConfig| scene.journey.lethe(config).args(["run", "--until-caught-up"]).finish();
    run(&scene.config.clone().set("kafka.sasl_password_file", wrong.display().to_string()))
        .assert_refused(1, "Invalid username or password");
    run(&scene.config.clone().set("kafka.sasl_password_file", "/no/such/file")).assert_refused(2, "sasl_password_file");

    // One right after the other.
    let acl = |verb: &str, effect: &str, rest: &[&str]| scene.journey.broker().acls(&[&[verb, effect, "User:lethe"], rest].concat());
    let grant = |rest: &[&str]| acl("--add", "--allow-principal", rest);
    run(&scene.config).assert_refused(1, "may not see");
    grant(&["--operation", "Describe", "--topic", "*"]);
    run(&scene.config).assert_refused(1, &scene.group());
    grant(&["--operation", "Read", "--operation", "Describe", "--group", "*"]);
    // The directives and the transactional id are asked for side by side: one of them is granted before the other is looked at.
    grant(&["--operation", "Read", "--topic", &format!("{}.directives", scene.journey.namespace())]);
    let joined = run(&scene.config);
    joined.assert_code(1);
    assert!(joined.stderr.lines().last().is_some_and(|line| line.contains("may not use the transactional id")), "{}", joined.stderr);
    grant(&["--operation", "Write", "--operation", "Describe", "--transactional-id", "*"]);
    let alone = run(&scene.config.clone().without("tenant").tenant(&sick, |t| t));
    alone.assert_code(1);
    let raw = scene.raw_topic(&sick);
    assert!(alone.stderr.lines().last().is_some_and(|line| line.contains(&format!("may not read {raw}"))), "{}", alone.stderr);
    for topic in &names {
        assert!(kafka::watermarks(scene.bootstrap(), topic).iter().all(|(_, end)| *end == 0), "{topic} was written to");
    }
    grant(&["--operation", "All", "--topic", "*"]);
    let unread = ["--operation", "Read", "--topic", raw.as_str()];
    acl("--add", "--deny-principal", &unread);

    // One topic that may not be read, among others: the same.
    scene.produce_to(&well, 300);
    let part = run(&scene.config);
    part.assert_code(1);
    assert!(part.stderr.lines().last().is_some_and(|line| line.starts_with("lethe: rows wait") && line.contains(&sick)), "{}", part.stderr);
    assert_eq!((scene.lag(&well), scene.lag(&sick)), (0, 500));
    acl("--remove", "--deny-principal", &[&unread[..], &["--force"]].concat());
    let denied = ["--operation", "Write", "--topic", &format!("{sick}.events")];
    acl("--add", "--deny-principal", &denied);

    // One topic that may not be written: what may be processed is, and then it is told whose rows wait.
    scene.produce_to(&well, 500);
    let part = run(&scene.config);
    part.assert_code(1);
    assert!(part.stderr.lines().last().is_some_and(|line| line.starts_with("lethe: rows wait") && line.contains(&sick)), "{}", part.stderr);
    assert_eq!((scene.lag(&well), scene.lag(&sick)), (0, 500));
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    scene.produce_to(&well, 2_000);
    let stands = |paused: f64| {
        eventually(&format!("{sick} paused: {paused}"), || {
            let labels = [("tenant", sick.as_str()), ("cause", "topic")];
            (worker.metrics().sum("lethe_tenant_paused", &labels) == paused).then_some(())
        });
    };
    stands(1.0);
    scene.produce_to(&well, 2_000);
    scene.wait_until_committed(&well);
    assert_eq!(scene.lag(&sick), 500);
    acl("--remove", "--deny-principal", &[&denied[..], &["--force"]].concat());
    scene.wait_until_committed(&sick);
    stands(0.0);

    // One topic that is hidden, so that nobody tells where it goes on, when all has to be read again from there.
    let hidden = ["--operation", "Describe", "--topic", raw.as_str()];
    acl("--add", "--deny-principal", &hidden);
    scene.produce_to(&sick, 700);
    let order = |tool: &str| {
        scene.journey.lethe(&open).args([tool, "--tenant", &well]).finish().assert_done();
        scene.produce_to(&well, 700);
    };
    order("pause");
    order("resume");
    scene.wait_until_committed(&well);
    acl("--remove", "--deny-principal", &[&hidden[..], &["--force"]].concat());
    scene.wait_until_committed(&sick);
    assert!(worker.is_running());
    scene.config = open;
    scene.check(reader);
}
