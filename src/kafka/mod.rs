//! The only room that talks to Kafka: by librdkafka to read and to administer, by itself to write transactions.

pub mod client;
pub mod consumer;
pub mod directives;
pub mod ends;
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
