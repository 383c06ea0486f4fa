//! Fear: a customer is gone and their people's data is not; or it goes too early, or takes somebody else's along; or what a court wants kept is lost.
//!
//! Shown: a terminated tenant takes nothing in at once; by the deadline its topics, offsets and keys are gone and certified, through kills, while the
//! jobs that work for others go on without noise and nothing comes back; under a hold everything else goes, and the rest once it is released.

use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::wait::eventually;
use serde_json::Value;
use std::time::Duration;

struct Case {
    journey: Journey,
    config: TestConfig,
    leaving: String,
    staying: String,
}

impl Case {
    #[track_caller]
    fn new(name: &str) -> Case {
        let journey = Journey::new(name);
        let (leaving, staying) = (journey.tenant("x"), journey.tenant("y"));
        let config = journey
            .config()
            .set("topics.partitions", 1)
            .set("kafka.session_timeout_ms", 6_000)
            .set("sessions.group", format!("{}-sessions", journey.namespace()))
            .set("aggregate.group", format!("{}-aggregate", journey.namespace()))
            .tenant(&leaving, |t| t)
            .tenant(&staying, |t| t);
        journey.set_up(&config);
        Case { journey, config, leaving, staying }
    }

    fn topics(&self, tenant: &str) -> Vec<String> {
        ["raw.web", "events", "conversions", "sessions", "logs", "quarantine", "notices", "aggregates"]
            .map(|t| format!("{tenant}.{t}"))
            .to_vec()
    }

    fn there(&self, topic: &str) -> bool {
        !kafka::partitions_of(self.journey.bootstrap(), topic).is_empty()
    }

    #[track_caller]
    fn call(&self, arguments: &[&str]) -> crate::support::lethe::Finished {
        self.journey.lethe(&self.config).args(arguments).finish()
    }

    #[track_caller]
    fn generate(&self, tenant: &str, seed: &str) {
        self.call(&["generate", "--tenant", tenant, "--events", "200", "--seed", seed]).assert_done();
    }

    #[track_caller]
    fn status(&self, request: &str) -> Value {
        serde_json::from_str(&self.call(&["status", "--json", "--request", request]).assert_done().stdout).unwrap()
    }

    fn stored(&self, topic: &str) -> usize {
        kafka::read_committed(self.journey.bootstrap(), topic).iter().filter(|r| r.value.is_some()).count()
    }

    /// The certificate verifies, with nothing but the public key.
    #[track_caller]
    fn certificate(&self, request: &str) -> Value {
        let shown = self.call(&["certificate", "show", "--request", request]);
        let file = self.journey.home().join("certificate.json");
        std::fs::write(&file, &shown.assert_done().stdout).unwrap();
        let key = self.journey.home().join("signing.key.pub");
        self.call(&["certificate", "verify", file.to_str().unwrap(), "--public-key", key.to_str().unwrap()]).assert_done();
        serde_json::from_str(&shown.stdout).unwrap()
    }
}

#[test]
fn a_terminated_tenant_is_gone_by_its_deadline_and_others_go_on() {
    let case = Case::new("a_terminated_tenant");
    case.generate(&case.leaving, "1");
    case.generate(&case.staying, "2");
    case.call(&["run", "--until-caught-up"]).assert_done();
    let events = format!("{}.events", case.leaving);
    let before = case.stored(&events);
    assert!(before > 0);
    // Without its keys nobody could say whose these records are: they stay until the records are gone.
    let refused = case.call(&["keys", "destroy", "--tenant", &case.leaving]);
    refused.assert_code(1);
    assert!(refused.stderr.contains("terminate the tenant first"), "{}", refused.stderr);
    case.call(&["keys", "destroy", "--tenant", "nobody"]).assert_code(2);
    let mut jobs: Vec<_> = ["run", "sessions", "aggregate"].map(|job| case.journey.lethe(&case.config).args([job]).start()).into();
    jobs.iter_mut().for_each(crate::support::lethe::Lethe::wait_until_ready);
    let retain = case.journey.lethe(&case.config).args(["retain"]).start();

    case.call(&["terminate", "--tenant", &case.leaving, "--deadline", "31d"]).assert_code(2);
    case.call(&["terminate", "--tenant", "nobody"]).assert_code(2);
    let ended = case.call(&["terminate", "--tenant", &case.leaving, "--deadline", "1h"]);
    let request = ended.assert_done().request();
    // From the moment that the command returns nothing is taken in; nothing is deleted yet.
    case.generate(&case.leaving, "3");
    eventually("the rows to be gated", || {
        (kafka::lag(case.journey.bootstrap(), &case.run_group(), &format!("{}.raw.web", case.leaving)) == 0).then_some(())
    });
    assert_eq!(case.stored(&events), before);
    eventually("the end to be scheduled", || (case.status(&request)["state"] == "scheduled").then_some(()));
    assert_eq!(case.status(&request)["deadline_will_be_met"], true);
    // Asked again it is the same request; asked for sooner, sooner.
    assert_eq!(case.call(&["terminate", "--tenant", &case.leaving]).assert_done().request(), request);
    drop(retain.kill());
    assert_eq!(case.call(&["terminate", "--tenant", &case.leaving, "--deadline", "1s"]).assert_done().request(), request);
    for step in ["topics_deleted", "keys_destroyed", "certifying"] {
        let mut retain = case.journey.lethe(&case.config).args(["retain"]).faulty(&format!("{step}:1:kill")).start();
        eventually(&format!("the kill at {step}"), || (!retain.is_running()).then_some(()));
        assert_ne!(case.status(&request)["state"], "certified", "killed at {step}");
    }
    let retain = case.journey.lethe(&case.config).args(["retain"]).start();
    eventually("the certificate", || (case.status(&request)["state"] == "certified").then_some(()));
    for topic in case.topics(&case.leaving) {
        assert!(!case.there(&topic), "{topic} is still there");
    }
    let certificate = case.certificate(&request);
    assert_eq!((certificate["kind"].as_str(), certificate["ended"]["keys"].as_u64()), (Some("terminate"), Some(1)), "{certificate}");
    assert!(certificate["ended"]["topics"].as_array().unwrap().iter().any(|t| *t == format!("{}.raw.web", case.leaving)));
    assert!(case.call(&["certificate", "show", "--text", "--request", &request]).stdout.contains("Certificate of termination"));
    let keyring = std::fs::read_to_string(case.journey.home().join("keyring.toml")).unwrap();
    assert_eq!(keyring.matches("key = ").count(), 1, "the other tenant's alone");
    assert_eq!(case.call(&["audit", "verify", "--json"]).assert_done().stdout.matches("\"ok\": true").count(), 1);

    // The others go on, and nothing brings the tenant back.
    let staying = format!("{}.events", case.staying);
    let stood = case.stored(&staying);
    case.generate(&case.staying, "4");
    eventually("the other tenant's rows", || (case.stored(&staying) > stood).then_some(()));
    for job in &mut jobs {
        assert!(job.is_running(), "{}", job.stderr());
    }
    case.call(&["topics", "apply"]).assert_done();
    let doctor = case.call(&["doctor"]);
    assert!(!doctor.stdout.contains(&case.leaving), "{}", doctor.stdout);
    case.call(&["run", "--until-caught-up"]).assert_done();
    case.call(&["sessions", "--until-caught-up"]).assert_done();
    for topic in case.topics(&case.leaving) {
        assert!(!case.there(&topic), "{topic} is there again");
    }
    let noise: Vec<String> = jobs.drain(..).map(|job| job.terminate_within(Duration::from_secs(30)).assert_done().stderr.clone()).collect();
    for log in noise {
        assert!(!log.contains("ERROR") && log.matches("WARN").count() < 10, "{log}");
    }
    retain.terminate_within(Duration::from_secs(30)).assert_done();
}

