//! Fear: a typo in the config is found out by half-written records or a page of noise.
//!
//! Shown: each field of the config, wrong in turn, is refused by one line that names it, with exit code 2; a wrong address, a missing topic
//! and a bad keyring by one line each, with exit code 1 or 2; and nothing is written. A wrong address takes 20 s at most.

use crate::support::broker::free_ports;
use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Finished;
use crate::support::scene::{Scene, busy};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use toml::Value;

/// One field, a wrong value for it, and what the line must name.
fn wrong_fields() -> Vec<(&'static str, Value, &'static str)> {
    let text = |t: &str| Value::from(t);
    vec![
        ("kafka.bootstrap_servers", text("nonsense"), "kafka.bootstrap_servers"),
        ("kafka.bootstrap_servers", text("user:secret@localhost:9092"), "kafka.bootstrap_servers"),
        ("kafka.security_protocol", text("tls"), "kafka.security_protocol"),
        ("kafka.sasl_mechanism", Value::from(1), "kafka.sasl_mechanism"),
        ("kafka.sasl_username", Value::from(1), "kafka.sasl_username"),
        ("kafka.sasl_password_file", Value::from(true), "kafka.sasl_password_file"),
        ("kafka.ssl_ca_location", text("/no/such/file.pem"), "kafka.ssl_ca_location"),
        ("kafka.ssl_certificate_location", text("/no/such/file.pem"), "kafka.ssl_certificate_location"),
        ("kafka.ssl_key_location", text("/no/such/file.pem"), "kafka.ssl_key_location"),
        ("kafka.client_id", text(""), "kafka.client_id"),
        ("kafka.group_protocol", text("newest"), "kafka.group_protocol"),
        ("kafka.partition_assignment_strategy", text("best"), "kafka.partition_assignment_strategy"),
        ("kafka.session_timeout_ms", Value::from(10), "kafka.session_timeout_ms"),
        ("kafka.max_poll_interval_ms", Value::from(10), "kafka.max_poll_interval_ms"),
        ("kafka.transaction_timeout_ms", Value::from(0), "kafka.transaction_timeout_ms"),
        ("kafka.compression", text("rar"), "kafka.compression"),
        ("kafka.batch_size", Value::from(1), "kafka.batch_size"),
        ("kafka.fetch_ahead_kib", Value::from(1), "kafka.fetch_ahead_kib"),
        ("kafka.no_such_field", Value::from(1), "no_such_field"),
        ("run.group", text(""), "run.group"),
        ("run.groups", Value::Array(vec!["other".into()]), "run.groups"),
        ("run.workers", Value::from(0), "run.workers"),
        ("run.instance", text("a b"), "run.instance"),
        ("run.batch_events", Value::from(0), "run.batch_events"),
        ("run.batch_bytes", Value::from(1), "run.batch_bytes"),
        ("run.batch_wait", text("soon"), "run.batch_wait"),
        ("run.batch_wait", text("6s"), "half of kafka.transaction_timeout_ms"),
        ("run.threads", Value::from(1_000), "run.threads"),
        ("run.future_tolerance", text("2d"), "run.future_tolerance"),
        ("retain.group", text(""), "retain.group"),
        ("retain.testing", text("yes"), "retain.testing"),
        ("retain.erasure_deadline", text("28 weeks"), "retain.erasure_deadline"),
        ("aggregate.k", Value::from(1), "aggregate.k"),
        ("aggregate.groups", text("many"), "aggregate.groups: must be a whole number"),
        ("sessions.gap", text("30"), "sessions.gap"),
        ("sessions.lateness", text("8d"), "sessions.lateness"),
        ("log.format", text("xml"), "log.format"),
        ("admin.tls_key", text("/no/such/file.pem"), "admin.tls_certificate"),
        ("keys.file", text("/no/such/keyring.toml"), "/no/such/keyring.toml"),
        ("keys.signing_file", Value::from(1), "keys.signing_file"),
        ("geoip.file", text("/no/such/file.mmdb"), "geoip.file"),
        ("schema_registry.url", text("ftp://x"), "schema_registry.url"),
        ("topics.directives", text("a b"), "topics.directives"),
        ("topics.audit", text(""), "topics.audit"),
        ("topics.partitions", Value::from(0), "topics.partitions"),
        ("topics.replication_factor", Value::from(0), "topics.replication_factor"),
    ]
}

