//! Destinations through the whole line: the worked examples of the specification, its limits, its minimums, its consent rules.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::config::compile::compile;
use crate::model::keyring::{KeyEntry, Keyring};
use crate::model::pseudonym::Epoch;
use crate::model::record::RawRecords;
use crate::model::time::{DAY_MS, HOUR_MS};
use crate::transform::enrich::device_table::DeviceTable;
use crate::transform::enriched::Assets;
use crate::transform::line::Tally;
use crate::transform::transform;

/// The event that all worked examples are made from.
const RAW_EVENT: &str = include_str!("../../../schemas/destinations/raw_event.json");

/// Units: ms since the epoch.
const OCCURRED_AT_MS: i64 = 1_790_000_000_000;

/// A tenant with all six destinations; what stands at the end can be replaced.
const TENANT: &str = r#"
[[tenant]]
id = "acme"
profile = "ad_attribution"
max_lateness = "3000d"
purposes = { events = "contract", conversions = "contract" }
windows = { events = "4000d", conversions = "4000d", dest = "4000d", logs = "off", sessions = "off" }
destinations = ["meta", "google_ads", "google_ads_enhancement", "google_data_manager", "tiktok", "ga4"]
"#;
const DESTINATIONS: &str = r#"
[tenant.meta]
pixel_id = "111"
[tenant.google_ads]
customer_id = "1234567890"
conversion_actions = { purchase = "987654321" }
[tenant.tiktok]
pixel_code = "PIXELCODE"
[tenant.ga4]
measurement_id = "G-TEST"
"#;

/// A destination's record: its value, and its headers.
struct Sent {
    value: Value,
    text: String,
    headers: Vec<(String, String)>,
}

impl Sent {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }
}

/// What one event became.
struct Outcome {
    sent: std::collections::BTreeMap<String, Sent>,
    tally: Tally,
}

impl Outcome {
    fn value(&self, destination: &str) -> &Value {
        &self.sent.get(destination).unwrap_or_else(|| panic!("no record for {destination}: {:?}", self.skipped())).value
    }

    /// Destination and reason of every record that was not written.
    fn skipped(&self) -> Vec<String> {
        let destinations = crate::model::destination::Destination::ALL.iter().zip(&self.tally.destination_skipped);
        let each = |(d, skips): (&crate::model::destination::Destination, &[u64; super::Skip::ALL.len()])| {
            let d = d.as_str();
            super::Skip::ALL.iter().zip(*skips).filter(|(_, n)| *n > 0).map(|(s, _)| format!("{d} {}", s.as_str())).collect::<Vec<_>>()
        };
        destinations.flat_map(each).collect()
    }
}

/// Runs an event through the line, received when it occurred, `age_ms` later.
fn run_at(tenant: &str, destinations: &str, event: &Value, age_ms: i64) -> Outcome {
    let text = format!("{tenant}{destinations}");
    let config = crate::config::load::parse(&text, std::iter::empty()).expect("config");
    assert_eq!(config.validate(), Vec::<String>::new());
    let mut keyring = Keyring::default();
    let key = KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some(Zeroizing::new([7; 32])) };
    keyring.tenants.insert(config.tenant[0].id.clone(), vec![key]);
    let rules = compile(&config, &keyring).unwrap_or_else(|faults| panic!("{faults:?}"));
    // Compiling the table of devices takes longer than all else here.
    static DEVICES: LazyLock<Arc<DeviceTable>> = LazyLock::new(|| Arc::new(DeviceTable::embedded().expect("rules")));
    let assets = Assets { devices: Arc::clone(&DEVICES), geo: None };
    let mut records = RawRecords::default();
    records.push(0, 0, 0, OCCURRED_AT_MS, event.to_string().as_bytes());
    let transformed = transform(&records, &rules, &assets, OCCURRED_AT_MS + age_ms);
    let mut sent = std::collections::BTreeMap::new();
    for chunk in &transformed.chunks {
        for record in &chunk.records {
            let topic = &rules.topics[usize::from(record.topic.0)].name;
            let Some(destination) = topic.strip_prefix("acme.dest.") else { continue };
            let text = String::from_utf8(record.value.of(&chunk.arena).to_vec()).expect("text");
            let headers = record.headers(&chunk.arena).skip(1);
            let headers = headers.map(|(name, value)| (name.to_owned(), String::from_utf8(value.to_vec()).expect("text"))).collect();
            let value = serde_json::from_str(&text).expect("JSON");
            sent.insert(destination.to_owned(), Sent { value, text, headers });
        }
    }
    Outcome { sent, tally: transformed.tallies.into_iter().next().expect("one tenant") }
}

