//! What a process has once, however often its job begins anew: metrics, listener, signals, and the files that it follows.

use super::{Failure, signals};
use crate::config::Config;
use crate::model::keyring::Keyring;
use crate::model::pseudonym::Epoch;
use crate::model::tenant::TenantId;
use crate::ops::{http, keys, metrics};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a job may take to end before the process ends anyway: what was not committed is read again.
pub(super) const SHUTDOWN: Duration = Duration::from_secs(9);

/// How often a job's flag is brought up to date.
const RELAY: Duration = Duration::from_millis(50);

/// Reads the configuration as it is now.
pub type Load = Arc<dyn Fn() -> Result<Config, Failure> + Send + Sync>;

/// A process with its listener.
pub(super) struct Process {
    /// What the probes answer.
    pub health: http::Health,
    /// The wish to stop.
    pub stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    reload_tables: Arc<AtomicBool>,
}

impl Process {
    /// Starts signals, metrics and listener. `address`: that of the job's listener. Errors: each of them.
    pub fn start(address: &str, config: &Config) -> Result<Self, Failure> {
        // First: whoever sees that it is up may ask it to stop.
        let (stop, reload, reload_tables): (Arc<AtomicBool>, Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        signals::follow(Arc::clone(&stop), [Arc::clone(&reload), Arc::clone(&reload_tables)]).map_err(Failure::Failed)?;
        let handle = metrics::start().map_err(Failure::Failed)?;
        ["config", "keyring"].iter().for_each(|file| metrics::refused(file, false));
        let health = http::Health::default();
        http::serve(address, &config.admin, health.clone(), handle).map_err(Failure::Failed)?;
        Ok(Process { health, stop, reload, reload_tables })
    }

    /// A flag for one job: set when the process is to stop, or by the job itself at its end. Errors: no thread.
    pub fn follow_stop(&self) -> Result<Arc<AtomicBool>, String> {
        let (job, process) = (Arc::new(AtomicBool::new(false)), Arc::clone(&self.stop));
        let flag = Arc::clone(&job);
        let relay = move || {
            while !flag.load(Ordering::SeqCst) {
                if process.load(Ordering::SeqCst) {
                    flag.store(true, Ordering::SeqCst);
                }
                std::thread::sleep(RELAY);
            }
        };
        std::thread::Builder::new().name("stop".into()).spawn(relay).map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(job)
    }

    /// Sees to it that the process ends soon once it is to stop, though a call to brokers that are away may take much longer. For jobs with one
    /// thread, which lose nothing by it: what is not committed is read again. Errors: no thread.
    pub fn end_in_time(&self) -> Result<(), String> {
        let stop = Arc::clone(&self.stop);
        let watch = move || {
            while !stop.load(Ordering::SeqCst) {
                std::thread::sleep(RELAY);
            }
            std::thread::sleep(SHUTDOWN);
            tracing::warn!("the shutdown took too long; what was not committed will be read again");
            std::process::exit(1);
        };
        std::thread::Builder::new().name("end".into()).spawn(watch).map(drop).map_err(|e| format!("cannot start a thread: {e}"))
    }

    /// Whether somebody asked, since the last call, for tables to be read anew.
    pub fn wants_tables(&self) -> bool {
        self.reload_tables.swap(false, Ordering::SeqCst)
    }

    /// Whether somebody asked it to stop.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Why changed files were not taken.
pub(super) struct Refused {
    /// `config` or `keyring`.
    pub file: &'static str,
    /// What is wrong, without any value.
    pub cause: String,
}

impl Refused {
    /// Of the config.
    pub fn config(cause: impl ToString) -> Self {
        Refused { file: "config", cause: cause.to_string() }
    }
}

/// Follows the config and the keyring: what is changed for the better is taken, what is changed for the worse is told, and the old stays in force.
pub(super) struct Files<T> {
    paths: [PathBuf; 2],
    seen: Stamps,
    looked: Instant,
    said: String,
    reading: Option<Reading<T>>,
}

type Stamps = [Option<(i64, u64)>; 2];

/// Files that are being read, on a thread of their own: what is checked then may wait for brokers, and nobody should wait for that, least of all
/// somebody who was asked to stop.
struct Reading<T> {
    stamps: Stamps,
    asked: bool,
    answer: Receiver<Result<Option<T>, Refused>>,
}

impl<T: Send + 'static> Files<T> {
    /// Follows from now on: what is read after this call, and changes after it, is noticed. `path`: that of the config file.
    pub fn follow(path: &Path, config: &Config) -> Self {
        let paths = [path.to_path_buf(), config.keys.file.clone()];
        let seen = stamps(&paths);
        Files { paths, seen, looked: Instant::now(), said: String::new(), reading: None }
    }

    /// Looks now and then, or at once on SIGHUP, whether a file was changed, and reads all anew. What `begin` returns gives what is to be in force, or
    /// why not; a refusal is tried again at every look, because a file may be half written and a broker may be away.
    pub fn look<F>(&mut self, process: &Process, begin: impl FnOnce(&Self) -> F) -> Option<T>
    where
        F: FnOnce() -> Result<Option<T>, Refused> + Send + 'static,
    {
        if let Some(reading) = &self.reading {
            let answer = match reading.answer.try_recv() {
                Ok(answer) => answer,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => Err(Refused::config("reading it ended unexpectedly")),
            };
            let (stamps, asked) = (reading.stamps, reading.asked);
            self.reading = None;
            return self.settle(answer, stamps, asked);
        }
        let asked = process.reload.swap(false, Ordering::SeqCst);
        if !asked && self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        let stamps = stamps(&self.paths);
        if !asked && stamps == self.seen {
            return None;
        }
        let (to, answer) = bounded(1);
        let read = begin(self);
        let started = std::thread::Builder::new().name("reload".into()).spawn(move || to.send(read()));
        match started {
            Ok(_) => self.reading = Some(Reading { stamps, asked, answer }),
            Err(e) => tracing::error!(cause = %e, "files cannot be read anew"),
        }
        None
    }

    fn settle(&mut self, answer: Result<Option<T>, Refused>, stamps: Stamps, asked: bool) -> Option<T> {
        match answer {
            Ok(fresh) => {
                self.seen = stamps;
                self.said.clear();
                ["config", "keyring"].iter().for_each(|file| metrics::refused(file, false));
                tracing::info!(changed = fresh.is_some(), "files were read anew");
                fresh
            }
            Err(Refused { file, cause }) => {
                ["config", "keyring"].iter().for_each(|each| metrics::refused(each, *each == file));
                if asked || cause != self.said {
                    tracing::error!(file, %cause, "a changed file was refused; the old one stays in force");
                    self.said = cause;
                }
                None
            }
        }
    }

    /// Whether the keyring was changed since it was taken.
    pub fn is_new_keyring(&self) -> bool {
        stamps(&self.paths)[1] != self.seen[1]
    }
}

impl Files<Config> {
    /// The same, for a job that needs the config alone. `check` refuses what would not run.
    pub fn look_checked(
        &mut self,
        process: &Process,
        load: &Load,
        now: &Config,
        check: fn(&Config) -> Result<(), Failure>,
    ) -> Option<Config> {
        self.look(process, |_| {
            let (load, now) = (Arc::clone(load), now.clone());
            move || {
                let next = changed(&load, &now)?;
                next.iter().try_for_each(check).map_err(Refused::config)?;
                Ok(next)
            }
        })
    }
}

fn stamps(paths: &[PathBuf; 2]) -> Stamps {
    [keys::stamp(&paths[0]), keys::stamp(&paths[1])]
}

/// The config to go on with: tenants, keys and tables of the file, everything else as it was at the start. `None`: nothing is different.
///
/// Errors: the file is refused.
pub(super) fn changed(load: &Load, now: &Config) -> Result<Option<Config>, Refused> {
    let file = load().map_err(Refused::config)?;
    let next = Config { tenant: file.tenant.clone(), keys: file.keys.clone(), geoip: file.geoip.clone(), ..now.clone() };
    let text = |config: &Config| toml::to_string(config).unwrap_or_default();
    if text(&next) != text(&file) {
        tracing::warn!("of the changed config only tenants, keys and geoip are in force; the rest is at the next start");
    }
    Ok((text(&next) != text(now)).then_some(next))
}

/// The newest key generation of each tenant.
pub(super) type Epochs = BTreeMap<TenantId, Epoch>;

/// The keyring that the config names. Errors: refused; it lacks a generation that is in use.
pub(super) fn keyring(config: &Config, in_use: &Epochs) -> Result<Keyring, Refused> {
    let refused = |cause: String| Refused { file: "keyring", cause };
    let read = keys::load(&config.keys.file, std::env::var(keys::KEYRING_VARIABLE).ok());
    let keyring = read.map_err(|fault| refused(fault.to_string()))?;
    let named = in_use.iter().filter(|(id, _)| config.tenant.iter().any(|t| t.id == **id)).map(|(id, epoch)| (id.clone(), *epoch));
    if let Some((tenant, epoch)) = keyring.lacks(&named.collect()) {
        return Err(refused(format!("tenant {tenant} lacks epoch {}, which is in use: was the keyring rolled back?", epoch.0)));
    }
    Ok(keyring)
}
