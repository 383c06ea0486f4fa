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
mod progress;
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

use crate::config::{Config, ConfigError};
use crate::kafka::client::Fault;
use crate::kafka::topics::Admin;
use std::time::Duration;

/// How long brokers may take to answer when a failure is explained.
const EXPLAINED_WITHIN: Duration = Duration::from_secs(3);

/// Why a command ended badly: its text is one line, its kind the exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The operator must change the configuration or the call. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Something else failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Something that was asked of the brokers failed. Exit code 1.
    #[error("{0}")]
    Brokers(String),
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Failed(_) | Failure::Brokers(_) => 1,
        }
    }

    /// The same, or that no broker answers, where that is why: a question that was given up tells of its own end alone.
    #[must_use]
    pub fn explained(self, config: &Config) -> Self {
        let Failure::Brokers(told) = self else { return self };
        let asked = Admin::connect(&config.kafka).and_then(|admin| admin.with_patience(EXPLAINED_WITHIN).partitions());
        Failure::Brokers(asked.err().map_or(told, |fault| fault.to_string()))
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
        Failure::Brokers(e.to_string())
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
