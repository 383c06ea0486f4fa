//! The only room that talks to Kafka: by librdkafka to belong to groups, to look around and to administer; by itself to read raw topics and to write
//! transactions.

pub mod client;
pub mod consumer;
pub mod directives;
pub mod ends;
pub mod fetcher;
pub mod mock;
mod native;
pub mod peek;
pub mod permissions;
pub mod probe;
pub mod produce;
pub mod readback;
pub mod topics;
pub mod transaction;
pub mod whole;
mod wire;