fn run(event: &Value) -> Outcome {
    run_at(TENANT, DESTINATIONS, event, 60_000)
}

fn raw_event() -> Value {
    serde_json::from_str(RAW_EVENT).expect("JSON")
}

/// The worked example with members replaced: `/user/email` and so on; null removes.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut event = raw_event();
    for (path, value) in changes {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let object = event.pointer_mut(parent).expect("a parent").as_object_mut().expect("an object");
        if value.is_null() {
            object.remove(name)
        } else {
            object.insert(name.to_owned(), value.clone())
        };
    }
    event
}

/// Only what is needed for an event on a page, and `user`.
fn bare(user: Value) -> Value {
    with(&[("/user", user), ("/ids", json!({"ga_client_id": "1.2"})), ("/ip", Value::Null)])
}

#[test]
fn the_worked_examples_come_out_as_the_specification_has_them() {
    let outcome = run(&raw_event());
    for (destination, request, element) in [
        ("meta", include_str!("../../../schemas/destinations/meta/request.json"), "/data/0"),
        ("google_ads", include_str!("../../../schemas/destinations/google_ads/request.json"), "/conversions/0"),
        (
            "google_ads_enhancement",
            include_str!("../../../schemas/destinations/google_ads_enhancement/request.json"),
            "/conversionAdjustments/0",
        ),
        ("google_data_manager", include_str!("../../../schemas/destinations/google_data_manager/request.json"), "/events/0"),
        ("tiktok", include_str!("../../../schemas/destinations/tiktok/request.json"), "/data/0"),
        ("ga4", include_str!("../../../schemas/destinations/ga4/request.json"), ""),
    ] {
        let request: Value = serde_json::from_str(request).expect("JSON");
        assert_eq!(outcome.value(destination), request.pointer(element).expect("an element"), "{destination}");
    }
}

#[test]
fn headers_say_whose_where_and_when() {
    let outcome = run(&raw_event());
    for (destination, target, not_before, not_after) in [
        ("meta", "111", None, 7 * DAY_MS - 6 * HOUR_MS),
        ("google_ads", "1234567890", Some(6 * HOUR_MS), 90 * DAY_MS),
        ("google_ads_enhancement", "1234567890", None, DAY_MS),
        ("google_data_manager", "1234567890/987654321", None, 90 * DAY_MS),
        ("tiktok", "web/PIXELCODE", None, 7 * DAY_MS - 6 * HOUR_MS),
        ("ga4", "G-TEST", None, 3 * DAY_MS),
    ] {
        let sent = &outcome.sent[destination];
        assert_eq!(sent.header("destination"), Some(destination));
        assert_eq!(sent.header("tenant"), Some("acme"));
        assert_eq!(sent.header("consent"), Some("granted"));
        assert_eq!(sent.header("target"), Some(target));
        assert_eq!(sent.header("rules").map(str::len), Some(12));
        assert_eq!(sent.header("not-after"), Some((OCCURRED_AT_MS + not_after).to_string().as_str()), "{destination}");
        assert_eq!(sent.header("not-before"), not_before.map(|ms| (OCCURRED_AT_MS + ms).to_string()).as_deref(), "{destination}");
    }
}

#[test]
fn an_event_is_sent_up_to_its_greatest_age_and_no_longer() {
    for (destination, max_age) in [
        ("meta", 7 * DAY_MS - 6 * HOUR_MS),
        ("google_ads", 90 * DAY_MS),
        ("google_ads_enhancement", DAY_MS),
        ("google_data_manager", 90 * DAY_MS),
        ("tiktok", 7 * DAY_MS - 6 * HOUR_MS),
        ("ga4", 3 * DAY_MS),
    ] {
        assert!(run_at(TENANT, DESTINATIONS, &raw_event(), max_age).sent.contains_key(destination), "{destination}");
        let late = run_at(TENANT, DESTINATIONS, &raw_event(), max_age + 1);
        assert!(!late.sent.contains_key(destination) && late.skipped().contains(&format!("{destination} too_old")), "{destination}");
    }
    let store = with(&[("/action_source", json!("physical_store"))]);
    assert!(run_at(TENANT, DESTINATIONS, &store, 62 * DAY_MS - 6 * HOUR_MS).sent.contains_key("meta"));
    assert!(!run_at(TENANT, DESTINATIONS, &store, 62 * DAY_MS - 6 * HOUR_MS + 1).sent.contains_key("meta"));
    for other in ["other", "system_generated"] {
        let event = with(&[("/action_source", json!(other))]);
        assert!(!run_at(TENANT, DESTINATIONS, &event, 8 * DAY_MS).sent.contains_key("meta"), "D33");
    }
}

