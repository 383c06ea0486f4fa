//! What each destination needs to know of a tenant.

use super::TenantConfig;
use crate::model::destination::Destination;
use crate::model::time::DAY_MS;
use crate::transform::destinations::{DestinationConfig, google_ads, meta};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[tenant.meta]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetaConfig {
    /// Pixel or dataset id.
    pub pixel_id: String,
    /// Oldest event that is sent; empty: 7 days.
    pub max_age: String,
}

/// `[tenant.google_ads]`, shared by the three Google destinations.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleAdsConfig {
    /// Customer id, digits only.
    pub customer_id: String,
    /// Conversion action id by event name.
    pub conversion_actions: BTreeMap<String, String>,
    /// Oldest event that is sent; empty: 90 days.
    pub max_age: String,
}

/// Compiles what a tenant configured for a destination. Errors: names the field.
pub fn compile(tenant: &TenantConfig, destination: Destination) -> Result<DestinationConfig, String> {
    match destination {
        Destination::Meta => {
            Ok(DestinationConfig::Meta(meta::Config { max_age_ms: age_ms("meta.max_age", &tenant.meta.max_age, 7 * DAY_MS)? }))
        }
        Destination::GoogleAds => {
            let g = &tenant.google_ads;
            if g.customer_id.is_empty() || !g.customer_id.bytes().all(|b| b.is_ascii_digit()) {
                return Err("google_ads.customer_id: must be digits, without dashes".into());
            }
            Ok(DestinationConfig::GoogleAds(google_ads::Config {
                customer_id: g.customer_id.clone(),
                conversion_actions: g.conversion_actions.clone().into_iter().collect(),
                max_age_ms: age_ms("google_ads.max_age", &g.max_age, 90 * DAY_MS)?,
            }))
        }
        other => Err(format!("destinations: {} is not supported", other.as_str())),
    }
}

fn age_ms(field: &str, text: &str, default_ms: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(default_ms);
    }
    let d = super::duration::parse(text).map_err(|fault| format!("{field}: {fault}"))?;
    Ok(i64::try_from(d.as_millis()).unwrap_or(i64::MAX / 4))
}
