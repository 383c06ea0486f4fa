//! Fear: what a customer was promised stands in no test by its name. Five customers, one of each profile, side by side on one broker, with one `run` and
//! one `retain`: from raw events through outputs, windows, a withdrawal, an erasure with certificate, a hold and an export to termination. Each
//! promise is one named assertion; the names are printed once all of a customer's are kept. What they have in common is here, what is a customer's own in its file.

mod ad_attribution;
mod affiliate;
mod customer_feedback;
mod server_side_tracking;
mod web_analytics;

use crate::support::config::{TestConfig, TestTenant};
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::{Finished, Lethe};
use crate::support::wait::eventually_within;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;

/// Sweeps, certificates and terminations of five tenants wait for one officer.
const LONG: Duration = Duration::from_secs(400);

/// What is a customer's own.
struct Profile {
    name: &'static str,
    /// Short for its tenant.
    id: &'static str,
    /// The kind of its common events, and the category that keeps them.
    kind: (&'static str, &'static str),
    /// Which consent is withdrawn, and the topic that gets nothing more by it; none where the contract needs no consent.
    withdrawal: Option<(&'static str, &'static str)>,
    /// Config: windows scaled, destinations.
    configure: fn(TestTenant) -> TestTenant,
    /// Raw events besides those that all have.
    events: fn(&Customer<'_>) -> Vec<Value>,
    /// What is ordered before the first event.
    before: fn(&Customer<'_>),
    /// What must be so once all is written.
    written: fn(&Customer<'_>),
    /// Its own requests and windows.
    rights: fn(&Customer<'_>),
}

const PROFILES: [Profile; 5] =
    [server_side_tracking::PROFILE, customer_feedback::PROFILE, web_analytics::PROFILE, ad_attribution::PROFILE, affiliate::PROFILE];

/// One customer under way.
struct Customer<'j> {
    journey: &'j Journey,
    config: &'j TestConfig,
    run: &'j Lethe,
    profile: &'static Profile,
    tenant: String,
    at: jiff::Timestamp,
    kept: Mutex<Vec<String>>,
}

impl Customer<'_> {
    /// One promise, by name.
    #[track_caller]
    fn promise(&self, name: &str, is_kept: bool) {
        assert!(is_kept, "{}: broken: {name}; kept before: {:?}", self.profile.name, self.kept.lock().unwrap());
        self.kept.lock().unwrap().push(name.to_owned());
    }

    fn topic(&self, short: &str) -> String {
        format!("{}.{short}", self.tenant)
    }

    #[track_caller]
    fn call(&self, arguments: &[&str]) -> Finished {
        let finished = self.journey.lethe(self.config).args(arguments).finish();
        finished.assert_done();
        finished
    }

    /// An order about this customer; its request's id.
    #[track_caller]
    fn order(&self, arguments: &[&str]) -> String {
        self.call(&[arguments, &["--tenant", &self.tenant]].concat()).request()
    }

    #[track_caller]
    fn status(&self, request: &str) -> Value {
        serde_json::from_str(&self.call(&["status", "--json", "--request", request]).stdout).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, request: &str, state: &str) {
        eventually(&format!("{} {request} to be {state}", self.profile.name), || (self.status(request)["state"] == state).then_some(()));
    }

    /// All records that there are, or those of somebody, by `export`.
    #[track_caller]
    fn export(&self, who: &[&str]) -> Vec<Value> {
        let finished = self.call(&[&["export", "--tenant", &self.tenant, "--format", "jsonl"], who].concat());
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The records of one kind.
    #[track_caller]
    fn records(&self, kind: &str) -> Vec<Value> {
        of(kind, &self.export(&[]))
    }

    /// Whether a record of the kind was ever written, though its window may have passed meanwhile.
    fn was_written(&self, kind: &str) -> bool {
        kafka::watermarks(self.journey.bootstrap(), &self.topic(kind)).iter().any(|(_, end)| *end > 0)
    }

    /// Rows of this customer that `run` has counted, by outcome; of all outcomes for the empty one.
    fn rows(&self, outcome: &str) -> usize {
        let labels = [("tenant", self.tenant.as_str()), ("outcome", outcome)];
        self.run.metrics().sum("lethe_rows_total", if outcome.is_empty() { &labels[..1] } else { &labels }) as usize
    }

    /// Produces raw events and waits until each is counted.
    #[track_caller]
    fn produce(&self, events: &[Value]) {
        let before = self.rows("");
        kafka::produce_json(self.journey.bootstrap(), &self.topic("raw.web"), events);
        eventually("the rows to be counted", || (self.rows("") >= before + events.len()).then_some(()));
    }

    /// Whether the customer was told.
    fn noticed(&self, words: &str) -> bool {
        let told = kafka::read_committed(self.journey.bootstrap(), &self.topic("notices"));
        told.iter().any(|r| r.value.as_deref().is_some_and(|v| String::from_utf8_lossy(v).contains(words)))
    }

    /// What the config says of the customer, as a document.
    #[track_caller]
    fn processing(&self) -> Value {
        let finished = self.call(&["export", "--records-of-processing", "--format", "json", "--tenant", &self.tenant]);
        serde_json::from_str::<Value>(&finished.stdout).unwrap()["controllers"][0].clone()
    }

    /// The window of a category, as documented.
    #[track_caller]
    fn window(&self, category: &str) -> String {
        let all = self.processing()["categories"].as_array().unwrap().clone();
        let found = all.iter().find(|c| c["category"] == category).unwrap_or_else(|| panic!("no {category}"));
        found["window"].as_str().unwrap().to_owned()
    }

    /// An event of somebody, with consent to everything.
    fn event(&self, id: &str, person: &str) -> Value {
        json!({
            "event_id": id, "event_name": "purchase", "kind": self.profile.kind.0, "event_time": jiff::Timestamp::now().to_string(),
            "user": { "email": format!("{person}.{}@example.com", self.profile.id), "external_id": person, "first_name": "Janina", "country": "DE" },
            "ids": { "session_id": "s-1", "client_id": format!("c-{person}") }, "value": 9.5, "currency": "EUR", "order_id": format!("o-{id}"),
            "action_source": "website", "ip": "93.184.216.34", "url": "https://shop.example/cart?utm_source=news&utm_campaign=may",
            "referrer": "https://search.example/?q=secretword",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "feedback": { "text": "Janina likes it, write to somebody@example.com", "nps": 9, "rating": 4, "author": "Janina K" },
            "consent": { "functional": true, "analytics": true, "ads": true, "personalization": true, "given_at": self.at.to_string() }
        })
    }
}

/// Nothing is ordered before the first event.
fn nothing(_: &Customer<'_>) {}

/// With patience for five.
#[track_caller]
fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(LONG, what, look)
}

/// The records of one kind.
fn of(kind: &str, lines: &[Value]) -> Vec<Value> {
    lines.iter().filter(|line| line["kind"] == kind).map(|line| line["record"].clone()).collect()
}

/// What is not of a kind whose window is scaled to seconds, and so may go at any moment.
fn lasting(lines: Vec<Value>) -> Vec<Value> {
    lines.into_iter().filter(|line| !["media", "replay", "logs", "network"].contains(&line["kind"].as_str().unwrap())).collect()
}

/// Merges members into an event.
fn with(mut event: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        match (event.get_mut(name), value) {
            (Some(Value::Object(into)), Value::Object(from)) => into.extend(from.clone()),
            _ => event[name] = value.clone(),
        }
    }
    event
}

/// Lower-case hex of SHA-256.
fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn five_customers_and_what_each_was_promised() {
    let journey = Journey::new("five_customers");
    let base = journey
        .config()
        .set("topics.partitions", 2)
        .set("run.future_tolerance", "0s")
        .set("topics.benchmarks", format!("{}.benchmarks", journey.namespace()))
        .set("run.instance", "one")
        .set("retain.instance", "one")
        .set("kafka.session_timeout_ms", 6_000);
    let config = PROFILES.iter().fold(base, |config, profile| {
        config.tenant(&journey.tenant(profile.id), |t| {
            // What is not scaled to seconds lives for hours: nothing goes but for a reason.
            let common = t.set("profile", profile.name).set("windows.raw", "10m").set("trim_raw", true);
            (profile.configure)(common.set("windows.dest", "2h"))
        })
    });
    journey.set_up(&config);
    hurry(&journey);
    let mut run = journey.lethe(&config).args(["run"]).start();
    let _retain = journey.lethe(&config).args(["retain"]).start();
    run.wait_until_ready();
    std::thread::scope(|scope| {
        for profile in &PROFILES {
            let (journey, config, run) = (&journey, &config, &run);
            let told = std::thread::Builder::new().name(profile.name.into());
            let story = move || {
                let (tenant, at) = (journey.tenant(profile.id), jiff::Timestamp::now());
                story(&Customer { journey, config, run, profile, tenant, at, kept: Mutex::default() });
            };
            told.spawn_scoped(scope, story).unwrap();
        }
    });
    journey.lethe(&config).args(["audit", "verify"]).finish().assert_done();
}

/// Topics of a broker that cleans at once.
fn hurry(journey: &Journey) {
    let quick = [("segment.ms", "300"), ("max.compaction.lag.ms", "300"), ("delete.retention.ms", "300"), ("file.delete.delay.ms", "100")];
    let own = |topic: &&String| topic.starts_with(journey.namespace());
    for topic in kafka::topics(journey.bootstrap()).iter().filter(own) {
        let short = topic.rsplit('.').next().unwrap_or_default();
        if !topic.contains(".raw.") && !["quarantine", "notices", "aggregates", "directives", "audit", "benchmarks"].contains(&short) {
            kafka::lower(journey.bootstrap(), topic, &quick);
        }
    }
}

/// From raw events to termination.
fn story(c: &Customer<'_>) {
    (c.profile.before)(c);
    let mut events: Vec<Value> = ["jane", "joe", "held", "other"].map(|person| c.event(&format!("{person}-1"), person)).to_vec();
    events.extend((c.profile.events)(c));
    c.produce(&events);
    let lines = c.export(&[]);
    let text: String = lines.iter().filter(|l| !l["kind"].as_str().unwrap().starts_with("dest.")).map(Value::to_string).collect();
    let clear = ["jane.", "Janina", "o-jane", "secretword", "c-jane", "@example"];
    c.promise("records are pseudonymised: no clear value of anybody stands in them", clear.iter().all(|word| !text.contains(word)));
    (c.profile.written)(c);
    withdraw(c);
    hold_and_erase(c);
    hand_out(c);
    (c.profile.rights)(c);
    terminate(c);
    let kept = c.kept.lock().unwrap();
    println!("{}: {}", c.profile.name, kept.join("; "));
    assert!(kept.len() >= 9, "{}: {kept:?}", c.profile.name);
}

fn withdraw(c: &Customer<'_>) {
    let Some((purpose, closed)) = c.profile.withdrawal else { return };
    let before = of(closed, &c.export(&["--external-id", "joe"])).len();
    let request = c.order(&["withdraw", "--external-id", "joe", "--purpose", purpose]);
    c.wait_for(&request, "done");
    c.produce(&[c.event("joe-2", "joe")]);
    let after = of(closed, &c.export(&["--external-id", "joe"])).len();
    c.promise("consent can be withdrawn at any time, and counts from then on", before > 0 && after <= before);
    c.produce(&[c.event("other-2", "other")]);
    let others = of(closed, &c.export(&["--external-id", "other"])).len();
    c.promise("a withdrawal is one person's alone", others == 2);
}

fn hold_and_erase(c: &Customer<'_>) {
    let count = |who: &[&str]| lasting(c.export(who)).len();
    let (everybody, jane, held) = (count(&[]), count(&["--external-id", "jane"]), count(&["--external-id", "held"]));
    let hold = c.order(&["hold", "--external-id", "held", "--reason", "case 7", "--until", "2099-01-01"]);
    eventually("the hold to be in force", || (c.status(&hold)["in_force"] == true).then_some(()));
    let (erase_held, erase) = (c.order(&["erase", "--external-id", "held"]), c.order(&["erase", "--external-id", "jane"]));
    c.wait_for(&erase, "certified");
    c.wait_for(&erase_held, "held");
    c.promise("deletion on request takes all of a person", jane > 0 && c.export(&["--external-id", "jane"]).is_empty());
    let kept = count(&["--external-id", "held"]) == held && held > 0;
    c.promise("a legal hold, with its reason and minimum end, wins over an erasure", kept && c.status(&hold)["until_ms"].is_i64());
    c.promise("the customer is told of holds", c.noticed("hold_set"));
    let home = c.journey.home();
    let certificate = home.join(format!("{}.certificate.json", c.profile.id));
    std::fs::write(&certificate, c.call(&["certificate", "show", "--request", &erase]).stdout).unwrap();
    let public = home.join("signing.key.pub");
    let paths = [certificate.to_str().unwrap(), "--public-key", public.to_str().unwrap()];
    c.promise("the deletion is certified, and the certificate verifies offline", {
        c.call(&[&["certificate", "verify"], &paths[..]].concat()).stdout.contains("holds")
    });
    c.call(&["release", "--request", &hold]);
    c.wait_for(&erase_held, "certified");
    let left = count(&[]);
    c.promise("what was held goes once it is released, and nothing of anybody else", left == everybody - jane - held);
}

/// Access and portability: the same records as lines and as a table.
fn hand_out(c: &Customer<'_>) {
    let lines = lasting(c.export(&["--external-id", "other"]));
    let table = c.call(&["export", "--tenant", &c.tenant, "--format", "csv", "--external-id", "other"]).stdout;
    let kind = |row: &csv::StringRecord| json!({ "kind": row.get(1).unwrap() });
    let rows = lasting(csv::Reader::from_reader(table.as_bytes()).records().map(|row| kind(&row.unwrap())).collect()).len();
    c.promise("access and portability: all of a person as JSON lines and as CSV", !lines.is_empty() && rows == lines.len());
}

/// Intake stops at once, everything goes, the keys are destroyed.
fn terminate(c: &Customer<'_>) {
    let month = c.journey.lethe(c.config).args(["terminate", "--tenant", &c.tenant, "--deadline", "31d"]).finish();
    c.promise("the end is never later than 30 days", month.status.code() == Some(2));
    let request = c.order(&["terminate", "--deadline", "1s"]);
    c.wait_for(&request, "certified");
    let left = kafka::topics(c.journey.bootstrap()).iter().any(|t| t.starts_with(&format!("{}.", c.tenant)));
    let keyring: toml::Table = std::fs::read_to_string(c.journey.home().join("keyring.toml")).unwrap().parse().unwrap();
    let keys = keyring["key"].as_array().unwrap().iter().filter(|k| k["tenant"].as_str() == Some(&c.tenant));
    let gone = !left && keys.clone().count() == 1 && keys.clone().all(|k| k.get("key").is_none());
    c.promise("everything is gone once the contract has ended: topics, keys, and it is certified", gone);
}
