//! One value of a field: what fits is taken, what does not is counted and skipped.

use super::super::take::To;
use super::super::{MAX_ITEMS, MAX_LIST, RowReader, number_from_text};
use super::items::ItemSeed;
use crate::model::field::Field;
use crate::transform::batch::{Number, NumberField};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// A value of any type: what fits is taken, what does not is counted and skipped.
pub(super) struct Value<'x, 'r, 'b, 'a> {
    pub(super) reader: &'x mut RowReader<'r, 'b, 'a>,
    pub(super) to: To,
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
        self.reader.take_text(self.to, text);
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        let text = self.reader.row.copied(text);
        self.reader.take_text(self.to, text);
        Ok(())
    }
    fn visit_u64<E>(self, n: u64) -> Result<(), E> {
        match i64::try_from(n) {
            Ok(n) => self.reader.take_integer(self.to, n),
            Err(_) => self.reader.take_wrong_type(self.to),
        }
        Ok(())
    }
    fn visit_i64<E>(self, n: i64) -> Result<(), E> {
        self.reader.take_integer(self.to, n);
        Ok(())
    }
    fn visit_f64<E>(self, n: f64) -> Result<(), E> {
        self.reader.take_fraction(self.to, n);
        Ok(())
    }
    fn visit_bool<E>(self, b: bool) -> Result<(), E> {
        self.reader.take_boolean(self.to, b);
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.reader.take_null(self.to);
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let inside = Skip { depth_left: self.reader.depth_left }.deeper()?;
        match self.to {
            To::List(field) => {
                self.reader.row.clear_list(field);
                self.reader.depth_left -= 1;
                let mut n = 0;
                while n < MAX_LIST && seq.next_element_seed(Value { reader: &mut *self.reader, to: To::ListElement(field) })?.is_some() {
                    n += 1;
                }
                self.reader.depth_left += 1;
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
                self.reader.take_wrong_type(self.to);
                while seq.next_element_seed(inside)?.is_some() {}
            }
        }
        Ok(())
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let inside = Skip { depth_left: self.reader.depth_left }.deeper()?;
        self.reader.take_wrong_type(self.to);
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
        Some(b'"') if text.contains('\\') => {
            // It must still be a string: half a surrogate pair is malformed wherever it stands.
            Skip { depth_left }.deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(|_| E::custom("string"))?;
            Ok(None)
        }
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
