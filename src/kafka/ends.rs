//! Where partitions end: for everybody, and for those who read committed data only. A transaction that hangs holds the second before the first.

use super::client::{self, Fault, Quiet, REQUEST_TIMEOUT, Revival};
use crate::config::kafka::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;

/// The ends of partitions, by topic and partition.
pub type EndsOf = BTreeMap<(String, i32), i64>;

/// Two consumers outside of any group that never read a record.
pub struct Ends {
    all: BaseConsumer<Quiet>,
    stable: BaseConsumer<Quiet>,
    revival: Revival,
}

impl Ends {
    /// Connects. Errors: settings that librdkafka refuses.
    pub fn connect(config: &KafkaConfig) -> Result<Self, Fault> {
        let connect = |isolation: &str| {
            let mut settings = client::consumer(config, "lethe-ends")?;
            settings.set("group.protocol", "classic").set("isolation.level", isolation);
            settings.create_with_context(Quiet).map_err(|e| Fault::of_request("create consumer", &e))
        };
        Ok(Ends { all: connect("read_uncommitted")?, stable: connect("read_committed")?, revival: Revival::new(config) })
    }

    /// Where partitions end, open transactions included. Shape: topics and their number of partitions; partitions that do not answer are left out.
    ///
    /// Errors: the brokers do not answer.
    pub fn all<'t>(&self, topics: impl Iterator<Item = (&'t str, u32)>) -> Result<EndsOf, Fault> {
        self.ends(&self.all, topics)
    }

    /// The last stable offsets: where readers of committed data, and the log cleaner, stop. Shape and errors: as [`Ends::all`].
    pub fn stable<'t>(&self, topics: impl Iterator<Item = (&'t str, u32)>) -> Result<EndsOf, Fault> {
        self.ends(&self.stable, topics)
    }

    /// One request to each broker, however many partitions there are.
    fn ends<'t>(&self, consumer: &BaseConsumer<Quiet>, topics: impl Iterator<Item = (&'t str, u32)>) -> Result<EndsOf, Fault> {
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for partition in 0..partitions as i32 {
                list.add_partition_offset(topic, partition, Offset::End).map_err(|e| Fault::of_request("ends", &e))?;
            }
        }
        if list.count() == 0 {
            return Ok(EndsOf::new());
        }
        let found = consumer
            .offsets_for_times(list, REQUEST_TIMEOUT)
            .map_err(|e| self.revival.retry(consumer.client(), "ends of partitions", &e))?;
        let known = found.elements().into_iter().filter(|e| e.error().is_ok());
        Ok(known.filter_map(|e| Some(((e.topic().to_owned(), e.partition()), e.offset().to_raw().filter(|o| *o >= 0)?))).collect())
    }
}
