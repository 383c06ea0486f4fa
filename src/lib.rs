//! Lethe: makes personal data on Apache Kafka safe to use, and then forgets it, provably.

pub mod cli;
pub mod commands;
pub mod config;
pub mod derive;
pub mod faults;
pub mod generator;
pub mod kafka;
pub mod lifecycle;
pub mod model;
pub mod ops;
pub mod transform;
