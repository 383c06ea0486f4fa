//! Both framings of the Avro records that Lethe itself wrote and reads again: Avro's single-object encoding, and a schema registry's wire format.

use super::Failure;
use crate::config::Config;
use crate::kafka::client::Fault;
use crate::ops::registry::{Registry, RegistryFault};
use crate::transform::avro::single_object_prefix;
use crate::transform::decode::{SchemaId, framing};
use crate::transform::schemas::registry_prefix;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pause before a registry that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a job that is to end by itself waits for a registry.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// One schema of ours, however its records are framed.
pub(super) struct Framing {
    schema: &'static str,
    single: Vec<u8>,
    registry: Option<Registry>,
    /// Whether a registry's id is that of this schema.
    ids: Mutex<HashMap<u32, bool>>,
}

impl Framing {
    /// Errors: the registry's settings.
    pub fn new(config: &Config, schema: &'static str) -> Result<Self, Failure> {
        let single = single_object_prefix(schema).map_err(|e| Failure::Failed(e.to_string()))?;
        let registry = Registry::new(&config.schema_registry).map_err(Failure::Usage)?;
        Ok(Framing { schema, single, registry, ids: Mutex::default() })
    }

    /// What stands before the body of a value, whichever of both it is; empty for a value of another schema.
    ///
    /// Errors: `Abort` while the registry does not say which schema it is: the record is read again.
    pub fn prefix_of<'v>(&self, value: &'v [u8]) -> Result<&'v [u8], Fault> {
        match framing(value) {
            Some((SchemaId::Fingerprint(_), body)) if value.starts_with(&self.single) => Ok(&value[..body]),
            Some((SchemaId::Registry(id), body)) if self.is_ours(id)? => Ok(&value[..body]),
            _ => Ok(&[]),
        }
    }

    fn is_ours(&self, id: u32) -> Result<bool, Fault> {
        let Some(registry) = &self.registry else { return Ok(false) };
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = ids.get(&id) {
            return Ok(*known);
        }
        let registered = registry.schema(id).map_err(|fault| Fault::Abort(format!("schema id {id}: {fault}")))?;
        let ours = single_object_prefix(&registered.schema).is_ok_and(|prefix| prefix == self.single);
        ids.insert(id, ours);
        Ok(ours)
    }

    /// What stands before the records that are written to a topic. Waits for a registry that is away: for ever, or, with `patience`, so long.
    ///
    /// Errors: it refuses the schema; it was away for too long.
    pub fn of_topic(&self, topic: &str, patience: Option<Duration>, stop: &AtomicBool) -> Result<Vec<u8>, Failure> {
        let Some(registry) = &self.registry else { return Ok(self.single.clone()) };
        let (subject, begun) = (format!("{topic}-value"), Instant::now());
        loop {
            match registry.id_of(&subject, self.schema) {
                Ok(id) => {
                    self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id, true);
                    return Ok(registry_prefix(id).to_vec());
                }
                Err(fault @ RegistryFault::Away(_)) if patience.is_none_or(|p| begun.elapsed() < p) && !stop.load(Ordering::SeqCst) => {
                    tracing::error!(%subject, cause = %fault, "a schema cannot be registered; nothing is written before it is");
                    std::thread::sleep(AGAIN);
                }
                Err(fault) => return Err(Failure::Failed(format!("{subject}: {fault}"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = include_str!("../../schemas/session/session.avsc");

    #[test]
    fn without_a_registry_only_the_fingerprint_tells() {
        let framing = Framing::new(&Config::default(), SCHEMA).unwrap();
        let prefix = framing.of_topic("t", None, &AtomicBool::new(false)).unwrap();
        let value = [&prefix[..], b"body"].concat();
        assert_eq!(framing.prefix_of(&value).unwrap(), prefix);
        for other in [&[0, 0, 0, 0, 1, 7][..], &[0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7], b"{}", b""] {
            assert!(framing.prefix_of(other).unwrap().is_empty());
        }
    }

    #[test]
    fn a_registry_that_is_away_leaves_a_record_for_later() {
        let mut config = Config::default();
        config.schema_registry.url = "http://127.0.0.1:1".into();
        let framing = Framing::new(&config, SCHEMA).unwrap();
        assert!(matches!(framing.prefix_of(&[0, 0, 0, 0, 1, 7]), Err(Fault::Abort(_))));
        assert!(framing.of_topic("t", Some(Duration::ZERO), &AtomicBool::new(false)).is_err());
    }
}
