//! What the coordinators are told: who produces, which partitions and offsets are in the transaction, and its end.

use super::cluster::{AGAIN_MAX, Who};
use super::connection::Spoken;
use super::producer::{STEP_TIMEOUT, UNKNOWN_MAX, WireProducer};
use super::verdict::Verdict;
use crate::kafka::client::Fault;
use crate::kafka::consumer::Membership;
use crate::kafka::transaction::NextOffset;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse,
    GroupId, InitProducerIdRequest, InitProducerIdResponse, ProducerId, TopicName, TransactionalId, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

impl WireProducer {
    /// Asks for the producer's id, or for a new epoch of it. Whatever was open under the old one is aborted.
    pub(super) fn introduce(&mut self, until: Instant) -> Result<(), Fault> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_transaction_timeout_ms(i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX))
            .with_producer_id(ProducerId(self.author.0))
            .with_producer_epoch(self.author.1);
        let code = |answer: &InitProducerIdResponse| ResponseError::try_from_code(answer.error_code);
        let answer = self.cluster.settle("begin as a producer", &self.coordinator, &request, until, code)?;
        self.author = (answer.producer_id.0, answer.producer_epoch);
        self.outboxes.iter_mut().for_each(|outbox| outbox.sequence = 0);
        self.cluster.learn_kind(&self.coordinator)
    }

    pub(super) fn add_offsets(&mut self, offsets: &[NextOffset], member: &Membership) -> Result<(), Fault> {
        let until = Instant::now() + STEP_TIMEOUT;
        let (id, group) = (self.transactional_id(), GroupId(StrBytes::from_string(member.group.clone())));
        self.is_known = true;
        if !self.cluster.is_second() {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(id.clone())
                .with_producer_id(ProducerId(self.author.0))
                .with_producer_epoch(self.author.1)
                .with_group_id(group.clone());
            let code = |answer: &AddOffsetsToTxnResponse| ResponseError::try_from_code(answer.error_code);
            self.cluster.settle("add offsets", &self.coordinator, &request, until, code)?;
        }
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for next in offsets {
            let partition = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(next.partition)
                .with_committed_offset(next.offset)
                .with_committed_metadata(Some(StrBytes::from_string(next.metadata.clone())));
            topics.entry(&next.topic).or_default().push(partition);
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| TxnOffsetCommitRequestTopic::default().with_name(topic_name(name)).with_partitions(partitions));
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(id)
            .with_group_id(group)
            .with_producer_id(ProducerId(self.author.0))
            .with_producer_epoch(self.author.1)
            .with_generation_id(member.generation)
            .with_member_id(StrBytes::from_string(member.id.clone()))
            .with_group_instance_id(member.instance.clone().map(StrBytes::from_string))
            .with_topics(topics.collect());
        let who = Who::Group(member.group.clone());
        let refused = self.settle_places("send offsets", &who, &request, until, refused_offsets)?;
        refused.map_or(Ok(()), |what| Err(Fault::Topic(format!("send offsets: {what}"))))
    }

    /// Asks a coordinator about partitions until none of them is refused. Topics that it does not know may turn up for a while. Returns which one is
    /// refused for good, and why. Errors: as `Cluster::settle`, of what is not a topic's matter.
    fn settle_places<R: Spoken>(
        &mut self,
        step: &str,
        who: &Who,
        request: &R,
        until: Instant,
        refusals: impl Fn(&R::Response) -> Vec<Refusal<'_>>,
    ) -> Result<Option<String>, Fault> {
        let since = Instant::now();
        loop {
            let code = |answer: &R::Response| refusals(answer).into_iter().map(|(_, _, error)| error).find(|error| !is_topics(*error));
            let answer = self.cluster.settle(step, who, request, until, code)?;
            let Some((name, partition, error)) = refusals(&answer).into_iter().next() else { return Ok(None) };
            if error != ResponseError::UnknownTopicOrPartition || since.elapsed() > UNKNOWN_MAX {
                return Ok(Some(format!("topic {name} partition {partition}: {error}")));
            }
            std::thread::sleep(AGAIN_MAX);
        }
    }

    /// Tells the coordinator which partitions the transaction writes, before anything is written there. In transactions of the second kind the
    /// partitions' leaders do it.
    pub(super) fn add_partitions(&mut self) -> Result<(), Fault> {
        if self.cluster.is_second() {
            self.is_known = true;
            for number in &self.used {
                if let Some(outbox) = self.outboxes.get_mut(*number) {
                    outbox.is_added = true;
                }
            }
            return Ok(());
        }
        let mut new: BTreeMap<Arc<str>, Vec<(i32, usize)>> = BTreeMap::new();
        for number in &self.used {
            if let Some(outbox) = self.outboxes.get(*number).filter(|outbox| !outbox.is_added) {
                new.entry(Arc::clone(&outbox.topic)).or_default().push((outbox.partition, *number));
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let topics = new.iter().map(|(name, partitions)| {
            let partitions = partitions.iter().map(|(partition, _)| *partition).collect();
            AddPartitionsToTxnTopic::default().with_name(topic_name(name)).with_partitions(partitions)
        });
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(ProducerId(self.author.0))
            .with_v3_and_below_producer_epoch(self.author.1)
            .with_v3_and_below_topics(topics.collect());
        self.is_known = true;
        let (who, until) = (self.coordinator.clone(), Instant::now() + STEP_TIMEOUT);
        if let Some(what) = self.settle_places("add partitions", &who, &request, until, refused_partitions)? {
            return Err(Fault::Topic(what));
        }
        for (_, number) in new.into_values().flatten() {
            if let Some(outbox) = self.outboxes.get_mut(number) {
                outbox.is_added = true;
            }
        }
        Ok(())
    }

    /// Ends the transaction. In transactions of the second kind each end raises the epoch: nothing that was delayed counts as the next one's.
    ///
    /// Errors: what the coordinator did is unknown, or another producer took over.
    pub(super) fn end_transaction(&mut self, commit: bool) -> Result<(), Fault> {
        let step = if commit { "commit transaction" } else { "abort transaction" };
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(self.author.0))
            .with_producer_epoch(self.author.1)
            .with_committed(commit);
        let until = Instant::now() + STEP_TIMEOUT;
        let code = |answer: &EndTxnResponse| ResponseError::try_from_code(answer.error_code);
        let answer = self.cluster.settle(step, &self.coordinator, &request, until, code)?;
        if self.cluster.is_second() {
            self.author = (answer.producer_id.0, answer.producer_epoch);
        }
        Ok(())
    }

    pub(super) fn transactional_id(&self) -> TransactionalId {
        TransactionalId(StrBytes::from_string(self.id.clone()))
    }
}

