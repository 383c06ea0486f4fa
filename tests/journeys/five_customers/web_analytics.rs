//! Web analytics: truncated addresses, plans, replay for 72 hours, rectification, objection.

use super::{Customer, Profile, eventually, lasting, with};
use crate::support::config::TestTenant;
use lethe::config::profile::{Plan, Profile as Preset};
use lethe::model::category::Category;
use lethe::model::time::DAY_MS;
use serde_json::{Value, json};

pub(super) const PROFILE: Profile = Profile {
    name: "web_analytics",
    id: "wa",
    kind: ("event", "events"),
    withdrawal: Some(("analytics", "events")),
    configure,
    events,
    before: super::nothing,
    written,
    rights,
};

/// Three days of replay are ten seconds.
fn configure(t: TestTenant) -> TestTenant {
    t.set("windows.replay", "10s").set(
        "minimise.fields",
        vec!["user.email", "user.external_id", "user.country", "ids", "ip", "url", "referrer", "user_agent", "body", "feedback"],
    )
}

fn events(c: &Customer<'_>) -> Vec<Value> {
    vec![with(c.event("replay-1", "other"), json!({ "kind": "replay", "body": "OPAQUE" }))]
}

fn written(c: &Customer<'_>) {
    let event = &c.records("events")[0];
    let place = (event["ip_truncated"].as_str(), event["geo"]["country"].as_str());
    c.promise("the address is truncated, the country kept", place == (Some("93.184.216.0"), Some("DE")));
    let known = (event["campaign"]["source"].as_str(), event["page"]["referrer_host"].as_str(), event["session"].is_string());
    c.promise("UTM, referrer and session are kept", known == (Some("news"), Some("search.example"), true));
    let days = |plan| Preset::WebAnalytics.window_ms(Category::Events, plan).map(|ms| ms / DAY_MS);
    let plans = (days(Plan::Basic), days(Plan::Premium), days(Plan::Enterprise));
    c.promise(
        "basic keeps 6 months, premium 12, enterprise by contract",
        plans == (Some(180), Some(365), None) && c.window("events") == "180d",
    );
    let kept_out = event["value"].is_null() && event["order"].is_null();
    let counted = c.run.metrics().sum("lethe_fields_minimised_total", &[("tenant", c.tenant.as_str()), ("field", "order_id")]);
    c.promise("what is not needed is not written, and counted", kept_out && counted > 0.0);
    // A corrected event replaces the old one under its key.
    let before = lasting(c.export(&["--external-id", "other"])).len();
    c.produce(&[with(c.event("other-1", "other"), json!({ "url": "https://shop.example/corrected" }))]);
    let after = lasting(c.export(&["--external-id", "other"]));
    let corrected = after.iter().filter(|l| l["record"]["page"]["path"] == "/corrected").count();
    c.promise("rectification: a corrected event replaces the old one", after.len() == before && corrected == 1);
}

fn rights(c: &Customer<'_>) {
    eventually("the replay to go", || c.records("replay").is_empty().then_some(()));
    c.promise("replays are gone after their 72 hours, events stay", c.was_written("replay") && !c.records("events").is_empty());
    let restriction = c.order(&["restrict", "--external-id", "other"]);
    c.wait_for(&restriction, "done");
    let before = c.export(&["--external-id", "other"]).len();
    c.produce(&[c.event("other-9", "other")]);
    let stopped = c.export(&["--external-id", "other"]).len() == before;
    c.order(&["restrict", "--lift", "--external-id", "other"]);
    c.produce(&[c.event("other-10", "other")]);
    c.promise(
        "objection and restriction: nothing is written until they are lifted",
        stopped && c.export(&["--external-id", "other"]).len() > before,
    );
}