#[test]
fn an_event_that_a_fast_clock_dated_ahead_waits_for_its_time() {
    let ahead = OCCURRED_AT_MS + 120_000;
    let outcome = run(&with(&[("/event_time", json!(ahead))]));
    for destination in ["meta", "google_data_manager", "tiktok", "ga4"] {
        assert_eq!(outcome.sent[destination].header("not-before"), Some(ahead.to_string().as_str()), "{destination}");
    }
}

#[test]
fn event_names_follow_the_map_and_google_follows_its_actions() {
    let named = |name: &str, destinations: &str| {
        let outcome = run_at(TENANT, destinations, &with(&[("/event_name", json!(name))]), 60_000);
        let of = |d: &str, path: &str| outcome.sent.get(d).map(|s| s.value.pointer(path).expect(path).as_str().expect("text").to_owned());
        let google =
            ["google_ads", "google_ads_enhancement", "google_data_manager"].iter().filter(|d| outcome.sent.contains_key(**d)).count();
        (of("meta", "/event_name"), of("tiktok", "/event"), of("ga4", "/events/0/name"), google)
    };
    let expect = |m: &str, t: &str, g: &str, google| (Some(m.into()), Some(t.into()), Some(g.into()), google);
    assert_eq!(named("PageView", DESTINATIONS), expect("PageView", "Pageview", "page_view", 0));
    assert_eq!(named("CompletePayment", DESTINATIONS), expect("Purchase", "Purchase", "purchase", 3));
    assert_eq!(named("quiz_done", DESTINATIONS), expect("quiz_done", "quiz_done", "quiz_done", 0));
    assert_eq!(named("quiz done", DESTINATIONS), (Some("quiz done".into()), Some("quiz done".into()), None, 0));
    assert_eq!(named("refund", DESTINATIONS), (None, None, Some("refund".into()), 0));
    assert_eq!(named("session_start", DESTINATIONS).2, None);
    let own = DESTINATIONS
        .replace("[tenant.tiktok]", "[tenant.tiktok]\nevents = { purchase = \"CompletePayment\" }")
        .replace("[tenant.meta]", "[tenant.meta]\ncustom_events = false\nevents = { quiz_done = \"Quiz\" }")
        .replace("[tenant.ga4]", "[tenant.ga4]\nevents = { purchase = \"\" }");
    assert_eq!(named("Purchase", &own), (Some("Purchase".into()), Some("CompletePayment".into()), None, 3));
    assert_eq!(named("quiz_done", &own).0, Some("Quiz".into()));
    assert_eq!(named("another", &own).0, None);
}

#[test]
fn without_consent_nothing_goes_to_an_advertising_destination() {
    for consent in [json!({}), json!({"ads": false}), json!({"analytics": true}), json!({"ads": true, "given_at": 1_700_000_000})] {
        assert!(run(&with(&[("/consent", consent.clone())])).sent.is_empty(), "{consent}");
    }
    assert!(run(&with(&[("/consent", Value::Null)])).sent.is_empty());
}

#[test]
fn a_denial_is_forwarded_without_anybody_in_it() {
    let tenant = format!("{TENANT}consent_mode = \"forward_denied\"\n");
    let denied = with(&[
        ("/consent", json!({"ads": false, "personalization": true})),
        ("/url", json!("https://shop.example.com/thanks?gclid=Cj0KCQtest&utm_source=x")),
    ]);
    let outcome = run_at(&tenant, DESTINATIONS, &denied, 60_000);
    assert_eq!(outcome.sent.keys().collect::<Vec<_>>(), ["ga4", "google_data_manager"]);
    let expected: Value = json!({"transactionId": "ORD-1001", "eventTimestamp": "2026-09-21T14:13:20Z", "eventSource": "WEB", "currency": "USD",
        "conversionValue": 42.5, "consent": {"adUserData": "CONSENT_DENIED", "adPersonalization": "CONSENT_DENIED"}});
    assert_eq!(outcome.value("google_data_manager"), &expected);
    let ga4 = outcome.value("ga4");
    assert_eq!(ga4["consent"], json!({"ad_user_data": "DENIED", "ad_personalization": "DENIED"}));
    assert_eq!(ga4["events"][0]["params"]["page_location"], "https://shop.example.com/thanks?utm_source=x");
    assert!(ga4.get("user_id").is_none() && ga4.get("user_data").is_none());
    for sent in outcome.sent.values() {
        assert_eq!(sent.header("consent"), Some("denied"));
        assert!(!sent.text.contains("Cj0KCQtest"));
    }
    let silent = with(&[("/consent", json!({"analytics": true}))]);
    assert!(run_at(&tenant, DESTINATIONS, &silent, 60_000).sent.is_empty(), "silence is no denial to forward");
}

