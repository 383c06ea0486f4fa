//! Reads one JSON event into a row. No tree is built, and no error text is kept: it would quote the value.
//!
//! This file reads the schema: objects, values by where they go, items. [`cursor`] reads JSON.

mod cursor;

use super::members::{ITEM, ItemMember, Keys, Member, ROOT};
use super::take::To;
use super::{MAX_ITEMS, MAX_LIST, RowReader, number_from_text};
use crate::model::consent::Consent;
use crate::model::field::Field;
use crate::transform::batch::{Number, NumberField};
use cursor::{Cursor, Malformed};

pub(super) use cursor::Marks;

/// Reads `payload`; `marks` is room to work in. Errors: the event is malformed; nothing says how.
pub(super) fn read<'a>(payload: &'a [u8], marks: &mut Marks, reader: &mut RowReader<'_, '_, 'a>) -> Result<(), ()> {
    let mut payload = payload;
    while let Some(rest) = payload.strip_prefix(b"\xef\xbb\xbf") {
        payload = rest;
    }
    let text = simdutf8::basic::from_utf8(payload).map_err(drop)?;
    let mut cursor = Cursor::new(text, marks);
    read_object(&mut cursor, reader, &ROOT).and_then(|()| cursor.end()).map_err(|Malformed| ())
}

/// An object of the schema. Anything but an object makes the row malformed.
fn read_object<'a>(cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>, keys: Keys) -> Result<(), Malformed> {
    reader.depth_left -= 1;
    cursor.object(reader, |cursor, _| cursor.name(), |cursor, reader, name| read_member(cursor, reader, keys.get(name)))?;
    reader.depth_left += 1;
    Ok(())
}

fn read_member<'a>(cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>, member: Member) -> Result<(), Malformed> {
    let to = match member {
        // What most members are, in the fewest steps.
        Member::Text(field) if cursor.peek()? == b'"' => {
            let text = cursor.string(|text| reader.row.copied(text))?;
            reader.set_text(field, text);
            return Ok(());
        }
        Member::Text(field) => To::Text(field),
        Member::List(field) => To::List(field),
        Member::Kind => To::Kind,
        Member::EventTime => To::EventTime,
        Member::ConsentAnswer(purpose) => To::ConsentAnswer(purpose),
        Member::ConsentGivenAt => To::ConsentGivenAt,
        Member::OptOut => To::OptOut,
        Member::Items => To::Items,
        Member::Number(field) => return read_number_field(cursor, reader, field),
        Member::Object(field, keys) => return read_optional_object(cursor, reader, field, keys),
        Member::Custom => return read_custom(cursor, reader),
        Member::Unknown => {
            reader.dropped.add(Field::Unknown);
            return cursor.skip(reader.depth_left);
        }
    };
    read_value(cursor, reader, to)
}

/// An object of the schema, or `null`, which stands for absence.
fn read_optional_object<'a>(
    cursor: &mut Cursor<'a, '_>,
    reader: &mut RowReader<'_, '_, 'a>,
    field: Field,
    keys: Keys,
) -> Result<(), Malformed> {
    forget(reader, field);
    if cursor.peek()? == b'{' {
        reader.consent.present |= field == Field::Consent;
        return read_object(cursor, reader, keys);
    }
    read_null(cursor)
}

fn read_null(cursor: &mut Cursor<'_, '_>) -> Result<(), Malformed> {
    if cursor.literal()?.is_none() { Ok(()) } else { Err(Malformed) }
}

/// The custom variables: only names on the tenant's allow-list are read. Anything but an object or `null` makes the row malformed.
fn read_custom<'a>(cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>) -> Result<(), Malformed> {
    reader.row.clear_customs();
    if cursor.peek()? != b'{' {
        return read_null(cursor);
    }
    reader.depth_left -= 1;
    let key = |cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>| cursor.string(|text| reader.row.copied(text));
    cursor.object(reader, key, |cursor, reader, name| match reader.custom_allowed.iter().position(|allowed| allowed == name) {
        Some(at) => read_value(cursor, reader, To::Custom(at as u16)),
        None => {
            reader.dropped.add(Field::Custom);
            cursor.skip(reader.depth_left)
        }
    })?;
    reader.depth_left += 1;
    Ok(())
}

