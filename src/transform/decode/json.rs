//! Reads one JSON event into a row: serde_json's parser, our visitors. No tree is built, and no error text is kept: it would quote the value.
//!
//! This file reads the objects of the schema; [`values`] single values, [`custom`] the custom variables, [`items`] the items of an order.

mod custom;
mod items;
mod values;

use super::RowReader;
use super::members::{Keys, Member, ROOT};
use super::take::To;
use crate::model::consent::Consent;
use crate::model::field::Field;
use crate::transform::batch::NumberField;
use custom::CustomObject;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use std::fmt;
use values::{Skip, Value, read_number};

/// Reads `payload`. Errors: the event is malformed; nothing says how, because parsers quote what they reject.
pub(super) fn read<'a>(payload: &'a [u8], reader: &mut RowReader<'_, '_, 'a>) -> Result<(), ()> {
    let mut payload = payload;
    while let Some(rest) = payload.strip_prefix(b"\xef\xbb\xbf") {
        payload = rest;
    }
    let text = simdutf8::basic::from_utf8(payload).map_err(drop)?;
    let mut json = serde_json::Deserializer::from_str(text);
    Object { reader, keys: ROOT }.deserialize(&mut json).map_err(drop)?;
    json.end().map_err(drop)
}

/// Reads a key and tells what the member means, without keeping the key.
struct Key(Keys);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Member;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Member, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Member;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Member, E> {
        Ok((self.0)(key))
    }
}

/// An object of the schema. Anything but an object makes the row malformed; `null` is absence.
struct Object<'x, 'r, 'b, 'a> {
    reader: &'x mut RowReader<'r, 'b, 'a>,
    keys: Keys,
}

impl<'a> DeserializeSeed<'a> for Object<'_, '_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, '_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Object { reader, keys } = self;
        reader.depth_left -= 1;
        while let Some(member) = map.next_key_seed(Key(keys))? {
            read_member(reader, member, &mut map)?;
        }
        reader.depth_left += 1;
        Ok(())
    }
}

/// The same, where `null` stands for absence.
struct OptionalObject<'x, 'r, 'b, 'a> {
    object: Object<'x, 'r, 'b, 'a>,
    field: Field,
}

impl<'a> DeserializeSeed<'a> for OptionalObject<'_, '_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_option(self)
    }
}

impl<'a> Visitor<'a> for OptionalObject<'_, '_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object or null")
    }
    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_some<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        self.object.reader.consent.present |= self.field == Field::Consent;
        self.object.deserialize(d)
    }
}

fn read_member<'a, A: MapAccess<'a>>(reader: &mut RowReader<'_, '_, 'a>, member: Member, map: &mut A) -> Result<(), A::Error> {
    match member {
        Member::Text(field) => map.next_value_seed(Value { reader, to: To::Text(field) }),
        Member::List(field) => map.next_value_seed(Value { reader, to: To::List(field) }),
        Member::Number(field) => read_number(reader, field, map.next_value()?),
        Member::Kind => map.next_value_seed(Value { reader, to: To::Kind }),
        Member::EventTime => map.next_value_seed(Value { reader, to: To::EventTime }),
        Member::Object(field, keys) => {
            forget(reader, field);
            map.next_value_seed(OptionalObject { object: Object { reader, keys }, field })
        }
        Member::ConsentAnswer(purpose) => map.next_value_seed(Value { reader, to: To::ConsentAnswer(purpose) }),
        Member::ConsentGivenAt => map.next_value_seed(Value { reader, to: To::ConsentGivenAt }),
        Member::OptOut => map.next_value_seed(Value { reader, to: To::OptOut }),
        Member::Items => map.next_value_seed(Value { reader, to: To::Items }),
        Member::Custom => {
            reader.row.clear_customs();
            map.next_value_seed(CustomObject(reader))
        }
        Member::Unknown => {
            reader.dropped.add(Field::Unknown);
            map.next_value_seed(Skip { depth_left: reader.depth_left })
        }
    }
}

/// Of two objects under one key the last wins, whole: what the first one said is forgotten.
fn forget(reader: &mut RowReader<'_, '_, '_>, object: Field) {
    let (texts, numbers): (std::ops::RangeInclusive<usize>, &[NumberField]) = match object {
        Field::User => (Field::Email as usize..=Field::ExternalId as usize, &[]),
        Field::Ids => (Field::ClientId as usize..=Field::Fingerprint as usize, &[]),
        Field::Consent => {
            reader.consent = Consent::default();
            (Field::ConsentVersion as usize..=Field::ConsentVersion as usize, &[])
        }
        _ => (Field::FeedbackText as usize..=Field::FeedbackAuthor as usize, &[NumberField::Rating, NumberField::Nps, NumberField::Csat]),
    };
    reader.row.forget(texts, numbers);
}
