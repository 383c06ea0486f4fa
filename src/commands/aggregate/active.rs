//! The process that counts: takes over from what is committed, reads, and publishes what is due.

use crate::commands::framing::Framing;
use crate::commands::terminated;
use crate::config::{Config, TenantConfig};
use crate::derive::aggregate::{Aggregate, Event, Held, Lateness, Outcome, Rules, Until};
use crate::derive::benchmark::Benchmarks;
use crate::derive::cell::{Cell, Window};
use crate::derive::record;
use crate::derive::subjects::{Subject, hash};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, Lent, Membership, Place, RawConsumer};
use crate::kafka::peek::Peek;
use crate::kafka::readback::ReadBack;
use crate::kafka::topics::Admin;
use crate::kafka::transaction::{NextOffset, TransactionalProducer};
use crate::model::category::Category;
use crate::model::partition::murmur2_positive;
use crate::model::record::{OutputChunk, OutputRecord, TopicIndex};
use crate::model::span::Span;
use crate::model::time::SECOND_MS;
use crate::ops::clock;
use crate::ops::metrics::TenantLabels;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one turn reads, at most.
const TURN: Duration = Duration::from_millis(200);
/// How often partitions at rest are looked at, and windows closed. Units: ms.
const LOOK_EVERY_MS: i64 = SECOND_MS;
/// How often topics are looked at: new ones, and new partitions.
const TOPICS_EVERY: Duration = Duration::from_secs(60);
/// How far the brokers' clocks may be behind ours. Only partitions at rest are judged by a clock at all. Units: ms.
const CLOCK_MARGIN_MS: i64 = 10 * SECOND_MS;

/// One tenant.
struct Tenant<'c> {
    config: &'c TenantConfig,
    events: String,
    partitions: u32,
    aggregates: (String, u32),
    counts: Aggregate,
    committed: Until,
    lateness: Lateness,
    outcomes: BTreeMap<&'static str, u64>,
}

/// A partition between two looks.
#[derive(Clone, Copy, Default)]
struct Position {
    next: i64,
    /// `next` at the last look.
    looked: Option<i64>,
    /// Nothing was at or behind `next` when it was last looked at.
    at_end: bool,
}

/// The process that counts.
pub(super) struct Active<'c> {
    config: &'c Config,
    admin: Admin,
    topics: HashMap<String, u32>,
    topics_seen: Instant,
    /// In the order of the consumer's sources.
    tenants: Vec<Tenant<'c>>,
    labels: TenantLabels,
    member: Membership,
    producer: TransactionalProducer,
    consumer: RawConsumer,
    readback: ReadBack,
    positions: BTreeMap<Place, Position>,
    benchmarks: Benchmarks,
    /// Kept by whoever takes over again: what it knows of the registry's ids is true for ever.
    framing: Arc<Framing>,
    looked_at_ms: i64,
    caught_up: bool,
}

/// What a commit's metadata says: what is published, by which lateness it was judged, and what it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    until: Until,
    benchmarks_ms: i64,
    lateness: Option<Lateness>,
    held: Option<Held>,
}

impl Mark {
    fn to_text(self) -> String {
        let Mark { until, benchmarks_ms, lateness, held } = self;
        let mut text = format!("lethe1 hours={} days={} benchmarks={benchmarks_ms}", until.hours_ms, until.days_ms);
        if let Some(lateness) = lateness {
            text.push_str(&format!(" lateness={}", lateness.to_text()));
        }
        if let Some(held) = held {
            text.push_str(&format!(" read={} records={}", held.read, held.records));
        }
        text
    }

    /// Reads the text; what is not there is not published.
    fn read(text: &str) -> Mark {
        let word = |name: &str| text.split(' ').find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| word(name).and_then(|n| n.parse::<i64>().ok());
        let held = number("read").zip(word("records").and_then(|n| n.parse().ok()));
        Mark {
            until: Until { hours_ms: number("hours").unwrap_or(i64::MIN), days_ms: number("days").unwrap_or(i64::MIN) },
            benchmarks_ms: number("benchmarks").unwrap_or(i64::MIN),
            lateness: word("lateness").and_then(Lateness::read),
            held: held.map(|(read, records)| Held { read, records }),
        }
    }

