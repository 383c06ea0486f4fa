//! What people write in `config.toml`: text, units in the values, every unknown field refused. `compile` turns it into rules.

pub mod compile;
pub mod derive;
pub mod destinations;
pub mod governed;
pub mod kafka;
pub mod load;
pub mod processing;
pub mod profile;
pub mod registry;
pub mod roles;
pub mod tenant;

use crate::model::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

pub use load::{ConfigError, load};
pub use tenant::TenantConfig;

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How to reach Kafka.
    pub kafka: kafka::KafkaConfig,
    /// The main job.
    pub run: RunConfig,
    /// The retention job.
    pub retain: RetainConfig,
    /// The job that counts.
    pub aggregate: derive::AggregateConfig,
    /// The job that puts sessions together.
    pub sessions: derive::SessionsConfig,
    /// Logs.
    pub log: LogConfig,
    /// The listeners of both jobs, where they are not on loopback.
    pub admin: AdminConfig,
    /// Keys.
    pub keys: KeysConfig,
    /// GeoIP.
    pub geoip: GeoipConfig,
    /// Schema registry.
    pub schema_registry: registry::SchemaRegistryConfig,
    /// Names of Lethe's own topics.
    pub topics: OwnTopicsConfig,
    /// Tenants.
    pub tenant: Vec<TenantConfig>,
}

/// `[run]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Consumer group of the main job.
    pub group: String,
    /// Every group that retain's barrier must wait for.
    pub groups: Vec<String>,
    /// Consumer and producer pairs in this process.
    pub workers: u16,
    /// Name of this process, stable over its restarts and unlike that of any other: part of `transactional.id`. Empty: host name and process id,
    /// so that a crashed process's transaction is ended by its timeout instead of by its successor.
    pub instance: String,
    /// A batch ends after so many events.
    pub batch_events: usize,
    /// A batch ends after so many bytes of raw events.
    pub batch_bytes: usize,
    /// A batch ends after so long.
    #[serde(with = "duration")]
    pub batch_wait: Duration,
    /// Threads of the line. 0: as many as there are cores.
    pub threads: usize,
    /// Listener of /metrics, /healthz, /readyz and the status page; empty: none. Not on loopback: see [`AdminConfig`].
    pub http: String,
    /// How far ahead of its receipt an event may be dated.
    #[serde(with = "duration")]
    pub future_tolerance: Duration,
}

impl Default for RunConfig {
    fn default() -> Self {
        RunConfig {
            group: "lethe-run".into(),
            groups: vec!["lethe-run".into()],
            workers: 1,
            instance: String::new(),
            batch_events: 20_000,
            batch_bytes: 32 << 20,
            batch_wait: Duration::from_millis(100),
            threads: 0,
            http: "127.0.0.1:9464".into(),
            future_tolerance: Duration::from_secs(300),
        }
    }
}

/// `[retain]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetainConfig {
    /// Consumer group of the retention job.
    pub group: String,
    /// Listener of /metrics, /healthz, /readyz and the status page; empty: none. Not on loopback: see [`AdminConfig`].
    pub http: String,
    /// Lowers the floors, so that windows of seconds are possible. Never in production.
    pub testing: bool,
    /// Name of this process, as in `run.instance`.
    pub instance: String,
    /// A transaction ends after so many tombstones.
    pub batch_records: usize,
    /// A transaction ends after so long: it keeps readers of the topic waiting.
    #[serde(with = "duration")]
    pub batch_wait: Duration,
    /// Within which an erasure must be certified. Source: GDPR art. 12(3): one month, by the shortest one.
    #[serde(with = "duration")]
    pub erasure_deadline: Duration,
}

impl Default for RetainConfig {
    fn default() -> Self {
        RetainConfig {
            group: "lethe-retain".into(),
            http: "127.0.0.1:9465".into(),
            testing: false,
            instance: String::new(),
            batch_records: 500_000,
            batch_wait: Duration::from_secs(1),
            erasure_deadline: Duration::from_secs(28 * 86_400),
        }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
}

/// What log lines look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// `[admin]`: what protects the listeners of `run` and `retain`. Demanded of a listener that is not on loopback.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// PEM file of the certificate and its chain. Relative paths start at the config file's folder.
    pub tls_certificate: PathBuf,
    /// PEM file of its key.
    pub tls_key: PathBuf,
    /// File that holds the token which `/metrics` and the status page ask for, and nothing else.
    pub token_file: PathBuf,
}

