//! The middle stage: the pieces that a batch goes through the worker in, and the line that they take.

use super::Job;
use crate::faults::{self, Planted};
use crate::kafka::consumer::{Generation, Membership, Place};
use crate::model::record::{OutputChunk, RawRecords};
use crate::ops::clock;
use crate::transform::line::CHUNK_ROWS;
use crate::transform::{Tally, Transformed, transform_known};
use crossbeam_channel::{Receiver, Sender};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A batch is produced in pieces while the rest of it is read: memory does not grow with the batch, and the brokers take the first records while the
/// last ones go through the line. Small ones are still in the processor's cache when they are produced; but each tenant's rows of a piece are a call of
/// the line by themselves, with its fixed cost, so many tenants get larger ones. Shape: rows of a piece. Units: `tenants`, how many there are.
pub(super) fn piece_rows(tenants: usize) -> usize {
    (CHUNK_ROWS * tenants).clamp(2 * CHUNK_ROWS, 8 * CHUNK_ROWS)
}

/// Rows of the pieces that wait while a batch is committed.
pub(super) const ROWS_AHEAD: usize = 32 * CHUNK_ROWS;
/// A piece of large records ends earlier, once it has so many for each of its rows on average. Units: bytes of raw records.
pub(super) const ROW_BYTES: usize = 1 << 10;

/// A piece of a batch as it was read.
pub(super) struct Collected {
    pub(super) generation: u64,
    /// Whether it is the batch's last: its transaction ends.
    pub(super) is_last: bool,
    pub(super) records: RawRecords,
    pub(super) next: BTreeMap<Place, i64>,
    pub(super) directives: i64,
    pub(super) member: Option<Arc<Membership>>,
}

/// A piece of a batch, ready to be produced.
pub(super) struct Prepared {
    pub(super) generation: u64,
    pub(super) is_last: bool,
    pub(super) chunks: Vec<OutputChunk>,
    pub(super) share: Share,
}

/// What is committed and counted once the records of some pieces are produced.
pub(super) struct Share {
    pub(super) tallies: Vec<Tally>,
    pub(super) next: BTreeMap<Place, i64>,
    pub(super) directives: i64,
    pub(super) member: Option<Arc<Membership>>,
    pub(super) rows: usize,
    /// Units: bytes of raw records, bytes of records made of them.
    pub(super) bytes: (usize, usize),
    pub(super) oldest_ms: Option<i64>,
    pub(super) transform_time: Duration,
}

impl Share {
    /// Takes in the share of the batch's next piece, of the same generation: so what was in force, and who the member is, is the same.
    pub(super) fn add(&mut self, piece: Share) {
        self.tallies.iter_mut().zip(&piece.tallies).for_each(|(all, tally)| all.merge(tally));
        self.next.extend(piece.next);
        self.rows += piece.rows;
        self.bytes = (self.bytes.0 + piece.bytes.0, self.bytes.1 + piece.bytes.1);
        self.oldest_ms = self.oldest_ms.into_iter().chain(piece.oldest_ms).min();
        self.transform_time += piece.transform_time;
    }
}

/// Takes each piece through the line, in their order.
pub(super) fn transform_all(
    job: &Job,
    generation: &Generation,
    from: &Receiver<Collected>,
    to: &Sender<Prepared>,
    spent: &Sender<RawRecords>,
) {
    for batch in from {
        if batch.generation != generation.current() {
            continue;
        }
        let start = Instant::now();
        let now_ms = clock::now_ms();
        let known = (&*job.follower.gates(), &*job.schemas.in_force());
        let transformed = transform_known(&batch.records, &job.rules, &job.assets.at(now_ms), known, now_ms);
        if faults::planted(Planted::LogRejected) {
            log_rejected(&batch.records, &transformed);
        }
        let prepared = Prepared {
            generation: batch.generation,
            is_last: batch.is_last,
            share: Share {
                tallies: transformed.tallies,
                next: batch.next,
                directives: batch.directives,
                member: batch.member,
                rows: batch.records.rows.len(),
                bytes: (batch.records.bytes.len(), transformed.chunks.iter().map(|c| c.arena.len()).sum()),
                oldest_ms: batch.records.rows.iter().map(|r| r.received_at_ms).min(),
                transform_time: start.elapsed(),
            },
            chunks: transformed.chunks,
        };
        // Its memory is used again: fresh pages cost more than the copy into them.
        let _ = spent.try_send(batch.records);
        if to.send(prepared).is_err() {
            return;
        }
    }
}

/// The bug that a test plants: what was rejected stands in the log.
fn log_rejected(records: &RawRecords, transformed: &Transformed) {
    if transformed.tallies.iter().any(|tally| tally.quarantined.iter().sum::<u64>() > 0) {
        for row in &records.rows {
            tracing::warn!(value = %String::from_utf8_lossy(row.payload.of(&records.bytes)), "rejected");
        }
    }
}
