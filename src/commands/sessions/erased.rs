//! Who is erased, and up to when: what directives say of the tenants that have sessions.

use crate::model::directive::{InForce, Order};
use crate::model::pseudonym::Pseudonym;
use std::collections::HashMap;

/// Cutoffs by tenant and pseudonym. Units: ms since the epoch.
#[derive(Default)]
pub(super) struct Erased(HashMap<String, HashMap<Pseudonym, i64>>);

impl Erased {
    /// Compiles what is in force. A cutoff is the directive's append time and the tolerance: `run` takes events that are dated so far ahead.
    pub fn of(in_force: &InForce, tolerance_ms: i64) -> Erased {
        let mut tenants: HashMap<String, HashMap<Pseudonym, i64>> = HashMap::new();
        for standing in in_force.all() {
            let Order::Erase { pseudonyms } = &standing.directive.order else { continue };
            let cutoffs = tenants.entry(standing.directive.tenant.clone()).or_default();
            for (_, pseudonym) in &pseudonyms.0 {
                let cutoff = cutoffs.entry(*pseudonym).or_insert(i64::MIN);
                *cutoff = (*cutoff).max(standing.stored_at_ms.saturating_add(tolerance_ms));
            }
        }
        Erased(tenants)
    }

    /// The cutoffs of one tenant, if it has any.
    pub fn of_tenant(&self, tenant: &str) -> Option<&HashMap<Pseudonym, i64>> {
        self.0.get(tenant)
    }
}

/// Whether something that happened then is of an erased identifier. Units: ms since the epoch.
pub(super) fn is_erased(cutoffs: &HashMap<Pseudonym, i64>, pseudonym: &Pseudonym, at_ms: i64) -> bool {
    cutoffs.get(pseudonym).is_some_and(|cutoff| at_ms <= *cutoff)
}
