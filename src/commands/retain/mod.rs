//! `lethe retain`: every window enforced with tombstones, and the bytes really gone.
//!
//! One thread, one consumer of the group, one transactional producer. A turn of the loop:
//!
//! ```text
//! wake parked partitions -> read what is due, a tombstone each -> commit tombstones and cursor -> look: read back, roll, trim, measure
//! ```
//! People's requests, which are not "the next record in order", are carried out beside it, see [`rights`].
//!
//! Nothing is kept on disk: the cursor is the group's committed offset, and its metadata says up to where directives were taken in and from where
//! on tombstones may still lie about. Killed at any point, the next process goes on from what was committed.

mod accepting;
mod barrier;
mod board;
mod cleaning;
mod cursor;
mod deadlines;
mod ending;
mod look;
mod partition;
mod rights;
mod sweep;
mod sweeping;
mod trim;

use super::process::{Files, Process};
use super::watch::Watch;
use super::{Failure, Load, terminated, topics};
use crate::config::governed::Governed;
use crate::config::{Config, TenantConfig};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, Place, RawConsumer};
use crate::kafka::directives::DirectiveReader;
use crate::kafka::readback::ReadBack;
use crate::kafka::topics::Admin;
use crate::kafka::transaction::TransactionalProducer;
use crate::lifecycle::hold::Holds;
use crate::lifecycle::termination::Terminations;
use crate::model::directive::InForce;
use crate::ops::clock;
use crate::ops::metrics::TenantLabels;
use partition::PartitionState;
pub(super) use partition::read_pending;
use rights::Duty;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use trim::Trimmer;

/// How much rarer looks are while there is a backlog: four times, half of the time that `retain` may be down.
const BACKLOG_LOOKS: i64 = 4;
/// Pause after a fault, before the work is taken up again.
const FAULT_PAUSE: Duration = Duration::from_millis(500);

/// A process that enforces windows.
struct Retain<'c> {
    config: &'c Config,
    /// In the order of the consumer's sources.
    governed: Vec<Governed>,
    labels: TenantLabels,
    consumer: RawConsumer,
    generation: Arc<Generation>,
    seen_generation: u64,
    producer: Option<TransactionalProducer>,
    id: String,
    readback: ReadBack,
    directives: DirectiveReader,
    in_force: InForce,
    holds: Holds,
    terminations: Terminations,
    /// Whether the partition of the directives is this process's: a topic of nobody's, which no tenant's end takes away.
    is_officer: bool,
    taken_in: Arc<AtomicI64>,
    partitions: BTreeMap<Place, PartitionState>,
    looked_at_ms: i64,
    /// Which broker led each partition, and when that was asked.
    led: (i64, HashMap<(String, i32), i32>),
    trimmer: Option<Trimmer<'c>>,
    stop: Arc<AtomicBool>,
}

/// Enforces windows until it is told to stop or, with `until_caught_up`, until nothing is due or pending. Tenants and windows that change meanwhile are
/// taken up: the cursors are taken over anew, from what was committed.
///
/// Errors: topics whose settings cannot keep the promise, with the command that mends them; brokers that refuse.
pub fn retain(load: &Load, path: &Path, until_caught_up: bool) -> Result<(), Failure> {
    let mut files = Files::follow(path, &load()?);
    let mut config = load()?;
    // Told before the brokers are asked.
    config.governed().map_err(|faults| Failure::Usage(faults.join("; ")))?;
    check(&config)?;
    let process = Process::start(&config.retain.http, &config)?;
    loop {
        let fresh = enforce(&config, &process, until_caught_up, || files.look_checked(&process, load, &config, check))?;
        match fresh {
            Some(next) => config = next,
            None => return Ok(()),
        }
    }
}

