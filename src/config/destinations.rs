//! What each destination needs to know of a tenant. Access tokens never pass through here: the forwarder has them.

use super::TenantConfig;
use crate::model::destination::Destination;
use crate::transform::destinations::DestinationConfig;
use crate::transform::destinations::ga4::Config as Ga4Settings;
use crate::transform::destinations::google::{Action, Actions, Config as GoogleSettings, Refund};
use crate::transform::destinations::meta::{Config as MetaSettings, TooBroad};
use crate::transform::destinations::names::{Canonical, EventNames};
use crate::transform::destinations::tiktok::{Config as TiktokSettings, EventSource};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[tenant.meta]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetaConfig {
    /// Pixel or dataset id, digits.
    pub pixel_id: String,
    /// Names by canonical or custom event name; `""` withholds the event. Default: Meta's standard names.
    pub events: BTreeMap<String, String>,
    /// Events that neither Meta nor `events` knows go out as custom events.
    pub custom_events: bool,
    /// Oldest event that Meta takes: one older event fails a whole request.
    pub max_age: String,
    /// The same for events with `action_source` `physical_store`.
    pub physical_store_max_age: String,
    /// Taken off both for the forwarder's retries.
    pub margin: String,
    /// With an opt-out of sale: 0, and Meta finds out where the person is; or 1, the United States.
    pub limited_data_use_country: u32,
    /// Addresses that are not public (private, loopback …) are sent too; for tests of a tenant's own network.
    pub private_addresses: bool,
    /// With an opt-out of sale: 0; or 1000, California.
    pub limited_data_use_state: u32,
    /// `user_data` keys too broad to match anybody: an event with nothing else is not written.
    pub too_broad_alone: Vec<String>,
    /// Sets of keys, each too broad together: an event with exactly these, whatever the user agent, is not written.
    pub too_broad_together: Vec<Vec<String>>,
}

impl Default for MetaConfig {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        MetaConfig {
            pixel_id: String::new(),
            events: BTreeMap::new(),
            custom_events: true,
            max_age: "7d".into(),
            physical_store_max_age: "62d".into(),
            margin: "6h".into(),
            limited_data_use_country: 0,
            private_addresses: false,
            limited_data_use_state: 0,
            too_broad_alone: list(&["ct", "st", "zp", "country", "ge", "client_user_agent"]),
            too_broad_together: vec![list(&["db", "client_user_agent"]), list(&["fn", "ge"]), list(&["ln", "ge"])],
        }
    }
}

/// What a refund becomes in Google Ads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundMode {
    /// Nothing.
    #[default]
    Nothing,
    /// The conversion is taken back whole.
    Retraction,
    /// The refund event's value is what remains of the conversion's.
    Restatement,
}

/// Punctuation in the names that Google gets: its sources disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamePunctuation {
    /// Removed, as the API's reference says.
    #[default]
    Remove,
    /// Kept, as Google's own libraries do.
    Keep,
}

/// `[tenant.google_ads]`, shared by the three Google destinations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleAdsConfig {
    /// Customer id, digits only.
    pub customer_id: String,
    /// Conversion action id by canonical or custom event name; an event without one has no record.
    pub conversion_actions: BTreeMap<String, String>,
    /// Oldest conversion that is sent (shapes A and C), since the time of the click is not known: the longest click-through window.
    pub max_age: String,
    /// How old a click must be before its conversion may be sent (shape A); counted from the event.
    pub click_wait: String,
    /// Only conversions with a click id have a record (shape A): none for user identifiers alone.
    pub require_click_id: bool,
    /// Oldest conversion that is still enhanced (shape B).
    pub enhancement_max_age: String,
    /// What a refund becomes (shape B).
    pub refund: RefundMode,
    /// Oldest refund that is sent (shape B).
    pub refund_max_age: String,
    /// How old a conversion must be before it may be taken back or restated (shape B); counted from the refund.
    pub refund_wait: String,
    /// Punctuation in names (shapes B and C).
    pub name_punctuation: NamePunctuation,
}

impl Default for GoogleAdsConfig {
    fn default() -> Self {
        GoogleAdsConfig {
            customer_id: String::new(),
            conversion_actions: BTreeMap::new(),
            max_age: "90d".into(),
            click_wait: "6h".into(),
            require_click_id: false,
            enhancement_max_age: "24h".into(),
            refund: RefundMode::Nothing,
            refund_max_age: "54d".into(),
            refund_wait: "24h".into(),
            name_punctuation: NamePunctuation::Remove,
        }
    }
}

