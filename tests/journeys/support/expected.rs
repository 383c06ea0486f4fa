//! The oracle: what the library's own line makes of the raw topics, ticked off against what a reader of committed records saw.

use super::kafka::{self, Record, digest, digest_with};
use super::metrics::Metrics;
use super::wait::eventually;
use lethe::config::Config;
use lethe::config::compile::compile;
use lethe::model::record::{OutputChunk, OutputRecord, RawRecords};
use lethe::ops::assets::GeoFile;
use lethe::ops::clock::now_ms;
use lethe::ops::keys;
use lethe::transform::enrich::device_table::DeviceTable;
use lethe::transform::enriched::Assets;
use lethe::transform::rules::Rules;
use lethe::transform::{Tally, transform};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The line as a config makes it.
pub struct Line {
    rules: Rules,
    assets: Assets,
}

/// One output record that must be there, and the place of its row.
struct Due {
    value: u64,
    partition: Option<i32>,
    row: (i32, i64),
}

/// What is held against the expectation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strict {
    /// The records, each as often as it is due.
    Sets,
    /// Their partitions too.
    Places,
    /// The order of their rows too.
    Order,
}

/// Everything that must be there: by topic, by digest of the key (for records without a key: of the value), in the order of the rows.
pub struct Expected {
    line: Line,
    topics: BTreeMap<String, HashMap<u64, VecDeque<Due>>>,
    seen: BTreeMap<String, Seen>,
    pub tallies: Vec<Tally>,
    pub rows: u64,
    pub records: u64,
}

/// What was seen in a topic, and what of it is not as it must be.
#[derive(Default)]
pub struct Seen {
    count: u64,
    extra: u64,
    altered: u64,
    elsewhere: u64,
    disorder: u64,
    /// The first record that is too much.
    first: String,
    /// The last row whose records were seen, by output partition and raw partition.
    last: HashMap<(i32, i32), i64>,
}

/// Raw topics, read on and on.
pub struct RawTopics {
    consumer: BaseConsumer,
    bootstrap: String,
    /// Topic and source index.
    topics: Vec<(String, u16)>,
    next: HashMap<(String, i32), i64>,
    /// When something came last.
    last: Instant,
}

/// A consumer that goes on there.
#[track_caller]
fn reading(bootstrap: &str, next: &HashMap<(String, i32), i64>) -> BaseConsumer {
    let mut config = kafka::client(bootstrap);
    config.set("group.id", "journeys-raw").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.set("fetch.queue.backoff.ms", "5").create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for ((topic, partition), next) in next {
        let from = if *next == 0 { Offset::Beginning } else { Offset::Offset(*next) };
        list.add_partition_offset(topic, *partition, from).expect("a position");
    }
    consumer.assign(&list).expect("an assignment");
    consumer
}

impl Line {
    /// The line of this config, with its keys.
    #[track_caller]
    pub fn of(config: &Config) -> Self {
        let keyring = keys::load(&config.keys.file, None).unwrap_or_else(|e| panic!("{e}"));
        let rules = compile(config, &keyring).unwrap_or_else(|e| panic!("{e:?}"));
        let file = &config.geoip.file;
        let geo = (!file.as_os_str().is_empty()).then(|| GeoFile::open(file, now_ms()).unwrap_or_else(|e| panic!("{e}")).reader());
        Self { rules, assets: Assets { devices: Arc::new(DeviceTable::embedded().expect("the embedded rules")), geo } }
    }

    /// Its raw topics that are there, from their beginnings.
    #[track_caller]
    pub fn raw(&self, bootstrap: &str) -> RawTopics {
        let (mut topics, mut next) = (Vec::new(), HashMap::new());
        for (source, rule) in self.rules.sources.iter().enumerate() {
            for partition in kafka::partitions_of(bootstrap, &rule.topic) {
                next.insert((rule.topic.clone(), partition), 0);
            }
            topics.push((rule.topic.clone(), source as u16));
        }
        RawTopics { consumer: reading(bootstrap, &next), bootstrap: bootstrap.to_owned(), topics, next, last: Instant::now() }
    }
}

impl RawTopics {
    /// Takes at most so many records that are there, for at most `patience`. Shape: a row each.
    pub fn take(&mut self, most: usize, patience: Duration) -> RawRecords {
        if self.last.elapsed() > kafka::QUIET_MAX {
            (self.consumer, self.last) = (reading(&self.bootstrap, &self.next), Instant::now());
        }
        let mut records = RawRecords::default();
        while records.rows.len() < most {
            let wait = if records.rows.is_empty() { patience } else { Duration::ZERO };
            let Some(Ok(message)) = self.consumer.poll(wait) else { break };
            self.last = Instant::now();
            let source =
                self.topics.iter().find(|(topic, _)| topic == message.topic()).map(|(_, source)| *source).expect("a topic of ours");
            let received = message.timestamp().to_millis().unwrap_or_default();
            records.push(source, message.partition(), message.offset(), received, message.payload().unwrap_or_default());
            self.next.insert((message.topic().to_owned(), message.partition()), message.offset() + 1);
        }
        records
    }

    /// How many records are left up to the ends of now.
    #[track_caller]
    pub fn left(&self) -> i64 {
        let mut left = 0;
        for (topic, _) in &self.topics {
            for (partition, (first, end)) in
                kafka::partitions_of(&self.bootstrap, topic).into_iter().zip(kafka::watermarks(&self.bootstrap, topic))
            {
                left += end - self.next.get(&(topic.clone(), partition)).copied().unwrap_or(0).max(first);
            }
        }
        left
    }
}

