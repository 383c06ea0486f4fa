//! Fear: a platform's own library would have hashed the value differently, so that nobody is matched and nobody notices.
//!
//! Shown: a file of values with the hashes that the platforms' libraries gave goes through a real run, one event a line, and every record
//! holds what the file says. `LETHE_CONFORMANCE` names the file: JSON lines of `destination`, `field`, `input`, `country_hint`,
//! `expected_hash` (null: the field must not be there; for a field that goes out in clear: its text or the hash of it).

use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::outside::repository;
use lethe::ops::clock::now_ms;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const DESTINATIONS: [&str; 6] = ["meta", "google_ads", "google_ads_enhancement", "google_data_manager", "tiktok", "ga4"];

/// A field: its place in the raw event, its further names in lower-case letters, and its member in the record of each destination (in the
/// order of [`DESTINATIONS`]; empty: that destination never gets it).
type Field = (&'static str, &'static [&'static str], [&'static str; 6]);

#[rustfmt::skip]
const FIELDS: [Field; 26] = [
    ("user/email", &["em", "emailaddress"], ["em", "hashedEmail", "hashedEmail", "emailAddress", "email", "sha256_email_address"]),
    ("user/phone", &["ph", "phonenumber"], ["ph", "hashedPhoneNumber", "hashedPhoneNumber", "phoneNumber", "phone", "sha256_phone_number"]),
    ("user/first_name", &["fn", "givenname"], ["fn", "", "hashedFirstName", "givenName", "first_name", "sha256_first_name"]),
    ("user/last_name", &["ln", "familyname", "surname"], ["ln", "", "hashedLastName", "familyName", "last_name", "sha256_last_name"]),
    ("user/gender", &["ge"], ["ge", "", "", "", "", ""]),
    ("user/date_of_birth", &["db", "dob", "birthdate", "birthday"], ["db", "", "", "", "", ""]),
    ("user/street", &["streetaddress"], ["", "", "hashedStreetAddress", "", "", "sha256_street"]),
    ("user/city", &["ct"], ["ct", "", "city", "", "city", "city"]),
    ("user/state", &["st", "region", "province"], ["st", "", "state", "", "state", "region"]),
    ("user/zip", &["zp", "zipcode", "postalcode", "postcode"], ["zp", "", "postalCode", "postalCode", "zip_code", "postal_code"]),
    ("user/country", &["countrycode", "regioncode"], ["country", "", "countryCode", "regionCode", "country", "country"]),
    ("user/external_id", &["userid"], ["external_id", "", "", "", "external_id", "user_id"]),
    ("ip", &["clientipaddress", "ipaddress", "ipoverride"], ["client_ip_address", "", "", "", "ip", ""]),
    ("user_agent", &["clientuseragent"], ["client_user_agent", "", "userAgent", "", "user_agent", ""]),
    ("ids/fbc", &[], ["fbc", "", "", "", "", ""]),
    ("ids/fbp", &[], ["fbp", "", "", "", "", ""]),
    ("ids/ttp", &[], ["", "", "", "", "ttp", ""]),
    ("ids/ttclid", &[], ["", "", "", "", "ttclid", ""]),
    ("ids/gclid", &[], ["", "gclid", "", "gclid", "", ""]),
    ("ids/wbraid", &[], ["", "wbraid", "", "wbraid", "", ""]),
    ("ids/gbraid", &[], ["", "gbraid", "", "gbraid", "", ""]),
    ("ids/dclid", &[], ["", "", "", "dclid", "", ""]),
    ("ids/ga_client_id", &["clientid"], ["", "", "", "", "", "client_id"]),
    ("currency", &["currencycode"], ["currency", "currencyCode", "", "currency", "currency", "currency"]),
    ("value", &["conversionvalue"], ["value", "conversionValue", "", "conversionValue", "value", "value"]),
    ("order_id", &["transactionid"], ["order_id", "orderId", "orderId", "transactionId", "order_id", "transaction_id"]),
];

/// One line of the file.
#[derive(Deserialize)]
struct Line {
    destination: String,
    field: String,
    input: Value,
    country_hint: Option<String>,
    /// Null has to be said.
    #[serde(deserialize_with = "Option::deserialize")]
    expected_hash: Option<String>,
}

/// A line, understood.
struct Case {
    line: usize,
    destination: &'static str,
    place: &'static str,
    member: &'static str,
    input: Value,
    country_hint: Option<String>,
    expected: Option<String>,
}

