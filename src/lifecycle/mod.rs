//! Time and rights as pure functions: retention windows, horizons, holds, erasure.

pub mod horizon;
pub mod retention;
pub mod settings;
