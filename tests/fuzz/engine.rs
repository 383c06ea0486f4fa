//! Runs a target over its corpus and mutations of it, and keeps what breaks it.

use crate::allocator::{Cost, cost};
use crate::coverage::Reached;
use crate::mutate::{Dice, MARK, mutated};
use crate::targets::Target;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// No input takes so long, however busy the machine is: longer is a hang.
const HANG: Duration = Duration::from_secs(120);
/// Inputs of one target that are mutated further.
const POOL_MAX: usize = 20_000;

/// How long a target is fed.
#[derive(Clone, Copy)]
pub enum End {
    Rounds(usize),
    After(Duration),
}

/// What a reader said, where others may read it.
#[derive(Default)]
pub struct Told(Vec<u8>);

impl Told {
    /// An error, as people see it and as a log would write it.
    pub fn error(&mut self, error: &(impl std::fmt::Display + std::fmt::Debug)) {
        self.bytes(format!("{error} {error:?}").as_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.push(b'\n');
    }

    fn has_mark(&self) -> bool {
        let lower = self.0.to_ascii_lowercase();
        lower.windows(MARK.len()).any(|part| part == MARK.as_bytes())
    }
}

/// The input under way, for the one who watches for hangs.
static UNDER_WAY: Mutex<(&str, Vec<u8>)> = Mutex::new(("", Vec::new()));
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Ends the process when one input takes too long, after keeping it.
fn watch() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        std::thread::spawn(|| {
            loop {
                let before = RUNS.load(Relaxed);
                std::thread::sleep(HANG);
                let (target, input) = &*UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
                if !target.is_empty() && RUNS.load(Relaxed) == before {
                    eprintln!("{target}: hangs; the input is kept as {}", keep(target, input).display());
                    std::process::exit(101);
                }
            }
        });
    });
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

/// Where a build with coverage keeps what reached new code, from one run to the next.
fn reached_folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz-corpus").join(target)
}

fn name(input: &[u8]) -> String {
    lethe::lifecycle::signed::sha256_hex(input)[..16].to_owned()
}

/// Keeps a reproducer with the corpus: the next run begins with it.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = corpus(target);
    let path = folder.join(format!("found-{}", name(input)));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input));
    kept.unwrap_or_else(|e| eprintln!("cannot keep the input: {e}"));
    path
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One input. Errors: what is wrong with what the target did.
pub fn run(target: &Target, input: &[u8]) -> Result<Cost, String> {
    {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.0 = target.name;
        under_way.1.clear();
        under_way.1.extend_from_slice(input);
    }
    let (outcome, cost) = cost(|| {
        let mut told = Told::default();
        catch_unwind(AssertUnwindSafe(|| (target.run)(input, &mut told))).map(|()| told)
    });
    RUNS.fetch_add(1, Relaxed);
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner).0 = "";
    let told = outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        format!("panics: {}", text.unwrap_or_default())
    })?;
    if told.has_mark() {
        return Err("tells a value of its input".into());
    }
    let room = target.room.0 + target.room.1 * input.len();
    if cost.peak > room {
        return Err(format!("takes {} bytes of memory for {} of input, more than {room}", cost.peak, input.len()));
    }
    Ok(cost)
}

/// Feeds a target. Errors: the first input that breaks it, kept.
pub fn fuzz(target: &Target, end: End, seed: u64) -> Result<(), String> {
    watch();
    let mut pool = (target.seeds)();
    pool.extend(files(&corpus(target.name)));
    pool.extend(files(&reached_folder(target.name)));
    let broken = |input: &[u8], why: String| format!("{}: {why}; kept as {}", target.name, keep(target.name, input).display());
    // What is made once and kept is no cost of an input.
    let _ = pool.iter().map(|input| run(target, input)).collect::<Vec<_>>();
    let mut reached = Reached::default();
    for input in &pool {
        run(target, input).map_err(|why| broken(input, why))?;
        reached.take();
    }
    let mut dice = Dice(seed);
    let began = Instant::now();
    let mut rounds = 0;
    let mut dearest = Cost::default();
    while match end {
        End::Rounds(all) => rounds < all,
        End::After(time) => began.elapsed() < time,
    } {
        let input = mutated(&pool[dice.below(pool.len())], &pool, target.max_len, &mut dice);
        let cost = run(target, &input).map_err(|why| broken(&input, why))?;
        dearest = Cost { peak: dearest.peak.max(cost.peak), total: dearest.total.max(cost.total) };
        rounds += 1;
        if Reached::is_counted() && reached.take() && pool.len() < POOL_MAX {
            let folder = reached_folder(target.name);
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(name(&input)), &input)).unwrap();
            pool.push(input);
        }
    }
    let edges = if Reached::is_counted() { format!(", {} edges", reached.edges()) } else { String::new() };
    println!(
        "{}: {rounds} inputs from seed {seed} in {:.1} s, {} in the pool{edges}; at most {} KiB at a time",
        target.name,
        began.elapsed().as_secs_f64(),
        pool.len(),
        dearest.peak / 1024
    );
    Ok(())
}
