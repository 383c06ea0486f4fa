//! Files: keyring, GeoIP database, password; and whether the keyring has every epoch that was in use.

use super::Finding;
use crate::config::{Config, TenantConfig};
use crate::kafka::consumer::{RawConsumer, places_of};
use crate::model::keyring::Keyring;
use crate::model::time::DAY_MS;
use crate::ops::assets::GeoFile;
use crate::ops::{clock, keys};
use std::collections::HashMap;
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
            "put the right keyring back, mode 0600, or `lethe keys new --tenant T`",
        )),
        Ok(keyring) => {
            let key = |t: &&TenantConfig| keyring.tenants.get(&t.id).is_some_and(|all| all.last().is_some_and(|e| e.key.is_some()));
            let without: Vec<&TenantConfig> = config.tenant.iter().filter(|t| !key(t)).collect();
            for tenant in &without {
                let detail = format!("tenant {} has no key in force", tenant.id);
                findings.push(Finding::fail("keyring", detail, format!("lethe keys new --tenant {}", tenant.id)));
            }
            if without.is_empty() {
                findings.push(Finding::pass("keyring", format!("a key for each of {} tenants", config.tenant.len())));
            }
        }
    }
    findings.extend(geoip(config));
    findings.extend(password(config));
    findings
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
    let mut findings = Vec::new();
    for tenant in &config.tenant {
        let newest = keyring.tenants.get(&tenant.id).and_then(|all| all.last()).map_or(0, |e| e.epoch.0);
        let sources = tenant.sources();
        let places = places_of(sources.iter().map(String::as_str).enumerate(), there);
        if places.is_empty() {
            continue;
        }
        let used =
            RawConsumer::observe(&config.kafka, &config.run.group, &sources, Arc::default()).and_then(|group| group.committed(&places));
        // Who may not look at the group, or has none yet, is told so elsewhere.
        let Ok(used) = used else { continue };
        let used = used.values().filter_map(|(_, mark)| mark.map(|m| m.epoch)).max().unwrap_or(0);
        if used > newest {
            let detail = format!("tenant {}: epoch {used} was in use and the keyring ends at {newest}: it is an old copy", tenant.id);
            findings.push(Finding::fail("keyring", detail, "put the newest keyring back; never make a new key in its place"));
        }
    }
    findings
}
