//! The first stage: reads raw records into batches, and keeps to what is assigned, paused and limited.

use super::pieces::{Collected, ROW_BYTES, piece_rows};
use super::schemas::Waits;
use super::{Job, mark};
use crate::faults::{self, Planted};
use crate::kafka::client::{self, Fault};
use crate::kafka::consumer::{Generation, Membership, Place, Polled, RawConsumer};
use crate::model::record::RawRecords;
use crate::ops::clock;
use crate::transform::group_by_tenant;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a poll waits when nothing is collected.
const POLL: Duration = Duration::from_millis(50);
/// How often idle partitions are looked at.
const IDLE_LOOK: Duration = Duration::from_millis(500);
/// How often a stream of records is interrupted by a look at the clock. Units: records.
const CLOCK_EVERY: usize = 64;
/// How long the brokers may take to answer before they are asked again. A worker that is to stop waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before the brokers are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Directives that arrive within so long are taken in together: each time everything prepared is void, and work must go on between them.
const DIRECTIVES_EVERY: Duration = Duration::from_millis(300);

/// The collecting stage of one worker.
pub(super) struct Collector {
    job: Arc<Job>,
    consumer: Arc<RawConsumer>,
    generation: Arc<Generation>,
    to: Sender<Collected>,
    /// Records that were transformed, for their memory.
    spent: Receiver<RawRecords>,
    seen: u64,
    seen_directives: u64,
    began: Instant,
    /// Everything before this offset of the directives is in force in this generation: the mark of its batches.
    mark: i64,
    member: Option<Arc<Membership>>,
    owned: HashSet<Place>,
    /// What the client was told to pause. It remembers a pause beyond a revocation, so this does too.
    standing: HashSet<Place>,
    sent: BTreeMap<Place, i64>,
    /// Of the piece that is being read.
    records: RawRecords,
    piece_rows: usize,
    next: BTreeMap<Place, i64>,
    /// Of the batch's pieces that were sent. Units: rows, bytes.
    ahead: (usize, usize),
    /// When the batch's first row was read.
    first_at: Option<Instant>,
    /// Whether the last poll gave a record: then the clock is read only every [`CLOCK_EVERY`] records.
    flowing: bool,
    wait: Duration,
    last_idle_look: Instant,
    limits: HashMap<u16, Limit>,
    /// Partitions that stand still before a row whose schema is not known yet.
    held: HashMap<Place, Waits>,
    seen_versions: u64,
}

/// A tenant's rate limit at work: a bucket that fills with the time and is emptied by events.
struct Limit {
    /// Units: events per second.
    per_second: u32,
    filled: Instant,
    /// Units: events that may still pass; below zero, what was taken too early.
    left: f64,
    waits: bool,
}

impl Limit {
    fn new(per_second: u32, now: Instant) -> Self {
        Limit { per_second, filled: now, left: 0.0, waits: true }
    }

    /// Fills the bucket, up to what flows in between two looks or so: a tenant that was idle gets no burst.
    fn fill(&mut self, now: Instant) {
        let rate = f64::from(self.per_second);
        self.left = (self.left + rate * now.duration_since(self.filled).as_secs_f64()).min((rate * 2.0 * IDLE_LOOK.as_secs_f64()).max(1.0));
        self.filled = now;
        self.waits = self.left < 1.0;
    }

    /// Takes one event out. Returns whether it was the last for now.
    fn take(&mut self) -> bool {
        self.left -= 1.0;
        let last = self.left < 1.0 && !self.waits;
        self.waits |= last;
        last
    }
}

impl Collector {
    pub(super) fn new(
        job: Arc<Job>,
        consumer: Arc<RawConsumer>,
        generation: Arc<Generation>,
        to: Sender<Collected>,
        spent: Receiver<RawRecords>,
    ) -> Self {
        let piece_rows = piece_rows(job.rules.tenants.len());
        Collector {
            job,
            consumer,
            generation,
            to,
            spent,
            seen: u64::MAX,
            seen_directives: 0,
            began: Instant::now(),
            mark: 0,
            member: None,
            owned: HashSet::new(),
            standing: HashSet::new(),
            sent: BTreeMap::new(),
            records: RawRecords::default(),
            piece_rows,
            next: BTreeMap::new(),
            ahead: (0, 0),
            first_at: None,
            flowing: false,
            wait: POLL,
            last_idle_look: Instant::now(),
            limits: HashMap::new(),
            held: HashMap::new(),
            seen_versions: 0,
        }
    }

