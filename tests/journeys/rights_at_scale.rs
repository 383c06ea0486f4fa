//! Fear: what holds for a handful of records does not hold for a million, or a hundred requests take a hundred times as long as one.
//!
//! Shown, for as many records, people and requests as the environment says: erasures by e-mail of people of whom some records carry only the e-mail, some
//! only the external id, some both, take every record with the e-mail, value and key, and no other; a replay of the raw topic and the same rows produced
//! again bring none back; a new event of an erased person is taken and holds no certificate up; every certificate verifies. Prints the time of each stage.
//!
//! ```text
//! LETHE_RIGHTS_EVENTS=1000000 LETHE_RIGHTS_PEOPLE=1000 LETHE_RIGHTS_REQUESTS=100 cargo test --release --test journeys rights_at_scale -- --nocapture
//! ```

use crate::support::journey::Journey;
use crate::support::kafka::{self, Record};
use crate::support::lethe::{Finished, Lethe};
use crate::support::wait::eventually_within;
use serde_json::Value;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(1_800);

fn wish(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// One event. Every third of a person carries only the e-mail, only the external id, or both.
fn event(people: usize, n: usize, at: &str) -> Vec<u8> {
    let (person, turn) = (n % people, n / people);
    let user = match turn % 3 {
        0 => format!(r#""email":"Person{person}@Example.com""#),
        1 => format!(r#""external_id":"u{person}""#),
        _ => format!(r#""email":"person{person}@example.com","external_id":"u{person}""#),
    };
    format!(
        r#"{{"event_id":"e{n}","event_name":"page_view","event_time":"{at}","user":{{{user}}},"url":"https://shop.example/a","consent":{{"analytics":true,"ads":true,"given_at":"{at}"}}}}"#
    )
    .into_bytes()
}

/// The pseudonyms in a record's header.
fn pseudonyms(record: &Record) -> impl Iterator<Item = &[u8]> {
    let header = record.headers.iter().find(|(name, _)| name == "lethe").map(|(_, value)| value.as_slice()).unwrap_or_default();
    header.get(11..).unwrap_or_default().chunks(16)
}

#[test]
fn erasures_of_some_among_many() {
    let (events, people, requests) =
        (wish("LETHE_RIGHTS_EVENTS", 3_000), wish("LETHE_RIGHTS_PEOPLE", 100), wish("LETHE_RIGHTS_REQUESTS", 1));
    let journey = Journey::new("erasures_of_some");
    let tenant = journey.tenant("a");
    let (raw, topic) = (format!("{tenant}.raw.web"), format!("{tenant}.events"));
    let config = journey.config().set("run.future_tolerance", "0s").set("topics.partitions", 4).tenant(&tenant, |t| {
        let t = t.set("windows.events", "6h").set("windows.raw", "1h").set("windows.sessions", "off").set("windows.logs", "off");
        t.set("windows.conversions", "off").set("windows.replay", "off").set("max_lateness", "1h").set("trim_raw", true)
    });
    journey.set_up(&config);
    let hurry =
        [("segment.ms", "1000"), ("max.compaction.lag.ms", "1000"), ("delete.retention.ms", "1000"), ("file.delete.delay.ms", "1000")];
    kafka::lower(journey.bootstrap(), &topic, &hurry);
    let call = |arguments: &[&str]| -> Finished {
        let finished = journey.lethe(&config).args(arguments).start().finish_within(PATIENCE);
        finished.assert_done();
        finished
    };
    let read = || -> Vec<Record> {
        let all = kafka::read_uncommitted(journey.bootstrap(), &topic);
        all.into_iter().filter(|r| r.key_text() != "~roll").collect()
    };
    let produce = |wanted: &dyn Fn(usize) -> bool, at: &str| {
        let rows = (0..events).filter(|n| wanted(*n)).map(|n| (Some(format!("{}", n % people)), Some(event(people, n, at))));
        kafka::produce(journey.bootstrap(), &raw, rows);
    };

    let at = jiff::Timestamp::now().to_string();
    produce(&|_| true, &at);
    let begun = Instant::now();
    call(&["run", "--until-caught-up"]);
    println!("{events} events of {people} people through `run` in {:.1} s", begun.elapsed().as_secs_f64());
    let stored = read();
    assert_eq!(stored.len(), events);
    let begun = Instant::now();
    let ids: Vec<String> =
        (0..requests).map(|p| call(&["erase", "--tenant", &tenant, "--email", &format!("person{p}@example.com")]).request()).collect();
    println!("{requests} requests given, a process each, in {:.1} s", begun.elapsed().as_secs_f64());
    let ends: Vec<i64> = kafka::watermarks(journey.bootstrap(), &topic).into_iter().map(|(_, end)| end).collect();
    // A replay of the raw topic from its start, by a group that has nothing committed.
    let group = format!("{}-replay", journey.namespace());
    let replay = config.clone().set("run.group", group.as_str()).set("run.groups", vec![group.as_str()]);
    journey.lethe(&replay).args(["run", "--until-caught-up"]).start().finish_within(PATIENCE).assert_done();
    let with_email = (0..events).filter(|n| n % people < requests && (n / people) % 3 != 1).count();
    let replayed = read().iter().filter(|r| r.offset >= ends[r.partition as usize]).count();
    assert_eq!(replayed, events - with_email, "the replay brought somebody back");

    let begun = Instant::now();
    let retain: Lethe = journey.lethe(&config).args(["retain"]).start();
    // A new event of the first of them holds nothing up.
    let now = jiff::Timestamp::now().to_string();
    let back = event(people, 0, &now).iter().map(|b| *b as char).collect::<String>().replace("\"e0\"", "\"back\"");
    kafka::produce(journey.bootstrap(), &raw, [(Some("0"), Some(back))]);
    call(&["run", "--until-caught-up"]);
    let audit = format!("{}.audit", journey.namespace());
    let certificates: Vec<Value> = eventually_within(PATIENCE, "the certificates", || {
        let all = kafka::read_committed(journey.bootstrap(), &audit);
        let found = all.iter().map(Record::json).filter(|e| e["what"] == "certified").map(|e| e["certificate"].clone());
        let found: Vec<Value> = found.collect();
        if found.len() < ids.len() {
            // Each look reads the audit: not too often.
            std::thread::sleep(Duration::from_millis(200));
        }
        (found.len() == ids.len()).then_some(found)
    });
    println!("{} certified in {:.1} s from the start of `retain`", ids.len(), begun.elapsed().as_secs_f64());
    let named: HashSet<&str> = certificates.iter().filter_map(|c| c["request"].as_str()).collect();
    assert!(ids.iter().all(|id| named.contains(id.as_str())));
    let erased: u64 = certificates.iter().map(|c| c["found"]["erased"].as_u64().unwrap()).sum();
    assert_eq!(erased, with_email as u64);
    let status = call(&["status", "--json", "--request", ids.last().unwrap()]);
    print_stages(&serde_json::from_str(&status.stdout).unwrap());

    let left = read();
    assert!(left.iter().all(|r| r.value.is_some()), "a tombstone is left");
    let keys: HashSet<&[u8]> = left.iter().filter_map(|r| r.key.as_deref()).collect();
    let gone: Vec<&Record> = stored.iter().filter(|r| !keys.contains(r.key.as_deref().unwrap_or_default())).collect();
    assert_eq!(
        (gone.len(), keys.len()),
        (with_email, events - with_email + 1),
        "those with the e-mail, nobody else; and the one who came back"
    );
    // What the gone have and nobody else: their e-mails, one each.
    let others: HashSet<&[u8]> =
        stored.iter().filter(|r| keys.contains(r.key.as_deref().unwrap_or_default())).flat_map(pseudonyms).collect();
    let emails: HashSet<&[u8]> = gone.iter().flat_map(|r| pseudonyms(r)).filter(|p| !others.contains(p)).collect();
    assert_eq!(emails.len(), requests);
    let carry = |records: &[Record]| records.iter().filter(|r| pseudonyms(r).any(|p| emails.contains(p))).count();
    assert_eq!(carry(&left), 1, "the one who came back");
    // The same rows produced once more bring nobody back.
    produce(&|n| n % people < requests, &at);
    call(&["run", "--until-caught-up"]);
    assert_eq!(carry(&read()), 1);
    let certificate = journey.home().join("certificate.json");
    let key = journey.home().join("signing.key.pub");
    for id in ids.iter().take(5) {
        std::fs::write(&certificate, call(&["certificate", "show", "--request", id]).stdout).unwrap();
        call(&["certificate", "verify", certificate.to_str().unwrap(), "--public-key", key.to_str().unwrap()]);
    }
    call(&["audit", "verify"]);
    drop(retain);
}

fn print_stages(status: &Value) {
    let at = |name: &str| status[name].as_i64().unwrap_or_default();
    let stages = ["received_ms", "accepted_ms", "suppressed_ms", "swept_ms", "read_back_ms", "bytes_gone_ms", "certified_ms"];
    for pair in stages.windows(2) {
        println!(
            "{:>14} -> {:<14} {:>8.1} s",
            pair[0].trim_end_matches("_ms"),
            pair[1].trim_end_matches("_ms"),
            (at(pair[1]) - at(pair[0])) as f64 / 1_000.0
        );
    }
}
