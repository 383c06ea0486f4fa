//! The outside world: clock, keys, assets, metrics, logs, HTTP.

pub mod assets;
pub mod clock;
pub mod core_files;
pub mod http;
pub mod keys;
pub mod keys_signing;
pub mod log;
pub mod metrics;
pub mod registry;
pub mod say;
