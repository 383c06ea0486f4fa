//! The only place that asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now. Units: ms since the epoch.
#[must_use]
pub fn now_ms() -> i64 {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    now_ms.saturating_add(crate::faults::clock_shift_ms())
}
