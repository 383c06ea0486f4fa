//! The process that puts sessions together: batches, commits, and what is taken over after a rebalance.

use super::gates::Gates;
use super::restore::Restore;
use super::{FAULT_PAUSE, Schemas, Source};
use crate::commands::framing::subject;
use crate::commands::{Failure, transactional_id};
use crate::config::Config;
use crate::derive::record;
use crate::derive::session::Session;
use crate::derive::sessions::{Rules, Sessions};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, Lent, Membership, Place, RawConsumer};
use crate::kafka::directives::{DirectiveReader, Mark};
use crate::kafka::transaction::{NextOffset, TransactionalProducer};
use crate::lifecycle::termination::Terminations;
use crate::model::directive::InForce;
use crate::model::header::{self, Header};
use crate::model::record::{OutputChunk, OutputRecord, TopicIndex};
use crate::model::span::Span;
use crate::ops::metrics::TenantLabels;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the loop waits for a record.
const WAIT: Duration = Duration::from_millis(20);
/// How long a tenant whose topic cannot be written stands still before it is tried again.
const BLOCKED: Duration = Duration::from_secs(30);

/// What is known of one partition.
struct Partition {
    sessions: Sessions,
    next: i64,
    committed: Option<i64>,
    /// Directives that the committed metadata speaks of.
    saved_directives: i64,
}

/// A process that puts sessions together.
pub(super) struct Job<'c> {
    config: &'c Config,
    /// In the order of the consumer's sources.
    sources: Vec<Source>,
    labels: TenantLabels,
    rules: Rules,
    consumer: RawConsumer,
    generation: Arc<Generation>,
    seen_generation: u64,
    member: Option<Membership>,
    producer: Option<TransactionalProducer>,
    id: String,
    directives: DirectiveReader,
    in_force: InForce,
    gates: Gates,
    /// A topic could not be written: tenants are committed apart, so that only one of them stands still.
    apart: bool,
    /// Tenants that stand still, and since when.
    blocked: BTreeMap<u16, Instant>,
    partitions: BTreeMap<Place, Partition>,
    restore: Restore,
    schemas: Schemas,
    /// Where everything that was there at the start ends.
    ends: Vec<(Place, i64)>,
}

impl<'c> Job<'c> {
    /// Joins the group. Errors: brokers that refuse, or do not answer.
    pub fn connect(config: &'c Config, sources: Vec<Source>, schemas: Schemas) -> Result<Self, Failure> {
        let generation = Arc::new(Generation::default());
        let names: Vec<String> = sources.iter().map(|s| s.events.clone()).collect();
        let consumer = RawConsumer::connect(&config.kafka, &config.sessions.group, &names, Arc::clone(&generation))?;
        let id = transactional_id(&config.sessions.group, &config.sessions.instance);
        let producer = TransactionalProducer::connect(&config.kafka, &id)?;
        let directives = DirectiveReader::connect(&config.kafka, &config.topics.directives)?;
        let mut in_force = InForce::default();
        directives.catch_up_first(&mut in_force)?;
        let places = sources.iter().enumerate().flat_map(|(i, s)| (0..s.partitions).map(move |p| (i as u16, p as i32)));
        let ends = places.map(|place| Ok((place, consumer.watermarks(place)?.1))).collect::<Result<Vec<_>, Fault>>()?;
        Ok(Job {
            labels: TenantLabels::new(config.tenant.iter().map(|t| t.id.as_str())),
            rules: Rules { gap_ms: config.sessions.gap.as_millis() as i64, lateness_ms: config.sessions.lateness.as_millis() as i64 },
            restore: Restore::connect(&config.kafka)?,
            schemas,
            producer: Some(producer),
            partitions: BTreeMap::new(),
            seen_generation: 0,
            member: None,
            config,
            sources,
            consumer,
            generation,
            id,
            directives,
            gates: Gates::default(),
            apart: false,
            blocked: BTreeMap::new(),
            in_force,
            ends,
        })
    }

