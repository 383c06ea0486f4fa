//! What a broker's error means to a transaction: <https://kafka.apache.org/protocol#protocol_error_codes>.

use crate::kafka::client::Fault;
use kafka_protocol::ResponseError as E;

/// What to do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The same question, a moment later.
    Again,
    /// The same question, to whoever is in charge by then: who that was is out of date.
    Elsewhere,
    /// A topic cannot be written, now or later.
    Topic,
    /// This user lacks a right that no topic is the matter of.
    Right,
    /// Another producer took over, or the coordinator gave the transaction up.
    Fenced,
    /// This transaction cannot be committed.
    Abort,
    /// Whatever the broker did is unknown, or its state is lost.
    Recreate,
}

impl Verdict {
    /// Of an error.
    pub(super) fn of(error: E) -> Verdict {
        match error {
            E::TopicAuthorizationFailed
            | E::InvalidTopicException
            | E::MessageTooLarge
            | E::RecordListTooLarge
            | E::InvalidRecord
            | E::PolicyViolation
            | E::InvalidTimestamp => Verdict::Topic,
            E::TransactionalIdAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed => Verdict::Right,
            E::InvalidProducerEpoch | E::ProducerFenced => Verdict::Fenced,
            E::IllegalGeneration
            | E::UnknownMemberId
            | E::FencedInstanceId
            | E::RebalanceInProgress
            | E::StaleMemberEpoch
            | E::FencedMemberEpoch
            | E::OutOfOrderSequenceNumber
            | E::UnknownProducerId
            | E::OffsetMetadataTooLarge
            | E::TransactionAbortable => Verdict::Abort,
            E::NotCoordinator
            | E::CoordinatorNotAvailable
            | E::NotLeaderOrFollower
            | E::LeaderNotAvailable
            | E::UnknownTopicOrPartition
            | E::FencedLeaderEpoch
            | E::KafkaStorageError
            | E::BrokerNotAvailable
            | E::ReplicaNotAvailable
            | E::UnknownLeaderEpoch => Verdict::Elsewhere,
            E::ConcurrentTransactions => Verdict::Again,
            other if other.is_retriable() => Verdict::Again,
            _ => Verdict::Recreate,
        }
    }

    /// Whether it may be different a moment later.
    pub(super) fn is_passing(self) -> bool {
        matches!(self, Verdict::Again | Verdict::Elsewhere)
    }

    /// As a fault, of an error that asking again did not help against.
    pub(super) fn fault(self, text: String) -> Fault {
        match self {
            Verdict::Again | Verdict::Elsewhere | Verdict::Abort => Fault::Abort(text),
            Verdict::Topic => Fault::Topic(text),
            Verdict::Right => Fault::Stop(text),
            Verdict::Fenced => Fault::Fenced(text),
            Verdict::Recreate => Fault::Recreate(text),
        }
    }
}
