//! Fear: a forwarder puts what it finds in a request, and the platform refuses it, or takes it too early, too late or twice.
//!
//! Shown: the forwarder of the README, word for word, reads each destination's topic and sends to a stub that validates every request as the
//! published rules say; everything that was written arrives once, what is deleted, too early or too late does not. A body that the stub
//! refuses stops the forwarder before it commits, and the stub does refuse what the platforms refuse.

mod platforms;
mod strange;
mod stub;

use crate::support::config::{TestConfig, TestTenant};
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::keeper::Kept;
use crate::support::outside::repository;
use crate::support::python::{python, read_back_waiting};
use crate::support::wait::{PATIENCE, eventually, heavy};
use lethe::generator::Generator;
use lethe::ops::clock::now_ms;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use stub::Stub;

const DESTINATIONS: [&str; 6] = ["meta", "google_ads", "google_ads_enhancement", "google_data_manager", "tiktok", "ga4"];

/// Events of the generator: more than a request of Meta takes.
const EVENTS: u64 = 2_500;

/// How long a record that is too early has to wait. Units: ms.
const WAIT_MS: i64 = 3_000;

/// The README's forwarder.
fn forwarder() -> String {
    let readme = std::fs::read_to_string(repository("README.md")).expect("the README is there");
    let code = readme.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    code.expect("the README holds a forwarder in Python").to_owned()
}

/// A record by another hand than Lethe's: whose value may be sent from and until when.
struct Foreign<'f> {
    key: &'f str,
    value: Option<&'f str>,
    not_before_ms: Option<i64>,
    not_after_ms: i64,
}

fn produce_foreign(bootstrap: &str, topic: &str, destination: &str, target: &str, record: &Foreign<'_>) {
    let producer: FutureProducer = kafka::client(bootstrap).set("partitioner", "murmur2_random").create().expect("a producer");
    let (not_after, not_before) = (record.not_after_ms.to_string(), record.not_before_ms.map(|ms| ms.to_string()));
    let mut headers = OwnedHeaders::new();
    let all = [("lethe", Some("\u{1}")), ("destination", Some(destination)), ("target", Some(target))];
    let times = [("not-after", Some(not_after.as_str())), ("not-before", not_before.as_deref())];
    for (key, value) in all.into_iter().chain(times).filter(|(_, value)| value.is_some()) {
        headers = headers.insert(Header { key, value });
    }
    let mut sent = FutureRecord::to(topic).key(record.key).headers(headers);
    sent.payload = record.value;
    kafka::block_on(producer.send(sent, Duration::from_secs(30))).expect("the broker takes it");
}

/// The forwarder of one topic, under way.
fn forward(journey: &Journey, code: &Path, destination: &str, url: &str) -> Kept {
    let log = std::fs::File::create(journey.home().join(format!("{destination}.log"))).expect("a log");
    let mut command = Command::new(python());
    command.arg(code).env("KAFKA", journey.bootstrap()).env("URL", url);
    command.env("TOPIC", format!("{}.dest.{destination}", journey.tenant("acme")));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Kept::spawn(&mut command).expect("python starts")
}

/// Whether the forwarder has committed all records that stand in its topic. The marks of transactions have offsets too, and no record.
fn committed_all(bootstrap: &str, topic: &str) -> bool {
    let records = kafka::read_committed(bootstrap, topic);
    let ends: BTreeMap<i32, i64> = records.iter().map(|record| (record.partition, record.offset + 1)).collect();
    let committed = kafka::committed(bootstrap, &topic.replace(".dest.", ".forward."), topic);
    committed.iter().all(|at| ends.get(&at.partition).is_none_or(|end| at.offset == Some(*end)))
}

fn every_destination(tenant: TestTenant) -> TestTenant {
    tenant
        .set("profile", "ad_attribution")
        .set("destinations", DESTINATIONS.to_vec())
        .set("meta.pixel_id", "111")
        .set("google_ads.customer_id", "1234567890")
        .set("google_ads.conversion_actions.purchase", "987654321")
        .set("google_ads.conversion_actions.generate_lead", "987654322")
        .set("google_ads.click_wait", "0s")
        .set("tiktok.pixel_code", "PIXELCODE")
        .set("ga4.measurement_id", "G-TEST")
}