    /// What all partitions of a tenant together say.
    fn newest(self, other: Mark) -> Mark {
        let lateness = if self.lateness.is_none() || other.until.hours_ms > self.until.hours_ms { other.lateness } else { self.lateness };
        let until = Until { hours_ms: self.until.hours_ms.max(other.until.hours_ms), days_ms: self.until.days_ms.max(other.until.days_ms) };
        Mark { until, benchmarks_ms: self.benchmarks_ms.max(other.benchmarks_ms), lateness, held: None }
    }
}

impl<'c> Active<'c> {
    /// Takes over: ends what the one before left open, and goes on from what it committed.
    pub fn take_over(config: &'c Config, member: Membership, framing: Arc<Framing>) -> Result<Self, Fault> {
        // One id for whoever is active: the transaction of the one before is ended, one way or the other, before anything is read.
        let producer = TransactionalProducer::connect(&config.kafka, &config.aggregate.group)?;
        let admin = Admin::connect(&config.kafka)?;
        let topics = admin.partitions()?;
        // A terminated tenant is no news: its topics go, and with them what would be counted.
        let ended = terminated::terminations(config, &topics).map_err(|failure| Fault::Retry(failure.to_string()))?;
        let chosen: Vec<&TenantConfig> = config.tenant.iter().filter(|t| !ended.concern(t.id.as_str()) && is_there(t, &topics)).collect();
        let names: Vec<String> = chosen.iter().map(|t| t.topic(Category::Events.as_str())).collect();
        let consumer = RawConsumer::observe(&config.kafka, &config.aggregate.group, &names, Arc::new(Generation::default()))?;
        let count = |name: &String| topics.get(name).copied().unwrap_or(0);
        let places: Vec<Place> = names.iter().enumerate().flat_map(|(i, n)| (0..count(n)).map(move |p| (i as u16, p as i32))).collect();
        let committed = consumer.committed_texts(&places)?;
        let mark = |place: &Place| committed.get(place).map(|(_, text)| Mark::read(text));
        let mut benchmarks_ms = i64::MIN;
        let mut tenants = Vec::new();
        for (i, tenant) in chosen.into_iter().enumerate() {
            let ours: Vec<Place> = places.iter().filter(|p| usize::from(p.0) == i).copied().collect();
            let nothing = Mark { benchmarks_ms, ..Mark::read("") };
            let newest = ours.iter().filter_map(mark).fold(nothing, Mark::newest);
            benchmarks_ms = newest.benchmarks_ms;
            let from = |p: &Place| committed.get(p).map_or((0, None), |(offset, text)| (*offset, Mark::read(text).held));
            let next: Vec<(i64, Option<Held>)> = ours.iter().map(from).collect();
            let lateness_ms = config.aggregate.lateness.as_millis() as i64;
            let lateness = newest.lateness.unwrap_or(Lateness::of_all(lateness_ms)).changed(lateness_ms, newest.until.hours_ms);
            let rules = Rules { k: config.aggregate.k, lateness, groups_max: config.aggregate.groups };
            let aggregates = tenant.topic("aggregates");
            tenants.push(Tenant {
                config: tenant,
                events: names[i].clone(),
                partitions: count(&names[i]),
                aggregates: (aggregates.clone(), count(&aggregates)),
                counts: Aggregate::new(rules, newest.until, &next),
                committed: newest.until,
                lateness,
                outcomes: BTreeMap::new(),
            });
        }
        let from: Vec<(Place, Option<i64>)> = places.iter().map(|p| (*p, committed.get(p).map(|(offset, _)| *offset))).collect();
        let mut active = Active {
            labels: TenantLabels::new(config.tenant.iter().map(|t| t.id.as_str())),
            framing,
            readback: ReadBack::connect(&config.kafka)?,
            positions: from.iter().map(|(p, next)| (*p, Position { next: next.unwrap_or(0), ..Position::default() })).collect(),
            benchmarks: Benchmarks::new(benchmarks_ms),
            topics_seen: Instant::now(),
            looked_at_ms: 0,
            caught_up: false,
            config,
            admin,
            topics,
            tenants,
            member,
            producer,
            consumer,
        };
        active.restore()?;
        active.consumer.assign(&from)?;
        tracing::info!(tenants = active.tenants.len(), partitions = from.len(), "counting began");
        Ok(active)
    }

