//! Fear: the schema registry is away, slow or unwell, and rows are lost, thrown away, or everybody waits; or nobody else can read what we wrote.
//!
//! Shown with a stand-in that answers as the documented REST API does: nothing begins before the ids of our own schemas are there, and then everything
//! does, in the wire format that confluent-kafka's own clients read and write. Known ids go on while the registry fails; rows of others wait, in their
//! partition alone, and nothing is quarantined because the registry was away. An id that it denies waits for a bounded time. A refused schema stops
//! its tenant alone, by name.

use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Lethe;
use crate::support::outside::{repository, self_signed};
use crate::support::python::python;
use crate::support::registry::{Mood, StandIn};
use crate::support::scene::Scene;
use crate::support::wait::eventually;
use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use lethe::ops::clock::now_ms;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A producer's own schema: a part of ours, and a field that we do not know.
fn writers(extra: &str) -> String {
    let consent = r#"{"type":"record","name":"Agreed","fields":[{"name":"analytics","type":"boolean"}]}"#;
    let time = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    format!(
        r#"{{"type":"record","name":"Ours","namespace":"shop","fields":[{{"name":"event_id","type":"string"}},
        {{"name":"event_name","type":"string"}},{{"name":"event_time","type":{time}}},{{"name":"consent","type":{consent}}},
        {{"name":"{extra}","type":["null","string"],"default":null}}]}}"#
    )
}

/// An event by [`writers`], in the wire format.
fn event(id: u32, name: &str, extra: &str) -> Vec<u8> {
    let schema = Schema::parse_str(&writers(extra)).unwrap();
    let fields = vec![
        ("event_id", Value::String(name.into())),
        ("event_name", Value::String("page_view".into())),
        ("event_time", Value::TimestampMillis(now_ms())),
        ("consent", Value::Record(vec![("analytics".into(), Value::Boolean(true))])),
        (extra, Value::Union(0, Box::new(Value::Null))),
    ];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let body = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(Value::Record(fields)).unwrap();
    [&[0][..], &id.to_be_bytes(), &body].concat()
}

fn send(scene: &Scene, tenant: &str, key: &str, events: &[Vec<u8>]) {
    kafka::produce(scene.bootstrap(), &scene.raw_topic(tenant), events.iter().map(|e| (Some(key), Some(e))));
}

fn written(scene: &Scene, tenant: &str) -> usize {
    kafka::read_committed(scene.bootstrap(), &format!("{tenant}.events")).len()
}

#[track_caller]
fn wait_until_written(scene: &Scene, tenant: &str, count: usize) {
    eventually(&format!("{count} events of {tenant}"), || (written(scene, tenant) >= count).then_some(()));
    assert_eq!(written(scene, tenant), count, "no more than that");
}

fn quarantined(scene: &Scene, tenant: &str) -> usize {
    kafka::read_committed(scene.bootstrap(), &format!("{tenant}.quarantine")).len()
}

#[track_caller]
fn wait_until_waiting(worker: &Lethe, tenant: &str) {
    let waits = || worker.metrics().sum("lethe_schema_waiting_seconds", &[("tenant", tenant)]);
    eventually(&format!("{tenant} to wait for a schema"), || (waits() > 0.0).then_some(()));
    assert!(worker.stderr().contains("a schema is not to be had"), "it is said");
}

/// Two tenants, and a registry in this mood.
fn scene(name: &str, mood: Mood) -> (Scene, StandIn) {
    let registry = StandIn::start(mood);
    let journey = Journey::new(name);
    let (acme, zeta) = (journey.tenant("acme"), journey.tenant("zeta"));
    let config = journey.config().tenant(&acme, |t| t).tenant(&zeta, |t| t).set("schema_registry.url", registry.url());
    (Scene::with(journey, config.set("schema_registry.timeout", "500ms")), registry)
}