/// `[keys]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// The keyring, mode 0600. Relative paths start at the config file's folder.
    pub file: PathBuf,
    /// Ed25519 key that signs certificates and checkpoints.
    pub signing_file: PathBuf,
}

impl Default for KeysConfig {
    fn default() -> Self {
        KeysConfig { file: "keyring.toml".into(), signing_file: "signing.key".into() }
    }
}

/// `[geoip]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeoipConfig {
    /// An MMDB file with cities or countries; empty: none.
    pub file: PathBuf,
}

/// `[topics]`: names of Lethe's own topics, and how topics are made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnTopicsConfig {
    /// What is in force.
    pub directives: String,
    /// The audit.
    pub audit: String,
    /// Counts over several tenants, none of them named.
    pub benchmarks: String,
    /// Partitions of topics that `topics apply` makes.
    pub partitions: u16,
    /// Replicas of topics that `topics apply` makes.
    pub replication_factor: u16,
}

impl Default for OwnTopicsConfig {
    fn default() -> Self {
        OwnTopicsConfig {
            directives: "lethe.directives".into(),
            audit: "lethe.audit".into(),
            benchmarks: "lethe.benchmarks".into(),
            partitions: 4,
            replication_factor: 3,
        }
    }
}

/// Durations as people write them: `"72h"`, `"180d"`, `"5s"`.
pub mod duration {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Reads a duration. Errors: says what a duration looks like.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(d)?;
        parse(&text).map_err(serde::de::Error::custom)
    }

    /// Writes a duration.
    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&humantime::format_duration(*d).to_string())
    }

    /// Reads a duration. Errors: says what a duration looks like.
    pub fn parse(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text).map_err(|_| "must be a duration such as \"72h\", \"180d\" or \"500ms\"".to_string())
    }
}

impl Config {
    /// Everything that is wrong with the file, a sentence each, all reported together.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.kafka.validate(&mut faults);
        self.run.validate(&mut faults);
        // A transaction is open while its batch is read.
        if self.run.batch_wait.as_millis() * 2 > u128::from(self.kafka.transaction_timeout_ms) {
            faults.push("run.batch_wait: must be at most half of kafka.transaction_timeout_ms".into());
        }
        self.retain.validate(&mut faults);
        self.aggregate.validate(&mut faults);
        self.sessions.validate(&mut faults);
        self.admin.validate(
            [
                ("run.http", &self.run.http),
                ("retain.http", &self.retain.http),
                ("aggregate.http", &self.aggregate.http),
                ("sessions.http", &self.sessions.http),
            ],
            &mut faults,
        );
        self.check_groups(&mut faults);
        for (field, value) in [
            ("topics.directives", &self.topics.directives),
            ("topics.audit", &self.topics.audit),
            ("topics.benchmarks", &self.topics.benchmarks),
        ] {
            if !is_topic_name(value) {
                faults.push(format!("{field}: is not a topic name"));
            }
        }
        if self.topics.partitions == 0 || self.topics.replication_factor == 0 {
            faults.push("topics.partitions and topics.replication_factor: must be at least 1".into());
        }
        self.schema_registry.validate(&mut faults);
        let mut ids: Vec<&TenantId> = self.tenant.iter().map(|t| &t.id).collect();
        ids.sort();
        if ids.windows(2).any(|w| w[0] == w[1]) {
            faults.push("tenant.id: two tenants have the same id".into());
        }
        for tenant in &self.tenant {
            tenant.validate(&mut faults);
        }
        self.check_topics(&mut faults);
        if faults.is_empty() {
            faults.extend(self.governed().err().into_iter().flatten());
        }
        faults
    }

    /// Each job has a consumer group of its own.
    fn check_groups(&self, faults: &mut Vec<String>) {
        let groups = [
            ("run.group", &self.run.group),
            ("retain.group", &self.retain.group),
            ("aggregate.group", &self.aggregate.group),
            ("sessions.group", &self.sessions.group),
        ];
        for (i, (field, value)) in groups.iter().enumerate() {
            if value.is_empty() {
                faults.push(format!("{field}: must not be empty"));
            }
            for (other, _) in groups[..i].iter().filter(|(_, same)| same == value) {
                faults.push(format!("{field}: must differ from {other}"));
            }
        }
    }

    /// No topic may belong to two tenants, to a tenant and to Lethe, or be read and written.
    fn check_topics(&self, faults: &mut Vec<String>) {
        let mut names: Vec<(String, String)> = Vec::new();
        for tenant in &self.tenant {
            let owner = format!("tenant {}", tenant.id);
            names.extend(tenant.sources().into_iter().map(|s| (s, owner.clone())));
            names.extend(tenant.output_topics().into_iter().map(|(_, name)| (name, owner.clone())));
        }
        if names.len() > TOPICS_MAX {
            // One more would be taken for another tenant's.
            faults.push(format!(
                "tenant: {} topics are more than one process knows ({TOPICS_MAX}); share the tenants out over configs",
                names.len()
            ));
        }
        let own = [("directives", &self.topics.directives), ("audit", &self.topics.audit), ("benchmarks", &self.topics.benchmarks)];
        names.extend(own.into_iter().map(|(field, name)| (name.clone(), format!("topics.{field}"))));
        names.sort();
        for pair in names.windows(2) {
            if pair[0].0 == pair[1].0 {
                faults.push(format!("{}: topic {} is named twice", pair[1].1, pair[1].0));
            }
        }
    }
}

