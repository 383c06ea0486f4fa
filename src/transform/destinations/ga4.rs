//! GA4 Measurement Protocol (destinations.md §6): the whole body. The server answers 2xx to anything, so that it is validated here.

use super::names::{Canonical, EventNames};
use super::{DestinationConfig, Row, Skip, Written, item, list, number_if, write_hashes};
use crate::transform::batch::{Item, Released};
use crate::transform::json::Object;
use crate::transform::normalise::Form;
use crate::transform::route::Permit;

/// What a tenant configures.
#[derive(Clone, Debug)]
pub struct Config {
    /// Web stream.
    pub measurement_id: String,
    /// Names of events.
    pub events: EventNames,
    /// Oldest event that is sent. Units: ms.
    pub max_age_ms: i64,
    /// The end user's address goes out, for geography.
    pub ip_override: bool,
    /// Largest body. Units: bytes.
    pub body_bytes_max: usize,
    /// Most items of an event.
    pub items_max: usize,
}

/// Forms that a record may hold.
pub const FORMS: &[Form] = &[
    Form::ExternalIdMeta,
    Form::EmailGa4,
    Form::PhoneE164,
    Form::FirstNameGa4,
    Form::LastNameGa4,
    Form::StreetGa4,
    Form::CityGa4,
    Form::RegionGa4,
    Form::PostalGa4,
    Form::CountryUpper,
];

/// Longest event name. Units: characters, as everywhere here.
const NAME_CHARS_MAX: usize = 40;
/// Longest text of a parameter.
const VALUE_CHARS_MAX: usize = 100;
/// Longest `page_location`.
const LOCATION_CHARS_MAX: usize = 1_000;
/// Longest `page_referrer`.
const REFERRER_CHARS_MAX: usize = 420;

/// Names that a custom event may not have. Source: destinations.md §6 "Events".
const RESERVED: [&str; 22] = [
    "ad_activeview",
    "ad_click",
    "ad_exposure",
    "ad_impression",
    "ad_query",
    "adunit_exposure",
    "app_clear_data",
    "app_install",
    "app_update",
    "app_remove",
    "error",
    "first_open",
    "first_visit",
    "in_app_purchase",
    "notification_dismiss",
    "notification_foreground",
    "notification_open",
    "notification_receive",
    "os_update",
    "screen_view",
    "session_start",
    "user_engagement",
];

/// Beginnings that a custom event's name may not have.
const RESERVED_PREFIXES: [&str; 5] = ["_", "firebase_", "ga_", "google_", "gtag."];

impl Config {
    /// Whether GA4 takes the event name.
    #[must_use]
    pub fn is_event_name(name: &str) -> bool {
        let bytes = name.as_bytes();
        bytes.len() <= NAME_CHARS_MAX
            && bytes.first().is_some_and(u8::is_ascii_alphabetic)
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
            && !RESERVED.contains(&name)
            && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// Writes one body with one event. Errors: see [`Skip`].
pub fn write<'c>(row: &Row<'_>, config: &'c DestinationConfig, permit: Permit, out: &mut Vec<u8>) -> Result<Written<'c>, Skip> {
    let DestinationConfig::Ga4(config) = config else { return Err(Skip::NotMapped) };
    let given = row.released(Released::EventName);
    let name = config.events.name(given).filter(|name| Config::is_event_name(name)).ok_or(Skip::NotMapped)?;
    let window = row.window(config.max_age_ms)?;
    let client = client_id(row.cookie(Released::GaClientId)).ok_or(Skip::BelowMinimum)?;
    let sold = matches!(Canonical::read(given), Some(Canonical::Purchase | Canonical::Refund));
    if sold && row.order_id().is_empty() {
        return Err(Skip::BelowMinimum);
    }
    let start = out.len();
    let enriched = permit.names_the_person();
    let mut o = Object::open(out);
    o.string("client_id", client);
    let user = row.hashes(Form::ExternalIdMeta).first().filter(|_| enriched);
    if let Some(user) = user {
        o.plain("user_id", user);
    }
    o.integer("timestamp_micros", row.occurred_at_ms().saturating_mul(1_000));
    if config.ip_override && enriched {
        row.write_ip("ip_override", false, &mut o);
    }
    write_consent(permit, &mut o);
    // Data about the user needs the user's id.
    if user.is_some() {
        write_user_data(row, &mut o);
    }
    let events = o.key("events");
    events.push(b'[');
    let mut event = Object::open(events);
    event.string("name", name);
    write_params(row, config, enriched, start, event.key("params"));
    event.close();
    events.push(b']');
    o.close();
    Ok(Written { window, target: &config.measurement_id })
}

/// The tag's client id: the `_ga` cookie without its `GA1.n.`. Shape: `None` for what is none; never a user's id or a fresh random (D28).
fn client_id(cookie: &str) -> Option<&str> {
    let id = match cookie.strip_prefix("GA1.") {
        Some(rest) => rest.split_once('.')?.1,
        None => cookie,
    };
    let (random, first_seen) = id.rsplit_once('.')?;
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'/');
    let valid = (1..=100).contains(&random.len()) && random.bytes().all(word);
    (valid && (1..=20).contains(&first_seen.len()) && first_seen.bytes().all(|b| b.is_ascii_digit())).then_some(id)
}

/// The session's id: digits, or the third part of the `_ga_<stream>` cookie. Shape: empty for what is none.
fn session_id(session: &str) -> &str {
    let id = if session.starts_with("GS") { session.split('.').nth(2).unwrap_or("").trim_start_matches('s') } else { session };
    let id = id.split('$').next().unwrap_or("");
    if (1..=20).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()) { id } else { "" }
}

