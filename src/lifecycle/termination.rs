//! Terminations: when everything of a tenant must be gone, and when its deletion begins so that it is.
//!
//! ```text
//! directive            intake stopped                deletion begins               deadline
//! |--- barrier --------|------ windows go on --------|--- topics, offsets, keys ---|
//! ```
//! Until the deletion begins the tenant can take its records along. The deadline is the directive's own, never later than thirty days after its append
//! time, whatever it says.

use crate::model::directive::{InForce, Order, Standing};
use crate::model::time::{DAY_MS, HOUR_MS};
use std::collections::{BTreeMap, BTreeSet};

/// The longest that anything may stay after a termination. Units: ms.
pub const LONGEST_MS: i64 = 30 * DAY_MS;
/// The shortest deadline that the command takes outside of tests: a slip of the hand can be undone for so long. Units: ms.
pub const SHORTEST_MS: i64 = HOUR_MS;
/// The most that deletion begins before the deadline: `retain` may be down for so long. Units: ms.
const LEAD_MS_MAX: i64 = DAY_MS;
/// What part of the time until the deadline is left to the deletion, at most.
const LEAD_PART: i64 = 4;
/// Deadlines below this are spans after the append time: no directive is of 1973. Units: ms.
const SPAN_BELOW_MS: i64 = 100_000_000_000;

/// One termination. Units: ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// When its directive was appended.
    pub received_ms: i64,
    /// When everything must be gone.
    pub deadline_ms: i64,
}

impl Termination {
    /// What a directive orders, if it is a termination.
    #[must_use]
    pub fn of(standing: &Standing) -> Option<Termination> {
        let Order::Terminate { deadline_ms } = standing.directive.order else { return None };
        let received_ms = standing.stored_at_ms;
        let asked_ms = if deadline_ms < SPAN_BELOW_MS { received_ms.saturating_add(deadline_ms) } else { deadline_ms };
        Some(Termination { received_ms, deadline_ms: asked_ms.clamp(received_ms, received_ms.saturating_add(LONGEST_MS)) })
    }

    /// When the deletion begins.
    #[must_use]
    pub fn begins_ms(&self) -> i64 {
        self.deadline_ms - ((self.deadline_ms - self.received_ms) / LEAD_PART).min(LEAD_MS_MAX)
    }

    /// Whether the deadline of one that is not certified yet may be missed: half of the time from its beginning is over. Units: ms since the epoch.
    #[must_use]
    pub fn is_at_risk(&self, now_ms: i64) -> bool {
        now_ms > self.begins_ms() + (self.deadline_ms - self.begins_ms()) / 2
    }
}

/// All terminations in force, by tenant; of several the one that begins first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terminations(BTreeMap<String, Termination>);

impl Terminations {
    /// Looks at what is in force.
    #[must_use]
    pub fn build(in_force: &InForce) -> Terminations {
        let mut found: BTreeMap<String, Termination> = BTreeMap::new();
        for standing in in_force.all() {
            let Some(new) = Termination::of(standing) else { continue };
            let known = found.entry(standing.directive.tenant.clone()).or_insert(new);
            if new.begins_ms() < known.begins_ms() {
                *known = new;
            }
        }
        Terminations(found)
    }

    /// Whether a tenant is terminated.
    #[must_use]
    pub fn concern(&self, tenant: &str) -> bool {
        self.0.contains_key(tenant)
    }

    /// Every tenant that is terminated.
    pub fn tenants(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Tenants whose deletion has begun. Units: `now_ms` in ms since the epoch.
    #[must_use]
    pub fn begun(&self, now_ms: i64) -> BTreeSet<String> {
        self.0.iter().filter(|(_, t)| t.begins_ms() <= now_ms).map(|(tenant, _)| tenant.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::directive::Directive;
    use proptest::prelude::*;

    const NOW: i64 = 1_790_000_000_000;

    fn ordered(all: &[(&str, &str, i64)]) -> InForce {
        let mut in_force = InForce::default();
        for (offset, (id, tenant, deadline_ms)) in all.iter().enumerate() {
            let order = Order::Terminate { deadline_ms: *deadline_ms };
            let d = Directive {
                id: (*id).into(),
                tenant: (*tenant).into(),
                issued_at_ms: 1,
                actor: String::new(),
                commitments: Vec::new(),
                order,
            };
            in_force.apply(offset as i64, NOW, d.key().as_bytes(), Some(&serde_json::to_vec(&d).unwrap()));
        }
        in_force
    }

    fn one(deadline_ms: i64) -> Termination {
        Termination::of(ordered(&[("r", "acme", deadline_ms)]).get("acme/terminate/r").unwrap()).unwrap()
    }

    #[test]
    fn deletion_begins_in_time_and_a_month_loses_a_day() {
        assert_eq!(one(NOW + LONGEST_MS).begins_ms(), NOW + 29 * DAY_MS);
        assert_eq!(one(NOW + 4_000).begins_ms(), NOW + 3_000);
        assert_eq!(one(NOW).begins_ms(), NOW);
        let of_a_month = one(NOW + LONGEST_MS);
        assert!(
            !of_a_month.is_at_risk(NOW + 29 * DAY_MS) && of_a_month.is_at_risk(NOW + 29 * DAY_MS + DAY_MS / 2 + 1),
            "before the deadline"
        );
    }

    #[test]
    fn small_numbers_are_spans_and_nothing_is_later_than_thirty_days() {
        assert_eq!(one(5_000).deadline_ms, NOW + 5_000);
        assert_eq!(one(i64::MAX).deadline_ms, NOW + LONGEST_MS);
        assert_eq!(one(NOW - 9).deadline_ms, NOW, "what is past is at once");
        assert_eq!(one(-1).deadline_ms, NOW);
    }

    #[test]
    fn of_several_the_first_counts_and_others_are_left_alone() {
        let all =
            Terminations::build(&ordered(&[("a", "acme", NOW + 80_000), ("b", "acme", NOW + 40_000), ("c", "other", NOW + LONGEST_MS)]));
        assert!(all.concern("acme") && all.concern("other") && !all.concern("third"));
        assert_eq!(all.begun(NOW + 29_999), BTreeSet::new());
        assert_eq!(all.begun(NOW + 30_000), BTreeSet::from(["acme".to_owned()]));
    }

    proptest! {
        #[test]
        fn deletion_begins_before_the_deadline_and_the_deadline_within_thirty_days(deadline: i64) {
            let t = one(deadline);
            prop_assert!(t.received_ms <= t.begins_ms() && t.begins_ms() <= t.deadline_ms);
            prop_assert!(t.deadline_ms <= t.received_ms + LONGEST_MS);
        }
    }
}
