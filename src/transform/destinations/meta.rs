//! Meta Conversions API (destinations.md §3): one element of `data[]`.

use super::{DestinationConfig, Row, SendWindow, Skip, write_hashes, write_number};
use crate::model::time::DAY_MS;
use crate::transform::batch::{NumberField, Released};
use crate::transform::enriched::ClickId;
use crate::transform::json::Object;
use crate::transform::normalise::Form;
use crate::transform::route::Permit;

/// What a tenant configures.
#[derive(Clone, Debug)]
pub struct Config {
    /// Oldest event that is sent. Units: ms.
    pub max_age_ms: i64,
}

/// Forms that a record may hold, with their names.
const FIELDS: [(&str, Form); 11] = [
    ("em", Form::EmailPlain),
    ("ph", Form::PhoneDigits),
    ("fn", Form::FirstNameMeta),
    ("ln", Form::LastNameMeta),
    ("ge", Form::Gender),
    ("db", Form::BirthDate),
    ("ct", Form::CityMeta),
    ("st", Form::StateMeta),
    ("zp", Form::ZipMeta),
    ("country", Form::CountryMeta),
    ("external_id", Form::ExternalIdMeta),
];

/// The same, for the table of destinations.
pub const FORMS: &[Form] = &[
    Form::EmailPlain,
    Form::PhoneDigits,
    Form::FirstNameMeta,
    Form::LastNameMeta,
    Form::Gender,
    Form::BirthDate,
    Form::CityMeta,
    Form::StateMeta,
    Form::ZipMeta,
    Form::CountryMeta,
    Form::ExternalIdMeta,
];

/// Writes one event. Errors: see [`Skip`].
pub fn write(row: &Row<'_>, config: &DestinationConfig, _permit: Permit, out: &mut Vec<u8>) -> Result<SendWindow, Skip> {
    let DestinationConfig::Meta(config) = config else { return Err(Skip::NotMapped) };
    if row.now_ms - row.occurred_at_ms() > config.max_age_ms {
        return Err(Skip::TooOld);
    }
    let mut o = Object::open(out);
    o.string("event_name", row.released(Released::EventName));
    o.integer("event_time", row.occurred_at_ms().div_euclid(1_000));
    o.string("event_id", row.released(Released::EventId));
    o.string("action_source", "website");
    o.string_if("event_source_url", &row.url(&["fbclid"]));
    let mut user = Object::open(o.key("user_data"));
    for (name, form) in FIELDS {
        let hashes = row.hashes(form);
        if !hashes.is_empty() {
            write_hashes(hashes, user.key(name));
        }
    }
    user.string_if("client_ip_address", row.released(Released::Ip));
    user.string_if("client_user_agent", row.released(Released::UserAgent));
    let fbclid = row.click_id(ClickId::Fbclid);
    if !fbclid.is_empty() {
        user.string("fbc", &format!("fb.1.{}.{fbclid}", row.occurred_at_ms()));
    }
    let empty = user.is_empty();
    user.close();
    if empty {
        return Err(Skip::BelowMinimum);
    }
    let value = row.number(NumberField::Value);
    if value.is_present() {
        let mut custom = Object::open(o.key("custom_data"));
        write_number(value, custom.key("value"));
        custom.string_if("currency", row.released(Released::Currency));
        custom.close();
    }
    o.close();
    Ok(SendWindow { not_before_ms: None, not_after_ms: row.occurred_at_ms() + 7 * DAY_MS })
}
