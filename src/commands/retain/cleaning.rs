//! From the last tombstone to the certificate: roll, wait for the cleaner, read back, certify.

use super::rights::{Officer, Saying, commit};
use super::sweep::Look;
use crate::config::governed::Governed;
use crate::faults::{self, Planted, Step};
use crate::kafka::client::Fault;
use crate::kafka::consumer::ROLL_KEY;
use crate::kafka::readback::ReadBack;
use crate::lifecycle::audit::{SweptRange, What};
use crate::lifecycle::certificate::{Certificate, Times, TopicFacts};
use crate::lifecycle::hold::Holds;
use crate::lifecycle::request::{Request, State};
use crate::ops::clock;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One partition whose tombstones, or records that have one, must go.
struct Waiting {
    /// None of the tombstones lies at or after this offset.
    until: i64,
    /// Roll records written since tombstones were added last.
    rolls: u32,
    /// They are gone.
    done: bool,
    end: i64,
    last_append_ms: i64,
}

impl Waiting {
    fn new(end: i64, now_ms: i64) -> Waiting {
        Waiting { until: 0, rolls: 0, done: false, end, last_append_ms: now_ms }
    }
}

/// A topic's own settings, as the brokers have them: what `topics apply` sets may have been lowered. Units: ms.
#[derive(Clone, Copy)]
struct Pace {
    segment_ms: i64,
    compaction_lag_ms: i64,
    delete_retention_ms: i64,
}

impl Pace {
    /// Whether a partition that nobody writes to needs a roll: first to close the segment of the tombstones, then to bring the cleaner back for the
    /// keys. A roll too many costs one record.
    fn needs_roll(&self, w: &Waiting, now_ms: i64) -> bool {
        let again_ms = self.segment_ms.max(self.compaction_lag_ms).max(self.delete_retention_ms);
        // Strictly later: the broker rolls a segment that is older than `segment.ms`, not as old.
        now_ms - w.last_append_ms > if w.rolls == 0 { self.segment_ms } else { again_ms }
    }
}

/// What is known of partitions that wait for the cleaner. Nothing of it is lost with the process: it is looked at again.
#[derive(Default)]
pub(super) struct Cleaning {
    waiting: BTreeMap<(String, i32), Waiting>,
    /// By request: when the topics were read again and nothing was left. Units: ms since the epoch.
    read_back: HashMap<String, i64>,
    readback: Option<ReadBack>,
    paces: HashMap<String, Pace>,
    /// Of this turn: whether the tombstones of a range are gone. Requests that were swept together have their ranges in common.
    gone: HashMap<(String, i32, i64, i64), bool>,
}

