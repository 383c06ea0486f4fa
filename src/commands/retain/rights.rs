//! The officer: carries out people's requests and tells the audit of every step, on a thread of its own beside the cursors.
//!
//! ```text
//! directive ─> accepted ─> every worker has it (barrier) ─> swept ─> cleaner done, raw passed, read back ─> certified
//! ```
//! One process of the group is the officer: the one that owns the partition of `lethe.directives`. Its transactional id is the same wherever it runs, so a
//! successor fences a predecessor, and reads the audit only then: what it finds there is all that was ever done. Each step is one transaction with its
//! audit entry, in this order, so that a process killed anywhere leaves a state from which the next goes on, and never a certificate first.

use super::barrier::Writers;
use super::board;
use super::cleaning::Cleaning;
use crate::commands::Failure;
use crate::config::governed::Governed;
use crate::config::{Config, TenantConfig};
use crate::kafka::client::Fault;
use crate::kafka::consumer::RawConsumer;
use crate::kafka::directives::DirectiveReader;
use crate::kafka::topics::Admin;
use crate::kafka::transaction::{Transaction, TransactionalProducer};
use crate::kafka::whole::{Isolation, WholeReader};
use crate::lifecycle::audit::{Chain, Head, What, read};
use crate::lifecycle::hold::Holds;
use crate::lifecycle::request::{Request, Requests, State};
use crate::lifecycle::signed::read_private;
use crate::lifecycle::termination::Terminations;
use crate::model::directive::InForce;
use crate::model::time::HOUR_MS;
use crate::ops::http::Board;
use crate::ops::{clock, keys_signing, metrics as counted};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The chain of the officer in the audit, and its name as an actor.
const CHAIN: &str = "retain";
/// Most entries of one transaction.
pub(super) const ENTRIES_MAX: usize = 200;
/// Most requests of one sweep, and of one entry: what is found for each must fit into one record, 120 bytes a request. Units: requests.
pub(super) const TOGETHER_MAX: usize = 2_000;
/// How seldom a checkpoint may come while entries keep coming. Units: ms.
const CHECKPOINT_EVERY_MS: i64 = HOUR_MS;
/// Pause after a fault.
const FAULT_PAUSE: Duration = Duration::from_millis(500);
/// How long the end of the process waits for the officer.
const END_WAIT: Duration = Duration::from_secs(5);

/// Not known yet, something to do, nothing to do.
const UNKNOWN: u8 = 0;
const BUSY: u8 = 1;
const IDLE: u8 = 2;

/// The main thread's end: tells whether this process is the officer, and hears whether anything is left to do.
pub(super) struct Duty {
    on: Arc<AtomicBool>,
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

impl Duty {
    /// Starts the thread. `begun`: terminated tenants whose cursors this process has let go of. Errors: none can be started.
    pub(super) fn start(config: &Config, begun: &BTreeSet<String>, stop: &Arc<AtomicBool>, board: &Board) -> Result<Duty, Failure> {
        let (on, state) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(UNKNOWN)));
        let post = Post {
            config: config.clone(),
            governed: config.governed().map_err(|faults| Failure::Usage(faults.join("; ")))?,
            begun: begun.clone(),
            on: Arc::clone(&on),
            state: Arc::clone(&state),
            stop: Arc::clone(stop),
            board: board.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("rights".into())
            .spawn(move || post.run())
            .map_err(|e| Failure::Failed(format!("cannot start a thread: {e}")))?;
        Ok(Duty { on, state, thread: Some(thread) })
    }

    /// This process is the officer, or is not.
    pub(super) fn set(&self, on: bool) {
        if self.on.swap(on, Ordering::SeqCst) != on {
            self.state.store(UNKNOWN, Ordering::SeqCst);
        }
    }

    /// Whether nothing is left to do here; what a hold keeps is not.
    pub(super) fn is_idle(&self) -> bool {
        !self.on.load(Ordering::SeqCst) || self.state.load(Ordering::SeqCst) == IDLE
    }

