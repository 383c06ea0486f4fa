//! Connections: settings that are ours, settings that the operator may choose, and what to do about each kind of error.

use super::native;
use crate::config::kafka::KafkaConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a question to the brokers may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a reader waits to learn who leads a topic. That nobody answers is the reading's own matter.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long what was learnt counts; librdkafka forgets it after a quarter of an hour.
const LEADERS_KEPT: Duration = Duration::from_secs(300);

/// Which topics' leaders a reader knows.
///
/// Told to read a partition whose leader it does not know, librdkafka 2.12 waits half a second before it asks where the partition begins
/// (`rd_kafka_toppar_offset_request`). A command that reads fifteen topics would take ten seconds, and takes one.
#[derive(Default)]
pub(super) struct Leaders(Mutex<HashMap<String, Instant>>);

impl Leaders {
    /// Learns who leads a topic's partitions, before they are assigned. Errors: none; where nobody answers, or nobody knows the topic, reading tells.
    pub(super) fn learn<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, topic: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(topic).is_none_or(|at| at.elapsed() > LEADERS_KEPT) {
            let learnt = consumer.fetch_metadata(Some(topic), LEADERS_TIMEOUT);
            if learnt.is_ok_and(|all| all.topics().iter().all(|t| t.error().is_none())) {
                known.insert(topic.to_owned(), Instant::now());
            }
        }
    }
}

/// How long a client is looked after once it has lost its brokers.
const REVIVED_FOR: Duration = Duration::from_secs(120);
/// How often it is given its brokers again meanwhile.
const REVIVED_EVERY: Duration = Duration::from_secs(5);

/// Brings back a client that has lost every broker.
///
/// A broker that has just started answers, for a moment, that it knows of topics and of no broker. librdkafka (2.10 to 2.13 at least: its issue 5301)
/// then forgets all brokers it had, those of the config too, and never asks anybody again. So whoever was left without brokers gets them again.
pub(super) struct Revival {
    brokers: CString,
    /// Until when, and when next.
    due: Mutex<Option<(Instant, Instant)>>,
}

impl Revival {
    /// Of a client of this config.
    pub(super) fn new(config: &KafkaConfig) -> Self {
        // A NUL in it: librdkafka refuses such a config anyway.
        Revival { brokers: CString::new(config.bootstrap_servers.as_str()).unwrap_or_default(), due: Mutex::default() }
    }

    /// Takes note of an error that this client gave.
    pub(super) fn heard(&self, error: &KafkaError) {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, UnknownPartition};
        if matches!(error.rdkafka_error_code(), Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut | UnknownPartition)) {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *due = Some((now + REVIVED_FOR, due.map_or(now, |(_, next)| next)));
        }
    }

    /// Gives the client its brokers, if it is time. To be called whenever nothing came.
    pub(super) fn look<C: ClientContext>(&self, client: &Client<C>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((until, next)) = *due else { return };
        let now = Instant::now();
        if now >= next {
            native::add_brokers(client, &self.brokers);
            *due = (now < until).then_some((until, now + REVIVED_EVERY));
        }
    }

    /// Both, for who asks and does not listen.
    pub(super) fn unanswered<C: ClientContext>(&self, client: &Client<C>, error: &KafkaError) {
        self.heard(error);
        self.look(client);
    }

    /// The same, and what the caller does about it: asks again. `what` was asked for.
    pub(super) fn retry<C: ClientContext>(&self, client: &Client<C>, what: &str, error: &KafkaError) -> Fault {
        self.unanswered(client, error);
        Fault::Retry(format!("{what}: {error}"))
    }
}

/// What the caller must do about an error. The texts hold Kafka's words, never a record's.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Ask again.
    #[error("{0}")]
    Retry(String),
    /// Abort the transaction; the producer lives.
    #[error("{0}")]
    Abort(String),
    /// Abort the transaction: a topic cannot be written, so doing it again will not help.
    #[error("{0}")]
    Topic(String),
    /// The producer's state is unknown or lost: destroy it and build a new one.
    #[error("{0}")]
    Recreate(String),
    /// Another producer took over this transactional id, or the broker gave it up.
    #[error("{0}")]
    Fenced(String),
    /// Nothing helps but the operator.
    #[error("{0}")]
    Stop(String),
}