/// Which events belong to a TikTok pixel or event set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TiktokSource {
    /// `action_source` `website`.
    #[default]
    Web,
    /// `app`.
    App,
    /// `physical_store`.
    Offline,
    /// Anything else.
    Crm,
}

/// `[tenant.tiktok]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TiktokConfig {
    /// Pixel code, app id or event set id.
    pub pixel_code: String,
    /// Which events belong to it: a request carries one source alone.
    pub event_source: TiktokSource,
    /// Names by canonical or custom event name; `""` withholds the event. A pixel with the older names needs
    /// `purchase = "CompletePayment"` and `generate_lead = "SubmitForm"`: deduplication goes by the browser's name.
    pub events: BTreeMap<String, String>,
    /// Events that neither TikTok nor `events` knows go out as custom events.
    pub custom_events: bool,
    /// Oldest event that is sent.
    pub max_age: String,
    /// Taken off for the forwarder's retries.
    pub margin: String,
}

impl Default for TiktokConfig {
    fn default() -> Self {
        TiktokConfig {
            pixel_code: String::new(),
            event_source: TiktokSource::Web,
            events: BTreeMap::new(),
            custom_events: true,
            max_age: "7d".into(),
            margin: "6h".into(),
        }
    }
}

/// `[tenant.ga4]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ga4Config {
    /// Measurement id of the web stream, `G-…`.
    pub measurement_id: String,
    /// Names by canonical or custom event name; `""` withholds the event.
    pub events: BTreeMap<String, String>,
    /// Events that `events` does not know go out, if GA4 takes their names.
    pub custom_events: bool,
    /// Oldest event that is sent.
    pub max_age: String,
    /// The end user's address goes out, for geography.
    pub ip_override: bool,
    /// Most items of an event.
    pub items_max: usize,
    /// Largest body, in bytes; items that do not fit are left out.
    pub body_bytes_max: usize,
}

impl Default for Ga4Config {
    fn default() -> Self {
        Ga4Config {
            measurement_id: String::new(),
            events: BTreeMap::new(),
            custom_events: true,
            max_age: "72h".into(),
            ip_override: false,
            items_max: 200,
            body_bytes_max: 130_000,
        }
    }
}

/// Compiles what a tenant configured for a destination. Errors: names the field.
pub fn compile(tenant: &TenantConfig, destination: Destination) -> Result<DestinationConfig, String> {
    Ok(match destination {
        Destination::Meta => DestinationConfig::Meta(compile_meta(&tenant.meta)?),
        Destination::GoogleAds => DestinationConfig::GoogleAds(compile_google(&tenant.google_ads, destination)?),
        Destination::GoogleAdsEnhancement => DestinationConfig::GoogleAdsEnhancement(compile_google(&tenant.google_ads, destination)?),
        Destination::GoogleDataManager => DestinationConfig::GoogleDataManager(compile_google(&tenant.google_ads, destination)?),
        Destination::Tiktok => DestinationConfig::Tiktok(compile_tiktok(&tenant.tiktok)?),
        Destination::Ga4 => DestinationConfig::Ga4(compile_ga4(&tenant.ga4)?),
    })
}

fn compile_meta(m: &MetaConfig) -> Result<MetaSettings, String> {
    digits("meta.pixel_id", &m.pixel_id)?;
    if !matches!((m.limited_data_use_country, m.limited_data_use_state), (0, 0) | (1, 1000)) {
        return Err("meta.limited_data_use_country and meta.limited_data_use_state: must be 0 and 0, or 1 and 1000".into());
    }
    let set = |field: &str, names: &[String]| {
        names.iter().try_fold(0, |set, name| {
            TooBroad::key(name).map(|bit| set | bit).ok_or_else(|| format!("meta.{field}: there is no such key of user_data"))
        })
    };
    let together = m.too_broad_together.iter().map(|names| set("too_broad_together", names)).collect::<Result<_, _>>()?;
    let margin_ms = length_ms("meta.margin", &m.margin)?;
    Ok(MetaSettings {
        pixel_id: m.pixel_id.clone(),
        events: EventNames::new(Canonical::meta, &m.events, m.custom_events),
        max_age_ms: age_ms("meta.max_age", &m.max_age, margin_ms)?,
        physical_store_max_age_ms: age_ms("meta.physical_store_max_age", &m.physical_store_max_age, margin_ms)?,
        limited_data_use_place: (m.limited_data_use_country, m.limited_data_use_state),
        private_addresses: m.private_addresses,
        too_broad: TooBroad { alone: set("too_broad_alone", &m.too_broad_alone)?, together },
    })
}

