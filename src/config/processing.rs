//! The records of processing, worked out of the config: who is processed for what, from where, where to, how long, and on which basis.
//!
//! Source: GDPR art. 30 asks for purposes, categories of data and of people, recipients, time limits and measures. What a config cannot know
//! (the controller's address, transfers to third countries, its own legal assessment) is the controller's to add.

use super::governed::text;
use super::profile::WHILE_ACTIVE_MS;
use super::tenant::{ConsentMode, EventIdMode, OptOutMode, TenantConfig, WithoutConsentMode};
use super::{Config, compile};
use crate::model::category::Category;
use crate::model::consent::Basis;
use crate::model::destination::Destination;
use serde::Serialize;

/// The whole document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Processing {
    /// Version of this form.
    pub version: u32,
    /// When it was worked out. Shape: RFC 3339.
    pub generated_at: String,
    /// Version of the rules, as in the header `rules` of destination records.
    pub rules: String,
    /// One entry a controller.
    pub controllers: Vec<Controller>,
    /// Where decisions are kept, and how long.
    pub audit: Kept,
    /// What holds for all of it.
    pub measures: Vec<String>,
}

/// A topic and how long it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Topic.
    pub topic: String,
    /// Until its bytes are gone.
    pub window: String,
}

/// What is done for one controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Controller {
    /// Tenant id.
    pub id: String,
    /// Preset and plan.
    pub profile: String,
    /// Plan.
    pub plan: String,
    /// Raw events, clear, as the controller's teams write them.
    pub sources: Vec<Kept>,
    /// By what a person is known, in order.
    pub subject: Vec<String>,
    /// Categories of records that are kept.
    pub categories: Vec<Activity>,
    /// Who is sent what.
    pub recipients: Vec<Recipient>,
    /// Consent.
    pub consent: ConsentTerms,
    /// Health, religion and the like.
    pub special_categories: String,
    /// Fields and custom variables that are let in.
    pub minimisation: Minimised,
    /// Topics without personal data.
    pub others: Vec<Kept>,
    /// What happens at the end of the contract.
    pub termination: String,
}

/// One category of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// `events` …
    pub category: String,
    /// Where it is.
    pub topic: String,
    /// How long, counted from first receipt, until the bytes are gone.
    pub window: String,
    /// Legal basis, as in the config.
    pub basis: String,
    /// Whether nothing is written without the person's consent.
    pub needs_consent: bool,
    /// What it holds.
    pub data: Vec<String>,
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// `meta` …
    pub destination: String,
    /// Whose it is.
    pub recipient: String,
    /// Where records wait to be sent.
    pub topic: String,
    /// How long at most.
    pub window: String,
    /// Legal basis.
    pub basis: String,
    /// Whether nothing is written without the person's consent.
    pub needs_consent: bool,
    /// What goes out as SHA-256.
    pub hashed: Vec<String>,
    /// What goes out as it is.
    pub clear: Vec<String>,
}

/// How consent is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsentTerms {
    /// How long it counts; then the person must be asked again.
    pub valid: String,
    /// What is written without it.
    pub without: String,
    /// What is done with a refusal.
    pub refusal: String,
    /// What is done with an opt-out of sale.
    pub opt_out_of_sale: String,
}

/// What is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Minimised {
    /// Fields of the raw event that are written nowhere; none: all are let in.
    pub fields_kept_out: Vec<&'static str>,
    /// Categories that are let in; none: all that have a window.
    pub categories: Vec<String>,
    /// Custom variables, scrubbed; others are dropped.
    pub custom: Vec<String>,
    /// City-level geography.
    pub city: bool,
    /// First three characters of the postal code.
    pub zip_prefix: bool,
    /// Event ids stand clear.
    pub clear_event_ids: bool,
}

