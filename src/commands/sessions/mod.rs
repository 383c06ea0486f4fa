//! `lethe sessions`: pseudonymised events in, one record per session out, exactly once.
//!
//! One thread, one consumer of the group, one transactional producer. A batch of events is one transaction: an upsert for each session that it
//! touched, tombstones of those that became parts of others, and the offsets. The state of a partition is its sessions that can still change; it
//! is read back from the same partition of `T.sessions` on assignment, so nothing is kept anywhere else, and a killed process loses nothing.

mod gates;
mod job;
mod restore;

use super::framing::{self, Framing};
use super::process::{Files, Load, Process};
use super::{Failure, terminated};
use crate::config::compile::{RECORD_SCHEMA, SESSION_SCHEMA};
use crate::config::{Config, TenantConfig};
use crate::kafka::client::Fault;
use crate::kafka::topics::Admin;
use crate::model::category::Category;
use crate::ops::metrics::TenantLabels;
use crate::ops::registry::RegistryFault;
use job::Job;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Pause after a fault, before the work is taken up again.
const FAULT_PAUSE: Duration = Duration::from_millis(500);
/// How often topics are looked at: new ones, and new partitions.
const TOPICS_EVERY: Duration = Duration::from_secs(60);
/// How often, while a tenant is terminated and its topics are still there.
const ENDING_EVERY: Duration = Duration::from_secs(1);

/// A tenant's two topics, whose partitions are the same in number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    tenant: String,
    events: String,
    sessions: String,
    partitions: u32,
}

/// Why one job ended.
enum End {
    /// It was told to, or has done what it was to do.
    Done,
    /// There is another config.
    Config(Box<Config>),
    /// There are other topics.
    Topics,
}

/// Puts sessions together until it is told to stop or, with `until_caught_up`, until everything that is there is done. Tenants that change meanwhile,
/// and topics that come or go, are taken up: the job begins anew from what is committed.
///
/// Errors: topics whose partitions differ in number; brokers that refuse, or that do not answer at the start.
pub fn sessions(load: &Load, path: &Path, until_caught_up: bool) -> Result<(), Failure> {
    let mut files = Files::follow(path, &load()?);
    let mut config = load()?;
    let admin = Admin::connect(&config.kafka)?;
    let mut now = sources(&config, &admin.partitions()?)?;
    let process = Process::start(&config.sessions.http, &config)?;
    process.end_in_time().map_err(Failure::Failed)?;
    loop {
        let mut fresh =
            || files.look_checked(&process, load, &config, |next| sources(next, &Admin::connect(&next.kafka)?.partitions()?).map(drop));
        let end = if now.is_empty() {
            stand_by(&process, until_caught_up, &mut fresh)
        } else {
            put_together(&config, &now, &process, &admin, until_caught_up, &mut fresh)?
        };
        match end {
            End::Done => return Ok(()),
            End::Config(next) => config = *next,
            End::Topics => tracing::info!("topics have changed: sessions begin anew from what is committed"),
        }
        while !process.stopping() {
            match admin.partitions().map_err(Failure::from).and_then(|there| sources(&config, &there)) {
                Ok(next) => {
                    now = next;
                    break;
                }
                Err(failure) => {
                    tracing::error!(cause = %failure, "sessions wait for their topics");
                    std::thread::sleep(FAULT_PAUSE);
                }
            }
        }
    }
}

/// Waits, where every tenant with sessions is terminated, for another config.
fn stand_by(process: &Process, until_caught_up: bool, fresh: &mut dyn FnMut() -> Option<Config>) -> End {
    if !until_caught_up {
        tracing::warn!("every tenant with sessions is terminated: there is nothing to put together");
        process.health.set_ready(true);
    }
    while !until_caught_up && !process.stopping() {
        if let Some(next) = fresh() {
            return End::Config(Box::new(next));
        }
        std::thread::sleep(FAULT_PAUSE);
    }
    tracing::info!("sessions ended");
    End::Done
}

/// How records are framed, those that are read and those that are written.
struct Schemas {
    events: Framing,
    sessions: Framing,
    /// What stands before the body of a session, by source; of a tenant whose schema the registry refuses: why.
    prefixes: Vec<Result<Vec<u8>, RegistryFault>>,
}

impl Schemas {
    /// Registers the schema of each topic of sessions, if there is a registry. Errors: it refuses everybody's; it was away for too long.
    fn register(config: &Config, now: &[Source], patience: Option<Duration>, stop: &AtomicBool) -> Result<Self, Failure> {
        let labels = TenantLabels::new(config.tenant.iter().map(|t| t.id.as_str()));
        let mut schemas =
            Schemas { events: Framing::new(config, RECORD_SCHEMA)?, sessions: Framing::new(config, SESSION_SCHEMA)?, prefixes: Vec::new() };
        for source in now {
            let prefix = schemas.sessions.of_topic(&source.sessions, labels.of(&source.tenant), patience, stop);
            if let Err(fault @ RegistryFault::Away(_)) = &prefix {
                return Err(Failure::Failed(format!("{}: {fault}", framing::subject(&source.sessions))));
            }
            schemas.prefixes.push(prefix);
        }
        match schemas.prefixes.iter().zip(now).find_map(|(prefix, source)| Some((prefix.as_ref().err()?, source))) {
            Some((fault, source)) if schemas.prefixes.iter().all(Result::is_err) => {
                Err(Failure::Failed(format!("{}: {fault}", framing::subject(&source.sessions))))
            }
            _ => Ok(schemas),
        }
    }

