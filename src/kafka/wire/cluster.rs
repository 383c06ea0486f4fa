//! Who leads what, who coordinates what, and the connections to them.

use super::connection::{Connection, Spoken};
use super::verdict::Verdict;
use crate::config::kafka::KafkaConfig;
use crate::kafka::client::Fault;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Pause before a question is asked again: transactions that end take a few milliseconds.
pub(super) const AGAIN: Duration = Duration::from_millis(5);
/// The longest such pause.
pub(super) const AGAIN_MAX: Duration = Duration::from_millis(250);

/// Who is asked. A coordinator has a connection of its own: its answers do not wait behind batches.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Who {
    /// A broker, by its id: for the partitions it leads.
    Leader(i32),
    /// Coordinator of this transactional id.
    Transaction(String),
    /// Coordinator of this group.
    Group(String),
}

/// What is known of a topic.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Leader of each partition; −1 for none.
    Leaders(Vec<i32>),
    /// Why it cannot be written.
    Error(ResponseError),
}

/// A cluster, as one client knows it.
pub(super) struct Cluster {
    config: KafkaConfig,
    brokers: HashMap<i32, (String, u16)>,
    coordinators: HashMap<Who, i32>,
    topics: HashMap<String, Known>,
    connections: HashMap<Who, Connection>,
    /// To whoever answered last, for questions that anybody may answer.
    any: Option<Connection>,
    second: bool,
    /// Whether this user was let in once: a refusal after that may pass. A broker that has just started may not know its users yet.
    was_let_in: bool,
}

impl Cluster {
    pub(super) fn new(config: &KafkaConfig) -> Self {
        Cluster {
            config: config.clone(),
            brokers: HashMap::new(),
            coordinators: HashMap::new(),
            topics: HashMap::new(),
            connections: HashMap::new(),
            any: None,
            second: false,
            was_let_in: false,
        }
    }

    /// The same for one who was let in already, by another connection.
    pub(super) fn after_another(config: &KafkaConfig) -> Self {
        Cluster { was_let_in: true, ..Cluster::new(config) }
    }

    /// Learns from a broker how transactions go here, and goes by it. Errors: as [`Cluster::connection`].
    pub(super) fn learn_kind(&mut self, who: &Who) -> Result<(), Fault> {
        self.second = self.connection(who)?.offers_second();
        let second = self.second;
        self.connections.values_mut().for_each(|connection| connection.speak_second(second));
        Ok(())
    }

    /// Whether transactions are of the second kind (KIP-890): each has an epoch of its own, and leaders tell the coordinator of their partitions.
    pub(super) fn is_second(&self) -> bool {
        self.second
    }

    /// Closes connections that rested for too long. To be called when nothing is under way.
    pub(super) fn tidy(&mut self) {
        self.connections.retain(|_, connection| connection.is_fresh());
        self.any = self.any.take().filter(Connection::is_fresh);
    }

    /// Closes the connection; what was under way on it is lost.
    pub(super) fn hang_up(&mut self, who: &Who) {
        self.connections.remove(who);
    }

    /// The same, and forgets where this broker was.
    pub(super) fn lose(&mut self, leader: i32) {
        self.hang_up(&Who::Leader(leader));
        self.brokers.remove(&leader);
    }

    /// What is known about a topic, without asking.
    pub(super) fn known(&self, topic: &str) -> Option<&Known> {
        self.topics.get(topic)
    }