/// Whether an error is about a topic rather than about the request.
fn is_topics(error: ResponseError) -> bool {
    matches!(Verdict::of(error), Verdict::Topic) || error == ResponseError::UnknownTopicOrPartition
}

/// A partition that was refused. Shape: topic, partition, why.
type Refusal<'a> = (&'a str, i32, ResponseError);

/// Which partitions were refused; those that were not tried for it are left out.
fn refused_partitions(answer: &AddPartitionsToTxnResponse) -> Vec<Refusal<'_>> {
    let places = answer.results_by_topic_v3_and_below.iter().flat_map(|topic| {
        let name: &str = &topic.name.0;
        topic.results_by_partition.iter().map(move |p| (name, p.partition_index, p.partition_error_code))
    });
    refused(places).filter(|(_, _, error)| *error != ResponseError::OperationNotAttempted).collect()
}

/// Which partitions' offsets were refused.
fn refused_offsets(answer: &TxnOffsetCommitResponse) -> Vec<Refusal<'_>> {
    let places = answer.topics.iter().flat_map(|topic| {
        let name: &str = &topic.name.0;
        topic.partitions.iter().map(move |p| (name, p.partition_index, p.error_code))
    });
    refused(places).collect()
}

fn refused<'a>(places: impl Iterator<Item = (&'a str, i32, i16)>) -> impl Iterator<Item = Refusal<'a>> {
    places.filter_map(|(name, partition, code)| Some((name, partition, ResponseError::try_from_code(code)?)))
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
