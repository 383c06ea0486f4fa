//! The last stage: one batch, one transaction, produced piece by piece. A batch that cannot be committed is read again; a tenant whose topics refuse stands still alone.

use super::Job;
use super::collect::next_offsets;
use super::pieces::{Prepared, Share};
use crate::faults::{self, Planted};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, Membership, RawConsumer};
use crate::kafka::transaction::{NextOffset, Transaction, TransactionalProducer};
use crate::model::destination::Destination;
use crate::model::record::OutputChunk;
use crate::ops::{clock, metrics as counted};
use crate::transform::Tally;
use crate::transform::destinations::Skip;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A transactional id that is taken over so often within a minute is shared by two processes.
const FENCED_MAX: usize = 5;
/// Pause before an aborted batch is read again.
const ABORT_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a new producer is built.
const REBUILD_PAUSE: Duration = Duration::from_millis(500);

/// After a topic refused, so many pieces are committed each by itself, tenant by tenant where one refuses again.
const CAREFUL_PIECES: u32 = 64;
/// How often it is looked whether a batch whose next piece has not come is to end as it is.
const LOOK: Duration = Duration::from_millis(10);

/// Why a transaction failed; and the transaction, if it is to be aborted.
type Failed<'p> = (Fault, Option<Transaction<'p>>);

/// The pieces of a batch that are still to come.
struct Rest<'r> {
    from: &'r Receiver<Prepared>,
    generation: &'r Generation,
    number: u64,
    is_over: bool,
    /// A piece that came and is not of this batch.
    beyond: Option<Prepared>,
}