    /// Leader of a partition, as far as it is known.
    pub(super) fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        match self.topics.get(topic) {
            Some(Known::Leaders(leaders)) => leaders.get(usize::try_from(partition).ok()?).copied().filter(|id| *id >= 0),
            _ => None,
        }
    }

    /// Asks who leads these topics. Errors: `Retry`, nobody answers; `Stop`, nobody will.
    pub(super) fn look(&mut self, topics: &[&str]) -> Result<(), Fault> {
        let named =
            topics.iter().map(|t| MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string((*t).to_owned())))));
        let request = MetadataRequest::default().with_topics(Some(named.collect())).with_allow_auto_topic_creation(false);
        let told = self.ask_anybody(&request)?;
        self.brokers.clear();
        for broker in told.brokers {
            self.brokers.insert(broker.node_id.0, (broker.host.to_string(), u16::try_from(broker.port).unwrap_or(0)));
        }
        for topic in told.topics {
            let name = topic.name.map(|n| n.0.to_string()).unwrap_or_default();
            let known = match ResponseError::try_from_code(topic.error_code) {
                Some(error) => Known::Error(error),
                None => {
                    let mut leaders = vec![-1; topic.partitions.len()];
                    for partition in &topic.partitions {
                        if let Some(leader) = usize::try_from(partition.partition_index).ok().and_then(|i| leaders.get_mut(i)) {
                            *leader = partition.leader_id.0;
                        }
                    }
                    Known::Leaders(leaders)
                }
            };
            self.topics.insert(name, known);
        }
        Ok(())
    }

    /// Forgets what is known of a topic.
    pub(super) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// The connection to whom this is about. Errors: `Retry`, it cannot be reached now; others as [`Connection::open`].
    pub(super) fn connection(&mut self, who: &Who) -> Result<&mut Connection, Fault> {
        if !self.connections.contains_key(who) {
            let id = self.broker(who)?;
            if !self.brokers.contains_key(&id) {
                self.look(&[])?;
            }
            let (host, port) = self.brokers.get(&id).cloned().ok_or_else(|| Fault::Retry(format!("broker {id} is away")))?;
            match self.open(&host, port) {
                Ok(mut opened) => {
                    opened.speak_second(self.second);
                    self.connections.insert(who.clone(), opened);
                }
                Err(fault) => {
                    // It may be somewhere else by now.
                    self.coordinators.remove(who);
                    self.brokers.remove(&id);
                    return Err(fault);
                }
            }
        }
        self.connections.get_mut(who).ok_or_else(|| Fault::Retry("no connection".into()))
    }

    fn open(&mut self, host: &str, port: u16) -> Result<Connection, Fault> {
        let opened = Connection::open(&self.config, host, port).map_err(|fault| match fault {
            Fault::Stop(text) if self.was_let_in => Fault::Retry(text),
            other => other,
        })?;
        self.was_let_in = true;
        Ok(opened)
    }

    /// The id of the broker that this is, for now.
    fn broker(&mut self, who: &Who) -> Result<i32, Fault> {
        if let Some(id) = self.coordinators.get(who) {
            return Ok(*id);
        }
        let (key, kind) = match who {
            Who::Group(id) => (id, 0),
            Who::Transaction(id) => (id, 1),
            Who::Leader(id) => return Ok(*id),
        };
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(key.clone())).with_key_type(kind);
        let told = self.ask_anybody(&request)?;
        if let Some(error) = ResponseError::try_from_code(told.error_code) {
            let (verdict, text) = (Verdict::of(error), format!("find coordinator: {}", said(error, who)));
            return Err(if verdict.is_passing() { Fault::Retry(text) } else { verdict.fault(text) });
        }
        self.brokers.insert(told.node_id.0, (told.host.to_string(), u16::try_from(told.port).unwrap_or(0)));
        self.coordinators.insert(who.clone(), told.node_id.0);
        Ok(told.node_id.0)
    }

    /// Asks whoever is there: the connection that answered last, then the brokers that are known, then those of the config.
    fn ask_anybody<R: Spoken>(&mut self, request: &R) -> Result<R::Response, Fault> {
        if let Some(mut connection) = self.any.take()
            && let Ok(answer) = connection.call(request)
        {
            self.any = Some(connection);
            return Ok(answer);
        }
        let configured = self.config.bootstrap_servers.split(',').filter_map(|server| {
            let (host, port) = server.trim().rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        });
        let all: Vec<(String, u16)> = self.brokers.values().cloned().chain(configured).collect();
        let mut last = Fault::Retry("there is no broker to ask".into());
        for (host, port) in all {
            match self.open(&host, port).and_then(|mut c| Ok((c.call(request)?, c))) {
                Ok((answer, connection)) => {
                    self.any = Some(connection);
                    return Ok(answer);
                }
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// Asks a coordinator until it answers without a passing error. `code`: the worst error of an answer.
    ///
    /// Errors: `Recreate` after `until`: what the broker did is unknown; others by the answer's error.
    pub(super) fn settle<R: Spoken>(
        &mut self,
        step: &str,
        who: &Who,
        request: &R,
        until: Instant,
        code: impl Fn(&R::Response) -> Option<ResponseError>,
    ) -> Result<R::Response, Fault> {
        let mut pause = AGAIN;
        loop {
            let answer = self.connection(who).and_then(|connection| {
                connection.patience(until.saturating_duration_since(Instant::now()))?;
                connection.call(request)
            });
            let text = match answer {
                Ok(answer) => match code(&answer) {
                    None => return Ok(answer),
                    Some(error) => match Verdict::of(error) {
                        Verdict::Again => format!("{step}: {error}"),
                        Verdict::Elsewhere => {
                            self.moved(who);
                            format!("{step}: {error}")
                        }
                        verdict => return Err(verdict.fault(format!("{step}: {}", said(error, who)))),
                    },
                },
                Err(Fault::Retry(text)) => {
                    self.moved(who);
                    format!("{step}: {text}")
                }
                Err(fault) => return Err(fault),
            };
            if Instant::now() + pause >= until {
                return Err(Fault::Recreate(text));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    /// Whoever that was is it no more, or cannot be reached.
    fn moved(&mut self, who: &Who) {
        self.hang_up(who);
        self.coordinators.remove(who);
    }
}

/// The error, or the one line about a right that is missing.
fn said(error: ResponseError, who: &Who) -> String {
    match (error, who) {
        (ResponseError::TransactionalIdAuthorizationFailed, Who::Transaction(id)) => {
            format!("this user may not use the transactional id {id}: grant it WRITE on it")
        }
        (ResponseError::GroupAuthorizationFailed, Who::Group(id)) => format!("this user may not use the group {id}: grant it READ on it"),
        _ => error.to_string(),
    }
}
