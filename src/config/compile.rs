//! Turns text into rules, once.

use super::{Config, TenantConfig};
use crate::config::tenant::{ConsentMode, EventIdMode, OptOutMode, WithoutConsentMode};
use crate::model::category::Category;
use crate::model::keyring::Keyring;
use crate::model::record::TopicIndex;
use crate::transform::avro::single_object_prefix;
use crate::transform::decode::{SchemaId, compile_avro};
use crate::transform::destinations::TABLE;
use crate::transform::forms::Wanted;
use crate::transform::hash::HmacKey;
use crate::transform::rules::{
    CategoryRules, DestinationRules, KeyEpoch, OutputTopic, Rules, SharedHeaders, Source, TenantRules, WithoutConsent,
};
use crate::transform::schemas::Schemas;
use crate::transform::scrub::{ScrubRules, SpecialTerms};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Avro schema of pseudonymised records.
pub const RECORD_SCHEMA: &str = include_str!("../../schemas/record/record.avsc");
/// Avro schema of network records.
pub const NETWORK_SCHEMA: &str = include_str!("../../schemas/network/network.avsc");
/// Avro schema of sessions.
pub const SESSION_SCHEMA: &str = include_str!("../../schemas/session/session.avsc");
/// Avro schema of raw events.
pub const RAW_EVENT_SCHEMA: &str = include_str!("../../schemas/raw_event/raw_event.avsc");

/// Largest output record where the topic does not say. Units: bytes.
pub const MAX_RECORD_BYTES: usize = 1_048_588;

/// Compiles the configuration and the keys into rules.
///
/// Errors: one sentence each; a tenant without a key in force, a window that cannot be read.
pub fn compile(config: &Config, keyring: &Keyring) -> Result<Rules, Vec<String>> {
    let mut faults = Vec::new();
    let mut rules = Rules {
        sources: Vec::new(),
        topics: Vec::new(),
        tenants: Vec::new(),
        schemas: Schemas::default(),
        future_tolerance_ms: config.run.future_tolerance.as_millis() as i64,
        wanted: Default::default(),
        minimises: false,
        special_terms: SpecialTerms::builtin(),
        version: version(config),
    };
    for tenant in &config.tenant {
        let index = rules.tenants.len() as u16;
        rules.sources.extend(tenant.sources().into_iter().map(|topic| Source { topic, tenant: index }));
        match compile_tenant(tenant, index, keyring, &rules.version, &mut rules.topics) {
            Ok(t) => {
                want(&t.destinations, &mut rules.wanted);
                rules.minimises |= t.fields.is_some();
                rules.tenants.push(t);
            }
            Err(fault) => faults.push(format!("tenant {}: {fault}", tenant.id)),
        }
    }
    rules.schemas = single_objects(&rules.topics, &mut faults);
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

/// The schemas of Avro's single-object encoding, which needs no registry.
fn single_objects(topics: &[OutputTopic], faults: &mut Vec<String>) -> Schemas {
    let mut schemas = Schemas::of_topics(topics.len());
    let prefixes = [RECORD_SCHEMA, NETWORK_SCHEMA].map(|schema| (schema, prefix(schema, faults)));
    for (i, topic) in topics.iter().enumerate() {
        if let Some((_, prefix)) = prefixes.iter().find(|(schema, _)| Some(*schema) == topic.schema) {
            schemas.set_prefix(TopicIndex(i as u16), prefix);
        }
    }
    match compile_avro(RAW_EVENT_SCHEMA) {
        Ok(program) => {
            let id = prefix(RAW_EVENT_SCHEMA, faults);
            if let Some(fingerprint) = id.get(2..).and_then(|f| f.first_chunk()) {
                schemas.learn(SchemaId::Fingerprint(u64::from_le_bytes(*fingerprint)), Some(Arc::new(program)));
            }
        }
        Err(fault) => faults.push(fault),
    }
    schemas
}

/// Adds the forms that a tenant's destinations want.
fn want(destinations: &[DestinationRules], wanted: &mut Wanted) {
    for d in destinations {
        let forms = &mut wanted[d.destination as usize];
        for form in (TABLE[d.destination as usize].forms)(&d.config) {
            if !forms.contains(form) {
                forms.push(*form);
            }
        }
    }
}

fn prefix(schema: &str, faults: &mut Vec<String>) -> Vec<u8> {
    single_object_prefix(schema).unwrap_or_else(|e| {
        faults.push(e.to_string());
        Vec::new()
    })
}

/// Version of the rules: the first 12 hex digits of the SHA-256 of the effective tenant configuration.
pub(super) fn version(config: &Config) -> String {
    let text = toml::to_string(&config.tenant.iter().map(|t| (t.id.to_string(), t)).collect::<std::collections::BTreeMap<_, _>>());
    let digest = Sha256::digest(text.unwrap_or_default().as_bytes());
    digest[..6].iter().map(|b| format!("{b:02x}")).collect()
}

/// The Avro schema of a tenant's topic, by its short name; `None`: its records are JSON.
#[must_use]
pub fn schema_of(short: &str) -> Option<&'static str> {
    match Category::ALL.into_iter().find(|c| c.as_str() == short)? {
        Category::Sessions => Some(SESSION_SCHEMA),
        Category::Network => Some(NETWORK_SCHEMA),
        _ => Some(RECORD_SCHEMA),
    }
}

