//! Destinations: where ready-to-send records go.

use serde::{Deserialize, Serialize};

/// A platform's API, by the name that config and topics use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Destination {
    /// Meta Conversions API.
    Meta,
    /// Google Ads click conversions (shape A).
    GoogleAds,
    /// Google Ads conversion adjustments (shape B).
    GoogleAdsEnhancement,
    /// Google Data Manager events (shape C).
    GoogleDataManager,
    /// TikTok Events API 2.0.
    Tiktok,
    /// GA4 Measurement Protocol.
    Ga4,
}

impl Destination {
    /// Every destination, in the order of their numbers.
    pub const ALL: [Destination; 6] = [
        Destination::Meta,
        Destination::GoogleAds,
        Destination::GoogleAdsEnhancement,
        Destination::GoogleDataManager,
        Destination::Tiktok,
        Destination::Ga4,
    ];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name in config, topics, headers and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Destination::Meta => "meta",
            Destination::GoogleAds => "google_ads",
            Destination::GoogleAdsEnhancement => "google_ads_enhancement",
            Destination::GoogleDataManager => "google_data_manager",
            Destination::Tiktok => "tiktok",
            Destination::Ga4 => "ga4",
        }
    }
}

impl Destination {
    /// Whether the platform has a way to be told of a denial (destinations.md 1.12).
    #[must_use]
    pub fn can_forward_denial(self) -> bool {
        !matches!(self, Destination::Meta | Destination::Tiktok)
    }
}

/// A small set of destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestinationSet(u8);

impl DestinationSet {
    /// Adds one.
    pub fn insert(&mut self, d: Destination) {
        self.0 |= 1 << d as u8;
    }

    /// Whether `d` is in the set.
    #[must_use]
    pub fn contains(self, d: Destination) -> bool {
        self.0 & (1 << d as u8) != 0
    }

    /// Whether the two sets have a member in common.
    #[must_use]
    pub fn intersects(self, other: DestinationSet) -> bool {
        self.0 & other.0 != 0
    }

    /// What both sets have.
    #[must_use]
    pub fn and(self, other: DestinationSet) -> DestinationSet {
        DestinationSet(self.0 & other.0)
    }

    /// What one of the sets has.
    #[must_use]
    pub fn or(self, other: DestinationSet) -> DestinationSet {
        DestinationSet(self.0 | other.0)
    }

    /// Whether the set holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Destination> {
        Destination::ALL.into_iter().filter(move |d| self.contains(*d))
    }
}
