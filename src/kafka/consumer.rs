//! Members of consumer groups. A rebalance is seen as a change of generation: what was read under an older one must not be committed.

use super::client::{self, Fault, REQUEST_TIMEOUT, Revival};
use super::directives::Mark;
use super::native;
use crate::config::kafka::KafkaConfig;
use crate::model::header;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Key of the roll record, which only makes a segment roll.
pub const ROLL_KEY: &[u8] = b"~roll";

/// How many events a member takes in at once, at most.
const EVENTS_MAX: usize = 64;

/// What a consumer and its committer agree on.
#[derive(Default)]
pub struct Generation {
    number: AtomicU64,
    /// Held by the committer while a transaction is open: a rebalance waits for its end.
    transaction: Mutex<()>,
}

impl Generation {
    /// The generation now.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Starts a new generation: whatever was prepared is void.
    pub fn advance(&self) {
        self.number.fetch_add(1, Ordering::SeqCst);
    }

    /// Runs `work` as the one open transaction, unless `generation` is no longer current.
    pub fn while_current<T>(&self, generation: u64, work: impl FnOnce() -> T) -> Option<T> {
        let guard = self.transaction.lock().unwrap_or_else(PoisonError::into_inner);
        let result = (self.current() == generation).then(work);
        drop(guard);
        result
    }

    /// Voids what was prepared and waits until no transaction is open.
    pub fn drain(&self) {
        self.advance();
        drop(self.transaction.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct Group {
    generation: Arc<Generation>,
    /// Whether somebody else reads what is assigned.
    is_member_only: bool,
    /// Partitions that came with the last assignments and have not been looked at: topic and partition.
    fresh: Mutex<HashSet<(String, i32)>>,
}

impl ClientContext for Group {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, _message: &str) {
        tracing::debug!(?level, facility = fac, "librdkafka");
    }
    fn error(&self, error: KafkaError, _reason: &str) {
        client::log_heard(&error);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Partitions may go to another worker as soon as this returns: the open transaction ends first, what was prepared is void.
        self.generation.drain();
        match rebalance {
            Rebalance::Assign(list) => tracing::info!(partitions = list.count(), "partitions assigned"),
            Rebalance::Revoke(list) => tracing::info!(partitions = list.count(), "partitions revoked"),
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let (true, Rebalance::Assign(list)) = (self.is_member_only, rebalance) {
            // Fails for partitions that are not assigned: then nothing is fetched either.
            let _ = consumer.pause(list);
        }
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let places = |list: &TopicPartitionList| -> Vec<(String, i32)> {
            list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect()
        };
        match rebalance {
            Rebalance::Assign(list) => fresh.extend(places(list)),
            Rebalance::Revoke(list) => places(list).iter().for_each(|p| {
                fresh.remove(p);
            }),
            Rebalance::Error(_) => {}
        }
        self.generation.advance();
    }
}

/// A partition of a source. Shape: source index in the rules, partition.
pub type Place = (u16, i32);

/// Committed offsets, each with what was committed along with it.
pub type Committed<T> = HashMap<Place, (i64, T)>;

/// Every partition of some of a consumer's sources. Shape: `sources` by their index and topic, `there` by topic: its number of partitions; a topic
/// that is not there has none.
#[must_use]
pub fn places_of<'t>(sources: impl Iterator<Item = (usize, &'t str)>, there: &HashMap<String, u32>) -> Vec<Place> {
    sources.flat_map(|(i, topic)| (0..there.get(topic).copied().unwrap_or(0) as i32).map(move |partition| (i as u16, partition))).collect()
}

/// The group's metadata of one generation, without which no offsets can go into a transaction.
///
/// It is taken when a generation begins and goes with everything read in it. Taken at the commit, it would be worthless: a member that was
/// thrown out has forgotten its id by then, and a transaction without a member's id is not checked against the group at all.
pub struct Membership {
    /// The group.
    pub(super) group: String,
    /// Its generation, or the member's epoch (KIP-848).
    pub(super) generation: i32,
    /// The member's id; empty for who is in no group.
    pub(super) id: String,
    /// `group.instance.id`, if it has one.
    pub(super) instance: Option<String>,
}

/// A record that is looked at and not kept.
pub struct Lent<'m> {
    /// Topic and partition.
    pub place: Place,
    /// Offset.
    pub offset: i64,
    /// When the broker stored it. Units: ms since the epoch.
    pub stored_at_ms: i64,
    /// Its key; empty for none.
    pub key: &'m [u8],
    /// Its value; `None` for a null value.
    pub value: Option<&'m [u8]>,
    /// How long its value is; `None` for a null value.
    pub value_bytes: Option<usize>,
    /// Its header `lethe`.
    pub header: Option<&'m [u8]>,
}