/// Most topics of one config, raw ones included: records name them by two bytes.
const TOPICS_MAX: usize = u16::MAX as usize;

impl RunConfig {
    fn validate(&self, faults: &mut Vec<String>) {
        if !self.groups.contains(&self.group) {
            faults.push("run.groups: must contain run.group, or the barrier would not wait for this job".into());
        }
        let mut between = |field: &str, value: usize, low: usize, high: usize| {
            if !(low..=high).contains(&value) {
                faults.push(format!("run.{field}: must be between {low} and {high}"));
            }
        };
        between("workers", usize::from(self.workers), 1, 64);
        between("batch_events", self.batch_events, 1, 1_000_000);
        between("batch_bytes", self.batch_bytes, 1 << 20, 1 << 30);
        between("batch_wait (in ms)", self.batch_wait.as_millis() as usize, 1, 10_000);
        between("threads", self.threads, 0, 256);
        between("future_tolerance (in s)", self.future_tolerance.as_secs() as usize, 0, 86_400);
        if !is_instance(&self.instance) {
            faults.push("run.instance: letters, digits, '-', '_' and '.' only".into());
        }
        listener("run.http", &self.http, faults);
    }
}

impl RetainConfig {
    fn validate(&self, faults: &mut Vec<String>) {
        listener("retain.http", &self.http, faults);
        if !(1..=1_000_000).contains(&self.batch_records) {
            faults.push("retain.batch_records: must be between 1 and 1000000".into());
        }
        if !(1..=5_000).contains(&self.batch_wait.as_millis()) {
            faults.push("retain.batch_wait: must be between 1ms and 5s".into());
        }
        let shortest = if self.testing { Duration::from_millis(1) } else { Duration::from_secs(86_400) };
        if !(shortest..=Duration::from_secs(90 * 86_400)).contains(&self.erasure_deadline) {
            faults.push("retain.erasure_deadline: must be between 1d and 90d".into());
        }
        if !is_instance(&self.instance) {
            faults.push("retain.instance: letters, digits, '-', '_' and '.' only".into());
        }
    }
}

impl AdminConfig {
    fn validate(&self, listeners: [(&str, &String); 4], faults: &mut Vec<String>) {
        let files = [("tls_certificate", &self.tls_certificate), ("tls_key", &self.tls_key), ("token_file", &self.token_file)];
        let missing: Vec<String> =
            files.iter().filter(|(_, f)| f.as_os_str().is_empty()).map(|(name, _)| format!("admin.{name}")).collect();
        for (field, address) in listeners {
            let open = address.parse::<std::net::SocketAddr>().is_ok_and(|a| !a.ip().is_loopback());
            if open && !missing.is_empty() {
                faults.push(format!("{field}: {address} is not on loopback, so {} must be set", missing.join(", ")));
            }
        }
        if self.tls_certificate.as_os_str().is_empty() != self.tls_key.as_os_str().is_empty() {
            faults.push("admin.tls_certificate and admin.tls_key: must be set both, or neither".into());
        }
    }
}

