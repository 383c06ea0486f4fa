//! Tenants that were terminated: the config may go on naming them, and jobs leave them alone once their deletion has begun.

use super::Failure;
use super::rights::look;
use crate::config::{Config, TenantConfig};
use crate::kafka::topics::Admin;
use crate::lifecycle::termination::Terminations;
use crate::model::keyring::Keyring;
use crate::ops::clock;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

/// All terminations in force; none where the topic of directives is not there yet. Errors: the brokers.
pub(super) fn terminations(config: &Config, there: &HashMap<String, u32>) -> Result<Terminations, Failure> {
    if !there.contains_key(&config.topics.directives) {
        return Ok(Terminations::default());
    }
    Ok(Terminations::build(&look(config)?))
}

/// Tenants of the config whose deletion has begun. Errors: the brokers.
pub(super) fn begun(config: &Config) -> Result<BTreeSet<String>, Failure> {
    let there = Admin::connect(&config.kafka)?.partitions()?;
    let begun = terminations(config, &there)?.begun(clock::now_ms());
    Ok(begun.into_iter().filter(|id| config.tenant.iter().any(|t| t.id.as_str() == id)).collect())
}

/// The config without the tenants whose deletion has begun. Errors: the brokers.
pub(super) fn without_begun(config: &Config) -> Result<Cow<'_, Config>, Failure> {
    Ok(without(config, &begun(config)?))
}

/// The config without some tenants.
pub(super) fn without<'c>(config: &'c Config, gone: &BTreeSet<String>) -> Cow<'c, Config> {
    if gone.is_empty() {
        return Cow::Borrowed(config);
    }
    let tenant = config.tenant.iter().filter(|t| !gone.contains(t.id.as_str())).cloned().collect();
    Cow::Owned(Config { tenant, ..config.clone() })
}

/// Terminated tenants of the config one of whose topics is not there any more: jobs that still had something to tell the others have told it.
pub(super) fn gone(config: &Config, terminations: &Terminations, there: &HashMap<String, u32>) -> BTreeSet<String> {
    let terminated = config.tenant.iter().filter(|t| terminations.concern(t.id.as_str()));
    let lost = |t: &&TenantConfig| {
        let outputs = t.output_topics().into_iter().map(|(_, name)| name);
        t.sources().into_iter().chain(outputs).any(|topic| !there.contains_key(&topic))
    };
    terminated.filter(lost).map(|t| t.id.to_string()).collect()
}

/// Tenants of which the keyring knows keys and has none any more.
pub(super) fn keyless(config: &Config, keyring: &Keyring) -> BTreeSet<String> {
    let destroyed =
        |t: &&TenantConfig| keyring.tenants.get(&t.id).is_some_and(|all| !all.is_empty() && all.iter().all(|e| e.key.is_none()));
    config.tenant.iter().filter(destroyed).map(|t| t.id.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::parse;
    use crate::model::directive::{Directive, InForce, Order};

    #[test]
    fn a_tenant_is_gone_once_it_is_terminated_and_a_topic_is_missing() {
        let config =
            parse("[[tenant]]\nid='a'\nprofile='web_analytics'\n[[tenant]]\nid='b'\nprofile='web_analytics'\n", std::iter::empty())
                .unwrap();
        let order = Order::Terminate { deadline_ms: 1 };
        let d = Directive { id: "r".into(), tenant: "a".into(), issued_at_ms: 1, actor: String::new(), commitments: Vec::new(), order };
        let mut in_force = InForce::default();
        in_force.apply(0, 5, d.key().as_bytes(), Some(&serde_json::to_vec(&d).unwrap()));
        let terminations = Terminations::build(&in_force);
        let mut there: HashMap<String, u32> = HashMap::new();
        for tenant in &config.tenant {
            there.extend(tenant.sources().into_iter().map(|t| (t, 1)));
            there.extend(tenant.output_topics().into_iter().map(|(_, t)| (t, 1)));
        }
        assert!(gone(&config, &terminations, &there).is_empty(), "it still has to tell that it takes nothing in");
        for topic in ["a.events", "b.events"] {
            there.remove(topic);
        }
        let lost = gone(&config, &terminations, &there);
        assert_eq!(lost, BTreeSet::from(["a".to_owned()]), "who was not terminated stands still, loudly");
        assert_eq!(without(&config, &lost).tenant.len(), 1);
    }
}
