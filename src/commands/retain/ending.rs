//! The end of a tenant: its topics are deleted by the deadline, looked for again, its keys destroyed, and the end is certified.
//!
//! ```text
//! nothing comes in any more ─> scheduled ─> deleting (noted first) ─> deleted ─> keys destroyed ─> files gone ─> certified
//!                                               │ a hold keeps some ─> held, until it is released ─┘
//! ```
//! What is about to be deleted is told before it is: killed anywhere, the next process finds what is left of it and goes on. Deleting a topic makes the
//! brokers forget what groups had committed for it; that is looked at, not believed.

use super::rights::{Officer, Saying};
use super::sweep::{Look, Wish, Wishes};
use crate::config::TenantConfig;
use crate::config::governed::Governed;
use crate::faults::{self, Step};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Place, RawConsumer};
use crate::lifecycle::audit::{Found, PlaceAt, SweptRange, What};
use crate::lifecycle::certificate::{Certificate, Ended, Times};
use crate::lifecycle::request::{Request, State};
use crate::lifecycle::termination::Termination;
use crate::ops::{clock, keys};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the brokers may take to forget a topic before the other requests go on.
const GONE_WAIT: Duration = Duration::from_secs(10);
/// How often a hindrance is told of. Units: ms.
const TELL_EVERY_MS: i64 = 60_000;

