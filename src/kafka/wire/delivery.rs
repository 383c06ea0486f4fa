//! Batches on their way: sent to who leads their partitions, answered, and sent again.

use super::IN_FLIGHT;
use super::cluster::{AGAIN, AGAIN_MAX, Known, Who};
use super::coordination::topic_name;
use super::outbox::State;
use super::producer::{Request, UNKNOWN_MAX, WireProducer};
use super::verdict::Verdict;
use crate::kafka::client::Fault;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// How long a broker may wait for its followers.
const REPLICAS_TIMEOUT_MS: i32 = 10_000;
/// What one request carries at most. Units: bytes.
const REQUEST_MAX: usize = 8 << 20;

impl WireProducer {
    /// Sends what can be sent. It waits only for room: at most [`IN_FLIGHT`] requests to a broker have no answer.
    pub(super) fn pump(&mut self) -> Result<(), Fault> {
        if self.ready.is_empty() {
            return Ok(());
        }
        self.add_partitions()?;
        self.learn_leaders()?;
        loop {
            let mut by_leader: BTreeMap<i32, Vec<(usize, usize)>> = BTreeMap::new();
            let mut sizes: BTreeMap<i32, usize> = BTreeMap::new();
            self.ready.retain(|number| self.outboxes.get(*number).is_some_and(|o| o.sealed.iter().any(|b| b.state == State::Waiting)));
            for number in &self.ready {
                let Some(outbox) = self.outboxes.get(*number) else { continue };
                let (Some(at), Some(leader)) = (outbox.next(), self.cluster.leader(&outbox.topic, outbox.partition)) else { continue };
                let size = sizes.entry(leader).or_default();
                let length = outbox.sealed.get(at).map_or(0, |batch| batch.bytes.len());
                if *size == 0 || *size + length <= REQUEST_MAX {
                    *size += length;
                    by_leader.entry(leader).or_default().push((*number, at));
                }
            }
            if by_leader.is_empty() {
                return Ok(());
            }
            for (leader, batches) in by_leader {
                while self.under_way.get(&leader).is_some_and(|requests| requests.len() >= IN_FLIGHT) {
                    self.receive(leader)?;
                }
                if !self.send(leader, &batches)? {
                    self.resting_until = Some(Instant::now() + AGAIN_MAX);
                    return Ok(());
                }
            }
        }
    }

