//! Every reader of bytes that somebody else wrote, with what holds for it whatever it is given; first the line.

use crate::engine::Told;
use crate::mutate::MARK;
use crate::world::{NOW_MS, REGISTRY_ID, world};
use crate::{events, readers};
use apache_avro::types::Value;
use apache_avro::{Schema, writer::datum::GenericDatumWriter};
use lethe::config::compile::RAW_EVENT_SCHEMA;
use lethe::derive::record;
use lethe::model::record::RawRecords;
use lethe::transform::decode::{SchemaId, compile_avro};
use lethe::transform::rules::Rules;
use lethe::transform::transform_known;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// One reader.
pub struct Target {
    pub name: &'static str,
    /// Reads one input. It panics where something does not hold, and hands over what others may read of it.
    pub run: fn(&[u8], &mut Told),
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Memory at one time that is in order. Units: bytes, and bytes for each byte of input.
    pub room: (usize, usize),
    /// Inputs of a run that is not asked for more.
    pub rounds: usize,
    /// Units: bytes.
    pub max_len: usize,
}

const KIB: usize = 1 << 10;
/// What any reader may take for nothing: the automata of regular expressions are made when they are needed, and kept.
const BASE: usize = 4_096 * KIB;
/// Compiling a config loads the lists of terms.
const CONFIG_BASE: usize = 32_768 * KIB;

pub fn all() -> Vec<Target> {
    let target = |name, run, seeds, factor, rounds| Target { name, run, seeds, room: (BASE, factor), rounds, max_len: 16 * KIB };
    vec![
        // Long enough to go over the largest event, 1 MiB, when a word is repeated.
        Target { max_len: 1_100 * KIB, ..target("json", json, json_seeds, 60, 3_000) },
        target("avro", avro, avro_seeds, 60, 3_000),
        target("confluent", confluent, avro_seeds, 60, 1_500),
        target("avro_schema", avro_schema, schema_seeds, 400, 1_500),
        target("events", events::run, events::seeds, 200, 3_000),
        target("normalise", readers::normalise, readers::text_seeds, 40, 3_000),
        target("url", readers::url, readers::url_seeds, 40, 5_000),
        target("scrub", readers::scrub, readers::text_seeds, 80, 3_000),
        target("special", readers::special, readers::text_seeds, 40, 2_000),
        target("device", readers::device, readers::device_seeds, 40, 2_000),
        target("address", readers::address, readers::url_seeds, 10, 5_000),
        Target { room: (CONFIG_BASE, 400), ..target("config", readers::config, readers::config_seeds, 0, 300) },
        target("keyring", readers::keyring, readers::keyring_seeds, 400, 2_000),
        target("directive", readers::directive, readers::directive_seeds, 200, 3_000),
        target("certificate", readers::certificate, readers::certificate_seeds, 200, 500),
        target("audit", readers::audit, readers::audit_seeds, 200, 1_500),
        target("record", readers::record, readers::record_seeds, 100, 5_000),
        target("session", readers::session, readers::session_seeds, 100, 5_000),
        target("cell", readers::cell, readers::cell_seeds, 200, 5_000),
        target("small", readers::small, readers::small_seeds, 40, 5_000),
        target("geoip", readers::geoip, readers::geoip_seeds, 40, 3_000),
        target("identifiers", readers::identifiers, readers::text_seeds, 40, 2_000),
    ]
}

/// The whole line over one event. What it writes besides bodies for destinations must be readable, and what it rejects must quote nothing.
/// `clean`: nothing of the event's own values may stand in what is pseudonymised either.
pub fn line(rules: &Rules, payload: &[u8], clean: bool, told: &mut Told) {
    let world = world();
    let mut records = RawRecords::default();
    records.push(0, 0, 7, NOW_MS, payload);
    let out = transform_known(&records, rules, &world.assets, (&world.gates, &rules.schemas), NOW_MS);
    assert_eq!(out.tallies[0].rows(), 1, "a row has one outcome");
    for chunk in &out.chunks {
        for one in &chunk.records {
            let (key, value) = (one.key.of(&chunk.arena), one.value.of(&chunk.arena));
            let topic = rules.topics[usize::from(one.topic.0)].name.as_str();
            assert!(std::str::from_utf8(key).is_ok(), "{topic}: a key that is no text");
            let sent = topic.contains(".dest.");
            if sent || topic.ends_with(".quarantine") || topic.ends_with(".notices") {
                serde_json::from_slice::<serde_json::Value>(value).unwrap_or_else(|_| panic!("{topic}: a value that is no JSON"));
            } else if !topic.ends_with(".network") {
                assert!(record::read(rules.schemas.prefix(one.topic), value).is_some(), "{topic}: a record that cannot be read");
            }
            if topic.ends_with(".quarantine") || topic.ends_with(".notices") || clean && !sent && !topic.ends_with(".network") {
                told.bytes(value);
                one.headers(&chunk.arena).for_each(|(_, header)| told.bytes(header));
            }
            if clean || topic.ends_with(".quarantine") {
                told.bytes(key);
            }
        }
    }
    for scrubbed in out.tallies[0].scrubbed.keys() {
        told.bytes(scrubbed.as_bytes());
    }
}

fn json(input: &[u8], told: &mut Told) {
    line(&world().rules, input, false, told);
}

