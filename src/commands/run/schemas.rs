//! What a schema registry is asked, on a thread of its own, and what it has answered.
//!
//! Nothing waits on a request but the rows that need its answer: a partition stands still before the first row whose schema is not known yet, and a
//! tenant while its own schemas are not registered; everybody else goes on. A registry that is away is asked again for as long as it takes. One that
//! answers that it does not have an id is asked again too, until `schema_registry.unknown_wait` after the row's receipt: a producer that sends
//! rubbish must not stop its partition for ever.

use super::Job;
use crate::commands::framing::{count, subject, waiting_seconds};
use crate::kafka::consumer::Place;
use crate::model::record::{RawRecords, TopicIndex};
use crate::ops::clock;
use crate::ops::registry::{Registry, RegistryFault};
use crate::transform::decode::{Programs, SchemaId, compile_avro_with};
use crate::transform::rules::Rules;
use crate::transform::schemas::{Schemas, registry_prefix};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long a batch waits for the answer to a question that was never asked before: a registry that is well answers within it.
const FIRST_ANSWER: Duration = Duration::from_millis(300);
/// Pauses between two questions of the same kind: the first one, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Most ids that are asked for at a time; the rows of others wait for their turn.
const ASKED_MAX: usize = 1_000;
/// So often an id must have been unknown to the registry before that is believed.
const DENIALS: u32 = 3;
/// An id that no row has waited for so long is asked for no more.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How long the start waits for the registration of all schemas; the rest is done while those work that can.
const FIRST_ROUND: Duration = Duration::from_secs(10);
/// How often a trouble that lasts is told of again.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How long a job that is to end by itself waits for a registry.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What outlives a job that begins anew in the same process: a registry that is away then takes nothing back.
#[derive(Default)]
pub(super) struct Kept {
    registry: Option<Registry>,
    learnt: Mutex<Learnt>,
}

#[derive(Default)]
struct Learnt {
    readers: Programs,
    /// Ids of our own schemas, by subject.
    ours: HashMap<String, u32>,
}

impl Kept {
    /// Errors: the registry's settings.
    pub(super) fn new(config: &crate::config::Config) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Kept { registry: Registry::new(&config.schema_registry)?, learnt: Mutex::default() }))
    }
}

/// The schemas of one job.
pub(super) struct Known {
    kept: Arc<Kept>,
    in_force: RwLock<Arc<Schemas>>,
    unknown_wait_ms: i64,
    /// Rises when a tenant can go on.
    version: AtomicU64,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    asked: BTreeMap<u32, Asked>,
    /// Output topics whose schema has no id yet, and what was said about them.
    unregistered: BTreeMap<TopicIndex, Option<RegistryFault>>,
    /// Since when a worker's partition waits before a row.
    held: HashMap<(usize, Place), Instant>,
    began: Option<Instant>,
    is_away: bool,
    /// What was told of last, by what it is about.
    told: BTreeMap<String, (Instant, String)>,
}

struct Asked {
    wanted: Instant,
    answers: u32,
    /// How often in a row the registry said that it has no such id.
    denials: u32,
    next: Instant,
    pause: Duration,
}

/// A row that must wait.
pub(super) struct Waits {
    pub id: u32,
    pub received_at_ms: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    pub(super) fn new(kept: &Arc<Kept>, rules: &Rules, unknown_wait: Duration) -> Self {
        let (mut schemas, mut unregistered) = (rules.schemas.clone(), BTreeMap::new());
        if kept.registry.is_some() {
            let learnt = lock(&kept.learnt);
            schemas.learn_all(&learnt.readers);
            for (i, topic) in rules.topics.iter().enumerate().filter(|(_, t)| t.schema.is_some()) {
                let topic_index = TopicIndex(i as u16);
                match learnt.ours.get(&subject(&topic.name)) {
                    Some(id) => schemas.set_prefix(topic_index, &registry_prefix(*id)),
                    None => {
                        unregistered.insert(topic_index, None);
                    }
                }
            }
        }
        Known {
            kept: Arc::clone(kept),
            in_force: RwLock::new(Arc::new(schemas)),
            unknown_wait_ms: unknown_wait.as_millis() as i64,
            version: AtomicU64::new(0),
            state: Mutex::new(State { unregistered, began: Some(Instant::now()), ..State::default() }),
            news: Condvar::new(),
        }
    }

