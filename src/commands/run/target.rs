//! Where a job ends that is to end by itself: the end offsets seen at start.

use super::Job;
use crate::commands::Failure;
use crate::kafka::consumer::{Place, RawConsumer};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The end offsets seen at start.
pub(super) struct Target {
    observer: RawConsumer,
    ends: Vec<(Place, i64)>,
}

impl Target {
    /// Asks early whether this user may use the group; and for the ends, if they are `wanted`.
    pub(super) fn look(job: &Job, wanted: bool) -> Result<Option<Target>, Failure> {
        let names: Vec<String> = job.rules.sources.iter().map(|s| s.topic.clone()).collect();
        let observer = RawConsumer::observe(&job.config.kafka, &job.config.run.group, &names, Arc::default())?;
        let places: Vec<Place> = job.tenants.places().collect();
        observer.may_use_group(&places)?;
        if !wanted {
            return Ok(None);
        }
        let mut ends = Vec::new();
        for place in places {
            let (low, high) = observer.watermarks(place)?;
            if high > low {
                ends.push((place, high));
            }
        }
        Ok(Some(Target { observer, ends }))
    }

    /// Whether everything is committed. If all that is not stands still, waiting would have no end: the job fails.
    pub(super) fn reached(&self, job: &Job) -> bool {
        let places: Vec<Place> = self.ends.iter().map(|(place, _)| *place).collect();
        if places.is_empty() {
            return true;
        }
        let committed = match self.observer.committed(&places) {
            Ok(committed) => committed,
            Err(fault) => {
                tracing::warn!(%fault, "committed offsets are not to be had");
                return false;
            }
        };
        let waiting = self.ends.iter().filter(|(place, end)| committed.get(place).is_none_or(|(offset, _)| offset < end));
        let stand: Option<BTreeSet<String>> = waiting.map(|(place, _)| standing(job, *place)).collect();
        if let Some(stand) = stand.as_ref().filter(|stand| !stand.is_empty()) {
            let why: Vec<&str> = stand.iter().map(String::as_str).collect();
            job.fail(format!("rows wait that nobody may process now: {}", why.join("; ")));
        }
        stand.is_some_and(|stand| stand.is_empty())
    }
}

/// Why a place stands still; `None` if it does not.
fn standing(job: &Job, place: Place) -> Option<String> {
    let source = &job.rules.sources[usize::from(place.0)];
    let id = job.rules.tenants[usize::from(source.tenant)].id.as_str();
    if job.follower.in_force(|f| f.is_paused(id)) {
        return Some(format!("tenant {id} is paused"));
    }
    if job.tenants.is_blocked(source.tenant) {
        return Some(format!("a topic of tenant {id} is missing, or may not be read or written"));
    }
    if job.tenants.is_stuck(place) {
        return Some(format!("topic {} partition {} cannot be read", source.topic, place.1));
    }
    job.schemas.hopeless(&job.rules, source.tenant)
}
