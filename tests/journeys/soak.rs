//! Fear: what holds for minutes does not hold for hours. Memory, threads or open files creep up, or some rare order of faults loses a record.
//!
//! Shown: under load that never lets up, with a fault every 30 s (workers killed, frozen past their session, asked to stop, joining and leaving, the broker
//! killed, stopped, frozen), every output topic holds exactly what the library's own line makes of the raw topic, and the worker that lives through
//! all of it is no larger in the second half than in the first. `LETHE_SOAK=1h` says how long; by default 12 s. `LETHE_SOAK_RATE` says how many events a
//! second, `full` as many as are taken: then [`BACKLOG`] rows always wait. The oracle ticks rows off as they come, so an hour needs no more memory than a minute.

use crate::support::beside::Beside;
use crate::support::journey::Journey;
use crate::support::kafka;
use crate::support::lethe::Lethe;
use crate::support::scene::{Scene, rows};
use crate::support::wait::{Stop, eventually, eventually_within, heavy};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Faults come so often.
const FAULT_EVERY: Duration = Duration::from_secs(30);
/// How soon there must be progress once a fault is over, on a busy machine.
const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// Samples from which on two halves are compared; the first are of a process that is still warming up.
const COMPARED_FROM: usize = 120;
const WARMING_UP: usize = 30;
/// Rows that wait for the workers, or for the oracle, at most; at full load they always do.
const BACKLOG: u64 = 50_000;

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
    let broker = scene.journey.broker();
    match round % 7 {
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
            third.terminate_within(Duration::from_secs(60)).assert_done();
            "a member that joined and left"
        }
        3 => {
            broker.kill();
            std::thread::sleep(Duration::from_secs(2));
            broker.restart();
            "the broker killed and back"
        }
        4 => {
            std::mem::replace(victim, scene.worker("d")).terminate_within(Duration::from_secs(60)).assert_done();
            "a worker asked to stop"
        }
        5 => {
            broker.freeze();
            // Longer than a transaction may take.
            std::thread::sleep(Duration::from_secs(6));
            broker.thaw();
            "the broker frozen for 6 s"
        }
        _ => {
            broker.stop();
            std::thread::sleep(Duration::from_secs(5));
            broker.restart();
            "the broker stopped and back"
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

/// Feeds the raw topic until it is told to stop, a second's events at a time: so many, or as many as are taken.
fn feed(scene: &Scene, rate: Option<u64>, oracle: &Beside, given: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let second = Instant::now();
        let waiting = |given: u64| given.saturating_sub(oracle.rows()).max(u64::try_from(scene.lag_at_once(scene.tenant())).unwrap_or(0));
        match rate {
            Some(rate) => {
                given.fetch_add(rate, Ordering::Relaxed);
                scene.produce(rate);
                // The oracle does without a broker for a while, not for ever.
                while oracle.rows() + 20 * BACKLOG < given.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
            }
            None if waiting(given.load(Ordering::Relaxed)) < BACKLOG => {
                given.fetch_add(BACKLOG / 5, Ordering::Relaxed);
                scene.produce(BACKLOG / 5);
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// What is read soon may go soon: an hour of load need not fit on the disk.
fn keep_little(scene: &Scene) {
    let little = [("cleanup.policy", "delete"), ("retention.ms", "600000"), ("segment.ms", "60000"), ("segment.bytes", "67108864")];
    for topic in scene.output_topics().iter().chain([&scene.raw_topic(scene.tenant())]) {
        kafka::lower(scene.bootstrap(), topic, &little);
    }
}

#[test]
fn soaked_under_faults_nothing_creeps_up_and_nothing_is_lost() {
    let _turn = heavy();
    let wish = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let long = wish("LETHE_SOAK").map_or(Duration::from_secs(12), |text| humantime::parse_duration(&text).unwrap());
    let rate = wish("LETHE_SOAK_RATE").unwrap_or_else(|| "1000".to_owned());
    let rate: Option<u64> = (rate != "full").then(|| rate.parse().unwrap());
    let scene = Scene::new(Journey::with_own_broker("soaked_under_faults"), |config| {
        config.set("run.batch_events", 1_000).set("kafka.fetch_ahead_kib", 8_192).set("kafka.transaction_timeout_ms", 4_000)
    });
    keep_little(&scene);
    let oracle = scene.beside();
    let (mut lasting, mut victim) = (scene.worker("a"), scene.worker("b"));
    lasting.wait_until_ready();
    victim.wait_until_ready();
    let (begun, mut samples, mut broken) = (Instant::now(), Vec::new(), Vec::new());
    let (given, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| feed(&scene, rate, &oracle, &given, &stop));
        let mut next_fault = begun + FAULT_EVERY.min(long / 2);
        while begun.elapsed() < long {
            if Instant::now() >= next_fault {
                next_fault = Instant::now() + FAULT_EVERY;
                let what = break_something(broken.len(), &scene, &mut victim);
                let (healed, seen) = (Instant::now(), oracle.seen());
                eventually_within(HEALED_WITHIN, &format!("progress after {what}"), || (oracle.seen() > seen).then_some(()));
                println!(
                    "{:>5} s, {} events: {what}, progress after {:?}",
                    begun.elapsed().as_secs(),
                    given.load(Ordering::Relaxed),
                    healed.elapsed()
                );
                broken.push(what);
            }
            assert!(lasting.is_running(), "the lasting worker ended: {}", lasting.stderr());
            samples.push(Held::of(&mut lasting));
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let (fed, given) = (begun.elapsed().as_secs(), given.into_inner());
    eventually_within(Duration::from_secs(600), "everything to be committed", || (scene.lag(scene.tenant()) == 0).then_some(()));
    println!("{given} events in {fed} s, {} faults; all committed after {} s", broken.len(), begun.elapsed().as_secs());
    let expected = oracle.finish();
    assert_eq!(expected.rows, given);
    println!("every output topic held exactly what the line makes of {given} rows: {} records", expected.records);
    assert_flat(&samples);
    assert!(!broken.is_empty(), "a soak without a fault");
}
