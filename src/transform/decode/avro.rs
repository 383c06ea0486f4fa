//! Reads one Avro event into a row, straight from its bytes: the writer's schema is compiled once into a program, no `Value` is built.
//!
//! Source: Apache Avro 1.12 specification, "Binary encoding". What is declared is never believed: lengths and counts are held against the bytes
//! that are left, nothing is allocated by them, and nesting ends at [`MAX_DEPTH`]. Bytes that end too early or too late make the row malformed.

mod program;

pub use program::{AvroProgram, compile, compile_with};

use super::take::To;
use super::{EventTime, MAX_DEPTH, MAX_ITEMS, MAX_LIST, RowReader, number_from_text};
use crate::model::field::Field;
use crate::model::rejected::Reason;
use crate::model::varint;
use crate::transform::batch::{Number, NumberField};
use crate::transform::schemas::Schemas;
use program::{Node, Target};
use std::collections::HashMap;
use std::sync::Arc;

/// How an Avro record says which schema wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SchemaId {
    /// Avro's single-object encoding: CRC-64-AVRO of the writer's schema.
    Fingerprint(u64),
    /// Confluent's wire format: id in the schema registry.
    Registry(u32),
}

/// Tells Avro from JSON by the first bytes. Shape: the schema's id and where the body starts; `None` means JSON.
pub fn framing(payload: &[u8]) -> Option<(SchemaId, usize)> {
    match payload {
        [0xc3, 0x01, fingerprint @ ..] => fingerprint.first_chunk().map(|f| (SchemaId::Fingerprint(u64::from_le_bytes(*f)), 10)),
        [0x00, id @ ..] => id.first_chunk().map(|id| (SchemaId::Registry(u32::from_be_bytes(*id)), 5)),
        _ => None,
    }
}

/// The schemas known; `None`: one by which no event can be read.
pub type Programs = HashMap<SchemaId, Option<Arc<AvroProgram>>>;

/// Reads an event. Errors: [`Reason::UnknownSchema`], [`Reason::Malformed`].
pub(super) fn read<'a>(
    (id, start): (SchemaId, usize),
    payload: &'a [u8],
    schemas: &Schemas,
    reader: &mut RowReader<'_, '_, 'a>,
) -> Result<(), Reason> {
    let program = schemas.reader(id).ok_or(Reason::UnknownSchema)?;
    let rest = payload.get(start..).unwrap_or_default();
    let mut interpreter = Interpreter { nodes: &program.nodes, rest, reader, item: Item::NONE };
    match interpreter.value(program.root, Target::Object(None), MAX_DEPTH) {
        Ok(()) if interpreter.rest.is_empty() => Ok(()),
        _ => Err(Reason::Malformed),
    }
}

/// The bytes are not what the schema says.
struct Torn;

type Read<T> = Result<T, Torn>;

/// The item being read.
#[derive(Clone, Copy)]
struct Item<'a> {
    texts: [&'a str; 4],
    price: Number<'a>,
    quantity: Number<'a>,
}

impl Item<'_> {
    const NONE: Item<'static> = Item { texts: [""; 4], price: Number::NONE, quantity: Number::NONE };
}

struct Interpreter<'p, 'x, 'r, 'b, 'a> {
    nodes: &'p [Node],
    rest: &'a [u8],
    reader: &'x mut RowReader<'r, 'b, 'a>,
    item: Item<'a>,
}

