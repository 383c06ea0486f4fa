//! How long after a window's end its events may be stored, and what happens when the operator changes that in the middle of a day.
//!
//! An hour that is published was judged by the lateness of its time: judged by another one, its events would count once more, or no more. A new
//! lateness is therefore that of the days of which nothing is published yet; days that are begun end as they began.

use crate::derive::cell::Window;

/// The lateness of each day. Units: ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lateness {
    now_ms: i64,
    /// Of days that begin before a time: the lateness of old, and that time.
    before: Option<(i64, i64)>,
}

impl Lateness {
    /// The same for all days.
    #[must_use]
    pub fn of_all(now_ms: i64) -> Lateness {
        Lateness { now_ms, before: None }
    }

    /// What the operator wants from now on, where hours before `hours_ms` are published. Units: ms since the epoch.
    #[must_use]
    pub fn changed(self, wanted_ms: i64, hours_ms: i64) -> Lateness {
        match self.before {
            _ if wanted_ms == self.now_ms => self,
            _ if hours_ms == i64::MIN => Lateness::of_all(wanted_ms),
            // Nothing is published that was judged by the newest one.
            Some((_, until_ms)) if hours_ms < until_ms => Lateness { now_ms: wanted_ms, ..self },
            _ => {
                let next_day_ms = Window::Day.start_ms(hours_ms + Window::Day.length_ms() - 1);
                Lateness { now_ms: wanted_ms, before: Some((self.now_ms, next_day_ms)) }
            }
        }
    }

    /// That of a day. Units: ms since the epoch.
    #[must_use]
    pub fn of_ms(&self, day_ms: i64) -> i64 {
        self.before.filter(|(_, until_ms)| day_ms < *until_ms).map_or(self.now_ms, |(was_ms, _)| was_ms)
    }

    /// Up to when windows are closed where everything has been read that was stored before a time: something stored *after* a window's end and the
    /// lateness must have been seen. Units: ms since the epoch.
    #[must_use]
    pub fn due_ms(&self, window: Window, read_until_ms: i64) -> i64 {
        let due = |lateness_ms: i64| window.start_ms(read_until_ms.max(0).saturating_sub(lateness_ms).saturating_sub(1));
        match self.before.map(|(was_ms, until_ms)| (due(was_ms), until_ms)) {
            None => due(self.now_ms),
            Some((due_ms, until_ms)) if due_ms < until_ms => due_ms,
            Some((_, until_ms)) => due(self.now_ms).max(until_ms),
        }
    }

    /// As text for a commit's metadata: `<ms>`, or `<ms>,<ms of old>,<first day of the new>`.
    #[must_use]
    pub fn to_text(self) -> String {
        let before = self.before.map_or_else(String::new, |(was_ms, until_ms)| format!(",{was_ms},{until_ms}"));
        format!("{}{before}", self.now_ms)
    }

    /// Reads the text. Errors: `None` for other text.
    #[must_use]
    pub fn read(text: &str) -> Option<Lateness> {
        let numbers: Option<Vec<i64>> = text.split(',').map(|n| n.parse().ok()).collect();
        match numbers?[..] {
            [now_ms] => Some(Lateness::of_all(now_ms)),
            [now_ms, was_ms, until_ms] => Some(Lateness { now_ms, before: Some((was_ms, until_ms)) }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{DAY_MS, HOUR_MS};
    use proptest::prelude::*;

    #[test]
    fn a_day_that_is_begun_ends_as_it_began() {
        let old = Lateness::of_all(2 * HOUR_MS);
        assert_eq!(old.changed(HOUR_MS, i64::MIN), Lateness::of_all(HOUR_MS), "nothing is published");
        let new = old.changed(HOUR_MS, DAY_MS + HOUR_MS);
        assert_eq!((new.of_ms(DAY_MS), new.of_ms(2 * DAY_MS)), (2 * HOUR_MS, HOUR_MS));
        assert_eq!(new.changed(HOUR_MS, DAY_MS + 2 * HOUR_MS), new);
        let newer = new.changed(5 * HOUR_MS, DAY_MS + 3 * HOUR_MS);
        assert_eq!((newer.of_ms(DAY_MS), newer.of_ms(2 * DAY_MS)), (2 * HOUR_MS, 5 * HOUR_MS), "the one in between was never in force");
        assert_eq!(old.changed(HOUR_MS, DAY_MS).of_ms(DAY_MS), HOUR_MS, "a day of which nothing is published");
    }

    proptest! {
        #[test]
        fn what_is_closed_is_what_each_days_lateness_says(
            was in 0i64..80, now in 0i64..80, hours in 0i64..100, read in 0i64..400,
        ) {
            let l = Lateness::of_all(was * HOUR_MS).changed(now * HOUR_MS, hours * HOUR_MS);
            prop_assert_eq!(Lateness::read(&l.to_text()), Some(l));
            for window in [Window::Hour, Window::Day] {
                let due = l.due_ms(window, read * HOUR_MS);
                let closed = |start: i64| start + window.length_ms() + l.of_ms(Window::Day.start_ms(start)) < read * HOUR_MS;
                // All windows before are closed; and of two neighbouring days with the same lateness, no other is.
                for start in (0..20 * DAY_MS).step_by(window.length_ms() as usize) {
                    prop_assert!(start >= due || closed(start), "{} {}", start, due);
                    // Those before the epoch count too: their lateness may be longer.
                    let held = (-10 * DAY_MS..=start).step_by(window.length_ms() as usize).all(closed);
                    prop_assert!(start < due || !held, "{} {}", start, due);
                }
            }
        }

        #[test]
        fn never_panics(text in ".{0,20}") {
            let _ = Lateness::read(&text);
        }
    }
}
