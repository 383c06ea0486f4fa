//! Strange events through the library's own line, every record held against the published rules: what a generator of likely events never makes.

use super::{DESTINATIONS, platforms};
use lethe::config::{compile::compile, load};
use lethe::model::keyring::{KeyEntry, Keyring};
use lethe::model::pseudonym::Epoch;
use lethe::model::record::{HeaderName, RawRecords};
use lethe::model::time::{DAY_MS, HOUR_MS};
use lethe::transform::enrich::device_table::DeviceTable;
use lethe::transform::enriched::Assets;
use lethe::transform::rules::Rules;
use lethe::transform::transform;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW_MS: i64 = 1_790_000_000_000;

const CONFIG: &str = r#"
[[tenant]]
id = "acme"
profile = "ad_attribution"
max_lateness = "100d"
purposes = { events = "contract", conversions = "contract", destinations = "contract" }
windows = { events = "400d", conversions = "400d", dest = "200d", logs = "off", sessions = "off" }
opt_out_of_sale = "limited_data_use"
destinations = ["meta", "google_ads", "google_ads_enhancement", "google_data_manager", "tiktok", "ga4"]
[tenant.meta]
pixel_id = "111"
[tenant.google_ads]
customer_id = "1234567890"
conversion_actions = { purchase = "1", generate_lead = "2", refund = "3", "quiz done" = "4" }
refund = "retraction"
[tenant.tiktok]
pixel_code = "PIXELCODE"
[tenant.ga4]
measurement_id = "G-TEST"
ip_override = true
"#;

fn rules() -> Rules {
    let config = load::parse(CONFIG, std::iter::empty()).expect("config");
    let mut keyring = Keyring::default();
    let key = KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some([7; 32].into()) };
    keyring.tenants.insert(config.tenant[0].id.clone(), vec![key]);
    compile(&config, &keyring).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// Text that somebody may have put anywhere.