    /// What a batch is transformed with.
    pub(super) fn in_force(&self) -> Arc<Schemas> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rises whenever a tenant can go on that could not before.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Whether a tenant stands still because its own schemas have no ids.
    pub(super) fn withholds(&self, rules: &Rules, tenant: u16) -> bool {
        self.kept.registry.is_some() && lock(&self.state).unregistered.keys().any(|t| rules.topics[usize::from(t.0)].tenant == tenant)
    }

    /// Rows that cannot be read now: the first of each partition, all there are that nobody asked for. Waits a moment for new ids.
    pub(super) fn waiting(&self, records: &RawRecords) -> BTreeMap<Place, (i64, Waits)> {
        let mut first = BTreeMap::new();
        if self.kept.registry.is_none() {
            return first;
        }
        let unknown = self.in_force().unknown(records);
        if unknown.is_empty() {
            return first;
        }
        self.ask(&unknown.iter().map(|(_, id)| *id).collect());
        let (known, now_ms) = (self.in_force(), clock::now_ms());
        let state = lock(&self.state);
        for (row, id) in unknown {
            let record = &records.rows[row];
            let waits = Waits { id, received_at_ms: record.received_at_ms };
            if !known.has(SchemaId::Registry(id)) && !self.is_over(&state, &waits, now_ms) {
                first.entry((record.source, record.partition)).or_insert((record.offset, waits));
            }
        }
        first
    }

    /// Whether a row need not wait any more.
    pub(super) fn can_go(&self, waits: &Waits) -> bool {
        if self.in_force().has(SchemaId::Registry(waits.id)) {
            return true;
        }
        let mut state = lock(&self.state);
        if let Some(asked) = state.asked.get_mut(&waits.id) {
            asked.wanted = Instant::now();
        } else {
            state.want(waits.id);
            self.news.notify_all();
        }
        self.is_over(&state, waits, clock::now_ms())
    }

    /// Whether the registry has said often enough, and late enough, that there is no such id.
    fn is_over(&self, state: &State, waits: &Waits, now_ms: i64) -> bool {
        let denied = state.asked.get(&waits.id).is_some_and(|a| a.denials >= DENIALS);
        denied && now_ms - waits.received_at_ms >= self.unknown_wait_ms
    }

    /// Asks for ids, and waits for the first answer to those that were never asked for.
    fn ask(&self, ids: &BTreeSet<u32>) {
        let mut state = lock(&self.state);
        ids.iter().for_each(|id| state.want(*id));
        self.news.notify_all();
        let end = Instant::now() + FIRST_ANSWER;
        while ids.iter().any(|id| state.asked.get(id).is_some_and(|a| a.answers == 0)) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.is_away {
                break;
            }
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes in which partitions of a worker wait.
    pub(super) fn hold<'p>(&self, worker: usize, places: impl Iterator<Item = &'p Place>) {
        let wait: BTreeSet<(usize, Place)> = places.map(|place| (worker, *place)).collect();
        let mut state = lock(&self.state);
        state.held.retain(|place, _| wait.contains(place) || place.0 != worker);
        for place in wait {
            state.held.entry(place).or_insert_with(Instant::now);
        }
    }

    /// Why a tenant stands still, once that has lasted too long for a job that is to end by itself.
    pub(super) fn hopeless(&self, rules: &Rules, tenant: u16) -> Option<String> {
        let state = lock(&self.state);
        let id = &rules.tenants[usize::from(tenant)].id;
        let of_tenant = |topic: &TopicIndex| rules.topics[usize::from(topic.0)].tenant == tenant;
        let late = |since: &Instant| since.elapsed() > PATIENCE;
        for (topic, fault) in state.unregistered.iter().filter(|(topic, _)| of_tenant(topic)) {
            let refused = matches!(fault, Some(RegistryFault::Refused(_)));
            if let Some(fault) = fault.as_ref().filter(|_| refused || state.began.as_ref().is_some_and(late)) {
                return Some(format!("tenant {id}: {}: {fault}", subject(&rules.topics[usize::from(topic.0)].name)));
            }
        }
        let mut held = state.held.iter().filter(|((_, (source, _)), _)| rules.sources[usize::from(*source)].tenant == tenant);
        held.any(|(_, since)| late(since)).then(|| format!("rows of tenant {id} wait for a schema that the registry has not given"))
    }