fn compile_google(g: &GoogleAdsConfig, destination: Destination) -> Result<GoogleSettings, String> {
    digits("google_ads.customer_id", &g.customer_id)?;
    if g.conversion_actions.is_empty() {
        return Err("google_ads.conversion_actions: must name an action for at least one event".into());
    }
    for id in g.conversion_actions.values() {
        digits("google_ads.conversion_actions", id)?;
    }
    let customer = &g.customer_id;
    let action = |id: &String| Action {
        name: format!("customers/{customer}/conversionActions/{id}"),
        // A request of Data Manager names the action, one of Google Ads only the customer.
        target: if destination == Destination::GoogleDataManager { format!("{customer}/{id}") } else { customer.clone() },
    };
    let max_age = if destination == Destination::GoogleAdsEnhancement {
        age_ms("google_ads.enhancement_max_age", &g.enhancement_max_age, 0)?
    } else {
        age_ms("google_ads.max_age", &g.max_age, 0)?
    };
    Ok(GoogleSettings {
        actions: Actions::new(g.conversion_actions.iter().map(|(event, id)| (event.clone(), action(id)))),
        max_age_ms: max_age,
        click_wait_ms: length_ms("google_ads.click_wait", &g.click_wait)?,
        require_click_id: g.require_click_id,
        punctuated_names: g.name_punctuation == NamePunctuation::Keep,
        refund: match g.refund {
            RefundMode::Nothing => Refund::Nothing,
            RefundMode::Retraction => Refund::Retraction,
            RefundMode::Restatement => Refund::Restatement,
        },
        refund_max_age_ms: age_ms("google_ads.refund_max_age", &g.refund_max_age, 0)?,
        refund_wait_ms: length_ms("google_ads.refund_wait", &g.refund_wait)?,
    })
}

fn compile_tiktok(t: &TiktokConfig) -> Result<TiktokSettings, String> {
    word("tiktok.pixel_code", &t.pixel_code)?;
    let source = match t.event_source {
        TiktokSource::Web => EventSource::Web,
        TiktokSource::App => EventSource::App,
        TiktokSource::Offline => EventSource::Offline,
        TiktokSource::Crm => EventSource::Crm,
    };
    Ok(TiktokSettings {
        target: format!("{}/{}", source.as_str(), t.pixel_code),
        source,
        events: EventNames::new(Canonical::tiktok, &t.events, t.custom_events),
        max_age_ms: age_ms("tiktok.max_age", &t.max_age, length_ms("tiktok.margin", &t.margin)?)?,
    })
}

fn compile_ga4(g: &Ga4Config) -> Result<Ga4Settings, String> {
    if !g.measurement_id.starts_with("G-") {
        return Err("ga4.measurement_id: must be a web stream's, G-…".into());
    }
    word("ga4.measurement_id", &g.measurement_id)?;
    if g.events.values().any(|name| !name.is_empty() && !Ga4Settings::is_event_name(name)) {
        return Err("ga4.events: holds a name that GA4 does not take".into());
    }
    if !(1_000..=130_000).contains(&g.body_bytes_max) || !(1..=200).contains(&g.items_max) {
        return Err("ga4.body_bytes_max: must be between 1000 and 130000; ga4.items_max: between 1 and 200".into());
    }
    Ok(Ga4Settings {
        measurement_id: g.measurement_id.clone(),
        events: EventNames::new(Canonical::ga4, &g.events, g.custom_events),
        max_age_ms: age_ms("ga4.max_age", &g.max_age, 0)?,
        ip_override: g.ip_override,
        body_bytes_max: g.body_bytes_max,
        items_max: g.items_max,
    })
}

fn digits(field: &str, text: &str) -> Result<(), String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{field}: must be digits, without dashes"));
    }
    Ok(())
}

fn word(field: &str, text: &str) -> Result<(), String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err(format!("{field}: must be letters, digits, '-' and '_'"));
    }
    Ok(())
}

/// A duration. Units: ms.
fn length_ms(field: &str, text: &str) -> Result<i64, String> {
    let length = super::duration::parse(text).map_err(|fault| format!("{field}: {fault}"))?;
    Ok(i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 4))
}

