//! Reads, of a pseudonymised record, the fields that aggregates and sessions need, straight from its Avro bytes.
//!
//! Source: Apache Avro 1.12 specification, "Binary encoding", over the layout of `schemas/record/record.avsc`; apache-avro is the oracle below.

use crate::derive::avro::Bytes;
use crate::derive::money::Micros;
use crate::model::pseudonym::Epoch;

/// What is read of one record. Absent text is empty. No `Debug`: pseudonyms are personal data.
#[derive(Clone, Copy, PartialEq)]
pub struct Event<'a> {
    /// Pseudonym of the event id, or the id itself.
    pub event_id: &'a str,
    /// `purchase`.
    pub event_name: &'a str,
    /// When it happened. Units: ms since the epoch.
    pub occurred_at_ms: i64,
    /// `<epoch>.<22 characters>`, or `-` and the event id of an anonymous event.
    pub subject: &'a str,
    /// The key's generation.
    pub epoch: Epoch,
    /// When consent was given, if that is said. Units: ms since the epoch.
    pub given_at_ms: Option<i64>,
    /// ISO 3166-1 alpha-2.
    pub country: &'a str,
    /// `mobile`.
    pub device_class: &'a str,
    /// The page's host.
    pub host: &'a str,
    /// Its path.
    pub path: &'a str,
    /// Campaign: source, medium, campaign, term, content, platform of the click id.
    pub campaign: [&'a str; 6],
    /// The amount, if it is one.
    pub value: Option<Micros>,
    /// The amount's currency.
    pub currency: &'a str,
}

impl Event<'_> {
    /// Whether the event is nobody's.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.subject.starts_with('-')
    }
}

/// Reads a record. `prefix`: what stands before the body of this record, whose schema is the one this was written for; empty if it is not.
///
/// Errors: `None` for another schema or torn bytes.
#[must_use]
pub fn read<'a>(prefix: &[u8], bytes: &'a [u8]) -> Option<Event<'a>> {
    if prefix.is_empty() {
        return None;
    }
    let mut body = Bytes(bytes.strip_prefix(prefix)?);
    let event_id = body.text()?;
    body.text()?; // category
    let event_name = body.optional_text()?;
    let occurred_at_ms = body.long()?;
    body.long()?; // received_at
    body.text()?; // tenant
    let subject = body.text()?;
    body.skip_identifiers()?;
    let epoch = Epoch(u16::try_from(body.long()?).ok()?);
    body.text()?; // legal_basis
    let given_at_ms = body.consent_given_at()?;
    let [country, _, _] = if body.is_there()? { body.optional_texts()? } else { [""; 3] };
    body.optional_text()?; // ip_truncated
    let mut device_class = "";
    if body.is_there()? {
        device_class = body.text()?;
        let [_, _, _, _] = body.optional_texts()?;
        body.take(1)?; // is_bot
    }
    let [host, path, _] = if body.is_there()? { body.optional_texts()? } else { [""; 3] };
    let campaign = if body.is_there()? { body.optional_texts()? } else { [""; 6] };
    let value = match body.long()? {
        0 => None,
        1 => Micros::of_double(f64::from_le_bytes(body.take(8)?.try_into().ok()?)),
        2 => Micros::of_text(body.text()?),
        _ => return None,
    };
    let currency = body.optional_text()?;
    Some(Event {
        event_id,
        event_name,
        occurred_at_ms,
        subject,
        epoch,
        given_at_ms,
        country,
        device_class,
        host,
        path,
        campaign,
        value,
        currency,
    })
}

