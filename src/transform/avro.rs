//! Writes Avro's binary encoding straight into an arena; checked against apache-avro as the oracle.
//!
//! Source: Apache Avro 1.12 specification, "Binary encoding" and "Single object encoding".

use crate::model::varint;
use crate::transform::json;
use crate::transform::ready::Ready;
use serde_json::Value;
use sha2::Digest;

/// Appends a long (or int).
#[inline]
pub fn long(n: i64, out: &mut Vec<u8>) {
    varint::put(n, out);
}

/// Appends a string (or bytes): its length and itself.
#[inline]
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    varint::put_bytes(text, out);
}

/// A string that is known beforehand, as [`string`] appends it. Shape: at most 31 bytes.
#[must_use]
pub const fn constant(text: &str) -> Ready {
    Ready::new(&[&[(text.len() as u8) << 1], text.as_bytes()])
}

/// Appends a string whose length is known only once `write` has run; texts of up to 63 bytes are written in place.
#[inline]
pub fn string_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    varint::put_bytes_with(out, write);
}

/// Appends a value of `["null", "string"]`; empty text is null.
#[inline]
pub fn optional_string(text: &str, out: &mut Vec<u8>) {
    if text.is_empty() {
        out.push(0);
    } else {
        out.push(2);
        string(text.as_bytes(), out);
    }
}

/// Appends a value of `["null", "double"]`; NaN is null.
#[inline]
pub fn optional_double(n: f64, out: &mut Vec<u8>) {
    if n.is_nan() {
        out.push(0);
    } else {
        out.push(2);
        out.extend_from_slice(&n.to_le_bytes());
    }
}

/// Appends a value of `["null", "boolean"]`.
#[inline]
pub fn optional_boolean(b: Option<bool>, out: &mut Vec<u8>) {
    match b {
        None => out.push(0),
        Some(b) => out.extend_from_slice(&[2, u8::from(b)]),
    }
}

/// Appends a value of `["null", "long"]`.
#[inline]
pub fn optional_long(n: Option<i64>, out: &mut Vec<u8>) {
    match n {
        None => out.push(0),
        Some(n) => {
            out.push(2);
            long(n, out);
        }
    }
}

/// What stands before a body in Avro's single-object encoding: marker and CRC-64-AVRO of the schema's parsing canonical form.
///
/// The canonical form is ours, because apache-avro 0.22's does not put the enclosing namespace into nested types, and so gives a fingerprint
/// that no other implementation computes.
///
/// Errors: the schema does not parse.
pub fn single_object_prefix(schema: &str) -> Result<Vec<u8>, BadSchema> {
    apache_avro::Schema::parse_str(schema).map_err(|_| BadSchema)?;
    let parsed: Value = serde_json::from_str(schema).map_err(|_| BadSchema)?;
    let mut canonical = Vec::new();
    canonical_form(&parsed, "", &mut canonical);
    let mut crc = apache_avro::rabin::Rabin::default();
    crc.update(&canonical);
    let mut prefix = vec![0xc3, 0x01];
    prefix.extend_from_slice(&crc.finalize());
    Ok(prefix)
}

/// Appends the parsing canonical form. Source: Apache Avro 1.12 specification, "Transforming into Parsing Canonical Form".
fn canonical_form(schema: &Value, namespace: &str, out: &mut Vec<u8>) {
    match schema {
        Value::String(name) => json::string(&full_name(name, namespace), out),
        Value::Array(branches) => list(branches, namespace, out),
        Value::Object(object) => {
            let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or("");
            let kind = text("type");
            if !matches!(kind, "record" | "enum" | "fixed" | "array" | "map") {
                return canonical_form(object.get("type").unwrap_or(&Value::Null), namespace, out);
            }
            let space = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
            let name = full_name(text("name"), space);
            let inside = name.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
            let mut o = json::Object::open(out);
            if !text("name").is_empty() {
                o.string("name", &name);
            }
            o.string("type", kind);
            if let Some(fields) = object.get("fields").and_then(Value::as_array) {
                let out = o.key("fields");
                out.push(b'[');
                for (i, field) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    let mut f = json::Object::open(out);
                    f.string("name", field.get("name").and_then(Value::as_str).unwrap_or(""));
                    canonical_form(field.get("type").unwrap_or(&Value::Null), &inside, f.key("type"));
                    f.close();
                }
                out.push(b']');
            }
            if let Some(symbols) = object.get("symbols").and_then(Value::as_array) {
                o.key("symbols").extend_from_slice(Value::from(symbols.clone()).to_string().as_bytes());
            }
            for key in ["items", "values"] {
                if let Some(inner) = object.get(key) {
                    canonical_form(inner, namespace, o.key(key));
                }
            }
            if let Some(size) = object.get("size").and_then(Value::as_i64) {
                o.integer("size", size);
            }
            o.close();
        }
        _ => {}
    }
}

fn list(branches: &[Value], namespace: &str, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, branch) in branches.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        canonical_form(branch, namespace, out);
    }
    out.push(b']');
}

/// A primitive's name stays; any other gets the namespace, unless it has one.
fn full_name(name: &str, namespace: &str) -> String {
    let primitive = matches!(name, "null" | "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string");
    if primitive || namespace.is_empty() || name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// The schema is not one that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Avro schema cannot be used")]
pub struct BadSchema;

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::{Schema, types::Value, writer::datum::GenericDatumWriter};
    use proptest::prelude::*;

    fn oracle(schema: &str, value: Value) -> Vec<u8> {
        let schema = Schema::parse_str(schema).unwrap();
        GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
    }

    proptest! {
        #[test]
        fn longs(n: i64) {
            let mut out = Vec::new();
            long(n, &mut out);
            prop_assert_eq!(out, oracle(r#""long""#, Value::Long(n)));
        }

        #[test]
        fn constants(text in "\\PC{0,7}") {
            let mut out = vec![7];
            constant(&text).push(&mut out);
            prop_assert_eq!(&out[1..], oracle(r#""string""#, Value::String(text)));
        }

        #[test]
        fn strings(text in "\\PC{0,200}") {
            let want = oracle(r#""string""#, Value::String(text.clone()));
            let mut out = Vec::new();
            string(text.as_bytes(), &mut out);
            prop_assert_eq!(&out, &want);
            let mut out = vec![7];
            string_with(&mut out, |o| o.extend_from_slice(text.as_bytes()));
            prop_assert_eq!(&out[1..], &want[..]);
        }

        #[test]
        fn doubles(n in proptest::num::f64::NORMAL) {
            let mut out = Vec::new();
            optional_double(n, &mut out);
            prop_assert_eq!(out, oracle(r#"["null","double"]"#, Value::Union(1, Box::new(Value::Double(n)))));
        }
    }

    /// The values that fastavro 1.12 gives for `fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")`.
    #[test]
    fn fingerprints_are_those_of_another_implementation() {
        for (schema, want) in [
            (include_str!("../../schemas/record/record.avsc"), "9f6b9e544e19335b"),
            (include_str!("../../schemas/network/network.avsc"), "08e5cc682536ff1e"),
            (include_str!("../../schemas/raw_event/raw_event.avsc"), "436725271ab621c6"),
        ] {
            let prefix = single_object_prefix(schema).unwrap();
            let hex: String = prefix[2..].iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, want);
        }
    }

    #[test]
    fn nulls() {
        let mut out = Vec::new();
        optional_string("", &mut out);
        optional_double(f64::NAN, &mut out);
        optional_boolean(None, &mut out);
        optional_long(None, &mut out);
        assert_eq!(out, [0, 0, 0, 0]);
    }
}