    /// Waits for the end of the thread, for a while: what it leaves undone is done by the next.
    pub(super) fn end(mut self) {
        let until = Instant::now() + END_WAIT;
        while self.thread.as_ref().is_some_and(|t| !t.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(self.thread.take());
    }
}

/// The thread's end.
struct Post {
    config: Config,
    governed: Vec<Governed>,
    begun: BTreeSet<String>,
    on: Arc<AtomicBool>,
    state: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
    /// What the status page shows of requests.
    board: Board,
}

impl Post {
    fn run(self) {
        let every_ms = self.governed.iter().map(|g| g.governance.timing.look_every_ms()).min().unwrap_or(1_000).clamp(100, 5_000);
        let mut officer: Option<Officer<'_>> = None;
        while !self.stop.load(Ordering::SeqCst) {
            if !self.on.load(Ordering::SeqCst) {
                officer = None;
                self.board.clear();
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            let done = match &mut officer {
                Some(officer) => officer.turn(),
                None => Officer::take_over(&self).and_then(|taken| officer.insert(taken).turn()),
            };
            match done {
                Ok(idle) => {
                    self.state.store(if idle { IDLE } else { BUSY }, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(every_ms.unsigned_abs()));
                }
                Err(fault) => {
                    // Everything that counts is in Kafka: it is read again.
                    officer = None;
                    self.state.store(BUSY, Ordering::SeqCst);
                    if !self.stop.load(Ordering::SeqCst) {
                        tracing::warn!(cause = %fault, "requests are taken up again from the audit");
                        metrics::counter!("lethe_retention_faults_total").increment(1);
                        std::thread::sleep(FAULT_PAUSE);
                    }
                }
            }
        }
    }
}

/// One entry to be written: tenant, requests, what.
pub(super) type Saying = (String, Vec<String>, What);
/// One notice to a tenant: tenant, request, what happened.
pub(super) type Notice = (String, String, &'static str);

/// Where partitions begin, end, and end for readers of committed records, as asked in one turn: many requests ask the same.
#[derive(Default)]
pub(super) struct Glance {
    pub lows: HashMap<(String, i32), i64>,
    pub ends: HashMap<(String, i32), i64>,
    pub stable: HashMap<(String, i32), i64>,
}

/// The officer at work.
pub(super) struct Officer<'p> {
    pub(super) config: &'p Config,
    pub(super) governed: &'p [Governed],
    /// Terminated tenants whose cursors were let go of: their topics may be deleted.
    pub(super) begun: &'p BTreeSet<String>,
    /// When a hindrance was last told of. Units: ms since the epoch.
    pub(super) told_ms: i64,
    pub(super) stop: &'p AtomicBool,
    board: &'p Board,
    pub(super) producer: TransactionalProducer,
    /// Looks at the retention cursors.
    pub(super) cursors: RawConsumer,
    /// Whoever writes to governed topics.
    pub(super) writers: Vec<Writers>,
    pub(super) raw: Vec<(String, String)>,
    pub(super) admin: Admin,
    directives: DirectiveReader,
    pub(super) in_force: InForce,
    pub(super) all: WholeReader,
    pub(super) stable: WholeReader,
    chain: Chain,
    heads: BTreeMap<String, Head>,
    /// Everything before this offset of the audit has been read.
    audit_next: i64,
    pub(super) requests: Requests,
    pub(super) signing: Option<SigningKey>,
    pub(super) partitions: HashMap<String, u32>,
    pub(super) cleaning: Cleaning,
    pub(super) glance: Glance,
    /// The longest that anything of a tenant may take to be gone. Units: ms.
    pub(super) longest_ms: HashMap<String, i64>,
    unsigned: bool,
    checkpoint_ms: i64,
}

impl<'p> Officer<'p> {
    /// Fences whoever was the officer before, and reads what was done.
    fn take_over(post: &'p Post) -> Result<Self, Fault> {
        let config = &post.config;
        let producer = TransactionalProducer::connect(&config.kafka, &format!("{}-rights", config.retain.group))?;
        let governed_names: Vec<String> = post.governed.iter().map(|g| g.topic.clone()).collect();
        let raw: Vec<(String, String)> =
            config.tenant.iter().flat_map(|t| t.sources().into_iter().map(|s| (t.id.to_string(), s))).collect();
        let mut officer = Officer {
            config,
            governed: &post.governed,
            begun: &post.begun,
            board: &post.board,
            told_ms: 0,
            stop: &post.stop,
            producer,
            cursors: RawConsumer::observe(&config.kafka, &config.retain.group, &governed_names, Arc::default())?,
            writers: Writers::all(config, &raw)?,
            raw,
            admin: Admin::connect(&config.kafka)?,
            directives: DirectiveReader::connect(&config.kafka, &config.topics.directives)?,
            in_force: InForce::default(),
            all: WholeReader::connect(&config.kafka, Isolation::Uncommitted)?,
            stable: WholeReader::connect(&config.kafka, Isolation::Committed)?,
            chain: Chain::new(CHAIN, None),
            heads: BTreeMap::new(),
            audit_next: 0,
            requests: Requests::slim(),
            signing: None,
            partitions: HashMap::new(),
            cleaning: Cleaning::default(),
            glance: Glance::default(),
            longest_ms: config.tenant.iter().map(|t| (t.id.to_string(), config.longest_wait_ms(t.id.as_str()))).collect(),
            unsigned: false,
            checkpoint_ms: 0,
        };
        officer.read_audit()?;
        officer.signing = signing_key(config);
        tracing::info!(requests = officer.requests.open().count(), "people's requests taken over");
        Ok(officer)
    }

