//! What requests ask of a sweep, and its tombstones.

use super::rights::Officer;
use super::sweep::{Hit, Look, Pass, Wish, Wishes};
use crate::config::governed::Governed;
use crate::faults::{self, Step};
use crate::kafka::client::Fault;
use crate::kafka::consumer::places_of;
use crate::lifecycle::audit::{Found, SweptRange, What};
use crate::lifecycle::hold::Holds;
use crate::lifecycle::request::State;
use crate::model::consent::Basis;
use crate::model::directive::Order;
use crate::model::header;
use crate::model::pseudonym::Pseudonym;
use crate::ops::clock;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Tombstones of one transaction: it keeps readers of the topic waiting.
const TOMBSTONES_MAX: usize = 10_000;

impl Officer<'_> {
    /// One pass for all requests of a tenant that wait for it.
    pub(super) fn sweep(&mut self) -> Result<(), Fault> {
        for (tenant, ids) in self.by_tenant(State::Sweeping) {
            let mut ready = Vec::new();
            for id in ids {
                let governed = self.requests.by_id.get(&id).map(|r| r.governed.clone()).unwrap_or_default();
                if self.is_stable(&governed)? {
                    ready.push(id);
                }
            }
            if ready.is_empty() || !self.replicas_are_whole(&tenant)? {
                continue;
            }
            self.sweep_tenant(&tenant, &ready)?;
        }
        Ok(())
    }

    fn sweep_tenant(&mut self, tenant: &str, ids: &[String]) -> Result<(), Fault> {
        let wishes = self.wishes(tenant, ids)?;
        let holds = self.holds()?;
        let now_ms = clock::now_ms();
        let count = wishes.ids().count();
        let mut others: Vec<HashSet<Pseudonym>> = vec![HashSet::new(); count];
        let mut found = vec![Found::default(); count];
        let mut ranges = Vec::new();
        for governed in self.governed.iter().filter(|g| g.tenant == tenant && wishes.concern(&g.short)) {
            let bounds = self.ranges(governed)?;
            let look = Look { reader: &self.all, wishes: &wishes, holds: &holds, stop: self.stop };
            let pass = look.read(governed, &bounds, &mut others)?;
            for (sum, (erased, held)) in found.iter_mut().zip(pass.count(count)) {
                (sum.erased, sum.held) = (sum.erased + erased, sum.held + held);
            }
            faults::reached(Step::Swept);
            let written = self.tombstones(governed, &pass, &wishes, &holds)?;
            // Requests that nobody certifies end here: what they took back is looked for once more.
            if wishes.end_with_the_sweep(&governed.short) {
                let bounds = self.ranges(governed)?;
                let look = Look { reader: &self.all, wishes: &wishes, holds: &holds, stop: self.stop };
                let left = look.read(governed, &bounds, &mut [])?.hits.values().filter(|hit| !hit.held).count();
                if left > 0 {
                    tracing::warn!(tenant, keys = left, "records that were taken back are there again: they are swept again");
                    return Ok(());
                }
            }
            for (partition, from, to) in bounds {
                let tombstones_to = self.all.bounds(&governed.topic, partition)?.1;
                ranges.push(SweptRange {
                    topic: governed.topic.clone(),
                    partition,
                    from,
                    to,
                    tombstones_from: self.first_tombstones(ids, &governed.topic, partition).unwrap_or(to),
                    tombstones_to,
                    tombstones: written.get(&partition).copied().unwrap_or(0),
                });
            }
        }
        for (sum, others) in found.iter_mut().zip(&others) {
            sum.other_identifiers = others.len() as u64;
        }
        let erased: u64 = found.iter().map(|f| f.erased).sum();
        tracing::info!(tenant, requests = ids.len(), keys = erased, ms = clock::now_ms() - now_ms, "swept");
        let found: BTreeMap<String, Found> = wishes.ids().cloned().zip(found).collect();
        self.write(vec![(tenant.to_owned(), ids.to_vec(), What::Swept { ranges, found })], &[], false)
    }

    /// The requests' first sweep may have been killed: its tombstones lie at or after the ends of then.
    fn first_tombstones(&self, ids: &[String], topic: &str, partition: i32) -> Option<i64> {
        let places = ids.iter().filter_map(|id| self.requests.by_id.get(id)).flat_map(|r| &r.governed);
        places.filter(|p| p.topic == topic && p.partition == partition).map(|p| p.offset).min()
    }

    /// What the requests ask for.
    pub(super) fn wishes(&self, tenant: &str, ids: &[String]) -> Result<Wishes, Fault> {
        let tolerance_ms = self.config.run.future_tolerance.as_millis() as i64;
        let mut all = Vec::new();
        for id in ids {
            let request = self.requests.by_id.get(id);
            let Some(standing) = request.and_then(|r| self.in_force.get(&r.key(id))) else { continue };
            let order = &standing.directive.order;
            let overdue = matches!(order, Order::Hold { .. });
            let people = if overdue { Vec::new() } else { order.pseudonyms().iter().map(|(_, p)| *p).collect() };
            let cutoff_ms = standing.stored_at_ms.saturating_add(tolerance_ms);
            let certified = matches!(order, Order::Erase { .. });
            all.push(Wish {
                id: id.clone(),
                cutoff_ms,
                people,
                topics: self.topics_of(tenant, order),
                overdue,
                everything: false,
                certified,
            });
        }
        let cursors = if all.iter().any(|w| w.overdue) { self.cursors_of(tenant)? } else { HashMap::new() };
        Ok(Wishes::new(all, cursors))
    }

    /// Short names of the topics that an order concerns; `None`: all. What waits to be sent is taken back; what is kept is the windows' business.
    fn topics_of(&self, tenant: &str, order: &Order) -> Option<HashSet<String>> {
        let purpose = match order {
            Order::Restrict { .. } => None,
            Order::Withdraw { purpose, .. } => Some(Some(*purpose)),
            Order::OptOutOfSale { .. } => Some(Basis::Ads.consent_needed()),
            _ => return None,
        };
        let tenant = self.tenant(tenant)?;
        let destinations =
            tenant.destinations.iter().filter(|d| purpose.is_none_or(|p| tenant.destination_basis(**d).consent_needed() == p));
        Some(destinations.map(|d| format!("dest.{}", d.as_str())).collect())
    }

    /// Where the retention cursors of a tenant stand.
    fn cursors_of(&self, tenant: &str) -> Result<HashMap<(String, i32), i64>, Fault> {
        let governed = self.governed.iter().enumerate().filter(|(_, g)| g.tenant == tenant);
        let places = places_of(governed.map(|(i, g)| (i, g.topic.as_str())), &self.partitions);
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        let committed = self.cursors.committed(&places)?;
        Ok(committed.into_iter().map(|((i, p), (offset, _))| ((self.governed[usize::from(i)].topic.clone(), p), offset)).collect())
    }

    pub(super) fn ranges(&self, governed: &Governed) -> Result<Vec<(i32, i64, i64)>, Fault> {
        let mut ranges = Vec::new();
        for partition in 0..self.partitions.get(&governed.topic).copied().unwrap_or(0) as i32 {
            let (low, high) = self.all.bounds(&governed.topic, partition)?;
            ranges.push((partition, low, high));
        }
        Ok(ranges)
    }

    /// Writes a tombstone for every key that is not held, and into the same transactions how many for whom. Returns how many, by partition.
    ///
    /// Errors: a hold came in between; all is swept again.
    pub(super) fn tombstones(
        &mut self,
        governed: &Governed,
        pass: &Pass,
        wishes: &Wishes,
        holds: &Holds,
    ) -> Result<BTreeMap<i32, u64>, Fault> {
        let mut keys: Vec<(&(i32, Vec<u8>), &Hit)> = pass.hits.iter().filter(|(_, hit)| !hit.held).collect();
        keys.sort_by_key(|(place, _)| *place);
        let ids: Vec<&String> = wishes.ids().collect();
        let mut written = BTreeMap::new();
        if keys.is_empty() {
            // Nothing to write, and one topic less to go.
            let what = What::Erased { topic: governed.topic.clone(), keys: BTreeMap::new() };
            let requests = ids.iter().map(|id| (*id).clone()).collect();
            self.write(vec![(governed.tenant.clone(), requests, what)], &[], false)?;
        }
        for chunk in keys.chunks(TOMBSTONES_MAX) {
            if self.holds()? != *holds {
                return Err(Fault::Retry("a hold changed during the sweep".into()));
            }
            let mut keys: BTreeMap<String, u64> = BTreeMap::new();
            for ((partition, _), hit) in chunk {
                *written.entry(*partition).or_default() += 1;
                hit.wishes.iter().filter_map(|w| ids.get(*w as usize)).for_each(|id| *keys.entry((*id).clone()).or_default() += 1);
            }
            let what = What::Erased { topic: governed.topic.clone(), keys };
            let requests = ids.iter().map(|id| (*id).clone()).collect();
            self.write_with(vec![(governed.tenant.clone(), requests, what)], &[], false, |transaction| {
                for ((partition, key), hit) in chunk {
                    let mut bytes = Vec::new();
                    if let Some(epoch) = hit.epoch {
                        header::write(epoch, 0, std::iter::empty(), &mut bytes);
                    }
                    transaction.tombstone(&governed.topic, *partition, key, hit.epoch.map(|_| bytes.as_slice()))?;
                }
                Ok(())
            })?;
        }
        Ok(written)
    }
}
