//! The last stage: one batch, one transaction. A batch that cannot be committed is read again; a tenant whose topics refuse stands still alone.

use super::collect::next_offsets;
use super::{Job, Prepared};
use crate::faults::{self, Planted};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, Membership, RawConsumer};
use crate::kafka::transaction::{Transaction, TransactionalProducer};
use crate::model::destination::Destination;
use crate::ops::{clock, metrics as counted};
use crate::transform::Tally;
use crate::transform::destinations::Skip;
use crossbeam_channel::Receiver;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A transactional id that is taken over so often within a minute is shared by two processes.
const FENCED_MAX: usize = 5;
/// Pause before an aborted batch is read again.
const ABORT_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a new producer is built.
const REBUILD_PAUSE: Duration = Duration::from_millis(500);

/// The committing stage of one worker.
pub(super) struct Committer {
    job: Arc<Job>,
    consumer: Arc<RawConsumer>,
    generation: Arc<Generation>,
    id: String,
    fenced: Vec<Instant>,
}

impl Committer {
    pub(super) fn new(job: Arc<Job>, consumer: Arc<RawConsumer>, generation: Arc<Generation>, worker: u16) -> Self {
        let run = &job.config.run;
        let id = format!("{}-{worker}", crate::commands::transactional_id(&run.group, &run.instance));
        Committer { job, consumer, generation, id, fenced: Vec::new() }
    }

    pub(super) fn run(mut self, from: &Receiver<Prepared>) -> Result<(), Fault> {
        let mut producer = Some(self.connect()?);
        for batch in from {
            let generation = Arc::clone(&self.generation);
            let done = generation.while_current(batch.generation, || self.settle(&mut producer, &batch));
            match done {
                None => metrics::counter!("lethe_transactions_total", "outcome" => "void").increment(1),
                Some(Ok(())) => {}
                Some(Err(fault)) => self.recover(&mut producer, fault)?,
            }
        }
        Ok(())
    }

