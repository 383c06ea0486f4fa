//! Reads partitions as they are, uncommitted data included, without a group: what is left behind a cursor, and whether tombstones have gone.

use super::client::{self, Fault, Leaders, Quiet, REQUEST_TIMEOUT, Revival};
use super::consumer::ROLL_KEY;
use crate::config::kafka::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// A record as far as its place and kind go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it is.
    pub offset: i64,
    /// When it was stored. Units: ms since the epoch.
    pub stored_at_ms: i64,
    /// It has no value.
    pub is_null: bool,
    /// It is a roll record.
    pub is_roll: bool,
}

impl Left {
    fn of(m: &BorrowedMessage<'_>) -> Left {
        let is_null = m.payload().is_none();
        Left {
            offset: m.offset(),
            stored_at_ms: m.timestamp().to_millis().unwrap_or(0),
            is_null,
            is_roll: is_null && m.key() == Some(ROLL_KEY),
        }
    }
}

/// A reader without a group.
pub struct ReadBack {
    consumer: BaseConsumer<Quiet>,
    leaders: Leaders,
    revival: Revival,
}

impl ReadBack {
    /// Connects. Errors: settings that librdkafka refuses.
    pub fn connect(config: &KafkaConfig) -> Result<Self, Fault> {
        let mut settings = client::consumer(config, "lethe-readback")?;
        settings
            .set("group.protocol", "classic")
            .set("isolation.level", "read_uncommitted")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10")
            // One record is asked for, mostly: fetching far ahead would make the cost grow with the topic.
            .set("queued.min.messages", "1")
            .set("fetch.message.max.bytes", "65536");
        let consumer = settings.create_with_context(Quiet).map_err(|e| Fault::of_request("create consumer", &e))?;
        Ok(ReadBack { consumer, leaders: Leaders::default(), revival: Revival::new(config) })
    }

    /// The first record at or after an offset of each partition of one topic. Shape: partitions without one are left out.
    ///
    /// Errors: the brokers do not answer in time.
    pub fn first_at(&self, topic: &str, from: &[(i32, i64)]) -> Result<HashMap<i32, Left>, Fault> {
        let mut found = HashMap::new();
        let mut open: HashSet<i32> = from.iter().map(|(p, _)| *p).collect();
        self.read(topic, from, |event| {
            match event {
                Ok(m) => {
                    open.remove(&m.partition());
                    found.entry(m.partition()).or_insert_with(|| Left::of(m));
                }
                Err(partition) => {
                    open.remove(&partition);
                }
            }
            open.is_empty()
        })?;
        Ok(found)
    }

    /// Where each partition ends, uncommitted records included, in one request to each broker. Shape: in the order of `places`.
    ///
    /// Errors: the brokers do not answer.
    pub fn ends(&self, places: &[(&str, i32)]) -> Result<Vec<i64>, Fault> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (topic, partition) in places {
            list.add_partition_offset(topic, *partition, Offset::End).map_err(|e| Fault::of_request("ends", &e))?;
        }
        let answer = self
            .consumer
            .offsets_for_times(list, REQUEST_TIMEOUT)
            .map_err(|e| self.revival.retry(self.consumer.client(), "ends of partitions", &e))?;
        let end = |(topic, partition): &(&str, i32)| answer.find_partition(topic, *partition)?.offset().to_raw().filter(|o| *o >= 0);
        places.iter().map(end).collect::<Option<_>>().ok_or_else(|| Fault::Retry("ends of partitions: not all of them answered".into()))
    }

    /// Which broker leads each partition; those without a leader are left out. Errors: the brokers do not answer.
    pub fn leaders(&self) -> Result<HashMap<(String, i32), i32>, Fault> {
        let metadata =
            self.consumer.fetch_metadata(None, REQUEST_TIMEOUT).map_err(|e| self.revival.retry(self.consumer.client(), "leaders", &e))?;
        let partitions =
            metadata.topics().iter().flat_map(|t| t.partitions().iter().map(move |p| ((t.name().to_owned(), p.id()), p.leader())));
        Ok(partitions.filter(|(_, leader)| *leader >= 0).collect())
    }

    /// The first tombstone, roll records aside, in `from..until` of a partition. Errors: the brokers do not answer in time.
    pub fn first_tombstone(&self, topic: &str, partition: i32, from: i64, until: i64) -> Result<Option<Left>, Fault> {
        let mut found = None;
        if from >= until {
            return Ok(None);
        }
        self.read(topic, &[(partition, from)], |event| match event {
            Ok(m) if m.offset() >= until => true,
            Ok(m) if m.payload().is_none() && m.key() != Some(ROLL_KEY) => {
                found = Some(Left::of(m));
                true
            }
            Ok(_) => false,
            Err(_) => true,
        })?;
        Ok(found)
    }

    /// Reads on until `done`, which is told of records and of ends of partitions.
    fn read(&self, topic: &str, from: &[(i32, i64)], mut done: impl FnMut(Result<&BorrowedMessage<'_>, i32>) -> bool) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(from.len());
        for (partition, offset) in from {
            let offset = if *offset <= 0 { Offset::Beginning } else { Offset::Offset(*offset) };
            list.add_partition_offset(topic, *partition, offset).map_err(|e| Fault::of_request("read back", &e))?;
        }
        self.leaders.learn(&self.consumer, topic);
        self.consumer.assign(&list).map_err(|e| Fault::of_request("read back", &e))?;
        let mut last = Instant::now();
        let ended = loop {
            if from.is_empty() {
                break Ok(());
            }
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(m)) => {
                    last = Instant::now();
                    if done(Ok(&m)) {
                        break Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) if done(Err(partition)) => break Ok(()),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(e)) => {
                    if let Some(fault) = client::spoilt(&format!("read back {topic}"), &e) {
                        break Err(fault);
                    }
                    self.revival.heard(&e);
                    tracing::debug!(error = %e, topic, "read back");
                }
                None => self.revival.look(self.consumer.client()),
            }
            if last.elapsed() > REQUEST_TIMEOUT {
                break Err(Fault::Retry(format!("read back {topic}: no answer in time")));
            }
        };
        self.consumer.unassign().map_err(|e| Fault::of_request("read back", &e))?;
        ended
    }
}
