//! The generator keeps its word: same bytes, valid JSON, shares as documented, expectations that the bytes bear out.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::*;

const NOW: i64 = 1_790_000_000_000;

fn generator(seed: u64) -> Generator {
    Generator::new(seed, "acme", NOW)
}

fn payload(generator: &Generator, i: u64) -> (Generated, Vec<u8>) {
    let mut out = b"before".to_vec();
    let generated = generator.generate(i, &mut out);
    (generated, out.split_off(6))
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_any_order() {
    let (a, b, other) = (generator(1), generator(1), generator(2));
    for i in (0..500).rev() {
        let (one, two) = (payload(&a, i), payload(&b, i));
        assert!(one.1 == two.1 && one.0.key == two.0.key && one.0.expectation == two.0.expectation);
        assert!(one.1 != payload(&other, i).1);
    }
}

#[test]
fn good_rows_are_json_with_the_required_fields_and_ids_of_their_own() {
    let generator = generator(3);
    let mut ids = HashSet::new();
    for i in 0..20_000 {
        let (generated, bytes) = payload(&generator, i);
        assert!(!bytes.contains(&b'\n') && bytes.len() < 4096 && generated.key.as_bytes().starts_with(b"cust-"));
        if !matches!(generated.expectation, Expectation::Good | Expectation::Expired) {
            continue;
        }
        let json = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let row: Value = serde_json::from_slice(json).unwrap_or_else(|e| panic!("{i}: {e}: {}", String::from_utf8_lossy(json)));
        let id = row["event_id"].as_str().unwrap();
        assert!(ids.insert(id.to_string()), "{id} twice");
        assert!(id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b)), "{id}");
        let kind = row["kind"].as_str().unwrap_or("event");
        assert_eq!(Category::from_kind(kind), Some(generated.category));
        let named = row["event_name"].as_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_alphanumeric() || b"_ .:-".contains(&b)));
        assert_eq!(named, matches!(generated.category, Category::Events | Category::Conversions));
        assert_eq!(generated.anonymous, row.get("user").is_none() && row.get("ids").is_none());
        if !generated.anonymous {
            assert!(row["ids"]["client_id"].is_string(), "everybody else has an identifier of a subject");
        }
        assert_eq!(generated.consent == ConsentMix::Absent, row.get("consent").is_none());
        assert_eq!(generated.consent == ConsentMix::OptOutOfSale, row["consent"]["opt_out_of_sale"] == true);
        let fresh = row["consent"]["given_at"].as_i64().is_some_and(|at| NOW - at < 180 * 86_400_000);
        assert_eq!(generated.consent.analytics(), fresh && row["consent"]["analytics"] == true);
        assert_eq!(generated.consent.ads(), fresh && row["consent"]["ads"] == true);
        assert_eq!(event_ms(&row) < NOW - 365 * 86_400_000, generated.expectation == Expectation::Expired);
        assert!(event_ms(&row) <= NOW);
    }
}

fn event_ms(row: &Value) -> i64 {
    match &row["event_time"] {
        Value::String(text) => text.parse::<jiff::Timestamp>().unwrap().as_millisecond(),
        number => match number.as_i64().unwrap() {
            seconds if seconds < 100_000_000_000 => seconds * 1000,
            ms => ms,
        },
    }
}

