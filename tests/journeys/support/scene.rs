//! A tenant under load: raw topics filled by the generator, workers, a reader beside them, and what the library's own line says must come out.

use super::beside::Beside;
use super::config::{TestConfig, TestTenant};
use super::expected::{Expected, Line, Strict};
use super::journey::Journey;
use super::kafka::{self, Keep, Reader};
use super::lethe::Lethe;
use super::metrics::Metrics;
use super::wait::eventually;
use lethe::config::{Config, load};
use lethe::generator::Generator;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A tenant, its topics and its load.
pub struct Scene {
    pub journey: Journey,
    pub config: TestConfig,
    pub tenants: Vec<String>,
    produced: AtomicU64,
}

/// A tenant with every category and both destinations that the generator feeds.
pub fn busy(tenant: TestTenant) -> TestTenant {
    tenant
        .set("windows.feedback", "30d")
        .set("windows.media", "1d")
        .set("windows.network", "3d")
        .set("network", true)
        .set("destinations", vec!["meta", "google_ads"])
        .set("meta.pixel_id", "1234567890")
        .set("google_ads.customer_id", "1234567890")
        .set("google_ads.conversion_actions.purchase", "987654321")
        .set("google_ads.conversion_actions.generate_lead", "987654322")
}

impl Scene {
    /// One tenant whose topics have `topics.partitions` partitions, 4 by default; keys and topics are made.
    #[track_caller]
    pub fn new(journey: Journey, change: impl FnOnce(TestConfig) -> TestConfig) -> Self {
        let tenant = journey.tenant("acme");
        let config = journey.config().tenant(&tenant, busy);
        Self::with(journey, change(config))
    }

    /// The tenants of this config; keys and topics are made.
    #[track_caller]
    pub fn with(journey: Journey, config: TestConfig) -> Self {
        // Short, so that a journey need not wait long for a member that died; not shorter than Kafka's own floor for clients.
        let config = config.set("kafka.session_timeout_ms", 6_000);
        let tenants = config.tenants();
        let scene = Self { journey, config, tenants, produced: AtomicU64::new(0) };
        for tenant in &scene.tenants {
            scene.journey.lethe(&scene.config).args(["keys", "new", "--tenant", tenant]).finish().assert_done();
        }
        scene.create_topics(|_| true);
        scene
    }

    /// Makes the topics that `wanted` picks by name, as `topics apply` would.
    #[track_caller]
    pub fn create_topics(&self, wanted: impl Fn(&str) -> bool) {
        let config = self.loaded();
        let stamped = ("message.timestamp.type", "LogAppendTime");
        let make = |name: &str, partitions: i32, policy: &str| {
            if wanted(name) {
                self.journey.create_topic(name, partitions, &[stamped, ("cleanup.policy", policy)]);
            }
        };
        make(&config.topics.directives, 1, "compact");
        let partitions = i32::from(config.topics.partitions);
        for tenant in &config.tenant {
            tenant.sources().iter().for_each(|name| make(name, partitions, "delete"));
            for (short, name) in tenant.output_topics() {
                make(&name, partitions, if ["quarantine", "notices"].contains(&short.as_str()) { "delete" } else { "compact" });
            }
        }
    }

    /// The config as the binary reads it.
    #[track_caller]
    pub fn loaded(&self) -> Config {
        let file = self.journey.home().join("library.config.toml");
        std::fs::write(&file, self.config.to_toml()).expect("the journey's directory is writable");
        load(&file, std::iter::empty()).unwrap_or_else(|e| panic!("{e}"))
    }

    pub fn bootstrap(&self) -> &str {
        self.journey.bootstrap()
    }

    pub fn tenant(&self) -> &str {
        &self.tenants[0]
    }

    pub fn group(&self) -> String {
        format!("{}-run", self.journey.namespace())
    }

    pub fn raw_topic(&self, tenant: &str) -> String {
        format!("{tenant}.raw.web")
    }

    /// Produces the generator's next events to the first tenant's raw topic.
    #[track_caller]
    pub fn produce(&self, events: u64) {
        self.produce_to(self.tenant(), events);
    }

