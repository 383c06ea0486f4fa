//! The oracle beside a journey of hours: rows and records are ticked off as they come, so that memory holds only what one side has and the other not yet.

use super::expected::{Expected, Line, Strict};
use super::kafka::{Reader, Record};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rows of one step.
const STEP_ROWS: usize = 5_000;
/// How often records are fetched from the reader.
const TAKE_EVERY: Duration = Duration::from_millis(300);
/// Records of one partition that wait for their row. With more, the first of them has none.
const WAITING_MAX: usize = 2_000_000;

type Waiting = BTreeMap<(String, i32), VecDeque<Record>>;

/// The oracle at work.
pub struct Beside {
    finish: Arc<AtomicBool>,
    rows: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
    thread: JoinHandle<(Expected, Vec<String>)>,
}

impl Beside {
    /// Starts it: the line, where the raw topics are, and a reader that keeps digests of these output topics.
    #[track_caller]
    pub fn start(line: Line, bootstrap: &str, reader: Reader, topics: Vec<String>) -> Self {
        let (finish, rows, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (told, counted, met) = (Arc::clone(&finish), Arc::clone(&rows), Arc::clone(&seen));
        let mut raw = line.raw(bootstrap);
        let mut expected = Expected::none(line);
        let thread = std::thread::spawn(move || {
            let (mut waiting, mut last) = (Waiting::new(), Instant::now());
            while !told.load(Ordering::Relaxed) || raw.left() > 0 {
                expected.add(&raw.take(STEP_ROWS, Duration::from_millis(100)));
                counted.store(expected.rows, Ordering::Relaxed);
                if last.elapsed() >= TAKE_EVERY {
                    queue(reader.take(), &mut waiting);
                    met.store(reader.seen(), Ordering::Relaxed);
                    tick(&mut expected, &mut waiting);
                    last = Instant::now();
                }
            }
            queue(reader.finish(), &mut waiting);
            settle(&mut expected, &mut waiting);
            let faults = expected.faults(&topics);
            (expected, faults)
        });
        Self { finish, rows, seen, thread }
    }

    /// Rows whose records are known.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Records that were seen.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Reads both sides to their ends of now, and says what is not as it must be.
    #[track_caller]
    pub fn finish(self) -> Expected {
        self.finish.store(true, Ordering::Relaxed);
        let (expected, faults) = self.thread.join().expect("the oracle reads to the end");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        expected
    }
}

fn queue(records: BTreeMap<String, Vec<Record>>, waiting: &mut Waiting) {
    for (topic, records) in records {
        for record in records {
            waiting.entry((topic.clone(), record.partition)).or_default().push_back(record);
        }
    }
}

/// Ticks off what is due; a record whose row was not read yet waits, and all behind it in its partition.
fn tick(expected: &mut Expected, waiting: &mut Waiting) {
    for ((topic, _), records) in waiting {
        while records.front().is_some_and(|record| expected.tick(topic, record, Strict::Order)) {
            records.pop_front();
        }
        assert!(records.len() < WAITING_MAX, "{topic}: no row accounts for a record, or this machine is too slow for the oracle");
    }
}

/// The same when all rows are known: what is not due then never was.
fn settle(expected: &mut Expected, waiting: &mut Waiting) {
    for ((topic, _), records) in waiting {
        for record in records.drain(..) {
            if !expected.tick(topic, &record, Strict::Order) {
                expected.is_extra(topic, &record);
            }
        }
    }
}
