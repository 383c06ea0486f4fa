//! What journeys stand on: a real broker, the real binary, a second view of what is in Kafka, and patience.

// Each journey takes what it needs; what only later journeys use is not dead.
#![allow(dead_code)]

pub mod beside;
pub mod broker;
pub mod config;
pub mod expected;
pub mod journey;
pub mod kafka;
pub mod keeper;
pub mod lethe;
pub mod metrics;
pub mod moments;
pub mod outside;
pub mod proxy;
pub mod pseudonymised;
pub mod python;
pub mod registry;
pub mod scene;
pub mod wait;