impl<'p, 'a> Interpreter<'p, '_, '_, '_, 'a> {
    /// Reads one value. `left`: how many levels may still open.
    fn value(&mut self, node: u32, to: Target, left: u32) -> Read<()> {
        let nodes: &'p [Node] = self.nodes;
        match &nodes[node as usize] {
            Node::Null => self.null(to),
            Node::Boolean => match self.take(1)? {
                [b @ (0 | 1)] => self.boolean(to, *b == 1)?,
                _ => return Err(Torn),
            },
            Node::Int => {
                let n = i32::try_from(self.long()?).map_err(|_| Torn)?;
                self.integer(to, n.into())?;
            }
            Node::Long => {
                let n = self.long()?;
                self.integer(to, n)?;
            }
            Node::Float => self.float(to)?,
            Node::Double => {
                let n = f64::from_le_bytes(*self.take(8)?.first_chunk().ok_or(Torn)?);
                self.fraction(to, n)?;
            }
            Node::Text => {
                let text = self.text()?;
                self.take_text(to, text)?;
            }
            Node::Bytes => {
                let len = self.length()?;
                let bytes = self.take(len)?;
                self.bytes(to, bytes)?;
            }
            Node::Fixed(size) => {
                self.take(*size)?;
                self.wrong_type(to)?;
            }
            Node::Instant { per_ms } => {
                let n = self.long()?;
                self.instant(to, n, *per_ms)?;
            }
            Node::Calendar => {
                self.long()?;
                self.wrong_type(to)?;
            }
            Node::Decimal { size, scale } => {
                let len = size.map_or_else(|| self.length(), Ok)?;
                let bytes = self.take(len)?;
                self.decimal(to, bytes, *scale)?;
            }
            Node::Enum(symbols) => {
                let symbol = usize::try_from(self.long()?).ok().and_then(|i| symbols.get(i)).ok_or(Torn)?;
                let text = self.reader.row.copied(symbol);
                self.take_text(to, text)?;
            }
            Node::Union(variants) => {
                let variant = usize::try_from(self.long()?).ok().and_then(|i| variants.get(i)).ok_or(Torn)?;
                self.value(*variant, to, left)?;
            }
            Node::Array(items) => self.array(*items, to, deeper(left)?)?,
            Node::Map(values) => self.map(*values, to, deeper(left)?)?,
            Node::Skipped(fields) => {
                self.wrong_type(to)?;
                let left = deeper(left)?;
                fields.iter().try_for_each(|field| self.value(*field, Target::Nowhere, left))?;
            }
            Node::Object(fields) => self.object(fields, to, deeper(left)?)?,
            Node::Customs(fields) => self.customs(fields, deeper(left)?)?,
        }
        Ok(())
    }

    fn float(&mut self, to: Target) -> Read<()> {
        let n = f32::from_le_bytes(*self.take(4)?.first_chunk().ok_or(Torn)?);
        // Its own shortest spelling: 12.1 is 12.1, not 12.100000381.
        self.fraction(to, if n.fract() == 0.0 { n.into() } else { n.to_string().parse().unwrap_or(f64::NAN) })
    }

    fn customs(&mut self, fields: &[(Box<str>, u32)], left: u32) -> Read<()> {
        for (name, field) in fields {
            let to = self.custom(name);
            self.value(*field, to, left)?;
        }
        Ok(())
    }

    fn object(&mut self, fields: &[(Target, u32)], to: Target, left: u32) -> Read<()> {
        self.open(to);
        for (target, field) in fields {
            if let Target::Nowhere = target {
                self.reader.dropped.add(Field::Unknown);
            }
            self.value(*field, *target, left)?;
        }
        if let Target::Item = to {
            let Item { texts, price, quantity } = self.item;
            self.reader.row.push_item(texts, price, quantity);
        }
        Ok(())
    }

    fn open(&mut self, object: Target) {
        match object {
            Target::Object(Some(Field::Consent)) => self.reader.consent.present = true,
            Target::Item => self.item = Item::NONE,
            _ => {}
        }
    }

    fn array(&mut self, items: Option<u32>, to: Target, left: u32) -> Read<()> {
        let (element, limit, field) = match to {
            Target::Value(To::List(field)) => {
                self.reader.row.clear_list(field);
                (Target::Value(To::ListElement(field)), MAX_LIST, Some(field))
            }
            Target::Value(To::Items) => {
                self.reader.row.clear_items();
                (Target::Item, MAX_ITEMS, Some(Field::Items))
            }
            _ => {
                self.wrong_type(to)?;
                (Target::Nowhere, 0, None)
            }
        };
        let mut n = 0;
        self.blocks(items.is_some(), |this| {
            let Some(items) = items else { return Ok(()) };
            n += 1;
            if n <= limit {
                return this.value(items, element, left);
            }
            if let Some(field) = field {
                this.reader.dropped.add(field);
            }
            this.value(items, Target::Nowhere, left)
        })
    }

    fn map(&mut self, values: u32, to: Target, left: u32) -> Read<()> {
        match to {
            Target::Object(_) => self.open(to),
            Target::Customs | Target::Nowhere => {}
            _ => self.wrong_type(to)?,
        }
        self.blocks(true, |this| {
            let key = this.text()?;
            let target = match to {
                Target::Object(object) => Target::of_member(object, key).unwrap_or_else(|| {
                    this.reader.dropped.add(Field::Unknown);
                    Target::Nowhere
                }),
                Target::Customs => this.custom(key),
                _ => Target::Nowhere,
            };
            this.value(values, target, left)
        })
    }

    /// The blocks of an array or map: counts until a zero; a negative one is followed by the block's length in bytes.
    fn blocks(&mut self, takes_bytes: bool, mut element: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        loop {
            let count = self.long()?;
            let length = if count < 0 { Some(self.length()?) } else { None };
            let count = count.unsigned_abs();
            if count == 0 {
                return Ok(());
            }
            let before = self.rest.len();
            if takes_bytes {
                // An element takes a byte at least.
                if count > before as u64 {
                    return Err(Torn);
                }
                for _ in 0..count {
                    element(self)?;
                }
            }
            if length.is_some_and(|length| length != before - self.rest.len()) {
                return Err(Torn);
            }
        }
    }

    /// Where a custom variable goes.
    fn custom(&mut self, name: &str) -> Target {
        match self.reader.custom_allowed.iter().position(|allowed| allowed == name) {
            Some(i) => Target::Value(To::Custom(i as u16)),
            None => {
                self.reader.dropped.add(Field::Custom);
                Target::Nowhere
            }
        }
    }

    fn null(&mut self, to: Target) {
        match to {
            Target::Value(to) => self.reader.take_null(to),
            Target::Number(field) => self.reader.row.set_number(field, Number::NONE),
            Target::Item => self.reader.dropped.add(Field::Items),
            _ => {}
        }
    }

    fn boolean(&mut self, to: Target, b: bool) -> Read<()> {
        match to {
            Target::Value(to) => self.reader.take_boolean(to, b),
            _ => self.wrong_type(to)?,
        }
        Ok(())
    }

    fn integer(&mut self, to: Target, n: i64) -> Read<()> {
        if let Target::Value(to) = to {
            self.reader.take_integer(to, n);
            return Ok(());
        }
        // Beyond 2^53 a float no longer holds every integer: its spelling does.
        let text = if n.unsigned_abs() > 1 << 53 { self.reader.row.copied(&n.to_string()) } else { "" };
        self.number(to, Number { value: n as f64, text })
    }

    fn fraction(&mut self, to: Target, n: f64) -> Read<()> {
        if let Target::Value(to) = to {
            self.reader.take_fraction(to, n);
            return Ok(());
        }
        self.number(to, Number { value: n, text: "" })
    }

    fn number(&mut self, to: Target, n: Number<'a>) -> Read<()> {
        match to {
            Target::Number(field) => self.reader.set_number(field, n),
            Target::ItemPrice | Target::ItemQuantity if n.value >= 0.0 && n.value.is_finite() => {
                let to = if let Target::ItemPrice = to { &mut self.item.price } else { &mut self.item.quantity };
                *to = n;
            }
            _ => self.wrong_type(to)?,
        }
        Ok(())
    }

    fn take_text(&mut self, to: Target, text: &'a str) -> Read<()> {
        match to {
            Target::Value(to) => self.reader.take_text(to, text),
            Target::Number(_) | Target::ItemPrice | Target::ItemQuantity => match number_from_text(text) {
                Some(n) => self.number(to, n)?,
                None => self.wrong_type(to)?,
            },
            Target::ItemText(i) => self.item.texts[i] = text,
            _ => self.wrong_type(to)?,
        }
        Ok(())
    }

    /// Bytes are no text, but for the body, which is opaque; it is carried as text, so one that is not UTF-8 is dropped.
    fn bytes(&mut self, to: Target, bytes: &'a [u8]) -> Read<()> {
        match (to, simdutf8::basic::from_utf8(bytes)) {
            (Target::Value(To::Text(Field::Body)), Ok(text)) => self.take_text(to, text),
            _ => self.wrong_type(to),
        }
    }

    /// An instant, whose unit the schema tells.
    fn instant(&mut self, to: Target, n: i64, per_ms: i64) -> Read<()> {
        let at_ms = (n >= 0).then_some(n / per_ms);
        match to {
            Target::Value(To::EventTime) => self.reader.event_time = at_ms.map_or(EventTime::Bad, EventTime::At),
            Target::Value(To::ConsentGivenAt) => self.reader.set_given_at(at_ms),
            _ => self.integer(to, n)?,
        }
        Ok(())
    }

    fn decimal(&mut self, to: Target, bytes: &[u8], scale: usize) -> Read<()> {
        let Some(text) = decimal_text(bytes, scale) else { return self.wrong_type(to) };
        match (to, text.parse()) {
            (Target::Value(To::Custom(_)), _) => {
                let text = self.reader.row.copied(&text);
                self.take_text(to, text)
            }
            (Target::Number(_) | Target::ItemPrice | Target::ItemQuantity, Ok(value)) => {
                let text = self.reader.row.copied(&text);
                self.number(to, Number { value, text })
            }
            _ => self.wrong_type(to),
        }
    }

    /// A value of which nothing can be made. Errors: an object of the schema is not an object.
    fn wrong_type(&mut self, to: Target) -> Read<()> {
        match to {
            Target::Value(to) => self.reader.take_wrong_type(to),
            Target::Number(field) => self.drop_number(field),
            Target::Item | Target::ItemText(_) | Target::ItemPrice | Target::ItemQuantity => self.reader.dropped.add(Field::Items),
            Target::Object(_) | Target::Customs => return Err(Torn),
            Target::Nowhere => {}
        }
        Ok(())
    }

    fn drop_number(&mut self, field: NumberField) {
        self.reader.row.set_number(field, Number::NONE);
        self.reader.dropped.add(field.field());
    }

    fn take(&mut self, n: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Torn)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length that the bytes left can hold.
    fn length(&mut self) -> Read<usize> {
        usize::try_from(self.long()?).ok().filter(|n| *n <= self.rest.len()).ok_or(Torn)
    }

    fn text(&mut self) -> Read<&'a str> {
        let len = self.length()?;
        simdutf8::basic::from_utf8(self.take(len)?).map_err(|_| Torn)
    }

    /// A long (or int). Errors: more than ten bytes, or more than 64 bits.
    #[inline]
    fn long(&mut self) -> Read<i64> {
        varint::take(&mut self.rest).ok_or(Torn)
    }
}

/// One level further in.
fn deeper(left: u32) -> Read<u32> {
    left.checked_sub(1).ok_or(Torn)
}

/// Spells a decimal as JSON spells numbers. Shape: `None` for more than 16 bytes or 38 digits after the point.
fn decimal_text(bytes: &[u8], scale: usize) -> Option<String> {
    if bytes.is_empty() || bytes.len() > 16 || scale > 38 {
        return None;
    }
    let mut wide = [if bytes[0] & 0x80 == 0 { 0 } else { 0xff }; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    let n = i128::from_be_bytes(wide);
    let digits = format!("{:0>width$}", n.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let (sign, point) = (if n < 0 { "-" } else { "" }, if scale > 0 { "." } else { "" });
    Some(format!("{sign}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests;
