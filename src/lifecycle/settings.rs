//! Topic settings that make a window true, each with its bound and its reason: what `topics apply` sets, and what `retain` insists on.

use super::horizon::{DELETE_RETENTION_FLOOR_MS, Timing};
use crate::model::time::{DAY_MS, SECOND_MS};

/// How far a broker may differ from what was derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Not at all.
    Exactly,
    /// Any number up to it keeps the promise.
    AtMost,
    /// Any number from the given one on up to it keeps the promise.
    Between(i64),
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// Kafka's name.
    pub name: &'static str,
    /// The value to set.
    pub value: String,
    /// What else would do.
    pub bound: Bound,
    /// Why.
    pub reason: String,
}

impl Derived {
    fn new(name: &'static str, value: impl ToString, bound: Bound, reason: impl Into<String>) -> Derived {
        Derived { name, value: value.to_string(), bound, reason: reason.into() }
    }

    /// Whether a broker's value keeps the promise.
    #[must_use]
    pub fn suits(&self, actual: &str) -> bool {
        let numbers = || Some((actual.parse::<f64>().ok()?, self.value.parse::<f64>().ok()?));
        match self.bound {
            Bound::Exactly => actual == self.value,
            Bound::AtMost => numbers().is_some_and(|(have, want)| have <= want && have >= 0.0),
            Bound::Between(low) => numbers().is_some_and(|(have, want)| have <= want && have >= low as f64),
        }
    }
}

/// What brokers do on their own, as they tell it or as Kafka ships. Units: ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerTimes {
    /// `log.retention.check.interval.ms`.
    pub retention_check_ms: i64,
    /// `log.cleaner.backoff.ms`.
    pub cleaner_backoff_ms: i64,
}

impl Default for BrokerTimes {
    fn default() -> Self {
        BrokerTimes { retention_check_ms: 300 * SECOND_MS, cleaner_backoff_ms: 15 * SECOND_MS }
    }
}

/// Why `message.timestamp.type` is what it is.
const STAMP: &str = "the broker's clock says when something was stored: no producer can forge or extend it";
const UNCLEAN: &str = "a replica that was behind could bring back what is deleted, or lose the deletion";

fn stamp() -> Derived {
    Derived::new("message.timestamp.type", "LogAppendTime", Bound::Exactly, STAMP)
}

/// Settings of a compacted topic that `retain` governs.
#[must_use]
pub fn compacted(timing: &Timing, testing: bool) -> Vec<Derived> {
    let floor = if testing { 0 } else { DELETE_RETENTION_FLOOR_MS };
    vec![
        Derived::new("cleanup.policy", "compact", Bound::Exactly, "a tombstone is what deletes a record"),
        stamp(),
        Derived::new(
            "segment.ms",
            timing.segment_ms,
            Bound::AtMost,
            "an active segment is never cleaned: it closes at the first append after this",
        ),
        Derived::new("segment.jitter.ms", 0, Bound::Exactly, "jitter would add to segment.ms"),
        Derived::new("min.compaction.lag.ms", 0, Bound::Exactly, "nothing may keep the cleaner from what is closed"),
        Derived::new(
            "max.compaction.lag.ms",
            timing.compaction_lag_ms,
            Bound::AtMost,
            "a closed segment may be cleaned after this, however little of it is dirty",
        ),
        Derived::new(
            "min.cleanable.dirty.ratio",
            "0.1",
            Bound::AtMost,
            "max.compaction.lag.ms decides when; the ratio only lets the cleaner come earlier where it pays",
        ),
        Derived::new(
            "delete.retention.ms",
            timing.delete_retention_ms,
            Bound::Between(floor),
            "a consumer that keeps a table has this long to see the tombstone; its key stays as long",
        ),
        Derived::new("file.delete.delay.ms", timing.file_delete_delay_ms, Bound::AtMost, "replaced files stay on disk for this"),
        Derived::new("unclean.leader.election.enable", "false", Bound::Exactly, UNCLEAN),
    ]
}

/// Settings of a topic whose records the broker deletes by age. Units: ms.
///
/// A segment goes only when its newest record expires, so the sum of what the broker may take must fit into the window.
#[must_use]
pub fn deleted(window_ms: i64, broker: BrokerTimes) -> Vec<Derived> {
    let segment_ms = (window_ms / 6).clamp(1, DAY_MS);
    let delay_ms = (window_ms / 20).clamp(0, 60 * SECOND_MS);
    // With a broker that looks too seldom for this window half of it is left, and `retain` refuses by `broker_fault`.
    let retention_ms = (window_ms - segment_ms - delay_ms - broker.retention_check_ms).max(window_ms / 4).max(1);
    let sum = format!(
        "retention.ms + segment.ms {segment_ms} + the broker's check every {} + file.delete.delay.ms {delay_ms} must fit in the window {window_ms}",
        broker.retention_check_ms
    );
    vec![
        Derived::new("cleanup.policy", "delete", Bound::Exactly, "the broker deletes by age"),
        stamp(),
        Derived::new("retention.ms", retention_ms, Bound::AtMost, sum),
        Derived::new("segment.ms", segment_ms, Bound::AtMost, "a segment goes only when its newest record expires"),
        Derived::new("segment.jitter.ms", 0, Bound::Exactly, "jitter would add to segment.ms"),
        Derived::new("file.delete.delay.ms", delay_ms, Bound::AtMost, "deleted files stay on disk for this"),
        Derived::new("unclean.leader.election.enable", "false", Bound::Exactly, UNCLEAN),
    ]
}

