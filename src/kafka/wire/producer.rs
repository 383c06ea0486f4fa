//! A transaction, from its first record to its end.

use super::cluster::{AGAIN_MAX, Cluster, Known, Who};
use super::codec::Codec;
use super::outbox::{Outbox, Sealed, State};
use super::records::{Author, Entry, Packer};
use super::verdict::Verdict;
use crate::config::kafka::KafkaConfig;
use crate::kafka::client::Fault;
use crate::kafka::consumer::Membership;
use crate::kafka::transaction::NextOffset;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one step of a transaction may take before its outcome counts as unknown.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// The same of the first step, which changes nothing and is made again and again.
const INIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the first step is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a topic that the brokers do not know may still turn up.
pub(super) const UNKNOWN_MAX: Duration = Duration::from_secs(3);
/// Records that are not sealed, of all partitions together: beyond that, all are sealed. Units: bytes.
const OPEN_MAX: usize = 32 << 20;
/// Sealed batches are sent once they are so many together, or asked for. Units: bytes.
const SEND_AT: usize = 256 << 10;
/// Sealed and not acknowledged: beyond that, producing waits. Units: bytes.
const HELD_MAX: usize = 32 << 20;

/// Where a record goes.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Put {
    /// The topic's number, from [`WireProducer::topic`].
    pub(in crate::kafka) topic: usize,
    /// Partition.
    pub(in crate::kafka) partition: i32,
}

struct Topic {
    name: Arc<str>,
    /// Number of the outbox of each partition that was written so far.
    outboxes: Vec<Option<usize>>,
}

/// A request that has no answer yet: the version of the answer, and the batches in it, by outbox and sequence number.
pub(super) struct Request {
    pub(super) version: i16,
    pub(super) batches: Vec<(usize, i32)>,
}

/// A producer with a transactional id.
pub(in crate::kafka) struct WireProducer {
    pub(super) cluster: Cluster,
    pub(super) id: String,
    pub(super) coordinator: Who,
    pub(super) packer: Packer,
    pub(super) batch_size: usize,
    pub(super) timeout: Duration,
    pub(super) author: (i64, i16),
    topics: Vec<Topic>,
    by_name: HashMap<String, usize>,
    pub(super) outboxes: Vec<Outbox>,
    /// Outboxes that this transaction has used.
    pub(super) used: Vec<usize>,
    /// Outboxes that may have something to send.
    pub(super) ready: BTreeSet<usize>,
    pub(super) under_way: BTreeMap<i32, VecDeque<Request>>,
    pub(super) open_bytes: usize,
    pub(super) unsent_bytes: usize,
    pub(super) held_bytes: usize,
    /// Whether the coordinator may know of this transaction.
    pub(super) is_known: bool,
    /// Records without a key go to one partition each transaction.
    pub(super) turn: usize,
    /// Why the last batch had to be sent again.
    pub(super) setback: Option<String>,
    /// Until when nothing is tried, because something could not be sent.
    pub(super) resting_until: Option<Instant>,
    /// Whether the end of a transaction is unknown.
    pub(super) is_given_up: bool,
}

