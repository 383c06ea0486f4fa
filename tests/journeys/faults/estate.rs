//! Faults of `retain` and of people's requests: killed at each step, a hold set in the middle, a consent withdrawn between read and produce.

use super::armed::Gate;
use super::{Ground, Shown};
use crate::retain_survives::{Written, assert_only_due_ones_went, keep_ms, keys, table};
use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka::{self, Record};
use crate::support::lethe::Lethe;
use crate::support::moments::Moments;
use crate::support::wait::{PATIENCE, eventually, eventually_within};
use crate::window_elapsed::prepared;
use lethe::faults::Step;
use serde_json::{Value, json};
use std::time::Duration;

pub const PEOPLE: usize = 6;
pub const EVENTS: usize = 3;
/// A record of the events and one to be sent.
const ROUTES: usize = 2;

/// Two processes that expire records, each killed at another step of a transaction; another takes over.
pub fn retain_killed_at_each_step(ground: &Ground, moments: &mut Moments) -> Shown {
    let journey = Journey::new("retain_killed");
    let (config, topic) = prepared(&journey, "16s");
    let config = config.set("kafka.session_timeout_ms", 6_000).set("retain.batch_records", 20);
    let keep = keep_ms(&journey, &config, &topic);
    let reader = kafka::Reader::start(journey.bootstrap(), &[&topic]);
    let mut written = Written::default();
    let pairs = [[Step::Begun, Step::OffsetsSent], [Step::Producing, Step::Committed]];
    let first = moments.below(2) as usize;
    for n in 0..ground.times(1, 2) as usize {
        let mut victims: Vec<Lethe> = pairs[(first + n) % 2]
            .iter()
            .map(|step| {
                let fault = format!("{}:{}:kill", step.as_str(), 1 + moments.below(6));
                journey.lethe(&config.clone().set("retain.instance", step.as_str())).args(["retain"]).faulty(&fault).start()
            })
            .collect();
        let mut round = 0;
        eventually("both to be killed at their steps", || {
            written.write(&journey, &topic, keys(round), "value");
            round += 1;
            std::thread::sleep(Duration::from_millis(200));
            victims.iter_mut().all(|victim| !victim.is_running()).then_some(())
        });
    }
    let retain = journey.lethe(&config).args(["retain"]).start();
    eventually("everything to be gone", || {
        let left = kafka::read_uncommitted(journey.bootstrap(), &topic);
        left.iter().all(|r| r.key_text() == "~roll").then_some(())
    });
    retain.terminate_within(Duration::from_secs(10)).assert_done();
    let all = reader.finish().remove(&topic).unwrap_or_default();
    assert_only_due_ones_went(&all, keep);
    assert!(table(&all).is_empty(), "a reader that kept up has what is gone");
    Shown { rows: written.len() as u64, of: all.len() as u64 }
}

/// Some people's records, and whoever is to forget them.
pub struct Estate {
    pub journey: Journey,
    pub config: TestConfig,
    tenant: String,
}

impl Estate {
    #[track_caller]
    fn new(name: &str) -> Self {
        Self::on(Journey::new(name))
    }

    #[track_caller]
    pub fn on(journey: Journey) -> Self {
        let tenant = journey.tenant("a");
        let config = journey
            .config()
            .set("topics.partitions", 2)
            .set("run.future_tolerance", "0s")
            .set("retain.instance", "one")
            .set("kafka.session_timeout_ms", 6_000)
            .set("kafka.transaction_timeout_ms", 4_000)
            // A worker that a journey holds at a step stays a member.
            .set("kafka.max_poll_interval_ms", 600_000)
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
        let estate = Self { journey, config, tenant };
        for topic in estate.topics() {
            let hurry =
                [("segment.ms", "300"), ("max.compaction.lag.ms", "300"), ("delete.retention.ms", "300"), ("file.delete.delay.ms", "100")];
            kafka::lower(estate.journey.bootstrap(), &topic, &hurry);
        }
        estate
    }

    fn topics(&self) -> [String; ROUTES] {
        ["events", "dest.meta"].map(|short| format!("{}.{short}", self.tenant))
    }

    #[track_caller]
    pub fn produce(&self, people: std::ops::Range<usize>) {
        let at = jiff::Timestamp::now().to_string();
        let event = |person: usize, n: usize| {
            json!({
                "event_id": format!("p{person}-{n}"), "event_name": "purchase", "kind": "event", "event_time": at,
                "user": { "email": format!("person{person}@example.com") }, "value": 9.5, "currency": "EUR", "action_source": "website",
                "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "ip": "93.184.216.34",
                "url": "https://shop.example/cart", "consent": { "analytics": true, "ads": true, "given_at": at }
            })
        };
        let events: Vec<Value> = people.flat_map(|p| (0..EVENTS).map(move |n| (p, n))).map(|(p, n)| event(p, n)).collect();
        kafka::produce_json(self.journey.bootstrap(), &format!("{}.raw.web", self.tenant), &events);
    }