    /// Commits a batch: whole, or, where a topic refuses, tenant by tenant.
    fn settle(&self, producer: &mut Option<TransactionalProducer>, batch: &Prepared) -> Result<(), Fault> {
        let start = Instant::now();
        match self.transact(producer, batch, None) {
            Ok(()) => self.count(batch, None, start.elapsed()),
            Err(Fault::Topic(text)) => {
                tracing::warn!(cause = %text, "a topic cannot be written; the batch is committed tenant by tenant");
                self.settle_by_tenant(producer, batch)?;
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn settle_by_tenant(&self, producer: &mut Option<TransactionalProducer>, batch: &Prepared) -> Result<(), Fault> {
        let tenants: BTreeSet<u16> = batch.next.keys().map(|(source, _)| self.job.rules.sources[usize::from(*source)].tenant).collect();
        let mut blocked = false;
        for tenant in tenants {
            let start = Instant::now();
            match self.transact(producer, batch, Some(tenant)) {
                Ok(()) => self.count(batch, Some(tenant), start.elapsed()),
                Err(Fault::Topic(text)) => {
                    let id = &self.job.rules.tenants[usize::from(tenant)].id;
                    tracing::error!(tenant = %id, cause = %text, "a topic of the tenant cannot be written: the tenant stands still, the others go on");
                    self.job.tenants.block(tenant);
                    self.job.tenants.read_was_refused();
                    blocked = true;
                }
                Err(fault) => return Err(fault),
            }
        }
        if blocked {
            // The rows of the tenant that stands still are read again when it goes on.
            self.generation.advance();
        }
        match producer {
            Some(_) => Ok(()),
            None => Err(Fault::Recreate("the transaction of a topic that cannot be written could not be aborted".into())),
        }
    }

    /// One transaction over a batch, or over one tenant's part of it. After an error nothing of it is committed, or a new producer will settle it.
    fn transact(&self, producer: &mut Option<TransactionalProducer>, batch: &Prepared, tenant: Option<u16>) -> Result<(), Fault> {
        let member = batch.member.as_ref().ok_or_else(|| Fault::Abort("the worker is in no group".into()))?;
        let live = match producer {
            Some(live) => live,
            None => producer.insert(self.connect().map_err(|fault| Fault::Recreate(fault.to_string()))?),
        };
        if faults::planted(Planted::OffsetsBeforeProduce) {
            let offsets = next_offsets(&self.job, &self.consumer, &batch.next, batch.directives, tenant);
            live.begin()?.commit(&offsets, member).map_err(|(fault, _)| fault)?;
        }
        let transaction = live.begin()?;
        let (fault, open) = match self.fill(transaction, batch, tenant, member) {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        let aborted = match (&fault, open) {
            (Fault::Abort(_) | Fault::Topic(_), Some(open)) => open.abort(),
            _ => return Err(fault),
        };
        match aborted {
            Ok(()) => Err(fault),
            Err(lost) => {
                // To a transaction that no partition was added to, brokers refuse the abort, and the producer is of no use any more. What the
                // topic is to blame for is told all the same, or its tenant would never stand still.
                *producer = None;
                Err(if matches!(fault, Fault::Topic(_)) { fault } else { lost })
            }
        }
    }

    /// Produces and commits. Errors: with the transaction, if it is to be aborted.
    fn fill<'p>(
        &self,
        transaction: Transaction<'p>,
        batch: &Prepared,
        tenant: Option<u16>,
        member: &Membership,
    ) -> Result<(), (Fault, Option<Transaction<'p>>)> {
        let job = &self.job;
        let offsets = next_offsets(job, &self.consumer, &batch.next, batch.directives, tenant);
        for chunk in &batch.transformed.chunks {
            let produced = transaction.produce(
                chunk,
                |record| tenant.is_none_or(|t| job.rules.topics[usize::from(record.topic.0)].tenant == t),
                |record| (job.rules.topics[usize::from(record.topic.0)].name.as_str(), job.tenants.partitions(record.topic)),
            );
            if let Err(fault) = produced {
                return Err((transaction.why(fault, &offsets, member), Some(transaction)));
            }
        }
        transaction.commit(&offsets, member)
    }

    fn connect(&self) -> Result<TransactionalProducer, Fault> {
        TransactionalProducer::connect(&self.job.config.kafka, &self.id)
    }

    /// After a failed batch: everything not committed is read again; a producer in an unknown state is replaced.
    fn recover(&mut self, producer: &mut Option<TransactionalProducer>, fault: Fault) -> Result<(), Fault> {
        let (outcome, rebuild) = match &fault {
            Fault::Stop(_) => return Err(fault),
            Fault::Abort(_) | Fault::Topic(_) => ("aborted", false),
            Fault::Retry(_) | Fault::Recreate(_) => ("recreated", true),
            Fault::Fenced(_) => ("fenced", true),
        };
        tracing::warn!(cause = %fault, outcome, "a batch was not committed; it is read again");
        metrics::counter!("lethe_transactions_total", "outcome" => outcome).increment(1);
        if let Fault::Fenced(_) = fault {
            let now = Instant::now();
            self.fenced.retain(|t| now.duration_since(*t) < Duration::from_secs(60));
            self.fenced.push(now);
            if self.fenced.len() >= FENCED_MAX {
                return Err(Fault::Stop(format!("another process uses the transactional id {}; give each its own run.instance", self.id)));
            }
        }
        while (rebuild || producer.is_none()) && !self.job.stopping() {
            *producer = None;
            std::thread::sleep(REBUILD_PAUSE);
            match self.connect() {
                Ok(new) => {
                    *producer = Some(new);
                    break;
                }
                Err(fault) => tracing::warn!(cause = %fault, "no new producer yet"),
            }
        }
        if !rebuild && !self.job.stopping() {
            // Whatever it was may last for a moment: a rebalance, a leader that moves.
            std::thread::sleep(ABORT_PAUSE);
        }
        self.generation.advance();
        Ok(())
    }

    fn count(&self, batch: &Prepared, tenant: Option<u16>, commit: Duration) {
        metrics::counter!("lethe_transactions_total", "outcome" => "committed").increment(1);
        if batch.rows > 0 {
            let (now, mut done) = (Instant::now(), self.job.done());
            let began = done.span.map_or_else(|| now.checked_sub(commit + batch.transform_time).unwrap_or(now), |(began, _)| began);
            done.span = Some((began, now));
            let tallies = batch.transformed.tallies.iter().enumerate();
            tallies.filter(|(i, _)| tenant.is_none_or(|t| usize::from(t) == *i)).for_each(|(_, tally)| done.tally.merge(tally));
        }
        for (i, tally) in batch.transformed.tallies.iter().enumerate() {
            if tally.rows() > 0 && tenant.is_none_or(|t| usize::from(t) == i) {
                self.count_tenant(i, tally);
            }
        }
        if batch.rows > 0 {
            let out = batch.transformed.chunks.iter().map(|c| c.arena.len()).sum();
            let age_ms = batch.oldest_ms.map_or(0, |oldest| clock::now_ms() - oldest);
            counted::record_batch(batch.rows, batch.bytes, out, batch.transform_time, commit, age_ms);
            tracing::debug!(
                rows = batch.rows,
                commit_ms = commit.as_millis() as u64,
                transform_ms = batch.transform_time.as_millis() as u64,
                "committed"
            );
        }
    }

    fn count_tenant(&self, tenant: usize, tally: &Tally) {
        let label = self.job.labels.of(self.job.rules.tenants[tenant].id.as_str());
        counted::record_tenant(
            label,
            &counted::TenantCounts {
                written: tally.written,
                expired: tally.expired,
                gated: &tally.gated,
                quarantined: &tally.quarantined,
                destination_written: &tally.destination_written,
                dropped: &tally.dropped,
            },
        );
        for (d, skips) in Destination::ALL.iter().zip(&tally.destination_skipped) {
            for (skip, n) in Skip::ALL.iter().zip(skips).filter(|(_, n)| **n > 0) {
                counted::count_destination(label, d.as_str(), skip.as_str(), *n);
            }
        }
        for ((destination, field, reason), n) in &tally.form_drops {
            let (destination, field) = (destination.as_str(), field.name());
            let labels = [
                ("tenant", label.to_owned()),
                ("destination", destination.to_owned()),
                ("field", field.to_owned()),
                ("reason", (*reason).to_owned()),
            ];
            metrics::counter!("lethe_destination_fields_dropped_total", &labels).increment(*n);
        }
        for (field, n) in &tally.minimised {
            metrics::counter!("lethe_fields_minimised_total", "tenant" => label.to_owned(), "field" => field.name()).increment(*n);
        }
        for (kind, n) in &tally.scrubbed {
            metrics::counter!("lethe_scrubbed_total", "tenant" => label.to_owned(), "kind" => *kind).increment(*n);
        }
    }
}
