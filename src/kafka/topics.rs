//! Topics: what is there, what should be, and the way from one to the other.

use super::client::{self, Fault, Quiet, REQUEST_TIMEOUT, Revival};
use crate::config::kafka::KafkaConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the first question waits for its answer before the client is listened to.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions it is made with; an existing topic keeps its own.
    pub partitions: u16,
    /// How many replicas it is made with; an existing topic keeps its own.
    pub replication: u16,
    /// Settings that it must have.
    pub settings: BTreeMap<&'static str, String>,
}

/// One step that `topics apply` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The topic is made.
    Create(TopicSpec),
    /// Settings change: name, old, new.
    Alter(String, Vec<(String, String, String)>),
}

/// Hears what a request that waits for an answer is not told: that the brokers refuse this client, or why none can be reached.
#[derive(Default)]
struct Heard(Mutex<Option<(bool, String)>>);

impl ClientContext for Heard {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, fac: &str, _message: &str) {
        tracing::debug!(?level, facility = fac, "librdkafka");
    }
    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let refused = matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL);
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down is a summary: the cause came before it.
        if heard.as_ref().is_none_or(|(before, _)| !before) && code != RDKafkaErrorCode::AllBrokersDown {
            *heard = Some((refused, reason.lines().next().unwrap_or_default().to_owned()));
        }
    }
}

impl ConsumerContext for Heard {}

/// What the brokers say about topics.
pub struct Admin {
    client: AdminClient<Quiet>,
    /// Asks for metadata. A consumer in no group: other clients do not hear of errors while they wait for an answer.
    asker: BaseConsumer<Heard>,
    runtime: tokio::runtime::Runtime,
    settings: ClientConfig,
    patience: Duration,
    /// Of the client, and of the asker.
    revivals: (Revival, Revival),
}

