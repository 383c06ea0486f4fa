//! A second view of what is in Kafka: topics made, events produced, records read back, offsets and bytes looked at.

use super::broker::Broker;
use super::wait::{PATIENCE, eventually};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A record as it stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; the append time in topics that are stamped by the broker.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    /// None is a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The key as text; empty without one.
    pub fn key_text(&self) -> String {
        self.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default()
    }

    /// The value as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.value.as_deref().expect("not a tombstone")).expect("the value is JSON")
    }

    /// Every byte of it that Lethe or a producer wrote: key, value, header names and values.
    pub fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        let headers = self.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_slice()]);
        self.key.as_deref().into_iter().chain(self.value.as_deref()).chain(headers)
    }
}

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub partition: i32,
    /// The next offset to read; None if nothing is committed.
    pub offset: Option<i64>,
    /// The string that went in with it; empty without one.
    pub metadata: String,
}

/// Settings that every client of the journeys begins with.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("allow.auto.create.topics", "false");
    config.set("reconnect.backoff.max.ms", "500"); // brokers come back in seconds here
    config.set("log_level", "2"); // a broker killed on purpose is no news
    config
}

/// Runs the future of an admin call to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// Whether a broker answers there within `patience`.
pub fn answers(bootstrap: &str, patience: Duration) -> bool {
    let consumer: Result<BaseConsumer, _> = client(bootstrap).create();
    let begun = Instant::now();
    let answered = consumer.is_ok_and(|consumer| consumer.fetch_metadata(None, patience).is_ok_and(|m| !m.brokers().is_empty()));
    if !answered {
        std::thread::sleep(Duration::from_millis(100).saturating_sub(begun.elapsed()));
    }
    answered
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    client(bootstrap).create().expect("an admin client")
}

/// Creates a topic, with settings such as `("cleanup.policy", "compact")`, and waits until every partition has a leader.
#[track_caller]
pub fn create_topic(bootstrap: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    // As many copies as the brokers make by default.
    let topic = settings.iter().fold(NewTopic::new(name, partitions, TopicReplication::Fixed(-1)), |t, (key, value)| t.set(key, value));
    let results = block_on(admin(bootstrap).create_topics([&topic], &AdminOptions::new())).expect("the broker answers");
    for result in results {
        result.unwrap_or_else(|(topic, code)| panic!("cannot create {topic}: {code}"));
    }
    eventually(&format!("leaders of {name}"), || (partitions_of(bootstrap, name).len() == partitions as usize).then_some(()));
}

/// Changes settings of a topic, the others that were set on it kept.
#[track_caller]
pub fn lower(bootstrap: &str, topic: &str, settings: &[(&str, &str)]) {
    let resource = rdkafka::admin::ResourceSpecifier::Topic(topic);
    let described = block_on(admin(bootstrap).describe_configs([&resource], &AdminOptions::new())).expect("the broker answers");
    let entries = described.into_iter().flat_map(|r| r.expect("the topic is there").entries);
    let own = entries.filter(|e| matches!(e.source, rdkafka::admin::ConfigSource::DynamicTopic));
    let mut all: BTreeMap<String, String> = own.map(|e| (e.name, e.value.unwrap_or_default())).collect();
    all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let alter = all.iter().fold(rdkafka::admin::AlterConfig::new(resource), |alter, (name, value)| alter.set(name, value));
    let results = block_on(admin(bootstrap).alter_configs([&alter], &AdminOptions::new())).expect("the broker answers");
    for result in results {
        result.unwrap_or_else(|(_, code)| panic!("cannot change {topic}: {code}"));
    }
}

/// The names of all topics.
#[track_caller]
pub fn topics(bootstrap: &str) -> Vec<String> {
    let consumer: BaseConsumer = client(bootstrap).create().expect("a consumer");
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(30)).expect("the broker answers");
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

/// A setting of a topic as it is in force.
#[track_caller]
pub fn setting(bootstrap: &str, topic: &str, name: &str) -> String {
    let resource = rdkafka::admin::ResourceSpecifier::Topic(topic);
    let described = block_on(admin(bootstrap).describe_configs([&resource], &AdminOptions::new())).expect("the broker answers");
    let mut entries = described.into_iter().flat_map(|r| r.expect("the topic is there").entries);
    entries.find(|e| e.name == name).and_then(|e| e.value).unwrap_or_else(|| panic!("{topic} has no setting {name}"))
}

