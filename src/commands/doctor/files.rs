//! Files: keyring, signing key, GeoIP database, password; and whether the keyring has every epoch that was in use.

use super::Finding;
use crate::config::{Config, TenantConfig};
use crate::kafka::consumer::{RawConsumer, places_of};
use crate::lifecycle::signed::read_private;
use crate::model::keyring::Keyring;
use crate::model::tenant::TenantId;
use crate::model::time::DAY_MS;
use crate::ops::assets::GeoFile;
use crate::ops::{clock, keys, keys_signing};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// A GeoIP database older than this gives wrong places too often. Units: days.
const GEOIP_DAYS_MAX: i64 = 90;

fn keyring(config: &Config) -> Result<Keyring, keys::KeyringError> {
    keys::load(&config.keys.file, std::env::var(keys::KEYRING_VARIABLE).ok())
}

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    match keyring(config) {
        Err(fault) => findings.push(Finding::fail(
            "keyring",
            fault.to_string(),
            "put the right keyring back, mode 0600; `lethe keys new --tenant T` only for a tenant that has no records yet",
        )),
        Ok(keyring) => {
            let key = |t: &&TenantConfig| keyring.tenants.get(&t.id).is_some_and(|all| all.last().is_some_and(|e| e.key.is_some()));
            let without: Vec<&TenantConfig> = config.tenant.iter().filter(|t| !key(t)).collect();
            for tenant in &without {
                let detail = format!("tenant {} has no key in force", tenant.id);
                let mend = format!("put its keys back; `lethe keys new --tenant {}` only if it has no records yet", tenant.id);
                findings.push(Finding::fail("keyring", detail, mend));
            }
            if without.is_empty() {
                findings.push(Finding::pass("keyring", format!("a key for each of {} tenants", config.tenant.len())));
            }
        }
    }
    findings.push(signing_key(config));
    findings.extend(geoip(config));
    findings.extend(password(config));
    findings
}

fn signing_key(config: &Config) -> Finding {
    let file = &config.keys.signing_file;
    let text = keys_signing::read(file).map_err(|e| e.to_string());
    match text.and_then(|text| read_private(&text).ok_or_else(|| format!("{} is no Ed25519 key in PEM", file.display()))) {
        Ok(_) => Finding::pass("signing key", format!("{} can sign certificates", file.display())),
        Err(fault) => Finding::warn(
            "signing key",
            fault,
            "where `lethe retain` runs, which certifies nothing without it: put it back, mode 0600; no other job needs it",
        ),
    }
}

fn geoip(config: &Config) -> Option<Finding> {
    let file = &config.geoip.file;
    if file.as_os_str().is_empty() {
        return None;
    }
    let mend = "download a new one, write it beside the old one and rename it: it is taken up without a restart";
    let now_ms = clock::now_ms();
    Some(match GeoFile::open(file, now_ms) {
        Err(fault) => Finding::fail("geoip", format!("{}: {fault}", file.display()), mend),
        Ok(open) => {
            let days = now_ms / DAY_MS - (open.reader().metadata().build_epoch / 86_400) as i64;
            let detail = format!("{} was built {days} days ago", file.display());
            if days > GEOIP_DAYS_MAX { Finding::warn("geoip", detail, mend) } else { Finding::pass("geoip", detail) }
        }
    })
}

fn password(config: &Config) -> Option<Finding> {
    let file = &config.kafka.sasl_password_file;
    if file.is_empty() {
        return None;
    }
    Some(match std::fs::metadata(file).map(|m| m.permissions().mode() & 0o077) {
        Err(e) => Finding::fail("password file", format!("cannot be read: {e}"), "kafka.sasl_password_file in the config"),
        Ok(0) => Finding::pass("password file", format!("{file} is readable by its owner alone")),
        Ok(_) => Finding::warn("password file", format!("{file} is readable by others"), format!("chmod 600 {file}")),
    })
}

/// A keyring from an old backup lacks epochs that committed offsets name.
pub(super) fn look_at_epochs(config: &Config, there: &HashMap<String, u32>) -> Vec<Finding> {
    let Ok(keyring) = keyring(config) else { return Vec::new() };
    let sources: Vec<(&TenantConfig, String)> = config.tenant.iter().flat_map(|t| t.sources().into_iter().map(move |s| (t, s))).collect();
    let names: Vec<String> = sources.iter().map(|(_, source)| source.clone()).collect();
    let places = places_of(names.iter().map(String::as_str).enumerate(), there);
    if places.is_empty() {
        return Vec::new();
    }
    let used = RawConsumer::observe(&config.kafka, &config.run.group, &names, Arc::default()).and_then(|group| group.committed(&places));
    // Who may not look at the group, or has none yet, is told so elsewhere.
    let Ok(used) = used else { return Vec::new() };
    let mut newest_used: BTreeMap<&TenantId, u16> = BTreeMap::new();
    for ((source, _), (_, mark)) in &used {
        let newest = newest_used.entry(&sources[usize::from(*source)].0.id).or_default();
        *newest = (*newest).max(mark.map_or(0, |m| m.epoch));
    }
    let newest_there = |tenant: &TenantId| keyring.tenants.get(tenant).and_then(|all| all.last()).map_or(0, |e| e.epoch.0);
    let lacking = newest_used.into_iter().filter(|(tenant, used)| *used > newest_there(tenant));
    let told = lacking.map(|(tenant, used)| {
        let detail =
            format!("tenant {tenant}: epoch {used} was in use and the keyring ends at {}: it is an old copy", newest_there(tenant));
        Finding::fail("keyring", detail, "put the newest keyring back; never make a new key in its place")
    });
    told.collect()
}