impl Expected {
    /// Nothing yet.
    pub fn none(line: Line) -> Self {
        let tallies = vec![Tally::default(); line.rules.tenants.len()];
        Self { line, topics: BTreeMap::new(), seen: BTreeMap::new(), tallies, rows: 0, records: 0 }
    }

    /// What must come of all that is in the raw topics now.
    #[track_caller]
    pub fn of(line: Line, bootstrap: &str) -> Self {
        let mut raw = line.raw(bootstrap);
        let mut left = raw.left();
        let mut expected = Self::none(line);
        while left > 0 {
            let most = usize::try_from(left).expect("not below zero").min(10_000);
            let records = eventually("the raw records", || {
                let records = raw.take(most, Duration::from_millis(100));
                (!records.rows.is_empty()).then_some(records)
            });
            left -= records.rows.len() as i64;
            expected.add(&records);
        }
        expected
    }

    /// Adds what must come of these rows.
    pub fn add(&mut self, records: &RawRecords) {
        let now = now_ms();
        // Row by row, so that each output record is known to come from its row.
        for row in &records.rows {
            self.rows += 1;
            let mut one = RawRecords::default();
            let payload = &records.bytes[row.payload.start as usize..(row.payload.start + row.payload.len) as usize];
            one.push(row.source, row.partition, row.offset, row.received_at_ms, payload);
            let done = transform(&one, &self.line.rules, &self.line.assets, now);
            for (sum, tally) in self.tallies.iter_mut().zip(&done.tallies) {
                sum.written += tally.written;
                sum.expired += tally.expired;
                sum.gated.iter_mut().zip(tally.gated).for_each(|(a, b)| *a += b);
                sum.quarantined.iter_mut().zip(tally.quarantined).for_each(|(a, b)| *a += b);
            }
            for chunk in &done.chunks {
                self.records += chunk.records.len() as u64;
                chunk.records.iter().for_each(|record| self.await_record(chunk, record, (row.partition, row.offset)));
            }
        }
    }

    fn await_record(&mut self, chunk: &OutputChunk, record: &OutputRecord, row: (i32, i64)) {
        let value = digest_with(record.value.of(&chunk.arena), record.headers(&chunk.arena));
        let key = record.key.of(&chunk.arena);
        let id = if key.is_empty() { value } else { digest(key) };
        let due = Due { value, partition: record.partition_hash.map(|hash| (hash % 4) as i32), row };
        let topic = &self.line.rules.topics[usize::from(record.topic.0)].name;
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.clone(), HashMap::new());
        }
        self.topics.get_mut(topic).expect("it was made above").entry(id).or_default().push_back(due);
    }

    /// How many records of a topic must be there, and are not ticked off.
    pub fn due(&self, topic: &str) -> usize {
        self.topics.get(topic).map_or(0, |dues| dues.values().map(VecDeque::len).sum())
    }

    /// Whether any record of a topic had to be there.
    pub fn names(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// Ticks off a record that was seen, by its digest; no if nothing of its key is due (yet).
    pub fn tick(&mut self, topic: &str, record: &Record, strict: Strict) -> bool {
        let ordered = strict == Strict::Order;
        let value = digest_of(record);
        let id = id_of(record);
        let Some(dues) = self.topics.get_mut(topic) else { return false };
        let Some(of_key) = dues.get_mut(&id) else { return false };
        let at = of_key.iter().position(|due| due.value == value).filter(|_| !ordered).unwrap_or(0);
        let Some(due) = of_key.remove(at) else { return false };
        if of_key.is_empty() {
            dues.remove(&id);
        }
        let seen = self.seen.entry(topic.to_owned()).or_default();
        seen.count += 1;
        seen.altered += u64::from(due.value != value);
        seen.elsewhere += u64::from(strict >= Strict::Places && due.partition.is_some_and(|p| p != record.partition));
        let before = seen.last.insert((record.partition, due.row.0), due.row.1);
        seen.disorder += u64::from(ordered && due.partition.is_some() && before.is_some_and(|offset| offset > due.row.1));
        true
    }

    /// A record that nothing accounts for.
    pub fn is_extra(&mut self, topic: &str, record: &Record) {
        let seen = self.seen.entry(topic.to_owned()).or_default();
        seen.count += 1;
        if seen.extra == 0 {
            seen.first = format!("{} at {}/{}", record.key_text(), record.partition, record.offset);
        }
        seen.extra += 1;
    }

    /// What is missing, too much, altered, elsewhere or out of order: a line for each topic where anything is.
    pub fn faults(&self, topics: &[String]) -> Vec<String> {
        let none = Seen::default();
        let lines = topics.iter().filter_map(|topic| {
            let (seen, lost) = (self.seen.get(topic).unwrap_or(&none), self.due(topic));
            let Seen { count, extra, altered, elsewhere, disorder, first, .. } = seen;
            (lost as u64 + extra + altered + elsewhere + disorder > 0).then(|| {
                let due = count - extra + lost as u64;
                format!(
                    "{topic}: {due} due, {count} seen, {lost} lost, {extra} too many ({first}), {altered} altered, {elsewhere} elsewhere, {disorder} out of order"
                )
            })
        });
        lines.collect()
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

/// The digest that a reader kept.
fn digest_of(record: &Record) -> u64 {
    u64::from_be_bytes(record.value.as_deref().and_then(|v| v.try_into().ok()).unwrap_or_default())
}

fn id_of(record: &Record) -> u64 {
    record.key.as_deref().filter(|key| !key.is_empty()).map_or_else(|| digest_of(record), digest)
}
