//! The brokers: release, replicas, clocks, disks; topics against the config; whether cleaner and transactions keep up.

use super::Finding;
use crate::commands::{status, topics};
use crate::config::Config;
use crate::config::governed::text;
use crate::kafka::client::Fault;
use crate::kafka::ends::{Ends, EndsOf};
use crate::kafka::probe;
use crate::kafka::topics::Admin;
use crate::model::time::SECOND_MS;
use crate::ops::clock;
use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A skew that the horizon has room for. Units: ms.
const SKEW_MS_MAX: i64 = 10 * SECOND_MS;
/// A skew that is worth a word. Units: ms.
const SKEW_MS_TOLD: i64 = SECOND_MS;
/// A disk fuller than this fails soon. Units: percent.
const DISK_PERCENT_MAX: u32 = 98;
/// A disk fuller than this is worth a word. Units: percent.
const DISK_PERCENT_TOLD: u32 = 85;
/// How often stable offsets are looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What to do about questions that only an operator may ask.
const OPERATOR: &str = "doctor as the operator: lethe topics acls --role operator";
/// How many topics of one kind are named.
const NAMED_MAX: usize = 5;

pub(super) fn look(config: &Config, admin: &Admin, there: &HashMap<String, u32>) -> Vec<Finding> {
    let mut findings = vec![release(config, admin)];
    findings.extend(settings(config, admin));
    findings.extend(replicas(config, admin));
    findings.push(cleaner(config, admin));
    findings.push(stable(config, there));
    findings.push(skew(config));
    findings.extend(disk(admin));
    findings
}

fn release(config: &Config, admin: &Admin) -> Finding {
    let brokers = admin.brokers().unwrap_or(0);
    match probe::release(&config.kafka) {
        Ok(Some((fetch, name))) if fetch < probe::FETCH_VERSION_MIN => Finding::warn(
            "brokers",
            format!("{brokers} answer, of Kafka {name}, older than any that Lethe was tried with"),
            "update the brokers",
        ),
        Ok(Some((_, name))) => Finding::pass("brokers", format!("{brokers} answer, of Kafka {name} or newer")),
        Ok(None) => Finding::warn("brokers", format!("{brokers} answer and do not tell their release"), ""),
        Err(fault) => Finding::fail("brokers", fault.to_string(), "kafka.* in the config"),
    }
}

fn settings(config: &Config, admin: &Admin) -> Vec<Finding> {
    let faults = topics::plans(config, admin).and_then(|plans| Ok((topics::faults(&plans, admin)?, plans.len())));
    match faults {
        Err(failure) if failure.to_string().contains("AuthorizationFailed") => {
            vec![Finding::warn("topics", "this user may not see all settings", OPERATOR)]
        }
        Err(failure) => vec![Finding::fail("topics", failure.to_string(), "lethe topics apply --dry-run")],
        Ok((faults, n)) if faults.is_empty() => {
            vec![Finding::pass("topics", format!("{n} topics have the settings that the windows need"))]
        }
        Ok((faults, _)) => faults.into_iter().map(|fault| Finding::fail("topics", fault, topics::MEND)).collect(),
    }
}

fn replicas(config: &Config, admin: &Admin) -> Option<Finding> {
    let names: Vec<String> = config.topic_plans(Default::default()).ok()?.into_iter().map(|p| p.name).collect();
    let replicas = admin.replicas(&names).ok()?;
    let list = |wanted: &dyn Fn(usize, usize) -> bool| {
        let mut found: Vec<&str> =
            replicas.iter().filter(|(_, (all, in_sync))| wanted(*all, *in_sync)).map(|(topic, _)| topic.as_str()).collect();
        found.sort_unstable();
        named(&found)
    };
    let (behind, single) = (list(&|all, in_sync| in_sync < all), list(&|all, _| all < 2));
    Some(if !behind.is_empty() {
        let mend = "start the brokers that are down; no certificate is written while a replica is out of sync";
        Finding::fail("replicas", format!("some are not in sync: {behind}"), mend)
    } else if !single.is_empty() {
        let mend = "on a cluster of three or more: kafka-reassign-partitions.sh, replication factor 3";
        Finding::warn("replicas", format!("a lost disk loses data, as there is one copy alone: {single}"), mend)
    } else {
        Finding::pass("replicas", format!("all in sync, {} topics", replicas.len()))
    })
}

fn named(names: &[&str]) -> String {
    let more = if names.len() > NAMED_MAX { format!(" and {} more", names.len() - NAMED_MAX) } else { String::new() };
    names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ") + &more
}