/// Why a broker cannot keep a window of a topic that it deletes by age, if it cannot. Units: ms.
#[must_use]
pub fn deleted_fault(window_ms: i64, broker: BrokerTimes) -> Option<String> {
    let settings = deleted(window_ms, broker);
    let number = |name: &str| settings.iter().find(|d| d.name == name).and_then(|d| d.value.parse::<i64>().ok()).unwrap_or(0);
    let sum = number("retention.ms") + number("segment.ms") + number("file.delete.delay.ms") + broker.retention_check_ms;
    (sum > window_ms).then(|| {
        format!("the broker looks for expired segments only every {} ms: lower log.retention.check.interval.ms", broker.retention_check_ms)
    })
}

/// Settings of `lethe.directives`: what is in force is kept, what was taken back goes.
#[must_use]
pub fn directives() -> Vec<Derived> {
    vec![
        Derived::new("cleanup.policy", "compact", Bound::Exactly, "the newest directive of a key is what is in force"),
        stamp(),
        Derived::new("segment.ms", DAY_MS, Bound::AtMost, "what was taken back goes within days"),
        Derived::new("min.compaction.lag.ms", 0, Bound::Exactly, "nothing may keep the cleaner from what is closed"),
        Derived::new("max.compaction.lag.ms", DAY_MS, Bound::AtMost, "what was taken back goes within days"),
        Derived::new("delete.retention.ms", DAY_MS, Bound::Between(DELETE_RETENTION_FLOOR_MS), "a reader has this long to see a lift"),
        Derived::new("unclean.leader.election.enable", "false", Bound::Exactly, "a directive must not be lost"),
    ]
}

/// Settings of `T.aggregates`: counts of groups, nothing of a person.
#[must_use]
pub fn aggregates() -> Vec<Derived> {
    vec![Derived::new("cleanup.policy", "compact", Bound::Exactly, "the newest count of a group is the count"), stamp()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::horizon::govern;
    use crate::model::time::HOUR_MS;
    use proptest::prelude::*;

    fn of<'a>(settings: &'a [Derived], name: &str) -> &'a Derived {
        settings.iter().find(|d| d.name == name).unwrap()
    }

    #[test]
    fn a_quicker_broker_suits_and_a_slower_one_does_not() {
        let g = govern(180 * DAY_MS, DAY_MS, 10_000, false).unwrap();
        let settings = compacted(&g.timing, false);
        let segment = of(&settings, "segment.ms");
        assert!(segment.suits(&segment.value) && segment.suits("1000"));
        assert!(!segment.suits(&(7 * DAY_MS).to_string()) && !segment.suits("") && !segment.suits("-1"));
        assert!(!of(&settings, "max.compaction.lag.ms").suits(&i64::MAX.to_string()), "Kafka's default never cleans what is little");
        assert!(!of(&settings, "message.timestamp.type").suits("CreateTime"));
        assert!(of(&settings, "min.cleanable.dirty.ratio").suits("0.01") && !of(&settings, "min.cleanable.dirty.ratio").suits("0.5"));
    }

    #[test]
    fn a_table_consumer_has_its_hour() {
        let g = govern(DAY_MS, HOUR_MS, 10_000, false).unwrap();
        assert!(!of(&compacted(&g.timing, false), "delete.retention.ms").suits("1000"));
        assert!(of(&compacted(&g.timing, true), "delete.retention.ms").suits("1000"));
    }

    #[test]
    fn a_lengthened_window_needs_no_change_and_a_shortened_one_does() {
        let settings = |days| compacted(&govern(days * DAY_MS, HOUR_MS, 10_000, false).unwrap().timing, false);
        assert!(settings(20).iter().all(|d| d.suits(&of(&settings(5), d.name).value)));
        assert!(!settings(5).iter().all(|d| d.suits(&of(&settings(20), d.name).value)));
    }

    #[test]
    fn a_broker_that_looks_too_seldom_is_named() {
        assert_eq!(deleted_fault(DAY_MS, BrokerTimes::default()), None);
        assert!(deleted_fault(60 * SECOND_MS, BrokerTimes::default()).unwrap().contains("log.retention.check.interval.ms"));
    }

    proptest! {
        #[test]
        fn raw_bytes_are_gone_inside_their_window(window in HOUR_MS..40 * DAY_MS, check in 1i64..300_000) {
            let broker = BrokerTimes { retention_check_ms: check, cleaner_backoff_ms: 1 };
            let settings = deleted(window, broker);
            let n = |name: &str| of(&settings, name).value.parse::<i64>().unwrap();
            prop_assert!(n("retention.ms") + n("segment.ms") + n("file.delete.delay.ms") + check <= window);
            prop_assert!(n("retention.ms") >= window / 4);
        }
    }
}
