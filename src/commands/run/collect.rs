//! The first stage: reads raw records into batches, and keeps to what is assigned, paused and limited.

use super::pieces::{Collected, ROW_BYTES, piece_rows};
use super::schemas::Waits;
use super::{Job, mark};
use crate::faults::{self, Planted};
use crate::kafka::client::{self, Fault};
use crate::kafka::consumer::{Generation, Membership, Place, RawConsumer};
use crate::kafka::directives::Mark;
use crate::kafka::fetcher::{Fetcher, Most};
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
/// How often the group hears of this member.
const ATTEND_EVERY: Duration = Duration::from_millis(20);
/// How long the brokers may take to answer before they are asked again. A worker that is to stop waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How long a coordinator may take to learn of a right that a broker knows of already.
const ASK_RIGHTS_AGAIN: Duration = Duration::from_secs(5);
/// Pause before the brokers are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Directives that arrive within so long are taken in together: each time everything prepared is void, and work must go on between them.
const DIRECTIVES_EVERY: Duration = Duration::from_millis(300);

/// The collecting stage of one worker.
pub(super) struct Collector {
    job: Arc<Job>,
    consumer: Arc<RawConsumer>,
    fetcher: Fetcher,
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
    /// What is assigned besides, and may not be read.
    left_out: HashSet<Place>,
    /// What the fetcher was told not to read.
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
    last_attended: Option<Instant>,
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
        fetcher: Fetcher,
        generation: Arc<Generation>,
        to: Sender<Collected>,
        spent: Receiver<RawRecords>,
    ) -> Self {
        let piece_rows = piece_rows(job.rules.tenants.len());
        Collector {
            job,
            consumer,
            fetcher,
            generation,
            to,
            spent,
            seen: u64::MAX,
            seen_directives: 0,
            began: Instant::now(),
            mark: 0,
            member: None,
            owned: HashSet::new(),
            left_out: HashSet::new(),
            standing: HashSet::new(),
            sent: BTreeMap::new(),
            records: RawRecords::default(),
            piece_rows,
            next: BTreeMap::new(),
            ahead: (0, 0),
            first_at: None,
            last_attended: None,
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
        self.owned = self.consumer.assignment()?.into_iter().collect();
        self.member = self.consumer.membership().map(Arc::new);
        let (consumer, owned) = (Arc::clone(&self.consumer), self.owned.iter().copied().collect::<Vec<Place>>());
        let (mut committed, mut refused) = (HashMap::new(), HashSet::new());
        if !owned.is_empty() {
            again(&job, || {
                (committed, refused) = consumer.committed_and_refused(&owned)?;
                Ok(())
            })?;
        }
        if job.stopping() {
            return Ok(()); // before the brokers are asked for more
        }
        let again_from = |offset: i64| if faults::planted(Planted::ReadAgain) { (offset - 20).max(0) } else { offset };
        self.leave_out(refused)?;
        let begin = self.owned.iter().map(|place| (*place, committed.get(place).map(|(offset, _)| again_from(*offset))));
        self.fetcher.assign(&begin.collect());
        self.standing.clear();
        self.read_limits();
        self.held.retain(|place, _| self.owned.contains(place));
        self.stand_or_go();
        self.commit_positions(&committed)?;
        if self.seen > 0 {
            // The group has said what is ours, be it nothing.
            job.health.set_ready(true);
        }
        Ok(())
    }

    /// Leaves places alone of which this user may not know where they go on, until it may. Errors: the only tenant's.
    fn leave_out(&mut self, refused: HashSet<Place>) -> Result<(), Fault> {
        self.owned.retain(|place| !refused.contains(place));
        if let Some(place) = refused.iter().next() {
            self.refused(client::may_not_read(self.consumer.source(place.0)))?;
        }
        self.left_out = refused;
        Ok(())
    }

    /// Of one tenant among others only the others go on; a tenant alone must hear of it.
    fn refused(&self, text: String) -> Result<(), Fault> {
        if self.job.rules.tenants.len() == 1 {
            return Err(Fault::Topic(text));
        }
        tracing::error!(cause = %text, "a raw topic cannot be read; the other tenants go on");
        self.job.tenants.read_was_refused();
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
    fn stand_or_go(&mut self) {
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
        let resume: Vec<Place> = self.standing.difference(&wanted).copied().collect();
        self.fetcher.stand(&pause, true);
        self.fetcher.stand(&resume, false);
        self.standing = wanted;
    }

    /// Commits where every assigned partition stands, so that its mark says which directives were in force.
    fn commit_positions(&mut self, committed: &HashMap<Place, (i64, Option<Mark>)>) -> Result<(), Fault> {
        // Who may not read a topic may not commit an offset of it either: its refusal would void everybody's work, again and again.
        let may = |place: &&Place| !self.job.tenants.is_unreadable(self.job.rules.sources[usize::from(place.0)].tenant);
        let owned: Vec<Place> = self.owned.iter().filter(may).copied().collect();
        if owned.is_empty() {
            return Ok(());
        }
        let (job, consumer) = (Arc::clone(&self.job), Arc::clone(&self.consumer));
        let mut first = HashMap::new();
        again(&job, || {
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
            self.look_around();
        }
        let (batch_events, batch_bytes, batch_wait) = {
            let run = &self.job.config.run;
            (run.batch_events, run.batch_bytes, run.batch_wait)
        };
        if self.last_attended.is_none_or(|at| at.elapsed() >= ATTEND_EVERY) {
            self.last_attended = Some(Instant::now());
            match self.consumer.attend() {
                Err(Fault::Topic(text)) => self.refused(text)?,
                done => done?,
            }
        }
        if self.generation.current() != self.seen {
            return Ok(());
        }
        let wait = self.first_at.map_or(POLL, |first| batch_wait.saturating_sub(first.elapsed()).min(POLL));
        let (rows, bytes) = (self.records.rows.len(), self.records.bytes.len());
        // As many as fill the piece or the batch, and no more than the tenant may have who is allowed the fewest.
        let allowed = self.limits.values().filter(|limit| !limit.waits).map(|limit| limit.left as usize).min();
        let most = Most {
            rows: self
                .piece_rows
                .min(batch_events.saturating_sub(self.ahead.0))
                .saturating_sub(rows)
                .min(allowed.unwrap_or(usize::MAX))
                .max(1),
            bytes: (self.piece_rows * ROW_BYTES).min(batch_bytes.saturating_sub(self.ahead.1)).saturating_sub(bytes).max(1),
        };
        match self.fetcher.read(wait, most, clock::now_ms, &mut self.records, &mut self.next) {
            Ok(()) => {}
            Err(Fault::Retry(text)) => client::log_again("reading goes on", &text),
            Err(Fault::Topic(text)) => self.refused(text)?,
            Err(fault) => return Err(fault),
        }
        if self.generation.current() != self.seen {
            return Ok(());
        }
        if self.records.rows.len() > rows {
            self.first_at.get_or_insert_with(Instant::now);
            self.count_against_limits(rows);
        }
        let (rows, bytes) = (self.records.rows.len(), self.records.bytes.len());
        let full = self.ahead.0 + rows >= batch_events || self.ahead.1 + bytes >= batch_bytes;
        let ripe = self.first_at.is_some_and(|first| first.elapsed() >= batch_wait);
        if full || ripe || rows >= self.piece_rows || bytes >= self.piece_rows * ROW_BYTES {
            self.send_piece(full || ripe);
        }
        Ok(())
    }

    /// Counts the rows from `first` on.
    fn count_against_limits(&mut self, first: usize) {
        if self.limits.is_empty() {
            return;
        }
        let mut is_over = false;
        for row in self.records.rows.get(first..).unwrap_or_default() {
            let tenant = self.job.rules.sources[usize::from(row.source)].tenant;
            is_over |= self.limits.get_mut(&tenant).is_some_and(Limit::take);
        }
        if is_over {
            self.stand_or_go();
        }
    }

    /// Sends what was read. `is_last`: the batch ends with it, be it empty.
    fn send_piece(&mut self, is_last: bool) {
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
        self.hold_back(&mut records, &mut next);
        if self.job.rules.tenants.len() > 1 {
            group_by_tenant(&mut records, &self.job.rules);
        }
        self.sent.extend(next.iter().map(|(p, o)| (*p, *o)));
        if self.records.bytes.capacity() == 0 {
            self.records.bytes.reserve(records.bytes.len());
            self.records.rows.reserve(records.rows.len());
        }
        self.send(records, next, is_last);
    }

    /// Ends each partition's part of a batch before the first row whose schema is not known yet: it waits there.
    fn hold_back(&mut self, records: &mut RawRecords, next: &mut BTreeMap<Place, i64>) {
        if !self.held.is_empty() {
            // Nothing should come of what stands still. If it did, it must not be taken for the end of the wait.
            records.rows.retain(|r| !self.held.contains_key(&(r.source, r.partition)));
            next.retain(|place, _| !self.held.contains_key(place));
        }
        let waiting = self.job.schemas.waiting(records);
        if waiting.is_empty() {
            return;
        }
        records.rows.retain(|r| waiting.get(&(r.source, r.partition)).is_none_or(|(offset, _)| r.offset < *offset));
        for (place, (offset, waits)) in waiting {
            next.insert(place, offset);
            self.held.insert(place, waits);
        }
        self.stand_or_go();
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
    fn look_around(&mut self) {
        self.last_idle_look = Instant::now();
        let mut changed = self.job.tenants.unblock_due();
        let versions = self.job.schemas.version() + self.job.tenants.version();
        changed |= std::mem::replace(&mut self.seen_versions, versions) != versions;
        let may_now = |place: &Place| !self.job.tenants.is_unreadable(self.job.rules.sources[usize::from(place.0)].tenant);
        if self.began.elapsed() >= ASK_RIGHTS_AGAIN && self.left_out.iter().any(may_now) {
            self.generation.drain();
            return;
        }
        let worker = Arc::as_ptr(&self.consumer).addr();
        self.job.tenants.note_stuck(worker, self.fetcher.stuck());
        self.job.schemas.hold(worker, self.held.keys());
        let before = self.held.len();
        self.held.retain(|_, waits| !self.job.schemas.can_go(waits));
        if self.held.len() < before {
            // What was read beyond the row is read again, from what is committed.
            self.generation.drain();
            return;
        }
        for limit in self.limits.values_mut() {
            let waited = limit.waits;
            limit.fill(self.last_idle_look);
            changed |= waited != limit.waits;
        }
        if changed {
            self.stand_or_go();
        }
        let moved = self.fetcher.positions().iter().map(|(place, offset)| (*place, *offset));
        let has_moved =
            |(place, offset): &(Place, i64)| self.sent.get(place).is_none_or(|sent| sent < offset) && !self.standing.contains(place);
        let moved: BTreeMap<Place, i64> = moved.filter(has_moved).collect();
        if !moved.is_empty() {
            self.sent.extend(moved.iter().map(|(p, o)| (*p, *o)));
            self.next.clear();
            self.send(RawRecords::default(), moved, true);
        }
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