/// The same for a tenant's fields.
fn wrong_tenant_fields() -> Vec<(&'static str, Value, &'static str)> {
    let (text, list) = (|t: &str| Value::from(t), |t: &str| Value::Array(vec![t.into()]));
    vec![
        ("id", text("Not An Id"), "id"),
        ("profile", text("whatever"), "profile"),
        ("plan", text("gold"), "plan"),
        ("sources", list("a b"), "sources"),
        ("subject", list("shoe_size"), "subject"),
        ("event_id", text("hidden"), "event_id"),
        ("trim_raw", text("yes"), "trim_raw"),
        ("destinations", list("carrier_pigeon"), "destinations"),
        ("max_lateness", text("late"), "max_lateness"),
        ("consent_validity", text("0s"), "consent_validity"),
        ("without_consent", text("everything"), "without_consent"),
        ("consent_mode", text("x"), "consent_mode"),
        ("opt_out_of_sale", text("x"), "opt_out_of_sale"),
        ("custom", Value::from(1), "custom"),
        ("city", text("x"), "city"),
        ("zip_prefix", text("x"), "zip_prefix"),
        ("network", text("x"), "network"),
        ("special_categories", text("x"), "special_categories"),
        ("windows.events", text("long"), "windows.events"),
        ("windows.no_such_category", text("1d"), "windows.no_such_category"),
        ("purposes.events", text("fun"), "purposes.events"),
        ("topics.events", text("a b"), "topics.events"),
        ("meta.max_age", text("old"), "meta.max_age"),
        ("google_ads.customer_id", text("123-456"), "google_ads.customer_id"),
        ("google_ads.max_age", text("old"), "google_ads.max_age"),
    ]
}

/// One line on standard error that holds `words`, exit code 1 or 2.
#[track_caller]
fn refusal(finished: &Finished, code: i32, words: &str, what: &str) -> Option<String> {
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let fine = finished.status.code() == Some(code) && matches!(lines[..], [line] if line.contains(words));
    (!fine).then(|| format!("{what}: {} and not one line with {words:?}:\n{}", finished.status, finished.stderr))
}

#[test]
fn every_wrong_field_is_named() {
    let scene = Scene::new(Journey::new("every_wrong_field"), |config| config);
    let tenant = scene.tenant().to_owned();
    let mut faults = Vec::new();
    let mut refused = |config: &TestConfig, words: &str, what: &str| {
        let mut begun = scene.journey.lethe(config).args(["run"]).start();
        // What is accepted would run for ever: by the time that all would have been refused, it is ended.
        let began = Instant::now();
        while begun.is_running() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let finished = begun.kill();
        faults.extend(refusal(&finished, 2, words, what));
    };
    for (path, value, words) in wrong_fields() {
        refused(&scene.config.clone().set(path, value.clone()), words, &format!("{path} = {value}"));
    }
    for (path, value, words) in wrong_tenant_fields() {
        let config = scene.config.clone().without("tenant").tenant(&tenant, |t| busy(t).set(path, value.clone()));
        refused(&config, words, &format!("tenant.{path} = {value}"));
    }
    refused(&scene.config.clone().without("tenant"), "[[tenant]]", "no tenant");
    let finished = scene.journey.lethe(&scene.config).env("LETHE_RUN__HTTP", "everywhere").args(["run"]).finish();
    faults.extend(refusal(&finished, 2, "run.http", "LETHE_RUN__HTTP"));
    assert!(faults.is_empty(), "{} fields:\n{}", faults.len(), faults.join("\n"));
    assert_nothing_written(&scene);
}

