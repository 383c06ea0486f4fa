//! One batch, one transaction: begin, produce everything, add the offsets, commit. librdkafka's calls block: never on an async thread.

use super::client::{self, Fault};
use super::consumer::Membership;
use super::native::{self, Parts, Topic};
use crate::config::kafka::KafkaConfig;
use crate::faults::{self, Planted, Step};
use crate::model::record::{OutputChunk, OutputRecord};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one blocking call of a transaction may take before its outcome counts as unknown.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The same of the first call, which changes nothing and is made again and again. A job that is to stop waits for it.
const INIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long producing waits for room in librdkafka's queue.
const ROOM_WAIT: Duration = Duration::from_millis(2);

/// Takes delivery reports. A record that was not delivered dooms its transaction.
#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
    /// What went wrong first: whether a topic is to blame, and in words.
    first: Mutex<Option<(bool, String)>>,
}

impl Deliveries {
    /// Once a transaction fails, much else does: the first cause is the one to tell, or the first that blames a topic.
    fn note(&self, topic_fault: bool, text: impl FnOnce() -> String) {
        if let Ok(mut first) = self.first.lock()
            && first.as_ref().is_none_or(|(topic, _)| topic_fault && !topic)
        {
            *first = Some((topic_fault, text()));
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, message: &str) {
        // librdkafka's own texts may name hosts, not people; still only the facility is passed on.
        tracing::debug!(?level, facility = fac, "librdkafka");
        // Which topic a transaction may not write to is said nowhere else. Partitions after that one are "not attempted".
        if let ("ADDPARTS", Some(at)) = (fac, message.find("Failed to add partition"))
            && !message.contains("not attempted")
        {
            self.note(false, || message[at..].to_owned());
        }
    }
    fn error(&self, error: KafkaError, _reason: &str) {
        client::log_heard(&error);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let code = error.rdkafka_error_code();
            // Records are purged when their transaction has failed already.
            if !matches!(code, Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)) {
                let text = || format!("topic {} partition {}: {error}", message.topic(), message.partition());
                self.note(code.is_some_and(client::is_topic_fault), text);
            }
        }
    }
}

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
    /// By name. They are released before the producer is: fields are dropped in this order.
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    producer: ThreadedProducer<Deliveries, NoCustomPartitioner>,
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
        let settings = client::transactional(config, id)?;
        let producer: ThreadedProducer<Deliveries, NoCustomPartitioner> =
            settings.create_with_context(Deliveries::default()).map_err(|e| Fault::of_request("create producer", &e))?;
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            // A call that timed out goes on in librdkafka; the next one waits for the same answer.
            match producer.init_transactions(INIT_TIMEOUT) {
                Ok(()) => return Ok(TransactionalProducer { topics: Mutex::default(), producer }),
                Err(KafkaError::Transaction(e)) if e.is_retriable() && Instant::now() < end && !stopping() => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(e) => return Err(client::refused(&format!("the transactional id {id}"), "WRITE on it", &e)),
            }
        }
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

    /// Begins a transaction. Errors: see [`Fault`].
    pub fn begin(&mut self) -> Result<Transaction<'_>, Fault> {
        let context = self.producer.context();
        context.failed.store(0, Ordering::Relaxed);
        if let Ok(mut first) = context.first.lock() {
            *first = None;
        }
        self.producer.begin_transaction().map_err(|e| Fault::of_transaction("begin transaction", &e))?;
        faults::reached(Step::Begun);
        Ok(Transaction { producer: &self.producer, topics: &self.topics, open: true })
    }
}

/// An open transaction. Ends by `commit` or `abort` alone; dropped otherwise, it is aborted as far as that is possible.
#[must_use]
pub struct Transaction<'p> {
    producer: &'p ThreadedProducer<Deliveries, NoCustomPartitioner>,
    topics: &'p Mutex<HashMap<String, Arc<Topic>>>,
    open: bool,
}

