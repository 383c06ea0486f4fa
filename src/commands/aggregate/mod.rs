//! `lethe aggregate`: pseudonymised events in, anonymous counts out, each published once.
//!
//! A group's count needs all partitions of its tenant, so one process is active: the members of the group subscribe to the one partition of
//! `lethe.directives` as their election, and who holds it reads all tenants' events with a second consumer. What it publishes, and from where
//! reading goes on, is one transaction with the group's metadata in it: a process that was deposed and does not know yet is refused. Nothing is
//! kept but that: offset and metadata (`hours=… days=…`, what is published) of each partition, and the published counts themselves.

mod active;

use super::Failure;
use super::framing::Framing;
use super::process::{Files, Load, Process};
use crate::config::Config;
use crate::config::compile::RECORD_SCHEMA;
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, RawConsumer};
use crate::kafka::topics::Admin;
use crate::model::category::Category;
use active::Active;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a process that stands by waits for its turn.
const STAND_BY: Duration = Duration::from_millis(200);
/// Pause after a fault, before the work is taken up again.
const FAULT_PAUSE: Duration = Duration::from_millis(500);

/// Counts until it is told to stop or, with `until_caught_up`, until everything that is there and due is published. Tenants that change meanwhile
/// are taken up: counting begins anew from what is committed.
///
/// Errors: no tenant has events; no `lethe.directives`; brokers that refuse, or that do not answer at the start.
pub fn aggregate(load: &Load, path: &Path, until_caught_up: bool) -> Result<(), Failure> {
    let mut files = Files::follow(path, &load()?);
    let mut config = load()?;
    check(&config)?;
    let process = Process::start(&config.aggregate.http, &config)?;
    process.end_in_time().map_err(Failure::Failed)?;
    loop {
        let fresh = count(&config, &process, until_caught_up, || files.look_checked(&process, load, &config, check))?;
        match fresh {
            Some(next) => config = next,
            None => return Ok(()),
        }
    }
}

/// Refuses what would wait for ever.
fn check(config: &Config) -> Result<(), Failure> {
    if !config.tenant.iter().any(|t| t.categories().contains(&Category::Events)) {
        return Err(Failure::Usage("no tenant has events: there is nothing to count".into()));
    }
    let directives = &config.topics.directives;
    if !Admin::connect(&config.kafka)?.partitions()?.contains_key(directives) {
        return Err(Failure::Failed(format!("topic {directives} is missing; mend it with `lethe topics apply`")));
    }
    Ok(())
}

/// Counts by one config. Returns the config to go on with, if `fresh` gave one before the end.
fn count(
    config: &Config,
    process: &Process,
    until_caught_up: bool,
    mut fresh: impl FnMut() -> Option<Config>,
) -> Result<Option<Config>, Failure> {
    let mut member = Member::connect(config)?;
    process.health.set_ready(true);
    let mut next = None;
    while next.is_none() && !process.stopping() {
        match member.turn(until_caught_up) {
            Ok(true) => break,
            Ok(false) => process.health.set_ready(true),
            Err(Fault::Stop(text)) => return Err(Failure::Failed(text)),
            Err(fault) => {
                // Nothing of it was committed, or a new producer settles it: everything is read again from what is committed.
                tracing::warn!(cause = %fault, "a turn failed; it is taken up again from what is committed");
                process.health.set_ready(false);
                member.active = None;
                std::thread::sleep(FAULT_PAUSE);
            }
        }
        next = fresh();
    }
    tracing::info!("aggregation ended");
    Ok(next)
}

/// A member of the group: active, or standing by.
struct Member<'c> {
    config: &'c Config,
    election: RawConsumer,
    framing: Arc<Framing>,
    generation: Arc<Generation>,
    seen_generation: u64,
    elected: bool,
    active: Option<Active<'c>>,
}

impl<'c> Member<'c> {
    fn connect(config: &'c Config) -> Result<Self, Failure> {
        let generation = Arc::new(Generation::default());
        let topic = config.topics.directives.clone();
        let election = RawConsumer::connect(&config.kafka, &config.aggregate.group, &[topic], Arc::clone(&generation))?;
        let framing = Arc::new(Framing::new(config, RECORD_SCHEMA)?);
        Ok(Member { config, election, framing, generation, seen_generation: 0, elected: false, active: None })
    }

    /// One turn. Returns whether everything is done that `until_caught_up` asks for. Errors: what the next turn mends, or `Stop`.
    fn turn(&mut self, until_caught_up: bool) -> Result<bool, Fault> {
        // What the election's topic holds is nothing to this job.
        self.election.lend(if self.elected { Duration::ZERO } else { STAND_BY }, |_| ())?;
        if self.generation.current() != self.seen_generation {
            self.seen_generation = self.generation.current();
            let places = self.election.assignment()?;
            self.active = None;
            self.elected = !places.is_empty();
            self.election.pause(&places)?;
            tracing::info!(elected = self.elected, "the group has chosen");
        }
        metrics::gauge!("lethe_aggregate_active").set(f64::from(u8::from(self.elected)));
        if !self.elected {
            return Ok(false);
        }
        let active = match &mut self.active {
            Some(active) => active,
            none => {
                let member = self.election.membership().ok_or_else(|| Fault::Retry("this process is in no group".into()))?;
                none.insert(Active::take_over(self.config, member, Arc::clone(&self.framing))?)
            }
        };
        active.read()?;
        active.publish()?;
        if active.is_outdated()? {
            self.active = None;
            return Ok(false);
        }
        Ok(until_caught_up && active.is_caught_up())
    }
}
