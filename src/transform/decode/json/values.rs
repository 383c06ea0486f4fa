//! One value of a field: what fits is taken, what does not is counted and skipped.

use super::super::{EventTime, MAX_ITEMS, MAX_LIST, RowReader, number_from_text};
use super::items::ItemSeed;
use crate::model::consent::Purpose;
use crate::model::field::Field;
use crate::transform::batch::{Number, NumberField};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Where a value goes.
#[derive(Clone, Copy)]
pub(super) enum To {
    Text(Field),
    List(Field),
    ListElement(Field),
    Kind,
    EventTime,
    ConsentAnswer(Purpose),
    ConsentGivenAt,
    OptOut,
    Items,
    Custom(u16),
}

/// A value of any type: what fits is taken, what does not is counted and skipped.
pub(super) struct Value<'x, 'r, 'b, 'a> {
    pub(super) reader: &'x mut RowReader<'r, 'b, 'a>,
    pub(super) to: To,
}

impl<'a> Value<'_, '_, '_, 'a> {
    fn text(self, text: &'a str) {
        let r = self.reader;
        match self.to {
            To::Text(field) => r.set_text(field, text),
            To::List(field) => {
                r.row.clear_list(field);
                r.row.push(field, text);
            }
            To::ListElement(field) => {
                if !text.is_empty() {
                    r.row.push(field, text);
                }
            }
            To::Kind => r.set_kind(text),
            To::EventTime => r.set_time_text(text),
            To::ConsentGivenAt => r.set_given_at(crate::model::time::parse_rfc3339(text)),
            To::Custom(name) => r.row.set_custom(name, text),
            To::ConsentAnswer(_) | To::OptOut | To::Items => Value { reader: r, to: self.to }.wrong_type(),
        }
    }

    fn integer(self, n: i64) {
        match self.to {
            To::EventTime => self.reader.set_time_number(n),
            To::ConsentGivenAt => {
                self.reader.set_given_at(match n {
                    ..0 => None,
                    0..100_000_000_000 => Some(n * 1_000),
                    _ => Some(n),
                });
            }
            To::Custom(name) => {
                let text = self.reader.row.copied(&n.to_string());
                self.reader.row.set_custom(name, text);
            }
            _ => self.wrong_type(),
        }
    }

    fn boolean(self, b: bool) {
        match self.to {
            To::ConsentAnswer(purpose) => self.reader.consent.set(purpose, Some(b)),
            To::OptOut => self.reader.consent.opt_out_of_sale = b,
            To::Custom(name) => self.reader.row.set_custom(name, if b { "true" } else { "false" }),
            _ => self.wrong_type(),
        }
    }

    fn null(self) {
        let r = self.reader;
        match self.to {
            To::Text(field) => {
                if matches!(field, Field::EventId | Field::EventName) {
                    r.wrong_type[field as usize] = false;
                }
                r.row.set(field, "");
            }
            To::List(field) => r.row.clear_list(field),
            To::EventTime => r.event_time = EventTime::Absent,
            To::ConsentAnswer(purpose) => r.consent.set(purpose, None),
            To::ConsentGivenAt => r.consent.given_at_ms = None,
            To::OptOut => r.consent.opt_out_of_sale = false,
            To::Items => r.row.clear_items(),
            To::Kind => r.category = crate::model::category::Category::Events,
            To::ListElement(_) | To::Custom(_) => {}
        }
    }

    fn wrong_type(self) {
        let r = self.reader;
        match self.to {
            To::Text(field) => r.wrong_type(field),
            To::List(field) => {
                r.row.clear_list(field);
                r.dropped.add(field);
            }
            To::ListElement(field) => r.dropped.add(field),
            To::Kind => r.set_kind(""),
            To::EventTime => r.event_time = EventTime::Bad,
            To::ConsentAnswer(purpose) => {
                r.consent.set(purpose, None);
                r.dropped.add(Field::ConsentAnswer);
            }
            To::ConsentGivenAt => r.set_given_at(None),
            // An answer that cannot be read must not open the gate it was meant to close.
            To::OptOut => {
                r.consent.opt_out_of_sale = true;
                r.dropped.add(Field::ConsentAnswer);
            }
            To::Items => {
                r.row.clear_items();
                r.dropped.add(Field::Items);
            }
            To::Custom(_) => r.dropped.add(Field::Custom),
        }
    }
}