    /// One turn: a batch. Errors: what [`Job::recover`] mends, or `Stop`.
    pub fn turn(&mut self) -> Result<(), Fault> {
        self.follow_assignment()?;
        if self.directives.follow(&mut self.in_force, Duration::ZERO)? {
            self.judge();
        }
        if self.may_go_on() {
            // Everything is read again, theirs too.
            self.generation.advance();
            return Ok(());
        }
        let begun = Instant::now();
        let mut outcomes: BTreeMap<(u16, &'static str), u64> = BTreeMap::new();
        let mut count = 0;
        while count < self.config.sessions.batch_events && begun.elapsed() < self.config.sessions.batch_wait {
            let Job { consumer, partitions, schemas, gates, sources, labels, .. } = self;
            let mut fault = None;
            let came = consumer.lend(WAIT, |lent| {
                if let Some(partition) = partitions.get_mut(&lent.place) {
                    let tenant = &sources[usize::from(lent.place.0)].tenant;
                    match schemas.events.prefix_of(lent.value.unwrap_or_default(), labels.of(tenant)) {
                        Ok(prefix) => *outcomes.entry((lent.place.0, take(partition, &lent, prefix, gates, tenant))).or_default() += 1,
                        Err(unknown) => fault = Some(unknown),
                    }
                }
            })?;
            if let Some(unknown) = fault {
                return Err(unknown);
            }
            if self.generation.current() != self.seen_generation {
                // What was read belongs to somebody else now, or is read again.
                return Ok(());
            }
            if !came && count > 0 {
                break;
            }
            count += usize::from(came);
        }
        for (place, next) in self.consumer.positions() {
            if let Some(partition) = self.partitions.get_mut(&place) {
                // Past the marks of transactions.
                partition.next = partition.next.max(next);
            }
        }
        let changed = self.commit()?;
        self.measure(&outcomes, changed);
        Ok(())
    }

    /// Commits what the batch changed: of all tenants at once, or of each apart. Returns how many records, by source.
    fn commit(&mut self) -> Result<BTreeMap<u16, u64>, Fault> {
        if !self.apart {
            return self.commit_of(None);
        }
        let mut changed = BTreeMap::new();
        for source in 0..self.sources.len() as u16 {
            match self.commit_of(Some(source)) {
                Err(Fault::Topic(cause)) => self.block(source, &cause)?,
                done => changed.extend(done?),
            }
        }
        self.apart = !self.blocked.is_empty();
        Ok(changed)
    }

    /// A tenant whose topic cannot be written stands still: what was read of it is read again later.
    fn block(&mut self, source: u16, cause: &str) -> Result<(), Fault> {
        let tenant = &self.sources[usize::from(source)].tenant;
        tracing::error!(%tenant, %cause, "a topic cannot be written: this tenant has no new sessions until it can");
        self.stand_still(source)
    }

    fn stand_still(&mut self, source: u16) -> Result<(), Fault> {
        let ours: Vec<Place> = self.partitions.keys().filter(|place| place.0 == source).copied().collect();
        self.consumer.pause(&ours)?;
        self.partitions.retain(|place, _| place.0 != source);
        self.blocked.insert(source, Instant::now());
        Ok(())
    }

    /// Whether a tenant that stands still is to be tried again: one whose schema was refused is not before the registry takes it.
    fn may_go_on(&mut self) -> bool {
        let due: Vec<u16> = self.blocked.iter().filter(|(_, since)| since.elapsed() > BLOCKED).map(|(source, _)| *source).collect();
        let mut any = false;
        for source in due {
            let at = usize::from(source);
            if self.schemas.ask_again(at, &self.sources[at], self.labels.of(&self.sources[at].tenant)) {
                any = true;
            } else {
                self.blocked.insert(source, Instant::now());
            }
        }
        any
    }

    fn commit_of(&mut self, only: Option<u16>) -> Result<BTreeMap<u16, u64>, Fault> {
        // The directives that this batch was judged by: also of partitions to which nothing came, for retain's barrier waits for all.
        let directives = self.in_force.next_offset;
        let (mut chunk, mut offsets, mut changed) = (OutputChunk::default(), Vec::new(), BTreeMap::new());
        let mut tombstones: Vec<(u16, i32, String)> = Vec::new();
        for (place, partition) in self.partitions.iter_mut().filter(|(place, _)| only.is_none_or(|only| only == place.0)) {
            let source = &self.sources[usize::from(place.0)];
            // Of a tenant without one no partition is here.
            let Ok(prefix) = &self.schemas.prefixes[usize::from(place.0)] else { continue };
            partition.sessions.drain(|subject, id, session| {
                *changed.entry(place.0).or_insert(0) += 1;
                match session {
                    Some(session) => push(&mut chunk, *place, prefix, &source.tenant, subject, session),
                    None => tombstones.push((place.0, place.1, Session::key(subject, id))),
                }
            });
            if partition.committed != Some(partition.next) || partition.saved_directives != directives {
                let metadata = format!("{} until={}", Mark { directives, epoch: 0 }.to_text(), partition.sessions.read_until_ms());
                offsets.push(NextOffset { topic: source.events.clone(), partition: place.1, offset: partition.next, metadata });
            }
        }
        if offsets.is_empty() && changed.is_empty() {
            return Ok(changed);
        }
        let producer = self.producer.as_mut().ok_or_else(|| Fault::Recreate("there is no producer".into()))?;
        let member = self.member.as_ref().ok_or_else(|| Fault::Abort("this process is in no group".into()))?;
        let transaction = producer.begin()?;
        let topic = |source: u16| &self.sources[usize::from(source)];
        for (source, partition, key) in &tombstones {
            transaction.tombstone(&topic(*source).sessions, *partition, key.as_bytes(), None)?;
        }
        transaction.produce(&chunk, |_| true, |r| (topic(r.topic.0).sessions.as_str(), topic(r.topic.0).partitions))?;
        transaction.commit_or_abort(&offsets, member)?;
        for (_, partition) in self.partitions.iter_mut().filter(|(place, _)| only.is_none_or(|only| only == place.0)) {
            (partition.committed, partition.saved_directives) = (Some(partition.next), directives);
        }
        Ok(changed)
    }

    /// After a rebalance: all partitions are read again from what is committed, with the sessions that stand in their topics.
    fn follow_assignment(&mut self) -> Result<(), Fault> {
        let generation = self.generation.current();
        if generation == self.seen_generation {
            return Ok(());
        }
        self.partitions.clear();
        self.member = self.consumer.membership();
        let places = self.consumer.assignment()?;
        let fresh = self.consumer.take_fresh();
        // A new partition may have given records in the very poll in which it came.
        let begun = self.consumer.positions();
        let kept: Vec<Place> = places.iter().filter(|p| !fresh.contains(*p) || begun.contains_key(*p)).copied().collect();
        if !kept.is_empty() {
            self.consumer.rewind(&kept)?;
        }
        if !std::mem::take(&mut self.blocked).is_empty() {
            self.consumer.resume(&places)?;
        }
        let committed = self.consumer.committed_texts(&places)?;
        for place in &places {
            let (next, text) = committed.get(place).map_or((0, ""), |(offset, text)| (*offset, text.as_str()));
            let until = text.split(' ').find_map(|w| w.strip_prefix("until=")?.parse().ok()).unwrap_or(i64::MIN);
            let mut sessions = Sessions::new(self.rules, until);
            let source = &self.sources[usize::from(place.0)];
            let framing = (&self.schemas.sessions, self.labels.of(&source.tenant));
            self.restore.read(&source.sessions, place.1, framing, &mut sessions)?;
            let committed = committed.contains_key(place).then_some(next);
            self.partitions
                .insert(*place, Partition { sessions, next, committed, saved_directives: Mark::read(text).map_or(-1, |m| m.directives) });
        }
        let sources: BTreeSet<u16> = places.iter().map(|place| place.0).collect();
        for source in sources {
            let at = usize::from(source);
            if !self.schemas.ask_again(at, &self.sources[at], self.labels.of(&self.sources[at].tenant)) {
                self.stand_still(source)?;
            }
        }
        // What was ordered before this is in force before the first record.
        self.directives.catch_up(&mut self.in_force)?;
        self.judge();
        self.seen_generation = generation;
        tracing::info!(
            partitions = places.len(),
            open = self.partitions.values().map(|p| p.sessions.open()).sum::<usize>(),
            "sessions taken over"
        );
        Ok(())
    }

    /// Rights came into force: what they do to open sessions goes with the next commit, which says that the directives were taken in.
    fn judge(&mut self) {
        self.gates = Gates::of(&self.in_force, self.config);
        for (place, partition) in &mut self.partitions {
            let tenant = &self.sources[usize::from(place.0)].tenant;
            if self.gates.concern(tenant) {
                partition.sessions.judge(|epoch, identifiers, start_ms| self.gates.fate(tenant, epoch, identifiers, start_ms));
            }
        }
    }

    /// After a failed turn: nothing of it was committed, or a new producer settles it; everything is read again from what is committed.
    pub fn recover(&mut self, fault: &Fault, stop: &AtomicBool) {
        tracing::warn!(cause = %fault, "a turn failed; it is taken up again from what is committed");
        self.apart |= matches!(fault, Fault::Topic(_));
        if !matches!(fault, Fault::Abort(_) | Fault::Topic(_)) {
            self.producer = None;
        }
        std::thread::sleep(FAULT_PAUSE);
        if self.producer.is_none() {
            let stopping = || stop.load(Ordering::SeqCst);
            self.producer = TransactionalProducer::rebuild(&self.config.kafka, &self.id, FAULT_PAUSE, stopping);
        }
        self.generation.advance();
    }

    fn measure(&self, outcomes: &BTreeMap<(u16, &'static str), u64>, changed: BTreeMap<u16, u64>) {
        let label = |source: u16| self.labels.of(&self.sources[usize::from(source)].tenant).to_owned();
        for ((source, outcome), n) in outcomes {
            metrics::counter!("lethe_sessions_events_total", "tenant" => label(*source), "outcome" => *outcome).increment(*n);
        }
        for (source, n) in changed {
            metrics::counter!("lethe_sessions_written_total", "tenant" => label(source)).increment(n);
        }
        let open: usize = self.partitions.values().map(|p| p.sessions.open()).sum();
        metrics::gauge!("lethe_sessions_open").set(open as f64);
    }

    /// Whether a tenant of this job was terminated.
    pub fn is_ending(&self) -> bool {
        let terminations = Terminations::build(&self.in_force);
        self.sources.iter().any(|source| terminations.concern(&source.tenant))
    }

    /// Whether what was there at the start is committed, by whomever. Errors: all that is not belongs to tenants whose schema is refused.
    pub fn is_caught_up(&self) -> Result<bool, Fault> {
        if self.seen_generation == 0 {
            return Ok(false);
        }
        let places: Vec<Place> = self.ends.iter().filter(|(_, end)| *end > 0).map(|(place, _)| *place).collect();
        let committed = self.consumer.committed_texts(&places)?;
        let reached = |(place, end): &&(Place, i64)| *end == 0 || committed.get(place).is_some_and(|(offset, _)| offset >= end);
        let behind: BTreeSet<u16> = self.ends.iter().filter(|end| !reached(end)).map(|(place, _)| place.0).collect();
        let refused =
            |source: &u16| Some((&self.sources[usize::from(*source)], self.schemas.prefixes[usize::from(*source)].as_ref().err()?));
        match behind.iter().map(refused).collect::<Option<Vec<_>>>() {
            Some(all) if !all.is_empty() => {
                let told = all.iter().map(|(source, fault)| format!("tenant {}: {}: {fault}", source.tenant, subject(&source.sessions)));
                Err(Fault::Stop(format!("events wait that nobody may process now: {}", told.collect::<Vec<_>>().join("; "))))
            }
            _ => Ok(behind.is_empty()),
        }
    }
}

/// Takes one record in. Returns the metric's label.
fn take(partition: &mut Partition, lent: &Lent<'_>, prefix: &[u8], gates: &Gates, tenant: &str) -> &'static str {
    partition.next = lent.offset + 1;
    partition.sessions.passed(lent.stored_at_ms);
    let Some(value) = lent.value else { return "null" };
    let Some(event) = record::read(prefix, value) else { return "unreadable" };
    let identifiers = || lent.header.and_then(Header::read).into_iter().flat_map(|h| h.identifiers());
    if let Some(why) = gates.shut(tenant, &event, identifiers()) {
        return why;
    }
    partition.sessions.take(&event, identifiers(), lent.stored_at_ms).as_str()
}

/// Adds a session's record, for the partition in which its events are.
fn push(chunk: &mut OutputChunk, place: Place, prefix: &[u8], tenant: &str, subject: &str, session: &Session) {
    let OutputChunk { arena, records } = chunk;
    let start = arena.len();
    arena.extend_from_slice(Session::key(subject, session.id).as_bytes());
    let key = Span::since(start, arena);
    let start = arena.len();
    session.write(prefix, tenant, subject, arena);
    let value = Span::since(start, arena);
    let start = arena.len();
    header::write_alone(session.epoch, session.start_ms, session.identifiers.iter().copied(), arena);
    let headers = Span::since(start, arena);
    records.push(OutputRecord { topic: TopicIndex(place.0), partition_hash: Some(place.1 as u32), key, value, headers });
}
