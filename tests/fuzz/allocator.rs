//! Counts what is allocated, so that growth is a number.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; each call is handed on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TOTAL: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    TOTAL.fetch_add(bytes, Relaxed);
    let live = LIVE.fetch_add(bytes, Relaxed).wrapping_add(bytes);
    // Below the start of a measurement by blocks that were freed: no peak.
    if live < usize::MAX / 2 {
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Relaxed);
        grown(size);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a piece of work allocated. Units: bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Most at one time.
    pub peak: usize,
    /// All together.
    pub total: usize,
}

/// Does the work and says what it allocated, in whatever thread.
pub fn cost<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let (live, total) = (LIVE.load(Relaxed), TOTAL.load(Relaxed));
    PEAK.store(live, Relaxed);
    let done = work();
    (done, Cost { peak: PEAK.load(Relaxed).saturating_sub(live), total: TOTAL.load(Relaxed).wrapping_sub(total) })
}