    pub(super) fn run(mut self) -> Result<(), Fault> {
        while !self.job.stopping() {
            if self.job.follower.version() != self.seen_directives && self.began.elapsed() >= DIRECTIVES_EVERY {
                // What was prepared was decided without the new directive.
                self.generation.drain();
            }
            if self.generation.current() != self.seen {
                self.start_generation()?;
            }
            self.collect()?;
        }
        Ok(())
    }

    /// A rebalance, an abort or a directive: everything not committed is read again under what is in force now.
    fn start_generation(&mut self) -> Result<(), Fault> {
        self.seen = self.generation.current();
        let read_along: HashSet<Place> = self.next.keys().copied().collect();
        self.records.clear();
        self.next.clear();
        self.sent.clear();
        self.ahead = (0, 0);
        self.first_at = None;
        let job = Arc::clone(&self.job);
        again(&job, || job.follower.catch_up(&job.rules))?;
        // In this order: each may be older than what is then in force, which only means to look again, never to claim too much.
        self.seen_directives = job.follower.version();
        self.mark = job.follower.next_offset();
        self.began = Instant::now();
        let fresh = self.consumer.take_fresh();
        self.owned = self.consumer.assignment()?.into_iter().collect();
        self.member = self.consumer.membership().map(Arc::new);
        // Fresh partitions stand at what is committed, unless something was read of them along with the assignment.
        let back: Vec<Place> = self.owned.iter().filter(|p| !fresh.contains(p) || read_along.contains(p)).copied().collect();
        if !back.is_empty() {
            let consumer = Arc::clone(&self.consumer);
            again(&job, || consumer.rewind(&back))?;
        }
        if job.stopping() {
            return Ok(()); // before the brokers are asked for more
        }
        if faults::planted(Planted::ReadAgain) {
            let places: Vec<Place> = fresh.iter().copied().collect();
            self.consumer
                .seek(self.consumer.committed(&places)?.into_iter().map(|(place, (offset, _))| (place, Some((offset - 20).max(0)))))?;
        }
        self.read_limits();
        self.held.retain(|place, _| self.owned.contains(place));
        self.stand_or_go()?;
        self.commit_positions()?;
        if self.seen > 0 {
            // The group has said what is ours, be it nothing.
            job.health.set_ready(true);
        }
        Ok(())
    }

    fn read_limits(&mut self) {
        let job = Arc::clone(&self.job);
        let mut before = std::mem::take(&mut self.limits);
        job.follower.in_force(|in_force| {
            for (i, tenant) in job.rules.tenants.iter().enumerate() {
                if let Some(per_second) = in_force.rate_limit(tenant.id.as_str()) {
                    // A limit that stays keeps its count: rebalances and aborts give nothing away.
                    let kept = before.remove(&(i as u16)).filter(|l| l.per_second == per_second);
                    self.limits.insert(i as u16, kept.unwrap_or_else(|| Limit::new(per_second, Instant::now())));
                }
            }
        });
    }

    /// Pauses and resumes partitions until what stands is what should stand.
    fn stand_or_go(&mut self) -> Result<(), Fault> {
        let job = &self.job;
        let stands = |source: u16| {
            let tenant = job.rules.sources[usize::from(source)].tenant;
            let id = job.rules.tenants[usize::from(tenant)].id.as_str();
            let forgotten = tenant == 1 && faults::planted(Planted::ForgetTenant);
            let paused = job.follower.in_force(|f| f.is_paused(id)) && !forgotten;
            let blocked = job.tenants.is_blocked(tenant);
            let withheld = job.schemas.withholds(&job.rules, tenant);
            for (cause, on) in [("directive", paused), ("topic", blocked), ("schema", withheld)] {
                metrics::gauge!("lethe_tenant_paused", "tenant" => job.labels.of(id).to_owned(), "cause" => cause)
                    .set(f64::from(u8::from(on)));
            }
            paused || blocked || withheld || self.limits.get(&tenant).is_some_and(|l| l.waits)
        };
        let wanted: HashSet<Place> = self.owned.iter().filter(|place| stands(place.0) || self.held.contains_key(place)).copied().collect();
        let pause: Vec<Place> = wanted.difference(&self.standing).copied().collect();
        let resume: Vec<Place> = self.standing.difference(&wanted).filter(|p| self.owned.contains(p)).copied().collect();
        if !pause.is_empty() {
            self.consumer.pause(&pause)?;
            self.standing.extend(pause);
        }
        if !resume.is_empty() {
            self.consumer.resume(&resume)?;
            resume.iter().for_each(|place| {
                self.standing.remove(place);
            });
        }
        Ok(())
    }

