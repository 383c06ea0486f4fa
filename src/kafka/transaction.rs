//! One batch, one transaction: begin, produce everything, add the offsets, commit. The calls block: never on an async thread.

use super::client::Fault;
use super::consumer::Membership;
use super::wire::{Entry, Put, WireProducer};
use crate::config::kafka::KafkaConfig;
use crate::faults::{self, Planted, Step};
use crate::model::record::{OutputChunk, OutputRecord};
use crate::model::{header, headers};
use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where reading goes on in one partition, once the transaction is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextOffset {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The next offset to read: one past the last one done.
    pub offset: i64,
    /// Up to where `lethe.directives` had been taken in, see [`super::directives::Mark`].
    pub metadata: String,
}

/// A producer with a transactional id.
pub struct TransactionalProducer {
    wire: WireProducer,
}

impl TransactionalProducer {
    /// Connects, and fences whoever had this transactional id before: its open transaction is aborted.
    ///
    /// Errors: the brokers cannot be reached or refuse.
    pub fn connect(config: &KafkaConfig, id: &str) -> Result<Self, Fault> {
        Self::connect_unless(config, id, || false)
    }

    /// The same, for a job that may be asked to stop meanwhile. Errors: as [`TransactionalProducer::connect`]; it is `stopping`.
    pub fn connect_unless(config: &KafkaConfig, id: &str, stopping: impl Fn() -> bool) -> Result<Self, Fault> {
        Ok(TransactionalProducer { wire: WireProducer::connect(config, id, stopping)? })
    }

    /// Connects once more after a fault, asking again after each `pause`. `None`: `stopping` came first.
    pub fn rebuild(config: &KafkaConfig, id: &str, pause: Duration, stopping: impl Fn() -> bool) -> Option<Self> {
        while !stopping() {
            match Self::connect_unless(config, id, &stopping) {
                Ok(new) => return Some(new),
                Err(fault) => {
                    tracing::warn!(cause = %fault, "no new producer yet");
                    std::thread::sleep(pause);
                }
            }
        }
        None
    }

    /// Begins a transaction. The brokers hear of it with its first records.
    ///
    /// Errors: `Recreate`, how the transaction before ended is unknown.
    pub fn begin(&mut self) -> Result<Transaction<'_>, Fault> {
        self.wire.begin()?;
        faults::reached(Step::Begun);
        Ok(Transaction { wire: RefCell::new(&mut self.wire), open: true })
    }
}

/// An open transaction. Ends by `commit` or `abort` alone; dropped otherwise, it is aborted as far as that is possible.
#[must_use]
pub struct Transaction<'p> {
    wire: RefCell<&'p mut WireProducer>,
    open: bool,
}

impl Transaction<'_> {
    /// Produces the records of a chunk that `wanted` picks. `place` tells each record's topic and number of partitions.
    ///
    /// Errors: see [`Fault`]; a topic that cannot be written among them.
    pub fn produce<'t>(
        &self,
        chunk: &OutputChunk,
        wanted: impl Fn(&OutputRecord) -> bool,
        place: impl Fn(&OutputRecord) -> (&'t str, u32),
    ) -> Result<(), Fault> {
        let mut wire = self.wire.borrow_mut();
        let mut topics: Vec<Option<usize>> = Vec::new();
        let now_ms = now_ms();
        for record in chunk.records.iter().filter(|r| wanted(r)) {
            let (name, partitions) = place(record);
            let index = usize::from(record.topic.0);
            if topics.len() <= index {
                topics.resize(index + 1, None);
            }
            let topic = *topics[index].get_or_insert_with(|| wire.topic(name));
            let key = record.key.of(&chunk.arena);
            let partition = record.partition_hash.map_or_else(|| wire.partition(key, partitions), |hash| (hash % partitions.max(1)) as i32);
            let entry = Entry { key, value: Some(record.value.of(&chunk.arena)), headers: record.headers.of(&chunk.arena) };
            wire.put(Put { topic, partition }, &entry, now_ms)?;
        }
        faults::reached(Step::Producing);
        Ok(())
    }

    /// Produces a null value under a key, to the partition where its record is. `header`: what goes into the header `lethe`.
    ///
    /// Errors: as [`Transaction::produce`].
    pub fn tombstone(&self, topic: &str, partition: i32, key: &[u8], header: Option<&[u8]>) -> Result<(), Fault> {
        let mut wire = self.wire.borrow_mut();
        let topic = wire.topic(topic);
        let mut stored = Vec::new();
        if let Some(value) = header {
            headers::begin(1, &mut stored);
            headers::put(header::NAME, value, &mut stored);
        }
        wire.put(Put { topic, partition }, &Entry { key, value: None, headers: &stored }, now_ms())?;
        faults::reached(Step::Producing);
        Ok(())
    }

    /// Produces a plain record. `partition`: none leaves it to the key. Errors: as [`Transaction::produce`].
    pub fn put(&self, topic: &str, partition: Option<i32>, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let mut wire = self.wire.borrow_mut();
        let partition = match partition {
            Some(partition) => partition,
            None => {
                let partitions = wire.partitions(topic)?;
                wire.partition(key, partitions)
            }
        };
        let topic = wire.topic(topic);
        wire.put(Put { topic, partition }, &Entry { key, value: Some(value), headers: &[] }, now_ms())
    }

    /// Adds offsets and commits. Consumes the transaction; an error that asks for an abort gives it back, to be aborted.
    ///
    /// Errors: after any of them nothing was committed, or it is not known what was (`Recreate`): a new producer settles it.
    pub fn commit(mut self, offsets: &[NextOffset], member: &Membership) -> Result<(), (Fault, Option<Self>)> {
        match self.try_commit(offsets, member) {
            Ok(()) => {
                self.open = false;
                faults::reached(Step::Committed);
                Ok(())
            }
            Err(fault @ (Fault::Abort(_) | Fault::Topic(_))) => Err((fault, Some(self))),
            Err(fault) => {
                // What the broker did is unknown: only a new producer may touch this transaction.
                self.open = false;
                Err((fault, None))
            }
        }
    }

    /// Commits, or aborts if that is what the error asks for.
    ///
    /// Errors: as [`Transaction::commit`]'s; or the abort's, after which the producer must be rebuilt.
    pub fn commit_or_abort(self, offsets: &[NextOffset], member: &Membership) -> Result<(), Fault> {
        self.commit(offsets, member).or_else(|(fault, open)| {
            open.map_or(Ok(()), Self::abort)?;
            Err(fault)
        })
    }

    fn try_commit(&self, offsets: &[NextOffset], member: &Membership) -> Result<(), Fault> {
        let mut wire = self.wire.borrow_mut();
        wire.prepare(offsets, member)?;
        faults::reached(Step::OffsetsSent);
        let committed = wire.end(true);
        if faults::planted(Planted::CommitTakenForGranted) { Ok(()) } else { committed }
    }

    /// Aborts. Errors: the producer must be rebuilt.
    pub fn abort(mut self) -> Result<(), Fault> {
        self.open = false;
        self.wire.borrow_mut().end(false).map_err(|fault| match fault {
            Fault::Fenced(text) => Fault::Fenced(text),
            other => Fault::Recreate(other.to_string()),
        })
    }
}

/// Units: ms since the epoch.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let mut wire = self.wire.borrow_mut();
        if self.open && !wire.is_given_up() {
            // Should it fail, the next transaction of this producer does too, and the producer is replaced.
            let _ = wire.end(false);
        }
    }
}
