//! What a fetcher asks one broker, and what the answer means.

use super::batches;
use super::cluster::{Cluster, Who};
use super::coordination::topic_name;
use super::fetching::{Fetching, RESTS, RESTS_LONG};
use super::verdict::Verdict;
use crate::kafka::client::{Fault, log_again};
use crate::kafka::consumer::Place;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};
use std::collections::HashMap;
use std::time::Duration;

/// How long a broker waits for something to hand out: as long as other places may wait to be asked for at all. Units: ms.
const WAIT_MS: i32 = 50;
/// What a broker hands out at a time, of one partition or of all, unless one batch is longer. It cuts wherever that is: asked for a quarter of this, a sixth of
/// what came was the beginning of a batch, to be asked for again. Units: bytes.
const ANSWER_MAX: usize = 4 << 20;
/// Only what readers of committed records see.
const READ_COMMITTED: i8 = 1;
/// The timestamp that stands for the first offset.
const EARLIEST: i64 = -2;

/// What is asked of a broker: place, turn, and offset or the beginning.
pub(super) type Wanted = Vec<(Place, u64, Option<i64>)>;

/// What came: place, turn, and what came of it.
pub(super) type Came = Vec<(Place, u64, Outcome)>;

/// What came of one place.
pub(super) enum Outcome {
    /// Where it begins.
    Begins(i64),
    /// Batches, the offset after them, and transactions that were aborted.
    Batches(Bytes, i64, Vec<(i64, i64)>),
    Nothing,
    /// Its first offset is to be asked for.
    Gone,
    /// Somebody else may lead it by now.
    Elsewhere,
    /// It is asked again a little later.
    Again(String),
    /// What came cannot be read. The next time it may: on its way something may have happened to it.
    Spoilt(Fault),
    /// It cannot be read, which the reader is to be told once.
    Refused(Fault, Duration),
}

impl Fetching {
    /// Asks where places begin, if that is not known, or for their batches. Returns what came, and for how long not to ask again.
    pub(super) fn ask(&self, cluster: &mut Cluster, leader: i32, wanted: &Wanted) -> Result<(Came, Duration), Fault> {
        let connection = cluster.connection(&Who::Leader(leader))?;
        let turns: HashMap<(&str, i32), (Place, u64, Option<i64>)> =
            wanted.iter().map(|(place, turn, next)| ((self.topic(*place), place.1), (*place, *turn, *next))).collect();
        if wanted.iter().any(|(_, _, next)| next.is_none()) {
            let told = connection.call(&self.beginnings(wanted))?;
            let outcomes =
                told.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| (&*topic.name.0, p))).filter_map(|(topic, p)| {
                    let (place, turn, _) = turns.get(&(topic, p.partition_index))?;
                    let outcome = match ResponseError::try_from_code(p.error_code) {
                        None if p.offset >= 0 => Outcome::Begins(p.offset),
                        None => Outcome::Again(format!("topic {topic} partition {}: nobody knows where it begins", p.partition_index)),
                        Some(error) => self.outcome_of(*place, error),
                    };
                    Some((*place, *turn, outcome))
                });
            return Ok((outcomes.collect(), Duration::ZERO));
        }
        let told = connection.call(&self.question(wanted))?;
        if let Some(error) = ResponseError::try_from_code(told.error_code) {
            return Err(Fault::Retry(format!("fetch: {error}")));
        }
        let parts = told.responses.into_iter().flat_map(|topic| topic.partitions.into_iter().map(move |p| (topic.topic.clone(), p)));
        let outcomes = parts.filter_map(|(topic, p)| {
            let (place, turn, next) = turns.get(&(&*topic.0, p.partition_index))?;
            Some((*place, *turn, self.look_into(*place, next.unwrap_or(0), p)))
        });
        Ok((outcomes.collect(), Duration::from_millis(told.throttle_time_ms.max(0).unsigned_abs().into())))
    }

    fn look_into(&self, place: Place, next: i64, told: PartitionData) -> Outcome {
        if let Some(error) = ResponseError::try_from_code(told.error_code) {
            if error == ResponseError::OffsetOutOfRange {
                let text = format!("topic {} partition {}: offset {next} is gone or was never there", self.topic(place), place.1);
                log_again("reading goes on from the first offset there is", &text);
            }
            return self.outcome_of(place, error);
        }
        let mut batches = told.records.unwrap_or_default();
        if batches.is_empty() {
            return Outcome::Nothing;
        }
        match batches::check(&mut batches) {
            Ok(Some(after)) => {
                let aborted = told.aborted_transactions.unwrap_or_default();
                Outcome::Batches(batches, after, aborted.into_iter().map(|t| (t.producer_id.0, t.first_offset)).collect())
            }
            // A broker hands out the first batch whole, however long it is.
            Ok(None) => Outcome::Refused(self.unreadable(place, next, batches::Unreadable::Short), RESTS_LONG),
            Err((at, why)) => Outcome::Spoilt(self.unreadable(place, at, why)),
        }
    }

    fn outcome_of(&self, place: Place, error: ResponseError) -> Outcome {
        match Verdict::of(error) {
            _ if error == ResponseError::OffsetOutOfRange => Outcome::Gone,
            _ if error == ResponseError::TopicAuthorizationFailed => Outcome::Refused(self.refused(place), RESTS),
            Verdict::Elsewhere => Outcome::Elsewhere,
            _ => Outcome::Again(format!("topic {} partition {}: {error}", self.topic(place), place.1)),
        }
    }

    fn beginnings(&self, wanted: &Wanted) -> ListOffsetsRequest {
        let unknown = wanted.iter().filter(|(_, _, next)| next.is_none());
        let topics = self.by_topic(unknown.map(|(place, ..)| {
            (*place, ListOffsetsPartition::default().with_partition_index(place.1).with_current_leader_epoch(-1).with_timestamp(EARLIEST))
        }));
        let topics = topics.into_iter().map(|(name, of)| ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(of));
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_isolation_level(READ_COMMITTED).with_topics(topics.collect())
    }

    fn question(&self, wanted: &Wanted) -> FetchRequest {
        let most = ANSWER_MAX.min(self.ahead()) as i32;
        let topics = self.by_topic(wanted.iter().map(|(place, _, next)| {
            let partition = FetchPartition::default()
                .with_partition(place.1)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(next.unwrap_or(0))
                .with_log_start_offset(-1)
                .with_partition_max_bytes(most);
            (*place, partition)
        }));
        let topics = topics.into_iter().map(|(name, of)| FetchTopic::default().with_topic(topic_name(name)).with_partitions(of));
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(most)
            .with_isolation_level(READ_COMMITTED)
            .with_session_epoch(-1)
            .with_topics(topics.collect())
    }

    /// Shape: topics in the order in which they are first named.
    fn by_topic<P>(&self, all: impl Iterator<Item = (Place, P)>) -> Vec<(&str, Vec<P>)> {
        let mut topics: Vec<(&str, Vec<P>)> = Vec::new();
        for (place, partition) in all {
            let topic = self.topic(place);
            match topics.last_mut().filter(|(name, _)| *name == topic) {
                Some((_, of)) => of.push(partition),
                None => topics.push((topic, vec![partition])),
            }
        }
        topics
    }
}
