//! The horizon: how long before the end of a window a tombstone must be written, so that the bytes are gone when the window ends.
//!
//! ```text
//! first receipt      stored                    tombstone                                                bytes gone
//! |---- lateness ----|---------- keep ---------|------------------------ horizon -----------------------|
//! |------------------------------------------- window ---------------------------------------------------|
//!
//! horizon = segment roll                                 the tombstone's own segment must close
//!         + compaction lag + back-off + cleaning         first pass: the value goes, the tombstone's own clock starts
//!         + delete.retention.ms                          the tombstone may not go earlier
//!         + compaction lag + back-off + cleaning         second pass: the key goes
//!         + file.delete.delay.ms                         the old files lie about as `.deleted`
//!         + transaction timeout                          an open transaction stops the cleaner at its first offset
//!         + clock skew + downtime of retain              allowances
//! ```
//!
//! Everything is derived from the window alone, so that one number in the config decides, and `topics apply` can explain it.

use crate::model::time::{DAY_MS, HOUR_MS, SECOND_MS};

const MINUTE_MS: i64 = 60 * SECOND_MS;

/// The smallest `delete.retention.ms` outside of tests: a consumer that keeps a table and is slower than this would miss deletions. Units: ms.
pub const DELETE_RETENTION_FLOOR_MS: i64 = HOUR_MS;

/// What a broker and `retain` may take, step by step. Units: ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// `segment.ms`: an active segment closes at the first append after this.
    pub segment_ms: i64,
    /// `max.compaction.lag.ms`: a closed segment may be cleaned after this at the latest.
    pub compaction_lag_ms: i64,
    /// `delete.retention.ms`: how long a tombstone stays after the pass that removed its value.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`: how long replaced files stay on disk.
    pub file_delete_delay_ms: i64,
    /// `log.cleaner.backoff.ms` of the brokers: how long the cleaner sleeps when it found nothing to do.
    pub cleaner_backoff_ms: i64,
    /// How long one cleaning may take, other partitions' turns included.
    pub cleaning_ms: i64,
    /// `transaction.timeout.ms` of the producers, and the broker's look for it.
    pub transaction_ms: i64,
    /// How far the clocks of two leaders may lie apart.
    pub clock_skew_ms: i64,
    /// How long `retain` may be down, or late.
    pub downtime_ms: i64,
}

impl Timing {
    /// The timing that makes a window true. Units: `window_ms` and `transaction_timeout_ms` in ms. `testing` lowers every floor, so that windows
    /// of seconds have a horizon at all; it counts on brokers whose own intervals are a second or less.
    #[must_use]
    pub fn for_window(window_ms: i64, transaction_timeout_ms: i64, testing: bool) -> Timing {
        let part = window_ms / 24;
        if testing && part < HOUR_MS {
            let step = (window_ms / 20).max(1);
            return Timing {
                segment_ms: step,
                compaction_lag_ms: step,
                delete_retention_ms: step,
                file_delete_delay_ms: step.min(MINUTE_MS),
                cleaner_backoff_ms: step.min(SECOND_MS),
                cleaning_ms: step,
                transaction_ms: 0,
                clock_skew_ms: 0,
                downtime_ms: step,
            };
        }
        let step = part.clamp(10 * MINUTE_MS, DAY_MS);
        Timing {
            segment_ms: step,
            compaction_lag_ms: step,
            delete_retention_ms: step.max(DELETE_RETENTION_FLOOR_MS),
            file_delete_delay_ms: MINUTE_MS,
            cleaner_backoff_ms: 15 * SECOND_MS,
            cleaning_ms: (step / 2).min(HOUR_MS),
            transaction_ms: transaction_timeout_ms + 10 * SECOND_MS,
            clock_skew_ms: 5 * MINUTE_MS,
            downtime_ms: 2 * step,
        }
    }

    /// One pass of the cleaner, from the moment its segment is closed.
    #[must_use]
    pub fn pass_ms(&self) -> i64 {
        self.compaction_lag_ms + self.cleaner_backoff_ms + self.cleaning_ms
    }

    /// From a tombstone to the end of its last byte. Units: ms.
    #[must_use]
    pub fn horizon_ms(&self) -> i64 {
        self.segment_ms
            + 2 * self.pass_ms()
            + self.delete_retention_ms
            + self.file_delete_delay_ms
            + self.transaction_ms
            + self.clock_skew_ms
            + self.downtime_ms
    }

    /// How seldom `retain` may look at one partition: a small part of the time it may be down. Units: ms.
    #[must_use]
    pub fn look_every_ms(&self) -> i64 {
        (self.downtime_ms / 8).clamp(20, MINUTE_MS)
    }
}

/// One governed topic's times. Units: ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Governance {
    /// From first receipt to the end of the bytes.
    pub window_ms: i64,
    /// How long after its receipt a record may have been stored.
    pub lateness_ms: i64,
    /// What the broker and `retain` may take.
    pub timing: Timing,
    /// From storage to the tombstone.
    pub keep_ms: i64,
}