impl WireProducer {
    /// Connects, and fences whoever had this transactional id before: its open transaction is aborted.
    ///
    /// Errors: `Retry`, the brokers cannot be reached, or it is `stopping`; others if they refuse.
    pub(in crate::kafka) fn connect(config: &KafkaConfig, id: &str, stopping: impl Fn() -> bool) -> Result<Self, Fault> {
        let mut new = WireProducer {
            cluster: Cluster::new(config),
            id: id.to_owned(),
            coordinator: Who::Transaction(id.to_owned()),
            packer: Packer::new(Codec::named(&config.compression)),
            batch_size: config.batch_size as usize,
            timeout: Duration::from_millis(u64::from(config.transaction_timeout_ms)),
            author: (-1, -1),
            topics: Vec::new(),
            by_name: HashMap::new(),
            outboxes: Vec::new(),
            used: Vec::new(),
            ready: BTreeSet::new(),
            under_way: BTreeMap::new(),
            open_bytes: 0,
            unsent_bytes: 0,
            held_bytes: 0,
            is_known: false,
            turn: 0,
            setback: None,
            resting_until: None,
            is_given_up: false,
        };
        let end = Instant::now() + CONNECT_TIMEOUT;
        loop {
            match new.introduce(Instant::now() + INIT_TIMEOUT) {
                Ok(()) => return Ok(new),
                Err(Fault::Retry(_) | Fault::Recreate(_)) if Instant::now() < end && !stopping() => std::thread::sleep(AGAIN_MAX),
                Err(Fault::Recreate(text)) => return Err(Fault::Retry(text)),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Begins a transaction; the coordinator hears of it with the first batch. Errors: `Recreate`, how the one before ended is unknown.
    pub(in crate::kafka) fn begin(&mut self) -> Result<(), Fault> {
        if self.is_given_up {
            return Err(Fault::Recreate("the end of the transaction before is unknown".into()));
        }
        self.cluster.tidy();
        self.turn = self.turn.wrapping_add(1);
        self.setback = None;
        Ok(())
    }

    /// Whether the end of a transaction is unknown: nothing more is to be done with this producer.
    pub(in crate::kafka) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// The number of a topic.
    pub(in crate::kafka) fn topic(&mut self, name: &str) -> usize {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        self.topics.push(Topic { name: Arc::from(name), outboxes: Vec::new() });
        self.by_name.insert(name.to_owned(), self.topics.len() - 1);
        self.topics.len() - 1
    }

    /// The partition of a record that has none of its own: its key's, as librdkafka's default partitioner has it; without a key, any.
    pub(in crate::kafka) fn partition(&self, key: &[u8], partitions: u32) -> i32 {
        let number = if key.is_empty() { self.turn as u32 } else { crc32fast::hash(key) };
        (number % partitions.max(1)) as i32
    }

    /// How many partitions a topic has. Errors: as [`WireProducer::put`].
    pub(in crate::kafka) fn partitions(&mut self, name: &str) -> Result<u32, Fault> {
        let since = Instant::now();
        loop {
            match self.cluster.known(name) {
                Some(Known::Leaders(leaders)) => return Ok(leaders.len() as u32),
                Some(Known::Error(error)) if !Verdict::of(*error).is_passing() || since.elapsed() > UNKNOWN_MAX => {
                    return Err(Fault::Topic(format!("topic {name}: {error}")));
                }
                known => {
                    if known.is_some() {
                        std::thread::sleep(AGAIN_MAX);
                    }
                    self.cluster.look(&[name])?;
                }
            }
        }
    }

    /// Takes a record. It is written into its partition's batch here; a batch that is full is sealed, and sent.
    ///
    /// Errors: `Topic`, the topic cannot be written; others as they come: the transaction is to be aborted, or the producer to be replaced.
    pub(in crate::kafka) fn put(&mut self, to: Put, entry: &Entry<'_>, now_ms: i64) -> Result<(), Fault> {
        let number = self.outbox(to);
        let Some(outbox) = self.outboxes.get_mut(number) else { return Ok(()) };
        if !outbox.is_used() && !outbox.is_added {
            self.used.push(number);
        }
        if outbox.open.count() > 0 && outbox.open.len() + entry.at_most() > self.batch_size {
            self.seal(number);
        }
        let Some(outbox) = self.outboxes.get_mut(number) else { return Ok(()) };
        let before = outbox.open.len();
        outbox.open.push(entry, now_ms, &mut self.packer);
        self.open_bytes += outbox.open.len() - before;
        if self.open_bytes > OPEN_MAX {
            self.seal_all();
        }
        let done = if self.held_bytes > HELD_MAX {
            self.drain()
        } else if self.unsent_bytes > SEND_AT && self.resting_until.is_none_or(|until| Instant::now() >= until) {
            self.pump()
        } else {
            Ok(())
        };
        self.judged(done)
    }

    fn outbox(&mut self, to: Put) -> usize {
        let Some(topic) = self.topics.get_mut(to.topic) else { return usize::MAX };
        let index = usize::try_from(to.partition).unwrap_or(0);
        if topic.outboxes.len() <= index {
            topic.outboxes.resize(index + 1, None);
        }
        *topic.outboxes[index].get_or_insert_with(|| {
            self.outboxes.push(Outbox::new(Arc::clone(&topic.name), to.partition));
            self.outboxes.len() - 1
        })
    }

    fn seal(&mut self, number: usize) {
        let Some(outbox) = self.outboxes.get_mut(number).filter(|outbox| outbox.open.count() > 0) else { return };
        self.open_bytes -= outbox.open.len();
        let count = outbox.open.count();
        let sequence = outbox.advance(count);
        let bytes = outbox.open.seal(Author { id: self.author.0, epoch: self.author.1, sequence }, &mut self.packer);
        (self.unsent_bytes, self.held_bytes) = (self.unsent_bytes + bytes.len(), self.held_bytes + bytes.len());
        outbox.sealed.push_back(Sealed { bytes: Bytes::from(bytes), sequence, state: State::Waiting, sealed_at: Instant::now() });
        self.ready.insert(number);
    }

    fn seal_all(&mut self) {
        // Many partitions, each with the memory of a full batch, would be a lot.
        let kept = OPEN_MAX / self.used.len().max(1);
        for number in self.used.clone() {
            self.seal(number);
            if let Some(outbox) = self.outboxes.get_mut(number) {
                outbox.open.keep(kept);
            }
        }
    }

    /// Adds the offsets, waits for every batch, and commits.
    ///
    /// Errors: nothing is committed; after `Recreate` and `Fenced` it is not known what is.
    pub(in crate::kafka) fn prepare(&mut self, offsets: &[NextOffset], member: &Membership) -> Result<(), Fault> {
        self.seal_all();
        let mut done = self.pump();
        // While the brokers store the last batches.
        if done.is_ok() && !offsets.is_empty() {
            done = self.add_offsets(offsets, member);
        }
        let done = done.and_then(|()| self.drain());
        self.judged(done)
    }

    /// An error after which nobody knows more than that it failed is the end of this producer.
    fn judged(&mut self, done: Result<(), Fault>) -> Result<(), Fault> {
        done.inspect_err(|fault| self.is_given_up = !matches!(fault, Fault::Abort(_) | Fault::Topic(_)))
    }

    /// Ends the transaction. Errors: `Recreate` and `Fenced`; what the coordinator did is unknown, or another producer took over.
    pub(in crate::kafka) fn end(&mut self, commit: bool) -> Result<(), Fault> {
        // Until it is known.
        self.is_given_up = true;
        let is_in_doubt = self.used.iter().any(|number| self.outboxes.get(*number).is_some_and(|outbox| !outbox.sealed.is_empty()));
        if is_in_doubt && !commit {
            for leader in std::mem::take(&mut self.under_way).into_keys() {
                self.cluster.hang_up(&Who::Leader(leader));
            }
        }
        if is_in_doubt && !commit && !self.cluster.is_second() {
            // Under a new epoch, none of these batches can be stored any more.
            self.introduce(Instant::now() + STEP_TIMEOUT)?;
        } else if self.is_known {
            self.end_transaction(commit)?;
        }
        self.clear();
        self.is_given_up = false;
        Ok(())
    }

    fn clear(&mut self) {
        let second = self.cluster.is_second();
        for number in std::mem::take(&mut self.used) {
            if let Some(outbox) = self.outboxes.get_mut(number) {
                outbox.clear();
                if second {
                    // A transaction has an epoch of its own.
                    outbox.sequence = 0;
                }
            }
        }
        self.ready.clear();
        (self.open_bytes, self.unsent_bytes, self.held_bytes, self.is_known) = (0, 0, 0, false);
    }
}