/// The example of the schema, in all kinds, and with the planted value in every text.
pub fn json_seeds() -> Vec<Vec<u8>> {
    let example = include_str!("../../schemas/raw_event/example.json");
    let kinds = ["event", "conversion", "feedback", "replay", "media", "log"];
    let mut seeds: Vec<Vec<u8>> = kinds.iter().map(|kind| example.replace("\"conversion\"", &format!("\"{kind}\"")).into_bytes()).collect();
    let email = format!("{MARK}@{MARK}.example");
    for name in
        ["Jane.Doe+promo@Example.com", "Jane", "User-42", "8f14e45fceea167a", "SKU-1", "Menlo Park", "ORD-1001", "1098115397.1700000000"]
    {
        seeds.push(example.replace(name, if name.contains('@') { &email } else { MARK }).into_bytes());
    }
    seeds.push(br#"{"event_id":"e1","kind":"feedback","event_time":1790000000,"feedback":{"text":"call +1 650 555 1212","nps":9},"user":{"email":["a@b.example"]}}"#.to_vec());
    seeds
}

/// A body after the framing, so that mutations reach the body.
fn framed(prefix: &[u8], body: &[u8], told: &mut Told) {
    line(&world().rules, &[prefix, body].concat(), false, told);
}

fn avro(body: &[u8], told: &mut Told) {
    framed(&world().avro_prefix, body, told);
}

fn confluent(body: &[u8], told: &mut Told) {
    let [a, b, c, d] = REGISTRY_ID.to_be_bytes();
    framed(&[0, a, b, c, d], body, told);
    // And with whatever it begins with as the framing.
    line(&world().rules, &[&[0], body].concat(), false, told);
}

/// The same events in Avro, by apache-avro.
fn avro_seeds() -> Vec<Vec<u8>> {
    let schema = Schema::parse_str(RAW_EVENT_SCHEMA).unwrap();
    let encoded = |seed: &Vec<u8>| {
        let value = avro_of(&serde_json::from_slice(seed).unwrap(), &schema).unwrap();
        GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
    };
    let mut seeds: Vec<Vec<u8>> = json_seeds().iter().map(encoded).collect();
    seeds.push(vec![0; 64]);
    seeds.push(vec![2; 64]);
    seeds
}

/// A JSON value as the schema wants it. Errors: `None` where it does not fit.
fn avro_of(json: &serde_json::Value, schema: &Schema) -> Option<Value> {
    match (schema, json) {
        (Schema::Null, serde_json::Value::Null) => Some(Value::Null),
        (Schema::Boolean, json) => json.as_bool().map(Value::Boolean),
        (Schema::Int, json) => json.as_i64().map(|n| Value::Int(n as i32)),
        (Schema::Long, json) => json.as_i64().map(Value::Long),
        (Schema::TimestampMillis, json) => json.as_i64().map(Value::TimestampMillis),
        (Schema::Double, json) => json.as_f64().map(Value::Double),
        (Schema::String, json) => json.as_str().map(|t| Value::String(t.to_owned())),
        (Schema::Bytes, json) => json.as_str().map(|t| Value::Bytes(t.into())),
        (Schema::Array(all), json) => json.as_array()?.iter().map(|one| avro_of(one, &all.items)).collect::<Option<_>>().map(Value::Array),
        (Schema::Map(all), json) => {
            json.as_object()?.iter().map(|(k, v)| Some((k.clone(), avro_of(v, &all.types)?))).collect::<Option<_>>().map(Value::Map)
        }
        (Schema::Record(record), json) => {
            let members = json.as_object()?;
            let of = |name: &str| members.get(name).unwrap_or(&serde_json::Value::Null);
            let fields = record.fields.iter().map(|f| Some((f.name.clone(), avro_of(of(&f.name), &f.schema)?)));
            fields.collect::<Option<_>>().map(Value::Record)
        }
        (Schema::Union(union), json) => {
            let mut fitting = union.variants().iter().enumerate().filter_map(|(i, variant)| Some((i, avro_of(json, variant)?)));
            fitting.next().map(|(i, value)| Value::Union(i as u32, Box::new(value)))
        }
        _ => None,
    }
}

/// A writer's schema as a registry gives it, before a line feed of its own, and a body after it.
fn avro_schema(input: &[u8], told: &mut Told) {
    let (schema, body) = match input.iter().position(|b| *b == 0xff) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &b""[..]),
    };
    let Ok(schema) = std::str::from_utf8(schema) else { return };
    let Ok(program) = compile_avro(schema) else { return };
    static RULES: OnceLock<Mutex<Rules>> = OnceLock::new();
    let mut rules = RULES.get_or_init(|| Mutex::new(crate::world::rules())).lock().unwrap_or_else(PoisonError::into_inner);
    rules.schemas.learn(SchemaId::Registry(2), Some(Arc::new(program)));
    line(&rules, &[&[0, 0, 0, 0, 2], body].concat(), false, told);
}

fn schema_seeds() -> Vec<Vec<u8>> {
    let bodies = avro_seeds();
    let mut seeds: Vec<Vec<u8>> = bodies.iter().take(2).map(|body| [RAW_EVENT_SCHEMA.as_bytes(), &[0xff], body].concat()).collect();
    for small in [
        r#"{"type":"record","name":"E","fields":[{"name":"event_id","type":"string"},{"name":"event_time","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"event_name","type":["null","string"]}]}"#,
        r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]},{"name":"all","type":{"type":"array","items":"N"}}]}"#,
        r#"{"type":"record","name":"Z","fields":[{"name":"user","type":{"type":"map","values":{"type":"array","items":"null"}}},{"name":"f","type":{"type":"fixed","name":"F","size":4}}]}"#,
        r#"{"type":"array","items":{"type":"record","name":"Empty","fields":[]}}"#,
    ] {
        seeds.push([small.as_bytes(), &[0xff, 6, b'a', b'b', b'c', 2, 2, 0xfe, 0xff, 0xff, 0xff, 0x0f]].concat());
    }
    seeds
}