/// A purchase with several bad fields: what each destination does not get of it, and why.
fn bad_fields() -> (Value, Vec<(&'static str, &'static str, &'static str)>) {
    let mut event: Value = serde_json::from_str(include_str!("../../../schemas/destinations/raw_event.json")).expect("JSON");
    event["event_time"] = now_ms().into();
    event["consent"]["given_at"] = now_ms().into();
    let user = &mut event["user"];
    user["email"] = json!(["jane.doe", "jane@example.com"]);
    user["phone"] = json!("0123");
    user["phone_country"] = Value::Null;
    user["gender"] = json!("x");
    user["date_of_birth"] = json!("2026-02-31");
    user["country"] = json!("Deutschland");
    user["external_id"] = json!("0123456789abcdef0123456789abcdef");
    let mut dropped = vec![("meta", "user.gender", "not_a_gender"), ("meta", "user.date_of_birth", "bad_date")];
    for destination in DESTINATIONS {
        dropped.extend([(destination, "user.email", "not_an_email"), (destination, "user.phone", "no_country_hint")]);
        if destination != "google_ads" {
            dropped.push((destination, "user.country", "not_a_country"));
        }
        if ["meta", "tiktok", "ga4"].contains(&destination) {
            dropped.push((destination, "user.external_id", "md5"));
        }
    }
    dropped.sort_unstable();
    (event, dropped)
}

/// Runs a worker until it has taken in `rows` rows. Returns what it said about fields that destinations do not get of the tenant's rows.
fn run_and_count(journey: &Journey, config: &TestConfig, rows: u64, tenant: &str) -> Vec<(String, String, String)> {
    let mut run = journey.lethe(config).args(["run"]).start();
    run.wait_until_ready();
    let metrics = eventually("all rows to be counted", || {
        let metrics = run.metrics();
        (metrics.sum("lethe_rows_total", &[]) >= rows as f64).then_some(metrics)
    });
    run.terminate_within(PATIENCE).assert_done();
    let samples = metrics.of("lethe_destination_fields_dropped_total");
    let of_tenant = samples.into_iter().filter(|sample| sample.label("tenant") == Some(tenant));
    let mut dropped: Vec<_> = of_tenant
        .map(|sample| {
            assert!((sample.value - 1.0).abs() < f64::EPSILON, "{sample:?}");
            let label = |name| sample.label(name).unwrap_or_default().to_owned();
            (label("destination"), label("field"), label("reason"))
        })
        .collect();
    dropped.sort_unstable();
    dropped
}

#[test]
fn forwarder_is_refused() {
    let _turn = heavy();
    let journey = Journey::new("forwarder_is_refused");
    let acme = journey.tenant("acme");
    let other = journey.tenant("other");
    let config = journey.config().tenant(&acme, every_destination).tenant(&other, every_destination);
    journey.set_up(&config);
    let generator = Generator::new(4, &acme, now_ms());
    let events = (0..EVENTS).map(|i| {
        let mut payload = Vec::new();
        let key = generator.generate(i, &mut payload).key;
        (Some(key.as_bytes().to_vec()), Some(payload))
    });
    kafka::produce(journey.bootstrap(), &format!("{acme}.raw.web"), events);
    let (bad, dropped) = bad_fields();
    kafka::produce_json(journey.bootstrap(), &format!("{other}.raw.web"), [&bad]);
    // What each destination does not get is counted, for the tenant whose row it was.
    let counted = run_and_count(&journey, &config, EVENTS + 1, &other);
    assert_eq!(counted.iter().map(|(d, f, r)| (d.as_str(), f.as_str(), r.as_str())).collect::<Vec<_>>(), dropped);
    // Another house's client finds every header that a forwarder goes by, as it was promised.
    for tenant in [&acme, &other] {
        let topics = DESTINATIONS.map(|destination| format!("{tenant}.dest.{destination}"));
        let read = read_back_waiting(0, journey.bootstrap(), tenant, &topics);
        assert!(DESTINATIONS.iter().all(|d| read["counts"][format!("dest.{d}")].as_u64() > Some(0)), "{read}");
    }

    let stub = Stub::start(platforms::validate);
    let code = journey.home().join("forwarder.py");
    std::fs::write(&code, forwarder()).expect("the journey's directory is writable");
    let topic = |destination: &str| format!("{acme}.dest.{destination}");
    let mut due: BTreeMap<&str, u64> = BTreeMap::new();
    let far = now_ms() + 60 * 60_000;
    let mut early_ms = 0;
    for destination in DESTINATIONS {
        let records = kafka::read_committed(journey.bootstrap(), &topic(destination));
        due.insert(destination, records.len() as u64);
        let foreign = |target, record: Foreign<'_>| produce_foreign(journey.bootstrap(), &topic(destination), destination, target, &record);
        // Nobody may send these: their time has passed, or they were deleted after they had been written.
        let ours = Foreign { key: "-/stale", value: Some("{\"stale\":1}"), not_before_ms: None, not_after_ms: now_ms() - 1 };
        foreign("stale", Foreign { ..ours });
        foreign("stale", Foreign { key: "-/deleted", not_after_ms: far, ..ours });
        foreign("stale", Foreign { key: "-/deleted", value: None, not_after_ms: far, ..ours });
        if destination == "google_ads" {
            let again = records[0].value.as_deref().map(|value| std::str::from_utf8(value).expect("JSON"));
            early_ms = now_ms() + WAIT_MS;
            foreign("1234567890", Foreign { key: "-/early", value: again, not_before_ms: Some(early_ms), not_after_ms: far });
            *due.entry(destination).or_default() += 1;
        }
    }
    assert!(due.values().all(|n| *n > 0) && due["meta"] > 1_000, "too little to show anything: {due:?}");
    let url = |destination: &str| format!("http://{}/{destination}/{{target}}", stub.address());
    let mut forwarders: Vec<Kept> = DESTINATIONS.iter().map(|d| forward(&journey, &code, d, &url(d))).collect();

    eventually("every record to arrive and to be committed", || {
        assert_eq!(stub.refused(), Vec::<String>::new());
        let all = stub.arrived() == due && DESTINATIONS.iter().all(|d| committed_all(journey.bootstrap(), &topic(d)));
        all.then_some(())
    });
    let sent = stub.sent();
    assert!(sent.iter().all(|sent| sent.target != "stale"));
    let last = sent.iter().filter(|sent| sent.destination == "google_ads").map(|sent| sent.at_ms).max();
    assert!(last >= Some(early_ms), "a record was sent before its time");

    // What is refused is not committed: the forwarder ends, and its operator sees why.
    let bad = Foreign { key: "-/bad", value: Some("{\"event_name\":\"Purchase\"}"), not_before_ms: None, not_after_ms: far };
    produce_foreign(journey.bootstrap(), &topic("meta"), "meta", "111", &bad);
    let status = eventually("the forwarder to end", || forwarders[0].child().try_wait().expect("a child"));
    assert!(!status.success() && !committed_all(journey.bootstrap(), &topic("meta")));
    assert_eq!(stub.refused(), ["meta: event_id is no text"]);
    assert_eq!(stub.arrived(), due, "something came twice");
}
