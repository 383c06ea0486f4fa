//! Sessions: what an open one costs in memory, and how fast events become sessions. `LETHE_SESSIONS`: how many are open, 20,000 by default.
//!
//! Three events a session, each with a page and two identifiers, in batches as `lethe sessions` commits them; what it writes is encoded and dropped.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; each call is handed on to the system's")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench tells what it measured, and may stop where it stands")]

use lethe::derive::record;
use lethe::derive::sessions::{Rules, Sessions};
use lethe::model::pseudonym::{self, Epoch, Pseudonym};
use lethe::transform::avro::{long, optional_string, single_object_prefix, string};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SCHEMA: &str = include_str!("../schemas/record/record.avsc");
const BATCH: usize = 20_000;
const EVENTS: usize = 3;
const START_MS: i64 = 1_790_000_000_000;

/// A record as `run` writes it.
fn event(prefix: &[u8], subject: &str, n: usize, at_ms: i64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(prefix);
    string(pseudonym::text(Epoch(1), pseudonym_of(u64::MAX - n as u64)).as_bytes(), out);
    string(b"events", out);
    optional_string("page_view", out);
    long(at_ms, out);
    long(at_ms, out);
    string(b"acme", out);
    string(subject.as_bytes(), out);
    out.push(0); // identifiers
    long(1, out); // key_epoch
    string(b"analytics", out);
    out.extend([0, 0, 0, 0, 2]); // consent, geo, ip_truncated, device, page
    ["www.example.org", &format!("/articles/{}", n % 1_000), ""].iter().for_each(|text| optional_string(text, out));
    out.extend([0; 14]); // campaign … body
}

fn pseudonym_of(n: u64) -> Pseudonym {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n.rotate_left(31);
    Pseudonym([mixed.to_le_bytes(), n.to_be_bytes()].concat().try_into().unwrap())
}

fn main() {
    let open: usize = std::env::var("LETHE_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let prefix = single_object_prefix(SCHEMA).unwrap();
    let before = LIVE.load(Ordering::Relaxed);
    let mut sessions = Sessions::new(Rules { gap_ms: 1_800_000, lateness_ms: 86_400_000 }, i64::MIN);
    let (mut value, mut out) = (Vec::new(), Vec::new());
    let (mut seconds, mut written) = (0.0, 0u64);
    MOST.store(before, Ordering::Relaxed);
    for n in 0..open * EVENTS {
        let person = (n % open) as u64;
        let subject = pseudonym::text(Epoch(1), pseudonym_of(person));
        let at_ms = START_MS + (n / open) as i64 * 60_000;
        event(&prefix, &subject, n, at_ms, &mut value);
        let ids = [pseudonym_of(person), pseudonym_of(person + (1 << 40))];
        let clock = Instant::now();
        let read = record::read(&prefix, &value).unwrap();
        sessions.take(&read, ids.into_iter(), at_ms);
        if n % BATCH == BATCH - 1 || n + 1 == open * EVENTS {
            sessions.drain(|subject, _, session| {
                out.clear();
                session.into_iter().for_each(|s| s.write(&prefix, "acme", subject, &mut out));
                written += 1;
            });
        }
        seconds += clock.elapsed().as_secs_f64();
    }
    assert_eq!(sessions.open(), open);
    let (live, most) = (LIVE.load(Ordering::Relaxed) - before, MOST.load(Ordering::Relaxed) - before);
    println!("{open} open sessions of {EVENTS} events: {} bytes each, {} at the most", live / open, most / open);
    println!("{:.0} events/s, {written} records written", (open * EVENTS) as f64 / seconds);
}