impl Config {
    /// The records of processing. Units: `now` in RFC 3339. Errors: windows that cannot be read or kept, a sentence each.
    pub fn processing(&self, now: String) -> Result<Processing, Vec<String>> {
        self.governed()?;
        let controllers = self.tenant.iter().map(controller).collect::<Result<_, String>>().map_err(|fault| vec![fault])?;
        Ok(Processing {
            version: 1,
            generated_at: now,
            rules: compile::version(self),
            controllers,
            audit: Kept { topic: self.topics.audit.clone(), window: "12 months".into() },
            measures: MEASURES.map(String::from).to_vec(),
        })
    }
}

const MEASURES: [&str; 7] = [
    "identifiers are replaced by HMAC-SHA-256 pseudonyms under a key of the controller's own; no record names anybody",
    "addresses are cut to /24 or /48, paths and free text scrubbed, queries dropped but for campaigns",
    "one controller's topics are closed to every other by the brokers' permissions (`lethe topics acls`)",
    "windows end when the bytes are gone from the brokers' files, keys included (`lethe retain`)",
    "erasures are read back and certified with a signature; holds, exports and every other decision stand in a hash-chained audit",
    "clear values reach no log, metric, error or quarantine record",
    "backups, mirrors of the cluster and the encryption of disks are the operator's",
];

fn controller(t: &TenantConfig) -> Result<Controller, String> {
    let raw = text(t.other_window_ms("raw")?);
    let mut categories = Vec::new();
    for category in t.categories() {
        let Some(window_ms) = t.window_ms(category)? else { continue };
        let basis = t.basis(category);
        categories.push(Activity {
            category: category.as_str().into(),
            topic: t.topic(category.as_str()),
            window: window(window_ms),
            basis: basis.as_str().into(),
            needs_consent: basis.consent_needed().is_some(),
            data: data_of(category).iter().map(ToString::to_string).collect(),
        });
    }
    let dest = text(t.other_window_ms("dest")?);
    Ok(Controller {
        id: t.id.to_string(),
        profile: word(&t.profile),
        plan: word(&t.plan),
        sources: t.sources().into_iter().map(|topic| Kept { topic, window: raw.clone() }).collect(),
        subject: t.subject.iter().map(|kind| kind.as_str().into()).collect(),
        categories,
        recipients: t.destinations.iter().map(|d| recipient(t, *d, &dest)).collect(),
        consent: consent_terms(t)?,
        special_categories: if t.special_categories.unwrap_or_else(|| t.profile.special_categories()) {
            "rows that speak of one are held back, and the controller is told"
        } else {
            "not looked for"
        }
        .into(),
        minimisation: Minimised {
            fields_kept_out: t.minimise.fields()?.map(|allowed| allowed.kept_out().collect()).unwrap_or_default(),
            categories: t.minimise.categories.iter().map(|c| c.as_str().into()).collect(),
            custom: t.custom.clone(),
            city: t.city,
            zip_prefix: t.zip_prefix,
            clear_event_ids: t.event_id == EventIdMode::Clear,
        },
        others: vec![
            Kept { topic: t.topic("quarantine"), window: text(t.other_window_ms("quarantine")?) },
            Kept { topic: t.topic("notices"), window: "90d".into() },
            Kept { topic: t.topic("aggregates"), window: "anonymous".into() },
        ],
        termination: "everything is deleted and every key destroyed within 30 days".into(),
    })
}

fn consent_terms(t: &TenantConfig) -> Result<ConsentTerms, String> {
    Ok(ConsentTerms {
        valid: text(t.consent_validity_ms()?),
        without: match t.without_consent {
            WithoutConsentMode::Nothing => "nothing",
            WithoutConsentMode::Necessary => "event name, time, country, class of device, host; nobody's",
        }
        .into(),
        refusal: match t.consent_mode {
            ConsentMode::Withhold => "nothing is sent",
            ConsentMode::ForwardDenied => "Google is told of it, without identifiers",
        }
        .into(),
        opt_out_of_sale: match t.opt_out_of_sale {
            OptOutMode::Withhold => "nothing goes to advertising destinations",
            OptOutMode::LimitedDataUse => "advertising destinations get the record with their limited-data-use flags",
        }
        .into(),
    })
}

