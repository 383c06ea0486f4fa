//! `lethe export --records-of-processing`: the document that the config amounts to.

use super::output::write_whole;
use super::records::rfc3339;
use crate::commands::Failure;
use crate::commands::proof::pretty;
use crate::config::Config;
use crate::model::tenant::TenantId;
use crate::ops::clock;
use crate::ops::say::show;
use std::path::Path;

/// Writes the records of processing, of one tenant or of all. Errors: the config cannot be kept; the file cannot be written.
pub fn records_of_processing(config: &Config, tenant: Option<&TenantId>, json: bool, output: Option<&Path>) -> Result<(), Failure> {
    if let Some(unknown) = tenant.filter(|t| config.tenant.iter().all(|c| c.id != **t)) {
        return Err(Failure::Usage(format!("the config has no tenant {unknown}")));
    }
    let mut processing = config.processing(rfc3339(clock::now_ms())).map_err(|faults| Failure::Usage(faults.join("; ")))?;
    processing.controllers.retain(|c| tenant.is_none_or(|only| only.as_str() == c.id));
    let text = if json { pretty(&serde_json::to_value(&processing).unwrap_or_default())? + "\n" } else { processing.markdown() };
    match output {
        Some(path) => write_whole(path, &text),
        None => {
            show!("{text}");
            Ok(())
        }
    }
}
