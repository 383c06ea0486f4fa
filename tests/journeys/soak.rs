//! Fear: what holds for minutes does not hold for hours. Memory, threads or open files creep up, or some rare order of faults loses a record.
//!
//! Shown: under load that never lets up, with a fault every 30 s (a worker killed, frozen past its session, a broker killed and back, a member that joins
//! and leaves), every output topic ends up holding exactly what the library's own line makes of the raw topic, and the worker that lives through
//! all of it is no larger in the second half than in the first. `LETHE_SOAK=1h` says how long, `LETHE_SOAK_RATE` how many events a second; by default 12 s.

use crate::support::journey::Journey;
use crate::support::lethe::Lethe;
use crate::support::scene::{Scene, rows};
use crate::support::wait::{eventually, eventually_within, heavy};
use std::time::{Duration, Instant};

/// Faults come so often.
const FAULT_EVERY: Duration = Duration::from_secs(30);
/// How soon there must be progress once a fault is over, on a busy machine.
const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// Samples from which on two halves are compared; the first are of a process that is still warming up.
const COMPARED_FROM: usize = 120;
const WARMING_UP: usize = 30;

/// What one process holds. Units: KiB, counts.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory_kib: u64,
    peak_kib: u64,
    threads: u64,
    /// `None` where this user may not look.
    files: Option<u64>,
}

impl Held {
    fn of(process: &mut Lethe) -> Self {
        let folder = format!("/proc/{}", process.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
            line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap()
        };
        let files = std::fs::read_dir(format!("{folder}/fd")).ok().map(|all| all.count() as u64);
        Held { memory_kib: number("VmRSS:"), peak_kib: number("VmHWM:"), threads: number("Threads:"), files }
    }
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all[all.len() / 2]
}

#[test]
fn memory_is_the_same_over_any_backlog() {
    let _turn = heavy();
    let scene = Scene::new(Journey::new("memory_over_any_backlog"), |config| {
        config.set("kafka.fetch_ahead_kib", 4_096).set("run.batch_events", 2_000)
    });
    let mut worker = scene.worker("a");
    worker.wait_until_ready();
    let mut peaks = Vec::new();
    for backlog in [30_000, 120_000] {
        // All of it waits before the worker looks.
        worker.freeze();
        scene.produce(backlog);
        worker.thaw();
        scene.wait_until_done();
        eventually("the rows to be counted", || (rows(&worker.metrics()) >= backlog).then_some(()));
        peaks.push(Held::of(&mut worker).peak_kib);
    }
    println!("at most {} KiB over a backlog of 30,000 rows, {} KiB over 120,000", peaks[0], peaks[1]);
    assert!(peaks[1] < peaks[0] * 5 / 4 + 64 * 1_024, "the peak grows with the backlog: {peaks:?} KiB");
}

/// Breaks something, and mends it.
fn break_something(round: usize, scene: &Scene, victim: &mut Lethe) -> &'static str {
    match round % 4 {
        0 => {
            std::mem::replace(victim, scene.worker("b")).kill();
            "a worker killed"
        }
        1 => {
            victim.freeze();
            // Past the session's timeout, so that the other takes over.
            std::thread::sleep(Duration::from_secs(8));
            victim.thaw();
            "a worker frozen for 8 s"
        }
        2 => {
            let mut third = scene.worker("c");
            third.wait_until_ready();
            third.terminate_within(Duration::from_secs(60));
            "a member that joined and left"
        }
        _ => {
            scene.journey.broker().kill();
            std::thread::sleep(Duration::from_secs(2));
            scene.journey.broker().restart();
            "the broker killed and back"
        }
    }
}

/// Holds what the lasting worker had in the second half against the first.
fn assert_flat(samples: &[Held]) {
    if samples.len() < COMPARED_FROM {
        println!("{} samples: too few to compare two halves", samples.len());
        return;
    }
    let warm = &samples[WARMING_UP..];
    let (first, second) = warm.split_at(warm.len() / 2);
    let memory = |half: &[Held]| median(half.iter().map(|h| h.memory_kib).collect());
    let threads = |half: &[Held]| half.iter().map(|h| h.threads).max().unwrap();
    let files = |half: &[Held]| half.iter().map(|h| h.files).max().unwrap();
    println!("| | first half | second half |\n|---|---|---|");
    println!("| resident memory, median, KiB | {} | {} |", memory(first), memory(second));
    println!("| threads, most | {} | {} |", threads(first), threads(second));
    println!("| open files, most | {:?} | {:?} |", files(first), files(second));
    assert!(memory(second) <= memory(first) * 5 / 4 + 32 * 1_024, "memory creeps up");
    assert!(threads(second) <= threads(first) + 4, "threads creep up");
    assert!(files(second) <= files(first).map(|n| n + 16), "open files creep up");
}

#[test]
fn soaked_under_faults_nothing_creeps_up_and_nothing_is_lost() {
    let _turn = heavy();
    let wish = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let long = wish("LETHE_SOAK").map_or(Duration::from_secs(12), |text| humantime::parse_duration(&text).unwrap());
    let rate: u64 = wish("LETHE_SOAK_RATE").map_or(1_000, |text| text.parse().unwrap());
    let scene = Scene::new(Journey::with_own_broker("soaked_under_faults"), |config| {
        config.set("run.batch_events", 1_000).set("kafka.fetch_ahead_kib", 8_192).set("kafka.transaction_timeout_ms", 4_000)
    });
    let reader = scene.reader();
    let (mut lasting, mut victim) = (scene.worker("a"), scene.worker("b"));
    lasting.wait_until_ready();
    victim.wait_until_ready();
    let (begun, mut samples, mut broken, mut given) = (Instant::now(), Vec::new(), Vec::new(), 0);
    let mut next_fault = begun + FAULT_EVERY.min(long / 2);
    while begun.elapsed() < long {
        let second = Instant::now();
        scene.produce(rate);
        given += rate;
        if Instant::now() >= next_fault {
            let (what, seen) = (break_something(broken.len(), &scene, &mut victim), reader.seen());
            if scene.lag_at_once(scene.tenant()) > 0 {
                eventually_within(HEALED_WITHIN, &format!("progress after {what}"), || (reader.seen() > seen).then_some(()));
            }
            broken.push(what);
            next_fault = Instant::now() + FAULT_EVERY;
        }
        assert!(lasting.is_running(), "the lasting worker ended: {}", lasting.stderr());
        samples.push(Held::of(&mut lasting));
        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    let fed = begun.elapsed().as_secs();
    scene.wait_until_done();
    println!("{given} events in {fed} s, {} faults: {broken:?}; all committed after {} s", broken.len(), begun.elapsed().as_secs());
    let expected = scene.check(reader);
    assert_eq!(expected.rows, given);
    println!("every output topic holds exactly what the line makes of {given} rows");
    assert_flat(&samples);
    assert!(!broken.is_empty(), "a soak without a fault");
}
