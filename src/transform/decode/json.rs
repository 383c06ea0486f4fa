//! Reads one JSON event into a row: serde_json's parser, our visitors. No tree is built, and no error text is kept: it would quote the value.
//!
//! This file reads the objects of the schema; [`values`] single values, [`custom`] the custom variables, [`items`] the items of an order.

mod custom;
mod items;
mod values;

use super::RowReader;
use crate::model::consent::{Consent, Purpose};
use crate::model::field::Field;
use crate::transform::batch::NumberField;
use custom::CustomObject;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use std::fmt;
use values::{Skip, To, Value, read_number};

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