/// Enforces the windows of one config. Returns the config to go on with, if `fresh` gave one before the end.
fn enforce(
    config: &Config,
    process: &Process,
    until_caught_up: bool,
    mut fresh: impl FnMut() -> Option<Config>,
) -> Result<Option<Config>, Failure> {
    // Whose deletion has begun has no windows any more: the officer ends it.
    let begun = terminated::begun(config)?;
    let live = terminated::without(config, &begun);
    let governed = live.governed().map_err(|faults| Failure::Usage(faults.join("; ")))?;
    let stop = process.follow_stop().map_err(Failure::Failed)?;
    let duty = Duty::start(config, &begun, &stop, &process.health.board)?;
    let mut retain = Retain::connect(&live, governed, Arc::clone(&stop))?;
    retain.watch()?;
    process.health.set_ready(true);
    tracing::info!(topics = retain.governed.len(), id = %retain.id, "retention began");
    let mut next = None;
    while next.is_none() && !process.stopping() {
        match retain.turn() {
            // At once, before anything else of it: its topics may be deleted from now on.
            _ if retain.has_ended() => {
                tracing::info!("a terminated tenant's time has come: its cursors are let go of");
                next = Some(config.clone());
                break;
            }
            Ok(()) if until_caught_up && duty.is_idle() && retain.is_caught_up()? => break,
            Ok(()) => {}
            Err(Fault::Stop(text)) => return Err(Failure::Failed(text)),
            Err(fault) => retain.recover(&fault),
        }
        // One process of the group sees to people's requests: the one that has the partition of the directives.
        duty.set(retain.is_officer);
        next = fresh();
    }
    stop.store(true, Ordering::SeqCst);
    duty.end();
    tracing::info!("retention ended");
    Ok(next)
}

/// Refuses to begin when the brokers' settings cannot keep the promise.
fn check(config: &Config) -> Result<(), Failure> {
    let admin = Admin::connect(&config.kafka)?;
    let off = admin.without_cleaner()?;
    if !off.is_empty() {
        return Err(Failure::Failed(format!("the windows cannot be kept: {}", topics::cleaner_is_off(&off))));
    }
    let live = terminated::without_begun(config)?;
    let plans = topics::plans(&live, &admin)?;
    let faults = topics::faults(&plans, &admin)?;
    if faults.is_empty() {
        return Ok(());
    }
    let more = faults.len().saturating_sub(5);
    let mut text = faults.into_iter().take(5).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    Err(Failure::Failed(format!("the windows cannot be kept: {text}; mend it with `{}`", topics::MEND)))
}

impl<'c> Retain<'c> {
    fn connect(config: &'c Config, governed: Vec<Governed>, stop: Arc<AtomicBool>) -> Result<Self, Failure> {
        let generation = Arc::new(Generation::default());
        let own = config.topics.directives.clone();
        let names: Vec<String> = governed.iter().map(|g| g.topic.clone()).chain([own]).collect();
        let consumer = RawConsumer::connect(&config.kafka, &config.retain.group, &names, Arc::clone(&generation))?;
        let id = super::transactional_id(&config.retain.group, &config.retain.instance);
        let producer = TransactionalProducer::connect(&config.kafka, &id)?;
        let directives = DirectiveReader::connect(&config.kafka, &config.topics.directives)?;
        let mut in_force = InForce::default();
        directives.catch_up_first(&mut in_force)?;
        Ok(Retain {
            labels: TenantLabels::new(config.tenant.iter().map(|t| t.id.as_str())),
            readback: ReadBack::connect(&config.kafka)?,
            trimmer: Trimmer::connect(config)?,
            partitions: BTreeMap::new(),
            looked_at_ms: 0,
            led: (0, HashMap::new()),
            producer: Some(producer),
            seen_generation: 0,
            config,
            governed,
            consumer,
            generation,
            id,
            directives,
            taken_in: Arc::new(AtomicI64::new(in_force.next_offset)),
            holds: Holds::build(&in_force),
            terminations: Terminations::build(&in_force),
            is_officer: false,
            in_force,
            stop,
        })
    }

    /// Watches what a hanging transaction would stop: everything that is governed, and what the workers read.
    fn watch(&self) -> Result<(), Failure> {
        let raw = self.config.tenant.iter().flat_map(TenantConfig::sources);
        let stable = self.governed.iter().map(|g| g.topic.clone()).chain(raw).collect();
        let watch = Watch::new(self.config, Arc::clone(&self.taken_in), stable);
        let stop = Arc::clone(&self.stop);
        watch.start(&self.config.kafka, move || stop.load(Ordering::SeqCst)).map_err(Failure::Failed)
    }