#[test]
fn under_a_hold_everything_else_of_a_terminated_tenant_goes() {
    let case = Case::new("a_termination_is_held");
    let event = |id: &str, person: &str| {
        let at = jiff::Timestamp::now();
        serde_json::json!({
            "event_id": id, "event_name": "page_view", "event_time": at.to_string(), "user": { "email": format!("{person}@example.com") },
            "consent": { "analytics": true, "ads": true, "given_at": at.to_string() }
        })
    };
    kafka::produce_json(
        case.journey.bootstrap(),
        &format!("{}.raw.web", case.leaving),
        &[event("1", "jane"), event("2", "joe"), event("3", "jim")],
    );
    case.call(&["run", "--until-caught-up"]).assert_done();
    let events = format!("{}.events", case.leaving);
    assert_eq!(case.stored(&events), 3);
    let retain = case.journey.lethe(&case.config).args(["retain"]).start();
    let hold = [
        "hold",
        "--tenant",
        &case.leaving,
        "--email",
        "jane@example.com",
        "--category",
        "events",
        "--reason",
        "case 9",
        "--until",
        "2099-01-01",
    ];
    let hold = case.call(&hold).assert_done().request();
    eventually("the hold to be in force", || (case.status(&hold)["in_force"] == true).then_some(()));
    let request = case.call(&["terminate", "--tenant", &case.leaving, "--deadline", "1s"]).assert_done().request();
    eventually("the termination to be held", || (case.status(&request)["state"] == "held").then_some(()));
    assert_eq!(case.status(&request)["found"]["held"], 1);
    for topic in case.topics(&case.leaving) {
        assert_eq!(case.there(&topic), topic == events, "{topic}");
    }
    let records = kafka::read_committed(case.journey.bootstrap(), &events);
    assert_eq!(crate::retain_survives::table(&records).len(), 1, "what is held and nothing else");
    let keyring = || std::fs::read_to_string(case.journey.home().join("keyring.toml")).unwrap().matches("key = ").count();
    assert_eq!(keyring(), 2, "the key of what is held stays");
    // Nothing hinders another start.
    retain.terminate_within(Duration::from_secs(30)).assert_done();
    case.call(&["retain", "--until-caught-up"]).assert_done();
    assert_eq!(case.status(&request)["state"], "held");
    case.call(&["release", "--request", &hold]).assert_done();
    let retain = case.journey.lethe(&case.config).args(["retain"]).start();
    eventually("the certificate", || (case.status(&request)["state"] == "certified").then_some(()));
    assert!(!case.there(&events));
    assert_eq!(keyring(), 1);
    case.certificate(&request);
    retain.terminate_within(Duration::from_secs(30)).assert_done();
    // With the tenant alone in the config there is nothing to do, and no reason to fail.
    let alone = case.journey.config().set("topics.partitions", 1).tenant(&case.leaving, |t| t);
    for job in [&["retain", "--until-caught-up"][..], &["run", "--until-caught-up"], &["sessions", "--until-caught-up"]] {
        case.journey.lethe(&alone).args(job).finish().assert_done();
    }
}

impl Case {
    fn run_group(&self) -> String {
        format!("{}-run", self.journey.namespace())
    }
}