impl Fault {
    /// An error outside of a transaction. Brokers that are away, or choose a leader, may be back when they are asked again.
    #[must_use]
    pub fn of_request(step: &str, error: &KafkaError) -> Fault {
        let text = format!("{step}: {error}");
        if error.rdkafka_error_code().is_some_and(is_passing) { Fault::Retry(text) } else { Fault::Stop(text) }
    }
}

/// Whether an error means that a topic cannot be written, now or later.
#[must_use]
pub fn is_topic_fault(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::PolicyViolation
    )
}

/// Whether an error means that this user lacks a right that no tenant's topic is the matter of.
#[must_use]
pub fn is_missing_right(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

/// Whether an error says that brokers are away, or not ready yet.
#[must_use]
pub fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::Resolve
            | Code::WaitingForCoordinator
            | Code::NetworkException
            | Code::BrokerNotAvailable
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::OffsetNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotEnoughReplicas
            | Code::ConcurrentTransactions
    )
}

/// An error that says that something stored cannot be read. librdkafka tells it in passing and may go on behind it; who hears it must not: what was to
/// be found there would be taken to be gone. Asked again, another replica may have it whole. `what` was read.
#[must_use]
pub fn spoilt(what: &str, error: &KafkaError) -> Option<Fault> {
    use RDKafkaErrorCode as Code;
    let is_spoilt = matches!(
        error.rdkafka_error_code(),
        Some(Code::BadMessage | Code::BadCompression | Code::NotImplemented | Code::InvalidMessage | Code::MessageSizeTooLarge)
    );
    is_spoilt.then(|| Fault::Retry(format!("{what}: a batch cannot be read: {error}")))
}

/// The one line about a right that is missing, or the error as it is.
#[must_use]
pub fn refused(what: &str, right: &str, error: &KafkaError) -> Fault {
    match error.rdkafka_error_code() {
        Some(code) if is_missing_right(code) => Fault::Stop(format!("this user may not use {what}: grant it {right}")),
        _ => Fault::of_request(what, error),
    }
}

/// How long an error of one kind is told once: each of a process's clients hears of brokers that are away, several times a second.
const HEARD_AGAIN: Duration = Duration::from_secs(10);

/// What kind of error was told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// By a client, outside of any call: the error's code.
    Heard(i32),
    /// By a call that is made again and again: what it is for.
    Call(&'static str),
}

/// Errors that were told, and when.
static TOLD: Mutex<BTreeMap<Told, Instant>> = Mutex::new(BTreeMap::new());

/// Whether an error of this kind was told so lately that it need not be told again.
fn was_told(kind: Told, now: Instant) -> bool {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let lately = told.get(&kind).is_some_and(|at| now.saturating_duration_since(*at) < HEARD_AGAIN);
    if !lately {
        told.insert(kind, now);
    }
    lately
}

/// What is told of a raw topic that is kept from this user.
pub fn may_not_read(topic: &str) -> String {
    format!("this user may not read {topic}: grant it READ on it")
}

/// Logs why a call that is made again and again did not succeed this time; `what` came of it.
pub fn log_again(what: &'static str, cause: &str) {
    if was_told(Told::Call(what), Instant::now()) {
        tracing::debug!(cause, "{what}");
    } else {
        tracing::warn!(cause, "{what}");
    }
}

/// Logs an error that a client heard of outside of any call. A missing right is told by the call that needed it.
pub fn log_heard(error: &KafkaError) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        Some(code) if is_missing_right(code) || code == RDKafkaErrorCode::TopicAuthorizationFailed => {
            tracing::debug!(%error, "kafka client");
        }
        Some(code) if was_told(Told::Heard(code as i32), Instant::now()) => tracing::debug!(%error, "kafka client"),
        _ => tracing::warn!(%error, "kafka client"),
    }
}

/// Passes librdkafka's words on to the log, quietly: its texts name hosts and topics, the end of a partition is no error.
pub struct Quiet;

