//! What the coordinators are told: who produces, which partitions and offsets are in the transaction, and its end.

use super::cluster::{AGAIN_MAX, Who};
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
        self.second = self.cluster.learn_kind(&self.coordinator)?;
        Ok(())
    }

    pub(super) fn add_offsets(&mut self, offsets: &[NextOffset], member: &Membership) -> Result<(), Fault> {
        let until = Instant::now() + STEP_TIMEOUT;
        let (id, group) = (self.transactional_id(), GroupId(StrBytes::from_string(member.group.clone())));
        self.is_known = true;
        if !self.second {
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
        let (who, since) = (Who::Group(member.group.clone()), Instant::now());
        loop {
            let code =
                |answer: &TxnOffsetCommitResponse| refused_offsets(answer).map(|(_, _, error)| error).find(|error| !is_topics(*error));
            let answer = self.cluster.settle("send offsets", &who, &request, until, code)?;
            let Some((name, partition, error)) = refused_offsets(&answer).next() else { return Ok(()) };
            if error != ResponseError::UnknownTopicOrPartition || since.elapsed() > UNKNOWN_MAX {
                return Err(Fault::Topic(format!("send offsets: topic {name} partition {partition}: {error}")));
            }
            std::thread::sleep(AGAIN_MAX);
        }
    }

    /// Tells the coordinator which partitions the transaction writes, before anything is written there. In transactions of the second kind the
    /// partitions' leaders do it.
    pub(super) fn add_partitions(&mut self) -> Result<(), Fault> {
        if self.second {
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
        let since = Instant::now();
        self.is_known = true;
        loop {
            let code = |answer: &AddPartitionsToTxnResponse| refusals(answer).map(|(_, _, error)| error).find(|error| !is_topics(*error));
            let answer = self.cluster.settle("add partitions", &self.coordinator, &request, since + STEP_TIMEOUT, code)?;
            let Some((name, partition, error)) = refusals(&answer).next() else { break };
            if error != ResponseError::UnknownTopicOrPartition || since.elapsed() > UNKNOWN_MAX {
                return Err(Fault::Topic(format!("topic {name} partition {partition}: {error}")));
            }
            std::thread::sleep(AGAIN_MAX);
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
        if self.second {
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

/// Which partitions were refused, and why; those that were not tried for it are left out.
fn refusals(answer: &AddPartitionsToTxnResponse) -> impl Iterator<Item = (&str, i32, ResponseError)> {
    answer.results_by_topic_v3_and_below.iter().flat_map(|topic| {
        topic.results_by_partition.iter().filter_map(|partition| {
            let error = ResponseError::try_from_code(partition.partition_error_code)?;
            (error != ResponseError::OperationNotAttempted).then_some((&*topic.name.0, partition.partition_index, error))
        })
    })
}

/// Which partitions' offsets were refused, and why.
fn refused_offsets(answer: &TxnOffsetCommitResponse) -> impl Iterator<Item = (&str, i32, ResponseError)> {
    answer.topics.iter().flat_map(|topic| {
        let refusal = |code| ResponseError::try_from_code(code);
        topic.partitions.iter().filter_map(move |p| Some((&*topic.name.0, p.partition_index, refusal(p.error_code)?)))
    })
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
