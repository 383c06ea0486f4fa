//! Records of `T.events` as `run` writes them, made without it: with times of one's own.

use lethe::model::header;
use lethe::model::partition::murmur2_positive;
use lethe::model::pseudonym::{Epoch, Pseudonym};
use lethe::transform::avro::{long, optional_string, single_object_prefix, string};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const SCHEMA: &str = include_str!("../../../schemas/record/record.avsc");

/// What differs between events. Empty text is absent.
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub occurred_at_ms: i64,
    pub stored_at_ms: i64,
    /// Empty: anonymous.
    pub subject: String,
    pub country: String,
    pub path: String,
    pub source: String,
    pub value: Option<f64>,
}

impl Event {
    /// Its subject as it stands in key and record.
    pub fn subject(&self) -> String {
        if self.subject.is_empty() { format!("-{}", self.id) } else { self.subject.clone() }
    }

    /// Its key.
    pub fn key(&self) -> String {
        format!("{}/{}", self.subject(), self.id)
    }

    /// Its partition.
    pub fn partition(&self, partitions: u32) -> i32 {
        (murmur2_positive(self.subject().as_bytes()) % partitions) as i32
    }

    /// The pseudonym that its header names.
    pub fn pseudonym(&self) -> Pseudonym {
        let mut bytes = [0; 16];
        self.subject.bytes().rev().zip(&mut bytes).for_each(|(from, to)| *to = from);
        Pseudonym(bytes)
    }

    /// Its value.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = single_object_prefix(SCHEMA).expect("our own schema");
        string(self.id.as_bytes(), &mut out);
        string(b"events", &mut out);
        optional_string(&self.name, &mut out);
        long(self.occurred_at_ms, &mut out);
        long(self.occurred_at_ms, &mut out);
        string(b"tenant", &mut out);
        string(self.subject().as_bytes(), &mut out);
        out.push(0); // identifiers
        long(1, &mut out); // key_epoch
        string(b"analytics", &mut out);
        out.extend([0, 2]); // consent, geo
        [&self.country, "", ""].iter().for_each(|text| optional_string(text, &mut out));
        out.extend([0, 0, 2]); // ip_truncated, device, page
        ["example.org", &self.path, ""].iter().for_each(|text| optional_string(text, &mut out));
        out.push(2); // campaign
        [&self.source, "", "", "", "", ""].iter().for_each(|text| optional_string(text, &mut out));
        match self.value {
            None => out.extend([0, 0]),
            Some(value) => {
                out.push(2);
                out.extend(value.to_le_bytes());
                optional_string("EUR", &mut out);
            }
        }
        // order, items, payout, cost, quantity, custom, feedback, session, age_band, zip_prefix, body
        out.extend([0; 11]);
        out
    }
}

/// Says why the broker refuses a record.
struct Refusals;

impl rdkafka::ClientContext for Refusals {}

impl rdkafka::producer::ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            println!("refused: {error}");
        }
    }
}

/// Produces events, each to its subject's partition, with the time at which it was stored. The topic must take the producer's times.
#[track_caller]
pub fn produce(bootstrap: &str, topic: &str, partitions: u32, events: &[Event]) {
    let there = || super::kafka::watermarks(bootstrap, topic).iter().map(|(_, end)| end).sum::<i64>();
    let before = there();
    let producer: BaseProducer<Refusals> = super::kafka::client(bootstrap).create_with_context(Refusals).expect("a producer");
    for event in events {
        let (key, value, mut lethe) = (event.key(), event.bytes(), Vec::new());
        header::write(Epoch(1), event.occurred_at_ms, (!event.subject.is_empty()).then(|| event.pseudonym()).into_iter(), &mut lethe);
        let headers = OwnedHeaders::new().insert(Header { key: header::NAME, value: Some(&lethe) });
        let record = BaseRecord::to(topic).key(&key).payload(&value).timestamp(event.stored_at_ms).headers(headers);
        let mut record = record.partition(event.partition(partitions));
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(5));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(60)).expect("the broker answers");
    assert_eq!(there(), before + events.len() as i64, "the broker takes what is produced");
}