#[test]
fn broken_rows_have_the_fault_they_are_counted_under() {
    let generator = generator(4);
    let mut seen: HashMap<Reason, u32> = HashMap::new();
    for i in 0..100_000 {
        let (generated, bytes) = payload(&generator, i);
        let Expectation::Quarantined(reason, _) = generated.expectation else { continue };
        *seen.entry(reason).or_default() += 1;
        let row = serde_json::from_slice::<Value>(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes));
        let id = |row: &Value| row["event_id"].as_str().unwrap_or("").to_string();
        match (reason, row) {
            (Reason::UnknownSchema, _) => assert!(bytes.starts_with(&[0xc3, 0x01])),
            (Reason::Malformed, Err(_)) => {}
            (Reason::Malformed, Ok(row)) => {
                assert!(row.is_array() || row["user"].is_array() || row.get("deep").is_some());
            }
            (Reason::MissingField, Ok(row)) => {
                assert!(["event_id", "event_name", "event_time"].iter().any(|f| row.get(f).is_none()));
            }
            (Reason::BadField, Ok(row)) => {
                assert!(id(&row).contains(['@', ' ']) || id(&row).len() > 128 || row["event_name"].as_str().unwrap().contains('<'));
            }
            (Reason::BadTime, Ok(row)) => assert!(row["event_time"] == "yesterday" || row["event_time"] == true),
            (Reason::FutureTime, Ok(row)) => assert!(event_ms(&row) >= NOW + 3_599_000),
            (Reason::TenantMismatch, Ok(row)) => assert_eq!(row["tenant"], "somebody-else"),
            (reason, row) => panic!("{reason:?} {:?}", row.is_ok()),
        }
    }
    // The documented shares of 10,000, within four standard deviations.
    for (reason, share) in [
        (Reason::Malformed, 15),
        (Reason::MissingField, 12),
        (Reason::BadField, 12),
        (Reason::BadTime, 6),
        (Reason::FutureTime, 6),
        (Reason::TenantMismatch, 6),
        (Reason::UnknownSchema, 3),
    ] {
        let (got, want) = (f64::from(seen[&reason]), f64::from(share) * 10.0);
        assert!((got - want).abs() < 4.0 * want.sqrt(), "{reason:?}: {got} of {want}");
    }
}

#[test]
fn scripts_currencies_and_user_agents_vary() {
    let generator = generator(5);
    let mut all = String::new();
    for i in 0..5_000 {
        all.push_str(&String::from_utf8_lossy(&payload(&generator, i).1));
    }
    for wanted in [
        "Фёдор",
        "محمد",
        "さくら",
        "秀英",
        "สมชาย",
        "Γιώργος",
        "S\\u00e3o",
        "\"JPY\"",
        "\"KWD\"",
        "Googlebot",
        "2001:db8:",
        "msclkid",
        "\"email\":[",
    ] {
        assert!(all.contains(wanted), "{wanted}");
    }
}

/// The schema, its Avro twin and the generator name the same fields, and the example is what the schema says.
#[test]
fn schema_twin_example_and_generator_agree() {
    let schema: Value = serde_json::from_str(include_str!("../../schemas/raw_event/raw_event.schema.json")).unwrap();
    let twin: Value = serde_json::from_str(include_str!("../../schemas/raw_event/raw_event.avsc")).unwrap();
    let example: Value = serde_json::from_str(include_str!("../../schemas/raw_event/example.json")).unwrap();
    let names = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<HashSet<_>>();
    let known = names(&schema["properties"]);
    let twins = |fields: &Value| fields.as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap().to_string()).collect::<HashSet<_>>();
    assert_eq!(known, twins(&twin["fields"]));
    for field in twin["fields"].as_array().unwrap() {
        let inner = &field["type"][1]["fields"];
        if inner.is_array() {
            let name = field["name"].as_str().unwrap();
            assert_eq!(names(&schema["properties"][name]["properties"]), twins(inner), "{name}");
            if let Some(part) = example.get(name) {
                assert!(names(part).is_subset(&twins(inner)), "{name}");
            }
        }
    }
    assert!(names(&example).is_subset(&known));
    let generator = generator(6);
    let mut used = HashSet::new();
    for i in 0..5_000 {
        let (generated, bytes) = payload(&generator, i);
        if generated.expectation == Expectation::Good {
            used.extend(names(&serde_json::from_slice(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes)).unwrap()));
        }
    }
    let unknown: HashSet<_> = used.difference(&known).map(String::as_str).collect();
    assert_eq!(unknown, HashSet::from(["debug", "sdk_version"]), "meant to be unknown");
    assert!(used.len() > 18);
}