    /// The fence has ended every transaction of a predecessor: the audit is read to its very end.
    fn read_audit(&mut self) -> Result<(), Fault> {
        let topic = &self.config.topics.audit;
        let (low, end) = self.all.bounds(topic, 0)?;
        let until = Instant::now() + Duration::from_secs(30);
        while self.stable.bounds(topic, 0)?.1 < end {
            if Instant::now() > until || self.stop.load(Ordering::SeqCst) {
                return Err(Fault::Retry(format!("{topic}: a transaction is open")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let (requests, heads, unsigned) = (&mut self.requests, &mut self.heads, &mut self.unsigned);
        self.stable.read(topic, &[(0, low, end)], |seen| {
            if let Ok((entry, _, hash)) = read(seen.value.unwrap_or_default()) {
                requests.take(&entry);
                *unsigned = !matches!(entry.what, What::Checkpoint { .. });
                heads.insert(entry.chain.clone(), Head { n: entry.n, hash });
            }
            Ok(())
        })?;
        self.chain = Chain::new(CHAIN, self.heads.get(CHAIN).cloned());
        self.audit_next = end;
        Ok(())
    }

    /// Takes in what other writers told the audit since, so that the next checkpoint covers their chains too.
    fn hear(&mut self) -> Result<(), Fault> {
        let topic = &self.config.topics.audit;
        let (low, end) = self.stable.bounds(topic, 0)?;
        let from = self.audit_next.max(low);
        let (heads, unsigned) = (&mut self.heads, &mut self.unsigned);
        self.stable.read(topic, &[(0, from, end)], |seen| {
            if seen.key != CHAIN.as_bytes()
                && let Ok((entry, _, hash)) = read(seen.value.unwrap_or_default())
            {
                *unsigned = true;
                heads.insert(entry.chain, Head { n: entry.n, hash });
            }
            Ok(())
        })?;
        self.audit_next = end.max(from);
        Ok(())
    }

    /// One look at everything. Returns whether nothing is left to do. Errors: all is taken up again from Kafka.
    fn turn(&mut self) -> Result<bool, Fault> {
        self.directives.catch_up(&mut self.in_force)?;
        self.glance = Glance::default();
        self.partitions = self.admin.partitions()?;
        self.accept()?;
        self.suppress()?;
        self.sweep()?;
        self.clean()?;
        self.end_tenants()?;
        self.forget()?;
        self.warn_of_deadlines()?;
        self.hear()?;
        let now_ms = clock::now_ms();
        // What a hold keeps, and what has time until its deadline, is not waited for.
        let begun = Terminations::build(&self.in_force).begun(now_ms);
        let waits = |r: &Request| match r.state() {
            State::Held => true,
            State::Scheduled => !begun.contains(&r.tenant),
            _ => false,
        };
        let idle = self.requests.open().all(|(_, r)| waits(r));
        if self.unsigned && (idle || now_ms - self.checkpoint_ms > CHECKPOINT_EVERY_MS) {
            self.write(Vec::new(), &[], true)?;
        }
        self.measure(now_ms);
        Ok(idle)
    }

    /// Requests in a state, by tenant; the end of a tenant has its own ways.
    pub(super) fn by_tenant(&self, state: State) -> Vec<(String, Vec<String>)> {
        self.by_tenant_where(|r| r.state() == state && r.kind != "terminate")
    }

    /// The requests that are wanted, by tenant. Shape: at most [`TOGETHER_MAX`] at a time, tenants as often as that takes.
    pub(super) fn by_tenant_where(&self, wanted: impl Fn(&Request) -> bool) -> Vec<(String, Vec<String>)> {
        let mut found: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for (id, r) in self.requests.open().filter(|(_, r)| wanted(r)) {
            found.entry(&r.tenant).or_default().push(id.clone());
        }
        found.into_iter().flat_map(|(tenant, ids)| in_parts(tenant, &ids)).collect()
    }

    /// Takes in every directive that was given before now. Errors: the brokers.
    pub(super) fn catch_up(&mut self) -> Result<(), Fault> {
        self.directives.catch_up(&mut self.in_force).map(drop)
    }

    /// What is held now.
    pub(super) fn holds(&mut self) -> Result<Holds, Fault> {
        self.directives.follow(&mut self.in_force, Duration::ZERO)?;
        Ok(Holds::build(&self.in_force))
    }

    /// A tenant's config.
    pub(super) fn tenant(&self, id: &str) -> Option<&'p TenantConfig> {
        self.config.tenant.iter().find(|t| t.id.as_str() == id)
    }

    /// Writes entries, notices and, if asked for, a checkpoint over them, in one transaction.
    pub(super) fn write(&mut self, sayings: Vec<Saying>, notices: &[Notice], checkpoint: bool) -> Result<(), Fault> {
        self.write_with(sayings, notices, checkpoint, |_| Ok(()))
    }

    /// The same with whatever else belongs into the transaction.
    pub(super) fn write_with(
        &mut self,
        sayings: Vec<Saying>,
        notices: &[Notice],
        checkpoint: bool,
        more: impl FnOnce(&Transaction<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let now_ms = clock::now_ms();
        let mut chain = self.chain.clone();
        let mut entries = Vec::new();
        let mut records = Vec::new();
        for (tenant, requests, what) in sayings {
            let (entry, bytes) = chain.append(now_ms, CHAIN, &tenant, requests, what, None);
            entries.push(entry);
            records.push(bytes);
        }
        let signed = match self.signing.as_ref().filter(|_| checkpoint) {
            Some(key) => {
                let mut heads = self.heads.clone();
                heads.extend(chain.head().map(|head| (CHAIN.to_owned(), head.clone())));
                records.push(chain.append(now_ms, CHAIN, "", Vec::new(), What::Checkpoint { heads }, Some(key)).1);
                true
            }
            None => false,
        };
        if records.is_empty() {
            return Ok(());
        }
        // A tenant that has no such topic any more was terminated.
        let topic_of = |tenant: &str| self.config.tenant.iter().find(|t| t.id.as_str() == tenant).map(|t| t.topic("notices"));
        let told: Vec<(String, &Notice)> = notices.iter().filter_map(|n| Some((topic_of(&n.0)?, n))).collect();
        let told: Vec<(String, &Notice)> = told.into_iter().filter(|(topic, _)| self.partitions.contains_key(topic)).collect();
        let transaction = self.producer.begin()?;
        more(&transaction)?;
        for bytes in &records {
            transaction.put(&self.config.topics.audit, Some(0), CHAIN.as_bytes(), bytes)?;
        }
        for (topic, (tenant, request, event)) in &told {
            let value: Value = json!({ "type": event, "request": request, "tenant": tenant, "at_ms": now_ms });
            transaction.put(topic, None, request.as_bytes(), value.to_string().as_bytes())?;
        }
        commit(transaction, &self.cursors)?;
        entries.iter().for_each(|entry| self.requests.take(entry));
        self.heads.extend(chain.head().map(|head| (CHAIN.to_owned(), head.clone())));
        self.chain = chain;
        self.unsigned = !signed;
        if signed {
            self.checkpoint_ms = now_ms;
        }
        Ok(())
    }

    fn measure(&self, now_ms: i64) {
        self.board.show(&board::shown(&self.in_force, &self.requests, |id, r| self.deadline_ms(id, r), now_ms));
        let labels = counted::TenantLabels::new(self.config.tenant.iter().map(|t| t.id.as_str()));
        let mut open: HashMap<&str, Vec<(&String, &Request)>> = HashMap::new();
        self.requests.open().for_each(|(id, r)| open.entry(r.tenant.as_str()).or_default().push((id, r)));
        for tenant in &self.config.tenant {
            let open = open.get(tenant.id.as_str()).map_or(&[][..], Vec::as_slice);
            let erasures = || open.iter().filter(|(_, r)| r.kind == "erase");
            let at_risk = open.iter().filter(|(id, r)| self.is_at_risk(id, r, now_ms)).count();
            let age_ms = erasures().map(|(_, r)| now_ms - r.received_ms).max().unwrap_or(0);
            let label = labels.of(tenant.id.as_str()).to_owned();
            metrics::gauge!("lethe_erasure_pending", "tenant" => label.clone()).set(erasures().count() as f64);
            metrics::gauge!("lethe_request_deadline_at_risk", "tenant" => label.clone()).set(at_risk as f64);
            metrics::gauge!("lethe_erasure_oldest_seconds", "tenant" => label).set(age_ms.max(0) as f64 / 1_000.0);
        }
        if !open.is_empty() && self.signing.is_none() {
            tracing::error!(file = %self.config.keys.signing_file.display(), "requests are pending and there is no signing key: nothing can be certified");
        }
    }
}

/// Requests of a tenant, as many at a time as one entry of the audit may name.
fn in_parts(tenant: &str, ids: &[String]) -> Vec<(String, Vec<String>)> {
    ids.chunks(TOGETHER_MAX).map(|ids| (tenant.to_owned(), ids.to_vec())).collect()
}

/// Commits without offsets.
pub(super) fn commit(transaction: Transaction<'_>, member: &RawConsumer) -> Result<(), Fault> {
    let group = member.membership().ok_or_else(|| Fault::Retry("no group to look at".into()))?;
    transaction.commit_or_abort(&[], &group)
}

fn signing_key(config: &Config) -> Option<SigningKey> {
    let text = keys_signing::read(&config.keys.signing_file);
    let key = text.map_err(|e| e.to_string()).and_then(|text| read_private(&text).ok_or_else(|| "is no Ed25519 key in PEM".to_owned()));
    key.map_err(|fault| tracing::warn!(cause = %fault, "there is no signing key: nothing can be certified")).ok()
}
