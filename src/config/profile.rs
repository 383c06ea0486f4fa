//! Profiles: named presets of windows and legal bases for the five kinds of contract.

use crate::model::category::Category;
use crate::model::consent::Basis;
use crate::model::time::{DAY_MS, HOUR_MS};
use serde::{Deserialize, Serialize};

/// A preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Server-side ad tracking.
    ServerSideTracking,
    /// Customer feedback.
    CustomerFeedback,
    /// Web analytics.
    WebAnalytics,
    /// Ad attribution.
    AdAttribution,
    /// Affiliate networks.
    Affiliate,
}

/// What the tenant bought; only web analytics tells plans apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Half a year.
    #[default]
    Basic,
    /// A year.
    Premium,
    /// By contract: the windows must be configured.
    Enterprise,
}

/// How long "none while active" is: it ends with the contract. Units: ms.
pub const WHILE_ACTIVE_MS: i64 = 36_500 * DAY_MS;

impl Profile {
    /// The preset window of a category. Units: ms. `None`: the category is off, or the contract must say.
    #[must_use]
    pub fn window_ms(self, category: Category, plan: Plan) -> Option<i64> {
        use Category::{Conversions, Events, Feedback, Logs, Media, Network, Replay, Sessions};
        let days = match (self, category) {
            (_, Logs) => 90,
            (Profile::ServerSideTracking, Events | Conversions) => 365,
            (Profile::CustomerFeedback, Feedback) => 365,
            (Profile::CustomerFeedback, Media) => 1,
            (Profile::WebAnalytics, Events | Conversions) => match plan {
                Plan::Basic => 180,
                Plan::Premium => 365,
                Plan::Enterprise => return None,
            },
            (Profile::WebAnalytics, Replay) => return Some(72 * HOUR_MS),
            (Profile::AdAttribution, Events) => 365,
            (Profile::AdAttribution, Conversions) => return Some(WHILE_ACTIVE_MS),
            (Profile::Affiliate, Events | Conversions) => 395,
            (Profile::Affiliate, Network) => 3,
            (Profile::CustomerFeedback, Sessions) => return None,
            (_, Sessions) => 7,
            _ => return None,
        };
        Some(days * DAY_MS)
    }

    /// The preset basis of a category.
    #[must_use]
    pub fn basis(self, category: Category) -> Basis {
        match (self, category) {
            (_, Category::Network) => Basis::Security,
            (_, Category::Logs) => Basis::LegitimateInterest,
            // What an affiliate is paid for is known by its functional ids.
            (Profile::Affiliate, Category::Conversions) => Basis::Functional,
            (Profile::CustomerFeedback, _) | (Profile::AdAttribution, Category::Conversions) => Basis::Contract,
            _ => Basis::Analytics,
        }
    }

    /// Whether rows that speak of a special category are held back.
    #[must_use]
    pub fn special_categories(self) -> bool {
        self == Profile::CustomerFeedback
    }
}