impl rdkafka::client::ClientContext for Quiet {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, _message: &str) {
        tracing::debug!(?level, facility = fac, "librdkafka");
    }
    fn error(&self, error: KafkaError, _reason: &str) {
        log_heard(&error);
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}

/// Settings that every client has.
///
/// Errors: a password file that cannot be read.
pub fn base(config: &KafkaConfig) -> Result<ClientConfig, Fault> {
    let mut c = ClientConfig::new();
    c.set("bootstrap.servers", &config.bootstrap_servers)
        .set("client.id", &config.client_id)
        .set("security.protocol", &config.security_protocol)
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000")
        .set("log_level", "3");
    let optional = [
        ("sasl.mechanism", &config.sasl_mechanism),
        ("sasl.username", &config.sasl_username),
        ("ssl.ca.location", &config.ssl_ca_location),
        ("ssl.certificate.location", &config.ssl_certificate_location),
        ("ssl.key.location", &config.ssl_key_location),
    ];
    for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
        c.set(name, value);
    }
    if !config.sasl_password_file.is_empty() {
        c.set("sasl.password", password(config)?);
    }
    Ok(c)
}

/// The password, read from its file. Errors: the file cannot be read.
pub(super) fn password(config: &KafkaConfig) -> Result<String, Fault> {
    let text = std::fs::read_to_string(&config.sasl_password_file)
        .map_err(|e| Fault::Stop(format!("kafka.sasl_password_file: the file cannot be read: {e}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A consumer's settings.
///
/// Errors: as [`base`].
pub fn consumer(config: &KafkaConfig, group: &str) -> Result<ClientConfig, Fault> {
    let mut c = base(config)?;
    c.set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("group.protocol", &config.group_protocol)
        .set("max.poll.interval.ms", config.max_poll_interval_ms.to_string())
        // The default, 1000, starves a consumer whose local queue fills: measured four times slower.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "50")
        .set("queued.min.messages", "100000")
        .set("queued.max.messages.kbytes", config.fetch_ahead_kib.to_string())
        .set("check.crcs", "true")
        // How soon a raw topic that was missing, or new partitions of one, are noticed: by default after five minutes.
        .set("topic.metadata.refresh.interval.ms", "10000");
    if config.group_protocol == "classic" {
        c.set("session.timeout.ms", config.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", (config.session_timeout_ms / 5).to_string())
            .set("partition.assignment.strategy", &config.partition_assignment_strategy);
    }
    Ok(c)
}

/// A plain idempotent producer's settings.
///
/// Errors: as [`base`].
pub fn producer(config: &KafkaConfig) -> Result<ClientConfig, Fault> {
    let mut c = base(config)?;
    c.set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", &config.compression)
        .set("linger.ms", "5")
        .set("batch.size", config.batch_size.to_string())
        .set("batch.num.messages", "100000")
        .set("message.max.bytes", "4194304")
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "65536")
        // How long a topic that the brokers do not know may still turn up.
        .set("topic.metadata.propagation.max.ms", "3000")
        .set("sticky.partitioning.linger.ms", "10");
    Ok(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_clients_hear_is_told_once() {
        let (kind, now) = (Told::Heard(RDKafkaErrorCode::Resolve as i32), Instant::now());
        assert!(!was_told(kind, now) && was_told(kind, now) && was_told(kind, now + HEARD_AGAIN / 2));
        assert!(!was_told(Told::Heard(RDKafkaErrorCode::Fatal as i32), now) && !was_told(Told::Call("a test"), now), "another is told");
        assert!(!was_told(kind, now + HEARD_AGAIN), "and in a while again");
    }

    #[test]
    fn brokers_that_are_away_are_asked_again_and_a_refusal_stops() {
        let of = |code| Fault::of_request("ask", &KafkaError::MetadataFetch(code));
        assert!(matches!(of(RDKafkaErrorCode::BrokerTransportFailure), Fault::Retry(_)));
        assert!(matches!(of(RDKafkaErrorCode::OperationTimedOut), Fault::Retry(_)));
        assert!(matches!(of(RDKafkaErrorCode::TopicAuthorizationFailed), Fault::Stop(_)));
        assert!(matches!(of(RDKafkaErrorCode::UnknownTopicOrPartition), Fault::Stop(_)));
    }
}
