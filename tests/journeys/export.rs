//! Fear: an export leaves something out, hands out what was deleted or somebody else's, or cannot be read; nobody knows that it was made.
//!
//! Shown on records of every kind, rewritten ones and deleted ones among them: lines and table are what confluent-kafka and fastavro read, in the
//! stated order; a person's are those that carry the pseudonym that Python works out from the keyring; the manifest's hash and counts are true; the
//! audit tells of each export, holds and names nobody; the scope of an incident and the records of processing agree with the topics.

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::outside::repository;
use crate::support::python::{assert_schema, python};
use crate::support::scene::busy;
use lethe::generator::Generator;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

const ROWS: u64 = 3_000;
const EMAIL: &str = "jane.export@example.com";

fn jane(n: usize, at: &str, category: &str) -> Value {
    json!({
        "event_id": format!("jane-{n}"), "kind": category, "event_name": "purchase", "event_time": at,
        "user": { "email": if n == 0 { Value::Null } else { EMAIL.into() }, "external_id": "jane-1" },
        "ids": { "session_id": "s1" }, "value": 5.5, "currency": "EUR", "ip": "93.184.216.34", "user_agent": "=HYPERLINK(\"http://evil\")",
        "url": "https://shop.example/?utm_source=%3Dcmd()", "feedback": { "text": "-1+1 \"quoted\", and more;=2\nline", "nps": 9 },
        "body": "opaque \u{1} body", "consent": { "analytics": true, "ads": true, "given_at": at }
    })
}

/// Deletes a record as any client may, in its partition.
fn tombstone(bootstrap: &str, topic: &str, partition: i32, key: &[u8]) {
    let producer: BaseProducer = kafka::client(bootstrap).create().unwrap();
    producer.send(BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(key)).map_err(|(e, _)| e).unwrap();
    producer.flush(Duration::from_secs(60)).unwrap();
}

fn read(path: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_export_is_what_other_clients_read() {
    let journey = Journey::new("an_export_is_what_others");
    let acme = journey.tenant("acme");
    let config = journey.config().set("sessions.group", format!("{}-sessions", journey.namespace())).tenant(&acme, busy);
    journey.set_up(&config);
    let now = jiff::Timestamp::now();
    let generator = Generator::new(5, &acme, now.as_millisecond());
    let raw = (0..ROWS).map(|i| {
        let mut payload = Vec::new();
        generator.generate(i, &mut payload);
        (None::<&[u8]>, Some(payload))
    });
    let source = format!("{acme}.raw.web");
    let kinds = ["event", "event", "conversion", "feedback", "replay", "media", "log"];
    let hers: Vec<Value> = kinds.iter().enumerate().map(|(n, kind)| jane(n, &now.to_string(), kind)).collect();
    kafka::produce(journey.bootstrap(), &source, raw);
    kafka::produce_json(journey.bootstrap(), &source, &hers);
    journey.lethe(&config).args(["run", "--until-caught-up"]).finish().assert_done();
    // Some come again, and so rewrite what is there; one is deleted.
    kafka::produce_json(journey.bootstrap(), &source, &hers[..3]);
    journey.lethe(&config).args(["run", "--until-caught-up"]).finish().assert_done();
    journey.lethe(&config).args(["sessions", "--until-caught-up"]).finish().assert_done();
    let events = format!("{acme}.events");
    let gone = kafka::read_committed(journey.bootstrap(), &events).swap_remove(7);
    tombstone(journey.bootstrap(), &events, gone.partition, gone.key.as_deref().unwrap());

    let file = |name: &str| journey.home().join(name);
    let (lines, table, person) = (file("all.jsonl"), file("all.csv"), file("jane.jsonl"));
    let export = |arguments: &[&str], output: &std::path::Path| {
        let call =
            journey.lethe(&config).args(["export", "--tenant", &acme]).args(arguments).args(["--output".as_ref(), output.as_os_str()]);
        call.finish().assert_done().request()
    };
    export(&["--format", "jsonl"], &lines);
    export(&["--format", "csv"], &table);
    let request = export(&["--format", "jsonl", "--email", " Jane.Export@EXAMPLE.com "], &person);
    let again = journey.lethe(&config).args(["export", "--tenant", &acme, "--format", "jsonl"]).finish();
    assert_eq!(again.assert_done().stdout.as_bytes(), std::fs::read(&lines).unwrap(), "the same twice, and on standard output");

    let shorts = ["events", "conversions", "feedback", "replay", "media", "logs", "sessions", "network", "dest.meta", "dest.google_ads"];
    let topics: Vec<String> = shorts.iter().map(|short| format!("{acme}.{short}")).collect();
    let mut other = Command::new(python());
    other.arg(repository("tests/journeys/support/compare_export.py")).args([journey.bootstrap()]).arg(file("keyring.toml"));
    other.arg(repository("schemas")).args([&acme, EMAIL]).args([&lines, &table, &person]).args(&topics);
    let compared = other.output().unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stderr));
    let compared: Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert!(compared["rewritten"].as_u64() >= Some(3) && compared["deleted"] == 1 && compared["formulas"] == 0, "{compared}");
    assert!(shorts.iter().all(|short| compared["counts"][*short].as_u64() > Some(0)), "every kind is there: {compared}");
    assert!(compared["theirs"].as_u64() >= Some(10), "{compared}");

    let manifest = read(&file("jane.jsonl.manifest.json"));
    assert_schema("export/manifest.schema.json", &[manifest.clone(), read(&file("all.csv.manifest.json"))]);
    let bytes = std::fs::read(&person).unwrap();
    let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!((manifest["sha256"].as_str(), manifest["bytes"].as_u64()), (Some(sha256.as_str()), Some(bytes.len() as u64)));
    assert_eq!((manifest["records"].clone(), manifest["request"]["id"].clone()), (compared["theirs"].clone(), request.as_str().into()));
    assert_eq!(manifest["request"]["identifiers"], json!({"email": 1}));
    for path in [&person, &file("jane.jsonl.manifest.json")] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // Bodies for destinations hold the event's own id, which here is hers.
    let text = String::from_utf8_lossy(&bytes).to_lowercase();
    let text: String = text.lines().filter(|line| !line.contains("\"kind\":\"dest.")).collect();
    assert!(!text.contains("jane") && text.contains("\"record\""), "a clear value stands in an export of pseudonyms");
    agrees(&journey, &config, &acme, &compared);

    let audit = journey.lethe(&config).args(["audit", "verify", "--json"]).finish();
    let report: Value = serde_json::from_str(&audit.assert_done().stdout).unwrap();
    assert!(report["entries"].as_u64() >= Some(9), "{report}");
    assert_schema("audit/report.schema.json", &[report]);
    let entries = kafka::read_committed(journey.bootstrap(), &format!("{}.audit", journey.namespace()));
    let told: Vec<Value> = entries.iter().map(kafka::Record::json).filter(|e| e["requests"] == json!([request])).collect();
    assert_eq!(told.len(), 2, "before the first record left, and after the last");
    assert_eq!((told[0]["finished"].clone(), told[1]["finished"].clone()), (json!(false), json!(true)));
    assert_eq!((told[1]["sha256"].as_str(), told[1]["scope"].as_str()), (Some(sha256.as_str()), Some("subject")));
    let proofs = format!("{told:?}{manifest}").to_lowercase();
    assert!(!proofs.contains("jane.export") && !proofs.contains("jane-1"), "a proof names the person");
}

