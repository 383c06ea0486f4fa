//! Follows `lethe.directives`: read from its start, then live; and the mark that committed offsets carry for retain's barrier.

use super::client::{self, Fault, Leaders, Quiet, REQUEST_TIMEOUT, Revival};
use crate::config::kafka::KafkaConfig;
use crate::model::directive::InForce;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long records may be missing at the end before the topic is read anew.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Pause before the brokers are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long brokers may say that the topic is missing, once it was there.
const MISSED_AFTER: Duration = Duration::from_secs(60);
/// The same where it was not seen yet: a broker may take a moment to know a topic that was just made.
const MISSING_AFTER: Duration = Duration::from_secs(5);

/// What a committed offset's metadata says: `lethe1 directives=<next offset> epoch=<newest key epoch>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Everything before this offset of `lethe.directives` had been taken in when the batch was decided.
    pub directives: i64,
    /// Newest key generation of the tenant then: a keyring that was rolled back is found by it.
    pub epoch: u16,
}

impl Mark {
    /// The metadata's text.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("lethe1 directives={} epoch={}", self.directives, self.epoch)
    }

    /// Reads the metadata's text. Errors: `None` for text of another kind.
    #[must_use]
    pub fn read(text: &str) -> Option<Mark> {
        let mut mark = Mark::default();
        let mut words = text.split(' ');
        if words.next() != Some("lethe1") {
            return None;
        }
        for word in words {
            match word.split_once('=')? {
                ("directives", n) => mark.directives = n.parse().ok()?,
                ("epoch", n) => mark.epoch = n.parse().ok()?,
                _ => {}
            }
        }
        Some(mark)
    }
}

/// A reader of `lethe.directives`, partition 0.
pub struct DirectiveReader {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    there: Mutex<There>,
    revival: Revival,
    /// A directive could not be read: it is to be read again before those behind it.
    must_go_back: AtomicBool,
}

impl DirectiveReader {
    /// Connects; reads from the beginning.
    ///
    /// Errors: the topic is missing or may not be read.
    pub fn connect(config: &KafkaConfig, topic: &str) -> Result<Self, Fault> {
        let mut settings = client::consumer(config, "lethe-directives")?;
        settings.set("enable.partition.eof", "true").set("group.protocol", "classic");
        let consumer: BaseConsumer<Quiet> = settings.create_with_context(Quiet).map_err(|e| Fault::of_request("create consumer", &e))?;
        Leaders::default().learn(&consumer, topic);
        let reader = DirectiveReader {
            consumer,
            topic: topic.to_owned(),
            there: Mutex::default(),
            revival: Revival::new(config),
            must_go_back: AtomicBool::new(false),
        };
        reader.assign(Offset::Beginning)?;
        Ok(reader)
    }

    /// Takes in what has arrived, waiting for at most `wait`. Returns whether anything changed. Errors: Kafka's.
    pub fn follow(&self, in_force: &mut InForce, wait: Duration) -> Result<bool, Fault> {
        if self.must_go_back.load(Ordering::SeqCst) {
            self.go_back(in_force)?;
        }
        let mut changed = false;
        let mut wait = wait;
        while let Some(message) = self.consumer.poll(wait) {
            match message {
                Ok(m) => changed |= take_in(in_force, &m),
                Err(KafkaError::PartitionEOF(_)) => {
                    self.settle(in_force);
                    break;
                }
                Err(e) if is_group_right(&e) => {}
                Err(e) => return Err(self.not_read(&e)),
            }
            wait = Duration::ZERO;
        }
        self.revival.look(self.consumer.client());
        Ok(changed)
    }