#[test]
fn what_was_not_answered_is_not_said() {
    let outcome = run(&with(&[("/consent", json!({"ads": true}))]));
    assert_eq!(outcome.value("ga4")["consent"], json!({"ad_user_data": "GRANTED"}));
    assert_eq!(outcome.value("google_data_manager")["consent"], json!({"adUserData": "CONSENT_GRANTED"}));
    let both = run(&with(&[("/consent", json!({"ads": true, "personalization": true}))]));
    assert_eq!(both.value("ga4")["consent"], json!({"ad_user_data": "GRANTED", "ad_personalization": "GRANTED"}));
    let contract = TENANT.replace("purposes = {", "purposes = { destinations = \"contract\",");
    let outcome = run_at(&contract, DESTINATIONS, &with(&[("/consent", Value::Null)]), 60_000);
    assert_eq!(outcome.sent.len(), 6);
    for (destination, sent) in &outcome.sent {
        assert!(sent.value.get("consent").is_none(), "{destination}");
        assert_eq!(sent.header("consent"), Some("not_required"));
    }
    // Whatever the basis: nobody is named beside a denial.
    let outcome = run_at(&contract, DESTINATIONS, &with(&[("/consent", json!({"ads": false}))]), 60_000);
    assert_eq!(outcome.skipped(), ["google_ads below_minimum", "google_ads_enhancement below_minimum"]);
    assert!(outcome.value("google_data_manager").get("userData").is_none() && outcome.value("ga4").get("user_data").is_none());
}

#[test]
fn an_opt_out_of_sale_sets_the_flags_or_stops_the_record() {
    let opted_out = with(&[("/consent/opt_out_of_sale", json!(true))]);
    assert!(run(&opted_out).sent.is_empty());
    let tenant = format!("{TENANT}opt_out_of_sale = \"limited_data_use\"\n");
    let outcome = run_at(&tenant, DESTINATIONS, &opted_out, 60_000);
    let meta = outcome.value("meta");
    assert_eq!(meta["data_processing_options"], json!(["LDU"]));
    assert_eq!((&meta["data_processing_options_country"], &meta["data_processing_options_state"]), (&json!(0), &json!(0)));
    assert_eq!(outcome.value("tiktok")["limited_data_use"], json!(true));
    assert_eq!(outcome.value("ga4")["consent"]["ad_personalization"], "DENIED");
    assert_eq!(outcome.value("google_data_manager")["consent"]["adPersonalization"], "CONSENT_DENIED");
    assert_eq!(outcome.skipped(), ["google_ads opted_out", "google_ads_enhancement opted_out"]);
    let california = DESTINATIONS.replace("[tenant.meta]", "[tenant.meta]\nlimited_data_use_country = 1\nlimited_data_use_state = 1000");
    let outcome = run_at(&tenant, &california, &opted_out, 60_000);
    assert_eq!(outcome.value("meta")["data_processing_options_state"], json!(1000));
}

#[test]
fn meta_refuses_what_matches_nobody() {
    for (user, written) in [
        (json!({}), false),
        (json!({"country": "US", "city": "Menlo Park", "state": "CA", "zip": "94025", "gender": "f"}), false),
        (json!({"date_of_birth": "1997-02-16"}), false),
        (json!({"first_name": "Jane", "gender": "f"}), false),
        (json!({"last_name": "Doe", "gender": "f"}), false),
        (json!({"first_name": "Jane", "last_name": "Doe"}), true),
        (json!({"first_name": "Jane", "last_name": "Doe", "gender": "f"}), true),
        (json!({"date_of_birth": "1997-02-16", "city": "Menlo Park"}), true),
        (json!({"email": "jane@example.com"}), true),
        (json!({"email": "no address"}), false),
    ] {
        let outcome = run(&bare(user.clone()));
        assert_eq!(outcome.sent.contains_key("meta"), written, "{user}");
        assert_eq!(outcome.skipped().contains(&"meta below_minimum".to_owned()), !written, "{user}");
    }
    for (path, missing) in [("/user_agent", Value::Null), ("/url", Value::Null), ("/value", Value::Null), ("/currency", json!("XXX"))] {
        let event = with(&[(path, missing)]);
        assert!(run(&event).skipped().contains(&"meta below_minimum".to_owned()), "{path}");
    }
    let call = with(&[("/action_source", json!("phone_call")), ("/user_agent", Value::Null), ("/url", Value::Null)]);
    assert_eq!(run(&call).value("meta")["action_source"], "phone_call");
}

