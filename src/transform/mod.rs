//! The line: bytes in, records out. Pure: no I/O, no clock, no Kafka types, no randomness.

pub mod enrich;
pub mod hash;
pub mod normalise;