    /// Produces the generator's next events to a tenant's raw topic.
    #[track_caller]
    pub fn produce_to(&self, tenant: &str, events: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        let generator = Generator::new(7, tenant, now.as_millis() as i64);
        let from = self.produced.fetch_add(events, Ordering::Relaxed);
        let records = (from..from + events).map(|i| {
            let mut payload = Vec::with_capacity(1_024);
            let generated = generator.generate(i, &mut payload);
            (Some(generated.key.as_bytes().to_vec()), Some(payload))
        });
        kafka::produce(self.bootstrap(), &self.raw_topic(tenant), records);
    }

    /// Starts a worker process.
    #[track_caller]
    pub fn worker(&self, instance: &str) -> Lethe {
        self.journey.lethe(&self.config).env("LETHE_RUN__INSTANCE", instance).args(["run"]).start()
    }

    /// Starts a worker process under a fault, as [`crate::faults::armed`] reads it.
    #[track_caller]
    pub fn faulty_worker(&self, instance: &str, fault: &str) -> Lethe {
        self.journey.lethe(&self.config).env("LETHE_RUN__INSTANCE", instance).args(["run"]).faulty(fault).start()
    }

    /// A reader of all output topics, from now on.
    #[track_caller]
    pub fn reader(&self) -> Reader {
        let topics = self.output_topics();
        Reader::start_keeping(Keep::Digest, self.bootstrap(), &topics.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The names of all output topics.
    #[track_caller]
    pub fn output_topics(&self) -> Vec<String> {
        let config = self.loaded();
        config.tenant.iter().flat_map(|tenant| tenant.output_topics().into_iter().map(|(_, name)| name)).collect()
    }

    /// Raw records of a tenant that are not committed yet.
    #[track_caller]
    pub fn lag(&self, tenant: &str) -> i64 {
        kafka::lag(self.bootstrap(), &self.group(), &self.raw_topic(tenant))
    }

    /// The same as it stands, whoever has a transaction open: never less than [`Scene::lag`].
    #[track_caller]
    pub fn lag_at_once(&self, tenant: &str) -> i64 {
        kafka::lag_at_once(self.bootstrap(), &self.group(), &self.raw_topic(tenant))
    }

    /// Waits until everything produced is committed.
    #[track_caller]
    pub fn wait_until_done(&self) {
        self.tenants.iter().for_each(|tenant| self.wait_until_committed(tenant));
    }

    /// The same of one tenant.
    #[track_caller]
    pub fn wait_until_committed(&self, tenant: &str) {
        eventually(&format!("everything of {tenant} to be committed"), || (self.lag(tenant) == 0).then_some(()));
    }

    /// What the library's own line makes of everything in the raw topics.
    #[track_caller]
    pub fn expected(&self) -> Expected {
        Expected::of(Line::of(&self.loaded()), self.bootstrap())
    }

    /// An oracle that runs beside from now on, for journeys of hours.
    #[track_caller]
    pub fn beside(&self) -> Beside {
        Beside::start(Line::of(&self.loaded()), self.bootstrap(), self.reader(), self.output_topics())
    }

    /// Compares what a reader saw with what must be there: the same records in the same partitions, none twice, rows in order.
    #[track_caller]
    pub fn check(&self, reader: Reader) -> Expected {
        self.compare(reader, Strict::Order)
    }

    /// The same where rows of several partitions share keys, between which there is no order.
    #[track_caller]
    pub fn check_but_order(&self, reader: Reader) -> Expected {
        self.compare(reader, Strict::Places)
    }

    /// The same where the number of partitions has changed on the way: each record once, wherever.
    #[track_caller]
    pub fn check_but_places(&self, reader: Reader) -> Expected {
        self.compare(reader, Strict::Sets)
    }

    #[track_caller]
    fn compare(&self, reader: Reader, strict: Strict) -> Expected {
        let seen = reader.finish();
        let mut expected = self.expected();
        for (topic, records) in &seen {
            for record in records {
                if !expected.tick(topic, record, strict) {
                    expected.is_extra(topic, record);
                }
            }
        }
        let faults = expected.faults(&self.output_topics());
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        expected
    }
}

/// Rows that a process has counted.
pub fn rows(metrics: &Metrics) -> u64 {
    metrics.sum("lethe_rows_total", &[]) as u64
}