/// A member of a group that reads topics: raw ones for `run`, governed ones for `retain`.
pub struct RawConsumer {
    consumer: BaseConsumer<Group>,
    group: String,
    sources: Vec<String>,
    index: HashMap<String, u16>,
    /// How long an answer is waited for.
    patience: Duration,
    revival: Revival,
}

impl RawConsumer {
    /// Connects and subscribes to `sources`. Errors: settings that librdkafka refuses.
    pub fn connect(config: &KafkaConfig, group: &str, sources: &[String], generation: Arc<Generation>) -> Result<Self, Fault> {
        Self::create(config, group, sources, generation, false)?.subscribe()
    }

    /// As [`RawConsumer::connect`], to be a member and nothing else: what is assigned is read by a [`Fetcher`](super::fetcher::Fetcher).
    pub fn join(config: &KafkaConfig, group: &str, sources: &[String], generation: Arc<Generation>) -> Result<Self, Fault> {
        Self::create(config, group, sources, generation, true)?.subscribe()
    }

    fn subscribe(self) -> Result<Self, Fault> {
        let names: Vec<&str> = self.sources.iter().map(String::as_str).collect();
        self.consumer.subscribe(&names).map_err(|e| Fault::of_request("subscribe", &e))?;
        Ok(self)
    }

    /// Connects without joining the group: to look at its commits. Errors: settings that librdkafka refuses.
    pub fn observe(config: &KafkaConfig, group: &str, sources: &[String], generation: Arc<Generation>) -> Result<Self, Fault> {
        Self::create(config, group, sources, generation, false)
    }

    fn create(
        config: &KafkaConfig,
        group: &str,
        sources: &[String],
        generation: Arc<Generation>,
        is_member_only: bool,
    ) -> Result<Self, Fault> {
        let settings = client::consumer(config, group)?;
        let consumer: BaseConsumer<Group> = settings
            .create_with_context(Group { generation, is_member_only, fresh: Mutex::default() })
            .map_err(|e| Fault::of_request("create consumer", &e))?;
        let index = sources.iter().enumerate().map(|(i, name)| (name.clone(), i as u16)).collect();
        let revival = Revival::new(config);
        Ok(RawConsumer { consumer, group: group.to_owned(), sources: sources.to_vec(), index, patience: REQUEST_TIMEOUT, revival })
    }