fn is_instance(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn listener(field: &str, value: &str, faults: &mut Vec<String>) {
    if !value.is_empty() && value.parse::<std::net::SocketAddr>().is_err() {
        faults.push(format!("{field}: must be address:port, or empty for none"));
    }
}

/// Whether Kafka takes the name.
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.bytes().all(valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = include_str!("../../config.toml");

    #[test]
    fn the_reference_shows_the_defaults_and_is_valid() {
        let config = load::parse(REFERENCE, std::iter::empty()).unwrap();
        assert_eq!(config.validate(), Vec::<String>::new());
        let mut shown: toml::Table = toml::from_str(REFERENCE).unwrap();
        shown.remove("tenant");
        let mut defaults = toml::Table::try_from(Config::default()).unwrap();
        defaults.remove("tenant");
        assert_eq!(shown, defaults, "config.toml must show every field with its default");
    }

    #[test]
    fn every_field_of_a_tenant_is_in_the_reference() {
        let config = load::parse(REFERENCE, std::iter::empty()).unwrap();
        let fields = toml::Table::try_from(&config.tenant[0]).unwrap();
        for field in fields.keys() {
            assert!(REFERENCE.contains(field.as_str()), "config.toml does not explain tenant.{field}");
        }
    }

    #[test]
    fn a_listener_that_others_reach_needs_tls_and_a_token() {
        let faults = |text: &str| load::parse(text, std::iter::empty()).unwrap().validate();
        assert_eq!(faults("[run]\nhttp = '127.0.0.1:1'\n[retain]\nhttp = '[::1]:2'"), Vec::<String>::new());
        for address in ["0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464"] {
            let told = faults(&format!("[run]\nhttp = '{address}'\n[admin]\ntoken_file = 't'"));
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains("run.http") && told[0].contains("admin.tls_key") && !told[0].contains("token_file"), "{told:?}");
            assert_eq!(
                faults(&format!("[run]\nhttp = '{address}'\n[admin]\ntoken_file = 't'\ntls_key = 'k'\ntls_certificate = 'c'")).len(),
                0
            );
        }
        assert!(faults("[admin]\ntls_key = 'k'")[0].contains("both"));
    }

    #[test]
    fn faults_are_reported_together() {
        let text = "[run]\nbatch_events = 0\ngroup = 'x'\n[kafka]\ncompression = 'zip'\n[[tenant]]\nid='a'\nprofile='affiliate'\nwindows={events='0s'}";
        let faults = load::parse(text, std::iter::empty()).unwrap().validate();
        for field in ["run.batch_events", "run.groups", "kafka.compression", "tenant a: windows.events"] {
            assert!(faults.iter().any(|f| f.contains(field)), "{field}: {faults:?}");
        }
    }

    #[test]
    fn more_topics_than_an_index_holds_are_refused() {
        let tenants = |n: usize| {
            let mut config = load::parse("[[tenant]]\nid='a'\nprofile='affiliate'", std::iter::empty()).unwrap();
            let one = config.tenant.remove(0);
            let id = |i: usize| TenantId::try_from(format!("t{i}")).unwrap();
            config.tenant = (0..n).map(|i| TenantConfig { id: id(i), ..one.clone() }).collect();
            config
        };
        let topics = tenants(1).tenant[0].output_topics().len() + tenants(1).tenant[0].sources().len();
        let told = |n: usize| {
            let mut faults = Vec::new();
            tenants(n).check_topics(&mut faults);
            faults
        };
        assert_eq!(told(TOPICS_MAX / topics), Vec::<String>::new());
        assert_eq!(told(TOPICS_MAX / topics + 1).len(), 1);
        assert_eq!(told(100_000).len(), 1, "and it is said once");
    }

    #[test]
    fn two_tenants_never_share_a_topic() {
        let tenant = |id: &str| format!("[[tenant]]\nid='{id}'\nprofile='affiliate'\nsources=['shared.raw']\n");
        let faults = load::parse(&(tenant("a") + &tenant("b")), std::iter::empty()).unwrap().validate();
        assert!(faults.iter().any(|f| f.contains("shared.raw")), "{faults:?}");
    }

    #[test]
    fn lethes_own_topics_are_no_tenants() {
        for own in ["sources=['lethe.audit']", "sources=['lethe.directives']", "topics={events='lethe.benchmarks'}"] {
            let text = format!("[[tenant]]\nid='a'\nprofile='web_analytics'\n{own}\n");
            let faults = load::parse(&text, std::iter::empty()).unwrap().validate();
            assert!(faults.iter().any(|f| f.contains("is named twice")), "{own}: {faults:?}");
        }
        let one = load::parse("[topics]\naudit='lethe.directives'\n[[tenant]]\nid='a'\nprofile='web_analytics'\n", std::iter::empty());
        assert!(one.unwrap().validate().iter().any(|f| f.contains("topic lethe.directives is named twice")));
    }
}
