//! `[[tenant]]`: one controller, its sources, windows, purposes and destinations.

use super::destinations::{Ga4Config, GoogleAdsConfig, MetaConfig, TiktokConfig};
use super::profile::{Plan, Profile};
use super::{duration, is_topic_name};
use crate::model::category::Category;
use crate::model::consent::Basis;
use crate::model::destination::Destination;
use crate::model::identifier::IdentifierType;
use crate::model::tenant::TenantId;
use crate::model::time::{DAY_MS, HOUR_MS};
use crate::transform::minimise::Allowed;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What stands in the place of an event id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventIdMode {
    /// Its pseudonym.
    #[default]
    Pseudonym,
    /// Itself: the tenant declared its ids harmless.
    Clear,
}

/// What is written of a row without consent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutConsentMode {
    /// Nothing.
    #[default]
    Nothing,
    /// The strictly necessary part, anonymous.
    Necessary,
}

/// What Google's destinations get of somebody who refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentMode {
    /// Nothing.
    #[default]
    Withhold,
    /// A record that says so and holds no identifier.
    ForwardDenied,
}

/// What ad destinations get of somebody who opted out of sale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptOutMode {
    /// Nothing.
    #[default]
    Withhold,
    /// A record with the destination's limited-data-use flags.
    LimitedDataUse,
}

/// One tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// Its id.
    pub id: TenantId,
    /// Preset of windows and bases.
    pub profile: Profile,
    /// What it bought.
    #[serde(default)]
    pub plan: Plan,
    /// Raw topics; default `T.raw.web`.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Which identifier is the subject: the first of these that a row has.
    #[serde(default = "default_subject")]
    pub subject: Vec<IdentifierType>,
    /// What stands in the place of an event id.
    #[serde(default)]
    pub event_id: EventIdMode,
    /// Raw records are deleted as soon as they are processed.
    #[serde(default)]
    pub trim_raw: bool,
    /// Destinations that get records.
    #[serde(default)]
    pub destinations: Vec<Destination>,
    /// A row received longer ago than this is expired; default: the raw window.
    #[serde(default)]
    pub max_lateness: String,
    /// How long a consent counts.
    #[serde(default = "default_validity")]
    pub consent_validity: String,
    /// What is written of a row without consent.
    #[serde(default)]
    pub without_consent: WithoutConsentMode,
    /// What Google's destinations get of somebody who refused.
    #[serde(default)]
    pub consent_mode: ConsentMode,
    /// What ad destinations get of somebody who opted out of sale.
    #[serde(default)]
    pub opt_out_of_sale: OptOutMode,
    /// Amounts are written as decimal text, exactly as they came, instead of doubles.
    #[serde(default)]
    pub exact_amounts: bool,
    /// Names of custom variables that are carried, scrubbed.
    #[serde(default)]
    pub custom: Vec<String>,
    /// Kinds of personal data that stay in free text: `handle`, `name` …; the row's own values always go.
    #[serde(default)]
    pub unscrubbed: Vec<String>,
    /// City-level geography is written.
    #[serde(default)]
    pub city: bool,
    /// The first three characters of the postal code are written.
    #[serde(default)]
    pub zip_prefix: bool,
    /// Clear network identifiers are kept in `T.network`, for the network window; default: where the profile has a network window.
    #[serde(default)]
    pub network: Option<bool>,
    /// Its daily counts go, with those of at least four others, into `lethe.benchmarks`.
    #[serde(default)]
    pub benchmarks: bool,
    /// Rows that speak of a special category are held back; default by profile.
    #[serde(default)]
    pub special_categories: Option<bool>,
    /// Windows by category, and `raw`, `dest`, `quarantine`; `"off"` switches a category off.
    #[serde(default)]
    pub windows: BTreeMap<String, String>,
    /// Bases by category or destination: `analytics`, `ads`, `functional`, `personalization`, `contract`, `legitimate_interest`, `security`.
    #[serde(default)]
    pub purposes: BTreeMap<String, Basis>,
    /// Fields and categories that are let in.
    #[serde(default)]
    pub minimise: MinimiseConfig,
    /// Names of output topics, such as `"dest.meta" = "acme.meta"`.
    #[serde(default)]
    pub topics: BTreeMap<String, String>,
    /// Meta.
    #[serde(default)]
    pub meta: MetaConfig,
    /// Google Ads, for its three destinations.
    #[serde(default)]
    pub google_ads: GoogleAdsConfig,
    /// TikTok.
    #[serde(default)]
    pub tiktok: TiktokConfig,
    /// GA4.
    #[serde(default)]
    pub ga4: Ga4Config,
}

/// `[tenant.minimise]`: what is needed; all the rest is not written, to whatever topic.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinimiseConfig {
    /// Fields of the raw event, such as `user.email`, or whole objects, such as `ids`; empty: all.
    pub fields: Vec<String>,
    /// Categories; empty: all that have a window.
    pub categories: Vec<Category>,
}

