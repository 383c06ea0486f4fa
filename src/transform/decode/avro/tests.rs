//! Avro against JSON: the same event, written by apache-avro and by serde_json, gives the same outputs; and bytes that lie give `malformed`.

use super::*;
use crate::config::Config;
use crate::config::compile::{RAW_EVENT_SCHEMA, compile as compile_rules};
use crate::generator::Generator;
use crate::model::keyring::{KeyEntry, Keyring};
use crate::model::pseudonym::Epoch;
use crate::model::record::RawRecords;
use crate::transform::avro::{long, single_object_prefix, string};
use crate::transform::enrich::device_table::DeviceTable;
use crate::transform::enriched::Assets;
use crate::transform::line::{Tally, transform};
use crate::transform::rules::Rules;
use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use zeroize::Zeroizing;

const NOW: i64 = 1_790_000_000_000;

const CONFIG: &str = r#"
[[tenant]]
id = "acme"
profile = "server_side_tracking"
destinations = ["meta", "google_ads"]
custom = ["plan"]
network = true
windows = { feedback = "30d", replay = "3d", media = "3d", logs = "30d", network = "3d" }
meta = { pixel_id = "1234567890" }
google_ads = { customer_id = "1234567890", conversion_actions = { purchase = "987654321" } }
"#;

/// The rules that all tests share: they only add schemas to them.
fn rules() -> MutexGuard<'static, Rules> {
    static RULES: OnceLock<Mutex<Rules>> = OnceLock::new();
    RULES.get_or_init(|| Mutex::new(fresh_rules())).lock().unwrap_or_else(PoisonError::into_inner)
}

fn fresh_rules() -> Rules {
    let config: Config = toml::from_str(CONFIG).unwrap();
    let mut keyring = Keyring::default();
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let entry = KeyEntry { epoch: Epoch(1), from_ms: 0, key: Some(Zeroizing::new(key)) };
    keyring.tenants.insert(config.tenant[0].id.clone(), vec![entry]);
    compile_rules(&config, &keyring).unwrap()
}

fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None })
}

/// Everything that came out of a batch: records as bytes, and the counts.
#[derive(Debug, PartialEq)]
struct Came {
    records: Vec<(u16, Vec<u8>, Vec<u8>)>,
    counts: (u64, Vec<u64>, Vec<u64>, u64, Vec<u64>),
}

fn through(rules: &Rules, payloads: &[Vec<u8>]) -> Came {
    let mut raw = RawRecords::default();
    for (i, payload) in payloads.iter().enumerate() {
        raw.push(0, 0, i as i64, NOW, payload);
    }
    let out = transform(&raw, rules, assets(), NOW);
    let of = |chunk: &crate::model::record::OutputChunk| -> Vec<_> {
        let bytes = |span: crate::model::span::Span| span.of(&chunk.arena).to_vec();
        chunk.records.iter().map(|r| (r.topic.0, bytes(r.key), bytes(r.value))).collect()
    };
    let Tally { written, gated, quarantined, expired, mut dropped, .. } = out.tallies[0].clone();
    if payloads.len() == 1 && quarantined[Reason::Malformed as usize] == 1 {
        // How far a reader came before it gave up is its own affair.
        dropped.clear();
    }
    Came { records: out.chunks.iter().flat_map(of).collect(), counts: (written, gated.to_vec(), quarantined.to_vec(), expired, dropped) }
}

/// One record of quarantine or more, and its reason; `None` if the row was not rejected.
fn rejected(rules: &Rules, payload: &[u8]) -> Option<Reason> {
    let came = through(rules, &[payload.to_vec()]);
    let i = came.counts.2.iter().position(|n| *n > 0)?;
    Some(Reason::ALL[i])
}

/// Written by apache-avro; with a block size, in blocks that tell their length.
fn written(schema: &Schema, value: Value, block_bytes: Option<usize>) -> Vec<u8> {
    let writer = GenericDatumWriter::builder(schema).maybe_target_block_size(block_bytes).build().unwrap();
    writer.write_value_to_vec(value).unwrap()
}