fn window(ms: i64) -> String {
    if ms == WHILE_ACTIVE_MS { "while the contract is active, and 30 days after".into() } else { text(ms) }
}

/// A variant's name, as the config has it.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default()
}

/// What every record of a row may carry, whatever its category.
const RECORD: &[&str] = &[
    "identifiers (pseudonyms)",
    "event name and time",
    "country, region",
    "truncated IP",
    "device",
    "scrubbed page and referrer host",
    "campaign",
    "amounts, items, order (pseudonym)",
    "age band",
    "session (pseudonym)",
    "consent",
];

fn data_of(category: Category) -> Vec<&'static str> {
    let more: &[&str] = match category {
        Category::Network => return vec!["full IP address", "user agent", "subject (pseudonym)"],
        Category::Sessions => return vec!["subject (pseudonym)", "start, end, number of events", "entry and exit page", "campaign"],
        Category::Feedback => &["scrubbed text", "rating, NPS, CSAT", "channel, language, survey", "author (pseudonym)"],
        Category::Replay | Category::Media => &["opaque body, carried unread"],
        Category::Logs | Category::Events | Category::Conversions => &[],
    };
    [RECORD, more].concat()
}

fn recipient(t: &TenantConfig, d: Destination, window: &str) -> Recipient {
    let basis: Basis = t.destination_basis(d);
    let (who, hashed, clear) = sent(d);
    let list = |all: &[&str]| -> Vec<String> { all.iter().map(ToString::to_string).collect() };
    let mut clear = list(clear);
    if d == Destination::Ga4 && t.ga4.ip_override {
        clear.push("public IP address".into());
    }
    Recipient {
        destination: d.as_str().into(),
        recipient: who.into(),
        topic: t.topic(&format!("dest.{}", d.as_str())),
        window: window.to_owned(),
        basis: basis.as_str().into(),
        needs_consent: basis.consent_needed().is_some(),
        hashed: list(hashed),
        clear,
    }
}

/// Who receives what. The README's table says the same field by field.
fn sent(d: Destination) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
    match d {
        Destination::Meta => (
            "Meta, Conversions API",
            &["email", "phone", "name", "city, state, postal code, country", "gender, birth date", "external id"],
            &["public IP address", "user agent", "fbp, fbc", "page and referrer", "event", "order id, value, currency, items"],
        ),
        Destination::GoogleAds => (
            "Google, Ads API click conversions",
            &["email", "phone"],
            &["gclid, wbraid or gbraid", "time", "order id, value, currency", "consent"],
        ),
        Destination::GoogleAdsEnhancement => (
            "Google, Ads API conversion adjustments",
            &["email", "phone", "name", "street"],
            &["city, state, postal code, country", "user agent", "order id"],
        ),
        Destination::GoogleDataManager => (
            "Google, Data Manager API",
            &["email", "phone", "name"],
            &["postal code, country", "click id", "event id and time", "order id, value, currency", "consent"],
        ),
        Destination::Tiktok => (
            "TikTok, Events API",
            &["email", "phone", "name", "postal code", "external id"],
            &[
                "city, state, country",
                "public IP address",
                "user agent",
                "ttp, ttclid",
                "page and referrer",
                "event",
                "order id, value, currency, items",
            ],
        ),
        Destination::Ga4 => (
            "Google, GA4 Measurement Protocol",
            &["email", "phone", "name", "address", "external id"],
            &[
                "client id, session id",
                "city, state, postal code, country",
                "page and referrer",
                "event",
                "order id, value, currency, items",
                "consent",
            ],
        ),
    }
}

impl Processing {
    /// As a document for people, in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out =
            format!("# Records of processing\n\nWorked out of the configuration at {}, rules {}.\n", self.generated_at, self.rules);
        for c in &self.controllers {
            c.markdown(&mut out);
        }
        out.push_str(&format!("\n## Audit\n\n`{}`, kept {}.\n\n## Measures\n\n", self.audit.topic, self.audit.window));
        for measure in &self.measures {
            out.push_str(&format!("- {measure}\n"));
        }
        out
    }
}