fn compile_tenant(
    t: &TenantConfig,
    index: u16,
    keyring: &Keyring,
    version: &str,
    topics: &mut Vec<OutputTopic>,
) -> Result<TenantRules, String> {
    let mut topic = |short: &str| {
        // Sessions are not written by `run`.
        let schema = schema_of(short).filter(|_| short != Category::Sessions.as_str());
        topics.push(OutputTopic { name: t.topic(short), tenant: index, schema, max_record_bytes: MAX_RECORD_BYTES });
        TopicIndex((topics.len() - 1) as u16)
    };
    let mut categories: [Option<CategoryRules>; Category::ALL.len()] = Default::default();
    for category in t.categories() {
        if let Some(window_ms) = t.window_ms(category)? {
            categories[category as usize] = Some(CategoryRules { topic: topic(category.as_str()), window_ms, basis: t.basis(category) });
        }
    }
    let mut destinations = Vec::new();
    for d in &t.destinations {
        destinations.push(DestinationRules {
            destination: *d,
            topic: topic(&format!("dest.{}", d.as_str())),
            basis: t.destination_basis(*d),
            config: super::destinations::compile(t, *d)?,
            headers: SharedHeaders::new(*d, &t.id, version),
        });
    }
    let entries = keyring.tenants.get(&t.id).map_or(&[][..], Vec::as_slice);
    let keys: Vec<KeyEpoch> = entries
        .iter()
        .filter_map(|e| Some(KeyEpoch { epoch: e.epoch, from_ms: e.from_ms, key: HmacKey::new(e.key.as_ref()?.as_slice()) }))
        .collect();
    if keys.is_empty() {
        return Err(format!("the keyring holds no key for it; make one with `lethe keys new --tenant {}`", t.id));
    }
    Ok(TenantRules {
        id: t.id.clone(),
        keys,
        subject_order: t.subject.clone(),
        clear_event_ids: t.event_id == EventIdMode::Clear,
        exact_amounts: t.exact_amounts,
        categories,
        quarantine: topic("quarantine"),
        notices: topic("notices"),
        destinations,
        max_lateness_ms: t.max_lateness_ms()?,
        consent_validity_ms: t.consent_validity_ms()?,
        custom_allowed: t.custom.clone(),
        city: t.city,
        zip_prefix: t.zip_prefix,
        without_consent: match t.without_consent {
            WithoutConsentMode::Nothing => WithoutConsent::Nothing,
            WithoutConsentMode::Necessary => WithoutConsent::Necessary,
        },
        forward_denied: t.consent_mode == ConsentMode::ForwardDenied,
        limited_data_use: t.opt_out_of_sale == OptOutMode::LimitedDataUse,
        fields: t.minimise.fields()?.map(Box::new),
        allowed_categories: Category::ALL.map(|c| t.minimise.lets_in(c)),
        scrub: ScrubRules::all().without(&t.unscrubbed).map_err(|kind| format!("tenant {}: unscrubbed: there is no kind {kind}", t.id))?,
        special_categories: t.special_categories.unwrap_or_else(|| t.profile.special_categories()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_avro_topics_have_schemas() {
        assert_eq!(schema_of("events"), Some(RECORD_SCHEMA));
        assert_eq!(schema_of("network"), Some(NETWORK_SCHEMA));
        assert_eq!(schema_of("sessions"), Some(SESSION_SCHEMA));
        assert!(["dest.meta", "quarantine", "notices", "aggregates"].iter().all(|short| schema_of(short).is_none()));
    }
}
