//! Google Data Manager events, shape C (destinations.md §4): one element of `events[]`.

use super::google::{self, Identifier};
use super::{DestinationConfig, Row, Skip, Written, list, write_time};
use crate::transform::batch::Released;
use crate::transform::enriched::ClickId;
use crate::transform::json::Object;
use crate::transform::route::Permit;

/// Most user identifiers of an event.
const IDENTIFIERS_MAX: usize = 10;

/// Writes one event. Errors: see [`Skip`].
pub fn write<'c>(row: &Row<'_>, config: &'c DestinationConfig, permit: Permit, out: &mut Vec<u8>) -> Result<Written<'c>, Skip> {
    let DestinationConfig::GoogleDataManager(config) = config else { return Err(Skip::NotMapped) };
    let action = config.actions.of(row.released(Released::EventName)).ok_or(Skip::NotMapped)?;
    let window = row.window(config.max_age_ms)?;
    let open = permit.names_the_person();
    let click = google::click(row).or_else(|| Some(("dclid", row.click_id(ClickId::Dclid)))).filter(|(_, id)| open && !id.is_empty());
    let address = google::address(row, config).filter(|_| open);
    let identified = open && google::identifiers(row, address, IDENTIFIERS_MAX).next().is_some();
    let order = row.order_id();
    // A denial may supplement what the tag reported of the same order; anything else needs somebody to attribute it to.
    if click.is_none() && !identified && (open || order.is_empty()) {
        return Err(Skip::BelowMinimum);
    }
    let mut o = Object::open(out);
    o.string("transactionId", if order.is_empty() { row.event_id() } else { order });
    let at = o.key("eventTimestamp");
    at.push(b'"');
    write_time(row.occurred_at_ms(), b'T', "Z\"", at);
    o.string("eventSource", event_source(row.action_source()));
    if let Some(money) = row.money() {
        o.string("currency", money.currency());
        money.write_value(o.key("conversionValue"));
    }
    if let Some((name, id)) = click {
        let mut ids = Object::open(o.key("adIdentifiers"));
        ids.string(name, id);
        ids.close();
    }
    write_consent(permit, &mut o);
    if identified {
        let mut user = Object::open(o.key("userData"));
        list(google::identifiers(row, address, IDENTIFIERS_MAX), user.key("userIdentifiers"), write_identifier);
        user.close();
    }
    o.close();
    Ok(Written { window, target: &action.target })
}

fn event_source(action_source: &str) -> &'static str {
    match action_source {
        "website" => "WEB",
        "app" => "APP",
        "physical_store" => "IN_STORE",
        "phone_call" => "PHONE",
        "email" | "chat" | "business_messaging" => "MESSAGE",
        _ => "OTHER",
    }
}

/// Writes `consent`, with what was answered; nothing answered, nothing said.
fn write_consent(permit: Permit, o: &mut Object<'_>) {
    let answers = [("adUserData", permit.ad_user_data()), ("adPersonalization", permit.ad_personalization())];
    if answers.iter().all(|(_, answer)| answer.is_none()) {
        return;
    }
    let mut consent = Object::open(o.key("consent"));
    for (name, answer) in answers {
        match answer {
            Some(true) => consent.string(name, "CONSENT_GRANTED"),
            Some(false) => consent.string(name, "CONSENT_DENIED"),
            None => {}
        }
    }
    consent.close();
}

fn write_identifier(identifier: Identifier<'_>, out: &mut Vec<u8>) {
    let mut o = Object::open(out);
    match identifier {
        Identifier::Email(hash) => o.plain("emailAddress", hash),
        Identifier::Phone(hash) => o.plain("phoneNumber", hash),
        Identifier::Address(address) => {
            let mut a = Object::open(o.key("address"));
            a.plain("givenName", address.first_name);
            a.plain("familyName", address.last_name);
            a.string("regionCode", address.country);
            a.string("postalCode", address.postal_code);
            a.close();
        }
    }
    o.close();
}