fn assert_nothing_written(scene: &Scene) {
    for topic in scene.output_topics() {
        assert!(kafka::watermarks(scene.bootstrap(), &topic).iter().all(|(_, end)| *end == 0), "{topic} was written to");
    }
}

#[test]
fn a_wrong_address_is_told_soon() {
    let scene = Scene::new(Journey::new("a_wrong_address"), |config| config);
    let [port] = free_ports();
    let begun = Instant::now();
    let config = scene.config.clone().set("kafka.bootstrap_servers", format!("127.0.0.1:{port}"));
    scene.journey.lethe(&config).args(["run"]).finish().assert_refused(1, "no broker answers");
    let took = begun.elapsed();
    println!("a wrong address took {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    // So do people's commands, however each of them asks.
    let (config, tenant) = (&config, scene.tenant());
    std::thread::scope(|together| {
        for arguments in [
            &["status"][..],
            &["status", "--request", "r"],
            &["pause", "--tenant", tenant],
            &["erase", "--tenant", tenant, "--external-id", "u1"],
            &["release", "--request", "r"],
            &["export", "--breach-scope", "--from", "2026-01-01", "--to", "2026-02-01"],
            &["audit", "verify"],
            &["topics", "apply"],
        ] {
            let call = scene.journey.lethe(config).args(arguments);
            together.spawn(move || {
                call.finish().assert_refused(1, "no broker answers");
            });
        }
    });
}

#[test]
fn missing_topics_are_named() {
    let journey = Journey::new("missing_topics");
    let tenant = journey.tenant("acme");
    let config = journey.config().tenant(&tenant, busy);
    journey.lethe(&config).args(["keys", "new", "--tenant", &tenant]).finish().assert_done();
    let directives = format!("{}.directives", journey.namespace());
    journey.lethe(&config).args(["run"]).finish().assert_refused(1, &directives);
    journey.create_topic(&directives, 1, &[]);
    journey.lethe(&config).args(["run"]).finish().assert_refused(1, &format!("{tenant}.events"));
}

#[test]
fn a_bad_keyring_is_refused() {
    let scene = Scene::new(Journey::new("a_bad_keyring"), |config| config);
    scene.produce(100);
    let file = scene.journey.home().join("keyring.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let run = || scene.journey.lethe(&scene.config).args(["run", "--until-caught-up"]).finish();

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    run().assert_refused(2, "readable by others");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();

    let key = good.split("key = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    std::fs::write(&file, good.replace(key, &key[..20])).unwrap();
    let short = run();
    short.assert_refused(2, "epoch 1");
    assert!(!short.stderr.contains(&key[..20]), "the key is in the message");
    std::fs::write(&file, "").unwrap();
    run().assert_refused(2, "holds no key");
    std::fs::remove_file(&file).unwrap();
    run().assert_refused(2, "lethe keys new");
    assert_nothing_written(&scene);

    // An epoch that was in use and is gone: a keyring from an old backup.
    std::fs::write(&file, &good).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    scene.journey.lethe(&scene.config).args(["keys", "rotate", "--tenant", scene.tenant()]).finish().assert_done();
    run().assert_done();
    let written = |topic: &String| kafka::watermarks(scene.bootstrap(), topic).iter().map(|(_, end)| end).sum::<i64>();
    let before: Vec<i64> = scene.output_topics().iter().map(written).collect();
    std::fs::write(&file, &good).unwrap();
    scene.produce(100);
    let rolled_back = run();
    rolled_back.assert_code(1);
    assert!(rolled_back.stderr.lines().last().unwrap().contains("lacks epoch 2"), "{}", rolled_back.stderr);
    assert_eq!(before, scene.output_topics().iter().map(written).collect::<Vec<_>>());
}