/// A greatest age with its margin taken off. Units: ms.
fn age_ms(field: &str, text: &str, margin_ms: i64) -> Result<i64, String> {
    match length_ms(field, text)? - margin_ms {
        left if left > 0 => Ok(left),
        _ => Err(format!("{field}: must be longer than the margin")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a tenant must say itself.
    const OWN: [&str; 5] = ["pixel_id", "customer_id", "conversion_actions", "pixel_code", "measurement_id"];

    fn tenant(text: &str) -> TenantConfig {
        let text = format!("[[tenant]]\nid = \"a\"\nprofile = \"affiliate\"\n{text}");
        crate::config::load::parse(&text, std::iter::empty()).expect("TOML").tenant.remove(0)
    }

    #[test]
    fn the_reference_shows_every_field_with_its_default() {
        let reference = include_str!("../../config.toml");
        let destinations = &reference[reference.find("[tenant.meta]").expect("a section")..];
        let uncommented: String = destinations.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
        let shown: toml::Table = toml::from_str(&uncommented).expect("TOML");
        for (name, defaults) in [
            ("meta", toml::Table::try_from(MetaConfig::default())),
            ("google_ads", toml::Table::try_from(GoogleAdsConfig::default())),
            ("tiktok", toml::Table::try_from(TiktokConfig::default())),
            ("ga4", toml::Table::try_from(Ga4Config::default())),
        ] {
            let (mut shown, mut defaults) = (shown["tenant"][name].as_table().expect("a table").clone(), defaults.expect("TOML"));
            for own in OWN {
                assert_eq!(shown.remove(own).is_some(), defaults.remove(own).is_some(), "{name}.{own}");
            }
            assert_eq!(shown, defaults, "{name}");
        }
    }

    #[test]
    fn every_fault_names_its_field() {
        for (destination, text, field) in [
            (Destination::Meta, "", "meta.pixel_id"),
            (Destination::Meta, "meta = { pixel_id = '12-3' }", "meta.pixel_id"),
            (Destination::Meta, "meta = { pixel_id = '1', max_age = 'soon' }", "meta.max_age"),
            (Destination::Meta, "meta = { pixel_id = '1', max_age = '5h' }", "meta.max_age"),
            (Destination::Meta, "meta = { pixel_id = '1', margin = '' }", "meta.margin"),
            (Destination::Meta, "meta = { pixel_id = '1', limited_data_use_country = 1 }", "meta.limited_data_use_state"),
            (Destination::Meta, "meta = { pixel_id = '1', too_broad_alone = ['email'] }", "meta.too_broad_alone"),
            (Destination::GoogleAds, "", "google_ads.customer_id"),
            (Destination::GoogleAds, "google_ads = { customer_id = '123-456-7890' }", "google_ads.customer_id"),
            (Destination::GoogleAds, "google_ads = { customer_id = '1' }", "google_ads.conversion_actions"),
            (
                Destination::GoogleDataManager,
                "google_ads = { customer_id = '1', conversion_actions = { purchase = 'x' } }",
                "conversion_actions",
            ),
            (
                Destination::GoogleAdsEnhancement,
                "google_ads = { customer_id = '1', conversion_actions = { purchase = '2' }, refund_wait = 'x' }",
                "refund_wait",
            ),
            (Destination::Tiktok, "", "tiktok.pixel_code"),
            (Destination::Tiktok, "tiktok = { pixel_code = 'a b' }", "tiktok.pixel_code"),
            (Destination::Ga4, "", "ga4.measurement_id"),
            (Destination::Ga4, "ga4 = { measurement_id = 'UA-1' }", "ga4.measurement_id"),
            (Destination::Ga4, "ga4 = { measurement_id = 'G-1', events = { purchase = 'error' } }", "ga4.events"),
            (Destination::Ga4, "ga4 = { measurement_id = 'G-1', items_max = 0 }", "ga4.items_max"),
        ] {
            let fault = compile(&tenant(text), destination).err().unwrap_or_default();
            assert!(fault.contains(field), "{text}: {fault}");
        }
    }

    #[test]
    fn faults_of_the_three_google_destinations_are_one() {
        let mut faults = Vec::new();
        tenant("destinations = ['google_ads', 'google_ads_enhancement', 'google_data_manager']").validate(&mut faults);
        assert_eq!(faults.iter().filter(|f| f.contains("google_ads.")).count(), 1, "{faults:?}");
    }
}
