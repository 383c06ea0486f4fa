//! `lethe run`: raw topics in, pseudonymised and destination records out, exactly once.
//!
//! A worker is three threads with bounded queues between them, so that the round trip of a commit costs no throughput. A batch is one transaction and
//! goes through them in pieces:
//!
//! ```text
//! collect (consumer) ──> transform (rayon) ──> commit (transactional producer)
//! ```
//! What was read under an older generation of the consumer (before a rebalance, an abort, a directive) begins no transaction, and ends the one it is in:
//! the generation's number is checked under the lock that a rebalance waits for.

mod collect;
mod commit;
mod directives;
mod pieces;
mod schemas;
mod target;
mod tenants;

use super::process::{self, Epochs, Files, Process, Refused};
use super::watch::Watch;
use super::{Failure, Load, terminated};
use crate::config::Config;
use crate::config::compile::compile;
use crate::kafka::client::Fault;
use crate::kafka::consumer::{Generation, RawConsumer};
use crate::kafka::directives::Mark;
use crate::kafka::fetcher::Fetcher;
use crate::kafka::permissions::{Authorised, Permissions};
use crate::kafka::topics::Admin;
use crate::lifecycle::termination::Terminations;
use crate::model::access::Operation;
use crate::model::keyring::Keyring;
use crate::model::record::RawRecords;
use crate::ops::assets::GeoFile;
use crate::ops::{clock, http, keys, metrics};
use crate::transform::Tally;
use crate::transform::enrich::device_table::DeviceTable;
use crate::transform::enriched::Assets;
use crate::transform::rules::Rules;
use crossbeam_channel::bounded;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What all threads of the job share.
pub(crate) struct Job {
    config: Config,
    rules: Rules,
    assets: Tables,
    labels: metrics::TenantLabels,
    follower: directives::Follower,
    tenants: tenants::Tenants,
    schemas: schemas::Known,
    stop: AtomicBool,
    /// The topics of a terminated tenant are gone: the job is to begin anew without it.
    ended: AtomicBool,
    /// The wish of the whole process.
    process_stop: Arc<AtomicBool>,
    failed: Mutex<Option<String>>,
    done: Mutex<Done>,
    health: http::Health,
}

impl Job {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.process_stop.load(Ordering::Relaxed)
    }

    /// What has been committed.
    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the job with a failure. The first one is told.
    fn fail(&self, text: String) {
        if self.health.is_ready() {
            tracing::error!(cause = %text, "the job ends");
        } else {
            // A job that never began says why in one line: the process's last.
            tracing::debug!(cause = %text, "the job ends");
        }
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        self.stop.store(true, Ordering::Relaxed);
        self.health.set_dead();
    }
}

/// When the job ends, unless it is asked to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// When asked to.
    Asked,
    /// Once the end offsets seen at start are committed.
    CaughtUp,
    /// Once so many rows are committed: for brokers that do not keep committed offsets.
    Rows(u64),
}

/// What the job has committed.
#[derive(Clone, Default)]
pub struct Done {
    /// Rows by outcome, of all tenants.
    pub tally: Tally,
    /// From the first batch's transform to the last one's commit.
    pub span: Option<(Instant, Instant)>,
}

/// Runs the job until SIGTERM or SIGINT, or, with `until_caught_up`, until the end offsets seen at start are committed. Tenants, keys and tables that
/// change meanwhile are taken up: the job begins anew in the same process, from what was committed.
///
/// Errors: configuration, keys, topics, brokers; see [`Failure`].
pub fn run(load: &Load, path: &Path, until_caught_up: bool) -> Result<(), Failure> {
    let mut files = Files::follow(path, &load()?);
    let mut config = load()?;
    if config.tenant.is_empty() {
        return Err(Failure::Usage("the config names no [[tenant]]: there is nothing to run".into()));
    }
    let mut keyring = keys::load(&config.keys.file, std::env::var(keys::KEYRING_VARIABLE).ok())?;
    if until_caught_up {
        return work(config, keyring, End::CaughtUp).map(drop);
    }
    let kept = schemas::Kept::new(&config).map_err(Failure::Usage)?;
    let mut prepared = prepare(&config, &keyring, &kept)?;
    let process = Process::start(&config.run.http, &config)?;
    loop {
        let epochs = keyring.epochs();
        drop(keyring);
        let mut fresh = None;
        let mut look = || {
            fresh = files.look(&process, |files| {
                let (load, now, kept, is_new_keyring) = (Arc::clone(load), config.clone(), Arc::clone(&kept), files.is_new_keyring());
                let epochs = epochs.clone();
                move || anew(&load, (&now, &epochs), is_new_keyring, &kept)
            });
            fresh.is_some()
        };
        if prepared.rules.tenants.is_empty() {
            wait_for_tenants(&process, look);
        } else {
            job(prepared, &process, End::Asked, &mut look)?;
        }
        match fresh {
            Some(next) => (config, keyring, prepared) = next,
            None if process.stopping() => return Ok(()),
            None => {
                // A terminated tenant's topics are gone: on without it.
                keyring = keys::load(&config.keys.file, std::env::var(keys::KEYRING_VARIABLE).ok())?;
                prepared = prepare(&config, &keyring, &kept)?;
            }
        }
    }
}

