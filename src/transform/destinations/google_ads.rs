//! Google Ads click conversions, shape A (destinations.md §4): one element of `conversions[]`.

use super::{DestinationConfig, Row, SendWindow, Skip, write_number};
use crate::model::time::{DAY_MS, HOUR_MS, civil};
use crate::transform::batch::{NumberField, Released};
use crate::transform::enriched::ClickId;
use crate::transform::json::Object;
use crate::transform::normalise::Form;
use crate::transform::route::Permit;

/// What a tenant configures.
#[derive(Clone, Debug)]
pub struct Config {
    /// Digits only.
    pub customer_id: String,
    /// Conversion action id by canonical event name.
    pub conversion_actions: Vec<(String, String)>,
    /// Oldest event that is sent. Units: ms.
    pub max_age_ms: i64,
}

/// Forms that a record may hold.
pub const FORMS: &[Form] = &[Form::EmailGoogle, Form::PhoneE164];

/// Writes one conversion. Errors: see [`Skip`].
pub fn write(row: &Row<'_>, config: &DestinationConfig, _permit: Permit, out: &mut Vec<u8>) -> Result<SendWindow, Skip> {
    let DestinationConfig::GoogleAds(config) = config else { return Err(Skip::NotMapped) };
    let name = row.released(Released::EventName);
    let Some((_, action)) = config.conversion_actions.iter().find(|(event, _)| event.eq_ignore_ascii_case(name)) else {
        return Err(Skip::NotMapped);
    };
    if row.now_ms - row.occurred_at_ms() > config.max_age_ms {
        return Err(Skip::TooOld);
    }
    let gclid = row.click_id(ClickId::Gclid);
    if gclid.is_empty() && !row.has(Form::EmailGoogle) && !row.has(Form::PhoneE164) {
        return Err(Skip::BelowMinimum);
    }
    let c = civil(row.occurred_at_ms());
    let mut o = Object::open(out);
    o.string("conversionAction", &format!("customers/{}/conversionActions/{action}", config.customer_id));
    let s = c.second_of_day;
    let at = format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}+00:00", c.year, c.month, c.day, s / 3600, s / 60 % 60, s % 60);
    o.string("conversionDateTime", &at);
    let value = row.number(NumberField::Value);
    if value.is_present() {
        write_number(value, o.key("conversionValue"));
        o.string_if("currencyCode", row.released(Released::Currency));
    }
    o.string_if("gclid", gclid);
    let ids = o.key("userIdentifiers");
    ids.push(b'[');
    for (name, form) in [("hashedEmail", Form::EmailGoogle), ("hashedPhoneNumber", Form::PhoneE164)] {
        for hash in row.hashes(form) {
            if ids.last() != Some(&b'[') {
                ids.push(b',');
            }
            let mut id = Object::open(ids);
            id.plain(name, hash);
            id.close();
        }
    }
    ids.push(b']');
    o.close();
    Ok(SendWindow { not_before_ms: Some(row.occurred_at_ms() + 6 * HOUR_MS), not_after_ms: row.occurred_at_ms() + 90 * DAY_MS })
}