    /// Tells how long tenants have waited.
    fn measure(&self, job: &Job) {
        let state = lock(&self.state);
        let mut longest = vec![Duration::ZERO; job.rules.tenants.len()];
        let mut waits = |tenant: u16, since: Instant| {
            let longest = &mut longest[usize::from(tenant)];
            *longest = (*longest).max(since.elapsed());
        };
        for ((_, (source, _)), since) in &state.held {
            waits(job.rules.sources[usize::from(*source)].tenant, *since);
        }
        for topic in state.unregistered.keys() {
            waits(job.rules.topics[usize::from(topic.0)].tenant, state.began.unwrap_or_else(Instant::now));
        }
        for (tenant, longest) in job.rules.tenants.iter().zip(longest) {
            waiting_seconds(job.labels.of(tenant.id.as_str()), longest);
        }
    }
}

impl State {
    fn want(&mut self, id: u32) {
        let now = Instant::now();
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.wanted = now;
        } else if self.asked.len() < ASKED_MAX {
            self.asked.insert(id, Asked { wanted: now, answers: 0, denials: 0, next: now, pause: AGAIN.0 });
        }
    }

    /// A trouble, told when it is new and now and then while it lasts. One registry that is away is one trouble.
    fn tell(&mut self, what: String, fault: &RegistryFault) {
        self.is_away = matches!(fault, RegistryFault::Away(_));
        let key = if self.is_away { String::new() } else { what.clone() };
        let text = fault.to_string();
        if self.told.get(&key).is_none_or(|(at, told)| *told != text || at.elapsed() > TELL_EVERY) {
            tracing::error!(what, cause = %fault, "a schema is not to be had: what needs it waits, everything else goes on");
            self.told.insert(key, (Instant::now(), text));
        }
    }

    fn is_well(&mut self, what: &str) {
        self.is_away = false;
        self.told.remove(what);
        if self.told.remove("").is_some() {
            tracing::info!("the schema registry answers again");
        }
    }
}

/// Starts asking. Nothing to do without a registry.
pub(super) fn start(job: &Arc<Job>) -> Result<Option<std::thread::JoinHandle<()>>, crate::commands::Failure> {
    if job.schemas.kept.registry.is_none() {
        return Ok(None);
    }
    let asking = Arc::clone(job);
    // At first before anybody works: where every tenant is refused there is no job.
    register_all(&asking, FIRST_ROUND);
    super::spawn(job, "schemas", move || {
        let (mut pause, mut next) = (AGAIN.0, Instant::now() + AGAIN.0);
        while !asking.stopping() {
            if Instant::now() >= next && !lock(&asking.schemas.state).unregistered.is_empty() {
                register_all(&asking, Duration::MAX);
                next = Instant::now() + pause;
                pause = (pause * 2).min(AGAIN.1);
            }
            fetch_all(&asking);
            asking.schemas.measure(&asking);
            let state = lock(&asking.schemas.state);
            if !state.asked.values().any(|a| a.answers == 0) {
                drop(asking.schemas.news.wait_timeout(state, Duration::from_millis(200)));
            }
        }
        Ok(())
    })
    .map(Some)
}

/// Registers every schema that has no id yet. If every tenant is refused before any could begin, the job cannot begin.
fn register_all(job: &Job, patience: Duration) {
    let (known, rules, begun) = (&job.schemas, &job.rules, Instant::now());
    let Some(registry) = &known.kept.registry else { return };
    let open: Vec<TopicIndex> = lock(&known.state).unregistered.keys().copied().collect();
    for topic in open {
        if job.stopping() || begun.elapsed() > patience {
            return;
        }
        let OutputOf { subject, schema } = OutputOf::new(rules, topic);
        let answer = count(registry.id_of(&subject, schema));
        let mut state = lock(&known.state);
        match answer {
            Ok(id) => {
                state.is_well(&subject);
                lock(&known.kept.learnt).ours.insert(subject, id);
                let mut schemas = known.in_force.write().unwrap_or_else(PoisonError::into_inner);
                let mut next = Schemas::clone(&schemas);
                next.set_prefix(topic, &registry_prefix(id));
                *schemas = Arc::new(next);
                state.unregistered.remove(&topic);
                known.version.fetch_add(1, Ordering::SeqCst);
            }
            Err(fault) => {
                let away = matches!(fault, RegistryFault::Away(_));
                if away {
                    state.tell(subject, &fault);
                }
                state.unregistered.insert(topic, Some(fault));
                if away {
                    // The others would wait for the same answer.
                    return;
                }
            }
        }
    }
    tell_refused(job);
}

