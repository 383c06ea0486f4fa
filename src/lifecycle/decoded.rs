//! A record as people read it: Avro and JSON decoded into one JSON object, or into the cells of one table.
//!
//! ```text
//! {"topic": …, "kind": "events", "partition": 0, "offset": 7, "stored_at": ms, "occurred_at": ms, "key": …, "identifiers": […], "record": {…}}
//! ```
//! Bytes (replay and media bodies) are base64. The table has a column for every field of every schema, nested ones with a dot, so that it can be
//! written in one stream; lists and maps are JSON in their cell.

use crate::model::header::Header;
use crate::model::pseudonym;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::io::Read;

/// What stands before a body in the Confluent wire format: a zero and a schema's number. Units: bytes.
const CONFLUENT: usize = 5;
/// What stands before a body in Avro's single-object encoding. Units: bytes.
const SINGLE_OBJECT: usize = 10;

/// Columns of the table that every record has.
const PLACE: [&str; 8] = ["topic", "kind", "partition", "offset", "stored_at", "key", "occurred_at", "identifiers"];
/// Column of a destination record's body, as JSON.
const SENT: &str = "destination_body";

/// One record as it stands in its topic, lent. No `Debug`: bodies for destinations hold clear values.
pub struct Stored<'r> {
    /// Topic.
    pub topic: &'r str,
    /// Its short name: `events`, `dest.meta`.
    pub kind: &'r str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When it was stored. Units: ms since the epoch.
    pub stored_at_ms: i64,
    /// Key.
    pub key: &'r [u8],
    /// Header `lethe`.
    pub header: Option<&'r [u8]>,
    /// Value.
    pub value: &'r [u8],
}

/// The record schemas did not parse.
#[derive(Debug, thiserror::Error)]
#[error("a record schema cannot be read")]
pub struct BadSchema;

/// Reads records by the schemas that this version writes.
pub struct Decoder {
    record: (Schema, Vec<u8>),
    network: (Schema, Vec<u8>),
    session: (Schema, Vec<u8>),
    columns: Vec<String>,
}

impl Decoder {
    /// Takes the schemas of records, network records and sessions, each with what stands before a body. Errors: one does not parse.
    pub fn new(record: (&str, Vec<u8>), network: (&str, Vec<u8>), session: (&str, Vec<u8>)) -> Result<Self, BadSchema> {
        let parse = |(text, prefix): (&str, Vec<u8>)| Schema::parse_str(text).map(|schema| (schema, prefix)).map_err(|_| BadSchema);
        let mut decoder = Decoder { record: parse(record)?, network: parse(network)?, session: parse(session)?, columns: Vec::new() };
        let mut columns: Vec<String> = PLACE.map(String::from).to_vec();
        for schema in [&decoder.record.0, &decoder.network.0, &decoder.session.0] {
            flatten(schema, "", &mut columns);
        }
        columns.push(SENT.into());
        decoder.columns = columns;
        Ok(decoder)
    }

    /// The table's columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The value, decoded. Errors: `None` for another schema or torn bytes.
    #[must_use]
    pub fn value(&self, kind: &str, bytes: &[u8]) -> Option<Value> {
        if kind.starts_with("dest.") {
            return serde_json::from_slice(bytes).ok();
        }
        let (schema, prefix) = match kind {
            "network" => &self.network,
            "sessions" => &self.session,
            _ => &self.record,
        };
        let skipped = if bytes.first() == Some(&0) { CONFLUENT } else { SINGLE_OBJECT };
        if skipped == SINGLE_OBJECT && !bytes.starts_with(prefix) {
            return None;
        }
        // The reader takes what there is for a text that is cut short: a byte too many tells.
        let mut body = bytes.get(skipped..)?.chain(&[0][..]);
        let value = GenericDatumReader::builder(schema).build().ok()?.read_value(&mut body).ok()?;
        (body.bytes().count() == 1).then(|| plain(value))
    }

    /// The record as one object. Returns it, and whether its value could be decoded; what could not is there as base64.
    #[must_use]
    pub fn object(&self, stored: &Stored<'_>) -> (Map<String, Value>, bool) {
        let mut object = place(stored);
        match self.value(stored.kind, stored.value) {
            Some(value) => {
                object.insert("record".into(), value);
                (object, true)
            }
            None => {
                object.insert("undecoded".into(), STANDARD.encode(stored.value).into());
                (object, false)
            }
        }
    }

    /// The record as a row of the table, each cell as it is to be written. Returns it, and whether its value could be decoded.
    #[must_use]
    pub fn row(&self, stored: &Stored<'_>) -> (Vec<String>, bool) {
        let (mut object, is_whole) = self.object(stored);
        let record = object.remove("record");
        if stored.kind.starts_with("dest.") {
            object.insert(SENT.into(), record.unwrap_or_default());
        } else if let Some(Value::Object(fields)) = record {
            spread(fields, "", &mut object);
        } else if let Some(bytes) = object.remove("undecoded") {
            object.insert("body".into(), bytes);
        }
        (self.columns.iter().map(|name| object.get(name).map_or_else(String::new, cell)).collect(), is_whole)
    }
}