    /// Asks once more for what was refused. Returns whether the source can be written now; if not, log and metric say so of `tenant`, a label.
    fn ask_again(&mut self, at: usize, source: &Source, tenant: &str) -> bool {
        if let Err(fault) = &self.prefixes[at] {
            match self.sessions.of_topic_now(&source.sessions) {
                Ok(prefix) => {
                    self.sessions.goes_on(tenant);
                    self.prefixes[at] = Ok(prefix);
                }
                // Away: what it said last counts.
                Err(RegistryFault::Away(_)) => self.sessions.waits(tenant, &framing::subject(&source.sessions), fault),
                Err(fault) => {
                    self.sessions.waits(tenant, &framing::subject(&source.sessions), &fault);
                    self.prefixes[at] = Err(fault);
                }
            }
        }
        self.prefixes[at].is_ok()
    }
}

/// One job, from its start until it is told to stop, or until something else is to be done.
fn put_together(
    config: &Config,
    now: &[Source],
    process: &Process,
    admin: &Admin,
    until_caught_up: bool,
    fresh: &mut dyn FnMut() -> Option<Config>,
) -> Result<End, Failure> {
    let schemas = Schemas::register(config, now, until_caught_up.then_some(framing::PATIENCE), &process.stop)?;
    let mut job = Job::connect(config, now.to_vec(), schemas)?;
    process.health.set_ready(true);
    let mut looked = Instant::now();
    while !process.stopping() {
        let turn = job.turn().and_then(|()| if until_caught_up { job.is_caught_up() } else { Ok(false) });
        match turn {
            Ok(true) => break,
            Ok(false) => process.health.set_ready(true),
            Err(Fault::Stop(text)) => return Err(Failure::Failed(text)),
            Err(fault) => {
                process.health.set_ready(false);
                job.recover(&fault, &process.stop);
            }
        }
        if let Some(next) = fresh() {
            return Ok(End::Config(Box::new(next)));
        }
        // After a turn that failed, too: topics that are gone may be why.
        if looked.elapsed() > TOPICS_EVERY || looked.elapsed() > ENDING_EVERY && job.is_ending() {
            looked = Instant::now();
            // What cannot be asked for now is asked for later.
            if admin.partitions().is_ok_and(|there| sources(config, &there).is_ok_and(|next| next != now)) {
                return Ok(End::Topics);
            }
        }
    }
    tracing::info!("sessions ended");
    Ok(End::Done)
}

/// The tenants that have sessions and are not gone. One whose topics are missing stands still alone, if there are others.
///
/// Errors: nobody has sessions; no topics of anybody; topics whose partitions differ in number.
fn sources(config: &Config, there: &HashMap<String, u32>) -> Result<Vec<Source>, Failure> {
    let wants = |t: &&TenantConfig| [Category::Events, Category::Sessions].iter().all(|c| t.categories().contains(c));
    if !config.tenant.iter().any(|t| wants(&t)) {
        return Err(Failure::Usage("no tenant has both events and sessions: there is nothing to put together".into()));
    }
    let gone = terminated::gone(config, &terminated::terminations(config, there)?, there);
    let (mut sources, mut missing) = (Vec::new(), None);
    for tenant in config.tenant.iter().filter(wants).filter(|t| !gone.contains(t.id.as_str())) {
        let [events, sessions] = [Category::Events, Category::Sessions].map(|c| tenant.topic(c.as_str()));
        let (Some(partitions), Some(ours)) = (there.get(&events).copied(), there.get(&sessions).copied()) else {
            let topic = if there.contains_key(&events) { sessions } else { events };
            tracing::debug!(tenant = %tenant.id, %topic, "a topic is missing");
            missing.get_or_insert((tenant.id.to_string(), topic));
            continue;
        };
        if partitions != ours {
            return Err(Failure::Failed(format!(
                "topic {sessions} has {ours} partitions and {events} has {partitions}: a session stands in its events' partition, so they must be the same"
            )));
        }
        sources.push(Source { tenant: tenant.id.to_string(), events, sessions, partitions });
    }
    match missing {
        Some((_, topic)) if sources.is_empty() => {
            return Err(Failure::Failed(format!("topic {topic} is missing; mend it with `lethe topics apply`")));
        }
        Some((tenant, topic)) => {
            tracing::error!(%tenant, %topic, "a topic is missing: this tenant has no new sessions until it is there");
        }
        None => {}
    }
    Ok(sources)
}
