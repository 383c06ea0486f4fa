//! `[aggregate]` and `[sessions]`: the jobs that compute records from records.

use super::{duration, is_instance, listener};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[aggregate]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AggregateConfig {
    /// Consumer group of the job that counts: its members elect the one that is active.
    pub group: String,
    /// Listener of /metrics, /healthz, /readyz; empty: none.
    pub http: String,
    /// No count is over fewer distinct subjects.
    pub k: usize,
    /// How long after a window's end its events may be stored.
    #[serde(with = "duration")]
    pub lateness: Duration,
    /// Most groups of an hour that are counted apart; the events of all others are in `other`.
    pub groups: usize,
}

impl Default for AggregateConfig {
    fn default() -> Self {
        AggregateConfig {
            group: "lethe-aggregate".into(),
            http: "127.0.0.1:9466".into(),
            k: 10,
            lateness: Duration::from_secs(3_600),
            groups: 10_000,
        }
    }
}

impl AggregateConfig {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if !(2..=10_000).contains(&self.k) {
            faults.push("aggregate.k: must be between 2 and 10000".into());
        }
        if !(1..=1_000_000).contains(&self.groups) {
            faults.push("aggregate.groups: must be between 1 and 1000000".into());
        }
        if !(1..=7 * 86_400).contains(&self.lateness.as_secs()) {
            faults.push("aggregate.lateness: must be between 1s and 7d".into());
        }
        listener("aggregate.http", &self.http, faults);
    }
}

/// `[sessions]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// Consumer group of the job that puts sessions together.
    pub group: String,
    /// Listener of /metrics, /healthz, /readyz; empty: none.
    pub http: String,
    /// Name of this process, as in `run.instance`.
    pub instance: String,
    /// So much silence ends a session.
    #[serde(with = "duration")]
    pub gap: Duration,
    /// How long after its end a session can still change.
    #[serde(with = "duration")]
    pub lateness: Duration,
    /// A transaction ends after so many events.
    pub batch_events: usize,
    /// Or so long.
    #[serde(with = "duration")]
    pub batch_wait: Duration,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        SessionsConfig {
            group: "lethe-sessions".into(),
            http: "127.0.0.1:9467".into(),
            instance: String::new(),
            gap: Duration::from_secs(30 * 60),
            lateness: Duration::from_secs(24 * 3_600),
            batch_events: 20_000,
            batch_wait: Duration::from_millis(500),
        }
    }
}

impl SessionsConfig {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if !(1..=86_400).contains(&self.gap.as_secs()) {
            faults.push("sessions.gap: must be between 1s and 24h".into());
        }
        if self.lateness.as_secs() > 7 * 86_400 {
            faults.push("sessions.lateness: must be at most 7d".into());
        }
        if !(1..=1_000_000).contains(&self.batch_events) {
            faults.push("sessions.batch_events: must be between 1 and 1000000".into());
        }
        if !(1..=5_000).contains(&self.batch_wait.as_millis()) {
            faults.push("sessions.batch_wait: must be between 1ms and 5s".into());
        }
        if !is_instance(&self.instance) {
            faults.push("sessions.instance: letters, digits, '-', '_' and '.' only".into());
        }
        listener("sessions.http", &self.http, faults);
    }
}