/// A window that cannot be kept. Units: ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort {
    /// What the window would have to be longer than.
    pub needed_ms: i64,
    /// The share of the horizon.
    pub horizon_ms: i64,
    /// The share of lateness.
    pub lateness_ms: i64,
}

/// Works out when a record's tombstone is due. Units: ms.
///
/// Errors: lateness and horizon leave nothing of the window.
pub fn govern(window_ms: i64, lateness_ms: i64, transaction_timeout_ms: i64, testing: bool) -> Result<Governance, TooShort> {
    let timing = Timing::for_window(window_ms, transaction_timeout_ms, testing);
    let horizon_ms = timing.horizon_ms();
    let needed_ms = lateness_ms.saturating_add(horizon_ms);
    if window_ms <= needed_ms {
        return Err(TooShort { needed_ms, horizon_ms, lateness_ms });
    }
    Ok(Governance { window_ms, lateness_ms, timing, keep_ms: window_ms - needed_ms })
}

impl Governance {
    /// When the tombstone of a record stored then is due.
    #[must_use]
    pub fn due_ms(&self, stored_at_ms: i64) -> i64 {
        stored_at_ms.saturating_add(self.keep_ms)
    }

    /// How long past its window something still there is: a value by its own storage time, a tombstone's key by the horizon. 0: in time.
    #[must_use]
    pub fn overdue_ms(&self, stored_at_ms: i64, is_tombstone: bool, now_ms: i64) -> i64 {
        let allowed = if is_tombstone { self.timing.horizon_ms() } else { self.window_ms - self.lateness_ms };
        now_ms.saturating_sub(stored_at_ms.saturating_add(allowed)).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_year_loses_days_and_a_day_loses_hours() {
        let year = govern(365 * DAY_MS, DAY_MS, 10_000, false).unwrap();
        assert_eq!(year.timing.delete_retention_ms, DAY_MS);
        assert!(year.timing.horizon_ms() < 7 * DAY_MS, "{}", year.timing.horizon_ms());
        let day = govern(DAY_MS, 6 * HOUR_MS, 10_000, false).unwrap();
        assert_eq!(day.timing.delete_retention_ms, HOUR_MS);
        assert!(day.keep_ms > 8 * HOUR_MS, "{}", day.keep_ms);
    }

    #[test]
    fn the_parts_add_up() {
        let t = Timing {
            segment_ms: 1,
            compaction_lag_ms: 10,
            delete_retention_ms: 100,
            file_delete_delay_ms: 1_000,
            cleaner_backoff_ms: 10_000,
            cleaning_ms: 100_000,
            transaction_ms: 1_000_000,
            clock_skew_ms: 10_000_000,
            downtime_ms: 100_000_000,
        };
        assert_eq!(t.horizon_ms(), 111_221_121);
    }

    #[test]
    fn an_hour_is_too_short_except_in_tests() {
        let fault = govern(HOUR_MS, 0, 10_000, false).unwrap_err();
        assert!(fault.horizon_ms > HOUR_MS);
        assert!(govern(HOUR_MS, 0, 10_000, true).is_ok());
        for seconds in [2, 5, 10, 60] {
            let g = govern(seconds * SECOND_MS, seconds * SECOND_MS / 8, 10_000, true).unwrap();
            assert!(g.keep_ms > seconds * SECOND_MS / 4, "{g:?}");
        }
    }

    #[test]
    fn testing_does_not_touch_long_windows() {
        assert_eq!(Timing::for_window(365 * DAY_MS, 10_000, true), Timing::for_window(365 * DAY_MS, 10_000, false));
    }

    #[test]
    fn a_value_is_overdue_past_its_window_and_a_key_past_its_horizon() {
        let g = govern(30 * DAY_MS, DAY_MS, 10_000, false).unwrap();
        assert_eq!(g.overdue_ms(0, false, 29 * DAY_MS), 0);
        assert_eq!(g.overdue_ms(0, false, 29 * DAY_MS + 5), 5);
        assert_eq!(g.overdue_ms(0, true, g.timing.horizon_ms() + 7), 7);
    }

    proptest! {
        #[test]
        fn a_tombstone_on_time_is_gone_on_time(window in 1i64..40_000 * DAY_MS, lateness in 0i64..DAY_MS, testing: bool, stored in 0i64..4_000_000_000_000) {
            if let Ok(g) = govern(window, lateness, 10_000, testing) {
                prop_assert!(g.keep_ms > 0);
                // Stored as late as it may be, tombstoned when due, cleaned as slowly as allowed: still inside the window from first receipt.
                let received = stored - lateness;
                prop_assert_eq!(g.due_ms(stored) + g.timing.horizon_ms(), received + window);
                prop_assert!(testing || g.timing.delete_retention_ms >= DELETE_RETENTION_FLOOR_MS);
            }
        }
    }
}
