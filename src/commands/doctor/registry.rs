//! The schema registry: whether it answers, and whether it has, or would take, the schema of each topic.

use super::Finding;
use crate::config::Config;
use crate::config::compile::schema_of;
use crate::ops::registry::{Registry, RegistryFault};

const CHECK: &str = "schema registry";

/// Looks at the registry. Shape: nothing where the config names none; else a pass, or one finding a fault.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let mend = "schema_registry.* in the config; `curl URL/subjects` from this machine";
    let registry = match Registry::new(&config.schema_registry) {
        Ok(Some(registry)) => registry,
        Ok(None) => return Vec::new(),
        Err(fault) => return vec![Finding::fail(CHECK, fault, mend)],
    };
    let subjects = match registry.subjects() {
        Ok(subjects) => subjects,
        Err(fault) => return vec![Finding::fail(CHECK, fault.to_string(), mend)],
    };
    let topics = config.tenant.iter().flat_map(|t| t.output_topics());
    let ours: Vec<(String, &str)> = topics.filter_map(|(short, topic)| Some((format!("{topic}-value"), schema_of(&short)?))).collect();
    let findings: Vec<Finding> = ours.iter().filter_map(|(subject, schema)| subject_of(&registry, config, subject, schema)).collect();
    if !findings.is_empty() {
        return findings;
    }
    let there = ours.iter().filter(|(subject, _)| subjects.contains(subject)).count();
    vec![Finding::pass(CHECK, format!("it answers; {there} of {} subjects are registered, the rest at first use", ours.len()))]
}

/// What is wrong with one subject.
fn subject_of(registry: &Registry, config: &Config, subject: &str, schema: &str) -> Option<Finding> {
    match registry.look_up(subject, schema) {
        Ok(_) => None,
        Err(RegistryFault::Unknown) if !config.schema_registry.register => {
            let mend = "register it (schemas/ of this release), or let Lethe do it: schema_registry.register = true";
            Some(Finding::fail(CHECK, format!("{subject}: the schema is not registered"), mend))
        }
        Err(RegistryFault::Unknown) => match registry.is_compatible(subject, schema) {
            Ok(true) => None,
            Ok(false) => {
                let mend =
                    "somebody else's schema is registered under it: give the topic another name in [tenant.topics], or delete the subject";
                Some(Finding::fail(CHECK, format!("{subject}: our schema is incompatible with the one that is registered"), mend))
            }
            Err(fault) => Some(Finding::fail(CHECK, format!("{subject}: {fault}"), "ask whoever runs the registry")),
        },
        Err(fault) => Some(Finding::fail(CHECK, format!("{subject}: {fault}"), "ask whoever runs the registry")),
    }
}