    /// Takes back in what is published of open days, and of days whose benchmarks are not.
    fn restore(&mut self) -> Result<(), Fault> {
        let peek = Peek::connect(&self.config.kafka)?;
        for tenant in &mut self.tenants {
            let (topic, partitions) = &tenant.aggregates;
            // A window is published after it began.
            let days_ms = tenant.committed.days_ms;
            let since_ms = if tenant.config.benchmarks { days_ms.min(self.benchmarks.until_ms()) } else { days_ms };
            let from = peek.since(topic, *partitions, since_ms)?;
            peek.read(&from, |standing| {
                let Some(cell) = Cell::read(standing.value) else { return };
                tenant.counts.restore(&cell);
                if tenant.config.benchmarks {
                    self.benchmarks.take(&cell);
                }
            })?;
        }
        Ok(())
    }

    /// Reads for a while.
    pub fn read(&mut self) -> Result<(), Fault> {
        let begun = Instant::now();
        let Active { consumer, tenants, positions, framing, labels, .. } = self;
        while begun.elapsed() < TURN {
            let mut fault = None;
            let came = consumer.lend(Duration::from_millis(20), |lent| {
                if let (Some(tenant), Some(position)) = (tenants.get_mut(usize::from(lent.place.0)), positions.get_mut(&lent.place)) {
                    position.next = lent.offset + 1;
                    match framing.prefix_of(lent.value.unwrap_or_default(), labels.of(tenant.config.id.as_str())) {
                        Ok(prefix) => {
                            let outcome = take(tenant, &lent, prefix);
                            *tenant.outcomes.entry(outcome).or_default() += 1;
                        }
                        Err(unknown) => fault = Some(unknown),
                    }
                }
            })?;
            if let Some(unknown) = fault {
                return Err(unknown);
            }
            if !came {
                break;
            }
        }
        for tenant in tenants {
            let label = self.labels.of(tenant.config.id.as_str());
            for (outcome, n) in std::mem::take(&mut tenant.outcomes) {
                metrics::counter!("lethe_aggregate_events_total", "tenant" => label.to_owned(), "outcome" => outcome).increment(n);
            }
        }
        Ok(())
    }

    /// Closes what is due, and publishes it in one transaction with the offsets that are needed from then on.
    pub fn publish(&mut self) -> Result<(), Fault> {
        let now_ms = clock::now_ms();
        if now_ms - self.looked_at_ms < LOOK_EVERY_MS {
            return Ok(());
        }
        self.looked_at_ms = now_ms;
        self.look(now_ms)?;
        self.settle_doubts()?;
        let mut chunk = OutputChunk::default();
        let mut cells_of: Vec<(usize, u64)> = Vec::new();
        let mut moved = Vec::new();
        for (i, tenant) in self.tenants.iter_mut().enumerate() {
            let mut cells = tenant.counts.close();
            for cell in &mut cells {
                cell.tenant = Some(tenant.config.id.to_string());
                if tenant.config.benchmarks {
                    self.benchmarks.take(cell);
                }
                push(&mut chunk, i, cell);
            }
            cells_of.push((i, cells.len() as u64));
            if tenant.counts.until() != tenant.committed {
                moved.push(i);
            }
        }
        let together = self.tenants.iter().filter(|t| t.config.benchmarks).map(|t| t.counts.until().days_ms).min();
        let benchmarks = together.map_or_else(Vec::new, |until_ms| self.benchmarks.close(until_ms));
        benchmarks.iter().for_each(|cell| push(&mut chunk, self.tenants.len(), cell));
        if !moved.is_empty() {
            self.commit(&chunk, &moved)?;
        }
        self.caught_up = self.positions.values().all(|p| p.at_end);
        self.measure(&cells_of, benchmarks.len() as u64, now_ms);
        Ok(())
    }

