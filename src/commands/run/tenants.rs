//! Which tenants can be worked for now: their topics exist and can be written, and nobody paused them.

use crate::commands::Failure;
use crate::config::Config;
use crate::kafka::consumer::Place;
use crate::model::record::TopicIndex;
use crate::transform::rules::Rules;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a tenant whose topics cannot be written stands still before it is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What is known about the tenants' topics.
pub(super) struct Tenants {
    /// Partitions by [`TopicIndex`]; 0: the topic is not there.
    partitions: Vec<u32>,
    places: Vec<Place>,
    blocked: Mutex<HashMap<u16, Instant>>,
}

impl Tenants {
    /// Looks at the topics. A tenant that misses one stands still, loudly; if all do, the job does not start.
    pub(super) fn look(rules: &Rules, config: &Config, there: &HashMap<String, u32>) -> Result<Self, Failure> {
        let own = &config.topics.directives;
        if !there.contains_key(own) {
            return Err(Failure::Failed(format!("topic {own} is missing; make it with `lethe topics apply`")));
        }
        let partitions = rules.topics.iter().map(|t| there.get(&t.name).copied().unwrap_or(0)).collect();
        let mut places = Vec::new();
        for (i, source) in rules.sources.iter().enumerate() {
            let n = there.get(&source.topic).copied().unwrap_or(0);
            places.extend((0..n as i32).map(|p| (i as u16, p)));
        }
        let mut blocked = HashMap::new();
        let mut missing = Vec::new();
        for (i, tenant) in rules.tenants.iter().enumerate() {
            let sources = rules.sources.iter().filter(|s| usize::from(s.tenant) == i).map(|s| &s.topic);
            let outputs = rules.topics.iter().filter(|t| usize::from(t.tenant) == i).map(|t| &t.name);
            let absent: Vec<&str> = sources.chain(outputs).filter(|t| !there.contains_key(*t)).map(String::as_str).collect();
            if !absent.is_empty() {
                tracing::error!(tenant = %tenant.id, topics = absent.join(", "), "topics are missing; the tenant stands still; run `lethe topics apply`");
                missing.extend(absent.iter().map(ToString::to_string));
                blocked.insert(i as u16, Instant::now() + RETRY);
            }
        }
        if blocked.len() == rules.tenants.len() {
            return Err(Failure::Failed(format!("topics are missing: {}; make them with `lethe topics apply`", missing.join(", "))));
        }
        Ok(Tenants { partitions, places, blocked: Mutex::new(blocked) })
    }

    /// Every partition of every raw topic.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.places.iter().copied()
    }

    /// How many partitions an output topic has.
    pub(super) fn partitions(&self, topic: TopicIndex) -> u32 {
        self.partitions[usize::from(topic.0)]
    }

    /// Lets a tenant stand still for a while.
    pub(super) fn block(&self, tenant: u16) {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant, Instant::now() + RETRY);
    }

    /// Whether a tenant stands still because of its topics.
    pub(super) fn is_blocked(&self, tenant: u16) -> bool {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&tenant)
    }

    /// Lets tenants whose time has come try again. Returns whether there were any.
    pub(super) fn unblock_due(&self, rules: &Rules) -> bool {
        let now = Instant::now();
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let before = blocked.len();
        // A topic that was missing at start needs its number of partitions: such a tenant waits for a restart.
        blocked.retain(|tenant, until| *until > now || self.misses_topics(rules, *tenant));
        blocked.len() < before
    }

    fn misses_topics(&self, rules: &Rules, tenant: u16) -> bool {
        rules.topics.iter().zip(&self.partitions).any(|(t, n)| t.tenant == tenant && *n == 0)
    }
}