    /// One turn. Errors: what [`Retain::recover`] mends, or `Stop`.
    fn turn(&mut self) -> Result<(), Fault> {
        self.follow_assignment()?;
        let more = self.expire()?;
        if self.generation.current() != self.seen_generation {
            // What is known of partitions includes what was just given up: nothing of it may be committed.
            return Ok(());
        }
        if self.directives.follow(&mut self.in_force, Duration::ZERO)? {
            self.take_in();
        }
        self.taken_in.store(self.in_force.next_offset, Ordering::SeqCst);
        let now_ms = clock::now_ms();
        // While there is a backlog, looks are rarer: each costs several round trips in which nothing expires.
        let every_ms = self.look_every_ms() * if more { BACKLOG_LOOKS } else { 1 };
        if now_ms - self.looked_at_ms >= every_ms {
            self.look(now_ms)?;
            if let (Some(trimmer), Some(producer)) = (&mut self.trimmer, &mut self.producer) {
                trimmer.trim(producer, now_ms)?;
            }
            self.looked_at_ms = now_ms;
        }
        Ok(())
    }

    /// Whether the deletion of a tenant has begun whose cursors are held here. Asked after a turn: its own topics may have failed it.
    fn has_ended(&self) -> bool {
        let begun = self.terminations.begun(clock::now_ms());
        self.config.tenant.iter().any(|t| begun.contains(t.id.as_str()))
    }

    /// Compiles what is in force.
    fn take_in(&mut self) {
        (self.holds, self.terminations) = (Holds::build(&self.in_force), Terminations::build(&self.in_force));
    }

    /// The shortest of the governed topics' intervals. Units: ms.
    fn look_every_ms(&self) -> i64 {
        self.governed.iter().map(|g| g.governance.timing.look_every_ms()).min().unwrap_or(1_000)
    }

    /// After a rebalance: what was known of partitions is void, those that stay are read again from what is committed.
    fn follow_assignment(&mut self) -> Result<(), Fault> {
        let generation = self.generation.current();
        if generation == self.seen_generation {
            return Ok(());
        }
        // A predecessor may have said that a hold was in force before this process had read of it.
        self.directives.catch_up(&mut self.in_force)?;
        self.take_in();
        let mut places = self.consumer.assignment()?;
        let own = (self.governed.len() as u16, 0);
        self.is_officer = places.contains(&own);
        places.retain(|place| place.0 < own.0);
        let fresh = self.consumer.take_fresh();
        let kept: Vec<Place> = places.iter().filter(|p| !fresh.contains(*p)).copied().collect();
        if !kept.is_empty() {
            self.consumer.rewind(&kept)?;
        }
        // The client remembers a pause beyond a revocation: without this, a partition that comes back stands still for ever.
        if !places.is_empty() {
            self.consumer.resume(&places)?;
        }
        if self.is_officer {
            // Directives are followed elsewhere: who has their partition is a matter of office.
            self.consumer.pause(&[own])?;
        }
        let committed = self.consumer.committed_texts(&places)?;
        let now_ms = clock::now_ms();
        self.partitions = places.iter().map(|p| (*p, PartitionState::resume(committed.get(p), now_ms))).collect();
        self.seen_generation = generation;
        self.looked_at_ms = 0;
        tracing::info!(partitions = places.len(), "cursors taken over");
        Ok(())
    }

    /// After a failed turn: nothing of it was committed, or a new producer settles it; everything is read again from what is committed.
    fn recover(&mut self, fault: &Fault) {
        tracing::warn!(cause = %fault, "a turn failed; it is taken up again from what is committed");
        metrics::counter!("lethe_retention_faults_total").increment(1);
        if !matches!(fault, Fault::Abort(_) | Fault::Topic(_)) {
            self.producer = None;
        }
        std::thread::sleep(FAULT_PAUSE);
        if self.producer.is_none() {
            let stopping = || self.stop.load(Ordering::SeqCst);
            self.producer = TransactionalProducer::rebuild(&self.config.kafka, &self.id, FAULT_PAUSE, stopping);
        }
        self.generation.advance();
    }

    /// Whether nothing of what is assigned is due or pending. A process without partitions has caught up only once the group gave it none.
    fn is_caught_up(&mut self) -> Result<bool, Failure> {
        if self.seen_generation == 0 || self.looked_at_ms == 0 {
            return Ok(false);
        }
        let now_ms = clock::now_ms();
        for state in self.partitions.values() {
            let at_rest = state.parked.as_ref().is_some_and(|held| held.due_ms > now_ms) || state.at_end;
            if !at_rest || state.pending.is_some() || state.behind || state.unsaved {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
