//! Records computed from records: what `lethe aggregate` counts and what `lethe sessions` puts together. No Kafka, no clock.

pub mod aggregate;
mod avro;
pub mod benchmark;
pub mod cell;
pub mod day;
pub mod lateness;
pub mod money;
mod packed;
pub mod record;
pub mod session;
pub mod sessions;
pub mod subjects;

#[cfg(test)]
mod attack;
