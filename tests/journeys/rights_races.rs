//! Fear: an erasure is swept and certified while somebody still has the person's records in hand, and writes them afterwards.
//!
//! Shown, with real processes stopped at named steps: a worker in the middle of a batch, one between its offsets and its commit while its group looks
//! empty, one that joins during the sweep, and `lethe sessions` in the middle of a batch: the certificate waits for each, and nothing is left or comes
//! back. A group whose members are gone is not waited for, under the newer protocol either.

use crate::faults::armed::Gate;
use crate::support::config::{TestConfig, TestTenant};
use crate::support::journey::Journey;
use crate::support::kafka::{self, Record};
use crate::support::lethe::Lethe;
use crate::support::wait::eventually;
use serde_json::{Value, json};

struct Case {
    journey: Journey,
    config: TestConfig,
    tenant: String,
}

fn event(id: &str, person: &str) -> Value {
    let at = jiff::Timestamp::now().to_string();
    json!({
        "event_id": id, "event_name": "page_view", "event_time": at, "user": { "email": format!("{person}@example.com") },
        "consent": { "analytics": true, "ads": true, "given_at": at }
    })
}

impl Case {
    #[track_caller]
    fn new(name: &str, sessions: bool, change: impl FnOnce(TestConfig) -> TestConfig) -> Case {
        let journey = Journey::new(name);
        let tenant = journey.tenant("a");
        let windows = |t: TestTenant| {
            let t = t.set("windows.events", "2h").set("windows.raw", "10m").set("max_lateness", "5m").set("trim_raw", true);
            t.set("windows.sessions", if sessions { "2h" } else { "off" })
        };
        let config = journey
            .config()
            .set("topics.partitions", 1)
            .set("run.future_tolerance", "0s")
            .set("retain.instance", "one")
            .set("sessions.group", format!("{}-sessions", journey.namespace()))
            .set("kafka.transaction_timeout_ms", 10_000)
            .tenant(&tenant, windows);
        let config = change(config);
        journey.set_up(&config);
        let case = Case { journey, config, tenant };
        for topic in case.governed() {
            let hurry =
                [("segment.ms", "300"), ("max.compaction.lag.ms", "300"), ("delete.retention.ms", "300"), ("file.delete.delay.ms", "100")];
            kafka::lower(case.journey.bootstrap(), &topic, &hurry);
        }
        case
    }

    fn topic(&self, short: &str) -> String {
        format!("{}.{short}", self.tenant)
    }

    fn governed(&self) -> Vec<String> {
        let all = ["events", "sessions"].map(|t| self.topic(t));
        all.into_iter().filter(|t| !kafka::partitions_of(self.journey.bootstrap(), t).is_empty()).collect()
    }

    #[track_caller]
    fn produce(&self, events: &[Value]) {
        kafka::produce_json(self.journey.bootstrap(), &self.topic("raw.web"), events);
    }

    #[track_caller]
    fn start(&self, job: &str, instance: &str, fault: &str) -> Lethe {
        let variable = format!("LETHE_{}__INSTANCE", job.to_uppercase());
        let call = self.journey.lethe(&self.config).env(&variable, instance).args([job]);
        if fault.is_empty() { call.start() } else { call.faulty(fault).start() }
    }

    #[track_caller]
    fn erase(&self, person: &str) -> String {
        let email = format!("{person}@example.com");
        self.journey.lethe(&self.config).args(["erase", "--tenant", &self.tenant, "--email", &email]).finish().assert_done().request()
    }

    #[track_caller]
    fn state(&self, request: &str) -> String {
        let finished = self.journey.lethe(&self.config).args(["status", "--json", "--request", request]).finish();
        let status: Value = serde_json::from_str(&finished.assert_done().stdout).unwrap();
        status["state"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn certified(&self, request: &str) {
        eventually("the certificate", || (self.state(request) == "certified").then_some(()));
    }

    /// Everything that is stored, committed or not, but for rolls.
    #[track_caller]
    fn stored(&self) -> Vec<Record> {
        let all = self.governed().into_iter().flat_map(|t| kafka::read_uncommitted(self.journey.bootstrap(), &t));
        all.filter(|r| r.key_text() != "~roll").collect()
    }

    /// A worker stopped between its offsets and its commit. Whether its records have left it by then is chance: if not, another tries.
    #[track_caller]
    fn stopped_with_a_batch_stored(&self) -> Lethe {
        let before = self.stored().len();
        for _ in 0..10 {
            let mut worker = self.start("run", "stopped", "offsets_sent:2:stop");
            eventually("the worker to stop", || {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.id())).unwrap();
                stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')).then_some(())
            });
            if self.stored().len() > before {
                return worker;
            }
            worker.kill();
        }
        panic!("no worker had its records stored before it was stopped");
    }

