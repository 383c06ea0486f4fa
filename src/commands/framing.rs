//! Both framings of the Avro records that Lethe itself wrote and reads again: Avro's single-object encoding, and a schema registry's wire format.

use super::Failure;
use crate::config::Config;
use crate::kafka::client::Fault;
use crate::ops::registry::{Registry, RegistryFault};
use crate::transform::avro::single_object_prefix;
use crate::transform::decode::{SchemaId, framing};
use crate::transform::schemas::registry_prefix;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pause before a registry that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a job that is to end by itself waits for a registry.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a trouble that lasts is told of again.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// A tenant of whom nothing was heard for so long waits no more, or elsewhere.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// One schema of ours, however its records are framed.
pub(super) struct Framing {
    schema: &'static str,
    single: Vec<u8>,
    registry: Option<Registry>,
    /// Whether a registry's id is that of this schema.
    ids: Mutex<HashMap<u32, bool>>,
    /// Who waits for the registry, by the tenant's label.
    waits: Mutex<BTreeMap<String, Wait>>,
    anybody_waits: AtomicBool,
}

/// A tenant that waits.
struct Wait {
    since: Instant,
    asked: Instant,
    told: Option<(Instant, String)>,
}

impl Framing {
    /// Errors: the registry's settings.
    pub fn new(config: &Config, schema: &'static str) -> Result<Self, Failure> {
        let single = single_object_prefix(schema).map_err(|e| Failure::Failed(e.to_string()))?;
        let registry = Registry::new(&config.schema_registry).map_err(Failure::Usage)?;
        let (ids, waits, anybody_waits) = Default::default();
        Ok(Framing { schema, single, registry, ids, waits, anybody_waits })
    }

    /// What stands before the body of a value, whichever of both it is; empty for a value of another schema. `tenant`: the label of whose it is.
    ///
    /// Errors: `Abort` while the registry does not say which schema it is: the record is read again, and log and metric say who waits.
    pub fn prefix_of<'v>(&self, value: &'v [u8], tenant: &str) -> Result<&'v [u8], Fault> {
        match framing(value) {
            Some((SchemaId::Fingerprint(_), body)) if value.starts_with(&self.single) => Ok(&value[..body]),
            Some((SchemaId::Registry(id), body)) => match self.is_ours(id) {
                Ok(ours) => {
                    if self.anybody_waits.load(Ordering::Relaxed) {
                        self.goes_on(tenant);
                    }
                    Ok(if ours { &value[..body] } else { &[] })
                }
                Err(fault) => {
                    self.waits(tenant, &format!("schema id {id}"), &fault);
                    Err(Fault::Abort(format!("schema id {id}: {fault}")))
                }
            },
            _ => Ok(&[]),
        }
    }

    /// A tenant waits for the registry: log and metric say so.
    pub fn waits(&self, tenant: &str, what: &str, fault: &RegistryFault) {
        self.anybody_waits.store(true, Ordering::Relaxed);
        let (now, text) = (Instant::now(), format!("{what}: {fault}"));
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = waits.entry(tenant.to_owned()).or_insert(Wait { since: now, asked: now, told: None });
        wait.asked = now;
        if wait.told.as_ref().is_none_or(|(at, told)| *told != text || at.elapsed() > TELL_EVERY) {
            tracing::error!(tenant, what, cause = %fault, "a schema is not to be had: what needs it waits");
            wait.told = Some((now, text));
        }
        waiting_seconds(tenant, wait.since.elapsed());
    }

    /// A tenant goes on, if it waited.
    pub fn goes_on(&self, tenant: &str) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.remove(tenant).is_some() {
            tracing::info!(tenant, "the schema is there: the tenant goes on");
            waiting_seconds(tenant, Duration::ZERO);
        }
        // Tenants whose partitions went to another process do not come back to say so.
        waits.retain(|other, wait| {
            let is_recent = wait.asked.elapsed() < FORGOTTEN;
            if !is_recent {
                waiting_seconds(other, Duration::ZERO);
            }
            is_recent
        });
        self.anybody_waits.store(!waits.is_empty(), Ordering::Relaxed);
    }

    fn is_ours(&self, id: u32) -> Result<bool, RegistryFault> {
        let Some(registry) = &self.registry else { return Ok(false) };
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = ids.get(&id) {
            return Ok(*known);
        }
        let registered = count(registry.schema(id))?;
        let ours = single_object_prefix(&registered.schema).is_ok_and(|prefix| prefix == self.single);
        ids.insert(id, ours);
        Ok(ours)
    }

    /// What stands before the records that are written to a topic, asked once. Errors: the registry is away, or refuses the schema.
    pub fn of_topic_now(&self, topic: &str) -> Result<Vec<u8>, RegistryFault> {
        let Some(registry) = &self.registry else { return Ok(self.single.clone()) };
        let id = count(registry.id_of(&subject(topic), self.schema))?;
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id, true);
        Ok(registry_prefix(id).to_vec())
    }

    /// The same, for a tenant by its label. Waits for a registry that is away: for ever, or, with `patience`, so long.
    ///
    /// Errors: it refuses the schema; it was away for too long.
    pub fn of_topic(&self, topic: &str, tenant: &str, patience: Option<Duration>, stop: &AtomicBool) -> Result<Vec<u8>, RegistryFault> {
        let begun = Instant::now();
        loop {
            match self.of_topic_now(topic) {
                Err(fault @ RegistryFault::Away(_)) if patience.is_none_or(|p| begun.elapsed() < p) && !stop.load(Ordering::SeqCst) => {
                    self.waits(tenant, &subject(topic), &fault);
                    std::thread::sleep(AGAIN);
                }
                Err(fault) => return Err(fault),
                Ok(prefix) => {
                    self.goes_on(tenant);
                    return Ok(prefix);
                }
            }
        }
    }
}