impl<'a> DeserializeSeed<'a> for Value<'_, '_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Value<'_, '_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.text(text);
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let text = self.reader.row.copied(text);
        self.text(text);
        Ok(())
    }
    fn visit_u64<E>(self, n: u64) -> Result<(), E> {
        match i64::try_from(n) {
            Ok(n) => self.integer(n),
            Err(_) => self.wrong_type(),
        }
        Ok(())
    }
    fn visit_i64<E>(self, n: i64) -> Result<(), E> {
        self.integer(n);
        Ok(())
    }
    fn visit_f64<E>(self, n: f64) -> Result<(), E> {
        if let To::Custom(name) = self.to {
            let text = self.reader.row.copied(&n.to_string());
            self.reader.row.set_custom(name, text);
        } else {
            self.wrong_type();
        }
        Ok(())
    }
    fn visit_bool<E>(self, b: bool) -> Result<(), E> {
        self.boolean(b);
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.null();
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let inside = Skip { depth_left: self.reader.depth_left }.deeper()?;
        match self.to {
            To::List(field) => {
                self.reader.row.clear_list(field);
                let mut n = 0;
                while n < MAX_LIST && seq.next_element_seed(Value { reader: &mut *self.reader, to: To::ListElement(field) })?.is_some() {
                    n += 1;
                }
                while seq.next_element_seed(inside)?.is_some() {
                    self.reader.dropped.add(field);
                }
            }
            To::Items => {
                self.reader.row.clear_items();
                let mut n = 0;
                while n < MAX_ITEMS && seq.next_element_seed(ItemSeed(&mut *self.reader))?.is_some() {
                    n += 1;
                }
                while seq.next_element_seed(inside)?.is_some() {
                    self.reader.dropped.add(Field::Items);
                }
            }
            _ => {
                self.wrong_type();
                while seq.next_element_seed(inside)?.is_some() {}
            }
        }
        Ok(())
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let inside = Skip { depth_left: self.reader.depth_left }.deeper()?;
        self.wrong_type();
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(inside)?;
        }
        Ok(())
    }
}

/// A number or numeric string. Errors: a number that is not finite makes the row malformed.
pub(super) fn read_number<'a, E: Error>(reader: &mut RowReader<'_, '_, 'a>, field: NumberField, raw: &'a RawValue) -> Result<(), E> {
    match number(raw, reader.depth_left)? {
        Some(number) => reader.set_number(field, number),
        None => {
            reader.row.set_number(field, Number::NONE);
            if raw.get() != "null" {
                reader.dropped.add(field.field());
            }
        }
    }
    Ok(())
}

pub(super) fn number<'a, E: Error>(raw: &'a RawValue, depth_left: u32) -> Result<Option<Number<'a>>, E> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => {
            let value: f64 = text.parse().map_err(|_| E::custom("number"))?;
            if !value.is_finite() {
                return Err(E::custom("number"));
            }
            Ok(Some(Number { value, text }))
        }
        // Escapes inside a number are nobody's honest spelling: such a string is no number.
        Some(b'"') => Ok(number_from_text(text.trim_matches('"'))),
        // A tree here is of the wrong type, and might be too deep.
        Some(b'[' | b'{') => {
            let mut json = serde_json::Deserializer::from_str(text);
            Skip { depth_left }.deserialize(&mut json).map_err(|_| E::custom("depth"))?;
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// A value nobody asked for: checked for well-formedness and depth, kept nowhere.
#[derive(Clone, Copy)]
pub(super) struct Skip {
    pub(super) depth_left: u32,
}

impl Skip {
    fn deeper<E: Error>(self) -> Result<Skip, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Skip { depth_left }),
            None => Err(E::custom("depth")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while seq.next_element_seed(inside)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(inside)?;
        }
        Ok(())
    }
}