impl Transaction<'_> {
    /// Produces the records of a chunk that `wanted` picks. `place` tells each record's topic and number of partitions.
    ///
    /// Errors: a record that librdkafka does not take.
    pub fn produce<'t>(
        &self,
        chunk: &OutputChunk,
        wanted: impl Fn(&OutputRecord) -> bool,
        place: impl Fn(&OutputRecord) -> (&'t str, u32),
    ) -> Result<(), Fault> {
        let mut topics: Vec<Option<Arc<Topic>>> = Vec::new();
        for record in chunk.records.iter().filter(|r| wanted(r)) {
            let (name, partitions) = place(record);
            let index = usize::from(record.topic.0);
            if topics.len() <= index {
                topics.resize(index + 1, None);
            }
            let topic = match &mut topics[index] {
                Some(topic) => &*topic,
                none => none.insert(self.topic(name)?),
            };
            let parts = Parts {
                partition: record.partition_hash.map(|hash| (hash % partitions.max(1)) as i32),
                key: record.key.of(&chunk.arena),
                value: Some(record.value.of(&chunk.arena)),
            };
            let headers = &chunk.headers[record.headers.0 as usize..record.headers.1 as usize];
            self.send(topic, &parts, || headers.iter().map(|(name, value)| (name.as_str(), value.of(&chunk.arena))))?;
        }
        faults::reached(Step::Producing);
        Ok(())
    }

    /// Produces a null value under a key, to the partition where its record is. `header`: what goes into the header `lethe`.
    ///
    /// Errors: as [`Transaction::produce`].
    pub fn tombstone(&self, topic: &str, partition: i32, key: &[u8], header: Option<&[u8]>) -> Result<(), Fault> {
        let parts = Parts { partition: Some(partition), key, value: None };
        let header = header.map(|value| (crate::model::header::NAME, value));
        self.send(&*self.topic(topic)?, &parts, || header.into_iter())?;
        faults::reached(Step::Producing);
        Ok(())
    }

    /// Produces a plain record. `partition`: none leaves it to the key. Errors: as [`Transaction::produce`].
    pub fn put(&self, topic: &str, partition: Option<i32>, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.send(&*self.topic(topic)?, &Parts { partition, key, value: Some(value) }, std::iter::empty)
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, Fault> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return Ok(Arc::clone(topic));
        }
        let topic =
            Topic::open(self.producer, name).ok_or_else(|| Fault::Topic(format!("produce to {name}: librdkafka refuses the name")))?;
        let topic = Arc::new(topic);
        topics.insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }

    /// Hands over one record, waiting for room.
    fn send<'h, H: ExactSizeIterator<Item = (&'h str, &'h [u8])>>(
        &self,
        topic: &Topic,
        parts: &Parts<'_>,
        headers: impl Fn() -> H,
    ) -> Result<(), Fault> {
        loop {
            match native::produce(self.producer, topic, parts, headers()) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) => std::thread::sleep(ROOM_WAIT),
                Err(code) => {
                    let text = format!("produce to {}: {}", topic.name(), KafkaError::MessageProduction(code));
                    return Err(if client::is_topic_fault(code) { Fault::Topic(text) } else { Fault::Abort(text) });
                }
            }
        }
    }

    /// Adds offsets and commits. Consumes the transaction; an error that asks for an abort gives it back, to be aborted.
    ///
    /// Errors: after any of them nothing was committed, or it is not known what was (`Recreate`): a new producer settles it.
    pub fn commit(mut self, offsets: &[NextOffset], member: &Membership) -> Result<(), (Fault, Option<Self>)> {
        let list = listed(offsets).map_err(|fault| (fault, None))?;
        match self.try_commit(&list, member) {
            Ok(()) => {
                self.open = false;
                faults::reached(Step::Committed);
                Ok(())
            }
            Err(fault @ (Fault::Abort(_) | Fault::Topic(_))) => {
                let fault = self.cause(fault, &list, member);
                Err((fault, Some(self)))
            }
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

    fn try_commit(&self, offsets: &TopicPartitionList, member: &Membership) -> Result<(), Fault> {
        if offsets.count() > 0 {
            self.retry("send offsets", |p| p.send_offsets_to_transaction(offsets, &member.0, CALL_TIMEOUT))?;
        }
        faults::reached(Step::OffsetsSent);
        let committed = self.retry("commit transaction", |p| {
            native::flush(p, CALL_TIMEOUT).map_err(KafkaError::Flush)?;
            p.commit_transaction(CALL_TIMEOUT)
        });
        if faults::planted(Planted::CommitTakenForGranted) { Ok(()) } else { committed }
    }

    /// What is behind a failure. A transaction that fails while records are produced or offsets are sent says of that call only that the state
    /// is wrong; asked to take offsets once more, it names what brought it there. Nothing is committed by asking.
    fn cause(&self, fault: Fault, offsets: &TopicPartitionList, member: &Membership) -> Fault {
        let asked = match &fault {
            Fault::Abort(_) if offsets.count() > 0 => self.producer.send_offsets_to_transaction(offsets, &member.0, CALL_TIMEOUT).err(),
            _ => None,
        };
        let fault = match asked.map(|error| Fault::of_transaction("transaction", &error)) {
            Some(cause @ Fault::Topic(_)) => cause,
            _ => fault,
        };
        let said = |text: String, cause: Option<String>| cause.map_or_else(|| text.clone(), |cause| format!("{text} ({cause})"));
        match (fault, self.failure()) {
            (Fault::Topic(text), failure) => Fault::Topic(said(text, failure.map(|(_, cause)| cause))),
            (Fault::Abort(text), Some((true, cause))) => Fault::Topic(said(text, Some(cause))),
            (Fault::Abort(text), failure) => Fault::Abort(said(text, failure.map(|(_, cause)| cause))),
            (fault, _) => fault,
        }
    }

    /// What is behind a record that was not taken, see [`Transaction::produce`]: to be asked before the abort.
    #[must_use]
    pub fn why(&self, fault: Fault, offsets: &[NextOffset], member: &Membership) -> Fault {
        match listed(offsets) {
            Ok(list) => self.cause(fault, &list, member),
            Err(_) => fault,
        }
    }

    /// Aborts. Errors: the producer must be rebuilt.
    pub fn abort(mut self) -> Result<(), Fault> {
        self.open = false;
        self.retry("abort transaction", |p| p.abort_transaction(CALL_TIMEOUT)).map_err(|f| match f {
            Fault::Fenced(text) => Fault::Fenced(text),
            other => Fault::Recreate(other.to_string()),
        })
    }

    /// Why the first record was not delivered, if any; and whether its topic is to blame.
    #[must_use]
    pub fn failure(&self) -> Option<(bool, String)> {
        self.producer.context().first.lock().ok().and_then(|f| f.clone())
    }

    fn retry(
        &self,
        step: &str,
        call: impl Fn(&ThreadedProducer<Deliveries, NoCustomPartitioner>) -> Result<(), KafkaError>,
    ) -> Result<(), Fault> {
        const TRIES: u32 = 5;
        let mut last = None;
        for _ in 0..TRIES {
            match call(self.producer).map_err(|e| Fault::of_transaction(step, &e)) {
                Err(Fault::Retry(text)) => last = Some(text),
                done => return done,
            }
        }
        Err(Fault::Recreate(last.unwrap_or_default()))
    }
}

fn listed(offsets: &[NextOffset]) -> Result<TopicPartitionList, Fault> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for o in offsets {
        let mut element = list.add_partition(&o.topic, o.partition);
        element.set_offset(Offset::Offset(o.offset)).map_err(|e| Fault::Recreate(format!("offset: {e}")))?;
        element.set_metadata(&o.metadata);
    }
    Ok(list)
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            // Errors are not lost: the next `begin` on this producer fails, and the producer is rebuilt.
            let _ = self.producer.abort_transaction(CALL_TIMEOUT);
        }
    }
}
