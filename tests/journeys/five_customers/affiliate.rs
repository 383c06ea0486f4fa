//! Affiliate networks: consent by category that runs out, the full address for three days unless an incident extends it.

use super::{Customer, Profile, eventually, of, with};
use crate::support::config::TestTenant;
use crate::support::kafka;
use serde_json::{Value, json};

pub(super) const PROFILE: Profile = Profile {
    name: "affiliate",
    id: "af",
    kind: ("event", "events"),
    withdrawal: Some(("analytics", "events")),
    configure,
    events,
    before,
    written,
    rights,
};

/// Three days of full addresses are twenty seconds.
fn configure(t: TestTenant) -> TestTenant {
    t.set("windows.network", "20s")
}

/// A security incident about one person: what is in the network topic of them stays until it is over.
fn before(c: &Customer<'_>) {
    let refused = c.journey.lethe(c.config).args(["hold", "--tenant", &c.tenant, "--incident", "--category", "events"]);
    refused.args(["--reason", "SI-12", "--until", "2099-01-01"]).finish().assert_refused(2, "--incident");
    let hold = c.order(&["hold", "--incident", "--external-id", "other", "--reason", "SI-12", "--until", "2099-01-01"]);
    eventually("the hold to be in force", || (c.status(&hold)["in_force"] == true).then_some(()));
    std::fs::write(c.journey.home().join("incident"), hold).unwrap();
}

fn events(c: &Customer<'_>) -> Vec<Value> {
    let old = c.at - jiff::SignedDuration::from_hours(24 * 184);
    let expired =
        with(c.event("expired-1", "expired"), json!({ "consent": { "given_at": old.to_string() }, "ip": null, "user_agent": null }));
    let functional = with(
        c.event("functional-1", "functional"),
        json!({ "kind": "conversion", "consent": { "functional": true, "analytics": false, "ads": false } }),
    );
    let refused = with(c.event("refused-1", "refused"), json!({ "consent": { "functional": true, "analytics": false } }));
    vec![expired, functional, refused]
}

fn written(c: &Customer<'_>) {
    let lines = c.export(&[]);
    let of_person = |person: &str, kind: &str| of(kind, &c.export(&["--external-id", person])).len();
    c.promise("consent is given by category: a functional one carries conversions and no events", {
        of_person("functional", "conversions") == 1 && of_person("refused", "events") == 0
    });
    c.promise("a consent is valid for six months", of_person("expired", "events") == 0 && c.processing()["consent"]["valid"] == "183d");
    let asked = c.run.metrics().sum("lethe_rows_gated_total", &[("tenant", c.tenant.as_str()), ("reason", "consent_expired")]);
    c.promise("one that has run out is told apart, so that the person is asked again", asked >= 1.0);
    let full = of("network", &lines).iter().all(|n| n["ip"] == "93.184.216.34");
    let cut = of("events", &lines).iter().all(|e| e["ip_truncated"] == "93.184.216.0" && !e.to_string().contains("93.184.216.34"));
    c.promise("the full address is in the network topic alone", full && cut && !of("network", &lines).is_empty());
    let windows = (c.window("events"), c.window("conversions"), c.window("sessions"));
    c.promise("functional ids are kept for 13 months, sessions for 7 days", windows == ("395d".into(), "395d".into(), "7d".into()));
    c.promise(
        "an incident's hold is of its own kind, and told to the customer",
        c.noticed("incident_hold_set") && !c.noticed("\"hold_set"),
    );
}

fn rights(c: &Customer<'_>) {
    let people = |records: Vec<Value>| records.iter().map(|r| r["subject"].to_string()).collect::<std::collections::BTreeSet<_>>().len();
    eventually("the full addresses to go", || (people(c.records("network")) == 1).then_some(()));
    let left = of("network", &c.export(&["--external-id", "other"]));
    c.promise("full addresses are gone after their three days, events stay", !c.records("events").is_empty());
    c.promise("a security incident extends that, for whom it concerns", !left.is_empty());
    let incident = std::fs::read_to_string(c.journey.home().join("incident")).unwrap();
    c.call(&["release", "--request", &incident]);
    eventually("the address of the incident to go", || c.records("network").is_empty().then_some(()));
    let of_incident = || {
        let entries = kafka::read_committed(c.journey.bootstrap(), &format!("{}.audit", c.journey.namespace()));
        entries.iter().map(kafka::Record::json).filter(|e| e["requests"] == json!([incident]) && e["incident"] == true).count()
    };
    // Its end is told once the requests' turn has come, which need not be when the address goes.
    let told = eventually("the incident's end in the audit", || Some(of_incident()).filter(|told| *told >= 2));
    c.promise("the incident's hold, and its end, stand in the audit by their kind", told == 2);
    let topics: Vec<String> = kafka::topics(c.journey.bootstrap());
    c.promise("statistics are only aggregated", topics.contains(&c.topic("aggregates")));
}
