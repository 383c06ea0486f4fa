//! Writes Avro's binary encoding straight into an arena; checked against apache-avro as the oracle.
//!
//! Source: Apache Avro 1.12 specification, "Binary encoding" and "Single object encoding".

/// Appends a long (or int): zig-zag, then base 128, low bits first.
#[inline]
pub fn long(n: i64, out: &mut Vec<u8>) {
    let mut z = ((n << 1) ^ (n >> 63)) as u64;
    while z >= 0x80 {
        out.push((z as u8) | 0x80);
        z >>= 7;
    }
    out.push(z as u8);
}

/// Appends a string (or bytes): its length and itself.
#[inline]
pub fn string(text: &[u8], out: &mut Vec<u8>) {
    long(text.len() as i64, out);
    out.extend_from_slice(text);
}

/// Appends a string whose length is known only once `write` has run; texts of up to 63 bytes are written in place.
#[inline]
pub fn string_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    if len < 64 {
        out[at] = (len as u8) << 1;
    } else {
        let mut prefix = Vec::with_capacity(4);
        long(len as i64, &mut prefix);
        out.splice(at..=at, prefix);
    }
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
/// Errors: the schema does not parse.
pub fn single_object_prefix(schema: &str) -> Result<Vec<u8>, BadSchema> {
    let schema = apache_avro::Schema::parse_str(schema).map_err(|_| BadSchema)?;
    let fingerprint = schema.fingerprint::<apache_avro::rabin::Rabin>();
    let mut prefix = vec![0xc3, 0x01];
    prefix.extend_from_slice(&fingerprint.bytes);
    Ok(prefix)
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

    /// The values that fastavro 1.12 gives for `fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")`. Nested types have full names in
    /// the schema files because apache-avro does not put the enclosing namespace into its canonical form.
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
