//! The only room with librdkafka in it.

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