    #[track_caller]
    fn run(&self) {
        self.journey.lethe(&self.config).args(["run", "--until-caught-up"]).finish().assert_done();
    }

    /// A worker of `run`.
    pub fn worker(&self) -> Lethe {
        self.journey.lethe(&self.config).env("LETHE_RUN__INSTANCE", "one").args(["run"]).start()
    }

    /// How many people readers of each topic have all records of, if they have any: those that are there in part do not count.
    #[track_caller]
    pub fn people_live(&self) -> [usize; ROUTES] {
        self.topics().map(|topic| {
            let live = self.live(&topic);
            if live.is_multiple_of(EVENTS) { live / EVENTS } else { usize::MAX }
        })
    }

    pub fn retain(&self, fault: &str) -> Lethe {
        self.journey.lethe(&self.config).args(["retain"]).faulty(fault).start()
    }

    /// Everything but rolls, uncommitted records too.
    #[track_caller]
    pub fn stored(&self) -> Vec<Record> {
        let all = self.topics().into_iter().flat_map(|t| kafka::read_uncommitted(self.journey.bootstrap(), &t));
        all.filter(|r| r.key_text() != "~roll").collect()
    }

    /// How many keys readers of a topic have.
    #[track_caller]
    fn live(&self, topic: &str) -> usize {
        table(&kafka::read_committed(self.journey.bootstrap(), topic)).len()
    }

    #[track_caller]
    pub fn order(&self, arguments: &[&str]) -> String {
        self.journey.lethe(&self.config).args(arguments.iter().chain(&["--tenant", &self.tenant])).finish().assert_done().request()
    }

    #[track_caller]
    pub fn state(&self, request: &str) -> String {
        let finished = self.journey.lethe(&self.config).args(["status", "--json", "--request", request]).finish();
        let status: Value = serde_json::from_str(&finished.assert_done().stdout).expect("the status is JSON");
        status["state"].as_str().expect("a state").to_owned()
    }

    #[track_caller]
    fn wait_for(&self, patience: Duration, request: &str, state: &str) {
        eventually_within(patience, &format!("the state {state}"), || (self.state(request) == state).then_some(()));
    }

    /// The audit verifies, and tells of one certificate for the request.
    #[track_caller]
    pub fn assert_audited(&self, request: &str) {
        let finished = self.journey.lethe(&self.config).args(["audit", "verify", "--json"]).finish();
        let report: Value = serde_json::from_str(&finished.assert_done().stdout).expect("the report is JSON");
        assert_eq!(report["ok"], true, "{report}");
        let entries = kafka::read_committed(self.journey.bootstrap(), &format!("{}.audit", self.journey.namespace()));
        let of = |what: &str| {
            let entries = entries.iter().map(Record::json);
            entries.filter(|e| e["what"] == what && e["requests"].as_array().is_some_and(|ids| ids.iter().any(|id| id == request))).count()
        };
        assert_eq!((of("directive"), of("certified")), (1, 1), "entries of the request");
    }
}

/// An erasure whose process is killed at steps of its transactions, after its sweep, and before its certificate.
pub fn erasure_killed_at_each_step(ground: &Ground, moments: &mut Moments) -> Shown {
    erasure(ground.times(1, 6), moments, "erasure_killed", "", PATIENCE)
}

/// An erasure by a process that never rolls: the cleaner does not come, and no certificate does.
pub fn erasure_without_rolls(_: &Ground, moments: &mut Moments) -> Shown {
    erasure(0, moments, "erasure_without_rolls", "plant:skip_roll", Duration::from_secs(25))
}

fn erasure(kills: u32, moments: &mut Moments, name: &str, plant: &str, patience: Duration) -> Shown {
    let estate = Estate::new(name);
    estate.produce(0..PEOPLE);
    estate.run();
    let before = estate.stored();
    assert_eq!(before.len(), PEOPLE * EVENTS * ROUTES);
    let kept = (PEOPLE - 1) * EVENTS * ROUTES;
    let request = estate.order(&["erase", "--email", "person3@example.com"]);
    for _ in 0..kills {
        let (step, most) = match moments.below(6) {
            0 => (Step::Swept, ROUTES as u64),
            1 => (Step::Certifying, 1),
            _ => (Step::OF_TRANSACTIONS[moments.below(4) as usize], 10),
        };
        let mut victim = estate.retain(&format!("{}:{}:kill", step.as_str(), 1 + moments.below(most)));
        let mut certified = false;
        eventually("a kill or a certificate", || {
            certified = estate.state(&request) == "certified";
            (certified || !victim.is_running()).then_some(())
        });
        let values = estate.stored().iter().filter(|r| r.value.is_some()).count();
        assert!(!certified || values == kept, "certified, and {values} values are there, not {kept}");
    }
    let retain = estate.retain(plant);
    estate.wait_for(patience, &request, "certified");
    let left = estate.stored();
    assert_eq!(left.len(), kept, "all of the others, nothing of the person, no tombstone");
    assert!(left.iter().all(|r| r.value.is_some() && before.contains(r)), "something of the others was altered");
    retain.terminate_within(Duration::from_secs(10)).assert_done();
    estate.assert_audited(&request);
    Shown { rows: before.len() as u64, of: left.len() as u64 }
}