#[test]
fn fbc_is_the_cookie_unless_the_page_says_otherwise() {
    let built = format!("fb.1.{OCCURRED_AT_MS}.IwNew");
    for (cookie, url, id, expected) in [
        ("fb.1.5.IwOld", "", "", Some("fb.1.5.IwOld")),
        ("fb.1.5.IwOld.AQ", "", "", Some("fb.1.5.IwOld.AQ")),
        ("fb.1.5.IwNew", "?fbclid=IwNew", "", Some("fb.1.5.IwNew")),
        ("fb.1.5.IwOld", "?fbclid=IwNew", "", Some(built.as_str())),
        ("fb.1.5.IwOld", "", "IwNew", Some("fb.1.5.IwOld")),
        ("", "", "IwNew", Some(built.as_str())),
        ("", "?fbclid=IwNew", "IwOther", Some(built.as_str())),
        ("IwOld", "", "", None),
        ("fb.1.5", "", "IwNew", Some(built.as_str())),
        ("fb.1.5.a.b.c", "", "", None),
        ("fb.1.5.jane@example.com", "", "", None),
        ("", "", "jane@example.com", None),
    ] {
        let event = with(&[
            ("/ids/fbc", json!(cookie)),
            ("/ids/fbclid", json!(id)),
            ("/ids/fbp", json!("fb.1.5")),
            ("/url", json!(format!("https://shop.example.com/{url}"))),
        ]);
        let outcome = run(&event);
        let user = &outcome.value("meta")["user_data"];
        assert_eq!(user.get("fbc").and_then(Value::as_str), expected, "{cookie} {url} {id}");
        assert_eq!(user.get("fbp"), None);
    }
}

#[test]
fn clear_fields_are_the_end_users_and_nobodys_address() {
    for ip in ["10.0.0.1", "192.168.1.1", "127.0.0.1", "0.0.0.0", "::1", "::", "fd00::1", "no address"] {
        let outcome = run(&with(&[("/ip", json!(ip))]));
        assert_eq!(outcome.value("meta")["user_data"].get("client_ip_address"), None, "{ip}");
        assert_eq!(outcome.value("tiktok")["user"].get("ip"), None, "{ip}");
    }
    let outcome = run(&with(&[
        ("/ip", json!("2001:db8::7")),
        ("/order_id", json!("jane@example.com")),
        ("/ids/ttp", json!("jane@example.com")),
        ("/ids/gclid", json!("a b")),
        ("/url", json!("https://shop.example.com/a?email=jane@example.com&utm_source=x&fbclid=F&ttclid=T&gclid=G")),
        ("/referrer", json!("https://news.example.com/b?token=secret&utm_medium=m")),
    ]));
    assert_eq!(outcome.value("meta")["user_data"]["client_ip_address"], "2001:db8::7");
    assert_eq!(outcome.value("meta")["event_source_url"], "https://shop.example.com/a?utm_source=x&fbclid=F");
    assert_eq!(outcome.value("meta")["referrer_url"], "https://news.example.com/b?utm_medium=m");
    assert_eq!(outcome.value("tiktok")["page"]["url"], "https://shop.example.com/a?utm_source=x&ttclid=T");
    assert_eq!(outcome.value("tiktok")["user"]["ttclid"], "T");
    assert_eq!(outcome.value("google_ads")["gclid"], "G");
    assert!(!outcome.sent.contains_key("ga4"), "a purchase without an order id cannot be deduplicated");
    for (destination, sent) in &outcome.sent {
        assert!(!sent.text.contains("jane@") && !sent.text.contains("secret"), "{destination}");
    }
}

