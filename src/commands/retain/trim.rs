//! Trims raw topics of tenants that ask for it: what every group of `run` has committed is deleted, and an idle partition gets a roll record, because
//! the bytes of an active segment stay until it rolls.

use super::Failure;
use crate::config::Config;
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, Place, ROLL_KEY, RawConsumer};
use crate::kafka::topics::Admin;
use crate::kafka::transaction::TransactionalProducer;
use crate::lifecycle::settings;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One raw topic.
struct Source {
    topic: String,
    partitions: i32,
    /// `segment.ms` that `topics apply` gives it. Units: ms.
    segment_ms: i64,
}

/// What is known of one partition.
#[derive(Default)]
struct Trimmed {
    end: i64,
    last_append_ms: i64,
    /// The end after the last roll record: nothing of anybody lies between.
    rolled_end: i64,
}

/// Trims. Every process does so for all partitions: it is done twice at worst.
pub(super) struct Trimmer<'c> {
    config: &'c Config,
    admin: Admin,
    sources: Vec<Source>,
    groups: Vec<RawConsumer>,
    known: BTreeMap<Place, Trimmed>,
}

impl<'c> Trimmer<'c> {
    /// Connects; `None` where no tenant asks for it. Errors: brokers that do not answer.
    pub(super) fn connect(config: &'c Config) -> Result<Option<Self>, Failure> {
        let tenants: Vec<_> = config.tenant.iter().filter(|t| t.trim_raw).collect();
        if tenants.is_empty() {
            return Ok(None);
        }
        let admin = Admin::connect(&config.kafka)?;
        let there = admin.partitions()?;
        let mut sources = Vec::new();
        for tenant in tenants {
            let window_ms = tenant.other_window_ms("raw").map_err(Failure::Usage)?;
            let derived = settings::deleted(window_ms, settings::BrokerTimes::default());
            let segment_ms = derived.iter().find(|d| d.name == "segment.ms").and_then(|d| d.value.parse().ok()).unwrap_or(window_ms);
            sources.extend(tenant.sources().into_iter().map(|topic| Source {
                partitions: there.get(&topic).copied().unwrap_or(0) as i32,
                topic,
                segment_ms,
            }));
        }
        let names: Vec<String> = sources.iter().map(|s| s.topic.clone()).collect();
        let observe = |group: &String| RawConsumer::observe(&config.kafka, group, &names, Arc::new(Generation::default()));
        let groups = config.run.groups.iter().map(observe).collect::<Result<Vec<_>, Fault>>()?;
        Ok(Some(Trimmer { config, admin, sources, groups, known: BTreeMap::new() }))
    }

    /// Deletes what is processed, and rolls idle partitions. Units: ms since the epoch.
    pub(super) fn trim(&mut self, producer: &mut TransactionalProducer, now_ms: i64) -> Result<(), Fault> {
        let places: Vec<Place> = self.sources.iter().enumerate().flat_map(|(i, s)| (0..s.partitions).map(move |p| (i as u16, p))).collect();
        let Some(first) = self.groups.first() else { return Ok(()) };
        let commits = self.groups.iter().map(|g| g.committed_texts(&places)).collect::<Result<Vec<_>, Fault>>()?;
        let (mut deletes, mut rolls) = (Vec::new(), Vec::new());
        for place in &places {
            let source = &self.sources[usize::from(place.0)];
            let (low, end) = first.watermarks(*place)?;
            let known = self.known.entry(*place).or_insert(Trimmed { end, last_append_ms: now_ms, rolled_end: -1 });
            if end != known.end {
                (known.end, known.last_append_ms) = (end, now_ms);
            }
            // A group that has committed nothing has processed nothing.
            let done = commits.iter().map(|c| c.get(place).map_or(0, |(offset, _)| *offset)).min().unwrap_or(0);
            if done > low {
                deletes.push((source.topic.clone(), place.1, done.min(end)));
            }
            let hidden = low.max(done.min(end)) > 0 && end != known.rolled_end;
            if hidden && done >= end && now_ms - known.last_append_ms > source.segment_ms {
                rolls.push(*place);
            }
        }
        if !deletes.is_empty() {
            self.admin.delete_before(&deletes)?;
            tracing::debug!(partitions = deletes.len(), "raw records that were processed are deleted");
        }
        if rolls.is_empty() {
            return Ok(());
        }
        let transaction = producer.begin()?;
        for (source, partition) in &rolls {
            transaction.tombstone(&self.sources[usize::from(*source)].topic, *partition, ROLL_KEY, None)?;
        }
        let group = first.membership().ok_or_else(|| Fault::Abort("no group to look at".into()))?;
        transaction.commit(&[], &group).map_err(|(fault, _)| fault)?;
        for place in rolls {
            let (_, end) = first.watermarks(place)?;
            self.known.insert(place, Trimmed { end, last_append_ms: now_ms, rolled_end: end });
        }
        tracing::debug!(groups = self.config.run.groups.len(), "idle raw partitions rolled");
        Ok(())
    }
}