impl Rest<'_> {
    /// Waits for the next piece. `None`: there is none, or a rebalance, a directive or the end of the job waits for the transaction to end: what was
    /// produced so far was decided rightly, and ends in it.
    fn next(&mut self) -> Option<Prepared> {
        while !self.is_over && self.generation.current() == self.number {
            match self.from.recv_timeout(LOOK) {
                Ok(piece) if piece.generation == self.number => {
                    self.is_over = piece.is_last;
                    return Some(piece);
                }
                Ok(piece) => {
                    self.beyond = Some(piece);
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.is_over = true;
        None
    }
}

/// The committing stage of one worker.
pub(super) struct Committer {
    job: Arc<Job>,
    consumer: Arc<RawConsumer>,
    generation: Arc<Generation>,
    id: String,
    fenced: Vec<Instant>,
    careful: u32,
}

impl Committer {
    pub(super) fn new(job: Arc<Job>, consumer: Arc<RawConsumer>, generation: Arc<Generation>, worker: u16) -> Self {
        let run = &job.config.run;
        let id = format!("{}-{worker}", crate::commands::transactional_id(&run.group, &run.instance));
        Committer { job, consumer, generation, id, fenced: Vec::new(), careful: 0 }
    }

    pub(super) fn run(mut self, from: &Receiver<Prepared>) -> Result<(), Fault> {
        let mut producer = self.connect_first()?;
        let mut next = from.recv().ok();
        while let Some(first) = next.take() {
            let generation = Arc::clone(&self.generation);
            let mut rest = Rest { from, generation: &generation, number: first.generation, is_over: first.is_last, beyond: None };
            let done = generation.while_current(first.generation, || self.settle(&mut producer, first, &mut rest));
            next = rest.beyond.take();
            match done {
                None => metrics::counter!("lethe_transactions_total", "outcome" => "void").increment(1),
                Some(Ok(())) => {}
                Some(Err(fault)) => self.recover(&mut producer, fault)?,
            }
            next = next.or_else(|| from.recv().ok());
        }
        Ok(())
    }

    /// Commits a batch: whole, or, after a topic refused, piece by piece and tenant by tenant.
    fn settle(&mut self, producer: &mut Option<TransactionalProducer>, first: Prepared, rest: &mut Rest<'_>) -> Result<(), Fault> {
        if faults::planted(Planted::OffsetsBeforeProduce) {
            let (offsets, member) = self.offsets(&first.share, None)?;
            self.transact(producer, |_, transaction| transaction.commit(&offsets, member))?;
        }
        if self.careful == 0 {
            let settled = self.transact(producer, |committer, transaction| committer.fill(transaction, first, rest));
            if let Err(Fault::Topic(_)) = &settled {
                // The first pieces may be gone by now, so the batch is read again.
                self.careful = CAREFUL_PIECES;
            }
            return settled;
        }
        let mut piece = Some(first);
        while let Some(now) = piece {
            self.careful = self.careful.saturating_sub(1);
            self.settle_alone(producer, &now)?;
            piece = rest.next();
        }
        Ok(())
    }

    /// Commits one piece, tenant by tenant if a topic refuses.
    fn settle_alone(&self, producer: &mut Option<TransactionalProducer>, piece: &Prepared) -> Result<(), Fault> {
        match self.transact(producer, |committer, transaction| committer.fill_alone(transaction, piece, None)) {
            Err(Fault::Topic(_)) => {}
            settled => return settled,
        }
        let tenants: BTreeSet<u16> =
            piece.share.next.keys().map(|(source, _)| self.job.rules.sources[usize::from(*source)].tenant).collect();
        let mut blocked = false;
        for tenant in tenants {
            match self.transact(producer, |committer, transaction| committer.fill_alone(transaction, piece, Some(tenant))) {
                Ok(()) => {}
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

    /// One transaction. After an error nothing of it is committed, or a new producer will settle it.
    fn transact(
        &self,
        producer: &mut Option<TransactionalProducer>,
        fill: impl for<'p> FnOnce(&Self, Transaction<'p>) -> Result<(), Failed<'p>>,
    ) -> Result<(), Fault> {
        let live = match producer {
            Some(live) => live,
            None => producer.insert(self.connect().map_err(|fault| Fault::Recreate(fault.to_string()))?),
        };
        let (fault, open) = match fill(self, live.begin()?) {
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

    /// Produces a batch, piece by piece as they come, and commits it.
    fn fill<'p>(&self, transaction: Transaction<'p>, first: Prepared, rest: &mut Rest<'_>) -> Result<(), Failed<'p>> {
        let (mut share, mut chunks, mut busy) = (first.share, first.chunks, Duration::ZERO);
        loop {
            let start = Instant::now();
            let produced = self.produce(&transaction, &chunks, None);
            busy += start.elapsed();
            if let Err(fault) = produced {
                return Err((fault, Some(transaction)));
            }
            drop(chunks);
            match rest.next() {
                Some(piece) => {
                    chunks = piece.chunks;
                    share.add(piece.share);
                }
                None => break,
            }
        }
        self.commit(transaction, &share, None, busy)
    }

    /// Produces and commits one piece, or one tenant's part of it.
    fn fill_alone<'p>(&self, transaction: Transaction<'p>, piece: &Prepared, tenant: Option<u16>) -> Result<(), Failed<'p>> {
        let start = Instant::now();
        match self.produce(&transaction, &piece.chunks, tenant) {
            Ok(()) => self.commit(transaction, &piece.share, tenant, start.elapsed()),
            Err(fault) => Err((fault, Some(transaction))),
        }
    }

    fn produce(&self, transaction: &Transaction<'_>, chunks: &[OutputChunk], tenant: Option<u16>) -> Result<(), Fault> {
        let job = &self.job;
        chunks.iter().try_for_each(|chunk| {
            transaction.produce(
                chunk,
                |record| tenant.is_none_or(|t| job.rules.topics[usize::from(record.topic.0)].tenant == t),
                |record| (job.rules.topics[usize::from(record.topic.0)].name.as_str(), job.tenants.partitions(record.topic)),
            )
        })
    }

    /// Commits what was produced, and counts it. `busy`: how long producing took.
    fn commit<'p>(&self, transaction: Transaction<'p>, share: &Share, tenant: Option<u16>, busy: Duration) -> Result<(), Failed<'p>> {
        let start = Instant::now();
        match self.offsets(share, tenant) {
            Ok((offsets, member)) => transaction.commit(&offsets, member)?,
            Err(fault) => return Err((fault, Some(transaction))),
        }
        self.count(share, tenant, busy + start.elapsed());
        Ok(())
    }

    fn offsets<'s>(&self, share: &'s Share, tenant: Option<u16>) -> Result<(Vec<NextOffset>, &'s Membership), Fault> {
        let member = share.member.as_deref().ok_or_else(|| Fault::Abort("the worker is in no group".into()))?;
        Ok((next_offsets(&self.job, &self.consumer, &share.next, share.directives, tenant), member))
    }

    /// The first producer. Brokers that go away while a worker begins are waited for, as later ones are: nothing was taken on yet. `None`: it is to stop.
    ///
    /// Errors: brokers that refuse.
    fn connect_first(&self) -> Result<Option<TransactionalProducer>, Fault> {
        while !self.job.stopping() {
            match self.connect() {
                Ok(new) => return Ok(Some(new)),
                Err(fault @ Fault::Stop(_)) => return Err(fault),
                Err(fault) => tracing::warn!(cause = %fault, "no producer yet"),
            }
            std::thread::sleep(REBUILD_PAUSE);
        }
        Ok(None)
    }

    fn connect(&self) -> Result<TransactionalProducer, Fault> {
        TransactionalProducer::connect_unless(&self.job.config.kafka, &self.id, || self.job.stopping())
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

    fn count(&self, share: &Share, tenant: Option<u16>, commit: Duration) {
        metrics::counter!("lethe_transactions_total", "outcome" => "committed").increment(1);
        if share.rows > 0 {
            let (now, mut done) = (Instant::now(), self.job.done());
            let began = done.span.map_or_else(|| now.checked_sub(commit + share.transform_time).unwrap_or(now), |(began, _)| began);
            done.span = Some((began, now));
            let tallies = share.tallies.iter().enumerate();
            tallies.filter(|(i, _)| tenant.is_none_or(|t| usize::from(t) == *i)).for_each(|(_, tally)| done.tally.merge(tally));
        }
        for (i, tally) in share.tallies.iter().enumerate() {
            if tally.rows() > 0 && tenant.is_none_or(|t| usize::from(t) == i) {
                self.count_tenant(i, tally);
            }
        }
        if share.rows > 0 {
            let age_ms = share.oldest_ms.map_or(0, |oldest| clock::now_ms() - oldest);
            counted::record_batch(share.rows, share.bytes.0, share.bytes.1, share.transform_time, commit, age_ms);
            tracing::debug!(
                rows = share.rows,
                commit_ms = commit.as_millis() as u64,
                transform_ms = share.transform_time.as_millis() as u64,
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
