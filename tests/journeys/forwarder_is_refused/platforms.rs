//! What the platforms publish about their requests, as checks: required members, formats, limits. Source: destinations.md §3 to §6.

use crate::support::outside::repository;
use lethe::model::time::{DAY_MS, HOUR_MS, parse_rfc3339};
use serde_json::{Value, json};

type Checked<T> = Result<T, String>;

/// Says what is wrong with a request, or how many events it has.
pub fn validate(destination: &str, target: &str, body: &Value, now_ms: i64) -> Checked<usize> {
    match destination {
        "meta" => each(body, "data", 1_000, |event| meta(event, now_ms)),
        "google_ads" => {
            ensure(body["partialFailure"] == true, "partialFailure")?;
            each(body, "conversions", 2_000, |event| conversion(event, target))
        }
        "google_ads_enhancement" => {
            ensure(body["partialFailure"] == true, "partialFailure")?;
            each(body, "conversionAdjustments", 2_000, |event| adjustment(event, target))
        }
        "google_data_manager" => {
            ensure(body["encoding"] == "HEX", "encoding")?;
            let account = &body["destinations"][0];
            let addressed = format!("{}/{}", text(&account["operatingAccount"], "accountId")?, text(account, "productDestinationId")?);
            ensure(addressed == target && account["operatingAccount"]["accountType"] == "GOOGLE_ADS", "destinations")?;
            each(body, "events", 2_000, ingested)
        }
        "tiktok" => {
            ensure(body["event_source"] == "web" && body["event_source_id"] == "PIXELCODE", "event_source")?;
            each(body, "data", 1_000, |event| tiktok(event, now_ms))
        }
        "ga4" => ga4(body, now_ms).map(|()| 1),
        _ => Err("destination".to_owned()),
    }
}

fn meta(event: &Value, now_ms: i64) -> Checked<()> {
    ensure(!text(event, "event_name")?.is_empty() && !text(event, "event_id")?.is_empty(), "event_name, event_id")?;
    let at_ms = whole(event, "event_time")? * 1_000;
    let source = text(event, "action_source")?;
    ensure(at_ms <= now_ms && now_ms - at_ms <= if source == "physical_store" { 62 } else { 7 } * DAY_MS, "event_time")?;
    let user = event["user_data"].as_object().ok_or("user_data")?;
    if source == "website" {
        ensure(user.contains_key("client_user_agent") && event["event_source_url"].is_string(), "website without user agent or URL")?;
    }
    for (key, value) in user {
        match key.as_str() {
            "em" | "ph" | "fn" | "ln" | "ge" | "db" | "ct" | "st" | "zp" | "country" | "external_id" => {
                let list = value.as_array().ok_or_else(|| format!("{key} is no list"))?;
                ensure(!list.is_empty() && list.iter().all(is_hash), key)?;
            }
            "client_ip_address" => ensure(is_ip(value), key)?,
            "fbc" | "fbp" => ensure((4..=5).contains(&value.as_str().unwrap_or("").split('.').count()), key)?,
            "client_user_agent" => ensure(value.is_string(), key)?,
            _ => return Err(format!("user_data.{key} is unknown")),
        }
    }
    let broad = ["ct", "st", "zp", "country", "ge", "client_user_agent"];
    ensure(user.keys().any(|key| !broad.contains(&key.as_str())), "user_data is too broad")?;
    let custom = &event["custom_data"];
    if event["event_name"] == "Purchase" {
        ensure(custom["value"].is_number() && custom["currency"].is_string(), "a purchase without value and currency")?;
    }
    money(custom, "value", "currency")?;
    for content in custom["contents"].as_array().into_iter().flatten() {
        ensure(!text(content, "id")?.trim().is_empty() && content.get("quantity").is_none_or(Value::is_u64), "contents")?;
        ensure(content.get("item_price").is_none_or(|price| price.as_f64() >= Some(0.0)), "item_price")?;
    }
    ensure(custom.get("num_items").is_none_or(Value::is_u64), "num_items")?;
    if event.get("data_processing_options").is_some_and(|options| *options == json!(["LDU"])) {
        ensure(whole(event, "data_processing_options_country").and(whole(event, "data_processing_options_state")).is_ok(), "LDU")?;
    }
    Ok(())
}