    fn commit(&mut self, chunk: &OutputChunk, moved: &[usize]) -> Result<(), Fault> {
        let mut offsets = Vec::new();
        for i in moved {
            let tenant = &mut self.tenants[*i];
            let mark = Mark {
                until: tenant.counts.until(),
                benchmarks_ms: self.benchmarks.until_ms(),
                lateness: Some(tenant.lateness),
                held: None,
            };
            tenant.committed = mark.until;
            offsets.extend((0..tenant.partitions as usize).map(|p| {
                let (offset, held) = tenant.counts.needed(p);
                let metadata = Mark { held: Some(held), ..mark }.to_text();
                NextOffset { topic: tenant.events.clone(), partition: p as i32, offset, metadata }
            }));
        }
        let benchmarks = (self.config.topics.benchmarks.as_str(), self.topics.get(&self.config.topics.benchmarks).copied().unwrap_or(1));
        let topics: Vec<(&str, u32)> = self.tenants.iter().map(|t| (t.aggregates.0.as_str(), t.aggregates.1)).chain([benchmarks]).collect();
        let transaction = self.producer.begin()?;
        transaction.produce(chunk, |_| true, |r| topics[usize::from(r.topic.0)])?;
        transaction.commit_or_abort(&offsets, &self.member)
    }

    /// Looks at partitions that nothing came from, where a window may wait for them: what is not there by now was not stored before.
    fn look(&mut self, now_ms: i64) -> Result<(), Fault> {
        let read_until_ms = now_ms - CLOCK_MARGIN_MS;
        for (place, next) in self.consumer.positions() {
            if let Some(position) = self.positions.get_mut(&place) {
                // Past the marks of transactions.
                position.next = position.next.max(next);
            }
        }
        for (i, tenant) in self.tenants.iter_mut().enumerate() {
            let range = (i as u16, 0)..(i as u16 + 1, 0);
            let mut at_rest = Vec::new();
            for (place, position) in self.positions.range_mut(range.clone()) {
                let due = |at_ms: i64| tenant.counts.due_ms(Window::Hour, at_ms);
                let waited_for = due(tenant.counts.read_until_ms(place.1 as usize)) < due(read_until_ms);
                let rests = position.looked.replace(position.next) == Some(position.next);
                position.at_end &= rests;
                if rests && (waited_for || !position.at_end) {
                    at_rest.push((place.1, position.next));
                }
            }
            if at_rest.is_empty() {
                continue;
            }
            let left = self.readback.first_at(&tenant.events, &at_rest)?;
            for (partition, next) in at_rest {
                let at_end = !left.contains_key(&partition);
                if at_end {
                    tenant.counts.nothing_before(partition as usize, next, read_until_ms);
                }
                if let Some(position) = self.positions.get_mut(&(i as u16, partition)) {
                    position.at_end = at_end;
                }
            }
        }
        Ok(())
    }

    /// Where records are gone that published counts stand on, asks where their partitions end: late events before that are counted no more.
    fn settle_doubts(&mut self) -> Result<(), Fault> {
        for place in self.positions.keys() {
            let Some(tenant) = self.tenants.get_mut(usize::from(place.0)) else { continue };
            let partition = place.1 as usize;
            if tenant.counts.doubts(partition) {
                let (_, end) = self.consumer.watermarks(*place)?;
                tenant.counts.doubt_until(partition, end);
                tracing::warn!(
                    topic = %tenant.events,
                    partition,
                    "records of an open day are gone since its first hours were published: events late for their hour, up to now, are not counted"
                );
            }
        }
        Ok(())
    }

    fn measure(&self, cells_of: &[(usize, u64)], benchmarks: u64, now_ms: i64) {
        for (i, cells) in cells_of {
            let tenant = &self.tenants[*i];
            let label = self.labels.of(tenant.config.id.as_str()).to_owned();
            metrics::counter!("lethe_aggregate_cells_total", "tenant" => label.clone()).increment(*cells);
            metrics::gauge!("lethe_aggregate_open_days", "tenant" => label.clone()).set(tenant.counts.open_days() as f64);
            let behind_ms = now_ms - tenant.committed.hours_ms.max(0);
            metrics::gauge!("lethe_aggregate_behind_seconds", "tenant" => label).set(behind_ms as f64 / SECOND_MS as f64);
        }
        if benchmarks > 0 {
            metrics::counter!("lethe_aggregate_cells_total", "tenant" => "-").increment(benchmarks);
        }
    }

