//! A tenant under load: raw topics filled by the generator, workers, a reader beside them, and what the library's own line says must come out.

use super::config::{TestConfig, TestTenant};
use super::journey::Journey;
use super::kafka::{self, Keep, Reader, Record, digest};
use super::lethe::Lethe;
use super::metrics::Metrics;
use super::wait::eventually;
use lethe::config::{Config, compile::compile, load};
use lethe::generator::Generator;
use lethe::model::record::RawRecords;
use lethe::ops::keys;
use lethe::transform::enrich::device_table::DeviceTable;
use lethe::transform::enriched::Assets;
use lethe::transform::rules::Rules;
use lethe::transform::{Tally, transform};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rows of one call of the line while the expectation is worked out.
const STEP_ROWS: usize = 10_000;

/// A tenant, its topics and its load.
pub struct Scene {
    pub journey: Journey,
    pub config: TestConfig,
    pub tenants: Vec<String>,
    produced: Cell<u64>,
}

/// One output record that must be there, and the place of its row.
struct Due {
    value: u64,
    partition: Option<i32>,
    row: (i32, i64),
}

/// Everything that must be there: by topic, by digest of the key (for records without a key: of the value), in the order of the rows.
pub struct Expected {
    topics: BTreeMap<String, HashMap<u64, VecDeque<Due>>>,
    pub tallies: Vec<Tally>,
    pub rows: u64,
    pub records: u64,
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
    /// One tenant whose raw topic has 4 partitions; keys and topics are made.
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
        let scene = Self { journey, config, tenants, produced: Cell::new(0) };
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
        for tenant in &config.tenant {
            tenant.sources().iter().for_each(|name| make(name, 4, "delete"));
            for (short, name) in tenant.output_topics() {
                make(&name, 4, if ["quarantine", "notices"].contains(&short.as_str()) { "delete" } else { "compact" });
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
        let from = self.produced.get();
        self.produced.set(from + events);
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
        for tenant in &self.tenants {
            eventually(&format!("everything of {tenant} to be committed"), || (self.lag(tenant) == 0).then_some(()));
        }
    }

    /// What the library's own line makes of everything in the raw topics.
    #[track_caller]
    pub fn expected(&self) -> Expected {
        let config = self.loaded();
        let keyring = keys::load(&config.keys.file, None).unwrap_or_else(|e| panic!("{e}"));
        let rules = compile(&config, &keyring).unwrap_or_else(|e| panic!("{e:?}"));
        let assets = Assets { devices: Arc::new(DeviceTable::embedded().expect("the embedded rules")), geo: None };
        let mut expected = Expected { topics: BTreeMap::new(), tallies: vec![Tally::default(); rules.tenants.len()], rows: 0, records: 0 };
        for (source, rule) in rules.sources.iter().enumerate() {
            if kafka::partitions_of(self.bootstrap(), &rule.topic).is_empty() {
                continue;
            }
            read_raw(self.bootstrap(), &rule.topic, source as u16, |records| expected.add(&records, &rules, &assets));
        }
        expected
    }

    /// Compares what a reader saw with what must be there: the same records in the same partitions, none twice, rows in order.
    #[track_caller]
    pub fn check(&self, reader: Reader) -> Expected {
        self.compare(reader, true)
    }

    /// The same where rows of several partitions share keys, between which there is no order.
    #[track_caller]
    pub fn check_but_order(&self, reader: Reader) -> Expected {
        self.compare(reader, false)
    }

    #[track_caller]
    fn compare(&self, reader: Reader, ordered: bool) -> Expected {
        let seen = reader.finish();
        let mut expected = self.expected();
        let mut faults = Vec::new();
        for topic in self.output_topics() {
            let none = Vec::new();
            faults.extend(expected.settle(&topic, seen.get(&topic).unwrap_or(&none), ordered));
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        expected
    }
}

impl Expected {
    fn add(&mut self, records: &RawRecords, rules: &Rules, assets: &Assets) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as i64;
        // Row by row, so that each output record is known to come from its row.
        for row in &records.rows {
            self.rows += 1;
            let mut one = RawRecords::default();
            let payload = &records.bytes[row.payload.start as usize..(row.payload.start + row.payload.len) as usize];
            one.push(row.source, row.partition, row.offset, row.received_at_ms, payload);
            let done = transform(&one, rules, assets, now);
            for (sum, tally) in self.tallies.iter_mut().zip(&done.tallies) {
                sum.written += tally.written;
                sum.expired += tally.expired;
                sum.gated.iter_mut().zip(tally.gated).for_each(|(a, b)| *a += b);
                sum.quarantined.iter_mut().zip(tally.quarantined).for_each(|(a, b)| *a += b);
            }
            for chunk in &done.chunks {
                self.records += chunk.records.len() as u64;
                for record in &chunk.records {
                    let (key, value) = (record.key.of(&chunk.arena), record.value.of(&chunk.arena));
                    let due = Due {
                        value: digest(value),
                        partition: record.partition_hash.map(|hash| (hash % 4) as i32),
                        row: (row.partition, row.offset),
                    };
                    let id = digest(if key.is_empty() { value } else { key });
                    let topic = self.topics.entry(rules.topics[usize::from(record.topic.0)].name.clone()).or_default();
                    topic.entry(id).or_default().push_back(due);
                }
            }
        }
    }

    /// How many records of a topic must be there.
    pub fn due(&self, topic: &str) -> usize {
        self.topics.get(topic).map_or(0, |dues| dues.values().map(VecDeque::len).sum())
    }

    /// Whether any record of a topic had to be there.
    pub fn names(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|dues| !dues.is_empty())
    }

