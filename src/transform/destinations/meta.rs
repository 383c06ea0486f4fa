//! Meta Conversions API (destinations.md §3): one element of `data[]`.

use super::money::Money;
use super::names::{Canonical, EventNames};
use super::{DestinationConfig, Row, Skip, Written, item, list, number_if, whole_if, write_hashes};
use crate::transform::batch::{Item, NumberField, Released};
use crate::transform::enriched::ClickId;
use crate::transform::json::{self, Key, Object};
use crate::transform::normalise::Form;
use crate::transform::route::Permit;

/// What a tenant configures.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pixel or dataset.
    pub pixel_id: String,
    /// Names of events.
    pub events: EventNames,
    /// Oldest event that is sent, margin for retries taken off. Units: ms.
    pub max_age_ms: i64,
    /// The same for events in a shop. Units: ms.
    pub physical_store_max_age_ms: i64,
    /// Addresses that are not public are sent too.
    pub private_addresses: bool,
    /// Country and state of the limited-data-use flags: 0, 0 lets Meta find out.
    pub limited_data_use_place: (u32, u32),
    /// Sets of `user_data` keys that are too broad to match anybody.
    pub too_broad: TooBroad,
}

/// Hashed members of `user_data`, in the order of the table.
static FIELDS: [(Key, Form); 11] = [
    (Key::new("em"), Form::EmailPlain),
    (Key::new("ph"), Form::PhoneDigits),
    (Key::new("fn"), Form::FirstNameMeta),
    (Key::new("ln"), Form::LastNameMeta),
    (Key::new("ge"), Form::Gender),
    (Key::new("db"), Form::BirthDate),
    (Key::new("ct"), Form::CityMeta),
    (Key::new("st"), Form::StateMeta),
    (Key::new("zp"), Form::ZipMeta),
    (Key::new("country"), Form::CountryMeta),
    (Key::new("external_id"), Form::ExternalIdMeta),
];

/// Members that go in clear, after the hashed ones.
const CLEAR: [&str; 4] = ["client_ip_address", "client_user_agent", "fbc", "fbp"];

/// Forms that a record may hold.
pub const FORMS: &[Form] = &{
    let mut forms = [Form::EmailPlain; FIELDS.len()];
    let mut at = 0;
    while at < FIELDS.len() {
        forms[at] = FIELDS[at].1;
        at += 1;
    }
    forms
};

/// A set of `user_data` keys: one bit each in the order of [`FIELDS`] and [`CLEAR`].
pub type Keys = u16;

/// Sets of keys that Meta refuses as too broad. Source: destinations.md §3 "Minimum", unverified, hence configurable.
#[derive(Clone, Debug)]
pub struct TooBroad {
    /// An event with nothing but these is refused.
    pub alone: Keys,
    /// An event with exactly these is refused, whatever the user agent.
    pub together: Vec<Keys>,
}

impl TooBroad {
    /// The bit of a `user_data` key. Shape: `None` for a key that there is not.
    #[must_use]
    pub fn key(name: &str) -> Option<Keys> {
        FIELDS.iter().map(|(key, _)| key.name()).chain(CLEAR).position(|key| key == name).map(|at| 1 << at)
    }

    fn refuses(&self, keys: Keys) -> bool {
        let agent = 1 << (FIELDS.len() + 1);
        let refused = |set: &Keys| keys == *set || (set & agent == 0 && keys & !agent == *set);
        keys & !self.alone == 0 || self.together.iter().any(refused)
    }
}

