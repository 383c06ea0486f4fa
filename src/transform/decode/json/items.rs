//! The items of an order: each is read on its own, so that one bad item costs no other.

use super::super::RowReader;
use super::super::members::{ITEM, ItemMember};
use super::values::{Skip, number};
use crate::model::field::Field;
use crate::transform::batch::Number;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// One element of `items`. Anything but an object is dropped and counted.
pub(super) struct ItemSeed<'x, 'r, 'b, 'a>(pub(super) &'x mut RowReader<'r, 'b, 'a>);

impl<'a> DeserializeSeed<'a> for ItemSeed<'_, '_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        let raw: &'a RawValue = serde::Deserialize::deserialize(d)?;
        let mut json = serde_json::Deserializer::from_str(raw.get());
        if !raw.get().starts_with('{') {
            self.0.dropped.add(Field::Items);
            return Skip { depth_left: self.0.depth_left - 1 }.deserialize(&mut json).map_err(|_| D::Error::custom("depth"));
        }
        let mut item = ItemFields { reader: self.0, texts: [""; 4], price: Number::NONE, quantity: Number::NONE };
        (&mut item).deserialize(&mut json).map_err(|_| D::Error::custom("item"))?;
        let ItemFields { reader, texts, price, quantity } = item;
        reader.row.push_item(texts, price, quantity);
        Ok(())
    }
}

struct ItemFields<'x, 'r, 'b, 'a> {
    reader: &'x mut RowReader<'r, 'b, 'a>,
    texts: [&'a str; 4],
    price: Number<'a>,
    quantity: Number<'a>,
}

struct ItemKey;

impl<'de> DeserializeSeed<'de> for ItemKey {
    type Value = ItemMember;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<ItemMember, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for ItemKey {
    type Value = ItemMember;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<ItemMember, E> {
        Ok(ITEM(key))
    }
}

impl<'a> DeserializeSeed<'a> for &mut ItemFields<'_, '_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for &mut ItemFields<'_, '_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an item")
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let depth_left = self.reader.depth_left - 2; // the list's brackets and the item's braces
        while let Some(member) = map.next_key_seed(ItemKey)? {
            if let ItemMember::Unknown = member {
                self.reader.dropped.add(Field::Unknown);
                map.next_value_seed(Skip { depth_left })?;
                continue;
            }
            let raw: &'a RawValue = map.next_value()?;
            match member {
                ItemMember::Text(ix) => match serde_json::from_str::<Text>(raw.get()) {
                    Ok(Text(text)) => {
                        self.texts[ix] = match text {
                            std::borrow::Cow::Borrowed(text) => text,
                            std::borrow::Cow::Owned(text) => self.reader.row.copied(&text),
                        }
                    }
                    Err(_) if raw.get() == "null" => self.texts[ix] = "",
                    Err(_) => {
                        number::<A::Error>(raw, depth_left)?;
                        self.texts[ix] = "";
                        self.reader.dropped.add(Field::Items);
                    }
                },
                ItemMember::Price | ItemMember::Quantity => {
                    let n = number::<A::Error>(raw, depth_left)?.filter(|n| n.value >= 0.0);
                    if n.is_none() && raw.get() != "null" {
                        self.reader.dropped.add(Field::Items);
                    }
                    let to = if let ItemMember::Price = member { &mut self.price } else { &mut self.quantity };
                    *to = n.unwrap_or(Number::NONE);
                }
                ItemMember::Unknown => {}
            }
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);
