//! Reads what stands in topics, from places noted before up to their ends: for people who look, not for the jobs.

use super::client::{self, Fault, Leaders, REQUEST_TIMEOUT};
use crate::config::kafka::KafkaConfig;
use crate::model::header;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a broker may give nothing before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(15);

/// A topic's name and a partition, and an offset.
pub type Places = BTreeMap<(String, i32), i64>;

/// One record as it stands. No `Debug`: a raw or destination record is clear personal data.
pub struct Standing<'m> {
    /// Its topic.
    pub topic: &'m str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The key; empty for none.
    pub key: &'m [u8],
    /// Its header `lethe`.
    pub header: Option<&'m [u8]>,
    /// The value; empty for a tombstone.
    pub value: &'m [u8],
    /// When the event happened, if the record says so in its header. Units: ms since the epoch.
    pub occurred_at_ms: Option<i64>,
}

/// Passes nothing on to the log: the end of a partition, which is asked for, counts as an error to librdkafka.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, _message: &str) {
        tracing::debug!(?level, facility = fac, "librdkafka");
    }
    fn error(&self, error: KafkaError, _reason: &str) {
        tracing::debug!(%error, "kafka client");
    }
}

impl ConsumerContext for Quiet {}

/// A consumer outside of any group.
pub struct Peek {
    consumer: BaseConsumer<Quiet>,
    leaders: Leaders,
}

impl Peek {
    /// Connects. Errors: settings that librdkafka refuses.
    pub fn connect(config: &KafkaConfig) -> Result<Self, Fault> {
        let mut settings = client::consumer(config, "lethe-peek")?;
        settings.set("enable.partition.eof", "true").set("group.protocol", "classic");
        let consumer = settings.create_with_context(Quiet).map_err(|e| Fault::of_request("create consumer", &e))?;
        Ok(Peek { consumer, leaders: Leaders::default() })
    }

    /// Where each partition of the topics ends now. Shape: topic and its number of partitions. Errors: the brokers do not answer.
    pub fn ends<'t>(&self, topics: impl Iterator<Item = (&'t str, u32)>) -> Result<Places, Fault> {
        let mut ends = Places::new();
        for (topic, partitions) in topics {
            for partition in 0..partitions as i32 {
                let (_, end) =
                    self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(|e| Fault::of_request(topic, &e))?;
                ends.insert((topic.to_owned(), partition), end);
            }
        }
        Ok(ends)
    }

    /// Where each partition of a topic holds the first record that was stored at a time or later. Shape: partitions that hold none are left out.
    ///
    /// Units: ms since the epoch. Errors: the brokers do not answer.
    pub fn since(&self, topic: &str, partitions: u32, at_ms: i64) -> Result<Places, Fault> {
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            let added = list.add_partition_offset(topic, partition, Offset::Offset(at_ms.max(0)));
            added.map_err(|e| Fault::of_request(topic, &e))?;
        }
        let found = self.consumer.offsets_for_times(list, REQUEST_TIMEOUT).map_err(|e| Fault::of_request(topic, &e))?;
        let there = found.elements().into_iter().filter_map(|e| match e.offset() {
            Offset::Offset(offset) => Some(((e.topic().to_owned(), e.partition()), offset)),
            _ => None,
        });
        Ok(there.collect())
    }

    /// Gives every committed record from these places on, until each partition's end. Errors: the brokers fall silent; a batch cannot be read.
    pub fn read(&self, from: &Places, mut each: impl FnMut(&Standing<'_>)) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(from.len());
        for ((topic, partition), offset) in from {
            let added = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
            added.map_err(|e| Fault::of_request(topic, &e))?;
            self.leaders.learn(&self.consumer, topic);
        }
        self.consumer.assign(&list).map_err(|e| Fault::of_request("assign", &e))?;
        let (mut open, mut heard) = (from.len(), Instant::now());
        let mut read = Ok(());
        while open > 0 && read.is_ok() {
            match self.consumer.poll(Duration::from_millis(100)) {
                None if heard.elapsed() > PATIENCE => read = Err(Fault::Retry("the brokers fell silent".into())),
                None => continue,
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(e)) => match client::spoilt(&format!("read {}", topics_of(from)), &e) {
                    Some(fault) => read = Err(fault),
                    None => tracing::debug!(error = %e, "kafka client"),
                },
                Some(Ok(message)) => each(&standing(&message)),
            }
            heard = Instant::now();
        }
        self.consumer.unassign().map_err(|e| Fault::of_request("unassign", &e))?;
        read
    }
}

fn topics_of(places: &Places) -> String {
    places.keys().map(|(topic, _)| topic.as_str()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn standing<'m>(message: &'m BorrowedMessage<'_>) -> Standing<'m> {
    let ours = message.headers().and_then(|all| all.iter().find(|h| h.key == header::NAME)).and_then(|h| h.value);
    Standing {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().unwrap_or_default(),
        header: ours,
        value: message.payload().unwrap_or_default(),
        occurred_at_ms: ours.and_then(header::Header::read).map(|h| h.occurred_at_ms),
    }
}