fn conversion(event: &Value, target: &str) -> Checked<()> {
    action(event, target)?;
    google_time(event, "conversionDateTime")?;
    let clicks = ["gclid", "wbraid", "gbraid"].iter().filter(|name| event.get(**name).is_some()).count();
    let identifiers = event["userIdentifiers"].as_array().map_or(0, Vec::len);
    ensure(clicks <= 1 && identifiers <= 5 && clicks + identifiers > 0, "click ids and identifiers")?;
    for identifier in event["userIdentifiers"].as_array().into_iter().flatten() {
        one_of(identifier, &["hashedEmail", "hashedPhoneNumber"])?;
    }
    ensure(event.get("consent").is_none_or(|c| c["adUserData"] == "GRANTED" && c.as_object().is_some_and(|c| c.len() == 1)), "consent")?;
    money(event, "conversionValue", "currencyCode")?;
    Ok(())
}

/// An enhancement has no time of its own; its age is the forwarder's business.
fn adjustment(event: &Value, target: &str) -> Checked<()> {
    action(event, target)?;
    ensure(!text(event, "orderId")?.is_empty(), "orderId")?;
    if event["adjustmentType"] == "RETRACTION" {
        ensure(event.get("userIdentifiers").is_none(), "a retraction with identifiers")?;
        return google_time(event, "adjustmentDateTime");
    }
    ensure(event["adjustmentType"] == "ENHANCEMENT", "adjustmentType")?;
    let identifiers = event["userIdentifiers"].as_array().ok_or("userIdentifiers")?;
    ensure((1..=5).contains(&identifiers.len()), "userIdentifiers")?;
    for identifier in identifiers {
        one_of(identifier, &["hashedEmail", "hashedPhoneNumber", "addressInfo"])?;
        if let Some(address) = identifier.get("addressInfo") {
            ensure(is_hash(&address["hashedFirstName"]) && is_hash(&address["hashedLastName"]), "addressInfo names")?;
            ensure(text(address, "countryCode")?.len() == 2 && !text(address, "postalCode")?.is_empty(), "addressInfo place")?;
        }
    }
    Ok(())
}

fn ingested(event: &Value) -> Checked<()> {
    parse_rfc3339(text(event, "eventTimestamp")?).ok_or("eventTimestamp")?;
    ensure(!text(event, "transactionId")?.is_empty(), "transactionId")?;
    ensure(["WEB", "APP", "IN_STORE", "PHONE", "MESSAGE", "OTHER"].contains(&text(event, "eventSource")?), "eventSource")?;
    let identifiers = event["userData"]["userIdentifiers"].as_array();
    ensure(identifiers.is_none_or(|list| (1..=10).contains(&list.len())), "userIdentifiers")?;
    let denied = event["consent"]["adUserData"] == "CONSENT_DENIED";
    ensure(denied != (identifiers.is_some() || event["adIdentifiers"].is_object()), "somebody after a denial, or nobody")?;
    for identifier in identifiers.into_iter().flatten() {
        one_of(identifier, &["emailAddress", "phoneNumber", "address"])?;
        if let Some(address) = identifier.get("address") {
            ensure(is_hash(&address["givenName"]) && is_hash(&address["familyName"]), "address names")?;
            ensure(text(address, "regionCode")?.len() == 2 && !text(address, "postalCode")?.is_empty(), "address place")?;
        }
    }
    for (_, answer) in event["consent"].as_object().into_iter().flatten() {
        ensure(answer == "CONSENT_GRANTED" || answer == "CONSENT_DENIED", "consent")?;
    }
    money(event, "conversionValue", "currency")?;
    Ok(())
}

fn tiktok(event: &Value, now_ms: i64) -> Checked<()> {
    ensure(!text(event, "event")?.is_empty() && !text(event, "event_id")?.is_empty(), "event, event_id")?;
    let at_ms = whole(event, "event_time")? * 1_000;
    ensure(at_ms <= now_ms && now_ms - at_ms <= 7 * DAY_MS, "event_time")?;
    ensure(event["limited_data_use"].is_boolean() && !text(&event["page"], "url")?.is_empty(), "limited_data_use, page.url")?;
    for (key, value) in event["user"].as_object().ok_or("user")? {
        let hashed = |value: &Value| value.as_array().map_or_else(|| is_hash(value), |list| list.len() > 1 && list.iter().all(is_hash));
        match key.as_str() {
            "email" | "phone" | "external_id" => ensure(hashed(value), key)?,
            "first_name" | "last_name" | "zip_code" => ensure(is_hash(value), key)?,
            "ip" => ensure(is_ip(value), key)?,
            "city" | "state" | "country" | "ttclid" | "ttp" | "user_agent" => ensure(value.is_string(), key)?,
            _ => return Err(format!("user.{key} is unknown")),
        }
    }
    money(&event["properties"], "value", "currency")?;
    Ok(())
}