/// What was counted and what is documented is what is there.
fn agrees(journey: &Journey, config: &crate::support::config::TestConfig, acme: &str, compared: &Value) {
    let breach = |from: &str, to: &str| -> Value {
        let call = journey.lethe(config).args(["export", "--breach-scope", "--from", from, "--to", to]);
        serde_json::from_str(&call.finish().assert_done().stdout).unwrap()
    };
    let during = breach("2020-01-01", "2099-01-01");
    let tenant = &during["tenants"][0];
    assert_eq!(tenant["tenant"], acme);
    for found in tenant["categories"].as_array().unwrap().iter().chain(tenant["destinations"].as_array().unwrap()) {
        let short = found["topic"].as_str().unwrap().strip_prefix(&format!("{acme}.")).unwrap();
        // The deleted record could be read while it was there.
        let there = compared["counts"][short].as_u64().unwrap() + u64::from(short == "events");
        assert_eq!(found["records"].as_u64(), Some(there), "{short}");
        assert_eq!((found["standing_records"].as_u64(), found["undecoded"].as_u64()), (Some(0), Some(0)));
        assert!(found["fields"].as_object().unwrap().len() > 5 && found["subjects"]["error"] == 0.0, "{found}");
    }
    assert_eq!(tenant["raw"][0]["records"].as_u64(), Some(ROWS + 10));
    let after = breach("2098-01-01", "2099-01-01");
    assert_schema("export/breach_scope.schema.json", &[during.clone(), after.clone()]);
    assert_eq!((after["tenants"][0]["records"].as_u64(), after["tenants"][0]["raw"][0]["records"].as_u64()), (Some(0), Some(0)));
    assert_eq!(after["tenants"][0]["standing_records"], tenant["records"]);
    assert_eq!(after["tenants"][0]["standing_subjects"], tenant["subjects"]);

    let page = journey.lethe(config).args(["export", "--records-of-processing"]).finish();
    let json = journey.lethe(config).args(["export", "--records-of-processing", "--tenant", acme, "--format", "json"]).finish();
    let processing: Value = serde_json::from_str(&json.assert_done().stdout).unwrap();
    assert_eq!(processing["controllers"][0]["categories"].as_array().unwrap().len(), 8);
    for topic in compared["counts"].as_object().unwrap().keys() {
        assert!(page.assert_done().stdout.contains(&format!("| {acme}.{topic} |")), "{topic}: {}", page.stdout);
    }
    let nobody = journey.home().join("nobody");
    std::fs::write(&nobody, "\n").unwrap();
    let list = format!("@{}", nobody.display());
    journey
        .lethe(config)
        .args(["export", "--tenant", acme, "--format", "csv", "--email", &list])
        .finish()
        .assert_refused(2, "names nobody");
    journey.lethe(config).args(["export", "--tenant", "nobody", "--format", "csv"]).finish().assert_refused(2, "no tenant nobody");
}