/// Whether what should have been gone is gone: nobody tells of a dead cleaner but its work.
fn cleaner(config: &Config, admin: &Admin) -> Finding {
    if let Some(off) = admin.without_cleaner().ok().filter(|off| !off.is_empty()) {
        return Finding::fail("cleaner", topics::cleaner_is_off(&off), "log.cleaner.enable=true in server.properties, and a restart");
    }
    let now_ms = clock::now_ms();
    let overdue = config.governed().map_err(|faults| faults.join("; ")).and_then(|governed| {
        let topics = status::survey(config, &governed, now_ms).map_err(|failure| failure.to_string())?;
        Ok(topics.into_iter().filter(|t| t.exists).map(|t| (t.topic, t.overdue_ms)).collect::<Vec<_>>())
    });
    match overdue {
        Err(fault) => Finding::warn("cleaner", format!("the oldest records cannot be looked at: {fault}"), ""),
        Ok(topics) => match topics.iter().max_by_key(|(_, overdue)| *overdue) {
            Some((topic, overdue)) if *overdue > 0 => Finding::fail(
                "cleaner",
                format!("{topic} holds what should have been gone {} ago", text(*overdue - overdue % SECOND_MS)),
                "is `lethe retain` running? if it is: grep log-cleaner.log on the brokers, restart a broker whose cleaner died",
            ),
            _ => Finding::pass("cleaner", format!("nothing is past its window in {} topics", topics.len())),
        },
    }
}

/// Whether transactions end. One that outlives Lethe's own limit is somebody else's, or hangs.
fn stable(config: &Config, there: &HashMap<String, u32>) -> Finding {
    let mut names: Vec<String> = config.tenant.iter().flat_map(|t| t.sources()).collect();
    names.extend(config.governed().unwrap_or_default().into_iter().map(|g| g.topic));
    let topics: Vec<(&str, u32)> = names.iter().filter_map(|t| Some((t.as_str(), *there.get(t)?))).collect();
    let patience = Duration::from_millis(u64::from(config.kafka.transaction_timeout_ms) + 2_000);
    match wait_until_stable(config, &topics, patience) {
        Err(fault) => Finding::warn("stable offsets", fault.to_string(), ""),
        Ok(stuck) if stuck.is_empty() => Finding::pass("stable offsets", format!("no transaction hangs in {} topics", topics.len())),
        Ok(stuck) => {
            let first =
                stuck.keys().next().map(|(topic, partition)| format!("--topic {topic} --partition {partition}")).unwrap_or_default();
            let names: Vec<&str> = stuck.keys().map(|(topic, _)| topic.as_str()).collect();
            Finding::fail(
                "stable offsets",
                format!("a transaction has been open for more than {} s in {}", patience.as_secs(), named(&names)),
                format!("kafka-transactions.sh describe-producers {first}; end that client, or kafka-transactions.sh abort"),
            )
        }
    }
}

/// The partitions whose stable offset did not reach the end that was seen first, in all the time it was given.
fn wait_until_stable(config: &Config, topics: &[(&str, u32)], patience: Duration) -> Result<EndsOf, Fault> {
    let ends = Ends::connect(&config.kafka)?;
    let first = ends.all(topics.iter().copied())?;
    let until = Instant::now() + patience;
    loop {
        let stable = ends.stable(topics.iter().copied())?;
        let stuck: EndsOf =
            first.iter().filter(|(place, end)| stable.get(*place).is_some_and(|s| s < *end)).map(|(p, e)| (p.clone(), *e)).collect();
        if stuck.is_empty() || Instant::now() > until {
            return Ok(stuck);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn skew(config: &Config) -> Finding {
    let before_ms = clock::now_ms();
    let broker = match probe::broker_clock(&config.kafka, &config.topics.directives) {
        Ok(ms) => ms,
        Err(fault) => {
            return Finding::warn("clocks", format!("the broker's clock cannot be read: {fault}"), OPERATOR);
        }
    };
    let after_ms = clock::now_ms();
    // The broker stamped the record somewhere in between.
    let skew_ms = if broker < before_ms { broker - before_ms } else { (broker - after_ms).max(0) };
    let detail = format!("the broker is {} ms {} this machine", skew_ms.abs(), if skew_ms < 0 { "behind" } else { "ahead of" });
    match skew_ms.abs() {
        ms if ms > SKEW_MS_MAX => {
            Finding::fail("clocks", detail, "run chrony or ntpd on both; windows and lateness are counted by these clocks")
        }
        ms if ms > SKEW_MS_TOLD => Finding::warn("clocks", detail, "run chrony or ntpd on both"),
        _ => Finding::pass("clocks", detail),
    }
}

/// Disks of brokers that run on this machine: of others nothing is told.
fn disk(admin: &Admin) -> Option<Finding> {
    let directories = admin.log_directories().ok()?;
    let full = directories.iter().filter_map(|directory| Some((used_percent(directory)?, directory))).max()?;
    let detail = format!("{} is {} % full", full.1, full.0);
    let mend = "add disks, or shorten windows; a broker with a full disk stops";
    Some(match full.0 {
        percent if percent > DISK_PERCENT_MAX => Finding::fail("disk", detail, mend),
        percent if percent > DISK_PERCENT_TOLD => Finding::warn("disk", detail, mend),
        _ => Finding::pass("disk", detail),
    })
}

fn used_percent(directory: &str) -> Option<u32> {
    if !std::path::Path::new(directory).is_dir() {
        return None;
    }
    let told = Command::new("df").args(["-P", directory]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    text.lines().nth(1)?.split_whitespace().nth(4)?.strip_suffix('%')?.parse().ok()
}
