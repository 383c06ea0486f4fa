//! A journey's own corner of the world: a namespace on the broker and a directory on disk.

use super::broker::{Broker, Cluster};
use super::config::TestConfig;
use super::lethe::Invocation;
use super::wait::Turn;
use super::{kafka, keeper};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A journey under way.
pub struct Journey {
    namespace: String,
    home: PathBuf,
    broker: Which,
    _turn: Turn,
}

enum Which {
    Shared(&'static Broker),
    Own(Box<Broker>),
    Lent(Arc<Broker>, String),
    Cluster(Arc<Cluster>),
}

impl Journey {
    /// Begins a journey on the shared broker. The name is the test's own: no two journeys may have the same.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let turn = Turn::beside_others();
        Self::begin(name, Which::Shared(Broker::shared()), turn)
    }

    /// Begins a journey with a broker of its own, to kill and restart. It costs some seconds and half a gigabyte: only where needed.
    #[track_caller]
    pub fn with_own_broker(name: &str) -> Self {
        let turn = Turn::beside_others();
        Self::begin(name, Which::Own(Box::new(Broker::start_own())), turn)
    }

    /// `with_own_broker`, while no other journey is under way: for those that hold the machine to its word about seconds. Few, and short.
    #[track_caller]
    pub fn alone(name: &str) -> Self {
        let turn = Turn::alone();
        Self::begin(name, Which::Own(Box::new(Broker::start_own())), turn)
    }

    /// Begins a journey with a broker of its own that has a listener with TLS 1.3 and SCRAM for these users.
    #[track_caller]
    pub fn with_secured_broker(name: &str, users: &[&str]) -> Self {
        let turn = Turn::beside_others();
        Self::begin(name, Which::Own(Box::new(Broker::start_secured(users))), turn)
    }

    /// Begins a journey on a broker that several share one after the other; `bootstrap`: how its clients reach it.
    pub fn on(broker: &Arc<Broker>, bootstrap: &str, name: &str) -> Self {
        Self::begin(name, Which::Lent(Arc::clone(broker), bootstrap.to_owned()), Turn::beside_others())
    }

    /// Begins a journey on a cluster of several brokers.
    pub fn on_cluster(cluster: &Arc<Cluster>, name: &str) -> Self {
        Self::begin(name, Which::Cluster(Arc::clone(cluster)), Turn::beside_others())
    }

    fn begin(name: &str, broker: Which, turn: Turn) -> Self {
        // A broker that is reused remembers earlier runs: the time and the process make the names new.
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();
        let run = format!("{:x}{:x}", seconds & 0xff_ffff, std::process::id() & 0xfff);
        let short: String = name.replace('_', "-").chars().take(30).collect();
        Self { namespace: format!("{}-{run}", short.trim_end_matches('-')), home: keeper::directory(name), broker, _turn: turn }
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        match &self.broker {
            Which::Shared(broker) => broker,
            Which::Own(broker) => broker,
            Which::Lent(broker, _) => broker,
            Which::Cluster(cluster) => cluster.node(0),
        }
    }

    /// Where the broker, or each of several, listens.
    pub fn bootstrap(&self) -> &str {
        match &self.broker {
            Which::Cluster(cluster) => cluster.bootstrap(),
            _ => self.broker().bootstrap(),
        }
    }

    /// A prefix for names on the broker (topics, groups, transactional ids) that no other journey has.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A tenant id that no other journey has; `name` has at most 15 characters.
    #[track_caller]
    pub fn tenant(&self, name: &str) -> String {
        let id = format!("{}-{name}", self.namespace);
        assert!(id.len() <= 63, "{id} is too long for a tenant");
        id
    }

    /// A directory for the journey's files, empty at first.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A config for this broker and namespace, without tenants.
    pub fn config(&self) -> TestConfig {
        let bootstrap = match &self.broker {
            // Only Lethe comes by the way that is disturbed, never who looks on.
            Which::Lent(_, bootstrap) => bootstrap,
            _ => self.bootstrap(),
        };
        TestConfig::new(bootstrap, &self.namespace, &self.home)
    }

    /// Creates a topic.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        kafka::create_topic(self.bootstrap(), name, partitions, settings);
    }

    /// Writes the config and prepares a call of the binary with it.
    #[track_caller]
    pub fn lethe(&self, config: &TestConfig) -> Invocation {
        Invocation::new(&self.home, &config.to_toml())
    }

    /// What an operator does before the first run: a key for each tenant, and the topics.
    #[track_caller]
    pub fn set_up(&self, config: &TestConfig) {
        for tenant in config.tenants() {
            self.lethe(config).args(["keys", "new", "--tenant", &tenant]).finish().assert_done();
        }
        self.lethe(config).args(["topics", "apply"]).finish().assert_done();
    }
}