#[test]
fn values_and_items_go_out_as_they_are_or_not_at_all() {
    let outcome = run(&with(&[
        ("/value", json!("12.10")),
        ("/currency", json!("kwd")),
        ("/items", json!([{"id": "A", "quantity": 3}, {"name": "no id"}, {"id": "B", "price": 0.5, "category": "c", "brand": "b"}])),
    ]));
    assert!(outcome.sent["google_ads"].text.contains("\"conversionValue\":12.10,\"currencyCode\":\"KWD\""));
    let custom = &outcome.value("meta")["custom_data"];
    assert_eq!(custom["contents"], json!([{"id": "A", "quantity": 3}, {"id": "B", "item_price": 0.5}]));
    assert_eq!((&custom["content_ids"], &custom["num_items"]), (&json!(["A", "B"]), &json!(4)));
    let contents = &outcome.value("tiktok")["properties"]["contents"];
    assert_eq!(
        contents,
        &json!([{"content_id": "A", "quantity": 3}, {"content_id": "B", "content_category": "c", "brand": "b", "price": 0.5}])
    );
    assert_eq!(outcome.value("ga4")["events"][0]["params"]["items"][1], json!({"item_name": "no id"}));
    // Meta counts things in whole numbers; a blank is no id.
    let parts = |quantities: [Value; 2]| {
        let [a, b] = quantities;
        let items = json!([{"id": " A ", "quantity": a}, {"id": "B", "quantity": b}, {"id": " ", "name": "\t"}]);
        let outcome = run(&with(&[("/items", items)]));
        let ga4 = outcome.value("ga4")["events"][0]["params"]["items"].clone();
        (outcome.value("meta")["custom_data"].clone(), ga4)
    };
    let (meta, ga4) = parts([json!(2.0), json!("3")]);
    assert_eq!((&meta["contents"], &meta["num_items"]), (&json!([{"id": "A", "quantity": 2}, {"id": "B", "quantity": 3}]), &json!(5)));
    assert_eq!(ga4.as_array().map(Vec::len), Some(2));
    let (meta, ga4) = parts([json!(0.5), json!(1)]);
    assert_eq!((&meta["contents"], meta.get("num_items")), (&json!([{"id": "A"}, {"id": "B", "quantity": 1}]), None));
    assert_eq!(ga4[0]["quantity"], json!(0.5));
    let unknown = run(&with(&[("/currency", json!("ZZZ"))]));
    assert_eq!(unknown.value("google_ads").get("conversionValue"), None);
    assert_eq!(unknown.value("ga4")["events"][0]["params"].get("value"), None);
}

#[test]
fn google_takes_one_click_id_and_five_identifiers() {
    let clicks = json!({"gclid": "G", "wbraid": "W", "gbraid": "B", "dclid": "D", "ga_client_id": "1.2"});
    let sent = |remove: &[&str]| {
        let mut ids = clicks.clone();
        remove.iter().for_each(|name| drop(ids.as_object_mut().expect("ids").remove(*name)));
        let outcome = run(&with(&[("/ids", ids)]));
        let keys = |v: &Value| {
            let names = ["gclid", "wbraid", "gbraid", "dclid"];
            names.into_iter().filter(|n| v.get(n).is_some()).collect::<Vec<_>>()
        };
        (keys(outcome.value("google_ads")), keys(&outcome.value("google_data_manager")["adIdentifiers"]))
    };
    assert_eq!(sent(&[]), (vec!["gclid"], vec!["gclid"]));
    assert_eq!(sent(&["gclid"]), (vec!["wbraid"], vec!["wbraid"]));
    assert_eq!(sent(&["gclid", "wbraid"]), (vec!["gbraid"], vec!["gbraid"]));
    assert_eq!(sent(&["gclid", "wbraid", "gbraid"]), (vec![], vec!["dclid"]));

    let many: Vec<String> = (0..12).map(|n| format!("jane{n}@example.com")).collect();
    let outcome = run(&with(&[("/user/email", json!(many))]));
    let identifiers = |v: &Value, path: &str| v.pointer(path).and_then(Value::as_array).map_or(0, Vec::len);
    assert_eq!(identifiers(outcome.value("google_ads"), "/userIdentifiers"), 5);
    let adjustment = outcome.value("google_ads_enhancement");
    assert_eq!(identifiers(adjustment, "/userIdentifiers"), 5);
    assert!(adjustment["userIdentifiers"][4].get("addressInfo").is_some(), "a whole address is never crowded out");
    assert_eq!(identifiers(outcome.value("google_data_manager"), "/userData/userIdentifiers"), 10);
}

#[test]
fn google_needs_somebody_and_the_whole_of_an_address() {
    for part in ["first_name", "last_name", "country", "zip"] {
        let outcome = run(&with(&[(&format!("/user/{part}"), Value::Null)]));
        assert!(!outcome.sent["google_data_manager"].text.contains("\"address\""), "{part}");
        assert!(!outcome.sent["google_ads_enhancement"].text.contains("addressInfo"), "{part}");
    }
    let nobody = run(&bare(json!({"country": "US"})));
    let skipped = nobody.skipped();
    for destination in ["google_ads", "google_ads_enhancement", "google_data_manager"] {
        assert!(skipped.contains(&format!("{destination} below_minimum")), "{destination}");
    }
    let clicked = run(&with(&[("/user", json!({}))]));
    assert_eq!(clicked.value("google_ads").get("userIdentifiers"), None);
    assert_eq!(run(&with(&[("/order_id", Value::Null)])).value("google_data_manager")["transactionId"], "ord-1001");
    let punctuated = DESTINATIONS.replace("[tenant.google_ads]", "[tenant.google_ads]\nname_punctuation = \"keep\"");
    let hash = |config: &str| {
        let outcome = run_at(TENANT, config, &with(&[("/user/last_name", json!("O'Brien"))]), 60_000);
        let last = outcome.value("google_data_manager").pointer("/userData/userIdentifiers/2/address/familyName").cloned();
        (last, outcome.value("google_ads_enhancement")["userIdentifiers"][2]["addressInfo"]["hashedLastName"].clone())
    };
    let sha256 = |text: &str| {
        use sha2::Digest;
        json!(sha2::Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>())
    };
    assert_eq!(hash(DESTINATIONS), (Some(sha256("obrien")), sha256("obrien")));
    assert_eq!(hash(&punctuated), (Some(sha256("o'brien")), sha256("o'brien")));
}

