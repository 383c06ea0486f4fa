//! The outside world: clock, keys, assets, metrics, logs, HTTP.

pub mod assets;