fn ga4(body: &Value, now_ms: i64) -> Checked<()> {
    ensure(text(body, "client_id")?.contains('.'), "client_id")?;
    let at_ms = whole(body, "timestamp_micros")? / 1_000;
    ensure(now_ms - at_ms <= 72 * HOUR_MS, "timestamp_micros")?;
    for (_, answer) in body["consent"].as_object().into_iter().flatten() {
        ensure(answer == "GRANTED" || answer == "DENIED", "consent")?;
    }
    if let Some(data) = body.get("user_data") {
        ensure(body["consent"]["ad_user_data"] != "DENIED", "user_data after a denial")?;
        ensure(is_hash(&body["user_id"]), "user_data without user_id")?;
        for name in ["sha256_email_address", "sha256_phone_number"] {
            ensure(data.get(name).is_none_or(|list| list.as_array().is_some_and(|list| list.iter().all(is_hash))), name)?;
        }
    }
    let [event] = body["events"].as_array().map_or(&[][..], Vec::as_slice) else { return Err("events".to_owned()) };
    let name = text(event, "name")?;
    let word = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    ensure(name.len() <= 40 && word(name) && name.starts_with(|c: char| c.is_ascii_alphabetic()), "name")?;
    let reserved = ["session_start", "user_engagement", "first_visit", "error"].contains(&name);
    ensure(!reserved && !["ga_", "google_", "firebase_"].iter().any(|prefix| name.starts_with(prefix)), "reserved name")?;
    let params = event["params"].as_object().ok_or("params")?;
    ensure(params.len() <= 25, "params")?;
    for (key, value) in params {
        let most = if key == "page_location" {
            1_000
        } else if key == "page_referrer" {
            420
        } else {
            100
        };
        let scalar = value.is_number() || value.as_str().is_some_and(|text| text.chars().count() <= most);
        ensure(key.len() <= 40 && word(key) && (scalar || key == "items"), key)?;
    }
    let items = params.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    ensure(items.len() <= 200 && body.to_string().len() < 130_000, "too much")?;
    for item in items {
        ensure(item.get("item_id").is_some() || item.get("item_name").is_some(), "an item without id and name")?;
        let scalar = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| (1..=100).contains(&text.chars().count()));
        ensure(item.as_object().is_some_and(|members| members.values().all(scalar)), "an item's member")?;
    }
    if ["purchase", "refund"].contains(&name) {
        ensure(params.contains_key("transaction_id"), "transaction_id")?;
    }
    ensure(!params.contains_key("value") || params.contains_key("currency"), "value without currency")?;
    Ok(())
}

/// Checks each event of a request; its list must not be empty or too long.
fn each(body: &Value, list: &str, most: usize, check: impl Fn(&Value) -> Checked<()>) -> Checked<usize> {
    let events = body[list].as_array().ok_or("no list of events")?;
    ensure((1..=most).contains(&events.len()), "number of events")?;
    events.iter().try_for_each(check).map(|()| events.len())
}

fn ensure(holds: bool, what: &str) -> Checked<()> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn text<'v>(value: &'v Value, name: &str) -> Checked<&'v str> {
    value[name].as_str().ok_or_else(|| format!("{name} is no text"))
}

fn whole(value: &Value, name: &str) -> Checked<i64> {
    value[name].as_i64().ok_or_else(|| format!("{name} is no integer"))
}

fn is_hash(value: &Value) -> bool {
    value.as_str().is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

fn is_ip(value: &Value) -> bool {
    value.as_str().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok())
}

