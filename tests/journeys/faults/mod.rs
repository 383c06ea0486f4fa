//! The fault suite: one table that both runs and documents it.
//!
//! ```text
//! cargo test --release --test journeys faults                                   # the quick part, a seed each
//! LETHE_FAULTS=all cargo test --release --test journeys faults -- --nocapture    # every fault, every seed
//! LETHE_FAULTS=all LETHE_FAULT_SEEDS=1 cargo test …                               # every fault, one seed each
//! LETHE_FAULTS=killed_at_each_step LETHE_FAULT_SEED=7 cargo test --release --test journeys faults::suite -- --nocapture
//! ```
//! A name among `LETHE_FAULTS` does a thing as often as the quick part does; with `whole,` before it, as often as the whole suite.
//! `LETHE_FAULTS_WRITE=1` writes the table to `tests/FAULTS.md`, which must be up to date.

pub mod armed;
mod brokers;
mod chaos;
mod estate;
mod input;
mod replicas;
mod run;
mod table;

use crate::support::broker::{Broker, Cluster};
use crate::support::moments::Moments;
use crate::support::proxy::Proxy;
use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use table::{How, TABLE};

/// What the faults stand on. Brokers that are started for one fault serve the others too.
#[derive(Default)]
pub struct Ground {
    whole: bool,
    proxied: OnceCell<(Arc<Broker>, Proxy)>,
    proxied_before_890: OnceCell<(Arc<Broker>, Proxy)>,
    cluster: OnceCell<Arc<Cluster>>,
}

impl Ground {
    /// A broker of our own, and a proxy before one of its listeners.
    fn behind_a_proxy(&self) -> (&Arc<Broker>, &Proxy) {
        proxied(&self.proxied, &[])
    }

    /// The same with transactions as they were before KIP-890.
    fn behind_a_proxy_before_890(&self) -> (&Arc<Broker>, &Proxy) {
        proxied(&self.proxied_before_890, &["--feature", "transaction.version=1"])
    }

    /// Three brokers.
    fn cluster(&self) -> &Arc<Cluster> {
        self.cluster.get_or_init(|| Arc::new(Cluster::start()))
    }

    /// Whether this is the whole suite.
    fn is_whole(&self) -> bool {
        self.whole
    }

    /// How often something is done: in the quick part, or in the whole suite.
    fn times(&self, quick: u32, whole: u32) -> u32 {
        if self.whole { whole } else { quick }
    }
}

fn proxied<'g>(kept: &'g OnceCell<(Arc<Broker>, Proxy)>, format: &[&str]) -> (&'g Arc<Broker>, &'g Proxy) {
    let (broker, proxy) = kept.get_or_init(|| {
        let proxy = Proxy::start();
        let (broker, port) = Broker::start_behind(proxy.port(), format);
        proxy.forward_to(port);
        (Arc::new(broker), proxy)
    });
    (broker, proxy)
}

/// What a fault was shown on.
pub struct Shown {
    /// Rows, requests or keys that went in.
    pub rows: u64,
    /// Records that had to be there, or to be gone.
    pub of: u64,
}

fn wish(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Tries one fault. Errors: what it broke.
fn attempt(ground: &Ground, name: &str, run: table::Run, seed: u64) -> Result<Shown, String> {
    println!("fault {name}, seed {seed}");
    catch_unwind(AssertUnwindSafe(|| run(ground, &mut Moments::of(seed)))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}

#[test]
fn suite() {
    let wanted = wish("LETHE_FAULTS");
    let given: Option<u64> = wish("LETHE_FAULT_SEED").map(|seed| seed.parse().expect("LETHE_FAULT_SEED is a number"));
    let most: u32 = wish("LETHE_FAULT_SEEDS").map_or(u32::MAX, |most| most.parse().expect("LETHE_FAULT_SEEDS is a number"));
    let names: Vec<&str> = wanted.iter().flat_map(|names| names.split(',')).collect();
    let is_all = names.contains(&"all");
    let ground = Ground { whole: is_all || names.contains(&"whole"), ..Ground::default() };
    let (mut faults, mut lines, mut any) = (Vec::new(), Vec::new(), false);
    for fault in TABLE {
        let How::Here { run, quick, whole } = fault.how else { continue };
        let named = names.contains(&fault.name);
        let count = if is_all || named {
            whole
        } else if wanted.is_some() {
            0
        } else {
            quick
        };
        let first = given.unwrap_or_else(Moments::fresh_seed);
        for seed in (first..).take(count.min(if given.is_some() { 1 } else { most }) as usize) {
            any = true;
            let begun = Instant::now();
            match attempt(&ground, fault.name, run, seed) {
                Ok(shown) => {
                    let line = format!("| `{}` | {seed} | {} | {} | {} |", fault.name, shown.rows, shown.of, begun.elapsed().as_secs());
                    println!("{line}");
                    lines.push(line);
                }
                Err(text) => {
                    println!("| `{}` | {seed} | **broken** | {text} | {} |", fault.name, begun.elapsed().as_secs());
                    faults.push(format!("LETHE_FAULTS={} LETHE_FAULT_SEED={seed}: {text}", fault.name));
                }
            }
        }
    }
    assert!(any, "no fault of this name: {wanted:?}");
    println!("| fault | seed | in | out | seconds |\n|---|---|---|---|---|\n{}", lines.join("\n"));
    assert!(faults.is_empty(), "{} faults broke something:\n{}", faults.len(), faults.join("\n"));
}

/// Whoever plants a bug must hear of it from the suite, in these words.
#[test]
fn planted_bugs_are_found() {
    let ground = Ground::default();
    let is_all = wish("LETHE_FAULTS").is_some_and(|names| names.split(',').any(|name| name == "all"));
    for (bug, run, words) in table::PLANTED.iter().take(if is_all { usize::MAX } else { table::PLANTED_QUICK }) {
        let found =
            attempt(&ground, bug.as_str(), *run, wish("LETHE_FAULT_SEED").and_then(|s| s.parse().ok()).unwrap_or_else(Moments::fresh_seed));
        let text = found.err().unwrap_or_else(|| panic!("{} was planted and nothing noticed it", bug.as_str()));
        assert!(text.contains(words), "{} was planted and something else failed: {text}", bug.as_str());
        println!("{} was found: {}", bug.as_str(), text.lines().next().unwrap_or_default());
    }
}
