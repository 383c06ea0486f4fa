//! Expiry: wakes parked partitions, reads while records are due, and commits tombstones and cursor in one transaction.

use super::Retain;
use super::partition::{Held, PartitionState};
use crate::config::governed::Governed;
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Lent, Place, ROLL_KEY, RawConsumer};
use crate::kafka::transaction::{NextOffset, Transaction, TransactionalProducer};
use crate::lifecycle::hold::Holds;
use crate::lifecycle::retention::{Kind, Pending, Step, step};
use crate::model::header::{self, Header};
use crate::ops::clock;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the loop waits for a record when nothing is open.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// How long an open transaction waits for company.
const OPEN_WAIT: Duration = Duration::from_millis(10);

/// The clock is looked at once for so many records.
const CLOCK_EVERY: u32 = 256;

/// What one transaction holds so far.
struct Batch<'p> {
    open: Option<Transaction<'p>>,
    producer: Option<&'p mut TransactionalProducer>,
    /// Tombstones and the bytes of their values, by partition.
    expired: BTreeMap<Place, (u64, u64)>,
    touched: BTreeMap<Place, i64>,
    count: usize,
    header: Vec<u8>,
}

impl<'p> Batch<'p> {
    /// Writes one tombstone; the first opens the transaction.
    fn expire(&mut self, topic: &str, partition: i32, key: &[u8], header: Option<&[u8]>) -> Result<(), Fault> {
        if self.open.is_none() {
            let producer = self.producer.take().ok_or_else(|| Fault::Recreate("there is no producer".into()))?;
            self.open = Some(producer.begin()?);
        }
        self.header.clear();
        if let Some(h) = header.and_then(Header::read) {
            // The key's epoch, so that a key can be destroyed once nothing of it is left; no time and no pseudonym of anybody.
            header::write(h.epoch, 0, std::iter::empty(), &mut self.header);
        }
        let header = (!self.header.is_empty()).then_some(self.header.as_slice());
        match &self.open {
            Some(transaction) => transaction.tombstone(topic, partition, key, header),
            None => Ok(()),
        }
    }
}

/// One record, as the decision sees it.
struct Next<'m> {
    place: Place,
    offset: i64,
    stored_at_ms: i64,
    key: &'m [u8],
    value_bytes: Option<usize>,
    header: Option<&'m [u8]>,
}

impl Retain<'_> {
    /// One transaction's worth of expiry, possibly none. Returns whether it ended for being full: there may be more at once.
    pub(super) fn expire(&mut self) -> Result<bool, Fault> {
        let Retain { consumer, governed, partitions, producer, config, generation, seen_generation, in_force, holds, labels, .. } = self;
        let producer = producer.as_mut().ok_or_else(|| Fault::Recreate("there is no producer".into()))?;
        let mut batch = Batch {
            open: None,
            producer: Some(producer),
            expired: BTreeMap::new(),
            touched: BTreeMap::new(),
            count: 0,
            header: Vec::new(),
        };
        let begun = Instant::now();
        wake(consumer, governed, holds, partitions, &mut batch)?;
        let mut clock_ms = clock::now_ms();
        let mut full = true;
        let (mut met, mut waited) = (0_u32, Duration::ZERO);
        while batch.count < config.retain.batch_records && waited < config.retain.batch_wait {
            let wait = if batch.open.is_some() { OPEN_WAIT } else { IDLE_WAIT };
            let mut result = Ok(());
            if met.is_multiple_of(CLOCK_EVERY) || wait == IDLE_WAIT {
                (clock_ms, waited) = (clock::now_ms(), begun.elapsed());
            }
            met += 1;
            let came = consumer.lend(wait, |lent| {
                let Lent { place, offset, stored_at_ms, key, value_bytes, header, .. } = lent;
                let next = Next { place, offset, stored_at_ms, key, value_bytes, header };
                result = meet(consumer, governed, holds, partitions, &mut batch, &next, clock_ms);
            })?;
            result?;
            if !came || generation.current() != *seen_generation {
                full = false;
                break;
            }
        }
        if generation.current() != *seen_generation {
            // Dropped, the transaction is aborted: what was read belongs to somebody else now, or is read again.
            batch.open.map_or(Ok(()), Transaction::abort)?;
            return Ok(false);
        }
        let Some(transaction) = batch.open else { return Ok(false) };
        let offsets: Vec<NextOffset> = batch
            .touched
            .iter()
            .filter_map(|(place, next)| {
                let metadata = partitions.get(place)?.metadata(in_force.next_offset);
                Some(NextOffset { topic: governed[usize::from(place.0)].topic.clone(), partition: place.1, offset: *next, metadata })
            })
            .collect();
        commit(transaction, &offsets, consumer)?;
        let now_ms = clock::now_ms();
        for (place, (count, bytes)) in &batch.expired {
            let g = &governed[usize::from(place.0)];
            let tags = [("tenant", labels.of(&g.tenant).to_owned()), ("topic", g.topic.clone())];
            metrics::counter!("lethe_retention_tombstones_total", &tags).increment(*count);
            if let Some(state) = partitions.get_mut(place) {
                state.pending_bytes += bytes;
                state.last_append_ms = now_ms;
            }
        }
        for (place, next) in &batch.touched {
            if let Some(state) = partitions.get_mut(place) {
                state.committed = Some(*next);
                state.saved_directives = in_force.next_offset;
                state.unsaved = false;
            }
        }
        tracing::debug!(tombstones = batch.count, ms = begun.elapsed().as_millis() as u64, "expired");
        Ok(full)
    }

    /// One transaction of roll records and of offsets without records: how idle partitions are rolled, and say which directives they have seen.
    pub(super) fn settle(&mut self, rolls: &[Place], saves: &[Place]) -> Result<(), Fault> {
        if rolls.is_empty() && saves.is_empty() {
            return Ok(());
        }
        let producer = self.producer.as_mut().ok_or_else(|| Fault::Recreate("there is no producer".into()))?;
        let transaction = producer.begin()?;
        for (source, partition) in rolls {
            transaction.tombstone(&self.governed[usize::from(*source)].topic, *partition, ROLL_KEY, None)?;
        }
        let directives = self.in_force.next_offset;
        let offsets: Vec<NextOffset> = saves
            .iter()
            .filter_map(|place| {
                let state = self.partitions.get(place)?;
                let topic = self.governed[usize::from(place.0)].topic.clone();
                Some(NextOffset { topic, partition: place.1, offset: state.next, metadata: state.metadata(directives) })
            })
            .collect();
        commit(transaction, &offsets, &self.consumer)?;
        for place in saves {
            if let Some(state) = self.partitions.get_mut(place) {
                (state.committed, state.saved_directives, state.unsaved) = (Some(state.next), directives, false);
            }
        }
        Ok(())
    }
}