fn framed(schema: &str, datum: &[u8]) -> Vec<u8> {
    let mut out = single_object_prefix(schema).unwrap();
    out.extend_from_slice(datum);
    out
}

fn learn(rules: &mut Rules, schema: &str) {
    let prefix = single_object_prefix(schema).unwrap();
    let id = SchemaId::Fingerprint(u64::from_le_bytes(*prefix[2..].first_chunk().unwrap()));
    rules.schemas.learn(id, Some(Arc::new(compile(schema).unwrap())));
}

fn reason(schema: &str, datum: &[u8]) -> Option<Reason> {
    let mut rules = rules();
    learn(&mut rules, schema);
    rejected(&rules, &framed(schema, datum))
}

/// A number as short as it goes: a spelling of its own is what Avro does not keep.
fn whole(n: f64) -> Json {
    if n.fract() == 0.0 { json!(n as i64) } else { json!(n) }
}

/// Makes a JSON value fit a schema: what does not fit is left out of both spellings.
fn fit(schema: &Schema, json: &Json) -> Option<(Value, Json)> {
    Some(match (schema, json) {
        (Schema::Union(union), json) => {
            let fits = |(i, s)| fit(s, json).map(|(v, j)| (Value::Union(i as u32, Box::new(v)), j));
            return union.variants().iter().enumerate().find_map(fits);
        }
        (Schema::Null, Json::Null) => (Value::Null, Json::Null),
        (Schema::Boolean, Json::Bool(b)) => (Value::Boolean(*b), json.clone()),
        (Schema::Int, Json::Number(n)) => (Value::Int(n.as_i64()?.try_into().ok()?), json.clone()),
        (Schema::Long, Json::Number(n)) => (Value::Long(n.as_i64()?), json.clone()),
        (Schema::TimestampMillis, Json::Number(n)) => (Value::TimestampMillis(n.as_i64()?), json.clone()),
        (Schema::Double, Json::Number(n)) => (Value::Double(n.as_f64()?), whole(n.as_f64()?)),
        (Schema::String, Json::String(s)) => (Value::String(s.clone()), json.clone()),
        (Schema::Array(array), Json::Array(all)) => {
            let (values, jsons) = all.iter().filter_map(|j| fit(&array.items, j)).unzip();
            (Value::Array(values), Json::Array(jsons))
        }
        (Schema::Map(map), Json::Object(all)) => {
            let fits: Vec<_> = all.iter().filter_map(|(k, j)| Some((k.clone(), fit(&map.types, j)?))).collect();
            let values = fits.iter().map(|(k, (v, _))| (k.clone(), v.clone())).collect();
            (Value::Map(values), Json::Object(fits.into_iter().map(|(k, (_, j))| (k, j)).collect()))
        }
        (Schema::Record(record), Json::Object(all)) => {
            let (mut values, mut jsons) = (Vec::new(), serde_json::Map::new());
            for field in &record.fields {
                let fitting = all.get(&field.name).and_then(|j| fit(&field.schema, j));
                let absent = || fit(&field.schema, &Json::Null).map(|(v, _)| v);
                values.push((field.name.clone(), fitting.as_ref().map(|(v, _)| v.clone()).or_else(absent)?));
                if let Some((_, j)) = fitting {
                    jsons.insert(field.name.clone(), j);
                }
            }
            (Value::Record(values), Json::Object(jsons))
        }
        _ => return None,
    })
}

/// A thousand synthetic events that fit the schema, as Avro and as JSON.
fn twins(seed: u64, n: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let schema = Schema::parse_str(RAW_EVENT_SCHEMA).unwrap();
    let generator = Generator::new(seed, "acme", NOW);
    let (mut avros, mut jsons) = (Vec::new(), Vec::new());
    for i in 0..n {
        let mut payload = Vec::new();
        generator.generate(i, &mut payload);
        let Ok(mut json) = serde_json::from_slice::<Json>(&payload) else { continue };
        if json["event_time"].as_i64().is_none_or(|t| t < 100_000_000_000) {
            json["event_time"] = json!(NOW - i as i64);
        }
        if let Some((value, json)) = fit(&schema, &json) {
            avros.push(framed(RAW_EVENT_SCHEMA, &written(&schema, value, None)));
            jsons.push(serde_json::to_vec(&json).unwrap());
        }
    }
    (avros, jsons)
}

