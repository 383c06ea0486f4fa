//! The barrier: from when on no worker can write what a directive forbids, and where the topics ended then.

use super::rights::Officer;
use crate::faults::{self, Planted};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Place, RawConsumer, places_of};
use crate::lifecycle::audit::{PlaceAt, What};
use crate::lifecycle::request::State;

impl Officer<'_> {
    /// The barrier: notes which requests every worker has taken in, and where the topics ended then.
    pub(super) fn suppress(&mut self) -> Result<(), Fault> {
        for (tenant, ids) in self.by_tenant_where(|r| r.state() == State::Suppressing) {
            let passed = self.passed(&tenant)?;
            let ids: Vec<String> = ids.into_iter().filter(|id| self.requests.by_id.get(id).is_some_and(|r| r.offset < passed)).collect();
            if ids.is_empty() {
                continue;
            }
            let raw: Vec<&str> = self.raw.iter().filter(|(t, _)| *t == tenant).map(|(_, topic)| topic.as_str()).collect();
            let raw = self.ends(raw.into_iter())?;
            let governed = self.ends(self.governed.iter().filter(|g| g.tenant == tenant).map(|g| g.topic.as_str()))?;
            self.write(vec![(tenant, ids, What::Suppressed { raw, governed })], &[], false)?;
        }
        Ok(())
    }

    /// Everything before this offset of the directives was taken in by all workers that may write for a tenant. A group without members counts as
    /// past it: whoever joins reads the directives first. The offsets are read as stable ones, after the group was seen empty once more: a worker that
    /// was stopped between its offsets and its commit keeps them unstable; one that had not come so far is no member and cannot commit any more.
    fn passed(&self, tenant: &str) -> Result<i64, Fault> {
        let raw = self.raw.iter().enumerate().filter(|(_, (t, _))| t == tenant);
        let places = places_of(raw.map(|(i, (_, topic))| (i, topic.as_str())), &self.partitions);
        let mut passed = self.in_force.next_offset;
        if places.is_empty() || faults::planted(Planted::DropBarrier) {
            return Ok(passed);
        }
        for (group, observer) in &self.groups {
            let slowest = match slowest(observer, &places) {
                Ok(slowest) if slowest >= passed => continue,
                Ok(slowest) => slowest,
                Err(Fault::Retry(text)) => {
                    tracing::debug!(cause = %text, group, "the barrier waits");
                    return Ok(0);
                }
                Err(fault) => return Err(fault),
            };
            let stopped = self.admin.is_empty_group(group)? && observer.committed(&places).is_ok();
            if !stopped {
                passed = passed.min(slowest);
            }
        }
        Ok(passed)
    }

    /// Where topics end now, uncommitted records included.
    fn ends<'t>(&self, topics: impl Iterator<Item = &'t str>) -> Result<Vec<PlaceAt>, Fault> {
        let mut found = Vec::new();
        for topic in topics {
            for partition in 0..self.partitions.get(topic).copied().unwrap_or(0) as i32 {
                found.push(PlaceAt { topic: topic.to_owned(), partition, offset: self.all.bounds(topic, partition)?.1 });
            }
        }
        Ok(found)
    }

    /// Whether every transaction that was open at these places has ended.
    pub(super) fn is_stable(&mut self, places: &[PlaceAt]) -> Result<bool, Fault> {
        for p in places.iter().filter(|p| self.partitions.contains_key(&p.topic)) {
            let place = (p.topic.clone(), p.partition);
            let stable = match self.glance.stable.get(&place) {
                Some(stable) => *stable,
                None => self.stable.bounds(&p.topic, p.partition)?.1,
            };
            self.glance.stable.insert(place, stable);
            if stable < p.offset {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What the slowest of a group's workers has taken in; 0 where nothing is committed.
fn slowest(observer: &RawConsumer, places: &[Place]) -> Result<i64, Fault> {
    let committed = observer.committed(places)?;
    let mark = |place| committed.get(place).and_then(|(_, mark)| *mark).map_or(0, |mark| mark.directives);
    Ok(places.iter().map(mark).min().unwrap_or(0))
}
