//! The custom variables of an event: only names on the tenant's allow-list are read.

use super::super::RowReader;
use super::super::take::To;
use super::values::{Skip, Value};
use crate::model::field::Field;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use std::fmt;

/// The custom variables: only names on the allow-list are read.
pub(super) struct CustomObject<'x, 'r, 'b, 'a>(pub(super) &'x mut RowReader<'r, 'b, 'a>);

impl<'a> DeserializeSeed<'a> for CustomObject<'_, '_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for CustomObject<'_, '_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.depth_left -= 1;
        while let Some(name) = map.next_key_seed(CustomKey(self.0.custom_allowed))? {
            match name {
                Some(name) => map.next_value_seed(Value { reader: &mut *self.0, to: To::Custom(name) })?,
                None => {
                    self.0.dropped.add(Field::Custom);
                    map.next_value_seed(Skip { depth_left: self.0.depth_left })?;
                }
            }
        }
        self.0.depth_left += 1;
        Ok(())
    }
}

struct CustomKey<'x>(&'x [String]);

impl<'de> DeserializeSeed<'de> for CustomKey<'_> {
    type Value = Option<u16>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for CustomKey<'_> {
    type Value = Option<u16>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| name == key).map(|i| i as u16))
    }
}