#[test]
fn known_ids_go_on_and_unknown_ones_wait() {
    let (scene, registry) = scene("known_ids_go_on", Mood::Away);
    let (acme, zeta) = (scene.tenants[0].clone(), scene.tenants[1].clone());
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    scene.produce_to(&zeta, 200);
    wait_until_waiting(&worker, &acme);
    wait_until_waiting(&worker, &zeta);
    assert_eq!(scene.lag(&zeta), 200, "nothing is taken that could not be written");
    registry.set_mood(Mood::Slow(Duration::from_millis(50)));
    scene.wait_until_done();
    let begun = written(&scene, &zeta);
    assert!(begun > 20, "{begun}");
    let ids = registry.versions(&format!("{zeta}.events-value"));
    assert_eq!(ids.len(), 1, "registered once");
    for record in kafka::read_committed(scene.bootstrap(), &format!("{zeta}.events")) {
        assert_eq!(record.value.unwrap()[..5], [&[0][..], &ids[0].to_be_bytes()].concat());
    }

    registry.set_mood(Mood::Well);
    let known = registry.register("shop", &writers("old"));
    send(&scene, &acme, "k", &[event(known, "e1", "old")]);
    wait_until_written(&scene, &acme, 1);
    let fresh = registry.register("shop", &writers("new"));
    // The registry cannot reach its leader: a new id waits in its partition, whose other rows have to wait behind it.
    registry.set_mood(Mood::Failing(500, 50003));
    send(&scene, &acme, "k", &[event(known, "e2", "old"), event(fresh, "e3", "new"), event(known, "e4", "old")]);
    wait_until_written(&scene, &acme, 2);
    wait_until_waiting(&worker, &acme);
    // Four keys of which one at least is in another partition, and another tenant.
    for (i, key) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
        send(&scene, &zeta, key, &[event(known, &format!("z{i}"), "old")]);
    }
    wait_until_written(&scene, &zeta, begun + 6);
    let before = written(&scene, &acme);
    for key in ["a", "b", "c", "d", "e", "f"] {
        send(&scene, &acme, key, &[event(known, key, "old")]);
    }
    eventually("other partitions to go on", || (written(&scene, &acme) > before).then_some(()));
    assert!(scene.lag(&acme) >= 2, "the unknown one and the one behind it wait");
    registry.set_mood(Mood::Well);
    wait_until_written(&scene, &acme, 2 + 2 + 6);
    scene.wait_until_done();

    // An id that the registry denies waits too; rows before it do not.
    send(&scene, &acme, "k", &[event(known, "e5", "old"), event(777, "e6", "late")]);
    wait_until_written(&scene, &acme, 11);
    wait_until_waiting(&worker, &acme);
    registry.know(777, &writers("late"));
    wait_until_written(&scene, &acme, 12);
    assert_eq!((quarantined(&scene, &acme), worker.metrics().sum("lethe_rows_quarantined_total", &[("tenant", &acme)])), (0, 0.0));
    assert_eq!(registry.asked(&format!("GET /schemas/ids/{known}")), 1, "what is known is asked for once");
    eventually("nobody to wait", || (worker.metrics().sum("lethe_schema_waiting_seconds", &[]) == 0.0).then_some(()));
    worker.terminate_within(Duration::from_secs(10)).assert_done();

    // Asked once more, by somebody who gives such ids no time.
    send(&scene, &acme, "k", &[event(888, "e7", "never"), event(known, "e8", "old")]);
    let config = scene.config.clone().set("schema_registry.unknown_wait", "0s");
    scene.journey.lethe(&config).args(["run", "--until-caught-up"]).finish().assert_done();
    assert_eq!((written(&scene, &acme), quarantined(&scene, &acme)), (13, 1));
    let why = kafka::read_committed(scene.bootstrap(), &format!("{acme}.quarantine"))[0].json();
    assert_eq!(why["reason"], "unknown_schema");

    // Who reads our records waits as well, says so, and goes on.
    registry.set_mood(Mood::Away);
    let mut counting = scene.journey.lethe(&scene.config).args(["aggregate"]).start();
    // Of the tenant whose record came first: nobody is counted while one cannot be.
    eventually("counting to wait", || (counting.metrics().sum("lethe_schema_waiting_seconds", &[]) > 0.0).then_some(()));
    assert!(counting.stderr().contains("a schema is not to be had"), "{}", counting.stderr());
    registry.set_mood(Mood::Well);
    let counted = || counting.metrics().sum("lethe_aggregate_events_total", &[("tenant", &acme), ("outcome", "counted")]);
    eventually("what was written to be counted", || (counted() >= 13.0).then_some(()));
    eventually("nobody to wait", || (counting.metrics().sum("lethe_schema_waiting_seconds", &[]) == 0.0).then_some(()));
    assert!(counting.is_running(), "a registry that is away is no reason to end");
}