/// Lower-case letters of a name: `addressInfo.hashedFirstName`, `user_data[0].sha256_first_name` and `First name` are `firstname`.
fn letters(name: &str) -> String {
    let last = name.rsplit(['.', '/']).find(|part| part.chars().any(char::is_alphabetic)).unwrap_or("");
    let last = last.split('[').next().unwrap_or(last);
    let letters: String = last.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase();
    ["sha256", "hashed"].iter().find_map(|prefix| letters.strip_prefix(prefix)).map(str::to_owned).unwrap_or(letters)
}

impl Case {
    /// Errors: what is wrong with the line.
    fn read(line: usize, text: &str) -> Result<Case, String> {
        let read: Line = serde_json::from_str(text).map_err(|fault| format!("line {line}: {fault}"))?;
        let at = match letters(&read.destination).as_str() {
            "facebook" | "metacapi" => Some(0),
            "google" => Some(1),
            "datamanager" => Some(3),
            "ga" | "googleanalytics" | "googleanalytics4" => Some(5),
            name => DESTINATIONS.iter().position(|destination| letters(destination) == name),
        };
        let mut at = at.ok_or_else(|| format!("line {line}: there is no destination {}", read.destination))?;
        let wanted = letters(&read.field);
        let named = |(place, names, _): &&Field| letters(place) == wanted || names.contains(&wanted.as_str());
        let (place, _, members) =
            FIELDS.iter().find(named).ok_or_else(|| format!("line {line}: no destination has a field {}", read.field))?;
        // One normaliser serves the three shapes: what a click conversion has no room for is looked up in an enhancement.
        if DESTINATIONS[at] == "google_ads" && members[at].is_empty() {
            at += 1;
        }
        let hint = read.country_hint.filter(|hint| !hint.is_empty());
        Ok(Case {
            line,
            destination: DESTINATIONS[at],
            place,
            member: members[at],
            input: read.input,
            country_hint: hint,
            expected: read.expected_hash,
        })
    }

    /// An event that every destination takes, whatever becomes of the field.
    fn event(&self, now_ms: i64) -> Value {
        let id = format!("line-{}", self.line);
        let mut event = json!({
            "event_id": id, "event_name": "purchase", "event_time": now_ms, "user": { "external_id": "conformance" }, "order_id": id,
            "value": 1, "currency": "EUR", "user_agent": "Mozilla/5.0", "url": "https://shop.example.com/thanks", "consent": { "ads": true },
            "ids": { "ga_client_id": "1234567890.1789990000", "fbp": "fb.1.1789990000000.1", "ttp": "ttp-1", "gclid": "gclid-1" },
        });
        if self.destination.starts_with("google") && !["user/email", "user/phone"].contains(&self.place) {
            // Google's address comes whole or not at all.
            event["user"] = json!({ "first_name": "Jane", "last_name": "Doe", "zip": "94025", "country": "US" });
        }
        if ["ids/wbraid", "ids/gbraid", "ids/dclid"].contains(&self.place) {
            event["ids"]["gclid"] = Value::Null;
        }
        if self.destination == "ga4" && self.place.starts_with("user/") && self.place != "user/first_name" {
            // An address needs a name or a street.
            event["user"]["first_name"] = json!("Jane");
        }
        if let Some(hint) = &self.country_hint {
            event["user"]["country"] = json!(hint);
        }
        let place = self.place.split('/').fold(&mut event, |at, name| &mut at[name]);
        *place = self.input.clone();
        event
    }