    /// Commits where every assigned partition stands, so that its mark says which directives were in force.
    fn commit_positions(&mut self) -> Result<(), Fault> {
        // Who may not read a topic may not commit an offset of it either: its refusal would void everybody's work, again and again.
        let may = |place: &&Place| !self.job.tenants.is_unreadable(self.job.rules.sources[usize::from(place.0)].tenant);
        let owned: Vec<Place> = self.owned.iter().filter(may).copied().collect();
        if owned.is_empty() {
            return Ok(());
        }
        let (job, consumer) = (Arc::clone(&self.job), Arc::clone(&self.consumer));
        let (mut committed, mut first) = (HashMap::new(), HashMap::new());
        again(&job, || {
            committed = consumer.committed(&owned)?;
            for place in owned.iter().filter(|p| !committed.contains_key(p)) {
                first.insert(*place, consumer.watermarks(*place)?.0);
            }
            Ok(())
        })?;
        if job.stopping() {
            return Ok(());
        }
        let mut next = BTreeMap::new();
        for place in owned {
            let newest =
                job.rules.tenants[usize::from(job.rules.sources[usize::from(place.0)].tenant)].keys.last().map_or(0, |k| k.epoch.0);
            let offset = match committed.get(&place) {
                Some((_, Some(mark))) if mark.epoch > newest => {
                    let topic = consumer.source(place.0);
                    return Err(Fault::Stop(format!(
                        "the keyring lacks epoch {} that was in use for {topic}: was it rolled back?",
                        mark.epoch
                    )));
                }
                Some((offset, _)) => *offset,
                None => first.get(&place).copied().unwrap_or_default(),
            };
            next.insert(place, offset);
        }
        self.sent = next.clone();
        self.send(RawRecords::default(), next, true);
        Ok(())
    }

    fn collect(&mut self) -> Result<(), Fault> {
        if self.first_at.is_none() && self.last_idle_look.elapsed() >= IDLE_LOOK {
            self.look_around()?;
        }
        let (batch_events, batch_bytes, batch_wait) = {
            let run = &self.job.config.run;
            (run.batch_events, run.batch_bytes, run.batch_wait)
        };
        if self.is_time_to_look() {
            self.wait = self.first_at.map_or(POLL, |first| batch_wait.saturating_sub(first.elapsed()).min(POLL));
        }
        let polled = match self.consumer.poll(self.wait, clock::now_ms, &mut self.records, &mut self.next) {
            Ok(polled) => polled,
            Err(Fault::Retry(text)) => {
                client::log_again("reading goes on", &text);
                Polled::Nothing
            }
            // Of one tenant among others only the others go on; a tenant alone must hear of it.
            Err(Fault::Topic(text)) if self.job.rules.tenants.len() > 1 => {
                tracing::error!(cause = %text, "a raw topic cannot be read; the other tenants go on");
                self.job.tenants.read_was_refused();
                Polled::Nothing
            }
            Err(fault) => return Err(fault),
        };
        if self.generation.current() != self.seen {
            return Ok(());
        }
        self.flowing = matches!(polled, Polled::Record);
        if self.flowing {
            self.first_at.get_or_insert_with(Instant::now);
            self.count_against_limit()?;
        }
        let (rows, bytes) = (self.records.rows.len(), self.records.bytes.len());
        let full = self.ahead.0 + rows >= batch_events || self.ahead.1 + bytes >= batch_bytes;
        let ripe = self.is_time_to_look() && self.first_at.is_some_and(|first| first.elapsed() >= batch_wait);
        if full || ripe || rows >= self.piece_rows || bytes >= self.piece_rows * ROW_BYTES {
            self.send_piece(full || ripe)?;
        }
        Ok(())
    }

    fn is_time_to_look(&self) -> bool {
        !self.flowing || self.records.rows.len().is_multiple_of(CLOCK_EVERY)
    }

    fn count_against_limit(&mut self) -> Result<(), Fault> {
        let Some(row) = self.records.rows.last().filter(|_| !self.limits.is_empty()) else { return Ok(()) };
        let tenant = self.job.rules.sources[usize::from(row.source)].tenant;
        if self.limits.get_mut(&tenant).is_some_and(Limit::take) {
            self.stand_or_go()?;
        }
        Ok(())
    }

    /// Sends what was read. `is_last`: the batch ends with it, be it empty.
    fn send_piece(&mut self, is_last: bool) -> Result<(), Fault> {
        let mut next_records = self.spent.try_recv().unwrap_or_default();
        next_records.clear();
        let mut records = std::mem::replace(&mut self.records, next_records);
        let mut next = std::mem::take(&mut self.next);
        if is_last {
            self.ahead = (0, 0);
            self.first_at = None;
        } else {
            self.ahead = (self.ahead.0 + records.rows.len(), self.ahead.1 + records.bytes.len());
        }
        self.hold_back(&mut records, &mut next)?;
        if self.job.rules.tenants.len() > 1 {
            group_by_tenant(&mut records, &self.job.rules);
        }
        self.sent.extend(next.iter().map(|(p, o)| (*p, *o)));
        if self.records.bytes.capacity() == 0 {
            self.records.bytes.reserve(records.bytes.len());
            self.records.rows.reserve(records.rows.len());
        }
        self.send(records, next, is_last);
        Ok(())
    }

