//! Google Ads click conversions, shape A (destinations.md §4): one element of `conversions[]`.

use super::google::{self, Identifier};
use super::{DestinationConfig, Row, Skip, Written, list, write_time};
use crate::transform::batch::Released;
use crate::transform::json::Object;
use crate::transform::normalise::Form;
use crate::transform::route::Permit;

/// Forms that a record may hold.
pub const FORMS: &[Form] = &[Form::EmailGoogle, Form::PhoneE164];

/// Most user identifiers of a conversion; an address is refused here.
const IDENTIFIERS_MAX: usize = 5;

/// Writes one conversion. Errors: see [`Skip`].
pub fn write<'c>(row: &Row<'_>, config: &'c DestinationConfig, permit: Permit, out: &mut Vec<u8>) -> Result<Written<'c>, Skip> {
    let DestinationConfig::GoogleAds(config) = config else { return Err(Skip::NotMapped) };
    let action = config.actions.of(row.released(Released::EventName)).ok_or(Skip::NotMapped)?;
    if permit.limited_data_use() {
        return Err(Skip::OptedOut);
    }
    let mut window = row.window(config.max_age_ms)?;
    // A denial is forwarded without identifiers, and a conversion without any is refused.
    let open = permit.names_the_person();
    let click = google::click(row).filter(|_| open);
    let identified = open && FORMS.iter().any(|form| !row.hashes(*form).is_empty());
    if click.is_none() && (!identified || config.require_click_id) {
        return Err(Skip::BelowMinimum);
    }
    let mut o = Object::open(out);
    o.string("conversionAction", &action.name);
    let at = o.key("conversionDateTime");
    at.push(b'"');
    write_time(row.occurred_at_ms(), b' ', "+00:00\"", at);
    if let Some(money) = row.money() {
        money.write_value(o.key("conversionValue"));
        o.string("currencyCode", money.currency());
    }
    o.string_if("orderId", row.order_id());
    if let Some((name, id)) = click {
        o.string(name, id);
    }
    match row.action_source() {
        "website" => o.string("conversionEnvironment", "WEB"),
        "app" => o.string("conversionEnvironment", "APP"),
        _ => {}
    }
    if identified {
        list(google::identifiers(row, None, IDENTIFIERS_MAX), o.key("userIdentifiers"), |identifier, out| {
            let mut object = google::ads_identifier(out);
            match identifier {
                Identifier::Email(hash) => object.plain("hashedEmail", hash),
                Identifier::Phone(hash) => object.plain("hashedPhoneNumber", hash),
                Identifier::Address(_) => {}
            }
            object.close();
        });
    }
    if let Some(granted) = permit.ad_user_data() {
        let mut consent = Object::open(o.key("consent"));
        consent.string("adUserData", if granted { "GRANTED" } else { "DENIED" });
        consent.close();
    }
    o.close();
    // When the click was is not known; it was not after the event, so that a wait from the event is long enough.
    window.not_before_ms = Some(row.occurred_at_ms().saturating_add(config.click_wait_ms));
    Ok(Written { window, target: &action.target })
}