/// Value and currency: a number that is not negative and a code, or neither.
fn money(value: &Value, amount: &str, currency: &str) -> Checked<()> {
    let code = |code: &Value| code.as_str().is_some_and(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()));
    match (value.get(amount), value.get(currency)) {
        (None, None) => Ok(()),
        (Some(amount), Some(currency)) => ensure(amount.as_f64().is_some_and(|n| n >= 0.0) && code(currency), "money"),
        _ => Err("value and currency do not come together".to_owned()),
    }
}

fn action(event: &Value, customer: &str) -> Checked<()> {
    let id = text(event, "conversionAction")?.strip_prefix(&format!("customers/{customer}/conversionActions/")).map(str::to_owned);
    ensure(id.is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())), "conversionAction")
}

/// `yyyy-mm-dd hh:mm:ss±hh:mm`: a space, whole seconds, an offset with a colon, never `Z`.
fn google_time(event: &Value, name: &str) -> Checked<()> {
    let time = text(event, name)?;
    let shape =
        time.len() == 25 && time.as_bytes()[10] == b' ' && matches!(time.as_bytes()[19], b'+' | b'-') && time.as_bytes()[22] == b':';
    ensure(shape, name)?;
    parse_rfc3339(time).map(drop).ok_or_else(|| name.to_owned())
}

/// An identifier holds its source and one of these members; a hash where it is text.
fn one_of(identifier: &Value, names: &[&str]) -> Checked<()> {
    let members = identifier.as_object().ok_or("an identifier is no object")?;
    let known: Vec<_> = members.iter().filter(|(name, _)| *name != "userIdentifierSource").collect();
    let [(name, value)] = known[..] else { return Err("an identifier with more or less than one member".to_owned()) };
    ensure(names.contains(&name.as_str()) && (value.is_object() || is_hash(value)), name)
}

/// A request's body, changed: what stands at a place becomes something else, or goes (`null`).
fn changed(body: &Value, place: &str, to: &Value) -> Value {
    let mut body = body.clone();
    let (parent, name) = place.rsplit_once('/').expect("a JSON pointer");
    match body.pointer_mut(parent).expect("the place is there") {
        Value::Object(members) if to.is_null() => drop(members.remove(name)),
        Value::Object(members) => drop(members.insert(name.to_owned(), to.clone())),
        other => other[name.parse::<usize>().expect("a number")] = to.clone(),
    }
    body
}