/// Deletes a topic and waits until it is not listed any more.
#[track_caller]
pub fn delete_topic(bootstrap: &str, name: &str) {
    let results = block_on(admin(bootstrap).delete_topics(&[name], &AdminOptions::new())).expect("the broker answers");
    for result in results {
        result.unwrap_or_else(|(topic, code)| panic!("cannot delete {topic}: {code}"));
    }
    eventually(&format!("the end of {name}"), || partitions_of(bootstrap, name).is_empty().then_some(()));
}

/// Adds partitions to a topic, and waits until each has a leader.
#[track_caller]
pub fn add_partitions(bootstrap: &str, name: &str, count: usize) {
    let more = rdkafka::admin::NewPartitions::new(name, count);
    let results = block_on(admin(bootstrap).create_partitions([&more], &AdminOptions::new())).expect("the broker answers");
    for result in results {
        result.unwrap_or_else(|(topic, code)| panic!("cannot add partitions to {topic}: {code}"));
    }
    eventually(&format!("leaders of {name}"), || (partitions_of(bootstrap, name).len() == count).then_some(()));
}

/// The partitions of a topic that have a leader, in order; none if there is no such topic.
pub fn partitions_of(bootstrap: &str, topic: &str) -> Vec<i32> {
    let consumer: BaseConsumer = client(bootstrap).create().expect("a consumer");
    let Ok(metadata) = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)) else { return Vec::new() };
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let mut ids: Vec<i32> = partitions.filter(|p| p.error().is_none() && p.leader() >= 0).map(|p| p.id()).collect();
    ids.sort_unstable();
    ids
}

/// Which broker leads a topic's first partition; none while there is no leader.
pub fn leader_of(bootstrap: &str, topic: &str) -> Option<i32> {
    let consumer: BaseConsumer = client(bootstrap).create().ok()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
    let leader = metadata.topics().first()?.partitions().first()?.leader();
    (leader >= 0).then_some(leader)
}

/// The least number of replicas in sync of a topic's partitions; none if nobody answers.
pub fn fewest_in_sync(bootstrap: &str, topic: &str) -> Option<usize> {
    let consumer: BaseConsumer = client(bootstrap).create().ok()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
    metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|p| p.isr().len()).min()
}

/// Produces records (key, value), each in its partition by murmur2 of its key, in order per key, and waits until the broker has them all.
#[track_caller]
pub fn produce<K: AsRef<[u8]>, V: AsRef<[u8]>>(bootstrap: &str, topic: &str, records: impl IntoIterator<Item = (Option<K>, Option<V>)>) {
    let mut config = client(bootstrap);
    config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("compression.type", "lz4").set("linger.ms", "5");
    let failures = Arc::new(AtomicU64::new(0));
    let producer: ThreadedProducer<Deliveries> =
        config.create_with_context(Deliveries { failures: Arc::clone(&failures) }).expect("a producer");
    for (key, value) in records {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        record.key = key.as_ref().map(AsRef::as_ref);
        record.payload = value.as_ref().map(AsRef::as_ref);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "cannot produce to {topic}: {error}");
            std::thread::sleep(Duration::from_millis(5));
            record = back;
        }
    }
    producer.flush(PATIENCE).expect("the broker takes what is produced");
    assert_eq!(failures.load(Ordering::Relaxed), 0, "records that the broker did not take in {topic}");
}

/// `produce`, for JSON values without keys: raw events.
#[track_caller]
pub fn produce_json<'a>(bootstrap: &str, topic: &str, events: impl IntoIterator<Item = &'a serde_json::Value>) {
    produce(bootstrap, topic, events.into_iter().map(|event| (None::<&[u8]>, Some(event.to_string()))));
}

struct Deliveries {
    failures: Arc<AtomicU64>,
}

impl rdkafka::ClientContext for Deliveries {}

impl rdkafka::producer::ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// All committed records of a topic up to its end now, by partition and offset.
#[track_caller]
pub fn read_committed(bootstrap: &str, topic: &str) -> Vec<Record> {
    let mut reading = Reading::new(bootstrap, &[topic], "read_committed", Keep::Whole);
    reading.read_to_end();
    reading.records.remove(topic).unwrap_or_default()
}

/// All records of a topic up to its end now, those of open and aborted transactions included.
#[track_caller]
pub fn read_uncommitted(bootstrap: &str, topic: &str) -> Vec<Record> {
    let mut reading = Reading::new(bootstrap, &[topic], "read_uncommitted", Keep::Whole);
    reading.read_to_end();
    reading.records.remove(topic).unwrap_or_default()
}

