//! Google Ads conversion adjustments, shape B (destinations.md §4): one element of `conversionAdjustments[]`.

use super::google::{self, Action, Address, Config, Identifier, Refund};
use super::names::Canonical;
use super::{DestinationConfig, Row, SendWindow, Skip, Written, list, write_time};
use crate::transform::batch::Released;
use crate::transform::json::Object;
use crate::transform::normalise::Form;
use crate::transform::route::Permit;

/// Most user identifiers of an adjustment.
const IDENTIFIERS_MAX: usize = 5;

/// Writes one adjustment: an enhancement, or what a refund becomes. Errors: see [`Skip`].
pub fn write<'c>(row: &Row<'_>, config: &'c DestinationConfig, permit: Permit, out: &mut Vec<u8>) -> Result<Written<'c>, Skip> {
    let DestinationConfig::GoogleAdsEnhancement(config) = config else { return Err(Skip::NotMapped) };
    if permit.limited_data_use() {
        return Err(Skip::OptedOut);
    }
    let name = row.released(Released::EventName);
    let refund = Canonical::read(name) == Some(Canonical::Refund);
    let action = if refund { config.actions.refunded() } else { config.actions.of(name) }.ok_or(Skip::NotMapped)?;
    // An adjustment has no consent parameter: a denial cannot be forwarded with it.
    if row.order_id().is_empty() || !permit.names_the_person() {
        return Err(Skip::BelowMinimum);
    }
    let window = if refund { write_refund(row, config, action, out)? } else { write_enhancement(row, config, action, out)? };
    Ok(Written { window, target: &action.target })
}

fn write_enhancement(row: &Row<'_>, config: &Config, action: &Action, out: &mut Vec<u8>) -> Result<SendWindow, Skip> {
    let window = row.window(config.max_age_ms)?;
    let address = google::address(row, config);
    if google::identifiers(row, address, IDENTIFIERS_MAX).next().is_none() {
        return Err(Skip::BelowMinimum);
    }
    let mut o = Object::open(out);
    o.string("adjustmentType", "ENHANCEMENT");
    o.string("conversionAction", &action.name);
    o.string("orderId", row.order_id());
    list(google::identifiers(row, address, IDENTIFIERS_MAX), o.key("userIdentifiers"), |identifier, out| {
        let mut object = google::ads_identifier(out);
        match identifier {
            Identifier::Email(hash) => object.plain("hashedEmail", hash),
            Identifier::Phone(hash) => object.plain("hashedPhoneNumber", hash),
            Identifier::Address(address) => write_address(row, &address, object.key("addressInfo")),
        }
        object.close();
    });
    o.string_if("userAgent", row.user_agent());
    o.close();
    Ok(window)
}

fn write_address(row: &Row<'_>, address: &Address<'_>, out: &mut Vec<u8>) {
    let mut o = Object::open(out);
    o.plain("hashedFirstName", address.first_name);
    o.plain("hashedLastName", address.last_name);
    if let Some(hash) = row.hashes(Form::StreetGoogle).first() {
        o.plain("hashedStreetAddress", hash);
    }
    o.string_if("city", row.plain(Form::CityGoogle));
    o.string_if("state", row.plain(Form::StateGoogle));
    o.string("countryCode", address.country);
    o.string("postalCode", address.postal_code);
    o.close();
}

/// A refund names its order alone; when that order was placed is not known, so that the wait counts from the refund.
fn write_refund(row: &Row<'_>, config: &Config, action: &Action, out: &mut Vec<u8>) -> Result<SendWindow, Skip> {
    let kind = match config.refund {
        Refund::Nothing => return Err(Skip::NotMapped),
        Refund::Retraction => "RETRACTION",
        Refund::Restatement => "RESTATEMENT",
    };
    let money = row.money();
    if config.refund == Refund::Restatement && money.is_none() {
        return Err(Skip::BelowMinimum);
    }
    let mut window = row.window(config.refund_max_age_ms)?;
    let mut o = Object::open(out);
    o.string("adjustmentType", kind);
    o.string("conversionAction", &action.name);
    o.string("orderId", row.order_id());
    let at = o.key("adjustmentDateTime");
    at.push(b'"');
    write_time(row.occurred_at_ms(), b' ', "+00:00\"", at);
    if let Some(money) = money.filter(|_| config.refund == Refund::Restatement) {
        let mut value = Object::open(o.key("restatementValue"));
        money.write_value(value.key("adjustedValue"));
        value.string("currencyCode", money.currency());
        value.close();
    }
    o.close();
    window.not_before_ms = Some(row.occurred_at_ms().saturating_add(config.refund_wait_ms));
    Ok(window)
}