    /// The end of the topic as of now. Errors: the brokers do not answer.
    pub fn end(&self) -> Result<i64, Fault> {
        let answer = self.consumer.fetch_watermarks(&self.topic, 0, REQUEST_TIMEOUT);
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok((_, high)) => {
                *there = There { known: true, missing_since: None };
                Ok(high)
            }
            Err(error) => {
                self.revival.unanswered(self.consumer.client(), &error);
                Err(there.judge(&self.topic, &error, Instant::now()))
            }
        }
    }

    /// Reads up to an end fetched now: what was ordered before this call is in force after it. Errors: the brokers do not answer in time.
    pub fn catch_up(&self, in_force: &mut InForce) -> Result<bool, Fault> {
        let end = self.end()?;
        let until = Instant::now() + REQUEST_TIMEOUT;
        let mut changed = false;
        let mut read_again = Instant::now() + READ_AGAIN;
        while in_force.next_offset < end {
            changed |= self.follow(in_force, Duration::from_millis(100))?;
            let now = Instant::now();
            if now > until {
                return Err(Fault::Retry("read directives: no answer in time".into()));
            }
            if now > read_again && in_force.next_offset < end {
                // What is missing may be gaps only, of which the client tells nothing: compaction took the newest records.
                changed |= self.read_to_the_end(in_force, end, until)?;
                read_again = now + READ_AGAIN;
            }
        }
        Ok(changed)
    }

    /// The same for the first time: one broker of several that is away is no reason not to begin. Errors: nobody answers for long.
    pub fn catch_up_first(&self, in_force: &mut InForce) -> Result<bool, Fault> {
        let until = Instant::now() + REQUEST_TIMEOUT;
        loop {
            match self.catch_up(in_force) {
                Err(Fault::Retry(cause)) if Instant::now() < until => tracing::debug!(cause, "directives are asked for again"),
                done => return done,
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    /// Begins to read anew at `in_force.next_offset`. The end of the partition, told to a reading that began after `end` was asked for, is `end`
    /// or later.
    fn read_to_the_end(&self, in_force: &mut InForce, end: i64, until: Instant) -> Result<bool, Fault> {
        self.assign(from(in_force))?;
        let mut changed = false;
        while Instant::now() < until {
            match self.consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(m)) => changed |= take_in(in_force, &m),
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    in_force.next_offset = in_force.next_offset.max(end);
                    break;
                }
                Some(Err(e)) if is_group_right(&e) => {}
                Some(Err(e)) => return Err(self.not_read(&e)),
            }
        }
        Ok(changed)
    }

    /// Goes back to what is to be read next. Not by a new assignment: librdkafka ends the process if one follows another before the partition has stopped.
    fn go_back(&self, in_force: &InForce) -> Result<(), Fault> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, from(in_force)).map_err(|e| Fault::of_request("read directives", &e))?;
        let sought = self.consumer.seek_partitions(list, REQUEST_TIMEOUT);
        let sought = sought.map_err(|e| self.revival.retry(self.consumer.client(), "read directives", &e))?;
        if let Some(error) = sought.elements().iter().find_map(|e| e.error().err()) {
            return Err(Fault::Retry(format!("read directives: {error}")));
        }
        self.must_go_back.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn assign(&self, from: Offset) -> Result<(), Fault> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, from).map_err(|e| Fault::of_request("assign directives", &e))?;
        self.consumer.assign(&list).map_err(|e| Fault::of_request("assign directives", &e))
    }

    /// Without the right to read directives nothing may be processed; nor past one that cannot be read.
    fn not_read(&self, error: &KafkaError) -> Fault {
        if let Some(fault) = client::spoilt(&format!("topic {}", self.topic), error) {
            self.must_go_back.store(true, Ordering::SeqCst);
            return fault;
        }
        self.revival.unanswered(self.consumer.client(), error);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Fault::Stop(format!("this user may not read topic {}: grant it READ on it", self.topic))
            }
            _ => Fault::Retry(format!("read directives: {error}")),
        }
    }

    /// At the end of the partition, compacted gaps before the position count as read.
    fn settle(&self, in_force: &mut InForce) {
        let position = self.consumer.position().ok();
        let next = position.and_then(|p| p.find_partition(&self.topic, 0).and_then(|e| e.offset().to_raw()));
        if let Some(next) = next.filter(|n| *n > in_force.next_offset) {
            in_force.next_offset = next;
        }
    }
}

