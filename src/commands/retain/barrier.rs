//! The barrier: from when on no worker can write what a directive forbids, and where the topics ended then.

use super::rights::Officer;
use crate::config::{Config, TenantConfig};
use crate::faults::{self, Planted};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Place, RawConsumer, places_of};
use crate::lifecycle::audit::{PlaceAt, What};
use crate::lifecycle::request::{Request, State};
use crate::model::category::Category;
use std::sync::Arc;

/// A group whose members write to governed topics what they made of these: tenant and topic. Their committed offsets tell what they have taken in.
pub(super) struct Writers {
    pub group: String,
    pub observer: RawConsumer,
    pub topics: Vec<(String, String)>,
}

impl Writers {
    /// The groups of `run`, which read raw topics, and that of `sessions`, which reads events. Counts are of nobody: `aggregate` is waited for by no one.
    pub(super) fn all(config: &Config, raw: &[(String, String)]) -> Result<Vec<Writers>, Fault> {
        let wants = |t: &&TenantConfig| [Category::Events, Category::Sessions].iter().all(|c| t.categories().contains(c));
        let with_sessions = config.tenant.iter().filter(wants);
        let events = with_sessions.map(|t| (t.id.to_string(), t.topic(Category::Events.as_str()))).collect();
        let runs = config.run.groups.iter().map(|group| (group.clone(), raw.to_vec()));
        let of = |(group, topics): (String, Vec<(String, String)>)| {
            let names: Vec<String> = topics.iter().map(|(_, topic)| topic.clone()).collect();
            Ok(Writers { observer: RawConsumer::observe(&config.kafka, &group, &names, Arc::default())?, group, topics })
        };
        runs.chain([(config.sessions.group.clone(), events)]).map(of).collect()
    }
}

impl Officer<'_> {
    /// The barrier: notes which requests every worker has taken in, and where the topics ended then.
    pub(super) fn suppress(&mut self) -> Result<(), Fault> {
        for (tenant, ids) in self.by_tenant_where(|r| r.state() == State::Suppressing) {
            let passed = self.passed(&tenant)?;
            let cursors = self.cursors_passed(&tenant, &ids)?;
            // A cursor that does not know of a release yet goes on passing what it has freed.
            let taken_in = |r: &Request| r.offset < passed && (r.kind != "hold" || r.offset < cursors);
            let ids: Vec<String> = ids.into_iter().filter(|id| self.requests.by_id.get(id).is_some_and(taken_in)).collect();
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
        let mut passed = self.in_force.next_offset;
        if faults::planted(Planted::DropBarrier) {
            return Ok(passed);
        }
        for Writers { group, observer, topics } in &self.writers {
            let read = topics.iter().enumerate().filter(|(_, (t, _))| t == tenant);
            let places = places_of(read.map(|(i, (_, topic))| (i, topic.as_str())), &self.partitions);
            if places.is_empty() {
                continue;
            }
            let slowest = match slowest(observer, &places) {
                Ok(slowest) if slowest >= passed => continue,
                Ok(slowest) => slowest,
                Err(Fault::Retry(text)) => {
                    tracing::debug!(cause = %text, group, "the barrier waits");
                    return Ok(0);
                }
                Err(fault) => return Err(fault),
            };
            let stopped = self.admin.is_empty_group(group, &self.config.topics.directives)? && observer.committed(&places).is_ok();
            if !stopped {
                passed = passed.min(slowest);
            }
        }
        Ok(passed)
    }

    /// Everything before this offset of the directives was taken in by every retention cursor of a tenant; asked only where a released hold is among
    /// the requests. Cursors that were let go of pass nothing any more.
    fn cursors_passed(&self, tenant: &str, ids: &[String]) -> Result<i64, Fault> {
        let released = ids.iter().any(|id| self.requests.by_id.get(id).is_some_and(|r| r.kind == "hold"));
        let governed = self.governed.iter().enumerate().filter(|(_, g)| g.tenant == tenant);
        let places = places_of(governed.map(|(i, g)| (i, g.topic.as_str())), &self.partitions);
        if !released || places.is_empty() || self.begun.contains(tenant) {
            return Ok(i64::MAX);
        }
        slowest(&self.cursors, &places)
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