impl MinimiseConfig {
    /// The fields that are let in; `None`: all. Errors: names what the schema does not have.
    pub fn fields(&self) -> Result<Option<Allowed>, String> {
        if self.fields.is_empty() {
            return Ok(None);
        }
        Allowed::of(&self.fields).map(Some).map_err(|name| format!("minimise.fields: the raw event has no field {name:?}"))
    }

    /// Whether rows of a category are let in.
    #[must_use]
    pub fn lets_in(&self, category: Category) -> bool {
        self.categories.is_empty() || self.categories.contains(&category)
    }
}

fn default_subject() -> Vec<IdentifierType> {
    vec![IdentifierType::ExternalId, IdentifierType::Email, IdentifierType::Phone, IdentifierType::ClientId]
}

fn default_validity() -> String {
    "183d".into()
}

/// The output topics that are not a category's or a destination's.
const OWN: [&str; 3] = ["quarantine", "notices", "aggregates"];

impl TenantConfig {
    /// Its raw topics.
    #[must_use]
    pub fn sources(&self) -> Vec<String> {
        if self.sources.is_empty() { vec![format!("{}.raw.web", self.id)] } else { self.sources.clone() }
    }

    /// A window. Units: ms. `None`: off. Errors: names the field.
    pub fn window_ms(&self, category: Category) -> Result<Option<i64>, String> {
        if !self.minimise.lets_in(category) {
            return Ok(None);
        }
        match self.windows.get(category.as_str()).map(String::as_str) {
            Some("off") => Ok(None),
            Some(text) => self.read_ms(&format!("windows.{}", category.as_str()), text).map(Some),
            None if category == Category::Network && self.network == Some(false) => Ok(None),
            None => match self.profile.window_ms(category, self.plan) {
                None if category == Category::Network && self.network == Some(true) => {
                    Err(format!("tenant {}: windows.network: must be set, the profile has none", self.id))
                }
                None if self.plan == Plan::Enterprise
                    && self.profile == Profile::WebAnalytics
                    && matches!(category, Category::Events | Category::Conversions) =>
                {
                    Err(format!("tenant {}: windows.{}: must be set, the plan is by contract", self.id, category.as_str()))
                }
                window => Ok(window),
            },
        }
    }

    /// The longest window of its records: a row that occurred longer ago is not written, whenever it is produced. Units: ms. Errors: `None`.
    #[must_use]
    pub fn longest_window_ms(&self) -> Option<i64> {
        let windows: Result<Vec<Option<i64>>, String> = Category::ALL.into_iter().map(|c| self.window_ms(c)).collect();
        // A destination takes conversions of up to 90 days ago, whatever the window of what waits to be sent.
        let dest = self.other_window_ms("dest").ok().filter(|_| !self.destinations.is_empty()).map(|ms| ms.max(90 * DAY_MS));
        windows.ok()?.into_iter().flatten().chain(dest).max()
    }

    /// A window that is not a category's: `raw`, `dest`, `quarantine`. Units: ms. Errors: names the field.
    pub fn other_window_ms(&self, name: &str) -> Result<i64, String> {
        match (self.windows.get(name), name) {
            (Some(text), _) => self.read_ms(&format!("windows.{name}"), text),
            (None, "raw") => Ok(24 * HOUR_MS),
            (None, "dest") => Ok(7 * DAY_MS),
            (None, _) => Ok(30 * DAY_MS),
        }
    }

    /// How late a row may be. By default as late as its raw record lives, but at most a quarter of the tenant's shortest window, which
    /// counts from receipt: a window of a day would otherwise be over when its last rows are written. Units: ms. Errors: names the field.
    pub fn max_lateness_ms(&self) -> Result<i64, String> {
        if !self.max_lateness.is_empty() {
            return self.read_ms("max_lateness", &self.max_lateness);
        }
        let raw = self.other_window_ms("raw")?;
        let categories = Category::ALL.into_iter().filter_map(|c| self.window_ms(c).ok().flatten());
        let dest = self.other_window_ms("dest").ok().filter(|_| !self.destinations.is_empty());
        let shortest = categories.chain(dest).min().unwrap_or(raw);
        // No window of less than some hours can be kept outside of tests: the hour is for tests alone.
        Ok(raw.min((shortest / 4).max(HOUR_MS)))
    }

    /// How long a consent counts. Units: ms. Errors: names the field.
    pub fn consent_validity_ms(&self) -> Result<i64, String> {
        self.read_ms("consent_validity", &self.consent_validity)
    }

    fn read_ms(&self, field: &str, text: &str) -> Result<i64, String> {
        match duration::parse(text) {
            Ok(d) if !d.is_zero() => Ok(i64::try_from(d.as_millis()).unwrap_or(i64::MAX / 4)),
            Ok(_) => Err(format!("tenant {}: {field}: must be longer than nothing", self.id)),
            Err(fault) => Err(format!("tenant {}: {field}: {fault}", self.id)),
        }
    }