/// Appends one directive and waits until it is stored on all replicas in sync. Returns its offset. Errors: it was not stored.
pub fn publish(config: &KafkaConfig, topic: &str, key: &str, value: &[u8]) -> Result<i64, Fault> {
    let mut settings = client::producer(config)?;
    settings.set("message.timeout.ms", "30000");
    let context = Stored::default();
    let producer: BaseProducer<Stored> = settings.create_with_context(context).map_err(|e| Fault::of_request("create producer", &e))?;
    let record = BaseRecord::to(topic).partition(0).key(key).payload(value);
    producer.send(record).map_err(|(e, _)| Fault::of_request(topic, &e))?;
    producer.flush(Duration::from_secs(35)).map_err(|e| Fault::of_request(topic, &e))?;
    let stored = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
    stored.unwrap_or_else(|| Err("no answer in time".into())).map_err(|e| Fault::Stop(format!("topic {topic}: {e}")))
}

/// Where the one record was stored.
#[derive(Default)]
struct Stored(Mutex<Option<Result<i64, String>>>);

impl ClientContext for Stored {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, _message: &str) {
        tracing::debug!(?level, facility = fac, "librdkafka");
    }
    fn error(&self, error: KafkaError, _reason: &str) {
        client::log_heard(&error);
    }
}

impl ProducerContext for Stored {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let result = result.as_ref().map(Message::offset).map_err(|(e, _)| e.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }
}

/// Where reading goes on.
fn from(in_force: &InForce) -> Offset {
    if in_force.next_offset == 0 { Offset::Beginning } else { Offset::Offset(in_force.next_offset) }
}

/// Takes in one record. Returns whether something changed: a record that is read again changes nothing.
fn take_in(in_force: &mut InForce, message: &BorrowedMessage<'_>) -> bool {
    if message.offset() < in_force.next_offset {
        return false;
    }
    let stored_at_ms = message.timestamp().to_millis().unwrap_or(0);
    in_force.apply(message.offset(), stored_at_ms, message.key().unwrap_or_default(), message.payload());
    true
}

/// Whether an error is about the group, which this reader names and never joins: it needs no right to one.
fn is_group_right(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// Whether the topic is there.
#[derive(Default)]
struct There {
    /// It was, since this process began.
    known: bool,
    /// Brokers have said since then that it is not.
    missing_since: Option<Instant>,
}

impl There {
    /// What to do about a question about the topic that was not answered. What only the operator can mend is not asked for long; but a broker that
    /// has just come back, or whose topics were just made, answers before it knows them.
    fn judge(&mut self, topic: &str, error: &KafkaError, now: Instant) -> Fault {
        let text = format!("topic {topic}: {error}");
        let code = error.rdkafka_error_code();
        let is_missing = matches!(
            code,
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopicOrPartition)
        );
        let patience = if self.known { MISSED_AFTER } else { MISSING_AFTER };
        if !is_missing {
            self.missing_since = None;
        } else if now.duration_since(*self.missing_since.get_or_insert(now)) < patience {
            return Fault::Retry(text);
        }
        if code.is_some_and(client::is_topic_fault) { Fault::Stop(text) } else { Fault::Retry(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_was_there_is_missed_after_a_while_only() {
        let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition);
        let away = KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown);
        let begun = Instant::now();
        let is_stop =
            |there: &mut There, error: &KafkaError, later: Duration| matches!(there.judge("t", error, begun + later), Fault::Stop(_));
        let mut never = There::default();
        assert!(!is_stop(&mut never, &unknown, Duration::ZERO), "it may have been made just now");
        assert!(is_stop(&mut never, &unknown, MISSING_AFTER), "it never was there");
        let mut there = There { known: true, missing_since: None };
        assert!(!is_stop(&mut there, &unknown, Duration::ZERO));
        assert!(!is_stop(&mut there, &unknown, MISSED_AFTER / 2));
        assert!(!is_stop(&mut there, &away, MISSED_AFTER), "brokers that are away say nothing of it");
        assert!(!is_stop(&mut there, &unknown, MISSED_AFTER * 2));
        assert!(is_stop(&mut there, &unknown, MISSED_AFTER * 3));
    }

    #[test]
    fn marks_survive_the_round_trip() {
        let mark = Mark { directives: 42, epoch: 3 };
        assert_eq!(Mark::read(&mark.to_text()), Some(mark));
        for text in ["", "other", "lethe1 directives=x"] {
            assert_eq!(Mark::read(text), None, "{text}");
        }
    }
}