#[test]
fn a_refund_becomes_what_the_tenant_says() {
    let refund = with(&[("/event_name", json!("refund"))]);
    let of = |mode: &str| {
        let config = DESTINATIONS.replace("[tenant.google_ads]", &format!("[tenant.google_ads]\nrefund = \"{mode}\""));
        run_at(TENANT, &config, &refund, 60_000)
    };
    assert!(!of("nothing").sent.contains_key("google_ads_enhancement"));
    let action = "customers/1234567890/conversionActions/987654321";
    let retraction = json!({"adjustmentType": "RETRACTION", "conversionAction": action, "orderId": "ORD-1001",
        "adjustmentDateTime": "2026-09-21 14:13:20+00:00"});
    let outcome = of("retraction");
    assert_eq!(outcome.value("google_ads_enhancement"), &retraction);
    let sent = &outcome.sent["google_ads_enhancement"];
    assert_eq!(sent.header("not-before"), Some((OCCURRED_AT_MS + DAY_MS).to_string().as_str()));
    assert_eq!(sent.header("not-after"), Some((OCCURRED_AT_MS + 54 * DAY_MS).to_string().as_str()));
    let restated = of("restatement");
    assert_eq!(restated.value("google_ads_enhancement")["restatementValue"], json!({"adjustedValue": 42.5, "currencyCode": "USD"}));
    assert_eq!(restated.value("google_ads_enhancement").get("userIdentifiers"), None);
    assert_eq!(restated.value("ga4")["events"][0]["name"], "refund");
}

#[test]
fn tiktok_gets_the_events_of_its_source_alone() {
    for (action_source, source) in
        [("website", "web"), ("app", "app"), ("physical_store", "offline"), ("phone_call", "crm"), ("email", "crm")]
    {
        let event = with(&[("/action_source", json!(action_source))]);
        for configured in ["web", "app", "offline", "crm"] {
            let config = DESTINATIONS.replace("[tenant.tiktok]", &format!("[tenant.tiktok]\nevent_source = \"{configured}\""));
            let outcome = run_at(TENANT, &config, &event, 60_000);
            assert_eq!(outcome.sent.contains_key("tiktok"), configured == source, "{action_source} {configured}");
        }
    }
    let config = DESTINATIONS.replace("[tenant.tiktok]", "[tenant.tiktok]\nevent_source = \"crm\"");
    let call = with(&[("/action_source", json!("phone_call")), ("/url", Value::Null)]);
    assert_eq!(run_at(TENANT, &config, &call, 60_000).value("tiktok").get("page"), None);
    let two = run(&with(&[("/user/email", json!(["a@example.com", "b@example.com", "A@example.com"]))]));
    assert_eq!(two.value("tiktok")["user"]["email"].as_array().map(Vec::len), Some(2));
    assert_eq!(two.value("meta")["user_data"]["em"].as_array().map(Vec::len), Some(2));
}

#[test]
fn ga4_gets_the_tags_client_or_nothing() {
    for (client, expected) in [
        ("GA1.1.1234567890.1789990000", Some("1234567890.1789990000")),
        ("GA1.2.1234567890.1789990000", Some("1234567890.1789990000")),
        ("1234567890.1789990000", Some("1234567890.1789990000")),
        ("w0Vf-Z_1=.1789990000", Some("w0Vf-Z_1=.1789990000")),
        ("User-42", None),
        ("jane.doe@example.com", None),
        ("", None),
        ("1.x", None),
    ] {
        let outcome = run(&with(&[("/ids/ga_client_id", json!(client))]));
        assert_eq!(outcome.sent.get("ga4").map(|s| s.value["client_id"].as_str().expect("text")), expected, "{client}");
    }
    for (session, expected) in [
        ("1789999990", Some("1789999990")),
        ("GS1.1.1789999990.3.1.1790000000.0.0.0", Some("1789999990")),
        ("GS2.1.s1789999990$o3$g1$t1790000000", Some("1789999990")),
        ("s-0001", None),
    ] {
        let outcome = run(&with(&[("/ids/session_id", json!(session))]));
        let params = &outcome.value("ga4")["events"][0]["params"];
        assert_eq!(params.get("session_id").and_then(Value::as_str), expected, "{session}");
    }
    let nameless = run(&with(&[("/user/external_id", Value::Null)]));
    assert!(nameless.value("ga4").get("user_data").is_none(), "user data needs the user's id");
    let located = DESTINATIONS.replace("[tenant.ga4]", "[tenant.ga4]\nip_override = true");
    assert_eq!(run_at(TENANT, &located, &raw_event(), 60_000).value("ga4")["ip_override"], "203.0.113.7");
}

