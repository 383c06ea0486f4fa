//! Follows `lethe.directives`: read from its start, then live; and the mark that committed offsets carry for retain's barrier.

use super::client::{self, Fault, Quiet, REQUEST_TIMEOUT};
use crate::config::kafka::KafkaConfig;
use crate::model::directive::InForce;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

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
}

impl DirectiveReader {
    /// Connects; reads from the beginning.
    ///
    /// Errors: the topic is missing or may not be read.
    pub fn connect(config: &KafkaConfig, topic: &str) -> Result<Self, Fault> {
        let mut settings = client::consumer(config, "lethe-directives")?;
        settings.set("enable.partition.eof", "true").set("group.protocol", "classic");
        let consumer: BaseConsumer<Quiet> = settings.create_with_context(Quiet).map_err(|e| Fault::of_request("create consumer", &e))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).map_err(|e| Fault::of_request("assign directives", &e))?;
        consumer.assign(&list).map_err(|e| Fault::of_request("assign directives", &e))?;
        Ok(DirectiveReader { consumer, topic: topic.to_owned() })
    }

    /// Takes in what has arrived, waiting for at most `wait`. Returns whether anything changed. Errors: Kafka's.
    pub fn follow(&self, in_force: &mut InForce, wait: Duration) -> Result<bool, Fault> {
        let mut changed = false;
        let mut wait = wait;
        while let Some(message) = self.consumer.poll(wait) {
            match message {
                Ok(m) => {
                    in_force.apply(m.offset(), m.key().unwrap_or_default(), m.payload());
                    changed = true;
                }
                Err(KafkaError::PartitionEOF(_)) => {
                    self.settle(in_force);
                    break;
                }
                Err(e) => return Err(Fault::Retry(format!("read directives: {e}"))),
            }
            wait = Duration::ZERO;
        }
        Ok(changed)
    }

    /// The end of the topic as of now. Errors: the brokers do not answer.
    pub fn end(&self) -> Result<i64, Fault> {
        let (_, high) = self.consumer.fetch_watermarks(&self.topic, 0, REQUEST_TIMEOUT).map_err(|e| Fault::of_request(&self.topic, &e))?;
        Ok(high)
    }

    /// Reads up to an end fetched now: what was ordered before this call is in force after it. Errors: the brokers do not answer in time.
    pub fn catch_up(&self, in_force: &mut InForce) -> Result<bool, Fault> {
        let end = self.end()?;
        let until = Instant::now() + REQUEST_TIMEOUT;
        let mut changed = false;
        while in_force.next_offset < end {
            changed |= self.follow(in_force, Duration::from_millis(100))?;
            if Instant::now() > until {
                return Err(Fault::Retry("read directives: no answer in time".into()));
            }
        }
        Ok(changed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_round_trip() {
        let mark = Mark { directives: 42, epoch: 3 };
        assert_eq!(Mark::read(&mark.to_text()), Some(mark));
        for text in ["", "other", "lethe1 directives=x"] {
            assert_eq!(Mark::read(text), None, "{text}");
        }
    }
}
