//! Two questions to the brokers that no ordinary call answers: which release they are of, and what their clocks say.

use super::client::{self, Fault, REQUEST_TIMEOUT};
use crate::config::kafka::KafkaConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Key of the empty record by which a broker's clock is read. A directive reader takes it for the end of an order that never was.
const CLOCK_KEY: &str = "~clock";
/// How long it is listened for what a broker knows, after it has answered.
const LISTEN: Duration = Duration::from_secs(3);
/// Releases by the newest version of the Fetch request that their brokers know. Source: Kafka's FetchRequest.json and the KIPs that it
/// names, read 2026-11-22.
const FETCH_VERSIONS: [(u32, &str); 8] =
    [(11, "2.3"), (12, "2.7"), (13, "3.1"), (14, "3.5"), (15, "3.5"), (16, "3.7"), (17, "3.9"), (18, "4.1")];
/// The oldest version of Fetch that Kafka 3.1 or newer knows: older brokers were never tried.
pub const FETCH_VERSION_MIN: u32 = 13;

/// Listens to librdkafka's debug words about what the brokers know.
#[derive(Default)]
struct Features(Mutex<Option<u32>>);

impl ClientContext for Features {
    fn log(&self, _level: RDKafkaLogLevel, _fac: &str, message: &str) {
        if let Some(version) = fetch_version(message) {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // The cluster is as old as its oldest broker.
            *known = Some(known.map_or(version, |other| other.min(version)));
        }
    }
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ConsumerContext for Features {}

/// Reads a line such as `ApiKey Fetch (1) Versions 4..17`.
fn fetch_version(message: &str) -> Option<u32> {
    let versions = message.split_once("ApiKey Fetch (1) Versions ")?.1;
    versions.split_once("..")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The newest version of Fetch that every broker knows, and the release that brought it. Errors: no broker answers.
pub fn release(config: &KafkaConfig) -> Result<Option<(u32, &'static str)>, Fault> {
    let mut settings = client::base(config)?;
    settings.set("debug", "feature").set("group.id", "lethe-probe").set_log_level(RDKafkaLogLevel::Debug);
    let consumer: BaseConsumer<Features> =
        settings.create_with_context(Features::default()).map_err(|e| Fault::of_request("create consumer", &e))?;
    consumer.fetch_metadata(None, REQUEST_TIMEOUT).map_err(|e| Fault::of_request("no broker answers", &e))?;
    let known = || *consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner);
    let until = Instant::now() + LISTEN;
    while known().is_none() && Instant::now() < until {
        // Hands over what was logged; nothing is read.
        drop(consumer.poll(Duration::from_millis(20)));
    }
    let known = known();
    let name = |version: u32| FETCH_VERSIONS.iter().rev().find(|(v, _)| *v <= version).map_or("an old one", |(_, name)| name);
    Ok(known.map(|version| (version, name(version))))
}

#[derive(Default)]
struct Stamped(Mutex<Option<Result<i64, String>>>);

impl ClientContext for Stamped {
    fn log(&self, _level: RDKafkaLogLevel, _fac: &str, _message: &str) {}
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Stamped {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let stamped = match result {
            Ok(message) => message.timestamp().to_millis().ok_or_else(|| "the record was not stamped".to_owned()),
            Err((error, _)) => Err(error.to_string()),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stamped);
    }
}

/// The clock of the broker that leads `lethe.directives`, which stamps a record that means nothing. Units: ms since the epoch.
///
/// Errors: the topic cannot be written.
pub fn broker_clock(config: &KafkaConfig, topic: &str) -> Result<i64, Fault> {
    let mut settings = client::producer(config)?;
    settings.set("message.timeout.ms", "10000").set("linger.ms", "0");
    let producer: BaseProducer<Stamped> =
        settings.create_with_context(Stamped::default()).map_err(|e| Fault::of_request("create producer", &e))?;
    // So that the one record does not wait for a connection.
    producer.client().fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(|e| Fault::of_request(topic, &e))?;
    let record = BaseRecord::<str, [u8]>::to(topic).partition(0).key(CLOCK_KEY);
    producer.send(record).map_err(|(e, _)| Fault::of_request(topic, &e))?;
    producer.flush(REQUEST_TIMEOUT).map_err(|e| Fault::of_request(topic, &e))?;
    let stamped = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
    stamped.unwrap_or_else(|| Err("no answer in time".into())).map_err(|e| Fault::Stop(format!("topic {topic}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_from_librdkafkas_words() {
        assert_eq!(fetch_version("[thrd:b]: b/1:   ApiKey Fetch (1) Versions 4..17"), Some(17));
        assert_eq!(fetch_version("ApiKey Produce (0) Versions 3..12"), None);
    }
}
