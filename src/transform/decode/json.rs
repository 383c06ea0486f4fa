//! Reads one JSON event into a row: serde_json's parser, our visitors. No tree is built, and no error text is kept: it would quote the value.

use super::{EventTime, MAX_ITEMS, MAX_LIST, RowReader, number_from_text};
use crate::model::consent::{Consent, Purpose};
use crate::model::field::Field;
use crate::transform::batch::{Number, NumberField};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Reads `payload`. Errors: the event is malformed; nothing says how, because parsers quote what they reject.
pub(super) fn read<'a>(payload: &'a [u8], reader: &mut RowReader<'_, '_, 'a>) -> Result<(), ()> {
    let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
    let text = simdutf8::basic::from_utf8(payload).map_err(drop)?;
    let mut json = serde_json::Deserializer::from_str(text);
    Object { reader, keys: ROOT }.deserialize(&mut json).map_err(drop)?;
    json.end().map_err(drop)
}

/// What a member of an object means.
#[derive(Clone, Copy)]
enum Member {
    Text(Field),
    List(Field),
    Number(NumberField),
    Kind,
    EventTime,
    Object(Field, Keys),
    ConsentAnswer(Purpose),
    ConsentGivenAt,
    OptOut,
    Items,
    Custom,
    Unknown,
}

/// Tells a member's meaning by its key.
type Keys = fn(&str) -> Member;

const ROOT: Keys = |key| match key {
    "event_id" => Member::Text(Field::EventId),
    "event_name" => Member::Text(Field::EventName),
    "event_time" => Member::EventTime,
    "tenant" => Member::Text(Field::Tenant),
    "user" => Member::Object(Field::User, USER),
    "ids" => Member::Object(Field::Ids, IDS),
    "ip" => Member::Text(Field::Ip),
    "user_agent" => Member::Text(Field::UserAgent),
    "url" => Member::Text(Field::Url),
    "referrer" => Member::Text(Field::Referrer),
    "value" => Member::Number(NumberField::Value),
    "currency" => Member::Text(Field::Currency),
    "order_id" => Member::Text(Field::OrderId),
    "items" => Member::Items,
    "payout" => Member::Number(NumberField::Payout),
    "cost" => Member::Number(NumberField::Cost),
    "quantity" => Member::Number(NumberField::Quantity),
    "kind" => Member::Kind,
    "action_source" => Member::Text(Field::ActionSource),
    "consent" => Member::Object(Field::Consent, CONSENT),
    "feedback" => Member::Object(Field::Feedback, FEEDBACK),
    "body" => Member::Text(Field::Body),
    "custom" => Member::Custom,
    _ => Member::Unknown,
};

const USER: Keys = |key| match key {
    "email" => Member::List(Field::Email),
    "phone" => Member::List(Field::Phone),
    "external_id" => Member::List(Field::ExternalId),
    "first_name" => Member::Text(Field::FirstName),
    "last_name" => Member::Text(Field::LastName),
    "city" => Member::Text(Field::City),
    "zip" => Member::Text(Field::Zip),
    "country" => Member::Text(Field::Country),
    "state" => Member::Text(Field::State),
    "phone_country" => Member::Text(Field::PhoneCountry),
    "gender" => Member::Text(Field::Gender),
    "date_of_birth" => Member::Text(Field::DateOfBirth),
    "street" => Member::Text(Field::Street),
    _ => Member::Unknown,
};

const IDS: Keys = |key| match key {
    "client_id" => Member::Text(Field::ClientId),
    "session_id" => Member::Text(Field::SessionId),
    "ga_client_id" => Member::Text(Field::GaClientId),
    "fbp" => Member::Text(Field::Fbp),
    "fbc" => Member::Text(Field::Fbc),
    "ttp" => Member::Text(Field::Ttp),
    "ttclid" => Member::Text(Field::Ttclid),
    "gclid" => Member::Text(Field::Gclid),
    "wbraid" => Member::Text(Field::Wbraid),
    "gbraid" => Member::Text(Field::Gbraid),
    "dclid" => Member::Text(Field::Dclid),
    "fbclid" => Member::Text(Field::Fbclid),
    "fingerprint" => Member::Text(Field::Fingerprint),
    _ => Member::Unknown,
};

const CONSENT: Keys = |key| match key {
    "functional" => Member::ConsentAnswer(Purpose::Functional),
    "analytics" => Member::ConsentAnswer(Purpose::Analytics),
    "ads" => Member::ConsentAnswer(Purpose::Ads),
    "personalization" => Member::ConsentAnswer(Purpose::Personalization),
    "given_at" => Member::ConsentGivenAt,
    "version" => Member::Text(Field::ConsentVersion),
    "opt_out_of_sale" => Member::OptOut,
    _ => Member::Unknown,
};

const FEEDBACK: Keys = |key| match key {
    "text" => Member::Text(Field::FeedbackText),
    "rating" => Member::Number(NumberField::Rating),
    "nps" => Member::Number(NumberField::Nps),
    "csat" => Member::Number(NumberField::Csat),
    "channel" => Member::Text(Field::FeedbackChannel),
    "language" => Member::Text(Field::FeedbackLanguage),
    "survey_id" => Member::Text(Field::FeedbackSurveyId),
    "question_id" => Member::Text(Field::FeedbackQuestionId),
    "author" => Member::Text(Field::FeedbackAuthor),
    _ => Member::Unknown,
};

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
struct OptionalObject<'x, 'r, 'b, 'a>(Object<'x, 'r, 'b, 'a>);

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
        self.0.deserialize(d)
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
            map.next_value_seed(OptionalObject(Object { reader, keys }))
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
            reader.consent.present = true;
            (Field::ConsentVersion as usize..=Field::ConsentVersion as usize, &[])
        }
        _ => (Field::FeedbackText as usize..=Field::FeedbackAuthor as usize, &[NumberField::Rating, NumberField::Nps, NumberField::Csat]),
    };
    reader.row.forget(texts, numbers);
}

/// A number or numeric string. Errors: a number that is not finite makes the row malformed.
fn read_number<'a, E: Error>(reader: &mut RowReader<'_, '_, 'a>, field: NumberField, raw: &'a RawValue) -> Result<(), E> {
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

fn number<'a, E: Error>(raw: &'a RawValue, depth_left: u32) -> Result<Option<Number<'a>>, E> {
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

/// Where a value goes.
#[derive(Clone, Copy)]
enum To {
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
struct Value<'x, 'r, 'b, 'a> {
    reader: &'x mut RowReader<'r, 'b, 'a>,
    to: To,
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

/// The custom variables: only names on the allow-list are read.
struct CustomObject<'x, 'r, 'b, 'a>(&'x mut RowReader<'r, 'b, 'a>);

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

/// One element of `items`. Anything but an object is dropped and counted.
struct ItemSeed<'x, 'r, 'b, 'a>(&'x mut RowReader<'r, 'b, 'a>);

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

#[derive(Clone, Copy)]
enum ItemMember {
    Text(usize),
    Price,
    Quantity,
    Unknown,
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
        Ok(match key {
            "id" => ItemMember::Text(0),
            "name" => ItemMember::Text(1),
            "category" => ItemMember::Text(2),
            "brand" => ItemMember::Text(3),
            "price" => ItemMember::Price,
            "quantity" => ItemMember::Quantity,
            _ => ItemMember::Unknown,
        })
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

/// A value nobody asked for: checked for well-formedness and depth, kept nowhere.
#[derive(Clone, Copy)]
struct Skip {
    depth_left: u32,
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
