//! Patience: polling with a deadline, and turns for journeys that need the whole machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// How long anything may take before a journey gives up: generous, as two cores may carry several journeys and a compiler.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often `eventually` looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until `look` finds something, and returns it; after `PATIENCE` fails with what it was waiting for.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// `eventually`, with a deadline of one's own.
#[track_caller]
pub fn eventually_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Lets what runs beside a test end when dropped, whatever becomes of the test.
pub struct Stop<'s>(pub &'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The turn of a heavy journey: as long as it lives, no other heavy journey begins. Light ones go on.
pub fn heavy() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A journey's turn on the machine: beside the others, or alone.
#[expect(dead_code, reason = "held, not read")]
pub enum Turn {
    Beside(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

static MACHINE: RwLock<()> = RwLock::new(());

impl Turn {
    /// Waits until no journey is alone on the machine. A test has one journey at a time: with two, one that wants to be alone in between waits for ever.
    pub fn beside_others() -> Self {
        Turn::Beside(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until no other journey is under way.
    pub fn alone() -> Self {
        Turn::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
    }
}