impl Officer<'_> {
    /// Takes every termination as far as it can go.
    pub(super) fn end_tenants(&mut self) -> Result<(), Fault> {
        for (tenant, ids) in self.terminations(State::Scheduled) {
            // Cursors read on until the deletion begins; then they are let go of, before the topics go.
            if self.begun.contains(&tenant) {
                self.begin_end(&tenant, ids)?;
            }
        }
        for (tenant, ids) in self.terminations(State::Sweeping) {
            self.delete_all(&tenant, ids)?;
        }
        for (tenant, ids) in self.terminations(State::AwaitingCleaner) {
            self.finish_end(&tenant, ids)?;
        }
        Ok(())
    }

    /// Terminations in a state, by tenant.
    fn terminations(&self, state: State) -> Vec<(String, Vec<String>)> {
        self.by_tenant_where(|r| r.kind == "terminate" && r.state() == state)
    }

    /// Notes what is about to be deleted, and for how long its files will stay: once it is gone nobody can be asked.
    fn begin_end(&mut self, tenant: &str, ids: Vec<String>) -> Result<(), Fault> {
        let topics = self.topics_there(tenant, &ids);
        let settings = if topics.is_empty() { HashMap::new() } else { self.admin.settings(&topics)? };
        let delay = |topic| settings.get(topic)?.get("file.delete.delay.ms")?.value.parse::<i64>().ok();
        let file_delete_delay_ms = topics.iter().filter_map(delay).max().unwrap_or(0);
        tracing::info!(tenant, topics = topics.len(), "the deletion of a terminated tenant begins");
        self.write(vec![(tenant.to_owned(), ids, What::Deleting { topics, file_delete_delay_ms })], &[], false)
    }

    /// Every topic of a tenant that is there: what its config names or could name, and what it named when it was terminated.
    fn topics_there(&self, tenant: &str, ids: &[String]) -> Vec<String> {
        let mut found: BTreeSet<String> = self.tenant(tenant).map(TenantConfig::topics_ever).unwrap_or_default();
        for request in ids.iter().filter_map(|id| self.requests.by_id.get(id)) {
            found.extend(request.raw.iter().chain(&request.governed).map(|p| p.topic.clone()));
            found.extend(request.deleting.iter().flatten().cloned());
        }
        found.into_iter().filter(|topic| self.partitions.contains_key(topic)).collect()
    }

    /// Deletes all topics but those in which a hold keeps something: of these it leaves nothing else.
    fn delete_all(&mut self, tenant: &str, ids: Vec<String>) -> Result<(), Fault> {
        self.catch_up()?;
        let (mut ranges, mut found, mut kept) = (Vec::new(), Found::default(), BTreeSet::new());
        let held: Vec<Governed> = self.kept_by_holds(tenant)?;
        let places: Vec<PlaceAt> = ids.iter().filter_map(|id| self.requests.by_id.get(id)).flat_map(|r| r.governed.clone()).collect();
        if !held.is_empty() && !self.is_stable(&places)? {
            return Ok(());
        }
        for governed in held {
            let (here, new) = self.strip(&governed, &ids)?;
            if new.held > 0 {
                kept.insert(governed.topic);
            }
            ranges.extend(here);
            (found.erased, found.held) = (found.erased + new.erased, found.held + new.held);
        }
        let doomed: Vec<String> = self.topics_there(tenant, &ids).into_iter().filter(|topic| !kept.contains(topic)).collect();
        self.admin.delete(&doomed)?;
        faults::reached(Step::TopicsDeleted);
        if !self.is_gone(&doomed, &places_of_requests(&ids, &self.requests.by_id, &kept))? {
            return Ok(());
        }
        if kept.is_empty() {
            return self.write(vec![(tenant.to_owned(), ids, What::Deleted {})], &[], false);
        }
        tracing::info!(tenant, kept = found.held, "a legal hold keeps records of a terminated tenant");
        let found = ids.iter().map(|id| (id.clone(), found)).collect();
        self.write(vec![(tenant.to_owned(), ids, What::Swept { ranges, found })], &[], false)
    }

    /// Governed topics that a hold may keep something of.
    fn kept_by_holds(&mut self, tenant: &str) -> Result<Vec<Governed>, Fault> {
        let holds = self.holds()?;
        let concerned =
            |g: &&Governed| g.tenant == tenant && holds.concern_topic(tenant, &g.short) && self.partitions.contains_key(&g.topic);
        Ok(self.governed.iter().filter(concerned).cloned().collect())
    }

    /// Writes tombstones for everything in a topic that no hold keeps.
    fn strip(&mut self, governed: &Governed, ids: &[String]) -> Result<(Vec<SweptRange>, Found), Fault> {
        let wish = |id: &String| Wish {
            id: id.clone(),
            cutoff_ms: i64::MAX,
            people: Vec::new(),
            topics: None,
            overdue: false,
            everything: true,
            certified: true,
        };
        let wishes = Wishes::new(ids.iter().map(wish).collect(), HashMap::new());
        let holds = self.holds()?;
        let bounds = self.ranges(governed)?;
        let look = Look { reader: &self.all, wishes: &wishes, holds: &holds, stop: self.stop };
        let mut nobody: Vec<HashSet<_>> = Vec::new();
        let pass = look.read(governed, &bounds, &mut nobody)?;
        let (erased, held) = pass.count(1).first().copied().unwrap_or_default();
        // Where nothing is kept, the topic goes as a whole.
        let written = if held > 0 { self.tombstones(governed, &pass, &wishes, &holds)? } else { BTreeMap::new() };
        let mut ranges = Vec::new();
        for (partition, from, to) in bounds.into_iter().filter(|_| held > 0) {
            let tombstones_to = self.all.bounds(&governed.topic, partition)?.1;
            let tombstones = written.get(&partition).copied().unwrap_or(0);
            ranges.push(SweptRange { topic: governed.topic.clone(), partition, from, to, tombstones_from: to, tombstones_to, tombstones });
        }
        Ok((ranges, Found { erased, held, other_identifiers: 0 }))
    }

    /// Whether the brokers know none of these topics any more, nor any offset that a group had committed for them; waits for it a while.
    fn is_gone(&self, topics: &[String], places: &[PlaceAt]) -> Result<bool, Fault> {
        let until = Instant::now() + GONE_WAIT;
        loop {
            let there = self.admin.partitions()?;
            if !topics.iter().any(|topic| there.contains_key(topic)) && self.offsets_left(places)?.is_none() {
                return Ok(true);
            }
            if Instant::now() > until {
                tracing::warn!("the brokers still know topics or offsets of a terminated tenant");
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A group that still has an offset for one of these places.
    fn offsets_left(&self, places: &[PlaceAt]) -> Result<Option<String>, Fault> {
        let topics: BTreeSet<&String> = places.iter().map(|p| &p.topic).collect();
        let topics: Vec<String> = topics.into_iter().cloned().collect();
        let index: HashMap<&String, u16> = topics.iter().enumerate().map(|(i, t)| (t, i as u16)).collect();
        let places: Vec<Place> = places.iter().filter_map(|p| Some((*index.get(&p.topic)?, p.partition))).collect();
        if places.is_empty() {
            return Ok(None);
        }
        for group in self.groups_of_lethe() {
            let observer = RawConsumer::observe(&self.config.kafka, &group, &topics, Arc::default())?;
            if !observer.committed_texts(&places)?.is_empty() {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    fn groups_of_lethe(&self) -> BTreeSet<String> {
        let c = self.config;
        let own = [&c.run.group, &c.retain.group, &c.sessions.group, &c.aggregate.group];
        c.run.groups.iter().chain(own).cloned().collect()
    }

    /// Destroys the keys, looks once more, waits until the files are gone, certifies.
    fn finish_end(&mut self, tenant: &str, ids: Vec<String>) -> Result<(), Fault> {
        let places = places_of_requests(&ids, &self.requests.by_id, &BTreeSet::new());
        if !self.topics_there(tenant, &ids).is_empty() || self.offsets_left(&places)?.is_some() {
            let why = "a topic or an offset of the tenant is there again".to_owned();
            return self.write(vec![(tenant.to_owned(), ids, What::Again { why })], &[], false);
        }
        let lack: Vec<String> = ids.iter().filter(|id| self.requests.by_id.get(*id).is_some_and(|r| r.keys.is_none())).cloned().collect();
        if !lack.is_empty() {
            let Some(keys) = self.destroy_keys(tenant) else { return Ok(()) };
            self.write(vec![(tenant.to_owned(), lack, What::KeysDestroyed { keys })], &[], false)?;
        }
        let now_ms = clock::now_ms();
        let mut sayings: Vec<Saying> = Vec::new();
        for id in ids {
            let (Some(request), Some(key)) = (self.requests.by_id.get(&id), &self.signing) else { continue };
            let Some(certificate) = self.end_certificate(&id, request, now_ms) else { continue };
            sayings.push((tenant.to_owned(), vec![id], What::Certified { certificate: certificate.signed(key) }));
        }
        if sayings.is_empty() {
            return Ok(());
        }
        faults::reached(Step::Certifying);
        tracing::info!(tenant, "the end of a terminated tenant is certified");
        self.write(sayings, &[], true)
    }

    /// How many keys of the tenant are destroyed in this process's keyring; `None`: it did not work, and is tried again.
    fn destroy_keys(&mut self, tenant: &str) -> Option<usize> {
        let path = &self.config.keys.file;
        if std::env::var_os(keys::KEYRING_VARIABLE).is_some() || !path.exists() {
            tracing::warn!(tenant, "there is no keyring file here: destroy the keys of the terminated tenant where they are");
            return Some(0);
        }
        let Ok(id) = crate::model::tenant::TenantId::try_from(tenant.to_owned()) else { return Some(0) };
        match keys::destroy_whatever(path, &id) {
            Ok(keys) => {
                faults::reached(Step::KeysDestroyed);
                Some(keys)
            }
            Err(fault) => {
                let now_ms = clock::now_ms();
                if now_ms - self.told_ms > TELL_EVERY_MS {
                    tracing::error!(tenant, cause = %fault, "the keys of a terminated tenant cannot be destroyed");
                    self.told_ms = now_ms;
                }
                None
            }
        }
    }

    /// Errors: `None` while the brokers may still have the files.
    fn end_certificate(&self, id: &str, request: &Request, now_ms: i64) -> Option<Certificate> {
        let termination = Termination::of(self.in_force.get(&request.key(id))?)?;
        let deleted_ms = request.deleted_ms?;
        let bytes_gone_ms = deleted_ms + request.file_delete_delay_ms;
        if bytes_gone_ms > now_ms {
            return None;
        }
        let topics: BTreeSet<&String> = request.deleting.iter().flatten().collect();
        let times = Times { swept_ms: deleted_ms, read_back_ms: now_ms, bytes_gone_ms, certified_ms: now_ms, ..Times::default() };
        Some(Certificate {
            ended: Some(Ended {
                deadline_ms: termination.deadline_ms,
                topics: topics.into_iter().cloned().collect(),
                groups: self.groups_of_lethe().into_iter().collect(),
                keys: request.keys?,
            }),
            statements: Certificate::statements_of_end(),
            ..Certificate::begin(id, request, termination.received_ms, times)?
        })
    }
}

/// Where groups had committed offsets, but for topics that are kept.
fn places_of_requests(ids: &[String], requests: &BTreeMap<String, Request>, kept: &BTreeSet<String>) -> Vec<PlaceAt> {
    let all = ids.iter().filter_map(|id| requests.get(id)).flat_map(|r| r.raw.iter().chain(&r.governed));
    all.filter(|p| !kept.contains(&p.topic)).cloned().collect()
}
