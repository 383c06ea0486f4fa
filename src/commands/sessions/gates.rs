//! Whose events become sessions, and what rights do to the sessions that are open: what directives say of the tenants that have sessions.
//!
//! `run` gates what comes in; this job reads later, and may meet events that were written before a right came into force.
//!
//! - Erased: events up to the cutoff are passed over, open sessions that began up to it are removed.
//! - Restricted: events are passed over until that is lifted; what stands in the topic stays as it is, and nothing is added to it.
//! - Withdrawn, where events or sessions rest on consent to that purpose: events whose consent was given up to the withdrawal are passed over, open
//!   sessions that began up to it are removed. Sessions that are settled stay until their window, as the events that they were made of do.
//! - A tenant that is terminated has no new sessions.
//! - What is held stays: a session that would be removed and is held is left in the topic, and forgotten here; `retain` sees to it on release.

use crate::config::{Config, TenantConfig};
use crate::derive::record::Event;
use crate::derive::sessions::Fate;
use crate::lifecycle::hold::Holds;
use crate::model::category::Category;
use crate::model::consent::Purpose;
use crate::model::directive::{InForce, Order};
use crate::model::header;
use crate::model::pseudonym::{Epoch, Pseudonym};
use std::collections::HashMap;

/// What is known of one pseudonym. Units: ms since the epoch.
#[derive(Clone, Copy)]
struct Rights {
    erased_to_ms: i64,
    withdrawn_to_ms: i64,
    restricted: bool,
}

/// One tenant's.
struct TenantGates {
    people: HashMap<Pseudonym, Rights>,
    terminated: bool,
}

/// What is in force, by tenant.
#[derive(Default)]
pub(super) struct Gates {
    tenants: HashMap<String, TenantGates>,
    holds: Holds,
}

impl Gates {
    /// Compiles what is in force. A cutoff is the directive's append time and the tolerance: `run` takes events that are dated so far ahead.
    pub fn of(in_force: &InForce, config: &Config) -> Gates {
        let tolerance_ms = config.run.future_tolerance.as_millis() as i64;
        let mut gates = Gates { tenants: HashMap::new(), holds: Holds::build(in_force) };
        for standing in in_force.all() {
            let id = &standing.directive.tenant;
            let Some(tenant) = config.tenant.iter().find(|t| t.id.as_str() == id) else { continue };
            let mut rights = Rights { erased_to_ms: i64::MIN, withdrawn_to_ms: i64::MIN, restricted: false };
            match &standing.directive.order {
                Order::Erase { .. } => rights.erased_to_ms = standing.stored_at_ms.saturating_add(tolerance_ms),
                Order::Restrict { lifted: false, .. } => rights.restricted = true,
                Order::Withdraw { purpose, .. } if rests_on(tenant, *purpose) => rights.withdrawn_to_ms = standing.stored_at_ms,
                Order::Terminate { .. } => {}
                _ => continue,
            }
            let ours = gates.tenants.entry(id.clone()).or_insert_with(|| TenantGates { people: HashMap::new(), terminated: false });
            ours.terminated |= matches!(standing.directive.order, Order::Terminate { .. });
            for (_, pseudonym) in standing.directive.order.pseudonyms() {
                let known = ours.people.entry(*pseudonym).or_insert(rights);
                known.erased_to_ms = known.erased_to_ms.max(rights.erased_to_ms);
                known.withdrawn_to_ms = known.withdrawn_to_ms.max(rights.withdrawn_to_ms);
                known.restricted |= rights.restricted;
            }
        }
        gates
    }

    /// Whether a tenant's sessions have to be judged.
    pub fn concern(&self, tenant: &str) -> bool {
        self.tenants.contains_key(tenant)
    }