    /// Waits for answers no longer than that: for one who asks again and again, and may be asked to stop meanwhile. Committed offsets are long in
    /// coming while somebody's open transaction holds newer ones.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        RawConsumer { patience, ..self }
    }

    /// Does what a member must do every now and then: tells the group that it lives, and takes in what was assigned. Errors: see [`Fault`].
    pub fn attend(&self) -> Result<(), Fault> {
        for _ in 0..EVENTS_MAX {
            match self.consumer.poll(Duration::ZERO).map(|event| event.map(drop)) {
                None => {
                    self.revival.look(self.consumer.client());
                    break;
                }
                // One that was under way before its partition was paused: it is read elsewhere.
                Some(Ok(()) | Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(e)) => match self.consume_fault(&e) {
                    Fault::Retry(text) => client::log_again("the group is attended to again", &text),
                    fault => return Err(fault),
                },
            }
        }
        Ok(())
    }

    /// Takes one record, waiting for at most `wait`, and lends it to `take`. Returns whether one came. Errors: see [`Fault`].
    pub fn lend(&self, wait: Duration, take: impl FnOnce(Lent<'_>)) -> Result<bool, Fault> {
        let message = match self.consumer.poll(wait) {
            None => {
                self.revival.look(self.consumer.client());
                return Ok(false);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(true),
            Some(Err(e)) => return Err(self.consume_fault(&e)),
            Some(Ok(message)) => message,
        };
        if let Some(source) = self.index.get(message.topic()) {
            let headers = message.headers();
            let header = headers.and_then(|h| h.iter().find(|h| h.key == header::NAME).and_then(|h| h.value));
            take(Lent {
                place: (*source, message.partition()),
                offset: message.offset(),
                stored_at_ms: message.timestamp().to_millis().unwrap_or(0),
                key: message.key().unwrap_or_default(),
                value: message.payload(),
                value_bytes: message.payload().map(<[u8]>::len),
                header,
            });
        }
        Ok(true)
    }

    /// The name of a source.
    #[must_use]
    pub fn source(&self, source: u16) -> &str {
        &self.sources[usize::from(source)]
    }

    /// What is assigned. Errors: Kafka's.
    pub fn assignment(&self) -> Result<Vec<Place>, Fault> {
        let list = self.consumer.assignment().map_err(|e| Fault::of_request("assignment", &e))?;
        Ok(list.elements().iter().filter_map(|e| Some((*self.index.get(e.topic())?, e.partition()))).collect())
    }

    /// Reads these partitions from these offsets on, in no group; from the beginning where there is none. Errors: Kafka's.
    pub fn assign(&self, places: &[(Place, Option<i64>)]) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (place, offset) in places {
            let offset = offset.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(self.source(place.0), place.1, offset).map_err(|e| Fault::of_request("assign", &e))?;
        }
        self.consumer.assign(&list).map_err(|e| Fault::of_request("assign", &e))
    }

    /// Which partitions are new since the last call: they begin where the group had committed, without being told.
    #[must_use]
    pub fn take_fresh(&self) -> HashSet<Place> {
        let mut fresh = self.consumer.context().fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.drain().filter_map(|(topic, partition)| Some((*self.index.get(&topic)?, partition))).collect()
    }

    /// Who this member is now. Errors: `None` for a member that was thrown out of the group, or is in none.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        let member = native::membership(self.consumer.client())?;
        // In this order: librdkafka forgets the id and marks the assignment as lost in one step of the thread that answers both questions.
        (!self.consumer.assignment_lost()).then_some(member)
    }

    /// Committed offsets and their marks; read as stable offsets. Shape: places without a commit are left out. Errors: the brokers do not answer.
    pub fn committed(&self, places: &[Place]) -> Result<Committed<Option<Mark>>, Fault> {
        self.committed_and_refused(places).map(|(committed, _)| committed)
    }

    /// The same, and of which of these places this user may not know: nothing may be taken to be committed there.
    pub fn committed_and_refused(&self, places: &[Place]) -> Result<(Committed<Option<Mark>>, HashSet<Place>), Fault> {
        let (texts, refused) = self.ask_committed(places)?;
        Ok((texts.into_iter().map(|(place, (offset, text))| (place, (offset, Mark::read(&text)))).collect(), refused))
    }

    /// Committed offsets and their metadata. Shape and errors: as [`RawConsumer::committed`].
    pub fn committed_texts(&self, places: &[Place]) -> Result<Committed<String>, Fault> {
        self.ask_committed(places).map(|(committed, _)| committed)
    }

    fn ask_committed(&self, places: &[Place]) -> Result<(Committed<String>, HashSet<Place>), Fault> {
        let list = self
            .consumer
            .committed_offsets(self.list(places), self.patience)
            .map_err(|e| self.revival.retry(self.consumer.client(), "committed offsets", &e))?;
        let (mut found, mut refused) = (HashMap::new(), HashSet::new());
        for e in list.elements() {
            let Some(source) = self.index.get(e.topic()) else { continue };
            let place = (*source, e.partition());
            match e.error() {
                Ok(()) => found.extend(e.offset().to_raw().filter(|o| *o >= 0).map(|offset| (place, (offset, e.metadata().to_owned())))),
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) => drop(refused.insert(place)),
                // No answer about one place is none about all: it must not pass for one where nothing is committed.
                Err(error) => return Err(Fault::Retry(format!("committed offsets of {} partition {}: {error}", e.topic(), e.partition()))),
            }
        }
        Ok((found, refused))
    }

    /// Whether this user may use the group, asked by one that observes: to the request for offsets a refusal looks like silence, so the client
    /// is listened to in between. Errors: it may not. Brokers that do not answer are not this question's matter.
    pub fn may_use_group(&self, places: &[Place]) -> Result<(), Fault> {
        for wait in [100, 200, 500, 1_000, 2_000].map(Duration::from_millis) {
            if self.consumer.committed_offsets(self.list(places), wait).is_ok() {
                break;
            }
            while let Some(heard) = self.consumer.poll(Duration::ZERO) {
                if let Err(error) = heard
                    && error.rdkafka_error_code().is_some_and(client::is_missing_right)
                {
                    return Err(client::refused(&format!("the consumer group {}", self.group), "READ on it", &error));
                }
            }
        }
        Ok(())
    }

    /// Where each partition begins and ends now. Errors: the brokers do not answer.
    pub fn watermarks(&self, place: Place) -> Result<(i64, i64), Fault> {
        let topic = self.source(place.0);
        let answer = self.consumer.fetch_watermarks(topic, place.1, self.patience);
        answer.map_err(|e| self.revival.retry(self.consumer.client(), &format!("watermarks of {topic}"), &e))
    }

    /// Where each of these partitions ends for readers of committed records, in one request to each broker. A question for one partition alone, as
    /// [`RawConsumer::watermarks`] asks it, waits behind the fetch that is under way: with a hundred partitions that was five seconds.
    ///
    /// Errors: the brokers do not answer.
    pub fn ends(&self, places: &[Place]) -> Result<HashMap<Place, i64>, Fault> {
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (source, partition) in places {
            list.add_partition_offset(self.source(*source), *partition, Offset::End).map_err(|e| Fault::of_request("ends", &e))?;
        }
        let answer = self
            .consumer
            .offsets_for_times(list, self.patience)
            .map_err(|e| self.revival.retry(self.consumer.client(), "ends of partitions", &e))?;
        let elements = answer.elements();
        let found = elements.iter().map(|e| {
            let place = (*self.index.get(e.topic())?, e.partition());
            e.error().ok().and(e.offset().to_raw()).filter(|offset| *offset >= 0).map(|offset| (place, offset))
        });
        found.collect::<Option<_>>().ok_or_else(|| Fault::Retry("ends of partitions: not all of them answered".into()))
    }

    /// Goes back to what is committed, or to the beginning. Errors: the brokers do not answer.
    pub fn rewind(&self, places: &[Place]) -> Result<(), Fault> {
        let committed = self.committed(places)?;
        self.seek(places.iter().map(|place| (*place, committed.get(place).map(|(offset, _)| *offset))))
    }

    /// Goes to an offset of each of these partitions, or to its beginning. Errors: the brokers do not answer.
    pub fn seek(&self, places: impl Iterator<Item = (Place, Option<i64>)>) -> Result<(), Fault> {
        let mut list = TopicPartitionList::new();
        for (place, offset) in places {
            let offset = offset.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(self.source(place.0), place.1, offset).map_err(|e| Fault::of_request("rewind", &e))?;
        }
        if list.count() == 0 {
            return Ok(()); // which librdkafka takes for an invalid argument
        }
        let sought = self.consumer.seek_partitions(list, self.patience);
        let sought = sought.map_err(|e| self.revival.retry(self.consumer.client(), "rewind", &e))?;
        let failed = sought.elements().iter().find_map(|e| e.error().err());
        failed.map_or(Ok(()), |e| Err(Fault::Retry(format!("rewind: {e}"))))
    }

    /// Stops fetching from partitions. Errors: Kafka's.
    pub fn pause(&self, places: &[Place]) -> Result<(), Fault> {
        self.consumer.pause(&self.list(places)).map_err(|e| Fault::Retry(format!("pause: {e}")))
    }

    /// Goes on fetching from partitions. Errors: Kafka's.
    pub fn resume(&self, places: &[Place]) -> Result<(), Fault> {
        self.consumer.resume(&self.list(places)).map_err(|e| Fault::Retry(format!("resume: {e}")))
    }

    /// The next offset of each partition as the consumer sees it, past markers of transactions too.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<Place, i64> {
        let Ok(list) = self.consumer.position() else { return BTreeMap::new() };
        let elements = list.elements();
        let found =
            elements.iter().filter_map(|e| Some(((*self.index.get(e.topic())?, e.partition()), e.offset().to_raw().filter(|o| *o >= 0)?)));
        found.collect()
    }

    /// What to do about an error that a poll gave.
    fn consume_fault(&self, error: &KafkaError) -> Fault {
        use rdkafka::error::RDKafkaErrorCode as Code;
        self.revival.heard(error);
        let text = format!("consume: {error}");
        match error.rdkafka_error_code() {
            Some(Code::GroupAuthorizationFailed) => client::refused(&format!("the consumer group {}", self.group), "READ on it", error),
            Some(Code::Fatal | Code::Fenced | Code::SaslAuthenticationFailed) => Fault::Stop(text),
            // librdkafka does not say which.
            Some(Code::TopicAuthorizationFailed) => {
                Fault::Topic(format!("this user may not read {}: grant it READ on each", self.sources.join(", ")))
            }
            // The group may go on without this member for a while: librdkafka joins again by itself.
            _ => client::spoilt("consume", error).unwrap_or(Fault::Retry(text)),
        }
    }

    fn list(&self, places: &[Place]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (source, partition) in places {
            list.add_partition(self.source(*source), *partition);
        }
        list
    }
}
