//! A transactional producer and a fetcher that speak Kafka's protocol themselves.
//!
//! librdkafka keeps a message, a list of headers and a delivery for each record, and copies all of it once more into the batch that it sends: half of the
//! time that an event took went there. Here a record is written once, into the batch of its partition, which is compressed when it is full and sent as it
//! is. One thread does all of it, with blocking sockets: what is under way needs no locks, and a broker that is slow slows the job down.
//!
//! Order and duplicates: every batch has the producer's id, epoch and a sequence number (KIP-98), and stays here until it is acknowledged. At most
//! [`IN_FLIGHT`] requests to a broker are under way, which is as many batches as a broker remembers; whatever is not acknowledged is sent again, in
//! order, so a broker takes each batch once. A transaction that is given up with batches in doubt takes a new epoch (KIP-360): they count no more.

mod asking;
mod batches;
mod cluster;
mod codec;
mod connection;
mod coordination;
mod delivery;
mod fetching;
mod outbox;
mod producer;
mod records;
#[cfg(test)]
mod tests;
mod verdict;

pub(super) use batches::Records;
pub(super) use fetching::Fetching;
pub(super) use producer::{Put, WireProducer};
pub(super) use records::Entry;

/// Requests that may be under way to one broker: brokers remember the last five batches of a producer in each partition.
const IN_FLIGHT: usize = 5;
