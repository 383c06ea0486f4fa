//! One journey each, wiring only.

pub mod acls;
pub mod aggregate;
pub mod demo;
pub mod doctor;
pub mod export;
mod framing;
pub mod generate;
pub mod identifiers;
pub mod keys;
mod linked;
pub mod orders;
mod process;
pub mod proof;
pub mod retain;
pub mod rights;
pub mod run;
pub mod sessions;
mod signals;
pub mod status;
pub mod status_request;
mod terminated;
pub mod topics;
mod watch;

pub use process::Load;

use crate::config::ConfigError;
use crate::kafka::client::Fault;

/// Why a command ended badly: its text is one line, its kind the exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The operator must change the configuration or the call. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Something else failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Failed(_) => 1,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Self {
        Failure::Usage(e.to_string())
    }
}

impl From<crate::ops::keys::KeyringError> for Failure {
    fn from(e: crate::ops::keys::KeyringError) -> Self {
        Failure::Usage(e.to_string())
    }
}

impl From<crate::ops::keys_signing::SigningFault> for Failure {
    fn from(e: crate::ops::keys_signing::SigningFault) -> Self {
        Failure::Usage(e.to_string())
    }
}

impl From<Fault> for Failure {
    fn from(e: Fault) -> Self {
        Failure::Failed(e.to_string())
    }
}

/// The transactional id of a group's process. Without a configured instance it is of host name and process id: unlike any other, but not stable
/// over a restart.
fn transactional_id(group: &str, instance: &str) -> String {
    if !instance.is_empty() {
        return format!("{group}-{instance}");
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{group}-{}-{}", host.trim(), std::process::id())
}