/// Adds the names of a value's fields that hold something, nested ones with a dot.
pub fn fields_of(value: &Value, prefix: &str, found: &mut impl FnMut(&str)) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, inner) in members {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                fields_of(inner, &path, found);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        _ => found(prefix),
    }
}

fn place(stored: &Stored<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("topic", stored.topic.into());
    put("kind", stored.kind.into());
    put("partition", stored.partition.into());
    put("offset", stored.offset.into());
    put("stored_at", stored.stored_at_ms.into());
    put("key", String::from_utf8_lossy(stored.key).into());
    if let Some(header) = stored.header.and_then(Header::read) {
        put("occurred_at", header.occurred_at_ms.into());
        put("identifiers", header.identifiers().map(|p| pseudonym::text(header.epoch, p)).collect::<Vec<_>>().into());
    }
    object
}

/// Avro's value as JSON: unions are what is in them, bytes base64, times numbers.
fn plain(value: Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(b) => b.into(),
        Avro::Int(n) => n.into(),
        Avro::Long(n) | Avro::TimestampMillis(n) => n.into(),
        Avro::Float(n) => json!(n),
        Avro::Double(n) => json!(n),
        Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => STANDARD.encode(bytes).into(),
        Avro::String(text) | Avro::Enum(_, text) => text.into(),
        Avro::Union(_, inner) => plain(*inner),
        Avro::Array(items) => items.into_iter().map(plain).collect(),
        Avro::Map(members) => members.into_iter().map(|(name, value)| (name, plain(value))).collect::<Map<_, _>>().into(),
        Avro::Record(fields) => fields.into_iter().map(|(name, value)| (name, plain(value))).collect::<Map<_, _>>().into(),
        // Our schemas have no other kinds.
        _ => Value::Null,
    }
}

/// The branch of `["null", …]` that is not null, if the schema is one of two.
fn inner(schema: &Schema) -> &Schema {
    match schema {
        Schema::Union(union) => match union.variants() {
            [Schema::Null, other] => other,
            _ => schema,
        },
        other => other,
    }
}

/// Adds a schema's leaves as columns, each once.
fn flatten(schema: &Schema, prefix: &str, columns: &mut Vec<String>) {
    let Schema::Record(record) = schema else { return };
    for field in &record.fields {
        let name = if prefix.is_empty() { field.name.clone() } else { format!("{prefix}.{}", field.name) };
        match inner(&field.schema) {
            nested @ Schema::Record(_) => flatten(nested, &name, columns),
            _ if columns.contains(&name) => {}
            _ => columns.push(name),
        }
    }
}

/// Puts nested objects flat, but for maps of free names and what has no column of its own.
fn spread(fields: Map<String, Value>, prefix: &str, flat: &mut Map<String, Value>) {
    for (name, value) in fields {
        let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) if path != "custom" && path != "exit" => spread(inner, &path, flat),
            Value::Null => {}
            other => {
                flat.insert(path, other);
            }
        }
    }
}

/// A value as the text of a cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => guarded(text),
        Value::Object(members) if members.is_empty() => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        Value::Object(_) | Value::Array(_) => disarmed(&value.to_string(), |c, out| out.push_str(&format!("\\u{:04x}", u32::from(c)))),
        scalar => scalar.to_string(),
    }
}

/// Takes from a text the power to be a formula where a spreadsheet opens the file: an apostrophe is put before each `=`, `+`, `-`, `@` at its
/// beginning, after a line break, or after what some country's spreadsheet takes for the end of a cell. Numbers need none; JSON, in which such
/// a place is always inside of a text, has an escape in its place and stays the same JSON.
///
/// Source: OWASP, "CSV Injection" (read 2026-11): quotes and commas are the writer's matter, `;` and tabs are not.
#[must_use]
pub fn guarded(text: &str) -> String {
    disarmed(text, |c, out| out.extend(['\'', c]))
}

