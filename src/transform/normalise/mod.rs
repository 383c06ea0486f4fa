//! Normalisation: each field as each destination wants it before it is hashed or sent. Pure text to text.
//!
//! Order, once for all: the test for values that are hashes already, NFC, trim, the field's rule, drop if nothing is left. A field
//! that fails its rule is dropped, never sent as it came. Forms that two destinations share are one [`Form`], so that a value which
//! several destinations need is normalised and hashed once. ASCII text, nearly all of it, takes byte loops that allocate nothing; the
//! Unicode way beside each loop is the slow one, and the twin in the tests is slower still.

mod country;
mod country_names;
mod email;
mod external_id;
mod form;
mod name;
mod person;
mod phone;
mod phone_plan;
mod place;
mod text;

#[cfg(test)]
mod naive;

pub use country::{Country, country};
pub use form::Form;
pub use person::Day;
pub use text::DropReason;

pub(super) use text::trim;

use email::Gmail;
use text::Digest;

/// What the other fields of the row, and the clock, say about this one.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Hints {
    /// The phone's own country.
    pub phone_country: Option<Country>,
    /// The address country: for states and postal codes, and for phones that have none of their own.
    pub country: Option<Country>,
    /// The last day on which somebody can have been born. Shape: the default lets no birth date through.
    pub today: Day,
}

/// What became of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Normalised {
    /// Text, appended to `out`: to be hashed if the form is hashed.
    Text,
    /// A SHA-256 the customer made, 64 lower-case hex characters, appended to `out`: to be sent as it is.
    AlreadyHashed,
    /// Nothing is appended; the field is not sent.
    Dropped(DropReason),
}

/// Appends `input` in the given form. Shape: one value in, one or none appended; `out` keeps what it had. Errors: none, a bad value is
/// [`Normalised::Dropped`]. Source: destinations.md §1, §3 to §6.
#[must_use]
pub fn normalise(form: Form, input: &str, hints: &Hints, out: &mut Vec<u8>) -> Normalised {
    if form.is_hashed() {
        match text::digest(input, out) {
            Some(Digest::Sha256) => return Normalised::AlreadyHashed,
            Some(Digest::Md5) => return Normalised::Dropped(DropReason::Md5),
            None => {}
        }
    }
    settle(out, |out| apply(form, input, hints, out))
}

/// What [`normalise`] makes of an identifier's own form (a plain email address, a phone number in E.164), where that is a part of it and takes
/// no work. Shape: `None` where it takes some, and for digests.
pub(super) fn of_identifier(form: Form, own: &[u8]) -> Option<&[u8]> {
    match form {
        Form::EmailPlain | Form::EmailGoogle | Form::EmailGa4 => {
            let domain = &own[memchr::memchr(b'@', own)? + 1..];
            ((form == Form::EmailPlain || !email::is_gmail(domain)) && own.is_ascii()).then_some(own)
        }
        Form::PhoneE164 => own.starts_with(b"+").then_some(own),
        Form::PhoneDigits => own.strip_prefix(b"+"),
        _ => None,
    }
}

/// Appends a phone number in E.164 with its `+`. Shape: as [`normalise`], but no test for hashes. Source: destinations.md 1.8.
#[must_use]
pub fn e164(input: &str, country: Option<Country>, out: &mut Vec<u8>) -> Normalised {
    settle(out, |out| phone::e164(input, country, out))
}

/// Runs a rule and takes back what it appended if it failed.
fn settle(out: &mut Vec<u8>, rule: impl FnOnce(&mut Vec<u8>) -> Result<(), DropReason>) -> Normalised {
    let start = out.len();
    let outcome = rule(out);
    match outcome {
        Ok(()) if out.len() > start => Normalised::Text,
        Ok(()) => Normalised::Dropped(DropReason::Empty),
        Err(reason) => {
            out.truncate(start);
            Normalised::Dropped(reason)
        }
    }
}

/// The rule of each form, in the order of the specification's sections.
fn apply(form: Form, input: &str, hints: &Hints, out: &mut Vec<u8>) -> Result<(), DropReason> {
    match form {
        Form::EmailPlain => email::email(input, Gmail::Untouched, out),
        Form::EmailGoogle => email::email(input, Gmail::WithoutDotsAndSuffix, out),
        Form::EmailGa4 => email::email(input, Gmail::WithoutDots, out),
        Form::PhoneDigits => phone::digits(input, hints.phone_country.or(hints.country), out),
        Form::PhoneE164 => phone::e164(input, hints.phone_country.or(hints.country), out),
        Form::FirstNameMeta | Form::LastNameMeta => name::joined(input, out),
        Form::FirstNameGoogle | Form::LastNameGoogle => name::spaced(input, out),
        Form::FirstNameGooglePunctuated | Form::LastNameGooglePunctuated => name::lower(input, out),
        Form::FirstNameGa4 | Form::LastNameGa4 => name::letters(input, out),
        Form::Gender => person::gender(input, out),
        Form::BirthDate => person::birth_date(input, hints.today, out),
        Form::StreetGoogle => name::lower(input, out),
        Form::StreetGa4 => name::letters_and_digits(input, out),
        Form::CityMeta => place::city_meta(input, out),
        Form::CityTikTok | Form::StateTikTok => place::plain_tiktok(input, out),
        Form::CityGoogle | Form::StateGoogle | Form::PostalGoogle => place::trimmed(input, out),
        Form::CityGa4 | Form::RegionGa4 => name::letters(input, out),
        Form::StateMeta => place::state_meta(input, hints.country, out),
        Form::ZipMeta => place::zip_meta(input, hints.country, out),
        Form::ZipTikTok => place::zip_tiktok(input, out),
        Form::PostalGa4 => place::postal_ga4(input, out),
        Form::CountryMeta | Form::CountryLower => country::lower(input, out),
        Form::CountryUpper => country::upper(input, out),
        Form::ExternalIdMeta => external_id::folded(input, out),
        Form::ExternalIdTikTok => external_id::trimmed(input, out),
    }
}

#[cfg(test)]
mod tests;
