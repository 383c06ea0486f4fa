//! `lethe topics apply`: makes the topics that the config wants, mends their settings, and explains each of them.

use super::{Failure, terminated};
use crate::config::governed::TopicPlan;
use crate::config::{Config, TenantConfig};
use crate::kafka::topics::{Admin, Change, Setting, TopicSpec};
use crate::lifecycle::settings::BrokerTimes;
use crate::ops::say::{say, say_aside};
use std::collections::{BTreeSet, HashMap};

/// The command that mends what `retain` refuses.
pub const MEND: &str = "lethe topics apply";

/// Makes and mends topics, or, for a dry run, says what would be done and why; with `missing_only`, what is there stays as it is.
///
/// Errors: windows that cannot be kept, brokers that refuse.
pub fn apply(config: &Config, dry_run: bool, missing_only: bool) -> Result<(), Failure> {
    let admin = Admin::connect(&config.kafka)?;
    let plans = plans(config, &admin)?;
    let specs = specs(config, &admin, &plans)?;
    let mut changes = admin.plan(&specs)?;
    changes.retain(|c| !missing_only || matches!(c, Change::Create(_)));
    let ended = terminated::terminations(config, &admin.partitions()?)?;
    // What a terminated tenant still has keeps its settings; what it has no more is not made again.
    let ended: Vec<&TenantConfig> = config.tenant.iter().filter(|t| ended.concern(t.id.as_str())).collect();
    let over: BTreeSet<String> =
        ended.iter().flat_map(|t| t.sources().into_iter().chain(t.output_topics().into_iter().map(|(_, name)| name))).collect();
    changes.retain(|c| !matches!(c, Change::Create(spec) if over.contains(&spec.name)));
    let there = specs.len() - over.len() + admin.partitions()?.keys().filter(|topic| over.contains(*topic)).count();
    ended.iter().for_each(|t| say!("tenant {} is terminated: no topic of it is made", t.id));
    if dry_run {
        explain(&plans, &changes);
        return Ok(());
    }
    admin.carry_out(&changes)?;
    for change in &changes {
        match change {
            Change::Create(spec) => say!("created {} ({} partitions, {} replicas)", spec.name, spec.partitions, spec.replication),
            Change::Alter(topic, wrong) => {
                for (name, old, new) in wrong {
                    say!("changed {topic}: {name} {} -> {new}", shown(old));
                }
            }
        }
    }
    for plan in plans.iter().filter(|p| p.fault.is_some()) {
        say_aside!("lethe: {}: the window cannot be kept: {}", plan.name, plan.fault.as_deref().unwrap_or_default());
    }
    say!("{there} topics are as they should be, {} of them were made or changed", changes.len());
    Ok(())
}

/// What the config wants of these brokers. Errors: windows that cannot be kept.
pub fn plans(config: &Config, admin: &Admin) -> Result<Vec<TopicPlan>, Failure> {
    config.topic_plans(broker_times(admin)?).map_err(|faults| Failure::Usage(faults.join("; ")))
}

fn broker_times(admin: &Admin) -> Result<BrokerTimes, Failure> {
    let usual = BrokerTimes::default();
    let [check, backoff] = admin.broker_numbers(["log.retention.check.interval.ms", "log.cleaner.backoff.ms"])?;
    Ok(BrokerTimes {
        retention_check_ms: check.unwrap_or(usual.retention_check_ms),
        cleaner_backoff_ms: backoff.unwrap_or(usual.cleaner_backoff_ms),
    })
}

fn specs(config: &Config, admin: &Admin, plans: &[TopicPlan]) -> Result<Vec<TopicSpec>, Failure> {
    let wanted = config.topics.replication_factor;
    let replication = u16::try_from(admin.brokers()?).unwrap_or(u16::MAX).clamp(1, wanted);
    if replication < wanted {
        say_aside!(
            "lethe: topics.replication_factor is {wanted} and there are {replication} brokers: new topics get {replication} replicas"
        );
    }
    let spec = |p: &TopicPlan| TopicSpec {
        name: p.name.clone(),
        partitions: p.partitions,
        replication,
        settings: p.settings.iter().map(|d| (d.name, d.value.clone())).collect(),
    };
    Ok(plans.iter().map(spec).collect())
}

/// Says that brokers never compact, and what to do.
#[must_use]
pub fn cleaner_is_off(brokers: &[i32]) -> String {
    let brokers: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    format!(
        "the log cleaner of broker {} is switched off, so what has its tombstone stays for ever; set log.cleaner.enable=true in server.properties, restart",
        brokers.join(", ")
    )
}

/// What is wrong with the topics as they are, a sentence each: missing ones, and settings that cannot keep the promise.
///
/// Errors: the brokers do not answer.
pub fn faults(plans: &[TopicPlan], admin: &Admin) -> Result<Vec<String>, Failure> {
    let there = admin.partitions()?;
    let existing: Vec<String> = plans.iter().filter(|p| there.contains_key(&p.name)).map(|p| p.name.clone()).collect();
    let actual = if existing.is_empty() { HashMap::new() } else { admin.settings(&existing)? };
    Ok(plans.iter().flat_map(|plan| plan_faults(plan, actual.get(&plan.name))).collect())
}

fn plan_faults(plan: &TopicPlan, actual: Option<&HashMap<String, Setting>>) -> Vec<String> {
    let Some(actual) = actual else { return vec![format!("topic {} is missing", plan.name)] };
    let value = |name: &str| actual.get(name).map_or("", |s| s.value.as_str());
    let wrong = plan.settings.iter().filter(|d| !d.suits(value(d.name)));
    let told = wrong.map(|d| format!("topic {}: {} is {} and must be {}", plan.name, d.name, shown(value(d.name)), d.value));
    told.chain(plan.fault.iter().map(|fault| format!("topic {}: {fault}", plan.name))).collect()
}

fn explain(plans: &[TopicPlan], changes: &[Change]) {
    for plan in plans {
        let change = changes.iter().find(|c| match c {
            Change::Create(spec) => spec.name == plan.name,
            Change::Alter(topic, _) => *topic == plan.name,
        });
        let verdict = match change {
            None => "as it should be".to_owned(),
            Some(Change::Create(spec)) => format!("would be created: {} partitions, {} replicas", spec.partitions, spec.replication),
            Some(Change::Alter(_, wrong)) => format!("{} settings would be changed", wrong.len()),
        };
        say!("{} ({}): {verdict}", plan.name, plan.what);
        for d in &plan.settings {
            let old = match change {
                Some(Change::Alter(_, wrong)) => wrong.iter().find(|(name, _, _)| name == d.name).map(|(_, old, _)| old),
                _ => None,
            };
            let now = old.map_or(String::new(), |old| format!(" (now {})", shown(old)));
            say!("  {} = {}{now}: {}", d.name, d.value, d.reason);
        }
        if let Some(fault) = &plan.fault {
            say!("  the window cannot be kept: {fault}");
        }
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "(none)" } else { value }
}
