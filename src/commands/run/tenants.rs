//! Which tenants can be worked for now: their topics exist and can be written, and nobody paused them.

use crate::commands::Failure;
use crate::config::Config;
use crate::kafka::consumer::Place;
use crate::model::record::TopicIndex;
use crate::transform::rules::Rules;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a tenant whose topics cannot be written stands still before it is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often the topics of tenants that stand still are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What is known about the tenants' topics.
pub(super) struct Tenants {
    /// Partitions by [`TopicIndex`]; 0: the topic is not there.
    partitions: Vec<AtomicU32>,
    /// What a tenant still misses, by its index: what was said last about it.
    missing: Mutex<HashMap<u16, String>>,
    places: Vec<Place>,
    blocked: Mutex<HashMap<u16, Instant>>,
    /// Tenants one of whose raw topics this user may not read.
    unreadable: Mutex<BTreeSet<u16>>,
    /// What each worker cannot read, by the worker.
    stuck: Mutex<HashMap<usize, Vec<Place>>>,
    /// Somebody was refused a raw topic, and the client does not say which.
    refused: AtomicBool,
    /// Rises when a tenant stands still, or goes on, because of its raw topics.
    version: AtomicU64,
}

impl Tenants {
    /// Looks at the topics. A tenant that misses one stands still, loudly; if all do, the job does not start.
    pub(super) fn look(rules: &Rules, config: &Config, there: &HashMap<String, u32>) -> Result<Self, Failure> {
        let own = &config.topics.directives;
        if !there.contains_key(own) {
            return Err(Failure::Failed(format!("topic {own} is missing, or this user may not see it; make it with `lethe topics apply`")));
        }
        let partitions = rules.topics.iter().map(|t| AtomicU32::new(there.get(&t.name).copied().unwrap_or(0))).collect();
        let mut places = Vec::new();
        for (i, source) in rules.sources.iter().enumerate() {
            let n = there.get(&source.topic).copied().unwrap_or(0);
            places.extend((0..n as i32).map(|p| (i as u16, p)));
        }
        let mut blocked = HashMap::new();
        let mut missing = HashMap::new();
        for i in 0..rules.tenants.len() as u16 {
            let absent = absent(rules, i, there);
            if !absent.is_empty() {
                missing.insert(i, absent);
                blocked.insert(i, Instant::now());
            }
        }
        if !blocked.is_empty() && blocked.len() == rules.tenants.len() {
            let mut all: Vec<String> = missing.into_values().collect();
            all.sort();
            return Err(Failure::Failed(format!(
                "topics are missing, or this user may not see them: {}; make them with `lethe topics apply`",
                all.join(", ")
            )));
        }
        for (i, topics) in &missing {
            say_missing(rules, *i, topics);
        }
        Ok(Tenants {
            partitions,
            missing: Mutex::new(missing),
            places,
            blocked: Mutex::new(blocked),
            unreadable: Mutex::default(),
            stuck: Mutex::default(),
            refused: AtomicBool::new(false),
            version: AtomicU64::new(0),
        })
    }

    /// Every partition of every raw topic.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.places.iter().copied()
    }

    /// How many partitions an output topic has.
    pub(super) fn partitions(&self, topic: TopicIndex) -> u32 {
        self.partitions[usize::from(topic.0)].load(Ordering::Relaxed)
    }

    /// Lets a tenant stand still for a while.
    pub(super) fn block(&self, tenant: u16) {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant, Instant::now() + RETRY);
    }

    /// Whether a tenant stands still because of its topics.
    pub(super) fn is_blocked(&self, tenant: u16) -> bool {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&tenant) || self.unreadable().contains(&tenant)
    }

    /// Whether one of a tenant's raw topics may not be read.
    pub(super) fn is_unreadable(&self, tenant: u16) -> bool {
        self.unreadable().contains(&tenant)
    }

    fn unreadable(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a worker cannot read for now.
    pub(super) fn note_stuck(&self, worker: usize, places: Vec<Place>) {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, places);
    }

    /// Whether the worker whose place this is cannot read it.
    pub(super) fn is_stuck(&self, place: Place) -> bool {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).values().any(|places| places.contains(&place))
    }

    /// A raw topic was refused: whose it is will be asked for.
    pub(super) fn read_was_refused(&self) {
        self.refused.store(true, Ordering::SeqCst);
    }

    /// Whether it is to be asked which raw topics may be read.
    pub(super) fn must_ask_for_rights(&self) -> bool {
        self.refused.swap(false, Ordering::SeqCst) || !self.unreadable().is_empty()
    }

    /// Rises when a tenant stands still, or goes on, because of its raw topics.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Lets the tenants stand still one of whose raw topics may not be read, and the others go on.
    pub(super) fn take_rights(&self, rules: &Rules, may_read: impl Fn(&str) -> bool) {
        let refused: BTreeSet<u16> = rules.sources.iter().filter(|s| !may_read(&s.topic)).map(|s| s.tenant).collect();
        let before = std::mem::replace(&mut *self.unreadable(), refused.clone());
        if before == refused {
            return;
        }
        self.version.fetch_add(1, Ordering::SeqCst);
        let id = |tenant: &u16| &rules.tenants[usize::from(*tenant)].id;
        for tenant in refused.difference(&before) {
            tracing::error!(tenant = %id(tenant), "a raw topic of the tenant may not be read: the tenant stands still, the others go on; grant READ on it");
        }
        before
            .difference(&refused)
            .for_each(|tenant| tracing::info!(tenant = %id(tenant), "the raw topics may be read: the tenant goes on"));
    }

    /// Lets tenants whose time has come try again. Returns whether there were any.
    pub(super) fn unblock_due(&self) -> bool {
        let now = Instant::now();
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let before = blocked.len();
        blocked.retain(|tenant, until| *until > now || missing.contains_key(tenant));
        blocked.len() < before
    }

    /// Looks again, on behalf of tenants that stand still: at what they miss, and at how many partitions their topics have now.
    pub(super) fn look_again(&self, rules: &Rules, there: &HashMap<String, u32>) {
        let blocked: Vec<u16> = self.blocked.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        for tenant in blocked {
            for (topic, partitions) in rules.topics.iter().zip(&self.partitions).filter(|(t, _)| t.tenant == tenant) {
                partitions.store(there.get(&topic.name).copied().unwrap_or(0), Ordering::Relaxed);
            }
            let absent = absent(rules, tenant, there);
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            if absent.is_empty() {
                if missing.remove(&tenant).is_some() {
                    tracing::info!(tenant = %rules.tenants[usize::from(tenant)].id, "all topics are there: the tenant goes on");
                }
            } else if missing.insert(tenant, absent.clone()).is_none_or(|said| said != absent) {
                say_missing(rules, tenant, &absent);
            }
        }
    }

    /// Whether any tenant stands still because of its topics.
    pub(super) fn any_blocked(&self) -> bool {
        !self.blocked.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Names of a tenant's topics that are not there; empty if all are.
fn absent(rules: &Rules, tenant: u16, there: &HashMap<String, u32>) -> String {
    let sources = rules.sources.iter().filter(|s| s.tenant == tenant).map(|s| s.topic.as_str());
    let outputs = rules.topics.iter().filter(|t| t.tenant == tenant).map(|t| t.name.as_str());
    sources.chain(outputs).filter(|t| !there.contains_key(*t)).collect::<Vec<_>>().join(", ")
}

fn say_missing(rules: &Rules, tenant: u16, topics: &str) {
    let id = &rules.tenants[usize::from(tenant)].id;
    tracing::error!(tenant = %id, topics, "topics are missing; the tenant stands still, the others go on; run `lethe topics apply`");
}