fn text() -> impl Strategy<Value = Value> {
    let hash = "5F0D1DF1FC49E30424381B57B1D4C73E067772A4267DDE043A19B026935602C8";
    let known = [
        "",
        " ",
        "\u{0}",
        "\"\\\n\t",
        "a",
        "-",
        "jane@example.com",
        "Jane.Doe+x@gmail.com",
        "+1 650 555 1212",
        "00",
        "0",
        "true",
        "1.5",
        "US",
        "Ünïcödé 🙂",
        "\u{202e}abc",
        "e\u{301}",
        hash,
        "0123456789abcdef0123456789abcdef",
        "fb.1.5.x",
        "fb.1.5",
        "fb.1.5.a.b.c",
        "1.2",
        "GA1.1.1.2",
        "GS1.1.17.1.1.1.0.0.0",
        "1997-02-16",
        "94025-1234",
        "https://shop.example.com/a?fbclid=F&ttclid=T&gclid=G&x=y#z",
        "https://jane@shop.example.com:8443/jane@example.com",
        "javascript:alert(1)",
        "//a",
        "http://[::1]/",
        "https://бар.example/é?utm_source=ü",
    ];
    prop_oneof![
        6 => select(known.to_vec()).prop_map(|text| json!(text)),
        1 => select(vec!["ü", "a.", "/x", "9", "%41", "<>"]).prop_map(|part| json!(part.repeat(700))),
        1 => "\\PC{0,40}".prop_map(|text| json!(text)),
        1 => select(vec![json!(null), json!(5), json!(-1.5), json!([]), json!({}), json!(true), json!(["a@b.cd", "", "c@d.ef", 5])]),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    let known = [
        json!(0),
        json!(-0.0),
        json!(-1),
        json!(1),
        json!(2.0),
        json!(1.5),
        json!(1e-9),
        json!(1e300),
        json!(123_456_789_012_345_678_u64),
        json!("12.10"),
        json!("1e3"),
        json!("abc"),
        json!(""),
        json!("-5"),
        json!(" 7 "),
        json!("NaN"),
        json!("1e999"),
        Value::Null,
    ];
    select(known.to_vec())
}

fn items() -> impl Strategy<Value = Value> {
    let item = (text(), text(), number(), number())
        .prop_map(|(id, name, price, quantity)| json!({ "id": id, "name": name, "category": name, "brand": id, "price": price, "quantity": quantity }));
    prop_oneof![
        3 => prop::collection::vec(item, 0..4).prop_map(|items| json!(items)),
        1 => (200..260_usize).prop_map(|n| json!(vec![json!({ "id": "é".repeat(300), "name": "x".repeat(900), "quantity": 1 }); n])),
        1 => text(),
    ]
}

/// What may be changed in the worked example: its place, and what it becomes.
fn change() -> impl Strategy<Value = (&'static str, Value)> {
    let texts = [
        "/user/email",
        "/user/phone",
        "/user/phone_country",
        "/user/first_name",
        "/user/last_name",
        "/user/gender",
        "/user/date_of_birth",
        "/user/street",
        "/user/city",
        "/user/state",
        "/user/zip",
        "/user/country",
        "/user/external_id",
        "/ids/session_id",
        "/ids/ga_client_id",
        "/ids/fbp",
        "/ids/fbc",
        "/ids/ttp",
        "/ids/ttclid",
        "/ids/gclid",
        "/ids/wbraid",
        "/ids/gbraid",
        "/ids/dclid",
        "/ids/fbclid",
        "/ip",
        "/user_agent",
        "/url",
        "/referrer",
        "/order_id",
        "/currency",
        "/user",
        "/ids",
    ];
    let names = [
        "purchase",
        "PURCHASE",
        "refund",
        "generate_lead",
        "PageView",
        "search",
        "begin_checkout",
        "quiz done",
        "ga_x",
        "session_start",
        "a.b",
        "x",
    ];
    let sources = ["website", "app", "physical_store", "phone_call", "email", "chat", "other", "system_generated", "business_messaging"];
    let ages = [0, 1, HOUR_MS, DAY_MS, 71 * HOUR_MS, 6 * DAY_MS, 7 * DAY_MS - 6 * HOUR_MS, 40 * DAY_MS, 89 * DAY_MS, -100_000];
    prop_oneof![
        8 => (select(texts.to_vec()), text()),
        2 => (Just("/value"), number()),
        1 => (Just("/quantity"), number()),
        2 => (Just("/items"), items()),
        1 => (select(vec!["JPY", "kwd", "XXX", "€", "USDT"]),).prop_map(|(code,)| ("/currency", json!(code))),
        2 => select(names.to_vec()).prop_map(|name| ("/event_name", json!(name))),
        2 => select(sources.to_vec()).prop_map(|source| ("/action_source", json!(source))),
        2 => select(ages.to_vec()).prop_map(|age| ("/event_time", json!(NOW_MS - age))),
        1 => select(vec!["10.0.0.1", "2001:db8::7", "::ffff:93.184.216.34", "fe80::1%eth0", "1.2.3"]).prop_map(|ip| ("/ip", json!(ip))),
        1 => any::<[bool; 3]>().prop_map(|[ads, sale, personal]| ("/consent", json!({ "ads": ads, "opt_out_of_sale": sale, "personalization": personal }))),
    ]
}

/// A request that carries this one record.
fn request(destination: &str, target: &str, record: Value) -> Value {
    let (first, second) = target.split_once('/').unwrap_or((target, ""));
    match destination {
        "meta" => json!({ "data": [record] }),
        "google_ads" => json!({ "conversions": [record], "partialFailure": true }),
        "google_ads_enhancement" => json!({ "conversionAdjustments": [record], "partialFailure": true }),
        "google_data_manager" => json!({ "encoding": "HEX", "events": [record], "destinations": [
            { "operatingAccount": { "accountType": "GOOGLE_ADS", "accountId": first }, "productDestinationId": second }] }),
        "tiktok" => json!({ "event_source": first, "event_source_id": second, "data": [record] }),
        _ => record,
    }
}

#[test]
fn nothing_that_is_written_is_refused() {
    let rules = rules();
    let assets = Assets { devices: Arc::new(DeviceTable::embedded().expect("rules")), geo: None };
    let example: Value = serde_json::from_str(include_str!("../../../schemas/destinations/raw_event.json")).expect("JSON");
    let mut runner = TestRunner::new(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() });
    let written = std::cell::RefCell::new(BTreeMap::<String, u32>::new());
    let tried = runner.run(&prop::collection::vec(change(), 1..6), |changes| {
        let mut event = example.clone();
        event["event_time"] = json!(NOW_MS);
        event["consent"] = json!({ "ads": true, "personalization": false });
        for (place, to) in &changes {
            let (parent, name) = place.rsplit_once('/').expect("a pointer");
            if let Some(Value::Object(members)) = event.pointer_mut(parent) {
                members.insert(name.to_owned(), to.clone());
            }
        }
        let mut records = RawRecords::default();
        records.push(0, 0, 0, NOW_MS, event.to_string().as_bytes());
        let transformed = transform(&records, &rules, &assets, NOW_MS);
        for chunk in &transformed.chunks {
            for record in &chunk.records {
                let topic = &rules.topics[usize::from(record.topic.0)].name;
                let Some(destination) = topic.strip_prefix("acme.dest.") else { continue };
                let header = |wanted: HeaderName| {
                    let found = record.headers(&chunk.arena).find(|(name, _)| *name == wanted.as_str());
                    found.map(|(_, value)| std::str::from_utf8(value).expect("text"))
                };
                let at_ms = header(HeaderName::NotBefore).map_or(NOW_MS, |ms| ms.parse::<i64>().expect("a time").max(NOW_MS));
                let target = header(HeaderName::Target).expect("a target");
                let body: Value = serde_json::from_slice(record.value.of(&chunk.arena)).expect("JSON");
                let verdict = platforms::validate(destination, target, &request(destination, target, body.clone()), at_ms);
                prop_assert_eq!(verdict, Ok(1), "{}: {}", destination, body);
                *written.borrow_mut().entry(destination.to_owned()).or_default() += 1;
            }
        }
        Ok(())
    });
    tried.unwrap_or_else(|fault| panic!("{fault}"));
    let written = written.into_inner();
    assert!(DESTINATIONS.iter().all(|destination| written.get(*destination) > Some(&100)), "too little to show anything: {written:?}");
}
