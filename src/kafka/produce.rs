//! Produces plain records to one topic: idempotent, no transaction, partitioned by the key as any Kafka client would.

use super::client::{self, Fault};
use crate::config::kafka::KafkaConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long producing waits for room in librdkafka's queue.
const ROOM_WAIT: Duration = Duration::from_millis(2);
/// How long the last records may take to be delivered.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Reports {
    delivered: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

impl ClientContext for Reports {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, _message: &str) {
        tracing::debug!(?level, facility = fac, "librdkafka");
    }
    fn error(&self, error: KafkaError, _reason: &str) {
        tracing::warn!(%error, "kafka client");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// A producer to one topic. Ends by [`PlainProducer::finish`]; dropped otherwise, records may be lost.
#[must_use]
pub struct PlainProducer {
    producer: ThreadedProducer<Reports, NoCustomPartitioner>,
    topic: String,
}

impl PlainProducer {
    /// Connects. Errors: settings that librdkafka refuses.
    pub fn connect(config: &KafkaConfig, topic: &str) -> Result<Self, Fault> {
        let mut settings = client::producer(config)?;
        // The partition that Kafka's own Java client would choose for the key.
        settings.set("partitioner", "murmur2_random");
        let producer = settings.create_with_context(Reports::default()).map_err(|e| Fault::of_request("create producer", &e))?;
        Ok(PlainProducer { producer, topic: topic.to_owned() })
    }

    /// Hands over one record, waiting for room. Errors: librdkafka does not take it, or an earlier one was not delivered.
    pub fn send(&self, key: &[u8], payload: &[u8]) -> Result<(), Fault> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(payload);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.check()?;
                    record = back;
                    std::thread::sleep(ROOM_WAIT);
                }
                Err((error, _)) => return Err(Fault::Stop(format!("produce to {}: {error}", self.topic))),
            }
        }
    }

    /// How many records the brokers have taken so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.producer.context().delivered.load(Ordering::Relaxed)
    }

    /// Waits until all records are delivered. Errors: one was not.
    pub fn finish(self) -> Result<u64, Fault> {
        let flushed = self.producer.flush(FLUSH_TIMEOUT);
        self.check()?;
        flushed.map_err(|e| Fault::Stop(format!("produce to {}: {e}", self.topic)))?;
        Ok(self.delivered())
    }

    fn check(&self) -> Result<(), Fault> {
        let failure = self.producer.context().first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(Ok(()), |text| Err(Fault::Stop(format!("produce to {}: {text}", self.topic))))
    }
}