    /// What differs between the file and the record, if anything.
    fn difference(&self, record: Option<&Value>) -> Option<String> {
        let found = record.filter(|_| !self.member.is_empty()).and_then(|record| find(record, self.member));
        let same = match (&self.expected, &found) {
            (Some(expected), Some(found)) => {
                let hash = || Sha256::digest(found.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
                expected == found || (!is_hash(found) && *expected == hash())
            }
            (None, None) => true,
            _ => false,
        };
        let of = |hash: &Option<String>| hash.clone().unwrap_or_else(|| "nothing".to_owned());
        (!same).then(|| {
            format!("line {}: {} {}: expected {}, found {}", self.line, self.destination, self.place, of(&self.expected), of(&found))
        })
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The member of that name, wherever it stands; of a list its first element.
fn find(value: &Value, name: &str) -> Option<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Object(members) => match members.get(name) {
            Some(Value::Array(list)) => text(list.first()?),
            Some(found) => text(found),
            None => members.values().find_map(|member| find(member, name)),
        },
        Value::Array(list) => list.iter().find_map(|element| find(element, name)),
        _ => None,
    }
}

#[test]
fn sdk_hashes_differ() {
    let file = std::env::var_os("LETHE_CONFORMANCE").map_or_else(|| repository("schemas/destinations/conformance.jsonl"), Into::into);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read: Result<Vec<Case>, String> = lines.map(|(at, line)| Case::read(at + 1, line)).collect();
    let cases = read.unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
    assert!(!cases.is_empty(), "an empty file shows nothing");

    let journey = Journey::new("sdk_hashes_differ");
    let acme = journey.tenant("acme");
    let config = journey.config().tenant(&acme, |tenant| {
        tenant
            .set("profile", "ad_attribution")
            .set("event_id", "clear") // the records' keys name the lines
            .set("destinations", DESTINATIONS.to_vec())
            .set("meta.pixel_id", "1")
            .set("google_ads.customer_id", "1")
            .set("google_ads.conversion_actions.purchase", "2")
            .set("tiktok.pixel_code", "P")
            .set("ga4.measurement_id", "G-1")
    });
    journey.set_up(&config);
    let now_ms = now_ms();
    let events: Vec<Value> = cases.iter().map(|case| case.event(now_ms)).collect();
    kafka::produce_json(journey.bootstrap(), &format!("{acme}.raw.web"), &events);
    journey.lethe(&config).args(["run", "--until-caught-up"]).finish().assert_done();

    let mut records: HashMap<(&str, String), Value> = HashMap::new();
    for destination in DESTINATIONS {
        for record in kafka::read_committed(journey.bootstrap(), &format!("{acme}.dest.{destination}")) {
            let key = record.key_text();
            let id = key.rsplit('/').next().unwrap_or_default();
            records.insert((destination, id.to_owned()), record.json());
        }
    }
    assert!(!records.is_empty(), "the run wrote nothing");
    let record_of = |case: &Case| records.get(&(case.destination, format!("line-{}", case.line)));
    let differences: Vec<String> = cases.iter().filter_map(|case| case.difference(record_of(case))).collect();
    println!("{} of {} values as {} has them", cases.len() - differences.len(), cases.len(), file.display());
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn fields_go_by_every_name() {
    let read = |destination: &str, field: &str| {
        let text = json!({ "destination": destination, "field": field, "input": "x", "country_hint": null, "expected_hash": null });
        Case::read(1, &text.to_string()).map(|case| (case.destination, case.place, case.member))
    };
    for (destination, field, expected) in [
        ("meta", "em", ("meta", "user/email", "em")),
        ("Meta", "user_data.em", ("meta", "user/email", "em")),
        ("facebook", "fn", ("meta", "user/first_name", "fn")),
        ("meta", "user.date_of_birth", ("meta", "user/date_of_birth", "db")),
        ("google_ads", "hashedEmail", ("google_ads", "user/email", "hashedEmail")),
        ("google_ads", "addressInfo.hashedFirstName", ("google_ads_enhancement", "user/first_name", "hashedFirstName")),
        ("google_ads", "postal_code", ("google_ads_enhancement", "user/zip", "postalCode")),
        ("google_data_manager", "address.givenName", ("google_data_manager", "user/first_name", "givenName")),
        ("google_data_manager", "adIdentifiers.gclid", ("google_data_manager", "ids/gclid", "gclid")),
        ("tiktok", "zip_code", ("tiktok", "user/zip", "zip_code")),
        ("tiktok", "user.phone_number", ("tiktok", "user/phone", "phone")),
        ("ga4", "address[].sha256_street", ("ga4", "user/street", "sha256_street")),
        ("ga4", "sha256_email_address[0]", ("ga4", "user/email", "sha256_email_address")),
        ("GA4", "user_id", ("ga4", "user/external_id", "user_id")),
        ("tiktok", "gender", ("tiktok", "user/gender", "")),
    ] {
        assert_eq!(read(destination, field), Ok(expected), "{destination} {field}");
    }
    assert!(read("meta", "shoe_size").is_err() && read("myspace", "em").is_err());
    let unsaid = json!({ "destination": "meta", "field": "em", "input": "x" });
    assert!(Case::read(1, &unsaid.to_string()).is_err(), "a line without expected_hash says nothing");
}
