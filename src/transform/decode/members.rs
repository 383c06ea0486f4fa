//! The schema's names: what each member of a raw event means, in JSON and in Avro alike.

use crate::model::consent::Purpose;
use crate::model::field::Field;
use crate::transform::batch::NumberField;

/// What a member of an object means.
#[derive(Clone, Copy)]
pub(super) enum Member {
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
pub(super) type Keys = fn(&str) -> Member;

pub(super) const ROOT: Keys = |key| match key {
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

pub(super) const USER: Keys = |key| match key {
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

pub(super) const IDS: Keys = |key| match key {
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

pub(super) const CONSENT: Keys = |key| match key {
    "functional" => Member::ConsentAnswer(Purpose::Functional),
    "analytics" => Member::ConsentAnswer(Purpose::Analytics),
    "ads" => Member::ConsentAnswer(Purpose::Ads),
    "personalization" => Member::ConsentAnswer(Purpose::Personalization),
    "given_at" => Member::ConsentGivenAt,
    "version" => Member::Text(Field::ConsentVersion),
    "opt_out_of_sale" => Member::OptOut,
    _ => Member::Unknown,
};

pub(super) const FEEDBACK: Keys = |key| match key {
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

/// What a member of an item means.
#[derive(Clone, Copy)]
pub(super) enum ItemMember {
    Text(usize),
    Price,
    Quantity,
    Unknown,
}

pub(super) const ITEM: fn(&str) -> ItemMember = |key| match key {
    "id" => ItemMember::Text(0),
    "name" => ItemMember::Text(1),
    "category" => ItemMember::Text(2),
    "brand" => ItemMember::Text(3),
    "price" => ItemMember::Price,
    "quantity" => ItemMember::Quantity,
    _ => ItemMember::Unknown,
};