/// A value of any type: what fits is taken, what does not is counted and skipped.
fn read_value<'a>(cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>, to: To) -> Result<(), Malformed> {
    match cursor.peek()? {
        b'"' => {
            let text = cursor.string(|text| reader.row.copied(text))?;
            reader.take_text(to, text);
        }
        b'-' | b'0'..=b'9' => {
            let number = cursor.number()?;
            match (number.as_i64(), number.as_f64().filter(|_| number.is_f64())) {
                (Some(n), _) => reader.take_integer(to, n),
                (None, Some(n)) => reader.take_fraction(to, n),
                // Too large for a signed one.
                (None, None) => reader.take_wrong_type(to),
            }
        }
        b'[' => return read_list(cursor, reader, to),
        b'{' => {
            reader.take_wrong_type(to);
            return cursor.skip(reader.depth_left);
        }
        _ => match cursor.literal()? {
            Some(b) => reader.take_boolean(to, b),
            None => reader.take_null(to),
        },
    }
    Ok(())
}

fn read_list<'a>(cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>, to: To) -> Result<(), Malformed> {
    let (element, field, max) = match to {
        To::List(field) => {
            reader.row.clear_list(field);
            (To::ListElement(field), field, MAX_LIST)
        }
        To::Items => {
            reader.row.clear_items();
            (To::Items, Field::Items, MAX_ITEMS)
        }
        _ => {
            reader.take_wrong_type(to);
            return cursor.skip(reader.depth_left);
        }
    };
    reader.depth_left = reader.depth_left.checked_sub(1).ok_or(Malformed)?;
    let mut n = 0;
    cursor.array(|cursor| {
        n += 1;
        if n > max {
            reader.dropped.add(field);
            return cursor.skip(reader.depth_left);
        }
        match element {
            To::Items => read_item(cursor, reader),
            element => read_value(cursor, reader, element),
        }
    })?;
    reader.depth_left += 1;
    Ok(())
}

/// One element of `items`: of a bad one only what is bad is lost. Anything but an object is dropped and counted.
fn read_item<'a>(cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>) -> Result<(), Malformed> {
    if cursor.peek()? != b'{' {
        reader.dropped.add(Field::Items);
        return cursor.skip(reader.depth_left);
    }
    let (mut texts, mut price, mut quantity) = ([""; 4], Number::NONE, Number::NONE);
    reader.depth_left = reader.depth_left.checked_sub(1).ok_or(Malformed)?;
    cursor.object(
        reader,
        |cursor, _| cursor.name(),
        |cursor, reader, name| {
            let number = match ITEM.get(name) {
                ItemMember::Text(at) => {
                    texts[at] = read_item_text(cursor, reader)?;
                    return Ok(());
                }
                ItemMember::Price => &mut price,
                ItemMember::Quantity => &mut quantity,
                ItemMember::Unknown => {
                    reader.dropped.add(Field::Unknown);
                    return cursor.skip(reader.depth_left);
                }
            };
            *number = match read_number(cursor, reader.depth_left)? {
                Found::Number(number) if number.value >= 0.0 => number,
                Found::Null => Number::NONE,
                _ => {
                    reader.dropped.add(Field::Items);
                    Number::NONE
                }
            };
            Ok(())
        },
    )?;
    reader.depth_left += 1;
    reader.row.push_item(texts, price, quantity);
    Ok(())
}

fn read_item_text<'a>(cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>) -> Result<&'a str, Malformed> {
    match cursor.peek()? {
        b'"' => cursor.string(|text| reader.row.copied(text)),
        b'n' => read_null(cursor).map(|()| ""),
        b'-' | b'0'..=b'9' => {
            reader.dropped.add(Field::Items);
            cursor.number_as_spelled().map(|_| "")
        }
        _ => {
            reader.dropped.add(Field::Items);
            cursor.skip(reader.depth_left).map(|()| "")
        }
    }
}

/// What stands where a number is expected.
enum Found<'a> {
    Number(Number<'a>),
    Null,
    Other,
}

/// A number or numeric string. Errors: a number that is not finite makes the row malformed.
fn read_number_field<'a>(cursor: &mut Cursor<'a, '_>, reader: &mut RowReader<'_, '_, 'a>, field: NumberField) -> Result<(), Malformed> {
    match read_number(cursor, reader.depth_left)? {
        Found::Number(number) => reader.set_number(field, number),
        other => {
            reader.row.set_number(field, Number::NONE);
            if let Found::Other = other {
                reader.dropped.add(field.field());
            }
        }
    }
    Ok(())
}

fn read_number<'a>(cursor: &mut Cursor<'a, '_>, depth_left: u32) -> Result<Found<'a>, Malformed> {
    Ok(match cursor.peek()? {
        b'-' | b'0'..=b'9' => {
            let (value, text) = cursor.number_as_spelled()?;
            Found::Number(Number { value, text })
        }
        // Escapes inside a number are nobody's honest spelling: such a string is no number.
        b'"' => cursor.plain_string()?.and_then(number_from_text).map_or(Found::Other, Found::Number),
        b'n' => read_null(cursor).map(|()| Found::Null)?,
        _ => cursor.skip(depth_left).map(|()| Found::Other)?,
    })
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