    /// Categories that are on.
    #[must_use]
    pub fn categories(&self) -> Vec<Category> {
        Category::ALL.into_iter().filter(|c| matches!(self.window_ms(*c), Ok(Some(_)))).collect()
    }

    /// The basis of a category.
    #[must_use]
    pub fn basis(&self, category: Category) -> Basis {
        self.purposes.get(category.as_str()).copied().unwrap_or_else(|| self.profile.basis(category))
    }

    /// The basis of a destination.
    #[must_use]
    pub fn destination_basis(&self, destination: Destination) -> Basis {
        let own = self.purposes.get(destination.as_str()).or_else(|| self.purposes.get("destinations"));
        own.copied().unwrap_or(Basis::Ads)
    }

    /// The name of an output topic: `events`, `dest.meta`, `quarantine` …
    #[must_use]
    pub fn topic(&self, name: &str) -> String {
        self.topics.get(name).cloned().unwrap_or_else(|| format!("{}.{name}", self.id))
    }

    /// Every output topic that the tenant has: short name and name.
    #[must_use]
    pub fn output_topics(&self) -> Vec<(String, String)> {
        let categories = self.categories().into_iter().map(|c| c.as_str().to_string());
        let destinations = self.destinations.iter().map(|d| format!("dest.{}", d.as_str()));
        let all = categories.chain(destinations).chain(OWN.iter().map(ToString::to_string));
        all.map(|short| (short.clone(), self.topic(&short))).collect()
    }

    /// Every topic whose keys are the tenant's pseudonyms, switched off by now or not: of categories and of destinations.
    pub fn keyed_topics_ever(&self) -> impl Iterator<Item = String> + '_ {
        let shorts = Category::ALL.iter().map(|c| c.as_str().to_owned());
        let destinations = Destination::ALL.iter().map(|d| format!("dest.{}", d.as_str()));
        shorts.chain(destinations).map(|short| self.topic(&short))
    }

    /// Every topic that a tenant may have had under its config: sources, and outputs that are switched off by now.
    #[must_use]
    pub fn topics_ever(&self) -> BTreeSet<String> {
        self.keyed_topics_ever().chain(self.output_topics().into_iter().map(|(_, name)| name)).chain(self.sources()).collect()
    }

    /// Adds what is wrong with this tenant to `faults`, a sentence each.
    pub fn validate(&self, faults: &mut Vec<String>) {
        let id = &self.id;
        for category in Category::ALL {
            faults.extend(self.window_ms(category).err());
        }
        for name in ["raw", "dest", "quarantine"] {
            faults.extend(self.other_window_ms(name).err());
        }
        faults.extend(self.max_lateness_ms().err());
        faults.extend(self.consent_validity_ms().err());
        faults.extend(self.minimise.fields().err().map(|fault| format!("tenant {id}: {fault}")));
        for name in self.windows.keys() {
            let known = Category::ALL.iter().any(|c| c.as_str() == name) || ["raw", "dest", "quarantine"].contains(&name.as_str());
            if !known {
                faults.push(format!("tenant {id}: windows.{name}: there is no such category"));
            }
        }
        for name in self.purposes.keys() {
            let known = name == "destinations"
                || Category::ALL.iter().any(|c| c.as_str() == name)
                || Destination::ALL.iter().any(|d| d.as_str() == name);
            if !known {
                faults.push(format!("tenant {id}: purposes.{name}: there is no such category or destination"));
            }
        }
        let outputs = self.output_topics();
        for (name, topic) in &self.topics {
            if !outputs.iter().any(|(short, _)| short == name) {
                faults.push(format!("tenant {id}: topics.{name}: the tenant has no such topic"));
            }
            if !is_topic_name(topic) {
                faults.push(format!("tenant {id}: topics.{name}: is not a topic name"));
            }
        }
        for source in self.sources() {
            if !is_topic_name(&source) {
                faults.push(format!("tenant {id}: sources: holds what is not a topic name"));
            }
        }
        if self.subject.is_empty() || self.subject.iter().any(|t| !IdentifierType::SUBJECTS.contains(t)) {
            faults.push(format!("tenant {id}: subject: must list identifiers of a person or device"));
        }
        if self.custom.len() > 100 || self.custom.iter().any(|n| n.is_empty() || n.len() > 64) {
            faults.push(format!("tenant {id}: custom: at most 100 names of 1 to 64 bytes"));
        }
        self.validate_destinations(faults);
    }
}

impl TenantConfig {
    fn validate_destinations(&self, faults: &mut Vec<String>) {
        let id = &self.id;
        for (i, d) in self.destinations.iter().enumerate() {
            if self.destinations[..i].contains(d) {
                faults.push(format!("tenant {id}: destinations: {} is named twice", d.as_str()));
            }
            if let Err(fault) = super::destinations::compile(self, *d) {
                let fault = format!("tenant {id}: {fault}");
                // The three Google destinations share their settings, and so their faults.
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
    }
}