impl Officer<'_> {
    /// Follows what is swept until it is certified.
    pub(super) fn clean(&mut self) -> Result<(), Fault> {
        self.cleaning.gone.clear();
        // What a hold does not keep goes all the same.
        let held: Vec<String> = self.by_tenant_where(|r| r.state() == State::Held).into_iter().flat_map(|(_, ids)| ids).collect();
        for id in &held {
            if let Some(request) = self.requests.by_id.get(id).cloned() {
                self.is_clean(&request)?;
            }
        }
        for (tenant, ids) in self.by_tenant(State::AwaitingCleaner) {
            if !self.replicas_are_whole(&tenant)? {
                // A follower that was away may keep what the leader has cleaned: whatever is still there gets a new tombstone.
                let why = "a replica fell behind".to_owned();
                self.write(vec![(tenant, ids, What::Again { why })], &[], false)?;
                continue;
            }
            let mut ready = Vec::new();
            for id in ids {
                let Some(request) = self.requests.by_id.get(&id).cloned() else { continue };
                // Both are looked at in any case: the one must go on while the other is waited for.
                let clean = self.is_clean(&request)?;
                if clean && self.raw_passed(&request)? {
                    ready.push(id);
                }
            }
            if !ready.is_empty() {
                self.finish(&tenant, &ready)?;
            }
        }
        self.roll()?;
        let open: BTreeSet<String> = self.by_tenant(State::AwaitingCleaner).into_iter().flat_map(|(_, ids)| ids).collect();
        self.cleaning.read_back.retain(|id, _| open.contains(id));
        if open.is_empty() && held.is_empty() {
            self.cleaning.waiting.clear();
            self.cleaning.paces.clear();
        }
        Ok(())
    }

    pub(super) fn replicas_are_whole(&self, tenant: &str) -> Result<bool, Fault> {
        let topics: Vec<String> = self.governed.iter().filter(|g| g.tenant == tenant).map(|g| g.topic.clone()).collect();
        let found = self.admin.replicas(&topics)?;
        let behind = out_of_sync(&found);
        if let Some(topic) = behind {
            tracing::warn!(tenant, topic, "replicas are out of sync: tombstones would not count");
        }
        Ok(behind.is_none())
    }

    /// Whether none of the request's tombstones is left, and with them none of the values before them.
    fn is_clean(&mut self, request: &Request) -> Result<bool, Fault> {
        let now_ms = clock::now_ms();
        let mut clean = true;
        // A topic that is there no more went with its tenant.
        let there = |r: &&SweptRange| r.tombstones_from < r.tombstones_to && self.partitions.contains_key(&r.topic);
        let ranges: Vec<SweptRange> = request.ranges.iter().filter(there).cloned().collect();
        for range in &ranges {
            let pace = self.pace(&range.topic)?;
            let place = (range.topic.clone(), range.partition);
            let end = self.end(&place)?;
            let waiting = self.cleaning.waiting.entry(place).or_insert_with(|| Waiting::new(end, now_ms));
            if end != waiting.end {
                (waiting.end, waiting.last_append_ms) = (end, now_ms);
            }
            if range.tombstones_to > waiting.until {
                (waiting.until, waiting.rolls, waiting.done) = (range.tombstones_to, 0, false);
            }
            if now_ms - request.swept_ms.unwrap_or(now_ms) <= pace.delete_retention_ms {
                clean = false;
                continue;
            }
            if self.cleaning.readback.is_none() {
                self.cleaning.readback = Some(ReadBack::connect(&self.config.kafka)?);
            }
            let asked = (range.topic.clone(), range.partition, range.tombstones_from, range.tombstones_to);
            let known = self.cleaning.gone.get(&asked).copied();
            let gone = match (known, &self.cleaning.readback) {
                (Some(gone), _) => gone,
                (None, Some(readback)) => readback.first_tombstone(&asked.0, asked.1, asked.2, asked.3)?.is_none(),
                (None, None) => false,
            };
            if gone && let Some(w) = self.cleaning.waiting.get_mut(&(asked.0.clone(), asked.1)).filter(|w| w.until <= asked.3) {
                w.done = true;
            }
            self.cleaning.gone.insert(asked, gone);
            clean &= gone;
        }
        Ok(clean)
    }

    /// Where a partition ends, asked for once a turn.
    fn end(&mut self, place: &(String, i32)) -> Result<i64, Fault> {
        if let Some(end) = self.glance.ends.get(place) {
            return Ok(*end);
        }
        let end = self.all.bounds(&place.0, place.1)?.1;
        self.glance.ends.insert(place.clone(), end);
        Ok(end)
    }

    /// A topic's settings, asked for once a while.
    fn pace(&mut self, topic: &str) -> Result<Pace, Fault> {
        if let Some(pace) = self.cleaning.paces.get(topic) {
            return Ok(*pace);
        }
        let settings = self.admin.settings(&[topic.to_owned()])?.remove(topic).unwrap_or_default();
        let number = |name: &str| settings.get(name).and_then(|s| s.value.parse().ok()).unwrap_or(i64::from(i32::MAX));
        let pace = Pace {
            segment_ms: number("segment.ms"),
            compaction_lag_ms: number("max.compaction.lag.ms"),
            delete_retention_ms: number("delete.retention.ms"),
        };
        self.cleaning.paces.insert(topic.to_owned(), pace);
        Ok(pace)
    }

    /// Whether the raw topics begin after everything they held at the barrier.
    fn raw_passed(&mut self, request: &Request) -> Result<bool, Fault> {
        for p in request.raw.iter().filter(|p| self.partitions.contains_key(&p.topic)) {
            let place = (p.topic.clone(), p.partition);
            let low = match self.glance.lows.get(&place) {
                Some(low) => *low,
                None => self.all.bounds(&p.topic, p.partition)?.0,
            };
            self.glance.lows.insert(place, low);
            if low < p.offset {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Rolls partitions that nobody writes to, so that the cleaner gets at them.
    fn roll(&mut self) -> Result<(), Fault> {
        let now_ms = clock::now_ms();
        let mut places = Vec::new();
        for (place, w) in &self.cleaning.waiting {
            if self.cleaning.paces.get(&place.0).is_some_and(|pace| !w.done && pace.needs_roll(w, now_ms)) {
                places.push(place.clone());
            }
        }
        if places.is_empty() || faults::planted(Planted::SkipRoll) {
            return Ok(());
        }
        let transaction = self.producer.begin()?;
        for (topic, partition) in &places {
            transaction.tombstone(topic, *partition, ROLL_KEY, None)?;
        }
        commit(transaction, &self.cursors)?;
        for place in places {
            let end = self.all.bounds(&place.0, place.1)?.1;
            if let Some(w) = self.cleaning.waiting.get_mut(&place) {
                (w.end, w.last_append_ms) = (end, now_ms);
                w.rolls += 1;
            }
        }
        Ok(())
    }

    /// Reads the topics again from their starts; certifies what is gone once the brokers have dropped the files.
    fn finish(&mut self, tenant: &str, ids: &[String]) -> Result<(), Fault> {
        let fresh: Vec<String> = ids.iter().filter(|id| !self.cleaning.read_back.contains_key(*id)).cloned().collect();
        if !fresh.is_empty() && !self.read_back(tenant, &fresh)? {
            return Ok(());
        }
        let facts = self.facts(tenant)?;
        let cleaned = |topic: &str| {
            let requests = ids.iter().filter_map(|id| self.requests.by_id.get(id));
            requests.flat_map(|r| &r.ranges).any(|r| r.topic == topic && r.tombstones_from < r.tombstones_to)
        };
        let delay_ms = facts.iter().filter(|f| cleaned(&f.topic)).map(|f| f.file_delete_delay_ms).max().unwrap_or(0);
        let now_ms = clock::now_ms();
        let mut sayings: Vec<Saying> = Vec::new();
        let mut notices = Vec::new();
        let mut ages = Vec::new();
        for id in ids {
            let (Some(read_back_ms), Some(request)) = (self.cleaning.read_back.get(id), self.requests.by_id.get(id)) else { continue };
            let bytes_gone_ms = read_back_ms + delay_ms;
            let (Some(key), true) = (&self.signing, bytes_gone_ms <= now_ms) else { continue };
            let times = Times { read_back_ms: *read_back_ms, bytes_gone_ms, certified_ms: now_ms, ..Times::default() };
            let Some(certificate) = self.certificate(id, request, &facts, times) else { continue };
            ages.push(now_ms - request.received_ms);
            sayings.push((tenant.to_owned(), vec![id.clone()], What::Certified { certificate: certificate.signed(key) }));
            notices.push((tenant.to_owned(), id.clone(), "certified"));
        }
        if sayings.is_empty() {
            return Ok(());
        }
        let count = sayings.len();
        faults::reached(Step::Certifying);
        self.write(sayings, &notices, true)?;
        for age_ms in ages {
            metrics::histogram!("lethe_erasure_certificate_seconds").record(age_ms.max(0) as f64 / 1_000.0);
        }
        tracing::info!(tenant, requests = count, "certified");
        Ok(())
    }

    /// Whether nothing of the requests is left. What is there again, a late transaction's, is swept again.
    fn read_back(&mut self, tenant: &str, ids: &[String]) -> Result<bool, Fault> {
        let wishes = self.wishes(tenant, ids)?;
        let (holds, now_ms) = (Holds::default(), clock::now_ms());
        let (mut live, mut superseded) = (0, Vec::new());
        for governed in self.governed.iter().filter(|g| g.tenant == tenant) {
            let ranges = self.ranges(governed)?;
            let look = Look { reader: &self.all, wishes: &wishes, holds: &holds, stop: self.stop };
            let pass = look.read(governed, &ranges, &mut [])?;
            live += pass.hits.len();
            superseded.extend(pass.superseded.keys().map(|p| (governed.topic.clone(), *p)));
        }
        if live > 0 {
            tracing::warn!(tenant, keys = live, "records of an erased person are there again: they are swept again");
            self.write(
                vec![(tenant.to_owned(), ids.to_vec(), What::Again { why: "records were found when reading back".into() })],
                &[],
                false,
            )?;
            return Ok(false);
        }
        for place in &superseded {
            let end = self.all.bounds(&place.0, place.1)?.1;
            self.cleaning.waiting.entry(place.clone()).or_insert_with(|| Waiting::new(end, now_ms)).done = false;
            self.pace(&place.0)?;
        }
        if superseded.is_empty() {
            self.cleaning.read_back.extend(ids.iter().map(|id| (id.clone(), now_ms)));
        }
        Ok(superseded.is_empty())
    }

    fn facts(&self, tenant: &str) -> Result<Vec<TopicFacts>, Fault> {
        let there = |g: &&Governed| g.tenant == tenant && self.partitions.contains_key(&g.topic);
        let topics: Vec<String> = self.governed.iter().filter(there).map(|g| g.topic.clone()).collect();
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let (settings, replicas) = (self.admin.settings(&topics)?, self.admin.replicas(&topics)?);
        let number =
            |topic: &String, name: &str| settings.get(topic).and_then(|s| s.get(name)).and_then(|s| s.value.parse().ok()).unwrap_or(0);
        let of = |topic: &String| TopicFacts {
            topic: topic.clone(),
            file_delete_delay_ms: number(topic, "file.delete.delay.ms"),
            delete_retention_ms: number(topic, "delete.retention.ms"),
            max_compaction_lag_ms: number(topic, "max.compaction.lag.ms"),
            replicas: replicas.get(topic).map_or(0, |r| r.0),
            in_sync: replicas.get(topic).map_or(0, |r| r.1),
        };
        Ok(topics.iter().map(of).collect())
    }

    fn certificate(&self, id: &str, request: &Request, facts: &[TopicFacts], times: Times) -> Option<Certificate> {
        let standing = self.in_force.get(&request.key(id))?;
        let times = Times { swept_ms: request.swept_ms?, ..times };
        let cutoff_ms = standing.stored_at_ms + self.config.run.future_tolerance.as_millis() as i64;
        Some(Certificate {
            commitments: standing.directive.commitments.clone(),
            pseudonyms: standing.directive.order.pseudonyms().len(),
            ranges: request.ranges.clone(),
            raw: request.raw.clone(),
            topics: facts.to_vec(),
            ..Certificate::begin(id, request, cutoff_ms, times)?
        })
    }
}

/// A topic of which a partition has fewer replicas in sync than it has. Shape: by topic all replicas, and those in sync.
fn out_of_sync(found: &HashMap<String, (usize, usize)>) -> Option<&str> {
    found.iter().filter(|(_, (all, in_sync))| in_sync < all).map(|(topic, _)| topic.as_str()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replica_that_is_away_is_enough_to_wait() {
        let of = |all: &[(&str, usize, usize)]| -> HashMap<String, (usize, usize)> {
            all.iter().map(|(topic, all, in_sync)| ((*topic).to_owned(), (*all, *in_sync))).collect()
        };
        assert_eq!(out_of_sync(&of(&[("a", 3, 3), ("b", 1, 1)])), None);
        assert_eq!(out_of_sync(&of(&[("a", 3, 3), ("b", 3, 2)])), Some("b"));
        assert_eq!(out_of_sync(&of(&[("a", 3, 0)])), Some("a"));
        assert_eq!(out_of_sync(&of(&[])), None, "a tenant without topics waits for none");
    }
}