/// With every tenant terminated there is nothing to do, until the config names a new one.
fn wait_for_tenants(process: &Process, mut is_over: impl FnMut() -> bool) {
    tracing::warn!("every tenant of the config is terminated: there is nothing to run");
    process.health.set_ready(true);
    while !process.stopping() && !is_over() {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a job needs of the outside before it begins.
struct Ready {
    /// Without the tenants that were terminated and are gone.
    config: Config,
    rules: Rules,
    admin: Admin,
    tenants: tenants::Tenants,
    assets: Tables,
    schemas: schemas::Known,
}

/// What is to be in force after files were changed; `None`: nothing is different. Errors: what would not run is refused.
fn anew(
    load: &Load,
    (now, epochs): (&Config, &Epochs),
    is_new_keyring: bool,
    kept: &Arc<schemas::Kept>,
) -> Result<Option<(Config, Keyring, Ready)>, Refused> {
    let next = match process::changed(load, now)? {
        Some(next) => next,
        None if is_new_keyring => now.clone(),
        None => return Ok(None),
    };
    let keyring = process::keyring(&next, epochs)?;
    let ready = prepare(&next, &keyring, kept).map_err(Refused::config)?;
    Ok(Some((next, keyring, ready)))
}

fn prepare(config: &Config, keyring: &Keyring, kept: &Arc<schemas::Kept>) -> Result<Ready, Failure> {
    let keyless = terminated::keyless(config, keyring);
    if keyless.is_empty() {
        // Told before the brokers are asked.
        compile(config, keyring).map_err(|faults| Failure::Usage(faults.join("; ")))?;
    }
    let admin = Admin::connect(&config.kafka)?;
    let there = admin.partitions()?;
    let terminations = terminated::terminations(config, &there)?;
    let mut gone = terminated::gone(config, &terminations, &there);
    gone.extend(keyless.into_iter().filter(|tenant| terminations.concern(tenant)));
    for tenant in &gone {
        tracing::info!(tenant, "this tenant was terminated: it is left out");
    }
    let config = terminated::without(config, &gone).into_owned();
    let rules = compile(&config, keyring).map_err(|faults| Failure::Usage(faults.join("; ")))?;
    let tenants = tenants::Tenants::look(&rules, &config, &there)?;
    let schemas = schemas::Known::new(kept, &rules, config.schema_registry.unknown_wait);
    Ok(Ready { rules, admin, tenants, assets: Tables::open(&config)?, schemas, config })
}

/// The job itself, once per process, with a keyring from wherever.
///
/// Errors: as [`run`].
pub fn work(config: Config, keyring: Keyring, end: End) -> Result<Done, Failure> {
    let kept = schemas::Kept::new(&config).map_err(Failure::Usage)?;
    let ready = prepare(&config, &keyring, &kept)?;
    drop(keyring);
    if ready.rules.tenants.is_empty() {
        return Ok(Done::default());
    }
    let process = Process::start(&config.run.http, &config)?;
    job(ready, &process, end, || false)
}

/// One job, from its start until it is asked to stop, has reached its end, or `is_over` says so.
fn job(ready: Ready, process: &Process, end: End, mut is_over: impl FnMut() -> bool) -> Result<Done, Failure> {
    let Ready { config, rules, admin, tenants, assets, schemas } = ready;
    if config.run.threads > 0 {
        // Fails only if a pool exists, which then is as good.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(config.run.threads).build_global();
    }
    let follower = directives::Follower::connect(&config, &rules)?;
    let labels = metrics::TenantLabels::new(rules.tenants.iter().map(|t| t.id.as_str()));
    let job = Arc::new(Job {
        config,
        rules,
        assets,
        labels,
        follower,
        tenants,
        schemas,
        stop: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        process_stop: Arc::clone(&process.stop),
        failed: Mutex::default(),
        done: Mutex::default(),
        health: process.health.clone(),
    });
    let target = target::Target::look(&job, end == End::CaughtUp)?;
    watch_topics(&job, admin)?;
    let mut threads = vec![directives::start(Arc::clone(&job))?];
    threads.extend(schemas::start(&job)?);
    let mut watch = Watch::new(&job.config, job.follower.taken_in(), Vec::new());
    for worker in 0..job.config.run.workers {
        let (consumer, stages) = start_worker(&job, worker)?;
        watch.consumers.push(Arc::downgrade(&consumer));
        threads.extend(stages);
    }
    let watched = Arc::clone(&job);
    watch.start(&job.config.kafka, move || watched.stopping()).map_err(Failure::Failed)?;
    supervise(&job, threads, |job| {
        job.assets.follow(process.wants_tables());
        match (end, &target) {
            (End::Rows(rows), _) => job.done().tally.rows() >= rows,
            (_, Some(target)) => target.reached(job),
            _ => job.ended.load(Ordering::Relaxed) || is_over(),
        }
    })?;
    let done = job.done().clone();
    Ok(done)
}

/// Looks at the topics of tenants that stand still or were terminated, on a thread that nobody waits for: an answer may take long.
fn watch_topics(job: &Arc<Job>, admin: Admin) -> Result<(), Failure> {
    let watched = Arc::clone(job);
    spawn(job, "topics", move || {
        while !watched.stopping() {
            std::thread::sleep(tenants::LOOK_EVERY);
            if watched.tenants.must_ask_for_rights() {
                ask_for_rights(&watched);
            }
            let terminations = watched.follower.in_force(Terminations::build);
            let any_terminated = terminations.tenants().next().is_some();
            if !any_terminated && !watched.tenants.any_blocked() {
                continue;
            }
            match admin.partitions() {
                Ok(there) if !terminated::gone(&watched.config, &terminations, &there).is_empty() => {
                    watched.ended.store(true, Ordering::Relaxed);
                }
                Ok(there) => watched.tenants.look_again(&watched.rules, &there),
                Err(fault) => tracing::warn!(%fault, "topics cannot be looked at"),
            }
        }
        Ok(())
    })
    .map(drop)
}

/// Asks which raw topics may be read. Brokers that do not answer are asked again.
fn ask_for_rights(job: &Job) {
    let names: Vec<String> = job.rules.sources.iter().map(|s| s.topic.clone()).collect();
    match Permissions::connect(&job.config.kafka).and_then(|permissions| permissions.of_topics(&names)) {
        Ok(told) => job.tenants.take_rights(&job.rules, |topic| match told.get(topic) {
            Some(Authorised::Operations(may)) => may.contains(&Operation::Read),
            Some(Authorised::Hidden) => false,
            _ => true,
        }),
        Err(fault) => {
            job.tenants.read_was_refused();
            tracing::warn!(%fault, "permissions cannot be asked for");
        }
    }
}

/// Waits for the end, and then for the threads.
fn supervise(job: &Arc<Job>, threads: Vec<JoinHandle<()>>, mut reached: impl FnMut(&Job) -> bool) -> Result<(), Failure> {
    let mut last_look = Instant::now();
    while !job.stopping() {
        std::thread::sleep(Duration::from_millis(50));
        if last_look.elapsed() > Duration::from_millis(200) {
            last_look = Instant::now();
            if reached(job) {
                tracing::info!("this job has done what it was to do");
                job.stop.store(true, Ordering::Relaxed);
            }
        }
        if threads.iter().any(JoinHandle::is_finished) && !job.stopping() {
            job.fail("a thread ended unexpectedly".into());
        }
    }
    job.health.set_ready(false);
    let end = Instant::now() + process::SHUTDOWN;
    while !threads.iter().all(JoinHandle::is_finished) {
        if Instant::now() > end {
            let late: Vec<&str> = threads.iter().filter(|thread| !thread.is_finished()).filter_map(|late| late.thread().name()).collect();
            return Err(Failure::Failed(format!(
                "the shutdown took too long ({}); what was not committed will be read again",
                late.join(", ")
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    match job.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(text) => Err(Failure::Failed(text)),
        None => Ok(()),
    }
}

fn start_worker(job: &Arc<Job>, worker: u16) -> Result<(Arc<RawConsumer>, [JoinHandle<()>; 3]), Failure> {
    let generation = Arc::new(Generation::default());
    let names: Vec<String> = job.rules.sources.iter().map(|s| s.topic.clone()).collect();
    let consumer = RawConsumer::join(&job.config.kafka, &job.config.run.group, &names, Arc::clone(&generation))?;
    let consumer = Arc::new(consumer.with_patience(collect::PATIENCE));
    let fetcher = Fetcher::start(&job.config.kafka, &names)?;
    let (to_transform, from_collect) = bounded(0);
    // Pieces may wait here: the line goes on while the brokers commit the batch before.
    let (to_commit, from_transform) = bounded(pieces::ROWS_AHEAD / pieces::piece_rows(job.rules.tenants.len()));
    let (spent, reused) = bounded::<RawRecords>(2);
    let collector = collect::Collector::new(Arc::clone(job), Arc::clone(&consumer), fetcher, Arc::clone(&generation), to_transform, reused);
    let committer = commit::Committer::new(Arc::clone(job), Arc::clone(&consumer), Arc::clone(&generation), worker);
    let line = Arc::clone(job);
    let stages = [
        spawn(job, "collect", move || collector.run())?,
        spawn(job, "transform", move || {
            pieces::transform_all(&line, &generation, &from_collect, &to_commit, &spent);
            Ok(())
        })?,
        spawn(job, "commit", move || committer.run(&from_transform))?,
    ];
    Ok((consumer, stages))
}

fn spawn(job: &Arc<Job>, name: &str, work: impl FnOnce() -> Result<(), Fault> + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    let job = Arc::clone(job);
    let body = move || {
        if let Err(fault) = work() {
            job.fail(fault.to_string());
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(body).map_err(|e| Failure::Failed(format!("cannot start a thread: {e}")))
}

/// The tables that enrichment reads; the GeoIP file is followed.
struct Tables {
    devices: Arc<DeviceTable>,
    geo: Option<Mutex<GeoFile>>,
}

impl Tables {
    fn open(config: &Config) -> Result<Self, Failure> {
        let devices = DeviceTable::embedded().map_err(|e| Failure::Failed(e.to_string()))?;
        let file = &config.geoip.file;
        let geo = if file.as_os_str().is_empty() {
            None
        } else {
            let fault = |e| Failure::Usage(format!("geoip.file {}: {e}", file.display()));
            let open = GeoFile::open(file, clock::now_ms()).map_err(fault)?;
            metrics::refused("geoip", false);
            Some(Mutex::new(open))
        };
        Ok(Tables { devices: Arc::new(devices), geo })
    }

    /// Looks at the files, batches or not; at once, changed or not, where somebody `asked`.
    fn follow(&self, asked: bool) {
        if let Some(file) = &self.geo {
            let (mut file, now_ms) = (file.lock().unwrap_or_else(PoisonError::into_inner), clock::now_ms());
            if asked {
                file.look_now(now_ms)
            } else {
                file.refresh(now_ms)
            };
        }
    }

    /// What is in force for one batch.
    fn at(&self, now_ms: i64) -> Assets {
        let geo = self.geo.as_ref().map(|file| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.refresh(now_ms);
            file.reader()
        });
        Assets { devices: Arc::clone(&self.devices), geo }
    }
}

/// The mark of an offset of this tenant.
fn mark(job: &Job, source: u16, directives: i64) -> String {
    let tenant = &job.rules.tenants[usize::from(job.rules.sources[usize::from(source)].tenant)];
    Mark { directives, epoch: tenant.keys.last().map_or(0, |k| k.epoch.0) }.to_text()
}