    /// Asks who leads the partitions that wait for it.
    fn learn_leaders(&mut self) -> Result<(), Fault> {
        let unknown: BTreeSet<Arc<str>> = self
            .ready
            .iter()
            .filter_map(|number| self.outboxes.get(*number))
            .filter(|outbox| self.cluster.leader(&outbox.topic, outbox.partition).is_none())
            .map(|outbox| Arc::clone(&outbox.topic))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = unknown.iter().map(AsRef::as_ref).collect();
        self.resting_until = Some(Instant::now() + AGAIN_MAX);
        match self.cluster.look(&names) {
            Ok(()) => Ok(()),
            Err(Fault::Retry(text)) => {
                self.setback = Some(text);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Sends one request. Returns whether it went out.
    fn send(&mut self, leader: i32, batches: &[(usize, usize)]) -> Result<bool, Fault> {
        let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
        let mut sent = Vec::with_capacity(batches.len());
        for (number, at) in batches {
            let Some((outbox, batch)) = self.outboxes.get(*number).and_then(|o| Some((o, o.sealed.get(*at)?))) else { continue };
            // What was answered meanwhile may have changed it.
            if batch.state == State::Waiting && outbox.next() == Some(*at) {
                let data = PartitionProduceData::default().with_index(outbox.partition).with_records(Some(batch.bytes.clone()));
                topics.entry(&outbox.topic).or_default().push(data);
                sent.push((*number, batch.sequence));
            }
        }
        if sent.is_empty() {
            return Ok(true);
        }
        let topics =
            topics.into_iter().map(|(name, data)| TopicProduceData::default().with_name(topic_name(name)).with_partition_data(data));
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_acks(-1)
            .with_timeout_ms(REPLICAS_TIMEOUT_MS)
            .with_topic_data(topics.collect());
        let who = Who::Leader(leader);
        match self.cluster.connection(&who).and_then(|connection| connection.send(&request)) {
            Ok(version) => {
                for (number, sequence) in &sent {
                    self.mark(*number, *sequence, State::UnderWay);
                }
                self.under_way.entry(leader).or_default().push_back(Request { version, batches: sent });
                Ok(true)
            }
            Err(Fault::Retry(text)) => {
                sent.iter().for_each(|(number, _)| self.forget_leader(*number));
                self.lose(leader, text);
                Ok(false)
            }
            Err(fault) => Err(fault),
        }
    }

    fn mark(&mut self, number: usize, sequence: i32, state: State) {
        let Some(outbox) = self.outboxes.get_mut(number) else { return };
        let length = outbox.sealed.iter().find(|batch| batch.sequence == sequence).map_or(0, |batch| batch.bytes.len());
        match state {
            State::UnderWay => self.unsent_bytes = self.unsent_bytes.saturating_sub(length),
            State::Stored => self.held_bytes = self.held_bytes.saturating_sub(length),
            State::Waiting => {
                self.unsent_bytes += length;
                self.ready.insert(number);
            }
        }
        outbox.set(sequence, state);
    }

    fn forget_leader(&mut self, number: usize) {
        if let Some(outbox) = self.outboxes.get(number) {
            self.cluster.forget(&outbox.topic);
        }
    }

    /// The connection to a broker is lost: what was under way there is sent again.
    fn lose(&mut self, leader: i32, why: String) {
        tracing::debug!(broker = leader, why, "what was under way is sent again");
        self.cluster.hang_up(&Who::Leader(leader));
        for request in self.under_way.remove(&leader).unwrap_or_default() {
            for (number, sequence) in request.batches {
                self.mark(number, sequence, State::Waiting);
                self.forget_leader(number);
            }
        }
        self.setback = Some(why);
    }

    /// Waits for the oldest answer of a broker. Errors: the transaction cannot be committed.
    fn receive(&mut self, leader: i32) -> Result<(), Fault> {
        let Some(version) = self.under_way.get(&leader).and_then(|requests| requests.front()).map(|request| request.version) else {
            return Ok(());
        };
        let timeout = self.timeout;
        let answer = self.cluster.connection(&Who::Leader(leader)).and_then(|connection| {
            connection.patience(timeout)?;
            connection.receive::<ProduceRequest>(version)
        });
        match answer {
            Ok(answer) => {
                let request = self.under_way.get_mut(&leader).and_then(VecDeque::pop_front);
                request.map_or(Ok(()), |request| self.take(&request, &answer))
            }
            Err(Fault::Retry(text)) => {
                self.lose(leader, text);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Takes an answer in. A batch that it does not speak of is sent again.
    fn take(&mut self, request: &Request, answer: &ProduceResponse) -> Result<(), Fault> {
        let mut result = Ok(());
        let told: HashMap<(&str, i32), i16> = answer
            .responses
            .iter()
            .flat_map(|topic| topic.partition_responses.iter().map(|partition| ((&*topic.name.0, partition.index), partition.error_code)))
            .collect();
        for (number, sequence) in &request.batches {
            let Some(outbox) = self.outboxes.get(*number) else { continue };
            let code = told.get(&(&*outbox.topic, outbox.partition)).copied();
            let error = match code.map(ResponseError::try_from_code) {
                Some(None | Some(ResponseError::DuplicateSequenceNumber)) => {
                    self.mark(*number, *sequence, State::Stored);
                    continue;
                }
                Some(Some(error)) => error,
                None => ResponseError::NetworkException,
            };
            let text = format!("topic {} partition {}: {error}", outbox.topic, outbox.partition);
            let position = outbox.sealed.iter().position(|batch| batch.sequence == *sequence);
            let is_behind = outbox.sealed.iter().take(position.unwrap_or(0)).any(|batch| batch.state != State::Stored);
            let sealed_at = position.and_then(|at| outbox.sealed.get(at)).map_or_else(Instant::now, |batch| batch.sealed_at);
            match Verdict::of(error) {
                // An earlier batch was refused, which is why this one does not follow what the broker has.
                Verdict::Abort if error == ResponseError::OutOfOrderSequenceNumber && is_behind => {}
                Verdict::Elsewhere if error == ResponseError::UnknownTopicOrPartition && sealed_at.elapsed() > UNKNOWN_MAX => {
                    result = result.and(Err(Fault::Topic(text.clone())));
                }
                Verdict::Elsewhere => self.forget_leader(*number),
                Verdict::Again => {}
                verdict => result = result.and(Err(verdict.fault(text.clone()))),
            }
            self.setback = Some(text);
            self.mark(*number, *sequence, State::Waiting);
        }
        result
    }

    /// Sends everything that is sealed, and waits until it is stored. Errors: it is not, within the time that a transaction has.
    pub(super) fn drain(&mut self) -> Result<(), Fault> {
        let mut pause = AGAIN;
        loop {
            let before = self.held_bytes;
            self.pump()?;
            let leaders: Vec<i32> = self.under_way.iter().filter(|(_, requests)| !requests.is_empty()).map(|(leader, _)| *leader).collect();
            for leader in &leaders {
                self.receive(*leader)?;
            }
            if self.held_bytes == 0 {
                return Ok(());
            }
            self.check_ages()?;
            if self.held_bytes < before {
                pause = AGAIN;
            } else {
                std::thread::sleep(pause);
                pause = (pause * 2).min(AGAIN_MAX);
            }
        }
    }

    /// Errors: a batch waits for longer than its transaction lives, or for a topic that is not there.
    fn check_ages(&mut self) -> Result<(), Fault> {
        for number in &self.ready {
            let Some((outbox, batch)) = self.outboxes.get(*number).and_then(|o| Some((o, o.sealed.front()?))) else { continue };
            let age = batch.sealed_at.elapsed();
            let unknown = match self.cluster.known(&outbox.topic) {
                Some(Known::Error(error)) => Some(error.to_string()),
                Some(Known::Leaders(leaders)) if leaders.len() <= outbox.partition as usize => Some("no such partition".to_owned()),
                _ => None,
            };
            let place = format!("topic {} partition {}", outbox.topic, outbox.partition);
            match unknown {
                Some(error) if age > UNKNOWN_MAX => return Err(Fault::Topic(format!("{place}: {error}"))),
                _ if age > self.timeout => {
                    let why = self.setback.clone().unwrap_or_else(|| "no leader".to_owned());
                    return Err(Fault::Abort(format!("{place}: not stored in time: {why}")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