/// How much of each record a reader keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    Whole,
    /// Neither value nor headers, for journeys of millions of records: a value is kept as present and empty, a tombstone as none.
    Keys,
    /// The key, and of value and headers their `digest` (8 bytes): for journeys of millions of records that compare them.
    Digest,
}

/// A short stand-in for bytes: the same bytes, the same number.
pub fn digest(bytes: &[u8]) -> u64 {
    digest_with(bytes, std::iter::empty())
}

/// The same for a value and its headers, in their order.
pub fn digest_with<'h>(value: &[u8], headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    hasher.write(value);
    headers.for_each(|header| header.hash(&mut hasher));
    hasher.finish()
}

/// A reader of committed records that runs beside a journey from start to finish, as a consumer downstream would.
pub struct Reader {
    finish: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    wanted: Arc<AtomicBool>,
    handed: Receiver<BTreeMap<String, Vec<Record>>>,
    thread: JoinHandle<BTreeMap<String, Vec<Record>>>,
}

impl Reader {
    /// Starts to read these topics, which must exist, from their beginnings.
    #[track_caller]
    pub fn start(bootstrap: &str, topics: &[&str]) -> Self {
        Self::start_keeping(Keep::Whole, bootstrap, topics)
    }

    /// `start`, with a choice of what is kept in memory.
    #[track_caller]
    pub fn start_keeping(keep: Keep, bootstrap: &str, topics: &[&str]) -> Self {
        let (finish, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut reading = Reading::new(bootstrap, topics, "read_committed", keep);
        let wanted = Arc::new(AtomicBool::new(false));
        let (told, counter, asked) = (Arc::clone(&finish), Arc::clone(&seen), Arc::clone(&wanted));
        let (hand, handed) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                reading.poll(Duration::from_millis(100));
                counter.store(reading.count, Ordering::Relaxed);
                if asked.swap(false, Ordering::Relaxed) {
                    let _ = hand.send(std::mem::take(&mut reading.records));
                }
            }
            reading.read_to_end();
            reading.records
        });
        Self { finish, seen, wanted, handed, thread }
    }

    /// How many records it has read so far, over all topics.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// The records since the last call, which it does not keep: for journeys of hours.
    #[track_caller]
    pub fn take(&self) -> BTreeMap<String, Vec<Record>> {
        self.wanted.store(true, Ordering::Relaxed);
        self.handed.recv_timeout(PATIENCE).expect("the reader reads")
    }

    /// Reads on to the ends of now, and returns the records of each topic in the order in which they were read.
    #[track_caller]
    pub fn finish(self) -> BTreeMap<String, Vec<Record>> {
        self.finish.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader reads to the end")
    }
}

/// After so long without a word a reader connects anew: a client that was told by a broker that stops or begins that there are no brokers never asks
/// again (librdkafka's issue 5301), and the oracle must not stand still for it.
pub const QUIET_MAX: Duration = Duration::from_secs(10);

/// A consumer without a group, and what it has read.
struct Reading {
    consumer: BaseConsumer,
    bootstrap: String,
    isolation: &'static str,
    keep: Keep,
    next: BTreeMap<(String, i32), i64>,
    at_end: BTreeSet<(String, i32)>,
    records: BTreeMap<String, Vec<Record>>,
    count: u64,
    heard: Option<KafkaError>,
    last: Instant,
}

impl Reading {
    #[track_caller]
    fn new(bootstrap: &str, topics: &[&str], isolation: &'static str, keep: Keep) -> Self {
        let consumer = Self::connect(bootstrap, isolation);
        let mut next = BTreeMap::new();
        for topic in topics {
            let partitions = partitions_of(bootstrap, topic);
            assert!(!partitions.is_empty(), "there is no topic {topic}");
            next.extend(partitions.into_iter().map(|partition| (((*topic).to_owned(), partition), 0)));
        }
        let (at_end, records) = (BTreeSet::new(), BTreeMap::new());
        let reading = Self {
            consumer,
            bootstrap: bootstrap.to_owned(),
            isolation,
            keep,
            next,
            at_end,
            records,
            count: 0,
            heard: None,
            last: Instant::now(),
        };
        reading.assign();
        reading
    }

    #[track_caller]
    fn connect(bootstrap: &str, isolation: &str) -> BaseConsumer {
        let mut config = client(bootstrap);
        config.set("group.id", "journeys-reader").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("isolation.level", isolation).set("enable.partition.eof", "true").set("fetch.queue.backoff.ms", "5");
        // Topics are read to their ends one by one, and a broker that has nothing more answers only after this time.
        config.set("fetch.wait.max.ms", "20");
        config.create().expect("a consumer")
    }