/// Writes one event. Errors: see [`Skip`].
pub fn write<'c>(row: &Row<'_>, config: &'c DestinationConfig, permit: Permit, out: &mut Vec<u8>) -> Result<Written<'c>, Skip> {
    let DestinationConfig::Meta(config) = config else { return Err(Skip::NotMapped) };
    let given = row.released(Released::EventName);
    let name = config.events.name(given).ok_or(Skip::NotMapped)?;
    let source = row.action_source();
    let window = row.window(if source == "physical_store" { config.physical_store_max_age_ms } else { config.max_age_ms })?;
    let event = Canonical::read(given);
    let money = row.money();
    let website = source == "website";
    if (website && row.user_agent().is_empty()) || (event == Some(Canonical::Purchase) && money.is_none()) {
        return Err(Skip::BelowMinimum);
    }
    let mut o = Object::open(out);
    o.string("event_name", name);
    o.integer("event_time", row.occurred_at_ms().div_euclid(1_000));
    o.string("event_id", row.event_id());
    o.string("action_source", source);
    if !o.string_with("event_source_url", |out| row.push_url(&["fbclid"], out)) && website {
        return Err(Skip::BelowMinimum);
    }
    o.string_with("referrer_url", |out| row.push_referrer(out));
    let keys = user_data(row, config.private_addresses, o.key("user_data"));
    if config.too_broad.refuses(keys) {
        return Err(Skip::BelowMinimum);
    }
    if permit.limited_data_use() {
        o.key("data_processing_options").extend_from_slice(br#"["LDU"]"#);
        o.integer("data_processing_options_country", config.limited_data_use_place.0.into());
        o.integer("data_processing_options_state", config.limited_data_use_place.1.into());
    }
    custom_data(row, event, money, &mut o);
    o.close();
    Ok(Written { window, target: &config.pixel_id })
}

/// Writes `user_data`. Shape: returns the keys that it has.
fn user_data(row: &Row<'_>, private_addresses: bool, out: &mut Vec<u8>) -> Keys {
    let mut user = Object::open(out);
    let mut keys = 0;
    for (at, (key, form)) in FIELDS.iter().enumerate() {
        let hashes = row.hashes(*form);
        if !hashes.is_empty() {
            write_hashes(hashes, user.ready(key));
            keys |= 1 << at;
        }
    }
    for (at, name) in CLEAR.into_iter().enumerate() {
        let written = match at {
            0 => row.write_ip(name, private_addresses, &mut user),
            1 => user.string_with(name, |out| push(row.user_agent(), out)),
            2 => user.string_with(name, |out| push_fbc(row, out)),
            _ => user.string_with(name, |out| push(browser_cookie(row.cookie(Released::Fbp)), out)),
        };
        keys |= Keys::from(written) << (FIELDS.len() + at);
    }
    user.close();
    keys
}

fn push(text: &str, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(text.as_bytes());
    true
}

/// Appends `fbc`: the cookie, unless the page's URL carries a click of its own; then, and without a cookie, it is built from the click id.
/// Source: destinations.md §3 "fbc".
fn push_fbc(row: &Row<'_>, out: &mut Vec<u8>) -> bool {
    let cookie = browser_cookie(row.cookie(Released::Fbc));
    let clicked = row.url_click_id(ClickId::Fbclid);
    if !cookie.is_empty() && (clicked.is_empty() || cookie.split('.').nth(3) == Some(clicked)) {
        return push(cookie, out);
    }
    let click = if clicked.is_empty() { row.cookie(Released::Fbclid) } else { clicked };
    if click.is_empty() || click.contains('.') {
        return false;
    }
    out.extend_from_slice(b"fb.1.");
    json::integer(row.occurred_at_ms(), out);
    out.push(b'.');
    push(click, out)
}

/// A `_fbc` or `_fbp` cookie, untouched; empty if it has not the four or five parts of one.
fn browser_cookie(cookie: &str) -> &str {
    let parts = cookie.split('.').count();
    let filled = cookie.split('.').all(|part| !part.is_empty());
    if cookie.starts_with("fb.") && (4..=5).contains(&parts) && filled { cookie } else { "" }
}

/// Writes `custom_data`, left out when there is nothing to say.
fn custom_data(row: &Row<'_>, event: Option<Canonical>, money: Option<Money<'_>>, o: &mut Object<'_>) {
    let (order, all) = (row.order_id(), row.items());
    let items = || all.iter().filter(|i| !item::text(i, item::ID).is_empty());
    let any = items().next().is_some();
    if money.is_none() && order.is_empty() && !any {
        return;
    }
    let mut custom = Object::open(o.key("custom_data"));
    if let Some(money) = money {
        money.write_value(custom.key("value"));
        custom.string("currency", money.currency());
    }
    custom.string_if("order_id", order);
    if any {
        custom.string("content_type", "product");
        list(items(), custom.key("content_ids"), |i, out| json::string(item::text(i, item::ID), out));
        list(items(), custom.key("contents"), |i, out| {
            let mut content = Object::open(out);
            content.string("id", item::text(i, item::ID));
            whole_if(&mut content, "quantity", i.quantity.value);
            number_if(&mut content, "item_price", i.price);
            content.close();
        });
    }
    if matches!(event, Some(Canonical::BeginCheckout | Canonical::Purchase)) {
        num_items(row, all, &mut custom);
    }
    custom.close();
}

/// Writes how many things are bought: an item that does not say how many is one.
fn num_items(row: &Row<'_>, items: &[Item<'_>], custom: &mut Object<'_>) {
    let mut named = items.iter().filter(|i| !item::text(i, item::ID).is_empty()).peekable();
    if named.peek().is_none() {
        return whole_if(custom, "num_items", row.number(NumberField::Quantity).value);
    }
    let sum: f64 = named.map(|i| if i.quantity.is_present() { i.quantity.value } else { 1.0 }).sum();
    whole_if(custom, "num_items", sum);
}