#[test]
fn ga4_cuts_what_is_too_long() {
    let long = "ü".repeat(600);
    let items: Vec<Value> = (0..200).map(|n| json!({"id": format!("{n}-{long}"), "name": long, "category": long, "brand": long})).collect();
    let outcome = run(&with(&[
        ("/items", json!(items)),
        ("/url", json!(format!("https://shop.example.com/{}?utm_source={}", "a/".repeat(400), "b".repeat(400)))),
        ("/referrer", json!(format!("https://r.example.com/{}", "c/".repeat(400)))),
        ("/order_id", json!("o".repeat(150))),
    ]));
    let sent = &outcome.sent["ga4"];
    assert!(sent.text.len() <= 130_000 && sent.text.len() > 120_000, "{}", sent.text.len());
    let params = &sent.value["events"][0]["params"];
    let chars = |v: &Value| v.as_str().expect("text").chars().count();
    assert_eq!((chars(&params["page_location"]), chars(&params["page_referrer"]), chars(&params["transaction_id"])), (1_000, 420, 100));
    assert_eq!(chars(&params["items"][7]["item_id"]), 100);
    assert!(params.as_object().expect("params").len() <= 25);
}

#[test]
fn dropped_fields_are_counted_by_destination_field_and_reason() {
    let outcome = run(&with(&[
        ("/user/email", json!("no address")),
        ("/user/gender", json!("x")),
        ("/user/country", json!("Deutschland")),
        ("/user/external_id", json!("0123456789abcdef0123456789abcdef")),
    ]));
    let drops: Vec<String> = outcome.tally.form_drops.iter().map(|((d, f, r), n)| format!("{} {} {r} {n}", d.as_str(), f.name())).collect();
    let expected = [
        "meta user.email not_an_email 1",
        "meta user.gender not_a_gender 1",
        "meta user.country not_a_country 1",
        "meta user.external_id md5 1",
        "google_ads user.email not_an_email 1",
        "google_ads_enhancement user.email not_an_email 1",
        "google_ads_enhancement user.country not_a_country 1",
        "google_data_manager user.email not_an_email 1",
        "google_data_manager user.country not_a_country 1",
        "tiktok user.email not_an_email 1",
        "tiktok user.country not_a_country 1",
        "tiktok user.external_id md5 1",
        "ga4 user.email not_an_email 1",
        "ga4 user.country not_a_country 1",
        "ga4 user.external_id md5 1",
    ];
    assert_eq!(drops, expected);
}

/// Source: destinations.md 1.6: only what is a hash from end to end passes; what becomes one by the field's rule is text, and is hashed.
#[test]
fn hex_with_something_in_between_is_no_hash() {
    let hash = "5f0d1df1fc49e30424381b57b1d4c73e067772a4267dde043a19b026935602c8";
    let (spaced, dashed) = (format!("{} {}", &hash[..32], &hash[32..]), format!("{}-{}", &hash[..32], &hash[32..]));
    let sha256 = |text: &str| {
        use sha2::Digest;
        json!(sha2::Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>())
    };
    let outcome = run(&with(&[
        ("/user/external_id", json!(spaced)),
        ("/user/first_name", json!(format!(" {} ", hash.to_uppercase()))),
        ("/user/last_name", json!(dashed)),
        ("/user/zip", json!(dashed)),
    ]));
    let meta = &outcome.value("meta")["user_data"];
    assert_eq!((&meta["external_id"], &meta["fn"], &meta["ln"]), (&json!([sha256(hash)]), &json!([hash]), &json!([sha256(hash)])));
    let tiktok = &outcome.value("tiktok")["user"];
    assert_eq!((&tiktok["external_id"], &tiktok["zip_code"]), (&sha256(&spaced), &sha256(hash)));
    let address = &outcome.value("google_ads_enhancement")["userIdentifiers"][2]["addressInfo"];
    assert_eq!((&address["hashedFirstName"], &address["hashedLastName"]), (&json!(hash), &sha256(hash)));
}