    /// Ticks off what was seen in a topic; says what is missing, too much, elsewhere or out of order.
    fn settle(&mut self, topic: &str, seen: &[Record], ordered: bool) -> Vec<String> {
        let (due, mut faults) = (self.due(topic), Vec::new());
        let dues = self.topics.entry(topic.to_owned()).or_default();
        let (mut extra, mut altered, mut elsewhere, mut disorder, mut first) = (0, 0, 0, 0, String::new());
        let mut last: HashMap<(i32, i32), i64> = HashMap::new();
        for record in seen {
            let value = u64::from_be_bytes(record.value.as_deref().and_then(|v| v.try_into().ok()).unwrap_or_default());
            let id = record.key.as_deref().filter(|key| !key.is_empty()).map_or(value, digest);
            let of_key = dues.get_mut(&id).filter(|dues| !dues.is_empty());
            let at = of_key.as_ref().and_then(|dues| dues.iter().position(|due| due.value == value).filter(|_| !ordered)).unwrap_or(0);
            let Some(due) = of_key.and_then(|dues| dues.remove(at)) else {
                extra += 1;
                first = format!("{} at {}/{}", record.key_text(), record.partition, record.offset);
                continue;
            };
            altered += u64::from(due.value != value);
            elsewhere += u64::from(due.partition.is_some_and(|p| p != record.partition));
            let before = last.insert((record.partition, due.row.0), due.row.1);
            disorder += u64::from(ordered && due.partition.is_some() && before.is_some_and(|offset| offset > due.row.1));
        }
        let lost: usize = dues.values().map(VecDeque::len).sum();
        if extra + altered + elsewhere + disorder > 0 || lost > 0 {
            faults.push(format!(
                "{topic}: {due} due, {} seen, {lost} lost, {extra} too many ({first}), {altered} altered, {elsewhere} elsewhere, {disorder} out of order",
                seen.len()
            ));
        }
        faults
    }

    /// Asserts that these scrapes of all processes add up to the expectation, outcome by outcome, for a tenant.
    #[track_caller]
    pub fn assert_counted(&self, scrapes: &[Metrics], index: usize, tenant: &str) {
        let tally = &self.tallies[index];
        let counted = |outcome| scrapes.iter().map(|m| m.sum("lethe_rows_total", &[("tenant", tenant), ("outcome", outcome)])).sum::<f64>();
        let outcomes = [
            ("written", tally.written),
            ("gated", tally.gated.iter().sum()),
            ("quarantined", tally.quarantined.iter().sum()),
            ("expired", tally.expired),
        ];
        for (outcome, due) in outcomes {
            assert_eq!(counted(outcome) as u64, due, "rows of {tenant} {outcome}");
        }
    }
}

/// Rows that a process has counted.
pub fn rows(metrics: &Metrics) -> u64 {
    metrics.sum("lethe_rows_total", &[]) as u64
}

/// Reads a raw topic up to its end of now, a batch at a time.
#[track_caller]
fn read_raw(bootstrap: &str, topic: &str, source: u16, mut take: impl FnMut(RawRecords)) {
    let mut config = kafka::client(bootstrap);
    config.set("group.id", "journeys-raw").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let ends: HashMap<i32, i64> = kafka::partitions_of(bootstrap, topic)
        .into_iter()
        .zip(kafka::watermarks(bootstrap, topic).into_iter().map(|(_, end)| end))
        .collect();
    let mut list = TopicPartitionList::new();
    for partition in ends.keys() {
        list.add_partition_offset(topic, *partition, Offset::Beginning).expect("a position");
    }
    consumer.assign(&list).expect("an assignment");
    let mut left: i64 = ends.values().sum();
    let mut records = RawRecords::default();
    while left > 0 {
        let message = eventually(&format!("the records of {topic}"), || consumer.poll(Duration::from_millis(100)).and_then(Result::ok));
        if message.offset() >= ends[&message.partition()] {
            continue;
        }
        left -= 1;
        let received = message.timestamp().to_millis().unwrap_or_default();
        records.push(source, message.partition(), message.offset(), received, message.payload().unwrap_or_default());
        if records.rows.len() == STEP_ROWS || left == 0 {
            take(std::mem::take(&mut records));
        }
    }
}