    /// Why an event is no part of a session, as the metric's label; `None`: it is.
    pub fn shut(&self, tenant: &str, event: &Event<'_>, identifiers: impl Iterator<Item = Pseudonym>) -> Option<&'static str> {
        let gates = self.tenants.get(tenant)?;
        let mut shut = gates.terminated.then_some("restricted");
        for rights in identifiers.filter_map(|p| gates.people.get(&p)) {
            if event.occurred_at_ms <= rights.erased_to_ms {
                return Some("erased");
            }
            if rights.restricted {
                shut = Some("restricted");
            } else if event.given_at_ms.unwrap_or(event.occurred_at_ms) <= rights.withdrawn_to_ms {
                shut = shut.or(Some("withdrawn"));
            }
        }
        shut
    }

    /// What becomes of an open session.
    pub fn fate(&self, tenant: &str, epoch: Epoch, identifiers: &[Pseudonym], start_ms: i64) -> Fate {
        let Some(gates) = self.tenants.get(tenant) else { return Fate::Keep };
        let goes = |rights: &Rights| start_ms <= rights.erased_to_ms.max(rights.withdrawn_to_ms);
        if !identifiers.iter().filter_map(|p| gates.people.get(p)).any(goes) {
            return Fate::Keep;
        }
        if self.holds.concern(tenant) {
            let mut lethe = Vec::new();
            header::write(epoch, start_ms, identifiers.iter().copied(), &mut lethe);
            if self.holds.cover(tenant, Category::Sessions.as_str(), Some(&lethe)) {
                return Fate::Leave;
            }
        }
        Fate::Remove
    }
}

/// Whether a tenant's sessions rest on consent to a purpose: their own basis, or that of the events that they are made of.
fn rests_on(tenant: &TenantConfig, purpose: Purpose) -> bool {
    [Category::Events, Category::Sessions].iter().any(|c| tenant.basis(*c).consent_needed() == Some(purpose))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::directive::{Directive, Pseudonyms};

    const P: Pseudonym = Pseudonym([7; 16]);

    fn gates(orders: Vec<(i64, Order)>) -> Gates {
        let config = crate::config::load::parse("[[tenant]]\nid='acme'\nprofile='web_analytics'\n", std::iter::empty()).unwrap();
        let mut in_force = InForce::default();
        for (n, (stored_at_ms, order)) in orders.into_iter().enumerate() {
            let d = Directive {
                id: format!("r{n}"),
                tenant: "acme".into(),
                issued_at_ms: n as i64,
                actor: String::new(),
                commitments: Vec::new(),
                order,
            };
            in_force.apply(n as i64, stored_at_ms, d.key().as_bytes(), Some(&serde_json::to_vec(&d).unwrap()));
        }
        Gates::of(&in_force, &config)
    }

    fn who() -> Pseudonyms {
        Pseudonyms(vec![(Epoch(1), P)])
    }

    fn shut(gates: &Gates, occurred_at_ms: i64, given_at_ms: Option<i64>) -> Option<&'static str> {
        let event = Event {
            event_id: "e",
            event_name: "view",
            occurred_at_ms,
            subject: "1.a",
            epoch: Epoch(1),
            given_at_ms,
            country: "",
            device_class: "",
            host: "",
            path: "",
            campaign: [""; 6],
            value: None,
            currency: "",
        };
        gates.shut("acme", &event, [Pseudonym([1; 16]), P].into_iter())
    }

    fn fate(gates: &Gates, start_ms: i64) -> Fate {
        gates.fate("acme", Epoch(1), &[P], start_ms)
    }

    const T: i64 = 1_000_000_000;

    #[test]
    fn an_erasure_reaches_up_to_its_cutoff() {
        let g = gates(vec![(T, Order::Erase { pseudonyms: who() })]);
        assert_eq!((shut(&g, T + 300_000, None), shut(&g, T + 300_001, None)), (Some("erased"), None));
        assert_eq!((fate(&g, T), fate(&g, T + 300_001)), (Fate::Remove, Fate::Keep));
        assert_eq!(g.fate("acme", Epoch(1), &[Pseudonym([1; 16])], T), Fate::Keep, "somebody else's");
        assert_eq!(g.fate("other", Epoch(1), &[P], T), Fate::Keep, "another tenant's");
    }

    #[test]
    fn a_restriction_stops_what_comes_and_touches_nothing_that_is_there() {
        let g = gates(vec![(T, Order::Restrict { pseudonyms: who(), lifted: false })]);
        assert_eq!(
            (shut(&g, T - 9, None), shut(&g, T + 9_999_999, None), fate(&g, T)),
            (Some("restricted"), Some("restricted"), Fate::Keep)
        );
        assert_eq!(shut(&gates(vec![(T, Order::Restrict { pseudonyms: who(), lifted: true })]), T, None), None);
    }

    #[test]
    fn a_withdrawal_beats_the_consent_that_was_given_before_it_and_no_other() {
        let g = gates(vec![(T, Order::Withdraw { pseudonyms: who(), purpose: Purpose::Analytics })]);
        assert_eq!(shut(&g, T + 5, Some(T)), Some("withdrawn"));
        assert_eq!(shut(&g, T + 5, Some(T + 1)), None, "asked again, and said yes");
        assert_eq!((shut(&g, T, None), shut(&g, T + 1, None)), (Some("withdrawn"), None));
        assert_eq!((fate(&g, T), fate(&g, T + 1)), (Fate::Remove, Fate::Keep));
        let ads = gates(vec![(T, Order::Withdraw { pseudonyms: who(), purpose: Purpose::Ads })]);
        assert_eq!((shut(&ads, T, None), fate(&ads, T)), (None, Fate::Keep), "sessions do not rest on that");
    }

    #[test]
    fn a_hold_keeps_what_an_erasure_would_take() {
        let hold = Order::Hold {
            pseudonyms: who(),
            category: None,
            from_ms: None,
            to_ms: None,
            reason: "case".into(),
            until_ms: T,
            released: false,
            incident: false,
        };
        let g = gates(vec![(T, Order::Erase { pseudonyms: who() }), (T, hold)]);
        assert_eq!((fate(&g, T), shut(&g, T, None)), (Fate::Leave, Some("erased")));
    }

    #[test]
    fn a_terminated_tenant_has_no_new_sessions() {
        let g = gates(vec![(T, Order::Terminate { deadline_ms: T })]);
        assert_eq!((shut(&g, T, None), fate(&g, T)), (Some("restricted"), Fate::Keep));
        assert!(g.concern("acme") && !g.concern("other"));
    }
}
