//! Ad attribution: click ids to Google, hashed people to Meta, money and custom variables, conversions for as long as the contract.

use super::{Customer, Profile, eventually, of, sha256, with};
use crate::support::config::TestTenant;
use serde_json::{Value, json};

pub(super) const PROFILE: Profile = Profile {
    name: "ad_attribution",
    id: "at",
    kind: ("conversion", "conversions"),
    withdrawal: Some(("ads", "dest.meta")),
    configure,
    events,
    before: super::nothing,
    written,
    rights,
};

fn configure(t: TestTenant) -> TestTenant {
    t.set("destinations", vec!["meta", "google_ads"])
        .set("meta.pixel_id", "1234567890")
        .set("google_ads.customer_id", "1234567890")
        .set("google_ads.conversion_actions.purchase", "987654321")
        .set("custom", vec!["sub1"])
        .set("windows.logs", "12s")
}

fn events(c: &Customer<'_>) -> Vec<Value> {
    let click = |name: &str| with(c.event(&format!("{name}-1"), name), json!({ "ids": { name: format!("CLICK-{name}") } }));
    let paid = with(c.event("paid-1", "paid"), json!({ "payout": 2.5, "cost": 1.25, "custom": { "sub1": "blue", "unknown": "dropped" } }));
    let log = with(c.event("log-1", "log"), json!({ "kind": "log" }));
    vec![click("gclid"), click("wbraid"), click("gbraid"), paid, log]
}

fn written(c: &Customer<'_>) {
    let lines = c.export(&[]);
    let google: Vec<Value> = of("dest.google_ads", &lines);
    let clicks = ["gclid", "wbraid", "gbraid"].iter().all(|id| google.iter().any(|b| b[*id] == format!("CLICK-{id}")));
    c.promise("gclid, wbraid and gbraid go to Google Ads", clicks);
    let meta: String = of("dest.meta", &lines).iter().map(Value::to_string).collect();
    let hashed = meta.contains(&sha256("paid.at@example.com")) && !meta.contains("paid.at@") && !meta.contains("CLICK-gclid");
    c.promise("Meta gets hashed data, and no click id of Google's", hashed);
    let paid = of("conversions", &c.export(&["--external-id", "paid"])).remove(0);
    let money = (paid["payout"].as_f64(), paid["cost"].as_f64(), paid["currency"].as_str());
    c.promise("payout, cost and currency are kept", money == (Some(2.5), Some(1.25), Some("EUR")));
    c.promise("custom variables of the list are kept, others not", paid["custom"] == json!({ "sub1": "blue" }));
    c.promise("conversions are kept while the contract is active, and 30 days after", c.window("conversions").contains("30 days after"));
}

fn rights(c: &Customer<'_>) {
    eventually("the logs to go", || c.records("logs").is_empty().then_some(()));
    c.promise("logs are gone after their 90 days, conversions stay", c.was_written("logs") && !c.records("conversions").is_empty());
    let others = c.processing()["others"].clone();
    let anonymous = others.as_array().unwrap().iter().any(|o| o["topic"] == c.topic("aggregates") && o["window"] == "anonymous");
    let acls = c.call(&["topics", "acls", "--tenant", &c.tenant]).stdout;
    let forwarders = acls.lines().filter(|l| l.contains("forwarder")).all(|l| !l.contains(&c.topic("conversions")));
    c.promise("only aggregates leave for modelling: who sends reads nothing but bodies", anonymous && forwarders);
}
