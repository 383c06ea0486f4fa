//! Time and rights as pure functions: retention windows, horizons, holds, requests, the audit and certificates.

pub mod audit;
pub mod certificate;
pub mod decoded;
pub mod hold;
pub mod horizon;
pub mod manifest;
pub mod newest;
pub mod request;
pub mod retention;
pub mod settings;
pub mod signed;
pub mod termination;
