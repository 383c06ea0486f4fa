//! Follows the directives on a thread of its own, and answers what is in force.

use super::Job;
use crate::commands::Failure;
use crate::config::Config;
use crate::kafka::client::{self, Fault};
use crate::kafka::directives::DirectiveReader;
use crate::model::directive::InForce;
use crate::transform::gates::Gates;
use crate::transform::rules::Rules;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// The reader and what it has read.
pub(super) struct Follower {
    reader: Mutex<DirectiveReader>,
    in_force: RwLock<InForce>,
    gates: RwLock<Arc<Gates>>,
    version: AtomicU64,
    taken_in: Arc<AtomicI64>,
}

impl Follower {
    pub(super) fn connect(config: &Config, rules: &Rules) -> Result<Self, Failure> {
        let reader = DirectiveReader::connect(&config.kafka, &config.topics.directives)?;
        let mut in_force = InForce::default();
        reader.catch_up_first(&mut in_force)?;
        let taken_in = Arc::new(AtomicI64::new(in_force.next_offset));
        let gates = RwLock::new(Arc::new(Gates::build(&in_force, rules)));
        Ok(Follower { reader: Mutex::new(reader), in_force: RwLock::new(in_force), gates, version: AtomicU64::new(0), taken_in })
    }

    /// Rises whenever something new is in force.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Everything before this offset has been taken in.
    pub(super) fn next_offset(&self) -> i64 {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).next_offset
    }

    /// The same, for somebody who watches.
    pub(super) fn taken_in(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.taken_in)
    }

    /// What is in force.
    pub(super) fn in_force<T>(&self, look: impl FnOnce(&InForce) -> T) -> T {
        look(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// People's rights in force: as new as any mark that was read before.
    pub(super) fn gates(&self) -> Arc<Gates> {
        Arc::clone(&self.gates.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads up to an end fetched now.
    pub(super) fn catch_up(&self, rules: &Rules) -> Result<(), Fault> {
        self.read(rules, DirectiveReader::catch_up)
    }

    fn read(&self, rules: &Rules, how: impl FnOnce(&DirectiveReader, &mut InForce) -> Result<bool, Fault>) -> Result<(), Fault> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.in_force(InForce::clone);
        let before = next.next_offset;
        let read = how(&reader, &mut next);
        // What was taken in before an error came counts: the reader does not give it twice.
        let changed = *read.as_ref().unwrap_or(&(next.next_offset > before));
        metrics::gauge!("lethe_directives_offset").set(next.next_offset as f64);
        self.taken_in.store(next.next_offset, Ordering::SeqCst);
        metrics::gauge!("lethe_directives_unreadable").set(next.unreadable as f64);
        if changed {
            // Before the offset that marks speak of.
            *self.gates.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Gates::build(&next, rules));
        }
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = next;
        if changed {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        read.map(drop)
    }
}

/// Starts following.
pub(super) fn start(job: Arc<Job>) -> Result<JoinHandle<()>, Failure> {
    super::spawn(&Arc::clone(&job), "directives", move || {
        while !job.stopping() {
            let polled = job.follower.read(&job.rules, |reader, in_force| reader.follow(in_force, Duration::from_millis(50)));
            if let Err(fault) = polled {
                if let Fault::Stop(_) = fault {
                    return Err(fault);
                }
                client::log_again("directives cannot be followed", &fault.to_string());
                std::thread::sleep(Duration::from_millis(500));
            }
            // The lock is free for a moment, so that an assignment can catch up.
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })
}