    /// The directives' end, and up to where the group of `run` has taken them in.
    fn taken_in(&self) -> bool {
        let end = kafka::watermarks(self.journey.bootstrap(), &format!("{}.directives", self.journey.namespace()))[0].1;
        let group = format!("{}-run", self.journey.namespace());
        let committed = kafka::committed(self.journey.bootstrap(), &group, &self.topic("raw.web"));
        committed.iter().all(|c| c.metadata.contains(&format!("directives={end} ")))
    }
}

#[test]
fn workers_with_records_in_hand_are_waited_for() {
    let case = Case::new("workers_with_records", false, |config| config.set("kafka.session_timeout_ms", 6_000));
    let retain = case.start("retain", "one", "");

    // Held in the middle of a batch: what was decided without the directive is committed after it was given, and swept.
    let gate = Gate::new(case.journey.home(), "batch");
    let worker = case.start("run", "held", &format!("producing:1:{}", gate.deed()));
    case.produce(&[event("1", "jane"), event("2", "joe")]);
    eventually("a batch in hand", || gate.is_reached().then_some(()));
    let jane = case.erase("jane");
    eventually("the directive to be accepted", || (case.state(&jane) == "suppressing").then_some(()));
    gate.open();
    case.certified(&jane);
    assert_eq!(case.stored().len(), 1, "joe's");
    worker.kill();

    // Stopped with its offsets sent, for longer than its session: the group looks empty, and the transaction hangs until it is given up. How soon that
    // is depends on the machine, so what sweeps is stopped at its sweep from the beginning.
    retain.kill();
    let sweep = Gate::new(case.journey.home(), "sweep");
    let retain = case.start("retain", "one", &format!("swept:1:{}", sweep.deed()));
    case.produce(&[event("3", "jim"), event("4", "joe")]);
    let worker = case.stopped_with_a_batch_stored();
    let jim = case.erase("jim");
    eventually("the sweep", || sweep.is_reached().then_some(()));
    // One that joins during the sweep reads the directives first.
    let joined = case.start("run", "joined", "");
    eventually("the batch to be done again", || {
        (kafka::lag(case.journey.bootstrap(), &format!("{}-run", case.journey.namespace()), &case.topic("raw.web")) == 0).then_some(())
    });
    sweep.open();
    worker.thaw();
    case.certified(&jim);
    let left = case.stored();
    assert_eq!(left.len(), 2, "joe's two: {left:?}");
    assert!(left.iter().all(|r| r.value.is_some()));
    drop((worker, joined, retain));
}

#[test]
fn sessions_in_hand_are_waited_for() {
    let case = Case::new("sessions_in_hand", true, |config| config.set("kafka.session_timeout_ms", 6_000));
    let _run = case.start("run", "one", "");
    let _retain = case.start("retain", "one", "");
    case.produce(&[event("1", "jane"), event("2", "joe")]);
    eventually("the events", || (case.stored().len() == 2).then_some(()));
    let gate = Gate::new(case.journey.home(), "sessions");
    let _sessions = case.start("sessions", "held", &format!("producing:1:{}", gate.deed()));
    eventually("sessions in hand", || gate.is_reached().then_some(()));
    let jane = case.erase("jane");
    eventually("the worker to take it in", || case.taken_in().then_some(()));
    // Whatever comes after it is accepted, so `retain` has looked since, and this one waits still.
    let withdrawn = case
        .journey
        .lethe(&case.config)
        .args(["withdraw", "--tenant", &case.tenant, "--purpose", "ads", "--email", "joe@example.com"])
        .finish();
    let withdrawn = withdrawn.assert_done().request();
    eventually("retain to look again", || (case.state(&withdrawn) == "suppressing").then_some(()));
    assert_eq!(case.state(&jane), "suppressing", "the sessions in hand are not waited for");
    gate.open();
    case.certified(&jane);
    eventually("joe's event and session, nothing else", || {
        let stored = case.stored();
        (stored.len() == 2 && stored.iter().all(|r| r.value.is_some())).then_some(())
    });
}

#[test]
fn a_group_without_members_is_not_waited_for_under_the_newer_protocol() {
    let case = Case::new("newer_protocol", false, |config| config.set("kafka.group_protocol", "consumer"));
    case.produce(&[event("1", "jane"), event("2", "joe")]);
    case.journey.lethe(&case.config).args(["run", "--until-caught-up"]).finish().assert_done();
    let _retain = case.start("retain", "one", "");
    let jane = case.erase("jane");
    case.certified(&jane);
    assert_eq!(case.stored().len(), 1, "joe's");
}
