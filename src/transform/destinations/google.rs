//! What the three shapes of Google Ads share (destinations.md §4): the tenant's settings, conversion actions, click ids, identifiers.

use super::names::Canonical;
use super::{DestinationConfig, Row};
use crate::transform::enriched::ClickId;
use crate::transform::json::Object;
use crate::transform::normalise::Form;

/// What a tenant configures for one shape.
#[derive(Clone, Debug)]
pub struct Config {
    /// Conversion actions.
    pub actions: Actions,
    /// Oldest event that is sent. Units: ms.
    pub max_age_ms: i64,
    /// How old a click must be before its conversion may be sent. Units: ms.
    pub click_wait_ms: i64,
    /// Only conversions with a click id have a record.
    pub require_click_id: bool,
    /// Names keep their punctuation.
    pub punctuated_names: bool,
    /// What a refund becomes.
    pub refund: Refund,
    /// Oldest refund that is sent. Units: ms.
    pub refund_max_age_ms: i64,
    /// How old a conversion must be before it may be adjusted. Units: ms.
    pub refund_wait_ms: i64,
}

/// What a refund becomes. Source: destinations.md §2 refund, §4 B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refund {
    /// Nothing.
    Nothing,
    /// RETRACTION: the conversion is taken back whole.
    Retraction,
    /// RESTATEMENT: the refund event's value is what remains of the conversion's.
    Restatement,
}

/// A conversion action: the id that stands for an event.
#[derive(Clone, Debug)]
pub struct Action {
    /// How the API names it.
    pub name: String,
    /// What a request that carries its conversions is addressed to.
    pub target: String,
}

/// Conversion actions by event.
#[derive(Clone, Debug, Default)]
pub struct Actions {
    canonical: [Option<Action>; Canonical::ALL.len()],
    custom: Vec<(String, Action)>,
}

impl Actions {
    /// Compiles a tenant's map from canonical or custom event names to actions.
    pub fn new(map: impl IntoIterator<Item = (String, Action)>) -> Self {
        let mut actions = Actions::default();
        for (event, action) in map {
            match Canonical::read(&event) {
                Some(event) => actions.canonical[event as usize] = Some(action),
                None => actions.custom.push((event, action)),
            }
        }
        actions
    }

    /// The action of an event. Shape: `None`: none is configured, so there is no record.
    #[must_use]
    pub fn of(&self, event: &str) -> Option<&Action> {
        match Canonical::read(event) {
            Some(event) => self.canonical[event as usize].as_ref(),
            None => self.custom.iter().find(|(name, _)| name == event).map(|(_, action)| action),
        }
    }

    /// The action whose conversions a refund takes back: its own if there is one, else the purchase's.
    #[must_use]
    pub fn refunded(&self) -> Option<&Action> {
        self.canonical[Canonical::Refund as usize].as_ref().or(self.canonical[Canonical::Purchase as usize].as_ref())
    }
}

const NAMES: &[Form] =
    &[Form::EmailGoogle, Form::PhoneE164, Form::FirstNameGoogle, Form::LastNameGoogle, Form::CountryUpper, Form::PostalGoogle];
const NAMES_PUNCTUATED: &[Form] = &[
    Form::EmailGoogle,
    Form::PhoneE164,
    Form::FirstNameGooglePunctuated,
    Form::LastNameGooglePunctuated,
    Form::CountryUpper,
    Form::PostalGoogle,
];
const ADDRESS: &[Form] = &[
    Form::EmailGoogle,
    Form::PhoneE164,
    Form::FirstNameGoogle,
    Form::LastNameGoogle,
    Form::CountryUpper,
    Form::PostalGoogle,
    Form::StreetGoogle,
    Form::CityGoogle,
    Form::StateGoogle,
];
const ADDRESS_PUNCTUATED: &[Form] = &[
    Form::EmailGoogle,
    Form::PhoneE164,
    Form::FirstNameGooglePunctuated,
    Form::LastNameGooglePunctuated,
    Form::CountryUpper,
    Form::PostalGoogle,
    Form::StreetGoogle,
    Form::CityGoogle,
    Form::StateGoogle,
];

/// Forms of a record with names and postal code (shape C).
#[must_use]
pub fn name_forms(config: &DestinationConfig) -> &'static [Form] {
    if punctuated(config) { NAMES_PUNCTUATED } else { NAMES }
}

/// Forms of a record with a whole address (shape B).
#[must_use]
pub fn address_forms(config: &DestinationConfig) -> &'static [Form] {
    if punctuated(config) { ADDRESS_PUNCTUATED } else { ADDRESS }
}

fn punctuated(config: &DestinationConfig) -> bool {
    match config {
        DestinationConfig::GoogleAds(c) | DestinationConfig::GoogleAdsEnhancement(c) | DestinationConfig::GoogleDataManager(c) => {
            c.punctuated_names
        }
        _ => false,
    }
}

/// The one click id that is sent, with its name: `gclid`, else `wbraid`, else `gbraid`; two of them are an error at Google.
#[must_use]
pub fn click<'r>(row: &Row<'r>) -> Option<(&'static str, &'r str)> {
    [("gclid", ClickId::Gclid), ("wbraid", ClickId::Wbraid), ("gbraid", ClickId::Gbraid)]
        .into_iter()
        .map(|(name, id)| (name, row.click_id(id)))
        .find(|(_, id)| !id.is_empty())
}

/// A user identifier, one an object: an object with both email and phone loses one.
#[derive(Clone, Copy)]
pub enum Identifier<'r> {
    /// Hash of an email.
    Email(&'r [u8; 64]),
    /// Hash of a phone number.
    Phone(&'r [u8; 64]),
    /// A whole address.
    Address(Address<'r>),
}

/// First name, last name, country and postal code: they come together or not at all.
#[derive(Clone, Copy)]
pub struct Address<'r> {
    /// Hash of the first name.
    pub first_name: &'r [u8; 64],
    /// Hash of the last name.
    pub last_name: &'r [u8; 64],
    /// Upper-case alpha-2.
    pub country: &'r str,
    /// In clear.
    pub postal_code: &'r str,
}

/// The row's address, if it is whole.
#[must_use]
pub fn address<'r>(row: &Row<'r>, config: &Config) -> Option<Address<'r>> {
    let (first, last) = if config.punctuated_names {
        (Form::FirstNameGooglePunctuated, Form::LastNameGooglePunctuated)
    } else {
        (Form::FirstNameGoogle, Form::LastNameGoogle)
    };
    let (country, postal_code) = (row.plain(Form::CountryUpper), row.plain(Form::PostalGoogle));
    let (first_name, last_name) = (row.hashes(first).first()?, row.hashes(last).first()?);
    (!country.is_empty() && !postal_code.is_empty()).then_some(Address { first_name, last_name, country, postal_code })
}

/// The row's identifiers: emails, phones, then the address, at most `most` of them. A whole address is never crowded out.
pub fn identifiers<'r>(row: &Row<'r>, address: Option<Address<'r>>, most: usize) -> impl Iterator<Item = Identifier<'r>> + use<'r> {
    let emails = row.hashes(Form::EmailGoogle).iter().map(Identifier::Email);
    let phones = row.hashes(Form::PhoneE164).iter().map(Identifier::Phone);
    let room = most - usize::from(address.is_some());
    emails.chain(phones).take(room).chain(address.map(Identifier::Address))
}

/// Opens an identifier of the Google Ads API.
pub fn ads_identifier<'o>(out: &'o mut Vec<u8>) -> Object<'o> {
    let mut identifier = Object::open(out);
    identifier.plain("userIdentifierSource", b"FIRST_PARTY");
    identifier
}
