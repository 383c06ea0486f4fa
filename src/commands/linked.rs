//! `--linked`: the other identifiers that occurred in the same records, found by reading the tenant's topics once.

use super::Failure;
use crate::config::Config;
use crate::kafka::topics::Admin;
use crate::kafka::whole::{Isolation, WholeReader};
use crate::model::directive::{PSEUDONYMS_MAX, Pseudonyms};
use crate::model::header::Header;
use crate::model::tenant::TenantId;
use crate::ops::say::say;
use std::collections::BTreeSet;

/// Adds every identifier that stands in one record with a named one. One step, not more: what two people share would lead on to strangers.
///
/// Errors: the brokers; too many identifiers.
pub(super) fn extend(config: &Config, tenant: &TenantId, pseudonyms: &mut Pseudonyms) -> Result<(), Failure> {
    let governed = config.governed().map_err(|faults| Failure::Usage(faults.join("; ")))?;
    let there = Admin::connect(&config.kafka)?.partitions()?;
    let reader = WholeReader::connect(&config.kafka, Isolation::Uncommitted)?;
    let named: BTreeSet<_> = pseudonyms.0.iter().copied().collect();
    let mut all = named.clone();
    for g in governed.iter().filter(|g| g.tenant == tenant.as_str()) {
        let mut ranges = Vec::new();
        for partition in 0..there.get(&g.topic).copied().unwrap_or(0) as i32 {
            let (low, high) = reader.bounds(&g.topic, partition)?;
            ranges.push((partition, low, high));
        }
        reader.read(&g.topic, &ranges, |seen| {
            if let Some(header) = seen.header.and_then(Header::read)
                && header.identifiers().any(|p| named.contains(&(header.epoch, p)))
            {
                all.extend(header.identifiers().map(|p| (header.epoch, p)));
            }
            Ok(())
        })?;
    }
    if all.len() > PSEUDONYMS_MAX {
        return Err(Failure::Usage(format!("{} linked pseudonyms are more than one request takes ({PSEUDONYMS_MAX})", all.len())));
    }
    say!("{} other identifiers occurred in the same records", all.len() - named.len());
    pseudonyms.0 = all.into_iter().collect();
    Ok(())
}
