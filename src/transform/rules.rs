//! Rules, ready to run: what the config's text was compiled into. No strings are interpreted from here on.

use crate::model::category::Category;
use crate::model::consent::Basis;
use crate::model::destination::Destination;
use crate::model::headers;
use crate::model::identifier::IdentifierType;
use crate::model::pseudonym::Epoch;
use crate::model::record::{HeaderName, TopicIndex};
use crate::model::tenant::TenantId;
use crate::transform::destinations::DestinationConfig;
use crate::transform::forms::Wanted;
use crate::transform::hash::HmacKey;
use crate::transform::minimise::Allowed;
use crate::transform::route::ConsentState;
use crate::transform::schemas::Schemas;
use crate::transform::scrub::{ScrubRules, SpecialTerms};

/// A raw topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The topic's name.
    pub topic: String,
    /// Index of the tenant it belongs to: the tenant comes from the topic, never from the payload.
    pub tenant: u16,
}

/// An output topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputTopic {
    /// The topic's name.
    pub name: String,
    /// Index of the tenant it belongs to.
    pub tenant: u16,
    /// Avro schema of the records that `run` writes to it; `None`: they are JSON, or others write them.
    pub schema: Option<&'static str>,
    /// Largest record that it takes. Units: bytes of key, value and headers.
    pub max_record_bytes: usize,
}

/// Everything that the line needs to know, for all tenants.
pub struct Rules {
    /// Raw topics; a raw record names one by index.
    pub sources: Vec<Source>,
    /// Output topics; an output record names one by [`TopicIndex`].
    pub topics: Vec<OutputTopic>,
    /// Tenants.
    pub tenants: Vec<TenantRules>,
    /// Avro schemas that are known without a registry: its single-object encoding.
    pub schemas: Schemas,
    /// How far ahead of its receipt an event may be dated. Units: ms.
    pub future_tolerance_ms: i64,
    /// Terms that speak of special categories.
    pub special_terms: SpecialTerms,
    /// Forms that the destinations of all tenants want.
    pub wanted: Wanted,
    /// Whether any tenant keeps fields out.
    pub minimises: bool,
    /// Version of the rules, as it stands in the header `rules`.
    pub version: String,
}

/// A key generation of a tenant.
pub struct KeyEpoch {
    /// Its number.
    pub epoch: Epoch,
    /// In force for rows received from then on. Units: ms since the epoch.
    pub from_ms: i64,
    /// The key.
    pub key: HmacKey,
}

/// How one category of a tenant is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryRules {
    /// Where it goes.
    pub topic: TopicIndex,
    /// How long it is kept, from first receipt. Units: ms.
    pub window_ms: i64,
    /// Why it may be processed.
    pub basis: Basis,
}

/// One destination of a tenant.
pub struct DestinationRules {
    /// Which.
    pub destination: Destination,
    /// Where its records go.
    pub topic: TopicIndex,
    /// Why its records may be written.
    pub basis: Basis,
    /// What the platform needs to know.
    pub config: DestinationConfig,
    /// Headers that are the same for many rows.
    pub headers: SharedHeaders,
}

/// Headers of a destination's records that no row decides but by its consent: destination, tenant, consent, version of the rules.
pub struct SharedHeaders([Vec<u8>; ConsentState::ALL.len()]);

impl SharedHeaders {
    /// How many they are.
    pub const COUNT: usize = 4;

    /// The headers of one destination of a tenant.
    #[must_use]
    pub fn new(destination: Destination, tenant: &TenantId, version: &str) -> Self {
        SharedHeaders(ConsentState::ALL.map(|consent| {
            let all: [(HeaderName, &str); Self::COUNT] = [
                (HeaderName::Destination, destination.as_str()),
                (HeaderName::Tenant, tenant.as_str()),
                (HeaderName::Consent, consent.as_str()),
                (HeaderName::Rules, version),
            ];
            let mut out = Vec::new();
            all.iter().for_each(|(name, value)| headers::put(name.as_str(), value.as_bytes(), &mut out));
            out
        }))
    }

    /// As [`headers`] has them, beside others.
    #[must_use]
    pub fn of(&self, consent: ConsentState) -> &[u8] {
        &self.0[consent as usize]
    }
}

/// What is written of a row without consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutConsent {
    /// Nothing.
    Nothing,
    /// The strictly necessary part, anonymous.
    Necessary,
}

/// The rules of one tenant.
pub struct TenantRules {
    /// Its id.
    pub id: TenantId,
    /// Key generations, oldest first; never empty.
    pub keys: Vec<KeyEpoch>,
    /// Which identifier is the subject: the first of these that a row has.
    pub subject_order: Vec<IdentifierType>,
    /// The tenant declared its event ids harmless: they stand clear in keys and records.
    pub clear_event_ids: bool,
    /// Amounts are written as decimal text, exactly as they came, instead of doubles.
    pub exact_amounts: bool,
    /// By [`Category`]; `None`: the category is off.
    pub categories: [Option<CategoryRules>; Category::ALL.len()],
    /// Where rejected rows go.
    pub quarantine: TopicIndex,
    /// Where the tenant is told what it must know.
    pub notices: TopicIndex,
    /// Configured destinations.
    pub destinations: Vec<DestinationRules>,
    /// A row received longer ago than this is expired. Units: ms.
    pub max_lateness_ms: i64,
    /// How long a consent counts. Units: ms.
    pub consent_validity_ms: i64,
    /// Names of custom variables that are carried.
    pub custom_allowed: Vec<String>,
    /// City-level geography is written.
    pub city: bool,
    /// The first three characters of the postal code are written.
    pub zip_prefix: bool,
    /// What is written without consent.
    pub without_consent: WithoutConsent,
    /// Google destinations get records that forward a denial.
    pub forward_denied: bool,
    /// An opt-out of sale sends limited-data-use flags instead of nothing.
    pub limited_data_use: bool,
    /// Fields that are let in; `None`: all that the schema has.
    pub fields: Option<Box<Allowed>>,
    /// By [`Category`]: rows of others become nothing at all.
    pub allowed_categories: [bool; Category::ALL.len()],
    /// What is taken out of free text.
    pub scrub: ScrubRules,
    /// Rows that speak of a special category are held back.
    pub special_categories: bool,
}

impl TenantRules {
    /// Index of the key generation in force for a row received at `received_at_ms`, so that a replay after a rotation lands on the same key.
    #[must_use]
    pub fn key_at(&self, received_at_ms: i64) -> usize {
        self.keys.partition_point(|k| k.from_ms <= received_at_ms).saturating_sub(1)
    }

    /// The rules of a category.
    #[must_use]
    pub fn category(&self, category: Category) -> Option<&CategoryRules> {
        self.categories[category as usize].as_ref()
    }
}