/// Writes `consent`, with what was answered; nothing answered, nothing said.
fn write_consent(permit: Permit, o: &mut Object<'_>) {
    let answers = [("ad_user_data", permit.ad_user_data()), ("ad_personalization", permit.ad_personalization())];
    if answers.iter().all(|(_, answer)| answer.is_none()) {
        return;
    }
    let mut consent = Object::open(o.key("consent"));
    for (name, answer) in answers {
        if let Some(granted) = answer {
            consent.string(name, if granted { "GRANTED" } else { "DENIED" });
        }
    }
    consent.close();
}

/// Writes `user_data`, left out when there is nothing in it. An address needs something hashed: a country alone is nobody's.
fn write_user_data(row: &Row<'_>, o: &mut Object<'_>) {
    let (emails, phones) = (row.hashes(Form::EmailGa4), row.hashes(Form::PhoneE164));
    let parts = [("sha256_first_name", Form::FirstNameGa4), ("sha256_last_name", Form::LastNameGa4), ("sha256_street", Form::StreetGa4)];
    let somewhere = parts.iter().any(|(_, form)| !row.hashes(*form).is_empty());
    if emails.is_empty() && phones.is_empty() && !somewhere {
        return;
    }
    let mut data = Object::open(o.key("user_data"));
    for (name, hashes) in [("sha256_email_address", emails), ("sha256_phone_number", phones)] {
        if !hashes.is_empty() {
            write_hashes(hashes, data.key(name));
        }
    }
    if somewhere {
        let list = data.key("address");
        list.push(b'[');
        let mut address = Object::open(list);
        for (name, form) in parts {
            if let Some(hash) = row.hashes(form).first() {
                address.plain(name, hash);
            }
        }
        for (name, form) in
            [("city", Form::CityGa4), ("region", Form::RegionGa4), ("postal_code", Form::PostalGa4), ("country", Form::CountryUpper)]
        {
            address.string_if(name, row.plain(form));
        }
        address.close();
        list.push(b']');
    }
    data.close();
}

/// Writes the event's parameters; `body` is where the body began.
fn write_params(row: &Row<'_>, config: &Config, enriched: bool, body: usize, out: &mut Vec<u8>) {
    let mut params = Object::open(out);
    params.string_if("transaction_id", cut(row.order_id(), VALUE_CHARS_MAX));
    if let Some(money) = row.money() {
        money.write_value(params.key("value"));
        params.string("currency", money.currency());
    }
    params.string_if("session_id", session_id(row.cookie(Released::SessionId)));
    params.integer("engagement_time_msec", 1);
    // Click ids are not fields of their own here: they travel in the page's address.
    let clicks: &[&str] = if enriched { &["gclid", "wbraid", "gbraid", "dclid"] } else { &[] };
    params.string_with("page_location", |out| cut_appended(LOCATION_CHARS_MAX, out, |out| row.push_url(clicks, out)));
    params.string_with("page_referrer", |out| cut_appended(REFERRER_CHARS_MAX, out, |out| row.push_referrer(out)));
    let named = |i: &&Item<'_>| !item::text(i, item::ID).is_empty() || !item::text(i, item::NAME).is_empty();
    let all = row.items();
    if all.iter().any(|i| named(&i)) {
        let out = params.key("items");
        let mut last = 0;
        // The closing brackets of array, parameters, event, events and body.
        let room = config.body_bytes_max.saturating_sub(8);
        let mut full = false;
        list(all.iter().filter(named).take(config.items_max), out, |i, out| {
            last = out.len();
            write_item(i, out);
            full |= out.len() - body > room;
            if full {
                // The item that is too much goes, with the comma before it.
                out.truncate(last - usize::from(out[last - 1] == b','));
            }
        });
    }
    params.close();
}

fn write_item(i: &Item<'_>, out: &mut Vec<u8>) {
    let mut o = Object::open(out);
    for (name, at) in [("item_id", item::ID), ("item_name", item::NAME), ("item_category", item::CATEGORY), ("item_brand", item::BRAND)] {
        o.string_if(name, cut(item::text(i, at), VALUE_CHARS_MAX));
    }
    number_if(&mut o, "price", i.price);
    number_if(&mut o, "quantity", i.quantity);
    o.close();
}

/// Keeps the first `chars` characters of what `push` appends.
fn cut_appended(chars: usize, out: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
    let start = out.len();
    let pushed = push(out);
    let kept = std::str::from_utf8(&out[start..]).map_or(0, |text| cut(text, chars).len());
    out.truncate(start + kept);
    pushed
}

/// The first `chars` characters.
fn cut(text: &str, chars: usize) -> &str {
    if text.len() <= chars { text } else { text.char_indices().nth(chars).map_or(text, |(at, _)| &text[..at]) }
}
