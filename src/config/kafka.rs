//! How to reach Kafka: an allow-list of settings, because one free key can undo exactly-once.

use serde::{Deserialize, Serialize};

/// `[kafka]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers, `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: String,
    /// User name.
    pub sasl_username: String,
    /// File that holds the password and nothing else; never the password itself.
    pub sasl_password_file: String,
    /// PEM file of the authorities that signed the brokers' certificates; empty: the system's.
    pub ssl_ca_location: String,
    /// PEM file of the client's certificate.
    pub ssl_certificate_location: String,
    /// PEM file of the client's key.
    pub ssl_key_location: String,
    /// Name under which the brokers see this client.
    pub client_id: String,
    /// `classic` or `consumer` (KIP-848).
    pub group_protocol: String,
    /// `range`, `roundrobin` or `cooperative-sticky`; for the classic protocol.
    pub partition_assignment_strategy: String,
    /// A member that was silent for so long is out of the group. Units: ms. For the classic protocol; the broker decides for the other.
    pub session_timeout_ms: u32,
    /// A worker that does not poll for so long is out of the group. Units: ms.
    pub max_poll_interval_ms: u32,
    /// An open transaction older than this is aborted by the broker. Short, because it stops readers and the log cleaner. Units: ms.
    pub transaction_timeout_ms: u32,
    /// Compression of produced batches: `none`, `lz4`, `zstd`, `snappy`, `gzip`.
    pub compression: String,
    /// Largest produced batch. Units: bytes, before compression.
    pub batch_size: u32,
    /// How much a consumer may fetch ahead. Units: KiB.
    pub fetch_ahead_kib: u32,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        KafkaConfig {
            bootstrap_servers: "127.0.0.1:9092".into(),
            security_protocol: "plaintext".into(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password_file: String::new(),
            ssl_ca_location: String::new(),
            ssl_certificate_location: String::new(),
            ssl_key_location: String::new(),
            client_id: "lethe".into(),
            group_protocol: "classic".into(),
            partition_assignment_strategy: "range".into(),
            session_timeout_ms: 10_000,
            max_poll_interval_ms: 60_000,
            transaction_timeout_ms: 10_000,
            compression: "lz4".into(),
            batch_size: 1_000_000,
            fetch_ahead_kib: 32_768,
        }
    }
}

impl KafkaConfig {
    /// Adds what is wrong with these settings to `faults`, a sentence each.
    pub fn validate(&self, faults: &mut Vec<String>) {
        let one_of = |field: &str, value: &str, allowed: &[&str], faults: &mut Vec<String>| {
            if !allowed.contains(&value) {
                faults.push(format!("kafka.{field}: must be one of {}", allowed.join(", ")));
            }
        };
        if self
            .bootstrap_servers
            .split(',')
            .any(|s| s.trim().rsplit_once(':').is_none_or(|(h, p)| h.is_empty() || h.contains(['@', ' ']) || p.parse::<u16>().is_err()))
        {
            faults.push("kafka.bootstrap_servers: must be host:port, separated by commas".into());
        }
        one_of("security_protocol", &self.security_protocol, &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"], faults);
        one_of("group_protocol", &self.group_protocol, &["classic", "consumer"], faults);
        one_of(
            "partition_assignment_strategy",
            &self.partition_assignment_strategy,
            &["range", "roundrobin", "cooperative-sticky"],
            faults,
        );
        one_of("compression", &self.compression, &["none", "lz4", "zstd", "snappy", "gzip"], faults);
        if self.security_protocol.starts_with("sasl") {
            one_of("sasl_mechanism", &self.sasl_mechanism, &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], faults);
            if self.sasl_username.is_empty() || self.sasl_password_file.is_empty() {
                faults.push("kafka.sasl_username and kafka.sasl_password_file: must be set for SASL".into());
            }
        }
        let files = [
            ("sasl_password_file", &self.sasl_password_file),
            ("ssl_ca_location", &self.ssl_ca_location),
            ("ssl_certificate_location", &self.ssl_certificate_location),
            ("ssl_key_location", &self.ssl_key_location),
        ];
        for (field, _) in files.into_iter().filter(|(_, file)| !file.is_empty() && !std::path::Path::new(file).exists()) {
            // Not what it is called: somebody may have put the password there.
            faults.push(format!("kafka.{field}: there is no such file"));
        }
        let between = |field: &str, value: u32, low: u32, high: u32, faults: &mut Vec<String>| {
            if !(low..=high).contains(&value) {
                faults.push(format!("kafka.{field}: must be between {low} and {high}"));
            }
        };
        between("session_timeout_ms", self.session_timeout_ms, 6_000, 300_000, faults);
        between("max_poll_interval_ms", self.max_poll_interval_ms, self.session_timeout_ms.max(6_000), 3_600_000, faults);
        if self.group_protocol == "consumer" && self.max_poll_interval_ms < 45_000 {
            // librdkafka holds it against a session timeout that only the broker decides on under this protocol.
            faults.push("kafka.max_poll_interval_ms: must be at least 45000 with group_protocol = \"consumer\"".into());
        }
        between("transaction_timeout_ms", self.transaction_timeout_ms, 1_000, 60_000, faults);
        between("batch_size", self.batch_size, 16_384, 16_777_216, faults);
        between("fetch_ahead_kib", self.fetch_ahead_kib, 1_024, 1_048_576, faults);
        if self.client_id.is_empty() {
            faults.push("kafka.client_id: must not be empty".into());
        }
    }
}