/// A hold is set while a sweep knows its keys and has written nothing.
pub fn hold_set_during_a_sweep(_: &Ground, _: &mut Moments) -> Shown {
    let estate = Estate::new("hold_during_a_sweep");
    estate.produce(0..PEOPLE);
    estate.run();
    let gate = Gate::new(estate.journey.home(), "sweep");
    let retain = estate.retain(&format!("swept:1:{}", gate.deed()));
    let list = ["erase", "--tenant", &estate.tenant, "--email", "-"];
    let erase = estate.journey.lethe(&estate.config).args(list).input("person0@example.com\nperson1@example.com\n").finish();
    let request = erase.assert_done().request();
    eventually("a sweep that knows its keys", || gate.is_reached().then_some(()));
    let hold = estate.order(&["hold", "--email", "person0@example.com", "--reason", "case 7", "--until", "2099-01-01"]);
    gate.open();
    estate.wait_for(PATIENCE, &request, "held");
    let [events, sent] = estate.topics();
    for topic in [&events, &sent] {
        assert_eq!(estate.live(topic), (PEOPLE - 1) * EVENTS, "{topic}: what is held stays, what is not goes");
    }
    estate.journey.lethe(&estate.config).args(["release", "--request", &hold]).finish().assert_done();
    estate.wait_for(PATIENCE, &request, "certified");
    for topic in [&events, &sent] {
        assert_eq!(estate.live(topic), (PEOPLE - 2) * EVENTS, "{topic}: released, it goes");
    }
    retain.terminate_within(Duration::from_secs(10)).assert_done();
    estate.assert_audited(&request);
    Shown { rows: (PEOPLE * EVENTS) as u64, of: ((PEOPLE - 2) * EVENTS * ROUTES) as u64 }
}

/// A consent is withdrawn while a worker holds the rows that it would produce.
pub fn withdrawn_between_read_and_produce(_: &Ground, _: &mut Moments) -> Shown {
    withdrawn("withdrawn_between", "")
}

/// The same with a `retain` that does not wait for the worker.
pub fn withdrawn_without_a_barrier(_: &Ground, _: &mut Moments) -> Shown {
    withdrawn("withdrawn_no_barrier", "plant:drop_barrier")
}

fn withdrawn(name: &str, plant: &str) -> Shown {
    let estate = Estate::new(name);
    let (gate, armed) = (Gate::new(estate.journey.home(), "batch"), estate.journey.home().join("armed"));
    let fault = format!("begun@{}:1:{}", armed.display(), gate.deed());
    let mut run = estate.journey.lethe(&estate.config).args(["run"]).faulty(&fault).start();
    run.wait_until_ready();
    // Ready and idle: the next transaction is the one of these rows.
    let committed = || {
        kafka::committed(estate.journey.bootstrap(), &format!("{}-run", estate.journey.namespace()), &format!("{}.raw.web", estate.tenant))
    };
    eventually("the first positions", || committed().iter().all(|c| c.offset.is_some()).then_some(()));
    std::fs::write(&armed, "").expect("the journey's directory is writable");
    estate.produce(0..1);
    eventually("a batch in hand", || gate.is_reached().then_some(()));
    let request = estate.order(&["withdraw", "--purpose", "ads", "--email", "person0@example.com"]);
    let retain = estate.retain(plant);
    if plant.is_empty() {
        eventually("some looks of retain", || {
            let looks = crate::support::metrics::http_get(retain.http(), "/metrics").ok()?;
            let looks = crate::support::metrics::Metrics::parse(&looks.body).sum("lethe_retention_look_seconds_count", &[]);
            (looks >= 3.0 && estate.state(&request) != "accepted").then_some(())
        });
        assert_eq!(estate.state(&request), "suppressing", "a worker may still write");
    } else {
        estate.wait_for(PATIENCE, &request, "done");
    }
    gate.open();
    let [events, sent] = estate.topics();
    eventually("the rows to be committed", || (estate.live(&events) == EVENTS).then_some(()));
    estate.wait_for(PATIENCE, &request, "done");
    let left = estate.live(&sent);
    assert_eq!(left, 0, "records wait to be sent although the consent is withdrawn");
    run.terminate_within(Duration::from_secs(10)).assert_done();
    drop(retain);
    Shown { rows: EVENTS as u64, of: EVENTS as u64 }
}