/// What was refused stands still, or, if that is every tenant, the job cannot be.
fn tell_refused(job: &Job) {
    let mut state = lock(&job.schemas.state);
    let is_refused = |tenant: usize| {
        let mut own = state.unregistered.iter().filter(|(t, _)| usize::from(job.rules.topics[usize::from(t.0)].tenant) == tenant);
        own.any(|(_, fault)| matches!(fault, Some(RegistryFault::Refused(_))))
    };
    let nobody_is_left = (0..job.rules.tenants.len()).all(is_refused);
    let told: Vec<(String, RegistryFault)> =
        state.unregistered.iter().filter_map(|(t, f)| Some((OutputOf::new(&job.rules, *t).subject, f.clone()?))).collect();
    for (subject, fault) in told {
        if nobody_is_left {
            return job.fail(format!("{subject}: {fault}"));
        }
        state.tell(subject, &fault);
    }
}

struct OutputOf {
    subject: String,
    schema: &'static str,
}

impl OutputOf {
    fn new(rules: &Rules, topic: TopicIndex) -> Self {
        let topic = &rules.topics[usize::from(topic.0)];
        OutputOf { subject: subject(&topic.name), schema: topic.schema.unwrap_or_default() }
    }
}

/// Fetches every id whose time has come.
fn fetch_all(job: &Job) {
    let known = &job.schemas;
    let Some(registry) = &known.kept.registry else { return };
    let now = Instant::now();
    let due: Vec<u32> = {
        let mut state = lock(&known.state);
        state.asked.retain(|_, asked| asked.wanted.elapsed() < FORGOTTEN);
        state.asked.iter().filter(|(_, asked)| asked.next <= now).map(|(id, _)| *id).collect()
    };
    for id in due {
        if job.stopping() {
            return;
        }
        let answer = count(registry.schema(id));
        let away = known.take(id, answer);
        known.news.notify_all();
        if away {
            // The others would wait for the same answer.
            known.put_off();
            return;
        }
    }
}

impl Known {
    /// Takes in what the registry said of an id. Returns whether it is away.
    fn take(&self, id: u32, answer: Result<crate::ops::registry::Registered, RegistryFault>) -> bool {
        let (mut state, what) = (lock(&self.state), format!("schema id {id}"));
        let fault = match answer {
            Ok(registered) => {
                state.is_well(&what);
                state.asked.remove(&id);
                self.learn(id, &registered);
                return false;
            }
            Err(fault) => fault,
        };
        if let Some(asked) = state.asked.get_mut(&id) {
            asked.answers += 1;
            asked.denials = if fault == RegistryFault::Unknown { asked.denials + 1 } else { asked.denials };
            asked.next = Instant::now() + asked.pause;
            asked.pause = (asked.pause * 2).min(AGAIN.1);
        }
        let away = matches!(fault, RegistryFault::Away(_));
        state.tell(what, &fault);
        away
    }

    /// Makes every open question wait as long as the one that found the registry away.
    fn put_off(&self) {
        let mut state = lock(&self.state);
        let next = state.asked.values().map(|a| a.next).max();
        for asked in state.asked.values_mut() {
            asked.answers += 1;
            asked.next = next.unwrap_or(asked.next);
        }
    }

    fn learn(&self, id: u32, registered: &crate::ops::registry::Registered) {
        let compiled = match registered.kind.as_str() {
            "AVRO" => compile_avro_with(&registered.schema, &registered.others),
            _ => Err("it is no Avro schema".into()),
        };
        if let Err(fault) = &compiled {
            tracing::error!(id, %fault, "events of this schema cannot be read and go to quarantine");
        } else {
            tracing::info!(id, "a schema was learnt");
        }
        let (id, program) = (SchemaId::Registry(id), compiled.ok().map(Arc::new));
        lock(&self.kept.learnt).readers.insert(id, program.clone());
        let mut schemas = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Schemas::clone(&schemas);
        next.learn(id, program);
        *schemas = Arc::new(next);
    }
}
