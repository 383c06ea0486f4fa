//! Server-side tracking: only configured destinations receive, hashes as each destination wants them, benchmarks name nobody.

use super::{Customer, Profile, of, sha256};
use crate::support::config::TestTenant;
use crate::support::kafka;
use serde_json::Value;

pub(super) const PROFILE: Profile = Profile {
    name: "server_side_tracking",
    id: "st",
    kind: ("event", "events"),
    withdrawal: Some(("ads", "dest.meta")),
    configure,
    events,
    before: super::nothing,
    written,
    rights,
};

fn configure(t: TestTenant) -> TestTenant {
    t.set("destinations", vec!["meta", "tiktok"])
        .set("meta.pixel_id", "1234567890")
        .set("tiktok.pixel_code", "PIXEL")
        .set("benchmarks", true)
}

fn events(_: &Customer<'_>) -> Vec<Value> {
    Vec::new()
}

fn written(c: &Customer<'_>) {
    let lines = c.export(&["--external-id", "other"]);
    let mut sent: Vec<&str> = lines.iter().filter_map(|l| l["kind"].as_str()?.strip_prefix("dest.")).collect();
    sent.sort_unstable();
    let topics = kafka::topics(c.journey.bootstrap());
    let others = topics.iter().filter(|t| t.starts_with(&c.topic("dest."))).count();
    c.promise("only configured destinations receive", sent == ["meta", "tiktok"] && others == 2);
    let email = sha256("other.st@example.com");
    let (meta, tiktok) = (of("dest.meta", &lines)[0].to_string(), of("dest.tiktok", &lines)[0].to_string());
    let hashed = meta.contains(&email) && tiktok.contains(&email) && !meta.contains("other.st@") && !tiktok.contains("other.st@");
    c.promise("each destination gets its own hashes, and no address in clear", hashed && meta.contains(&sha256("janina")));
    c.promise("events and conversions are kept for 365 days, logs for 90", c.window("events") == "365d" && c.window("logs") == "90d");
}

/// What a benchmark is made of is counts over tenants: the topic's records have no field that could name a customer or a person.
fn rights(c: &Customer<'_>) {
    let schema: Value = serde_json::from_str(include_str!("../../../schemas/aggregate/aggregate.schema.json")).unwrap();
    let closed = schema["additionalProperties"] == false;
    let named = schema["properties"].as_object().unwrap().keys().any(|f| ["subject", "identifiers", "event_id"].contains(&f.as_str()));
    c.promise("anonymised benchmarks have no place for a person's name or pseudonym", closed && !named);
}