impl Bytes<'_> {
    fn skip_identifiers(&mut self) -> Option<()> {
        loop {
            match self.long()? {
                0 => return Some(()),
                // A block that says its length in bytes.
                n if n < 0 => {
                    let bytes = usize::try_from(self.long()?).ok()?;
                    self.take(bytes)?;
                }
                n => {
                    for _ in 0..n {
                        self.text()?;
                        self.text()?;
                    }
                }
            }
        }
    }

    /// When consent was given, if that is said.
    fn consent_given_at(&mut self) -> Option<Option<i64>> {
        if !self.is_there()? {
            return Some(None);
        }
        for _ in 0..4 {
            if self.is_there()? {
                self.take(1)?;
            }
        }
        let given_at_ms = if self.is_there()? { Some(self.long()?) } else { None };
        self.optional_text()?; // version
        self.take(1)?; // opt_out_of_sale
        Some(given_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apache_avro::Schema;
    use apache_avro::types::Value;
    use apache_avro::writer::datum::GenericDatumWriter;
    use proptest::prelude::*;

    const SCHEMA: &str = include_str!("../../schemas/record/record.avsc");
    const MARK: [u8; 10] = [0xc3, 1, 1, 2, 3, 4, 5, 6, 7, 8];

    /// What a nullable field holds.
    fn maybe(there: bool, value: Value) -> Value {
        if there { Value::Union(1, Box::new(value)) } else { Value::Union(0, Box::new(Value::Null)) }
    }

    fn text(text: &str) -> Value {
        maybe(!text.is_empty(), Value::String(text.into()))
    }

    fn record(fields: Vec<(&str, Value)>) -> Value {
        Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A whole record of `schemas/record/record.avsc`.
    fn whole(t: &[String], there: &[bool], occurred_at_ms: i64, epoch: u16, value: Value) -> Value {
        let s = |i: usize| Value::String(t[i].clone());
        let identifiers =
            (0..there.iter().filter(|b| **b).count() % 3).map(|_| record(vec![("type", s(0)), ("pseudonym", s(1))])).collect();
        let flag = |b: bool| maybe(b, Value::Boolean(b));
        let consent = record(vec![
            ("functional", flag(there[0])),
            ("analytics", flag(there[1])),
            ("ads", flag(there[2])),
            ("personalization", flag(there[3])),
            ("given_at", maybe(there[4], Value::TimestampMillis(occurred_at_ms))),
            ("version", text(&t[2])),
            ("opt_out_of_sale", Value::Boolean(there[5])),
        ]);
        let geo = record(vec![("country", text(&t[3])), ("region", text(&t[4])), ("city", text(&t[5]))]);
        let device = record(vec![
            ("class", s(6)),
            ("os", text(&t[0])),
            ("os_major", text(&t[1])),
            ("browser", text(&t[2])),
            ("browser_major", text(&t[3])),
            ("is_bot", Value::Boolean(there[6])),
        ]);
        let page = record(vec![("host", text(&t[7])), ("path", text(&t[8])), ("referrer_host", text(&t[9]))]);
        let names = ["source", "medium", "campaign", "term", "content", "click_platform"];
        let campaign = record(names.iter().enumerate().map(|(i, n)| (*n, text(&t[10 + i]))).collect());
        let null = || maybe(false, Value::Null);
        record(vec![
            ("event_id", s(0)),
            ("category", s(1)),
            ("event_name", text(&t[16])),
            ("occurred_at", Value::TimestampMillis(occurred_at_ms)),
            ("received_at", Value::TimestampMillis(5)),
            ("tenant", s(2)),
            ("subject", s(17)),
            ("identifiers", Value::Array(identifiers)),
            ("key_epoch", Value::Int(i32::from(epoch))),
            ("legal_basis", s(3)),
            ("consent", maybe(there[7], consent)),
            ("geo", maybe(there[8], geo)),
            ("ip_truncated", text(&t[4])),
            ("device", maybe(there[9], device)),
            ("page", maybe(there[10], page)),
            ("campaign", maybe(there[11], campaign)),
            ("value", value),
            ("currency", text(&t[18])),
            ("order", null()),
            ("items", Value::Array(vec![])),
            ("payout", null()),
            ("cost", null()),
            ("quantity", null()),
            ("custom", Value::Map(Default::default())),
            ("feedback", null()),
            ("session", null()),
            ("age_band", null()),
            ("zip_prefix", null()),
            ("body", null()),
        ])
    }

    fn bytes(value: Value) -> Vec<u8> {
        let schema = Schema::parse_str(SCHEMA).unwrap();
        let body = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap();
        [&MARK[..], &body].concat()
    }

    proptest! {
        #[test]
        fn reads_what_apache_avro_writes(
            t in proptest::collection::vec("\\PC{0,80}", 19),
            there in proptest::collection::vec(any::<bool>(), 12),
            at: i64, epoch: u16, amount in proptest::option::of(-1e9f64..1e9), exact: bool,
        ) {
            let value = match amount {
                None => maybe(false, Value::Null),
                Some(n) if exact => Value::Union(2, Box::new(Value::String(format!("{n:.2}")))),
                Some(n) => Value::Union(1, Box::new(Value::Double(n))),
            };
            let bytes = bytes(whole(&t, &there, at, epoch, value));
            let e = read(&MARK, &bytes).unwrap();
            let if_there = |is: bool, i: usize| if is { t[i].as_str() } else { "" };
            prop_assert_eq!((e.event_name, e.occurred_at_ms, e.subject, e.epoch), (t[16].as_str(), at, t[17].as_str(), Epoch(epoch)));
            prop_assert_eq!(e.event_id, t[0].as_str());
            prop_assert_eq!(e.given_at_ms, (there[7] && there[4]).then_some(at));
            prop_assert_eq!((e.country, e.device_class), (if_there(there[8], 3), if_there(there[9], 6)));
            prop_assert_eq!((e.host, e.path), (if_there(there[10], 7), if_there(there[10], 8)));
            for (i, part) in e.campaign.iter().enumerate() {
                prop_assert_eq!(*part, if_there(there[11], 10 + i));
            }
            let want = amount.and_then(|n| if exact { Micros::of_text(&format!("{n:.2}")) } else { Micros::of_double(n) });
            prop_assert_eq!((e.value, e.currency), (want, t[18].as_str()));
            for cut in 0..bytes.len().min(200) {
                let _ = read(&MARK, &bytes[..cut]);
            }
        }

        #[test]
        fn never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&MARK, &[&MARK[..], &noise].concat());
        }
    }

    #[test]
    fn another_schema_is_refused() {
        assert!(read(&MARK, &[0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
        assert!(read(&[], &[0]).is_none());
    }
}