impl Controller {
    fn markdown(&self, out: &mut String) {
        let sources: Vec<String> = self.sources.iter().map(|s| format!("`{}` ({})", s.topic, s.window)).collect();
        out.push_str(&format!(
            "\n## {}\n\nProfile {}, plan {}. Raw events, clear: {}. A person is known by {}.\n\n",
            self.id,
            self.profile,
            self.plan,
            sources.join(", "),
            self.subject.join(", ")
        ));
        out.push_str("| category | topic | window | basis | consent | data |\n|---|---|---|---|---|---|\n");
        for a in &self.categories {
            out.push_str(&row(&[&a.category, &a.topic, &a.window, &a.basis, asked(a.needs_consent), &a.data.join("; ")]));
        }
        if !self.recipients.is_empty() {
            out.push_str("\n| recipient | topic | window | basis | consent | hashed | clear |\n|---|---|---|---|---|---|---|\n");
        }
        for r in &self.recipients {
            let (hashed, clear) = (r.hashed.join("; "), r.clear.join("; "));
            out.push_str(&row(&[&r.recipient, &r.topic, &r.window, &r.basis, asked(r.needs_consent), &hashed, &clear]));
        }
        let m = &self.minimisation;
        let custom = if m.custom.is_empty() { "none".to_owned() } else { m.custom.join(", ") };
        if !m.fields_kept_out.is_empty() {
            out.push_str(&format!("\n- Written nowhere, as they are not needed: {}.", m.fields_kept_out.join(", ")));
        }
        if !m.categories.is_empty() {
            out.push_str(&format!("\n- Categories let in: {}.", m.categories.join(", ")));
        }
        out.push_str(&format!(
            "\n- Consent counts for {}; without it: {}; a refusal: {}; an opt-out of sale: {}.\n- Special categories: {}.\n\
             - Custom variables: {custom}. City: {}. Postal code's beginning: {}. Event ids clear: {}.\n- At the end of the contract {}.\n",
            self.consent.valid,
            self.consent.without,
            self.consent.refusal,
            self.consent.opt_out_of_sale,
            self.special_categories,
            yes(m.city),
            yes(m.zip_prefix),
            yes(m.clear_event_ids),
            self.termination
        ));
    }
}

fn row(cells: &[&str]) -> String {
    // A name in the config may hold what ends a cell.
    format!("| {} |\n", cells.iter().map(|c| c.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
}

fn asked(needed: bool) -> &'static str {
    if needed { "needed" } else { "not needed" }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use crate::config::load::parse;

    #[test]
    fn every_profile_says_what_where_to_and_how_long() {
        let mut text = String::new();
        for profile in ["server_side_tracking", "customer_feedback", "web_analytics", "ad_attribution", "affiliate"] {
            let id = profile.replace('_', "-");
            text += &format!("[[tenant]]\nid = '{id}'\nprofile = '{profile}'\ndestinations = ['meta']\n[tenant.meta]\npixel_id = '1'\n");
        }
        let config = parse(&text, std::iter::empty()).unwrap();
        let processing = config.processing("2026-11-22T00:00:00Z".into()).unwrap();
        let governed = config.governed().unwrap();
        let told = |topic: &str| {
            let categories = processing.controllers.iter().flat_map(|c| c.categories.iter().map(|a| &a.topic));
            categories.chain(processing.controllers.iter().flat_map(|c| c.recipients.iter().map(|r| &r.topic))).any(|t| t == topic)
        };
        for g in &governed {
            assert!(told(&g.topic), "{} is not told of", g.topic);
        }
        let page = processing.markdown();
        for g in &governed {
            assert!(page.contains(&format!("| {} |", g.topic)), "{}", g.topic);
        }
        assert!(
            page.contains("while the contract is active") && page.contains("| affiliate.network | 3d | security | not needed |"),
            "{page}"
        );
    }
}