    /// Whether topics have come, gone or grown since: then everything begins anew.
    pub fn is_outdated(&mut self) -> Result<bool, Fault> {
        if self.topics_seen.elapsed() < TOPICS_EVERY {
            return Ok(false);
        }
        self.topics_seen = Instant::now();
        let now = self.admin.partitions()?;
        let names = |t: &TenantConfig| [t.topic(Category::Events.as_str()), t.topic("aggregates")];
        let changed = self.config.tenant.iter().flat_map(names).any(|name| now.get(&name) != self.topics.get(&name));
        if changed {
            tracing::info!("topics have changed: counting begins anew from what is committed");
        }
        Ok(changed)
    }

    /// Whether everything that is there has been read, and everything that is due is published.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up
    }
}

/// Whether a tenant's topics are there; says so if it has events and they are not.
fn is_there(tenant: &TenantConfig, topics: &HashMap<String, u32>) -> bool {
    if !tenant.categories().contains(&Category::Events) {
        return false;
    }
    let missing = [tenant.topic(Category::Events.as_str()), tenant.topic("aggregates")].into_iter().find(|name| !topics.contains_key(name));
    if let Some(topic) = &missing {
        tracing::error!(tenant = %tenant.id, %topic, "a topic is missing: this tenant is not counted until it is there");
    }
    missing.is_none()
}

/// Counts one record. Returns the metric's label.
fn take(tenant: &mut Tenant<'_>, lent: &Lent<'_>, prefix: &[u8]) -> &'static str {
    let partition = lent.place.1 as usize;
    let outcome = match lent.value {
        None => "null",
        Some(value) => match record::read(prefix, value) {
            None => "unreadable",
            Some(e) => {
                let event = Event {
                    occurred_at_ms: e.occurred_at_ms,
                    key: hash(lent.key),
                    group: [e.event_name, e.country, e.device_class, e.campaign[0]],
                    subject: (!e.is_anonymous()).then(|| Subject::new(e.epoch, hash(e.subject.as_bytes()))),
                    value: e.value.map(|amount| (e.currency, amount)),
                };
                Outcome::as_str(tenant.counts.take(partition, lent.offset, lent.stored_at_ms, &event))
            }
        },
    };
    tenant.counts.passed(partition, lent.offset, lent.stored_at_ms);
    outcome
}

/// Adds a cell as a record of the topic with this index.
fn push(chunk: &mut OutputChunk, topic: usize, cell: &Cell) {
    let start = chunk.arena.len();
    chunk.arena.extend_from_slice(cell.key().as_bytes());
    let key = Span::since(start, &chunk.arena);
    let start = chunk.arena.len();
    chunk.arena.extend_from_slice(&cell.to_json());
    let partition_hash = Some(murmur2_positive(key.of(&chunk.arena)));
    chunk.records.push(OutputRecord {
        topic: TopicIndex(topic as u16),
        partition_hash,
        key,
        value: Span::since(start, &chunk.arena),
        headers: Span::NONE,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_a_restart() {
        let until = Until { hours_ms: 3_600_000, days_ms: i64::MIN };
        let lateness = Some(Lateness::of_all(5).changed(7, 3_600_000));
        let mark = Mark { until, benchmarks_ms: -5, lateness, held: Some(Held { read: 7, records: 3 }) };
        assert_eq!(Mark::read(&mark.to_text()), mark);
        assert_eq!(Mark::read("").until, Until::NOTHING);
        assert_eq!(Mark::read("").newest(mark).lateness, lateness);
        assert_eq!(mark.newest(Mark::read("lethe1 hours=7200000 days=0")).until, Until { hours_ms: 7_200_000, days_ms: 0 });
    }
}