#[test]
fn synthetic_events_come_out_alike() {
    let rules = rules();
    let (avros, jsons) = twins(7, 3_000);
    assert!(avros.len() > 2_800);
    let (a, j) = (through(&rules, &avros), through(&rules, &jsons));
    assert!(a.counts.0 > 1_500 && a.records.len() > 3_000);
    assert!(a == j, "first difference: {:?}", a.records.iter().zip(&j.records).find(|(a, j)| a != j));
}

#[test]
fn an_event_torn_at_any_byte_is_malformed() {
    let rules = rules();
    let (avros, _) = twins(9, 12);
    for whole in &avros {
        for end in 10..whole.len() {
            assert_eq!(rejected(&rules, &whole[..end]), Some(Reason::Malformed), "cut at {end} of {}", whole.len());
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(rejected(&rules, &longer), Some(Reason::Malformed));
    }
}

#[test]
fn schemas_that_nobody_told_us_are_unknown() {
    let rules = rules();
    assert_eq!(rejected(&rules, &[0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]), Some(Reason::UnknownSchema));
    assert_eq!(rejected(&rules, &[0, 0, 0, 0, 77, 0, 0]), Some(Reason::UnknownSchema));
}

#[test]
fn a_registry_id_finds_its_program() {
    let mut rules = rules();
    rules.schemas.learn(SchemaId::Registry(9), Some(Arc::new(compile(RAW_EVENT_SCHEMA).unwrap())));
    let (avros, _) = twins(3, 1);
    let confluent = [&[0, 0, 0, 0, 9][..], &avros[0][10..]].concat();
    assert_eq!(through(&rules, &[confluent]), through(&rules, &avros));
}

/// `event_id` and `event_time` of a good log event, which needs nothing else.
fn head() -> Vec<u8> {
    let mut out = Vec::new();
    string(b"e1", &mut out);
    string(b"log", &mut out);
    long(NOW, &mut out);
    out
}

fn schema_with(more: &str) -> String {
    let head = r#"{"name":"event_id","type":"string"},{"name":"kind","type":"string"},{"name":"event_time","type":"long"}"#;
    format!(r#"{{"type":"record","name":"E","fields":[{head},{more}]}}"#)
}

fn with(bytes: &[u8]) -> Vec<u8> {
    [head().as_slice(), bytes].concat()
}

#[test]
fn hostile_counts_and_lengths_are_malformed_and_cost_nothing() {
    let lists = schema_with(r#"{"name":"x","type":{"type":"array","items":"string"}}"#);
    let nulls = schema_with(r#"{"name":"x","type":{"type":"array","items":"null"}}"#);
    let number = |n: i64| {
        let mut out = Vec::new();
        long(n, &mut out);
        out
    };
    for n in [1, 1 << 20, 1 << 40, i64::MAX, i64::MIN, -1, -(1 << 40)] {
        assert_eq!(reason(&lists, &with(&number(n))), Some(Reason::Malformed), "{n}");
        assert_eq!(reason(&schema_with(r#"{"name":"url","type":"string"}"#), &with(&number(n))), Some(Reason::Malformed), "{n}");
    }
    // Elements without bytes: nothing to read, however many.
    assert_eq!(reason(&nulls, &with(&[number(i64::MAX), number(0)].concat())), None);
    // A negative count with the block's length: right, and wrong.
    assert_eq!(reason(&lists, &with(&[number(-1), number(2), number(1), vec![b'a'], number(0)].concat())), None);
    assert_eq!(reason(&lists, &with(&[number(-1), number(1), number(1), vec![b'a'], number(0)].concat())), Some(Reason::Malformed));
    // Numbers that are longer than 64 bits, or wider than an int.
    assert_eq!(reason(&schema_with(r#"{"name":"x","type":"long"}"#), &with(&[0xff; 11])), Some(Reason::Malformed));
    let wide = [&[0xff; 9][..], &[2]].concat();
    assert_eq!(reason(&schema_with(r#"{"name":"x","type":"long"}"#), &with(&wide)), Some(Reason::Malformed));
    assert_eq!(reason(&schema_with(r#"{"name":"x","type":"int"}"#), &with(&number(1 << 32))), Some(Reason::Malformed));
}

#[test]
fn what_is_no_value_of_its_type_is_malformed() {
    let text = schema_with(r#"{"name":"x","type":"string"}"#);
    assert_eq!(reason(&text, &with(&[4, 0xc3, 0x28])), Some(Reason::Malformed), "not UTF-8");
    assert_eq!(reason(&schema_with(r#"{"name":"x","type":"boolean"}"#), &with(&[2])), Some(Reason::Malformed));
    assert_eq!(reason(&schema_with(r#"{"name":"x","type":["null","int"]}"#), &with(&[4])), Some(Reason::Malformed));
    assert_eq!(
        reason(&schema_with(r#"{"name":"x","type":{"type":"enum","name":"F","symbols":["A"]}}"#), &with(&[2])),
        Some(Reason::Malformed)
    );
    assert_eq!(reason(&schema_with(r#"{"name":"user","type":"string"}"#), &with(&[2, b'x'])), Some(Reason::Malformed), "no object");
}

#[test]
fn nesting_ends_at_its_bound() {
    let list = schema_with(r#"{"name":"x","type":{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}}"#);
    let deep = |levels: usize| [vec![2; levels - 2], vec![0]].concat();
    assert_eq!(reason(&list, &with(&deep(MAX_DEPTH as usize))), None);
    assert_eq!(reason(&list, &with(&deep(MAX_DEPTH as usize + 1))), Some(Reason::Malformed));
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#;
    assert_eq!(reason(endless, &[]), Some(Reason::Malformed));
}

#[test]
fn not_every_schema_is_one_of_events() {
    for schema in [
        "",
        "{",
        r#""string""#,
        r#"{"type":"array","items":"string"}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"Gone"}]}"#,
    ] {
        assert!(compile(schema).is_err(), "{schema}");
    }
    // A schema that would grow without bound if its records were spelled out.
    let mut types = r#"{"type":"record","name":"R0","fields":[{"name":"a","type":"boolean"}]}"#.to_string();
    for i in 1..25 {
        types = format!(r#"{{"type":"record","name":"R{i}","fields":[{{"name":"a","type":{types}}},{{"name":"b","type":"R{}"}}]}}"#, i - 1);
    }
    assert!(compile(&types).is_ok_and(|p| p.nodes.len() < 1_000));
}

#[test]
fn decimals_are_spelled_exactly() {
    for (n, scale, want) in
        [(1210i128, 2, "12.10"), (-5, 2, "-0.05"), (0, 0, "0"), (7, 0, "7"), (i128::MAX, 38, "1.70141183460469231731687303715884105727")]
    {
        assert_eq!(decimal_text(&n.to_be_bytes(), scale).as_deref(), Some(want));
    }
    assert_eq!(decimal_text(&[0xff, 0x38], 2).as_deref(), Some("-2.00"));
    assert_eq!(decimal_text(&[], 2), None);
    assert_eq!(decimal_text(&[1; 17], 2), None);
}

/// What producers call things, and what the schema of raw events does not know.
const NAMES: [&str; 22] = [
    "event_id",
    "event_name",
    "event_time",
    "kind",
    "tenant",
    "ip",
    "url",
    "value",
    "currency",
    "order_id",
    "cost",
    "quantity",
    "consent",
    "user",
    "ids",
    "items",
    "feedback",
    "custom",
    "body",
    "action_source",
    "referrer",
    "x",
];
const INNER: [&str; 14] = [
    "email",
    "external_id",
    "first_name",
    "client_id",
    "analytics",
    "ads",
    "given_at",
    "opt_out_of_sale",
    "nps",
    "text",
    "id",
    "price",
    "plan",
    "y",
];

/// An Avro type, a value of it, and the same value in JSON.
type Typed = (Json, Value, Json);

fn scalar() -> BoxedStrategy<Typed> {
    let text = prop_oneof!["[a-z@.+0-9 é]{0,12}", "[0-9]{1,3}", Just("log".to_string()), Just("2026-09-20T10:00:00Z".to_string())];
    prop_oneof![
        Just((json!("null"), Value::Null, Json::Null)),
        any::<bool>().prop_map(|b| (json!("boolean"), Value::Boolean(b), json!(b))),
        any::<i32>().prop_map(|n| (json!("int"), Value::Int(n), json!(n))),
        prop_oneof![any::<i64>(), NOW - 1000..NOW].prop_map(|n| (json!("long"), Value::Long(n), json!(n))),
        (1..1_000_000u32).prop_map(|n| f64::from(n) * 2.0 + 0.5).prop_map(|n| (json!("double"), Value::Double(n), json!(n))),
        (1..60_000u16).prop_map(|n| f32::from(n) + 0.1).prop_map(|n| (json!("float"), Value::Float(n), n.to_string().parse().unwrap())),
        text.prop_map(|s| (json!("string"), Value::String(s.clone()), json!(s))),
    ]
    .boxed()
}

/// `["null", T, ...]` around a value, or the value alone.
fn maybe_union(typed: BoxedStrategy<Typed>) -> BoxedStrategy<Typed> {
    (typed, any::<bool>())
        .prop_map(|(typed, union)| match typed {
            (schema, value, json) if union && schema != "null" => (json!(["null", schema]), Value::Union(1, Box::new(value)), json),
            typed => typed,
        })
        .boxed()
}

fn fields(names: &'static [&'static str], typed: BoxedStrategy<Typed>) -> impl Strategy<Value = Vec<(&'static str, Typed)>> {
    prop::sample::subsequence(names, 0..=names.len().min(12))
        .prop_flat_map(move |names| {
            let n = names.len();
            (Just(names), prop::collection::vec(typed.clone(), n))
        })
        .prop_map(|(names, typed)| names.into_iter().zip(typed).collect())
}

/// A record. Its name is given later: names must not repeat.
fn record(fields: Vec<(&'static str, Typed)>) -> Typed {
    let mut members = serde_json::Map::new();
    let (mut schemas, mut values) = (Vec::new(), Vec::new());
    for (name, (schema, value, json)) in fields {
        schemas.push(json!({ "name": name, "type": schema }));
        values.push((name.to_string(), value));
        members.insert(name.to_string(), json);
    }
    (json!({ "type": "record", "name": "", "fields": schemas }), Value::Record(values), Json::Object(members))
}

fn takes_bytes(schema: &Json) -> bool {
    match schema["type"].as_str() {
        Some("record") => schema["fields"].as_array().unwrap().iter().any(|field| takes_bytes(&field["type"])),
        Some("fixed") => schema["size"] != 0,
        _ => *schema != "null",
    }
}

fn inner() -> BoxedStrategy<Typed> {
    let list = || {
        prop::collection::vec("[a-z@.]{0,8}", 0..20).prop_map(|all| {
            let values = all.iter().map(|s| Value::String(s.clone())).collect();
            (json!({ "type": "array", "items": "string" }), Value::Array(values), json!(all))
        })
    };
    let object = || fields(&INNER, maybe_union(prop_oneof![4 => scalar(), 1 => list()].boxed())).prop_map(record);
    let items = (object(), 0..4usize).prop_map(|((schema, value, json), n)| {
        // Elements that take no bytes are not read, however many there are said to be.
        let n = if takes_bytes(&schema) { n } else { 0 };
        (json!({ "type": "array", "items": schema }), Value::Array(vec![value; n]), json!(vec![json; n]))
    });
    let map = prop::collection::btree_map(prop::sample::select(&INNER[..]), "[a-z]{0,5}", 0..5).prop_map(|all| {
        let values = all.iter().map(|(k, v)| ((*k).to_string(), Value::String(v.clone()))).collect();
        (json!({ "type": "map", "values": "string" }), Value::Map(values), json!(all))
    });
    prop_oneof![5 => scalar(), 1 => list(), 3 => object(), 1 => items, 2 => map].boxed()
}

/// Gives every record of a schema a name of its own.
fn name_records(schema: &mut Json, next: &mut u32) {
    match schema {
        Json::Array(all) => all.iter_mut().for_each(|s| name_records(s, next)),
        Json::Object(o) => {
            if o.get("type") == Some(&json!("record")) {
                *next += 1;
                o.insert("name".into(), json!(format!("R{next}")));
            }
            for key in ["type", "items", "values"] {
                o.get_mut(key).into_iter().for_each(|s| name_records(s, next));
            }
            let fields = o.get_mut("fields").and_then(Json::as_array_mut);
            fields.into_iter().flatten().for_each(|f| f.get_mut("type").into_iter().for_each(|s| name_records(s, next)));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any writer's schema: good and bad types everywhere, the same drops, the same outcome.
    #[test]
    fn any_schema_reads_as_its_json_would(
        mut all in fields(&NAMES, maybe_union(inner())),
        good in any::<[bool; 3]>(),
        time in NOW - 1000..NOW,
        block_bytes in prop::option::of(1usize..40),
    ) {
        let mut force = |name, typed: Typed| {
            all.retain(|(n, _)| *n != name);
            all.push((name, typed));
        };
        if good[0] {
            force("event_id", (json!("string"), Value::String("e-1".into()), json!("e-1")));
        }
        if good[1] {
            force("kind", (json!({"type": "enum", "name": "Kind", "symbols": ["log", "conversion"]}), Value::Enum(0, "log".into()), json!("log")));
        }
        if good[2] {
            let micros = json!({"type": "long", "logicalType": "timestamp-micros"});
            force("event_time", (micros, Value::TimestampMicros(time * 1000 + 7), json!(time)));
        }
        let (mut schema, value, json) = record(all);
        name_records(&mut schema, &mut 0);
        let schema = schema.to_string();
        let mut rules = rules();
        learn(&mut rules, &schema);
        let datum = written(&Schema::parse_str(&schema).unwrap(), value, block_bytes);
        let came = through(&rules, &[framed(&schema, &datum)]);
        prop_assert_eq!(came, through(&rules, &[serde_json::to_vec(&json).unwrap()]));
    }

    /// Bytes of any kind end in an outcome, never in a panic.
    #[test]
    fn any_bytes_are_survived(seed in 0u64..50, at in 0usize..2000, with in any::<Vec<u8>>()) {
        let rules = rules();
        let (avros, _) = twins(seed, 3);
        for whole in &avros {
            let at = 10 + at % (whole.len() - 10);
            let bytes = [&whole[..at], &with, &whole[(at + with.len()).min(whole.len())..]].concat();
            let came = through(&rules, &[bytes]);
            prop_assert_eq!(came.counts.0 + came.counts.1.iter().sum::<u64>() + came.counts.2.iter().sum::<u64>() + came.counts.3, 1);
        }
    }
}

#[test]
fn the_avro_twin_has_the_fields_of_the_json_schema() {
    let json: Json = serde_json::from_str(include_str!("../../../../schemas/raw_event/raw_event.schema.json")).unwrap();
    let avro: Json = serde_json::from_str(RAW_EVENT_SCHEMA).unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    avro_paths(&avro, "", &mut ours);
    json_paths(&json, "", &mut theirs);
    ours.sort();
    theirs.sort();
    assert!(ours.len() > 60);
    assert_eq!(ours, theirs);
}

fn avro_paths(schema: &Json, at: &str, out: &mut Vec<String>) {
    match schema {
        Json::Array(variants) => variants.iter().for_each(|v| avro_paths(v, at, out)),
        Json::Object(o) if o.get("items").is_some() => avro_paths(&o["items"], at, out),
        Json::Object(o) if o.get("fields").is_some() => {
            for field in o["fields"].as_array().unwrap() {
                let path = format!("{at}/{}", field["name"].as_str().unwrap());
                avro_paths(&field["type"], &path, out);
                out.push(path);
            }
        }
        _ => {}
    }
}

fn json_paths(schema: &Json, at: &str, out: &mut Vec<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}/{name}");
        json_paths(inner, &path, out);
        json_paths(&inner["items"], &path, out);
        out.push(path);
    }
}
