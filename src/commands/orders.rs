//! `lethe pause`, `resume`, `rate-limit` and `terminate`: one directive each, and the wait until every worker has taken it in.

use super::Failure;
use super::rights::look;
use crate::config::duration;
use crate::config::{Config, TenantConfig};
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Place, RawConsumer, places_of};
use crate::kafka::directives::{DirectiveReader, publish};
use crate::kafka::topics::Admin;
use crate::lifecycle::termination::{LONGEST_MS, SHORTEST_MS, Termination};
use crate::model::directive::{ALL_TENANTS, Directive, InForce, Order};
use crate::model::tenant::TenantId;
use crate::ops::say::say;
use crate::ops::{clock, keys};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a worker may take to take in a directive before the command says that it did not.
const BARRIER_WAIT: Duration = Duration::from_secs(60);
/// How often the workers' marks are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Pauses a tenant, or everybody (`None`), or lets go on. Errors: no such tenant; the brokers; a worker that does not take it in.
pub fn pause(config: &Config, tenant: Option<&TenantId>, paused: bool) -> Result<(), Failure> {
    give(config, tenant, Order::Pause { paused }, |in_force| {
        for t in config.tenant.iter().filter(|t| !paused && tenant.is_none_or(|only| *only == t.id)) {
            if in_force.is_paused(t.id.as_str()) {
                let rest = if tenant.is_some() { "everybody is paused; see `lethe resume --all`" } else { "it was paused by its own name" };
                say!("tenant {} stays paused: {rest}", t.id);
            }
        }
    })
}

/// Limits the events per second and worker of a tenant, or of everybody, or lifts the limit (`None`). Errors: as [`pause`].
pub fn rate_limit(config: &Config, tenant: Option<&TenantId>, events_per_second: Option<u32>) -> Result<(), Failure> {
    give(config, tenant, Order::RateLimit { events_per_second }, |in_force| {
        for t in config.tenant.iter().filter(|t| tenant.is_none_or(|only| *only == t.id)) {
            match in_force.rate_limit(t.id.as_str()) {
                now if now == events_per_second => {}
                Some(now) => say!("tenant {} stays limited to {now} events per second by another order", t.id),
                None => say!("tenant {} is not limited", t.id),
            }
        }
    })
}

/// Ends a tenant: returns once nothing of it is taken in any more; `retain` deletes everything of it by the deadline. Asked again, it is the same
/// request, unless the new deadline is sooner. `deadline`: as people write durations.
///
/// Errors: as [`pause`]; a deadline that is too late or, outside of tests, too soon.
pub fn terminate(config: &Config, tenant: &TenantId, deadline: &str) -> Result<(), Failure> {
    let within = duration::parse(deadline).map_err(|fault| Failure::Usage(format!("--deadline: {fault}")))?;
    let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
    if within_ms > LONGEST_MS {
        return Err(Failure::Usage("--deadline: must be within 30d: nothing of a terminated tenant may stay longer".into()));
    }
    if within_ms < SHORTEST_MS && !config.retain.testing {
        return Err(Failure::Usage("--deadline: must be 1h at least, so that a slip of the hand can be undone".into()));
    }
    let deadline_ms = clock::now_ms() + within_ms;
    let there = Admin::connect(&config.kafka)?.partitions()?;
    let known = if there.contains_key(&config.topics.directives) { look(config)? } else { InForce::default() };
    let before = known.all().filter(|s| s.directive.tenant == tenant.as_str()).find_map(|s| Some((s, Termination::of(s)?)));
    match before {
        Some((standing, termination)) if termination.deadline_ms <= deadline_ms => {
            say!("tenant {tenant} was terminated before");
            say!("request {}", standing.directive.id);
            Ok(())
        }
        Some((standing, _)) => {
            let id = standing.directive.id.clone();
            give_as(id, config, Some(tenant), Order::Terminate { deadline_ms }, |_| {})
        }
        None => give(config, Some(tenant), Order::Terminate { deadline_ms }, |_| {}),
    }
}

/// Produces the directive, waits for the barrier, tells what is in force, and prints the request's id.
fn give(config: &Config, tenant: Option<&TenantId>, order: Order, tell: impl Fn(&InForce)) -> Result<(), Failure> {
    give_as(keys::request_id()?, config, tenant, order, tell)
}

/// The same for a request that has its id.
fn give_as(id: String, config: &Config, tenant: Option<&TenantId>, order: Order, tell: impl Fn(&InForce)) -> Result<(), Failure> {
    if let Some(unknown) = tenant.filter(|t| config.tenant.iter().all(|c| c.id != **t)) {
        return Err(Failure::Usage(format!("the config has no tenant {unknown}")));
    }
    let tenant_text = tenant.map_or(ALL_TENANTS, TenantId::as_str).to_owned();
    let directive = Directive {
        id: id.clone(),
        tenant: tenant_text,
        issued_at_ms: clock::now_ms(),
        actor: "operator".into(),
        commitments: Vec::new(),
        order,
    };
    let value = serde_json::to_vec(&directive).map_err(|_| Failure::Failed("the directive cannot be written as JSON".into()))?;
    let topic = &config.topics.directives;
    let reader = DirectiveReader::connect(&config.kafka, topic)?;
    let mut in_force = InForce::default();
    reader.catch_up(&mut in_force)?;
    let offset = publish(&config.kafka, topic, &directive.key(), &value)?;
    reader.catch_up(&mut in_force)?;
    tell(&in_force);
    let passed = wait_for_barrier(config, tenant, offset);
    say!("request {id}");
    passed
}

/// Waits until every raw partition's mark is past `offset`, for every group that has members.
pub(super) fn wait_for_barrier(config: &Config, tenant: Option<&TenantId>, offset: i64) -> Result<(), Failure> {
    let tenants = config.tenant.iter().filter(|t| tenant.is_none_or(|only| *only == t.id));
    let sources: Vec<String> = tenants.flat_map(TenantConfig::sources).collect();
    let admin = Admin::connect(&config.kafka)?;
    let there = admin.partitions()?;
    let places = places_of(sources.iter().map(String::as_str).enumerate(), &there);
    let until = Instant::now() + BARRIER_WAIT;
    for group in &config.run.groups {
        let observer = RawConsumer::observe(&config.kafka, group, &sources, Arc::default())?;
        loop {
            match behind(&observer, &admin, group, &config.topics.directives, &places, offset) {
                Ok(0) => break,
                Ok(n) if Instant::now() > until => {
                    return Err(Failure::Failed(format!(
                        "the order stands in {}, but group {group} has not taken it in on {n} partitions within {} s; does `lethe run` make progress?",
                        config.topics.directives,
                        BARRIER_WAIT.as_secs()
                    )));
                }
                Err(Fault::Retry(_)) if Instant::now() < until => {}
                Err(fault) => return Err(fault.into()),
                Ok(_) => {}
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

/// How many partitions' marks are not past the directive; none for a group without members.
fn behind(observer: &RawConsumer, admin: &Admin, group: &str, directives: &str, places: &[Place], offset: i64) -> Result<usize, Fault> {
    if places.is_empty() {
        return Ok(0);
    }
    let committed = observer.committed(places)?;
    let past = |place: &&Place| committed.get(place).and_then(|(_, mark)| *mark).is_some_and(|mark| mark.directives > offset);
    let behind = places.len() - places.iter().filter(past).count();
    if behind > 0 && admin.is_empty_group(group, directives)? { Ok(0) } else { Ok(behind) }
}
