//! Fear: somebody who was to be forgotten is still there, or comes back; somebody else is gone; a proof that proves nothing.
//!
//! Shown, with people known by e-mail, by external id, or by both: an erasure by e-mail takes every record that carries its pseudonym, value and key,
//! and no other; replaying the raw topic and producing the same rows again bring none back, a new event of the same person is taken; `retain` killed
//! at any time goes on and never certifies first; a hold wins until it is released; certificate and audit hold, and not with a byte changed.

use crate::retain_survives::table;
use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka::{self, Record};
use crate::support::lethe::Lethe;
use crate::support::python::assert_schema;
use crate::support::wait::eventually;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PEOPLE: usize = 20;
/// Identifiers are just bytes: these are erased …
const HOSTILE: [&str; 6] = ["*", "$(rm -rf /)", "a\nb", "'; DROP TABLE people--", ".*", "-x"];
/// … and these, which a pattern or a shell would take for them, stay.
const NEIGHBOURS: [&str; 3] = ["anything", "a", "x"];

struct Case {
    journey: Journey,
    config: TestConfig,
    tenant: String,
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

impl Case {
    #[track_caller]
    fn new(name: &str) -> Case {
        let journey = Journey::new(name);
        let tenant = journey.tenant("a");
        let config = journey
            .config()
            .set("topics.partitions", 2)
            .set("run.future_tolerance", "0s")
            .set("retain.instance", "one")
            .set("kafka.session_timeout_ms", 6_000)
            .tenant(&tenant, |t| {
                t.set("windows.events", "2h")
                    .set("windows.raw", "10m")
                    .set("windows.dest", "2h")
                    .set("max_lateness", "5m")
                    .set("trim_raw", true)
                    .set("destinations", vec!["meta"])
                    .set("meta.pixel_id", "1234567890")
            });
        journey.set_up(&config);
        let case = Case { journey, config, tenant };
        // Windows of hours, so that nothing goes by itself, and a broker in a hurry.
        for topic in case.governed() {
            kafka::lower(
                case.journey.bootstrap(),
                &topic,
                &[("segment.ms", "300"), ("max.compaction.lag.ms", "300"), ("delete.retention.ms", "300"), ("file.delete.delay.ms", "100")],
            );
        }
        case
    }

    fn topic(&self, short: &str) -> String {
        format!("{}.{short}", self.tenant)
    }

    fn governed(&self) -> Vec<String> {
        ["events", "dest.meta"].map(|t| self.topic(t)).to_vec()
    }

    fn event(&self, person: usize, n: usize, at: jiff::Timestamp) -> Value {
        let mut user = json!({});
        if person % 3 != 1 {
            user["email"] = json!(format!("Person{person}@Example.com"));
        }
        if !person.is_multiple_of(3) {
            user["external_id"] = json!(format!("u{person}"));
        }
        json!({
            "event_id": format!("p{person}-{n}"), "event_name": "purchase", "kind": "event", "event_time": at.to_string(), "user": user,
            "value": 9.5, "currency": "EUR", "action_source": "website",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "ip": "93.184.216.34", "url": "https://shop.example/cart",
            "consent": { "analytics": true, "ads": true, "given_at": at.to_string() }
        })
    }

    #[track_caller]
    fn run(&self) {
        self.journey.lethe(&self.config).args(["run", "--until-caught-up"]).finish().assert_done();
    }

    #[track_caller]
    fn produce(&self, events: &[Value]) {
        kafka::produce_json(self.journey.bootstrap(), &self.topic("raw.web"), events);
        self.run();
    }

    /// Records with a value, of all governed topics.
    #[track_caller]
    fn there(&self) -> Vec<Record> {
        let all = self.governed().into_iter().flat_map(|t| kafka::read_uncommitted(self.journey.bootstrap(), &t));
        all.filter(|r| r.key_text() != "~roll").collect()
    }

