//! `lethe keys new|rotate|destroy`: a tenant's pseudonymisation key over its life.

use super::Failure;
use crate::config::{Config, TenantConfig};
use crate::kafka::consumer::{RawConsumer, places_of};
use crate::kafka::topics::Admin;
use crate::lifecycle::signed;
use crate::model::tenant::TenantId;
use crate::model::time::SECOND_MS;
use crate::ops::say::say;
use crate::ops::{clock, keys, keys_signing};
use std::sync::Arc;

/// Makes the first key. Errors: the tenant is not configured or has a key.
pub fn new(config: &Config, tenant: &TenantId) -> Result<(), Failure> {
    configured(config, tenant)?;
    let epoch = keys::add(&config.keys.file, tenant, clock::now_ms(), true)?;
    say!("tenant {tenant}: epoch {} in {}", epoch.0, config.keys.file.display());
    signing_key(config)
}

/// Makes the key that signs certificates, unless there is one.
fn signing_key(config: &Config) -> Result<(), Failure> {
    let (path, public) = (&config.keys.signing_file, keys_signing::public_path(config));
    let key = keys_signing::random()?;
    let (private_pem, public_pem) = (signed::private_pem(&key), signed::public_pem(&key.verifying_key()));
    if keys_signing::write_if_absent(path, &public, &private_pem, &public_pem)? {
        say!("signing key in {}, its public half in {}", path.display(), public.display());
    }
    Ok(())
}

/// How long a new epoch waits until it is in force. A row has the epoch of its receipt, whenever it is processed: a worker that had not taken the new
/// key up yet would write rows under the old one that a replay writes under the new one. Units: ms.
const IN_FORCE_AFTER_MS: i64 = 60 * SECOND_MS;

/// Begins a new epoch. Errors: the tenant has no key.
pub fn rotate(config: &Config, tenant: &TenantId) -> Result<(), Failure> {
    configured(config, tenant)?;
    let from_ms = clock::now_ms() + IN_FORCE_AFTER_MS;
    let epoch = keys::add(&config.keys.file, tenant, from_ms, false)?;
    say!(
        "tenant {tenant}: epoch {} in {}, in force a minute from now; a `lethe run` takes it up by itself, and needs it by then: copy the file to all",
        epoch.0,
        config.keys.file.display()
    );
    Ok(())
}

/// Wipes all keys of a tenant. Errors: records of the tenant may still be there, or that cannot be found out; of a tenant that the config does not name
/// only its owner can know (`not_in_config`).
pub fn destroy(config: &Config, tenant: &TenantId, not_in_config: bool) -> Result<(), Failure> {
    let named = config.tenant.iter().find(|t| t.id == *tenant);
    match named {
        Some(t) => nothing_is_there(config, t)?,
        None if not_in_config => {}
        None => {
            return Err(Failure::Usage(format!(
                "the config names no tenant {tenant}, so its topics cannot be looked at; if nothing is there under its keys: --not-in-config"
            )));
        }
    }
    let wiped = keys::destroy(&config.keys.file, tenant)?;
    say!("tenant {tenant}: {wiped} keys destroyed in {}", config.keys.file.display());
    Ok(())
}

/// Errors: a topic whose keys are the tenant's pseudonyms holds records, or the brokers do not tell.
fn nothing_is_there(config: &Config, tenant: &TenantConfig) -> Result<(), Failure> {
    let topics: Vec<String> = tenant.keyed_topics_ever().collect();
    let there = Admin::connect(&config.kafka)?.partitions()?;
    let observer = RawConsumer::observe(&config.kafka, "lethe-keys", &topics, Arc::default())?;
    for place in places_of(topics.iter().map(String::as_str).enumerate(), &there) {
        let (low, high) = observer.watermarks(place)?;
        if high > low {
            let topic = observer.source(place.0);
            return Err(Failure::Failed(format!("{topic} may still hold records under this key; terminate the tenant first")));
        }
    }
    Ok(())
}

fn configured(config: &Config, tenant: &TenantId) -> Result<(), Failure> {
    if config.tenant.iter().any(|t| t.id == *tenant) { Ok(()) } else { Err(Failure::Usage(format!("the config names no tenant {tenant}"))) }
}