/// The subject of a topic's values.
pub(super) fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// Tells how long a tenant has waited for the registry.
pub(super) fn waiting_seconds(tenant: &str, waited: Duration) {
    metrics::gauge!("lethe_schema_waiting_seconds", "tenant" => tenant.to_owned()).set(waited.as_secs_f64());
}

/// Counts an answer of the registry by its outcome.
pub(super) fn count<T>(answer: Result<T, RegistryFault>) -> Result<T, RegistryFault> {
    let outcome = match &answer {
        Ok(_) => "ok",
        Err(RegistryFault::Away(_)) => "away",
        Err(RegistryFault::Unknown) => "unknown",
        Err(RegistryFault::Refused(_)) => "refused",
    };
    metrics::counter!("lethe_schema_requests_total", "outcome" => outcome).increment(1);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = include_str!("../../schemas/session/session.avsc");

    #[test]
    fn without_a_registry_only_the_fingerprint_tells() {
        let framing = Framing::new(&Config::default(), SCHEMA).unwrap();
        let prefix = framing.of_topic("t", "a", None, &AtomicBool::new(false)).unwrap();
        let value = [&prefix[..], b"body"].concat();
        assert_eq!(framing.prefix_of(&value, "a").unwrap(), prefix);
        for other in [&[0, 0, 0, 0, 1, 7][..], &[0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7], b"{}", b""] {
            assert!(framing.prefix_of(other, "a").unwrap().is_empty());
        }
    }

    #[test]
    fn a_registry_that_is_away_leaves_a_record_for_later_and_says_who_waits() {
        let mut config = Config::default();
        config.schema_registry.url = "http://127.0.0.1:1".into();
        let framing = Framing::new(&config, SCHEMA).unwrap();
        assert!(matches!(framing.prefix_of(&[0, 0, 0, 0, 1, 7], "a"), Err(Fault::Abort(_))));
        let waits = || framing.waits.lock().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(waits(), ["a"]);
        let away = framing.of_topic("t", "b", Some(Duration::ZERO), &AtomicBool::new(false));
        assert!(matches!(away, Err(RegistryFault::Away(_))));
        framing.ids.lock().unwrap().insert(1, true);
        assert_eq!(framing.prefix_of(&[0, 0, 0, 0, 1, 7], "a").unwrap().len(), 5, "what is known needs no registry");
        assert!(waits().is_empty() && !framing.anybody_waits.load(Ordering::Relaxed));
    }
}
