//! A replica that is away while somebody is erased: tombstones that it has not taken in do not count, and nothing is certified.

use super::{Ground, Shown};
use crate::support::config::TestConfig;
use crate::support::journey::Journey;
use crate::support::kafka::{self, Record};
use crate::support::moments::Moments;
use crate::support::wait::{eventually, heavy};
use serde_json::{Value, json};

struct Case {
    journey: Journey,
    config: TestConfig,
    tenant: String,
}

impl Case {
    fn topic(&self, short: &str) -> String {
        format!("{}.{short}", self.tenant)
    }

    #[track_caller]
    fn erase(&self, person: &str) -> String {
        let email = format!("{person}@example.com");
        self.journey.lethe(&self.config).args(["erase", "--tenant", &self.tenant, "--email", &email]).finish().assert_done().request()
    }

    #[track_caller]
    fn wait_for(&self, request: &str, state: &str) {
        eventually(&format!("the state {state}"), || {
            let finished = self.journey.lethe(&self.config).args(["status", "--json", "--request", request]).finish();
            // While a broker is going away, a question may find nobody.
            let status: Value = serde_json::from_str(&finished.stdout).ok()?;
            (status["state"] == state).then_some(())
        });
    }

    /// What the audit says of a request.
    #[track_caller]
    fn told(&self, request: &str, what: &str) -> Vec<Value> {
        let entries = kafka::read_committed(self.journey.bootstrap(), &format!("{}.audit", self.journey.namespace()));
        let of = |e: &Value| e["what"] == what && e["requests"].as_array().is_some_and(|all| all.iter().any(|id| id == request));
        entries.iter().map(Record::json).filter(of).collect()
    }

    fn live(&self) -> usize {
        let all = kafka::read_uncommitted(self.journey.bootstrap(), &self.topic("events"));
        all.iter().filter(|r| r.value.is_some()).count()
    }
}

/// One replica of three is away before the sweep: nothing is swept. Another goes away between the sweep and the certificate: the wait begins anew, and
/// there is no certificate before it is back.
pub fn replica_away_during_an_erasure(ground: &Ground, _: &mut Moments) -> Shown {
    let _turn = heavy();
    let cluster = ground.cluster();
    let journey = Journey::on_cluster(cluster, "replica_away");
    let tenant = journey.tenant("a");
    let config = journey.config().set("topics.partitions", 1).set("topics.replication_factor", 3).set("run.future_tolerance", "0s");
    let config = config.set("kafka.session_timeout_ms", 6_000).tenant(&tenant, |t| {
        t.set("windows.events", "2h").set("windows.raw", "10m").set("max_lateness", "5m").set("windows.sessions", "off")
    });
    journey.set_up(&config);
    let case = Case { journey, config, tenant };
    let (bootstrap, topic, raw) = (case.journey.bootstrap(), case.topic("events"), case.topic("raw.web"));
    let hurry = [("segment.ms", "300"), ("max.compaction.lag.ms", "300"), ("delete.retention.ms", "300"), ("file.delete.delay.ms", "100")];
    kafka::lower(bootstrap, &topic, &hurry);
    let at = jiff::Timestamp::now().to_string();
    let event = |person: &str| {
        json!({
            "event_id": person, "event_name": "page_view", "event_time": at, "user": { "email": format!("{person}@example.com") },
            "consent": { "analytics": true, "ads": true, "given_at": at }
        })
    };
    kafka::produce_json(bootstrap, &raw, &["jane", "joe", "jim"].map(event));
    case.journey.lethe(&case.config).args(["run", "--until-caught-up"]).finish().assert_done();
    cluster.wait_for_replicas(&topic, cluster.len(), false);
    let node = |id: i32| cluster.node(usize::try_from(id - 1).expect("nodes count from 1"));

    let leader = eventually("a leader", || kafka::leader_of(bootstrap, &topic));
    let follower = node(leader % 3 + 1);
    follower.kill();
    cluster.wait_for_replicas(&topic, cluster.len(), true);
    let retain = case.journey.lethe(&case.config).args(["retain"]).start();
    let jane = case.erase("jane");
    case.wait_for(&jane, "sweeping");
    // Whoever comes later gets as far, so it was looked at in between.
    let joe = case.erase("joe");
    case.wait_for(&joe, "sweeping");
    assert_eq!((case.told(&jane, "swept").len(), case.live()), (0, 3), "swept while a replica was away");
    follower.restart();
    cluster.wait_for_replicas(&topic, cluster.len(), false);
    // The raw topic still holds the rows: this state cannot pass.
    case.wait_for(&joe, "awaiting_cleaner");
    case.wait_for(&jane, "awaiting_cleaner");

    let gone = node(eventually("a leader", || kafka::leader_of(bootstrap, &topic)));
    gone.kill();
    cluster.wait_for_replicas(&topic, cluster.len(), true);
    eventually("the wait to begin anew", || (!case.told(&jane, "again").is_empty()).then_some(()));
    kafka::lower(bootstrap, &raw, &[("retention.ms", "1")]);
    eventually("the raw rows to go", || kafka::watermarks(bootstrap, &raw).iter().all(|(low, end)| low == end).then_some(()));
    let jim = case.erase("jim");
    case.wait_for(&jim, "sweeping");
    assert!(case.told(&jane, "certified").is_empty(), "certified while a replica was away");
    gone.restart();
    for (request, n) in [(&jane, 2), (&joe, 2), (&jim, 1)] {
        case.wait_for(request, "certified");
        let certificate = &case.told(request, "certified")[0]["certificate"];
        assert_eq!((certificate["topics"][0]["replicas"].as_u64(), certificate["topics"][0]["in_sync"].as_u64()), (Some(3), Some(3)));
        assert!(case.told(request, "swept").len() >= n, "{request}");
    }
    assert_eq!(case.live(), 0);
    case.journey.lethe(&case.config).args(["audit", "verify"]).finish().assert_done();
    drop(retain);
    Shown { rows: 3, of: 3 }
}