    fn assign(&self) {
        let mut positions = TopicPartitionList::new();
        for ((topic, partition), next) in &self.next {
            let from = if *next == 0 { Offset::Beginning } else { Offset::Offset(*next) };
            positions.add_partition_offset(topic, *partition, from).expect("a position");
        }
        self.consumer.assign(&positions).expect("an assignment");
    }

    /// Takes what comes within `patience`, one record or the word that a partition is at its end.
    fn poll(&mut self, patience: Duration) {
        match self.consumer.poll(patience) {
            Some(Ok(message)) => {
                self.last = Instant::now();
                let whole = self.keep == Keep::Whole;
                let headers = message.headers().filter(|_| whole).into_iter().flat_map(Headers::iter);
                let record = Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(|value| match self.keep {
                        Keep::Whole => value.to_vec(),
                        Keep::Keys => Vec::new(),
                        Keep::Digest => {
                            let headers = message.headers().into_iter().flat_map(Headers::iter);
                            digest_with(value, headers.map(|h| (h.key, h.value.unwrap_or_default()))).to_be_bytes().to_vec()
                        }
                    }),
                    headers: headers.map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect(),
                };
                let topic = message.topic().to_owned();
                self.next.insert((topic.clone(), record.partition), record.offset + 1);
                self.records.entry(topic).or_default().push(record);
                self.count += 1;
            }
            // The error names the partition and not its topic: with several topics, `read_to_end` reads them one by one.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let topics = self.next.keys().filter(|(_, p)| *p == partition).cloned();
                self.at_end.extend(topics);
            }
            // Brokers that are away come back, or the journey's own deadline ends the wait.
            Some(Err(error)) => self.heard = Some(error),
            None if self.last.elapsed() > QUIET_MAX => {
                self.consumer = Self::connect(&self.bootstrap, self.isolation);
                self.assign();
                self.last = Instant::now();
            }
            None => {}
        }
    }

    /// What has not come to its end, for somebody who waited in vain.
    fn missing(&self) -> String {
        let short = self.next.iter().filter(|(at, _)| !self.at_end.contains(*at));
        let places = short.map(|((topic, partition), next)| {
            let ends = self.consumer.fetch_watermarks(topic, *partition, Duration::from_secs(5));
            format!("{topic} {partition}: next {next}, watermarks {ends:?}")
        });
        format!("{}; last error {:?}", places.collect::<Vec<_>>().join("; "), self.heard)
    }

    /// Reads on to the end that each partition has now or later, topic by topic: a new assignment is told anew where it ends.
    #[track_caller]
    fn read_to_end(&mut self) {
        let mut all = std::mem::take(&mut self.next);
        let topics: BTreeSet<String> = all.keys().map(|(topic, _)| topic.clone()).collect();
        for topic in &topics {
            // Some may have been added since the start.
            for partition in partitions_of(&self.bootstrap, topic) {
                all.entry((topic.clone(), partition)).or_insert(0);
            }
        }
        for topic in topics {
            self.next = all.iter().filter(|((name, _), _)| *name == topic).map(|(at, next)| (at.clone(), *next)).collect();
            self.at_end.clear();
            self.consumer.unassign().expect("an end to the assignment");
            self.assign();
            let mut deadline = Instant::now() + PATIENCE;
            while self.at_end.len() < self.next.len() {
                let before = self.count;
                self.poll(Duration::from_millis(100));
                if self.count > before {
                    deadline = Instant::now() + PATIENCE;
                }
                assert!(Instant::now() < deadline, "waited {PATIENCE:?} for the end of {}", self.missing());
            }
        }
    }
}

/// What a group has committed for every partition of a topic, stable offsets only (none of an open transaction).
#[track_caller]
pub fn committed(bootstrap: &str, group: &str, topic: &str) -> Vec<Committed> {
    committed_as(bootstrap, group, topic, "read_committed")
}

#[track_caller]
fn committed_as(bootstrap: &str, group: &str, topic: &str, isolation: &str) -> Vec<Committed> {
    let mut config = client(bootstrap);
    config.set("group.id", group).set("isolation.level", isolation).set("enable.auto.commit", "false");
    let mut asked = TopicPartitionList::new();
    for partition in partitions_of(bootstrap, topic) {
        asked.add_partition(topic, partition);
    }
    let mut consumer: BaseConsumer = config.create().expect("a consumer");
    let answer = eventually(&format!("the offsets of {group}"), || {
        let answer = consumer.committed_offsets(asked.clone(), QUIET_MAX).ok();
        if answer.is_none() {
            consumer = config.create().expect("a consumer");
        }
        answer
    });
    let committed = answer.elements().into_iter().map(|element| {
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        // Without an offset librdkafka has no metadata to point to.
        let metadata = if offset.is_some() { element.metadata().to_owned() } else { String::new() };
        Committed { partition: element.partition(), offset, metadata }
    });
    committed.collect()
}

