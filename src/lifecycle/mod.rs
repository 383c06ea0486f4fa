//! Time and rights as pure functions: retention windows, horizons, holds, requests, the audit and certificates.

pub mod audit;
pub mod certificate;
pub mod hold;
pub mod horizon;
pub mod request;
pub mod retention;
pub mod settings;
pub mod signed;
pub mod termination;
