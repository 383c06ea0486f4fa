//! Customer feedback: free text without people in it, special categories held back, media for a day, one tenant never beside another.

use super::{Customer, Profile, eventually, of, with};
use crate::support::config::TestTenant;
use crate::support::kafka;
use serde_json::{Value, json};

pub(super) const PROFILE: Profile = Profile {
    name: "customer_feedback",
    id: "cf",
    kind: ("feedback", "feedback"),
    withdrawal: None,
    configure,
    events,
    before: super::nothing,
    written,
    rights,
};

/// A day of media is ten seconds.
fn configure(t: TestTenant) -> TestTenant {
    t.set("windows.feedback", "3h").set("windows.media", "10s")
}

fn events(c: &Customer<'_>) -> Vec<Value> {
    let media = with(c.event("media-1", "other"), json!({ "kind": "media", "body": "RAW-RECORDING" }));
    let ill = with(c.event("ill-1", "ill"), json!({ "feedback": { "text": "my cancer came back, and the doctor was rude" } }));
    // No consent is asked for: the contract carries it.
    let mut plain = c.event("plain-1", "plain");
    plain.as_object_mut().unwrap().remove("consent");
    vec![media, ill, plain]
}

fn written(c: &Customer<'_>) {
    let lines = c.export(&["--external-id", "other"]);
    let feedback = &of("feedback", &lines)[0]["feedback"];
    let text = feedback["text"].as_str().unwrap();
    c.promise("transcripts and reviews are scrubbed, ids pseudonymised, NPS kept", {
        text.contains("[email]")
            && !text.contains("Janina")
            && feedback["nps"] == 9.0
            && feedback["author"].as_str().unwrap().starts_with("1.")
    });
    c.promise("the contract is the basis: feedback needs no consent", !c.export(&["--external-id", "plain"]).is_empty());
    let quarantined = kafka::read_committed(c.journey.bootstrap(), &c.topic("quarantine"));
    let held = quarantined.iter().any(|r| r.json()["reason"] == "special_category");
    c.promise("health and other special categories are held back", held && c.export(&["--external-id", "ill"]).is_empty());
    c.promise("the controller is told of special categories", c.noticed("special_category"));
    c.promise("windows are the customer's own", c.window("feedback") == "3h");
    // The same person at another tenant: other keys, other pseudonyms.
    let mut ours: Vec<String> = lines.iter().flat_map(|l| l["identifiers"].as_array().unwrap().clone()).map(|p| p.to_string()).collect();
    let theirs = eventually("the other tenant's records of the person", || {
        let who = ["export", "--tenant", &c.journey.tenant("st"), "--format", "jsonl", "--external-id", "other"];
        Some(c.journey.lethe(c.config).args(who).finish().stdout).filter(|lines| !lines.is_empty())
    });
    ours.retain(|p| theirs.contains(p));
    c.promise("one tenant's data is never combined with another's: pseudonyms share nothing", ours.is_empty());
}

fn rights(c: &Customer<'_>) {
    eventually("the media to go", || c.records("media").is_empty().then_some(()));
    c.promise("raw media are gone after their day, feedback stays", c.was_written("media") && !c.records("feedback").is_empty());
    // The kill switch: after the command has returned nothing more is written, and nothing is lost.
    let before = c.records("feedback").len();
    c.order(&["pause"]);
    kafka::produce_json(c.journey.bootstrap(), &c.topic("raw.web"), &[c.event("late-1", "late")]);
    let stood = c.records("feedback").len() == before;
    c.order(&["resume"]);
    eventually("what waited", || (c.records("feedback").len() == before + 1).then_some(()));
    c.promise("the kill switch stops everything at once, and loses nothing", stood);
    c.order(&["rate-limit", "--events-per-second", "1000"]);
    c.promise("a rate limit can be set, and taken off", c.order(&["rate-limit", "--events-per-second", "off"]).len() == 32);
    let audit = kafka::setting(c.journey.bootstrap(), &format!("{}.audit", c.journey.namespace()), "retention.ms");
    c.promise("the audit is kept for twelve months", audit.parse::<i64>().unwrap() >= 364 * 86_400_000);
}
