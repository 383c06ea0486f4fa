//! Says whether an input reached code that none before it reached, where the program was built with the compiler's edge counters.
//!
//! Source: clang's SanitizerCoverage page, "Inline 8bit-counters". rustc makes the same with `-Cpasses=sancov-module` on its stable channel; without
//! it nobody calls the function below, and every input counts as nothing new.
#![allow(unsafe_code, reason = "the counters are memory that the compiler's own code writes to")]

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

static FIRST: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Called before `main`, by every piece of instrumented code, with the whole program's counters.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(first: *mut u8, end: *mut u8) {
    FIRST.store(first, Relaxed);
    LENGTH.store((end as usize).saturating_sub(first as usize), Relaxed);
}

/// What was reached so far. Shape: a bit for each power of two of a counter.
#[derive(Default)]
pub struct Reached {
    seen: Vec<u8>,
}

impl Reached {
    /// Whether this build counts at all.
    pub fn is_counted() -> bool {
        LENGTH.load(Relaxed) > 0
    }

    /// Takes in the counters since the last call and sets them back. Shape: true if something is new.
    pub fn take(&mut self) -> bool {
        let (first, length) = (FIRST.load(Relaxed), LENGTH.load(Relaxed));
        self.seen.resize(length, 0);
        let mut new = false;
        for (i, seen) in self.seen.iter_mut().enumerate() {
            // SAFETY: `first` and `length` are the bounds the compiler gave; bytes are written by any thread, so each access is one volatile byte.
            let count = unsafe { first.add(i).read_volatile() };
            if count > 0 {
                // SAFETY: as above.
                unsafe { first.add(i).write_volatile(0) };
                let bit = 1 << count.ilog2();
                new |= *seen & bit == 0;
                *seen |= bit;
            }
        }
        new
    }

    /// Edges reached.
    pub fn edges(&self) -> usize {
        self.seen.iter().filter(|seen| **seen > 0).count()
    }
}