/// `replace` appends what stands in the place of a character that would begin a formula.
fn disarmed(text: &str, replace: impl Fn(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    let mut at_start = true;
    for c in text.chars() {
        if at_start && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠') {
            replace(c, &mut out);
        } else {
            out.push(c);
        }
        at_start = matches!(c, ';' | '\t' | '\r' | '\n') || at_start && c.is_whitespace();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::header;
    use crate::model::pseudonym::{Epoch, Pseudonym};
    use apache_avro::writer::datum::GenericDatumWriter;

    const RECORD: &str = include_str!("../../schemas/record/record.avsc");
    const NETWORK: &str = include_str!("../../schemas/network/network.avsc");
    const SESSION: &str = include_str!("../../schemas/session/session.avsc");

    fn decoder() -> Decoder {
        let prefix = |n: u8| vec![0xc3, 1, n, 0, 0, 0, 0, 0, 0, 0];
        Decoder::new((RECORD, prefix(1)), (NETWORK, prefix(2)), (SESSION, prefix(3))).unwrap()
    }

    fn network(marker: &[u8], agent: &str) -> Vec<u8> {
        let schema = Schema::parse_str(NETWORK).unwrap();
        let value = Avro::Record(vec![
            ("event_id".into(), Avro::String("1.e".into())),
            ("occurred_at".into(), Avro::TimestampMillis(5)),
            ("received_at".into(), Avro::TimestampMillis(6)),
            ("tenant".into(), Avro::String("a".into())),
            ("subject".into(), Avro::String("1.s".into())),
            ("ip".into(), Avro::Union(0, Box::new(Avro::Null))),
            ("user_agent".into(), Avro::Union(1, Box::new(Avro::String(agent.into())))),
        ]);
        [marker.to_vec(), GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()].concat()
    }

    fn stored<'r>(kind: &'r str, header: &'r [u8], value: &'r [u8]) -> Stored<'r> {
        Stored { topic: "a.x", kind, partition: 3, offset: 7, stored_at_ms: 9, key: b"1.s/1.e", header: Some(header), value }
    }

    fn header() -> Vec<u8> {
        let mut out = Vec::new();
        header::write(Epoch(1), 5, [Pseudonym([1; 16])].into_iter(), &mut out);
        out
    }

    #[test]
    fn avro_in_both_wrappings_and_bodies_for_destinations_are_objects() {
        let (decoder, header) = (decoder(), header());
        for marker in [&[0xc3, 1, 2, 0, 0, 0, 0, 0, 0, 0][..], &[0, 0, 0, 0, 9][..]] {
            let bytes = network(marker, "Mozilla");
            let (object, is_whole) = decoder.object(&stored("network", &header, &bytes));
            assert!(is_whole);
            assert_eq!(object["record"]["user_agent"], "Mozilla");
            assert_eq!((object["record"]["ip"].clone(), object["record"]["occurred_at"].clone()), (Value::Null, json!(5)));
            assert_eq!((object["key"].clone(), object["offset"].clone()), (json!("1.s/1.e"), json!(7)));
            assert_eq!(object["identifiers"], json!(["1.AQEBAQEBAQEBAQEBAQEBAQ"]));
        }
        let (object, _) = decoder.object(&stored("dest.meta", &header, br#"{"a":[1]}"#));
        assert_eq!(object["record"], json!({"a": [1]}));
    }

    #[test]
    fn what_cannot_be_decoded_is_there_as_base64() {
        let (decoder, header) = (decoder(), header());
        let torn = network(&[0xc3, 1, 2, 0, 0, 0, 0, 0, 0, 0], "Mozilla");
        for bytes in [&torn[..torn.len() - 1], b"xyz", b"", &torn[..4]] {
            let (object, is_whole) = decoder.object(&stored("network", &header, bytes));
            assert!(!is_whole && !object.contains_key("record"));
            assert_eq!(STANDARD.decode(object["undecoded"].as_str().unwrap()).unwrap(), bytes);
        }
        assert!(decoder.value("events", &torn).is_none(), "another schema's record");
    }

    #[test]
    fn rows_have_a_cell_for_every_column() {
        let (decoder, header) = (decoder(), header());
        let mut names = decoder.columns().to_vec();
        for wanted in ["geo.country", "feedback.nps", "custom", "items", "user_agent", "entry.host", "seen", "body", SENT] {
            assert!(names.iter().any(|n| n == wanted), "{wanted}");
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), decoder.columns().len(), "each once");
        let bytes = network(&[0xc3, 1, 2, 0, 0, 0, 0, 0, 0, 0], "=cmd()");
        let (row, _) = decoder.row(&stored("network", &header, &bytes));
        let of = |row: &[String], name: &str| row[decoder.columns().iter().position(|c| c == name).unwrap()].clone();
        assert_eq!(row.len(), decoder.columns().len());
        assert_eq!((of(&row, "user_agent"), of(&row, "occurred_at"), of(&row, "ip")), ("'=cmd()".into(), "5".into(), String::new()));
        let (row, _) = decoder.row(&stored("dest.meta", &header, br#"{"a":"=1"}"#));
        assert_eq!(of(&row, SENT), r#"{"a":"=1"}"#);
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (text, want) in [
            ("=1+1", "'=1+1"),
            ("-1.abc/1.def", "'-1.abc/1.def"),
            ("  @SUM(A1)", "  '@SUM(A1)"),
            ("a;=1", "a;'=1"),
            ("a\n+1", "a\n'+1"),
            ("\t=1", "\t'=1"),
            ("a=b-c", "a=b-c"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(guarded(text), want);
        }
        assert_eq!(cell(&json!(-5.5)), "-5.5", "numbers are no formulas");
        let bot = json!({"agent": "(compatible; +http://bot; =1)"});
        assert_eq!(cell(&bot), r#"{"agent":"(compatible; \u002bhttp://bot; \u003d1)"}"#);
        assert_eq!(serde_json::from_str::<Value>(&cell(&bot)).unwrap(), bot);
    }

    #[test]
    fn fields_are_told_by_name_and_never_by_value() {
        let mut names = Vec::new();
        fields_of(&json!({"a": {"b": "x", "c": null}, "d": [], "e": [1], "f": 0}), "", &mut |name| names.push(name.to_owned()));
        assert_eq!(names, ["a.b", "e", "f"]);
    }
}