/// A config that reaches the registry by TLS with a token; with another authority or token nothing works, and `doctor` says why.
fn by_tls(scene: &Scene, registry: &StandIn, config: TestConfig) -> TestConfig {
    let file = |name: &str| scene.journey.home().join(name);
    let (certificate, key) = self_signed(scene.journey.home(), "registry");
    let url = registry.listen_by_tls(&certificate, &key, "Bearer the-token");
    std::fs::write(file("token"), "the-token\n").unwrap();
    std::fs::write(file("other-token"), "another\n").unwrap();
    let (other, _) = self_signed(scene.journey.home(), "other");
    let with = |authority: &Path, token: &str| {
        let config = config.clone().set("schema_registry.url", url.as_str()).set("schema_registry.timeout", "5s");
        let config = config.set("schema_registry.ca_file", authority.display().to_string());
        config.set("schema_registry.token_file", file(token).display().to_string())
    };
    for (config, why) in [(with(&other, "token"), "does not answer"), (with(&certificate, "other-token"), "token_file")] {
        let told = scene.journey.lethe(&config).args(["doctor", "--json"]).finish();
        let report: serde_json::Value = serde_json::from_str(&told.assert_code(1).stdout).unwrap();
        let found = report["findings"].as_array().unwrap().iter().find(|f| f["check"] == "schema registry").unwrap().clone();
        assert!(found["verdict"] == "fail" && found["detail"].as_str().unwrap().contains(why), "{found}");
    }
    with(&certificate, "token")
}