/// The stub is worth something: it takes the worked examples of the specification, and refuses them with any rule broken.
#[test]
fn the_stub_refuses_what_the_platforms_refuse() {
    const NOW_MS: i64 = 1_790_000_060_000;
    let clear = json!("jane.doe@example.com");
    let two = json!({ "userIdentifierSource": "FIRST_PARTY", "hashedEmail": "a".repeat(64), "hashedPhoneNumber": "b".repeat(64) });
    let broad = json!({ "country": ["a".repeat(64)], "client_user_agent": "Mozilla/5.0" });
    let days_ago = |days: i64| json!((NOW_MS - days * DAY_MS) / 1_000);
    let refused = |destination: &str, target: &str, list: &str, most: usize, broken: &[(&str, Value)]| {
        let path = repository(&format!("schemas/destinations/{destination}/request.json"));
        let body: Value = serde_json::from_slice(&std::fs::read(path).expect("a worked example")).expect("JSON");
        assert_eq!(validate(destination, target, &body, NOW_MS), Ok(1), "{destination}");
        for (place, to) in broken {
            let body = changed(&body, place, to);
            assert!(validate(destination, target, &body, NOW_MS).is_err(), "{destination} took {place} {to}");
        }
        let many = vec![body[list][0].clone(); most + 1];
        assert!(validate(destination, target, &changed(&body, &format!("/{list}"), &json!(many)), NOW_MS).is_err(), "{destination}");
    };
    let meta = [
        ("/data", json!([])),
        ("/data/0/event_name", Value::Null),
        ("/data/0/event_id", Value::Null),
        ("/data/0/event_time", days_ago(8)),
        ("/data/0/event_time", days_ago(-1)),
        ("/data/0/event_time", json!("1790000000")),
        ("/data/0/event_time", json!(NOW_MS)),
        ("/data/0/event_source_url", Value::Null),
        ("/data/0/user_data", broad),
        ("/data/0/user_data/em", json!([clear])),
        ("/data/0/user_data/em", json!("a".repeat(64))),
        ("/data/0/user_data/ph", json!(["A".repeat(64)])),
        ("/data/0/user_data/email", json!(["a".repeat(64)])),
        ("/data/0/user_data/fbc", json!("IwAR2AbC")),
        ("/data/0/user_data/client_user_agent", Value::Null),
        ("/data/0/custom_data/value", json!("42.5")),
        ("/data/0/custom_data/value", json!(-1)),
        ("/data/0/custom_data/currency", json!("usd")),
        ("/data/0/custom_data/currency", Value::Null),
        ("/data/0/custom_data/contents/0/id", Value::Null),
    ];
    refused("meta", "1234567890", "data", 1_000, &meta);
    let ads = [
        ("/partialFailure", json!(false)),
        ("/conversions/0/conversionAction", json!("customers/123-456-7890/conversionActions/1")),
        ("/conversions/0/conversionDateTime", json!("2026-09-21T14:13:20Z")),
        ("/conversions/0/conversionDateTime", json!("2026-09-21 14:13:20+0000")),
        ("/conversions/0/wbraid", json!("W")),
        ("/conversions/0/userIdentifiers/0", two.clone()),
        ("/conversions/0/userIdentifiers/0/hashedEmail", clear.clone()),
        ("/conversions/0/userIdentifiers", json!(vec![json!({ "hashedEmail": "a".repeat(64) }); 6])),
        ("/conversions/0/consent/adPersonalization", json!("GRANTED")),
        ("/conversions/0/currencyCode", Value::Null),
    ];
    refused("google_ads", "1234567890", "conversions", 2_000, &ads);
    let enhancement = [
        ("/conversionAdjustments/0/orderId", Value::Null),
        ("/conversionAdjustments/0/adjustmentType", Value::Null),
        ("/conversionAdjustments/0/userIdentifiers", json!([])),
        ("/conversionAdjustments/0/userIdentifiers/0", two),
        ("/conversionAdjustments/0/userIdentifiers/2/addressInfo/postalCode", Value::Null),
        ("/conversionAdjustments/0/userIdentifiers/2/addressInfo/hashedLastName", json!("doe")),
    ];
    refused("google_ads_enhancement", "1234567890", "conversionAdjustments", 2_000, &enhancement);
    let manager = [
        ("/encoding", Value::Null),
        ("/destinations/0/productDestinationId", json!("1")),
        ("/events/0/transactionId", Value::Null),
        ("/events/0/eventTimestamp", json!("2026-09-21 14:13:20")),
        ("/events/0/eventSource", json!("website")),
        ("/events/0/consent/adUserData", json!("GRANTED")),
        ("/events/0/userData/userIdentifiers/0/emailAddress", clear.clone()),
        ("/events/0/userData/userIdentifiers/2/address/regionCode", json!("USA")),
        ("/events/0/userData/userIdentifiers/2/address/postalCode", Value::Null),
    ];
    refused("google_data_manager", "1234567890/987654321", "events", 2_000, &manager);
    let tiktok = [
        ("/event_source", json!("app")),
        ("/data/0/event_time", days_ago(8)),
        ("/data/0/page", Value::Null),
        ("/data/0/limited_data_use", Value::Null),
        ("/data/0/user/email", clear.clone()),
        ("/data/0/user/phone_number", json!("a".repeat(64))),
        ("/data/0/user/ip", json!("here")),
        ("/data/0/properties/currency", Value::Null),
    ];
    refused("tiktok", "web/PIXELCODE", "data", 1_000, &tiktok);
    let ga4 = [
        ("/client_id", json!("user-42")),
        ("/timestamp_micros", json!(1_790_000_000_000_i64)),
        ("/user_id", Value::Null),
        ("/user_data/sha256_email_address/0", clear),
        ("/consent/ad_user_data", json!("granted")),
        ("/events/0/name", json!("order paid")),
        ("/events/0/name", json!("session_start")),
        ("/events/0/name", json!("ga_purchase")),
        ("/events/0/params/transaction_id", Value::Null),
        ("/events/0/params/currency", Value::Null),
        ("/events/0/params/list", json!([1])),
        ("/events/0/params/text", json!("x".repeat(101))),
        ("/events/0/params/items/0", json!({ "price": 1 })),
    ];
    refused("ga4", "G-XXXXXXX", "events", 1, &ga4);
}