impl Admin {
    /// Connects. Errors: settings that librdkafka refuses.
    pub fn connect(config: &KafkaConfig) -> Result<Self, Fault> {
        let settings = client::base(config)?;
        let client = settings.create_with_context(Quiet).map_err(|e| Fault::of_request("create admin client", &e))?;
        let asker = settings.create_with_context(Heard::default()).map_err(|e| Fault::of_request("create admin client", &e))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Fault::Stop(format!("cannot start a runtime: {e}")))?;
        Ok(Admin { client, asker, runtime, settings, patience: REQUEST_TIMEOUT, revivals: (Revival::new(config), Revival::new(config)) })
    }

    /// The same, by somebody who waits so long for brokers that do not answer.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Admin { patience, ..self }
    }

    /// Partitions of every topic that can be seen. Errors: no broker answers.
    pub fn partitions(&self) -> Result<HashMap<String, u32>, Fault> {
        let metadata = self.metadata()?;
        Ok(metadata.topics().iter().filter(|t| t.error().is_none()).map(|t| (t.name().to_owned(), t.partitions().len() as u32)).collect())
    }

    /// What the brokers say of themselves and of all topics. A refused password looks like silence to the request, so the client is listened
    /// to in between. Errors: no broker answers, or they refuse this client.
    fn metadata(&self) -> Result<Metadata, Fault> {
        let heard = || self.asker.context().0.lock().unwrap_or_else(PoisonError::into_inner);
        *heard() = None;
        let (end, mut wait) = (Instant::now() + self.patience, FIRST_WAIT);
        loop {
            let error = match self.asker.fetch_metadata(None, wait) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            self.revivals.0.unanswered(self.client.inner(), &error);
            self.revivals.1.unanswered(self.asker.client(), &error);
            while self.asker.poll(Duration::ZERO).is_some() {}
            let left = end.saturating_duration_since(Instant::now());
            match heard().as_ref() {
                Some((true, why)) => {
                    return Err(Fault::Stop(format!("the brokers refuse this client: {why}; check kafka.sasl_* and kafka.ssl_*")));
                }
                why if left.is_zero() => {
                    let why = why.map_or_else(|| error.to_string(), |(_, why)| why.clone());
                    return Err(Fault::Retry(format!(
                        "no broker answers: {why}; check kafka.bootstrap_servers, security_protocol and the network"
                    )));
                }
                _ => {}
            }
            // Longer each time: an answer that is slow to come is still waited for.
            wait = (wait * 2).min(left);
        }
    }

    /// How many brokers there are. Errors: no broker answers.
    pub fn brokers(&self) -> Result<usize, Fault> {
        let metadata = self.metadata()?;
        Ok(metadata.brokers().len())
    }

    /// Fewest replicas and fewest replicas in sync of a partition of each topic. Shape: topics that are not there are left out.
    ///
    /// Errors: no broker answers.
    pub fn replicas(&self, topics: &[String]) -> Result<HashMap<String, (usize, usize)>, Fault> {
        let metadata = self.client.inner().fetch_metadata(None, REQUEST_TIMEOUT).map_err(|e| Fault::Retry(format!("metadata: {e}")))?;
        let wanted = metadata.topics().iter().filter(|t| topics.iter().any(|name| name == t.name()));
        let fewest = |t: &rdkafka::metadata::MetadataTopic| {
            let all = t.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0);
            let missing = t.partitions().iter().map(|p| p.replicas().len().saturating_sub(p.isr().len())).max().unwrap_or(0);
            (all, all.saturating_sub(missing))
        };
        Ok(wanted.map(|t| (t.name().to_owned(), fewest(t))).collect())
    }

    /// Where the brokers keep their partitions, each on its own machine. Errors: no broker answers, or tells.
    pub fn log_directories(&self) -> Result<Vec<String>, Fault> {
        let values = self.broker_settings(&["log.dirs", "log.dir"])?.into_iter().map(|(_, _, value)| value);
        Ok(values.flat_map(|v| v.split(',').map(|d| d.trim().to_owned()).collect::<Vec<_>>()).collect())
    }

    /// Settings of the brokers themselves, of each name the largest number that a broker has. Shape: in the order of `names`; `None` where no
    /// broker tells. Errors: no broker answers.
    pub fn broker_numbers<const N: usize>(&self, names: [&str; N]) -> Result<[Option<i64>; N], Fault> {
        let mut found = [None; N];
        for (_, name, value) in self.broker_settings(&names)? {
            if let Some(at) = names.iter().position(|n| *n == name) {
                found[at] = found[at].max(value.parse::<i64>().ok());
            }
        }
        Ok(found)
    }

    /// The brokers whose log cleaner is switched off, as far as they tell: nothing of compacted topics ever goes there. Errors: no broker answers.
    pub fn without_cleaner(&self) -> Result<Vec<i32>, Fault> {
        let told = self.broker_settings(&["log.cleaner.enable"])?;
        Ok(told.into_iter().filter(|(_, _, value)| value == "false").map(|(broker, ..)| broker).collect())
    }

    /// Settings by name, of every broker that tells. Shape: broker, name, value. A broker that refuses to tell (no permission on the cluster) leaves
    /// Kafka's own defaults standing. Errors: no broker answers.
    fn broker_settings(&self, names: &[&str]) -> Result<Vec<(i32, String, String)>, Fault> {
        let metadata = self.metadata()?;
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let mut found = Vec::new();
        for broker in metadata.brokers() {
            let asked = [ResourceSpecifier::Broker(broker.id())];
            let Ok(answers) = self.runtime.block_on(self.client.describe_configs(&asked, &options)) else { continue };
            let entries = answers.into_iter().filter_map(Result::ok).flat_map(|r| r.entries);
            let wanted = entries.filter(|e| names.contains(&e.name.as_str()));
            found.extend(wanted.filter_map(|e| Some((broker.id(), e.name, e.value?))));
        }
        Ok(found)
    }

    /// Whether a consumer group has no members. Of a group under the newer protocol the usual question does not learn the state: there a commit by
    /// nobody tells, see [`Admin::takes_commits_of_nobody`]. Errors: the brokers do not answer.
    pub fn is_empty_group(&self, group: &str, directives: &str) -> Result<bool, Fault> {
        let list = self
            .client
            .inner()
            .fetch_group_list(Some(group), REQUEST_TIMEOUT)
            .map_err(|e| Fault::Retry(format!("members of group {group}: {e}")))?;
        let states: Vec<String> = list.groups().iter().filter(|g| g.name() == group).map(|g| g.state().to_owned()).collect();
        let known = ["Empty", "Stable", "PreparingRebalance", "CompletingRebalance"];
        if states.iter().all(|state| known.contains(&state.as_str())) {
            return Ok(states.iter().all(|state| state == "Empty"));
        }
        Ok(self.takes_commits_of_nobody(group, directives))
    }

    /// Whether the brokers take a commit for a group by somebody who is no member of it: while it has members they refuse. What is committed is the
    /// beginning of the directives' topic, from which no member reads by the group's offsets. Errors: whatever goes wrong counts as a refusal.
    fn takes_commits_of_nobody(&self, group: &str, directives: &str) -> bool {
        let mut settings = self.settings.clone();
        settings.set("group.id", group).set("group.protocol", "classic").set("enable.auto.commit", "false");
        let Ok(nobody) = settings.create_with_context::<_, BaseConsumer<Quiet>>(Quiet) else { return false };
        let mut list = TopicPartitionList::new();
        let placed = list.add_partition_offset(directives, 0, Offset::Offset(0));
        placed.is_ok() && nobody.commit(&list, CommitMode::Sync).is_ok()
    }

    /// The settings of existing topics. Shape: by topic, by setting: value. Errors: the brokers refuse.
    pub fn settings(&self, topics: &[String]) -> Result<HashMap<String, HashMap<String, Setting>>, Fault> {
        let resources: Vec<ResourceSpecifier<'_>> = topics.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let answers = self
            .runtime
            .block_on(self.client.describe_configs(&resources, &options))
            .map_err(|e| Fault::of_request("describe topics", &e))?;
        let mut out = HashMap::new();
        for (topic, answer) in topics.iter().zip(answers) {
            let resource = answer.map_err(|e| Fault::Stop(format!("describe topic {topic}: {e}")))?;
            if resource.entries.is_empty() {
                // rust-rdkafka passes a refusal on as a topic without settings, and there is none.
                return Err(Fault::Stop(format!(
                    "describe topic {topic}: TopicAuthorizationFailed: this user lacks DescribeConfigs on it"
                )));
            }
            let entries = resource.entries.into_iter().map(|e| {
                let own = matches!(e.source, rdkafka::admin::ConfigSource::DynamicTopic);
                (e.name, Setting { value: e.value.unwrap_or_default(), own })
            });
            out.insert(topic.clone(), entries.collect());
        }
        Ok(out)
    }

    /// What would have to change for the topics to be as they should. Errors: the brokers refuse.
    pub fn plan(&self, specs: &[TopicSpec]) -> Result<Vec<Change>, Fault> {
        let there = self.partitions()?;
        let existing: Vec<String> = specs.iter().filter(|s| there.contains_key(&s.name)).map(|s| s.name.clone()).collect();
        let settings = if existing.is_empty() { HashMap::new() } else { self.settings(&existing)? };
        let mut changes = Vec::new();
        for spec in specs {
            let Some(current) = settings.get(&spec.name) else {
                changes.push(Change::Create(spec.clone()));
                continue;
            };
            let wrong: Vec<(String, String, String)> = spec
                .settings
                .iter()
                .filter_map(|(name, want)| {
                    let have = current.get(*name).map_or("", |s| s.value.as_str());
                    (have != want).then(|| ((*name).to_string(), have.to_string(), want.clone()))
                })
                .collect();
            if !wrong.is_empty() {
                changes.push(Change::Alter(spec.name.clone(), wrong));
            }
        }
        Ok(changes)
    }

    /// Deletes what lies before an offset in each partition (topic, partition, offset). Errors: the brokers refuse.
    pub fn delete_before(&self, places: &[(String, i32, i64)]) -> Result<(), Fault> {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (topic, partition, offset) in places {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(|e| Fault::of_request("delete records", &e))?;
        }
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
        let done =
            self.runtime.block_on(self.client.delete_records(&list, &options)).map_err(|e| Fault::Retry(format!("delete records: {e}")))?;
        let failed = done.elements().iter().find_map(|e| Some((e.topic().to_owned(), e.error().err()?)));
        failed.map_or(Ok(()), |(topic, e)| Err(Fault::Retry(format!("delete records of {topic}: {e}"))))
    }

    /// Deletes topics; one that is not there is none the less gone. Errors: the brokers refuse.
    pub fn delete(&self, topics: &[String]) -> Result<(), Fault> {
        if topics.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
        let answers =
            self.runtime.block_on(self.client.delete_topics(&names, &options)).map_err(|e| Fault::Retry(format!("delete topics: {e}")))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
                Err((name, code)) => return Err(Fault::Retry(format!("delete topic {name}: {code}"))),
            }
        }
        Ok(())
    }

    /// Carries changes out. Errors: the brokers refuse; what was done before stays done.
    pub fn carry_out(&self, changes: &[Change]) -> Result<(), Fault> {
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
        for change in changes {
            match change {
                Change::Create(spec) => self.create(spec, &options)?,
                Change::Alter(topic, wrong) => self.alter(topic, wrong, &options)?,
            }
        }
        self.wait_until_seen(changes)
    }

    /// A broker may answer for a while as if a topic that was just made were not there.
    fn wait_until_seen(&self, changes: &[Change]) -> Result<(), Fault> {
        let made = || changes.iter().filter_map(|c| if let Change::Create(spec) = c { Some(&spec.name) } else { None });
        let until = Instant::now() + REQUEST_TIMEOUT;
        while made().next().is_some() {
            let there = self.partitions()?;
            match made().find(|name| there.get(*name).is_none_or(|partitions| *partitions == 0)) {
                None => break,
                Some(name) if Instant::now() > until => return Err(Fault::Stop(format!("topic {name} was made and is not seen"))),
                Some(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        Ok(())
    }

    fn create(&self, spec: &TopicSpec, options: &AdminOptions) -> Result<(), Fault> {
        let replication = TopicReplication::Fixed(i32::from(spec.replication));
        let mut topic = NewTopic::new(&spec.name, i32::from(spec.partitions), replication);
        for (name, value) in &spec.settings {
            topic = topic.set(name, value);
        }
        let answers =
            self.runtime.block_on(self.client.create_topics([&topic], options)).map_err(|e| Fault::of_request("create topics", &e))?;
        for answer in answers {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(Fault::Stop(format!("create topic {name}: {code}"))),
            }
        }
        Ok(())
    }

    /// librdkafka's call replaces all of a topic's own settings, so those that stay are sent along.
    fn alter(&self, topic: &String, wrong: &[(String, String, String)], options: &AdminOptions) -> Result<(), Fault> {
        let current = self.settings(std::slice::from_ref(topic))?.remove(topic).unwrap_or_default();
        let mut all: BTreeMap<String, String> = current.into_iter().filter(|(_, s)| s.own).map(|(name, s)| (name, s.value)).collect();
        all.extend(wrong.iter().map(|(name, _, want)| (name.clone(), want.clone())));
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value) in &all {
            alter = alter.set(name, value);
        }
        let answers =
            self.runtime.block_on(self.client.alter_configs([&alter], options)).map_err(|e| Fault::of_request("alter topics", &e))?;
        for answer in answers {
            answer.map_err(|(_, code)| Fault::Stop(format!("alter topic {topic}: {code}")))?;
        }
        Ok(())
    }
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its value.
    pub value: String,
    /// Whether it was set on the topic itself, not inherited.
    pub own: bool,
}