#[test]
fn a_refused_schema_stops_its_tenant_alone_and_others_clients_read_ours() {
    let (scene, registry) = scene("a_refused_schema", Mood::Well);
    let (acme, zeta) = (scene.tenants[0].clone(), scene.tenants[1].clone());
    registry.demand("Basic bGV0aGU6c2VjcmV0");
    let password = scene.journey.home().join("registry.password");
    std::fs::write(&password, "secret\n").unwrap();
    let wrong = scene.journey.lethe(&scene.config).args(["run", "--until-caught-up"]).finish();
    wrong.assert_code(1);
    assert!(wrong.stderr.contains("schema_registry.username"), "{}", wrong.stderr);
    let config = scene.config.clone().set("schema_registry.username", "lethe");
    let config = config.set("schema_registry.password_file", password.display().to_string());

    let subject = format!("{zeta}.events-value");
    registry.register(&subject, r#"{"type":"record","name":"Somebody","namespace":"elses","fields":[{"name":"x","type":"string"}]}"#);
    scene.produce_to(&acme, 500);
    scene.produce_to(&zeta, 500);
    let done = scene.journey.lethe(&config).args(["run", "--until-caught-up"]).finish();
    done.assert_code(1);
    let line = done.stderr.lines().last().unwrap_or_default();
    assert!(line.contains(&subject) && line.contains("incompatible"), "{line}");
    assert_eq!((scene.lag(&acme), scene.lag(&zeta)), (0, 500));
    assert_eq!(quarantined(&scene, &zeta), 0);
    let alone =
        registry.register(&format!("{acme}.sessions-value"), &std::fs::read_to_string(repository("schemas/session/session.avsc")).unwrap());

    // Another house's serialiser writes events, and its deserialiser reads what became of them.
    let open = StandIn::start(Mood::Well);
    for subject in [format!("{acme}.events-value"), format!("{acme}.sessions-value")] {
        for id in registry.versions(&subject) {
            let schema = if id == alone { "session/session.avsc" } else { "record/record.avsc" };
            open.know(id, &std::fs::read_to_string(repository("schemas").join(schema)).unwrap());
        }
    }
    let config = config.without("schema_registry.username").without("schema_registry.password_file");
    let config = by_tls(&scene, &open, config);
    let before = written(&scene, &acme);
    let schema = scene.journey.home().join("writers.avsc");
    std::fs::write(&schema, writers("note")).unwrap();
    let client = || {
        let mut command = Command::new(python());
        command.arg(repository("tests/journeys/support/registry_client.py"));
        command
    };
    let mut producer = client();
    producer.args(["produce", scene.bootstrap(), &open.url(), &scene.raw_topic(&acme)]).arg(&schema).stdin(Stdio::piped());
    let mut producer = producer.spawn().unwrap();
    for i in 0..50 {
        let event = serde_json::json!({ "event_id": format!("p{i}"), "event_name": "page_view", "event_time": now_ms(), "consent": { "analytics": true }, "note": null });
        writeln!(producer.stdin.as_mut().unwrap(), "{event}").unwrap();
    }
    drop(producer.stdin.take());
    assert!(producer.wait().unwrap().success());
    scene.journey.lethe(&config).args(["run", "--until-caught-up"]).finish().assert_done();
    assert_eq!(written(&scene, &acme), before + 50);
    // One tenant's sessions are refused: the others have theirs.
    let subject = format!("{zeta}.sessions-value");
    open.register(&subject, r#"{"type":"record","name":"Somebody","namespace":"elses","fields":[{"name":"x","type":"string"}]}"#);
    let sessions = scene.journey.lethe(&config).args(["sessions", "--until-caught-up"]).finish();
    let line = sessions.assert_code(1).stderr.lines().last().unwrap_or_default();
    assert!(line.contains(&subject) && line.contains("incompatible"), "{line}");
    assert!(kafka::read_committed(scene.bootstrap(), &format!("{zeta}.sessions")).is_empty());
    let topics = [format!("{acme}.events"), format!("{acme}.sessions")];
    let done = client().args(["read", scene.bootstrap(), &open.url()]).args(&topics).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    for topic in &topics {
        let records = read[topic].as_array().unwrap();
        assert!(!records.is_empty() && records.iter().all(|r| r["tenant"] == acme.as_str()), "{topic}");
        if topic.ends_with(".events") {
            assert_eq!(records.len(), before + 50);
        }
    }
    exports_what_others_read(&scene, &config, &acme, &read);
}

/// An export of records in the wire format holds what the other client read of them, whole.
fn exports_what_others_read(scene: &Scene, config: &TestConfig, tenant: &str, read: &serde_json::Value) {
    scene.journey.create_topic(&format!("{}.audit", scene.journey.namespace()), 1, &[]);
    let exported = scene.journey.lethe(config).args(["export", "--tenant", tenant, "--format", "jsonl"]).finish();
    let lines: Vec<serde_json::Value> = exported.assert_done().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line.get("undecoded").is_none()), "a record is not decoded");
    for (topic, records) in read.as_object().unwrap() {
        let id = |r: &serde_json::Value| r.get("event_id").or_else(|| r.get("session_id")).unwrap().as_str().unwrap().to_owned();
        let mut theirs: Vec<String> = records.as_array().unwrap().iter().map(id).collect();
        let mut ours: Vec<String> = lines.iter().filter(|l| l["topic"] == topic.as_str()).map(|l| id(&l["record"])).collect();
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs, "{topic}");
    }
}