/// How many records of a topic a group has not committed yet; of a partition without an offset, all that are there.
#[track_caller]
pub fn lag(bootstrap: &str, group: &str, topic: &str) -> i64 {
    lag_of(bootstrap, topic, &committed(bootstrap, group, topic))
}

/// The same without waiting for the end of open transactions: what they would commit still counts as lag.
#[track_caller]
pub fn lag_at_once(bootstrap: &str, group: &str, topic: &str) -> i64 {
    lag_of(bootstrap, topic, &committed_as(bootstrap, group, topic, "read_uncommitted"))
}

#[track_caller]
fn lag_of(bootstrap: &str, topic: &str, positions: &[Committed]) -> i64 {
    let bounds = watermarks(bootstrap, topic);
    positions.iter().zip(bounds).map(|(position, (first, end))| end - position.offset.unwrap_or(first).max(first)).sum()
}

/// Waits until no transaction is open in a topic, so that a reader of committed records sees its true end.
#[track_caller]
pub fn wait_until_stable(bootstrap: &str, topic: &str) {
    eventually(&format!("the end of open transactions in {topic}"), || {
        (bounds(bootstrap, topic, "read_committed") == bounds(bootstrap, topic, "read_uncommitted")).then_some(())
    });
}

/// First offset and end offset of each partition, records of open transactions included.
#[track_caller]
pub fn watermarks(bootstrap: &str, topic: &str) -> Vec<(i64, i64)> {
    bounds(bootstrap, topic, "read_uncommitted")
}

#[track_caller]
fn bounds(bootstrap: &str, topic: &str, isolation: &str) -> Vec<(i64, i64)> {
    let connect = || -> BaseConsumer { client(bootstrap).set("isolation.level", isolation).create().expect("a consumer") };
    let mut consumer = connect();
    let mut bounds_of = |partition| {
        // A broker that was just restarted does not lead its partitions yet.
        let bounds = consumer.fetch_watermarks(topic, partition, QUIET_MAX).ok();
        if bounds.is_none() {
            consumer = connect();
        }
        bounds
    };
    let partitions = partitions_of(bootstrap, topic).into_iter();
    partitions.map(|partition| eventually(&format!("the ends of {topic}"), || bounds_of(partition))).collect()
}

/// The files of a topic's partitions in which `needle` stands as plain bytes, those already marked `.deleted` included. Only records
/// that were produced uncompressed can be found so: a journey asserts first that it finds them.
#[track_caller]
pub fn files_with(broker: &Broker, topic: &str, needle: &[u8]) -> Vec<PathBuf> {
    let finder = memchr::memmem::Finder::new(needle);
    // A cleaning moves records from file to file and renames both: only what was read between two equal listings is one state of the disk.
    eventually(&format!("the files of {topic} to stand still"), || {
        let listed = files_of(broker.log_dir(), topic);
        let mut found = Vec::new();
        for (file, _) in &listed {
            if finder.find(&std::fs::read(file).ok()?).is_some() {
                found.push(file.clone());
            }
        }
        (files_of(broker.log_dir(), topic) == listed).then_some(found)
    })
}

/// All files of a topic's partitions, of partitions being deleted (`<topic>-<partition>.<id>-delete`) too.
/// Shape: in order, with the number that tells a file from another one that was given its name.
fn files_of(data: &Path, topic: &str) -> Vec<(PathBuf, u64)> {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let partitions = entries(data).into_iter().filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let rest = name.strip_prefix(topic).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        rest.split('.').next().is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    });
    let files = partitions.flat_map(|partition| entries(&partition)).filter_map(|path| {
        let data = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some((path, data.ino()))
    });
    let mut files: Vec<_> = files.collect();
    files.sort_unstable();
    files
}

/// A producer with a transactional id, initialised: for journeys that play a worker themselves.
#[track_caller]
pub fn transactional_producer(bootstrap: &str, id: &str) -> ThreadedProducer<DefaultProducerContext> {
    let mut config = client(bootstrap);
    config.set("transactional.id", id).set("transaction.timeout.ms", "10000").set("partitioner", "murmur2_random");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("transactions");
    producer
}