    #[track_caller]
    fn order(&self, arguments: &[&str]) -> String {
        self.journey.lethe(&self.config).args(arguments.iter().chain(&["--tenant", &self.tenant])).finish().assert_done().request()
    }

    #[track_caller]
    fn status(&self, request: &str) -> Value {
        let finished = self.journey.lethe(&self.config).args(["status", "--json", "--request", request]).finish();
        serde_json::from_str(&finished.assert_done().stdout).unwrap()
    }

    /// How often the audit tells of each decision about a request that is made once.
    fn decisions(&self, request: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.entries().iter().filter(|e| e["requests"].as_array().is_some_and(|all| all.iter().any(|r| r == request))) {
            let what = entry["what"].as_str().unwrap().to_owned();
            if ["directive", "suppressed", "certified"].contains(&what.as_str()) {
                *counts.entry(what).or_default() += 1;
            }
        }
        counts
    }

    /// The audit.
    fn entries(&self) -> Vec<Value> {
        kafka::read_committed(self.journey.bootstrap(), &self.audit_topic()).iter().map(Record::json).collect()
    }

    fn state(&self, request: &str) -> String {
        self.status(request)["state"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn retain(&self) -> Lethe {
        self.journey.lethe(&self.config).args(["retain"]).start()
    }

    #[track_caller]
    fn audit(&self, code: i32) -> Value {
        let finished = self.journey.lethe(&self.config).args(["audit", "verify", "--json"]).finish();
        finished.assert_code(code);
        serde_json::from_str(&finished.stdout).unwrap()
    }
}

/// Whether the header holds any of these pseudonyms.
fn carries(record: &Record, people: &BTreeSet<Vec<u8>>) -> bool {
    pseudonyms(record).iter().any(|p| people.contains(p))
}

fn pseudonyms(record: &Record) -> Vec<Vec<u8>> {
    let header = record.headers.iter().find(|(name, _)| name == "lethe").map(|(_, value)| value.as_slice()).unwrap_or_default();
    header.get(11..).unwrap_or_default().chunks(16).map(<[u8]>::to_vec).collect()
}

/// At which steps `retain` is killed; where somebody asks for all, around each of its first transactions too.
fn kills() -> Vec<String> {
    let some = ["swept:1", "producing:1", "certifying:1"].map(str::to_owned);
    let all = std::env::var("LETHE_RIGHTS_KILLS").is_ok_and(|wish| wish == "all");
    let more = (1..=8).filter(|_| all).flat_map(|n| [format!("begun:{n}"), format!("committed:{n}")]);
    more.chain(some).collect()
}

#[test]
fn an_erasure_takes_all_of_somebody_and_nothing_else_and_is_certified_through_kills() {
    let case = Case::new("an_erasure_takes_all");
    let before = now();
    let events: Vec<Value> = (0..PEOPLE).flat_map(|p| (0..4).map(move |n| (p, n))).map(|(p, n)| case.event(p, n, before)).collect();
    case.produce(&events);
    let stored = case.there();
    assert_eq!(stored.iter().filter(|r| r.value.is_some()).count(), PEOPLE * 4 * 2, "events and meta");
    // Person 5 is known by e-mail and external id; one event of theirs has the external id alone, and another person's e-mail stays.
    let mut alone = case.event(5, 9, before);
    alone["user"].as_object_mut().unwrap().remove("email");
    case.produce(&[alone.clone()]);

    let request = case.order(&["erase", "--email", " person5@example.COM "]);
    // Killed at step after step; each time the next one goes on, and there is no certificate before everything is gone.
    for fault in kills() {
        let mut retain = case.journey.lethe(&case.config).args(["retain"]).faulty(&format!("{fault}:kill")).start();
        eventually(&format!("the kill at {fault}"), || (!retain.is_running()).then_some(()));
        let (state, live) = (case.state(&request), case.there().into_iter().filter(|r| r.value.is_some()).count());
        assert!(state != "certified" || live == PEOPLE * 8 + 2 - 8, "killed at {fault}: certified, and {live} records are there");
    }
    let retain = case.retain();
    eventually("the certificate", || (case.state(&request) == "certified").then_some(()));
    let once = [("certified", 1), ("directive", 1), ("suppressed", 1)].map(|(what, n)| (what.to_owned(), n));
    assert_eq!(case.decisions(&request), BTreeMap::from(once));
    let left = case.there();
    assert!(left.iter().all(|r| r.value.is_some()), "a tombstone is left");
    assert_eq!(left.len(), PEOPLE * 8 + 2 - 8, "all others, and the events that do not carry the e-mail");
    let gone: Vec<&Record> = stored.iter().filter(|r| !left.iter().any(|l| l.key == r.key && l.value == r.value)).collect();
    let mut common: BTreeSet<Vec<u8>> = pseudonyms(gone[0]).into_iter().collect();
    gone.iter().for_each(|r| common.retain(|p| pseudonyms(r).contains(p)));
    assert_eq!((gone.len(), common.len()), (8, 2), "the records of one person, known by two names");
    let status = case.status(&request);
    assert_eq!((status["found"]["erased"].as_u64(), status["found"]["other_identifiers"].as_u64()), (Some(8), Some(1)), "{status}");

    // The same rows again, and an old one of the same person that nobody has seen: none comes back. A new event does.
    case.produce(&events);
    case.produce(&[case.event(5, 70, before)]);
    let email: BTreeSet<Vec<u8>> = common.iter().filter(|p| !left.iter().any(|l| pseudonyms(l).contains(p))).cloned().collect();
    assert_eq!(email.len(), 1, "the e-mail's own pseudonym");
    assert!(!case.there().iter().any(|r| carries(r, &email)), "an erased person came back");
    case.produce(&[case.event(5, 71, now())]);
    assert_eq!(case.there().iter().filter(|r| carries(r, &email)).count(), 2, "a person who comes back is a new person");

    // The proofs.
    let shown = case.journey.lethe(&case.config).args(["certificate", "show", "--request", &request]).finish();
    let file = case.journey.home().join("certificate.json");
    std::fs::write(&file, &shown.assert_done().stdout).unwrap();
    let public = case.journey.home().join("signing.key.pub");
    let paths = [file.as_os_str(), "--public-key".as_ref(), public.as_os_str()];
    let verify = || case.journey.lethe(&case.config).args(["certificate", "verify"]).args(paths).finish();
    verify().assert_done();
    std::fs::write(&file, shown.stdout.replace("\"erased\": 8", "\"erased\": 7")).unwrap();
    verify().assert_code(1);
    let text = case.journey.lethe(&case.config).args(["certificate", "show", "--text", "--request", &request]).finish();
    assert!(text.assert_done().stdout.contains("8 keys"), "{}", text.stdout);
    let all = shown.stdout.clone() + &text.stdout + &format!("{:?}", kafka::read_committed(case.journey.bootstrap(), &case.audit_topic()));
    assert!(!all.to_lowercase().contains("person5"), "a proof names the person");
    let report = case.audit(0);
    assert_eq!(report["ok"], true);
    assert_schema("certificate/certificate.schema.json", &[serde_json::from_str(&shown.stdout).unwrap()]);
    assert_schema("status/request.schema.json", &[status]);
    // Whoever can write to the topic cannot write history: an entry repeated with a byte changed is named.
    let entries = kafka::read_committed(case.journey.bootstrap(), &case.audit_topic());
    let mut forged = entries[1].value.clone().unwrap();
    let at = forged.iter().position(u8::is_ascii_digit).unwrap();
    forged[at] = if forged[at] == b'9' { b'8' } else { forged[at] + 1 };
    kafka::produce(case.journey.bootstrap(), &case.audit_topic(), [(Some("retain"), Some(forged))]);
    let report = case.audit(1);
    assert_eq!(report["faults"][0]["fault"], "was changed: its hash does not fit", "{report}");
    drop(retain);
}

#[test]
fn a_hold_wins_until_it_is_released_and_bad_directives_do_nothing() {
    let case = Case::new("a_hold_wins");
    let before = now();
    let mut events: Vec<Value> = (0..3).map(|p| case.event(p, 0, before)).collect();
    events.extend(HOSTILE.iter().chain(&NEIGHBOURS).enumerate().map(|(n, id)| {
        let mut event = case.event(1, 100 + n, before);
        event["user"] = json!({ "external_id": id });
        event
    }));
    case.produce(&events);
    let retain = case.retain();
    let arguments: Vec<String> = HOSTILE.iter().map(|id| format!("--external-id={id}")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let hostile = case.order(&[&["erase"], arguments.as_slice()].concat());
    let long = case.journey.home().join("long");
    std::fs::write(&long, "x".repeat(1 << 20)).unwrap();
    let long = case.order(&["erase", "--external-id", &format!("@{}", long.display())]);
    eventually("the hostile ones to be gone", || (case.state(&hostile) == "certified" && case.state(&long) == "certified").then_some(()));
    let erased = |request: &str| case.status(request)["found"]["erased"].as_u64();
    assert_eq!((erased(&hostile), erased(&long)), (Some(2 * HOSTILE.len() as u64), Some(0)));
    // Their neighbours go too, so that the numbers below are of the three alone.
    assert_eq!(case.there().len(), (3 + NEIGHBOURS.len()) * 2, "and nobody else");
    let arguments: Vec<&str> = NEIGHBOURS.iter().flat_map(|id| ["--external-id", id]).collect();
    let neighbours = case.order(&[&["erase"], arguments.as_slice()].concat());
    eventually("the neighbours to be gone", || (case.state(&neighbours) == "certified").then_some(()));
    let hold = case.order(&["hold", "--email", "person0@example.com", "--reason", "case 7", "--until", "2099-01-01"]);
    eventually("the hold to be in force", || (case.status(&hold)["in_force"] == true).then_some(()));
    let erase = case
        .journey
        .lethe(&case.config)
        .args(["erase", "--tenant", &case.tenant, "--email", "-"])
        .input("person0@example.com\nperson2@example.com\n")
        .finish();
    let erase = erase.assert_done().request();
    eventually("the erasure to be held", || (case.state(&erase) == "held").then_some(()));
    let stored = || case.there().iter().filter(|r| r.value.is_some()).count();
    eventually("what is not held to go", || (stored() == 4).then_some(()));
    // Whoever lost the ids finds what is open and in force.
    let listed = case.journey.lethe(&case.config).args(["status", "--json", "--tenant", &case.tenant]).finish();
    let listed: Value = serde_json::from_str(&listed.assert_done().stdout).unwrap();
    let lines = listed["requests"].as_array().unwrap().iter().map(|r| (r["request"].as_str().unwrap(), r["state"].as_str().unwrap()));
    assert_eq!(lines.collect::<Vec<_>>(), [(hold.as_str(), "done"), (erase.as_str(), "held")]);
    assert_schema("status/status.schema.json", std::slice::from_ref(&listed));
    // What readers of the topics have.
    let live = || case.governed().iter().map(|t| table(&kafka::read_committed(case.journey.bootstrap(), t)).len()).sum::<usize>();
    // Nobody can order nonsense: the outcome stands in the audit, and nothing else happens.
    let directives = format!("{}.directives", case.journey.namespace());
    kafka::produce(
        case.journey.bootstrap(),
        &directives,
        [
            (Some("x/erase/1"), Some("{}")),
            (Some("nobody/terminate/t1"), Some(r#"{"id":"t1","tenant":"nobody","issued_at_ms":1,"kind":"terminate","deadline_ms":1}"#)),
        ],
    );
    eventually("the unknown tenant to be refused", || {
        let finished = case.journey.lethe(&case.config).args(["status", "--json", "--request", "t1"]).finish();
        finished.stdout.contains("no such tenant").then_some(())
    });
    // Repeated, or older than what is in force: told, and nothing changes.
    let given = kafka::read_committed(case.journey.bootstrap(), &directives).into_iter().find(|r| r.key_text().ends_with(&erase)).unwrap();
    let mut older = given.json();
    older["issued_at_ms"] = json!(1);
    older["pseudonyms"] = json!(["1.AAECAwQFBgcICQoLDA0ODw"]);
    let key = given.key_text();
    let again = [(Some(key.clone()), given.value.clone()), (Some(key), Some(older.to_string().into_bytes()))];
    kafka::produce(case.journey.bootstrap(), &directives, again);
    eventually("both to be told of", || {
        let outcomes: BTreeSet<String> = case.entries().iter().filter_map(|e| Some(e["outcome"].as_str()?.to_owned())).collect();
        ["in_force", "malformed", "older", "repeated"].iter().all(|o| outcomes.contains(*o)).then_some(())
    });
    assert_eq!(case.state(&erase), "held");
    // Restricted: nothing more of the person, and what waited to be sent is taken back.
    let restricted = case.order(&["restrict", "--external-id", "u1"]);
    eventually("the restriction's sweep", || (case.state(&restricted) == "done").then_some(()));
    // Processes that begin when compaction has taken what it may, and know only what is left.
    drop(retain);
    case.compact(&directives);
    let _retain = case.retain();
    case.produce(&[case.event(1, 5, now()), case.event(0, 70, before), case.event(2, 70, before)]);
    assert_eq!(live(), 3, "the record to be sent is gone, the event stays, the new one did not come");
    case.order(&["restrict", "--lift", "--external-id", "u1"]);
    case.produce(&[case.event(1, 6, now())]);
    assert_eq!(live(), 5);
    assert_eq!(case.state(&erase), "held");
    let released = case.journey.lethe(&case.config).args(["release", "--request", &hold]).finish();
    assert_eq!(released.assert_done().request(), hold);
    eventually("the certificate", || (case.state(&erase) == "certified").then_some(()));
    assert_eq!(live(), 3);
    let notices: Vec<Value> = kafka::read_committed(case.journey.bootstrap(), &case.topic("notices")).iter().map(|r| r.json()).collect();
    for event in ["hold_set", "hold_released", "certified"] {
        assert!(notices.iter().any(|n| n["type"] == event), "{event}: {notices:?}");
    }
    assert_schema("notice/notice.schema.json", &notices);
    let states: Vec<Value> = [&hostile, &erase, &hold, &restricted].map(|request| case.status(request)).to_vec();
    assert_schema("status/request.schema.json", &states);
    assert_schema("audit/entry.schema.json", &case.entries());
    let given = kafka::read_committed(case.journey.bootstrap(), &directives).into_iter().filter(|r| r.key_text().starts_with(&case.tenant));
    assert_schema("directive/directive.schema.json", &given.map(|r| r.json()).collect::<Vec<_>>());
    assert_eq!(case.audit(0)["ok"], true);
}

impl Case {
    /// Waits until the newest record of each key is all that a compacted topic has.
    #[track_caller]
    fn compact(&self, topic: &str) {
        let bootstrap = self.journey.bootstrap();
        let hurry = [("segment.ms", "300"), ("max.compaction.lag.ms", "300"), ("min.cleanable.dirty.ratio", "0.0")];
        kafka::lower(bootstrap, topic, &hurry);
        let keys: BTreeSet<String> = kafka::read_committed(bootstrap, topic).iter().map(Record::key_text).collect();
        eventually("compaction", || {
            // The newest segment is not cleaned; what cannot be an order begins another.
            kafka::produce(bootstrap, topic, [(Some("x/erase/1"), Some("{}"))]);
            let left = kafka::read_committed(bootstrap, topic);
            let old = left.iter().filter(|r| r.key_text() != "x/erase/1");
            (old.count() == keys.len() - 1).then_some(())
        });
    }

    fn audit_topic(&self) -> String {
        format!("{}.audit", self.journey.namespace())
    }
}
