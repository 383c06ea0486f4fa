//! TikTok Events API 2.0 (destinations.md §5): one element of `data[]`.

use super::names::EventNames;
use super::{DestinationConfig, Row, Skip, Written, item, list, number_if, write_hashes};
use crate::transform::batch::Released;
use crate::transform::enriched::ClickId;
use crate::transform::json::Object;
use crate::transform::normalise::Form;
use crate::transform::route::Permit;

/// What a tenant configures.
#[derive(Clone, Debug)]
pub struct Config {
    /// `event_source/event_source_id`: a request carries one source alone.
    pub target: String,
    /// Which events belong to the pixel.
    pub source: EventSource,
    /// Names of events.
    pub events: EventNames,
    /// Oldest event that is sent, margin for retries taken off. Units: ms.
    pub max_age_ms: i64,
}

/// Where events of a request come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// A website's pixel.
    Web,
    /// An app.
    App,
    /// A shop's event set.
    Offline,
    /// A customer database's event set.
    Crm,
}

impl EventSource {
    /// The source of an event by its action source.
    #[must_use]
    pub fn of(action_source: &str) -> EventSource {
        match action_source {
            "website" => EventSource::Web,
            "app" => EventSource::App,
            "physical_store" => EventSource::Offline,
            _ => EventSource::Crm,
        }
    }

    /// The request's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventSource::Web => "web",
            EventSource::App => "app",
            EventSource::Offline => "offline",
            EventSource::Crm => "crm",
        }
    }
}

/// Hashed members of `user`.
const HASHED: [(&str, Form); 6] = [
    ("email", Form::EmailPlain),
    ("phone", Form::PhoneE164),
    ("external_id", Form::ExternalIdTikTok),
    ("first_name", Form::FirstNameMeta),
    ("last_name", Form::LastNameMeta),
    ("zip_code", Form::ZipTikTok),
];

/// Members of `user` in clear that have a form.
const PLAIN: [(&str, Form); 3] = [("city", Form::CityTikTok), ("state", Form::StateTikTok), ("country", Form::CountryLower)];

/// Forms that a record may hold.
pub const FORMS: &[Form] = &[
    Form::EmailPlain,
    Form::PhoneE164,
    Form::ExternalIdTikTok,
    Form::FirstNameMeta,
    Form::LastNameMeta,
    Form::ZipTikTok,
    Form::CityTikTok,
    Form::StateTikTok,
    Form::CountryLower,
];

/// Writes one event. Errors: see [`Skip`].
pub fn write<'c>(row: &Row<'_>, config: &'c DestinationConfig, permit: Permit, out: &mut Vec<u8>) -> Result<Written<'c>, Skip> {
    let DestinationConfig::Tiktok(config) = config else { return Err(Skip::NotMapped) };
    let name = config.events.name(row.released(Released::EventName)).ok_or(Skip::NotMapped)?;
    let source = EventSource::of(row.action_source());
    if source != config.source {
        return Err(Skip::NotMapped);
    }
    let window = row.window(config.max_age_ms)?;
    let mut o = Object::open(out);
    o.string("event", name);
    o.integer("event_time", row.occurred_at_ms().div_euclid(1_000));
    o.string("event_id", row.event_id());
    o.boolean("limited_data_use", permit.limited_data_use());
    if !write_user(row, o.key("user")) {
        return Err(Skip::BelowMinimum);
    }
    if !o.member_with("page", |out| write_page(row, out)) && source == EventSource::Web {
        return Err(Skip::BelowMinimum);
    }
    write_properties(row, &mut o);
    o.close();
    Ok(Written { window, target: &config.target })
}

/// Writes `page`. Shape: false if there is nothing in it.
fn write_page(row: &Row<'_>, out: &mut Vec<u8>) -> bool {
    let mut page = Object::open(out);
    let located = page.string_with("url", |out| row.push_url(&["ttclid"], out));
    if located {
        page.string_with("referrer", |out| row.push_referrer(out));
    }
    page.close();
    located
}

/// Writes `user`. Shape: false if there is nothing in it.
fn write_user(row: &Row<'_>, out: &mut Vec<u8>) -> bool {
    let mut user = Object::open(out);
    for (name, form) in HASHED {
        match row.hashes(form) {
            [] => {}
            [hash] => user.plain(name, hash),
            // Only these three may be lists; a name or postal code has one value anyway.
            hashes => write_hashes(hashes, user.key(name)),
        }
    }
    for (name, form) in PLAIN {
        user.string_if(name, row.plain(form));
    }
    let clicked = row.url_click_id(ClickId::Ttclid);
    user.string_if("ttclid", if clicked.is_empty() { row.cookie(Released::Ttclid) } else { clicked });
    user.string_if("ttp", row.cookie(Released::Ttp));
    row.write_ip("ip", false, &mut user);
    user.string_if("user_agent", row.user_agent());
    let filled = !user.is_empty();
    user.close();
    filled
}

/// Writes `properties`, left out when there is nothing to say.
fn write_properties(row: &Row<'_>, o: &mut Object<'_>) {
    let (money, order, all) = (row.money(), row.order_id(), row.items());
    let items = || all.iter().filter(|i| !item::text(i, item::ID).is_empty());
    let any = items().next().is_some();
    if money.is_none() && order.is_empty() && !any {
        return;
    }
    let mut properties = Object::open(o.key("properties"));
    if any {
        properties.string("content_type", "product");
    }
    if let Some(money) = money {
        properties.string("currency", money.currency());
        money.write_value(properties.key("value"));
    }
    properties.string_if("order_id", order);
    if any {
        list(items(), properties.key("contents"), |i, out| {
            let mut content = Object::open(out);
            content.string("content_id", item::text(i, item::ID));
            content.string_if("content_name", item::text(i, item::NAME));
            content.string_if("content_category", item::text(i, item::CATEGORY));
            content.string_if("brand", item::text(i, item::BRAND));
            number_if(&mut content, "price", i.price);
            number_if(&mut content, "quantity", i.quantity);
            content.close();
        });
    }
    properties.close();
}
