//! Fear: bytes from outside break Lethe, stop it, fill its memory, or come back in what it says.
//!
//! Every reader of bytes that somebody else wrote is a [`targets::Target`]. Each is fed its kept corpus (`corpus/<target>/`: small inputs, and every
//! input that ever broke it), then mutations of it. Held after each: no panic; memory at most a few times the input; no planted value in an error,
//! a quarantine record or a notice; what the target itself claims (one outcome a row, JSON that parses, a second scrub that changes nothing).
//!
//! `LETHE_FUZZ=1h` runs for so long instead of a fixed number of rounds, `LETHE_FUZZ_SEED` and `LETHE_FUZZ_TARGET` repeat one; built with coverage
//! (see the README), inputs that reach new code are kept in `target/fuzz-corpus` and mutated further.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop where it stands")]

mod allocator;
mod coverage;
mod engine;
mod events;
mod growth;
mod labels;
mod mutate;
mod readers;
mod targets;
mod world;

use engine::{End, fuzz};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Memory and CPU time are the process's, so only one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

#[test]
fn hostile_input_breaks_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = variable("LETHE_FUZZ_TARGET");
    let targets: Vec<_> = targets::all().into_iter().filter(|t| wanted.as_ref().is_none_or(|w| w == t.name)).collect();
    assert!(!targets.is_empty(), "no target of that name");
    let seed = variable("LETHE_FUZZ_SEED").map_or(1, |text| text.parse().unwrap());
    let long = variable("LETHE_FUZZ").map(|text| humantime::parse_duration(&text).unwrap());
    let end = |target: &targets::Target| match long {
        None => End::Rounds(target.rounds),
        Some(all) => End::After(all.div_f64(targets.len() as f64).max(Duration::from_secs(1))),
    };
    let found: Vec<String> = targets.iter().filter_map(|target| fuzz(target, end(target), seed).err()).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn work_and_memory_grow_no_faster_than_the_input() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    growth::check();
}

#[test]
fn labels_are_bounded_and_unscraped_histograms_too() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    labels::check();
}
