//! Reads partitions from one offset to another, without a group, at full speed: for sweeps, for reading back, and for the audit.

use super::client::{self, Fault, Leaders, Quiet, REQUEST_TIMEOUT};
use crate::config::kafka::KafkaConfig;
use crate::model::header;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Which records are seen, and which end `bounds` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Committed ones, up to the last stable offset.
    Committed,
    /// All, those of open and aborted transactions too, up to the high watermark.
    Uncommitted,
}

/// One record, lent.
pub struct Seen<'m> {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When it was stored. Units: ms since the epoch.
    pub stored_at_ms: i64,
    /// Its key; empty for none.
    pub key: &'m [u8],
    /// Its value; `None` for a tombstone.
    pub value: Option<&'m [u8]>,
    /// Its header `lethe`.
    pub header: Option<&'m [u8]>,
}

/// A reader of whole ranges.
pub struct WholeReader {
    consumer: BaseConsumer<Quiet>,
    leaders: Leaders,
}

impl WholeReader {
    /// Connects. Errors: settings that librdkafka refuses.
    pub fn connect(config: &KafkaConfig, isolation: Isolation) -> Result<Self, Fault> {
        let mut settings = client::consumer(config, "lethe-whole")?;
        let isolation = if isolation == Isolation::Committed { "read_committed" } else { "read_uncommitted" };
        settings.set("group.protocol", "classic").set("isolation.level", isolation).set("enable.partition.eof", "true");
        let consumer = settings.create_with_context(Quiet).map_err(|e| Fault::of_request("create consumer", &e))?;
        Ok(WholeReader { consumer, leaders: Leaders::default() })
    }

    /// Where a partition begins and ends now. Errors: the brokers do not answer.
    pub fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64), Fault> {
        self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(|e| Fault::Retry(format!("watermarks of {topic}: {e}")))
    }

    /// Gives every record of these ranges of a topic. Shape: partition, first offset, one past the last; each partition in its order.
    ///
    /// Errors: the brokers fall silent; a batch cannot be read; what `each` says.
    pub fn read(&self, topic: &str, ranges: &[(i32, i64, i64)], mut each: impl FnMut(&Seen<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut open: HashMap<i32, i64> = ranges.iter().filter(|(_, from, until)| from < until).map(|(p, _, until)| (*p, *until)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(ranges.len());
        for (partition, from, _) in ranges.iter().filter(|(p, _, _)| open.contains_key(p)) {
            let from = if *from <= 0 { Offset::Beginning } else { Offset::Offset(*from) };
            list.add_partition_offset(topic, *partition, from).map_err(|e| Fault::of_request("read", &e))?;
        }
        self.leaders.learn(&self.consumer, topic);
        self.consumer.assign(&list).map_err(|e| Fault::of_request("read", &e))?;
        let done = self.drain(topic, &mut open, &mut each);
        self.consumer.unassign().map_err(|e| Fault::of_request("read", &e))?;
        done
    }

    fn drain(&self, topic: &str, open: &mut HashMap<i32, i64>, each: &mut impl FnMut(&Seen<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut heard = Instant::now();
        while !open.is_empty() {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(m)) => {
                    heard = Instant::now();
                    let Some(until) = open.get(&m.partition()).copied() else { continue };
                    if m.offset() < until {
                        let headers = m.headers();
                        each(&Seen {
                            partition: m.partition(),
                            offset: m.offset(),
                            stored_at_ms: m.timestamp().to_millis().unwrap_or(0),
                            key: m.key().unwrap_or_default(),
                            value: m.payload(),
                            header: headers.and_then(|h| h.iter().find(|h| h.key == header::NAME).and_then(|h| h.value)),
                        })?;
                    }
                    if m.offset() + 1 >= until {
                        open.remove(&m.partition());
                    }
                }
                // The end now is the end asked for, or a later one.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    open.remove(&partition);
                }
                Some(Err(e)) => match client::spoilt(&format!("read {topic}"), &e) {
                    Some(fault) => return Err(fault),
                    None => tracing::debug!(error = %e, topic, "read"),
                },
                None => {}
            }
            if heard.elapsed() > REQUEST_TIMEOUT {
                return Err(Fault::Retry(format!("read {topic}: no answer in time")));
            }
        }
        Ok(())
    }
}