/// Commits, or aborts if that is what the error asks for.
pub(super) fn commit(transaction: Transaction<'_>, offsets: &[NextOffset], consumer: &RawConsumer) -> Result<(), Fault> {
    let Some(group) = consumer.membership() else {
        transaction.abort()?;
        return Err(Fault::Abort("this process is in no group".into()));
    };
    transaction.commit_or_abort(offsets, &group)
}

/// Judges parked records again: a window may have become shorter, or the time has come.
fn wake(
    consumer: &RawConsumer,
    governed: &[Governed],
    holds: &Holds,
    partitions: &mut BTreeMap<Place, PartitionState>,
    batch: &mut Batch<'_>,
) -> Result<(), Fault> {
    let now_ms = clock::now_ms();
    let due = |state: &PartitionState| state.parked.as_ref().is_some_and(|held| held.wake_ms <= now_ms);
    let places: Vec<Place> = partitions.iter().filter(|(_, state)| due(state)).map(|(place, _)| *place).collect();
    for place in &places {
        let Some(held) = partitions.get_mut(place).and_then(|state| state.parked.take()) else { continue };
        let next = Next {
            place: *place,
            offset: held.offset,
            stored_at_ms: held.stored_at_ms,
            key: &held.key,
            value_bytes: Some(0),
            header: held.header.as_deref(),
        };
        meet(consumer, governed, holds, partitions, batch, &next, now_ms)?;
    }
    let awake: Vec<Place> = places.into_iter().filter(|p| partitions.get(p).is_some_and(|s| s.parked.is_none())).collect();
    if awake.is_empty() { Ok(()) } else { consumer.resume(&awake) }
}

/// Decides about one record and does it.
fn meet(
    consumer: &RawConsumer,
    governed: &[Governed],
    holds: &Holds,
    partitions: &mut BTreeMap<Place, PartitionState>,
    batch: &mut Batch<'_>,
    next: &Next<'_>,
    now_ms: i64,
) -> Result<(), Fault> {
    let place = next.place;
    // What comes of a partition that was taken away, or after its cursor was parked, is read again when its time has come.
    let Some(state) = partitions.get_mut(&place).filter(|state| state.parked.is_none()) else { return Ok(()) };
    let topic = &governed[usize::from(place.0)];
    let kind = match next.value_bytes {
        Some(_) => Kind::Value,
        None if next.key == ROLL_KEY => Kind::Roll,
        None => Kind::Tombstone,
    };
    // A held record is passed, and swept when it is released.
    let held = kind == Kind::Value && !holds.is_empty() && holds.cover(&topic.tenant, &topic.short, next.header);
    match step(kind, next.stored_at_ms, topic.governance.keep_ms, now_ms, held) {
        Step::Park { due_ms } => {
            let wake_ms = due_ms + topic.governance.timing.look_every_ms();
            let (key, header) = (next.key.to_vec(), next.header.map(<[u8]>::to_vec));
            state.parked = Some(Held { offset: next.offset, stored_at_ms: next.stored_at_ms, key, header, due_ms, wake_ms });
            state.next = next.offset;
            consumer.pause(&[place])?;
        }
        Step::Pass => {
            state.next = next.offset + 1;
            if kind == Kind::Tombstone && state.pending.is_none() {
                // Somebody's tombstone, or ours after the cursor was forgotten: it must go as well.
                state.pending = Some(Pending { until: next.offset + 1, ..Pending::new(next.offset, now_ms) });
                state.unsaved = true;
            }
        }
        Step::Expire => {
            if state.pending.is_none() {
                // The end of the last look will do: our tombstones come after it.
                let end = if state.end >= 0 { state.end } else { consumer.watermarks(place)?.1 };
                state.pending = Some(Pending::new(end, now_ms));
            }
            if let Some(pending) = &mut state.pending {
                // Up to where is found out at the next look.
                pending.until = i64::MAX;
                pending.grow(now_ms);
            }
            batch.expire(&topic.topic, place.1, next.key, next.header)?;
            state.next = next.offset + 1;
            batch.count += 1;
            let sum = batch.expired.entry(place).or_default();
            *sum = (sum.0 + 1, sum.1 + (next.key.len() + next.value_bytes.unwrap_or(0)) as u64);
        }
    }
    batch.touched.insert(place, state.next);
    Ok(())
}