    /// Ends each partition's part of a batch before the first row whose schema is not known yet: it waits there.
    fn hold_back(&mut self, records: &mut RawRecords, next: &mut BTreeMap<Place, i64>) -> Result<(), Fault> {
        if !self.held.is_empty() {
            // Nothing should come of what stands still. If it did, it must not be taken for the end of the wait.
            records.rows.retain(|r| !self.held.contains_key(&(r.source, r.partition)));
            next.retain(|place, _| !self.held.contains_key(place));
        }
        let waiting = self.job.schemas.waiting(records);
        if waiting.is_empty() {
            return Ok(());
        }
        records.rows.retain(|r| waiting.get(&(r.source, r.partition)).is_none_or(|(offset, _)| r.offset < *offset));
        for (place, (offset, waits)) in waiting {
            next.insert(place, offset);
            self.held.insert(place, waits);
        }
        self.stand_or_go()
    }

    fn send(&self, records: RawRecords, next: BTreeMap<Place, i64>, is_last: bool) {
        let mut batch = Collected { generation: self.seen, is_last, records, next, directives: self.mark, member: self.member.clone() };
        // A full queue must not keep this thread from noticing that the batch is void, or that the job ends.
        while self.generation.current() == self.seen && !self.job.stopping() {
            match self.to.send_timeout(batch, Duration::from_millis(100)) {
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
                Err(SendTimeoutError::Timeout(back)) => batch = back,
            }
        }
    }

    /// Between two batches: limits and standing tenants are looked at again, and positions past markers and roll records are committed.
    fn look_around(&mut self) -> Result<(), Fault> {
        self.last_idle_look = Instant::now();
        let mut changed = self.job.tenants.unblock_due();
        let versions = self.job.schemas.version() + self.job.tenants.version();
        changed |= std::mem::replace(&mut self.seen_versions, versions) != versions;
        self.job.schemas.hold(Arc::as_ptr(&self.consumer).addr(), self.held.keys());
        let before = self.held.len();
        self.held.retain(|_, waits| !self.job.schemas.can_go(waits));
        if self.held.len() < before {
            // What was read beyond the row is read again, from what is committed.
            self.generation.drain();
            return Ok(());
        }
        for limit in self.limits.values_mut() {
            let waited = limit.waits;
            limit.fill(self.last_idle_look);
            changed |= waited != limit.waits;
        }
        if changed {
            self.stand_or_go()?;
        }
        let moved: BTreeMap<Place, i64> = self
            .consumer
            .positions()
            .into_iter()
            .filter(|(place, offset)| self.owned.contains(place) && self.sent.get(place).is_none_or(|sent| sent < offset))
            .collect();
        let moved: BTreeMap<Place, i64> = moved.into_iter().filter(|(place, _)| !self.standing.contains(place)).collect();
        if !moved.is_empty() {
            self.sent.extend(moved.iter().map(|(p, o)| (*p, *o)));
            self.next.clear();
            self.send(RawRecords::default(), moved, true);
        }
        Ok(())
    }
}

/// Asks the brokers again while the answer is to ask again: brokers that are away come back, and the job goes on by itself.
fn again(job: &Job, mut ask: impl FnMut() -> Result<(), Fault>) -> Result<(), Fault> {
    loop {
        match ask() {
            Err(Fault::Retry(text)) if !job.stopping() => {
                client::log_again("asking again", &text);
                std::thread::sleep(ASK_AGAIN);
            }
            Err(_) if job.stopping() => return Ok(()),
            done => return done,
        }
    }
}

/// The offsets of a batch, each with its mark.
pub(super) fn next_offsets(
    job: &Job,
    consumer: &RawConsumer,
    next: &BTreeMap<Place, i64>,
    directives: i64,
    tenant: Option<u16>,
) -> Vec<crate::kafka::transaction::NextOffset> {
    next.iter()
        .filter(|((source, _), _)| tenant.is_none_or(|t| job.rules.sources[usize::from(*source)].tenant == t))
        .map(|((source, partition), offset)| crate::kafka::transaction::NextOffset {
            topic: consumer.source(*source).to_owned(),
            partition: *partition,
            offset: *offset,
            metadata: mark(job, *source, directives),
        })
        .collect()
}
