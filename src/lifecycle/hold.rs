//! Legal holds: which records they cover. A hold wins over windows and erasures until it is released; its `until` is a minimum.

use crate::model::directive::{InForce, Order};
use crate::model::header::Header;
use crate::model::pseudonym::Pseudonym;
use std::collections::{HashMap, HashSet};

/// One hold, ready to match.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hold {
    /// None: everybody.
    people: Option<HashSet<Pseudonym>>,
    /// Short name of the one topic; none: all.
    category: Option<&'static str>,
    from_ms: i64,
    to_ms: i64,
}

/// All holds in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    by_tenant: HashMap<String, Vec<Hold>>,
}

impl Holds {
    /// Compiles what is in force.
    #[must_use]
    pub fn build(in_force: &InForce) -> Holds {
        let mut holds = Holds::default();
        for standing in in_force.all() {
            if let Order::Hold { pseudonyms, category, from_ms, to_ms, released: false, .. } = &standing.directive.order {
                holds.by_tenant.entry(standing.directive.tenant.clone()).or_default().push(Hold {
                    people: (!pseudonyms.0.is_empty()).then(|| pseudonyms.0.iter().map(|(_, p)| *p).collect()),
                    category: category.map(|c| c.as_str()),
                    from_ms: from_ms.unwrap_or(i64::MIN),
                    to_ms: to_ms.unwrap_or(i64::MAX),
                });
            }
        }
        holds
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_tenant.is_empty()
    }

    /// Whether anything of a tenant is held.
    #[must_use]
    pub fn concern(&self, tenant: &str) -> bool {
        self.by_tenant.contains_key(tenant)
    }

    /// Whether anything of a tenant's topic may be held. `short`: the topic's name without the tenant's.
    #[must_use]
    pub fn concern_topic(&self, tenant: &str, short: &str) -> bool {
        self.by_tenant.get(tenant).is_some_and(|holds| holds.iter().any(|hold| hold.category.is_none_or(|c| c == short)))
    }

    /// Whether a record is held. `short`: the topic's name without the tenant's. A record without a readable header is held by any hold on its
    /// tenant and topic: what cannot be told apart is kept.
    #[must_use]
    pub fn cover(&self, tenant: &str, short: &str, header: Option<&[u8]>) -> bool {
        let Some(holds) = self.by_tenant.get(tenant) else { return false };
        let header = header.and_then(Header::read);
        holds.iter().filter(|hold| hold.category.is_none_or(|c| c == short)).any(|hold| {
            header.is_none_or(|h| {
                (hold.from_ms..hold.to_ms).contains(&h.occurred_at_ms)
                    && hold.people.as_ref().is_none_or(|people| h.identifiers().any(|p| people.contains(&p)))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::category::Category;
    use crate::model::directive::{Directive, Pseudonyms};
    use crate::model::header;
    use crate::model::pseudonym::Epoch;

    fn held(order: Order) -> Holds {
        let d = Directive { id: "h".into(), tenant: "acme".into(), issued_at_ms: 1, actor: String::new(), commitments: Vec::new(), order };
        let mut in_force = InForce::default();
        in_force.apply(0, 0, d.key().as_bytes(), Some(&serde_json::to_vec(&d).unwrap()));
        Holds::build(&in_force)
    }

    fn hold(people: &[u8], category: Option<Category>, from_ms: Option<i64>, to_ms: Option<i64>, released: bool) -> Holds {
        let pseudonyms = Pseudonyms(people.iter().map(|n| (Epoch(1), Pseudonym([*n; 16]))).collect());
        held(Order::Hold { pseudonyms, category, from_ms, to_ms, reason: "case".into(), until_ms: 9, released, incident: false })
    }

    fn record(at_ms: i64, people: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        header::write(Epoch(1), at_ms, people.iter().map(|n| Pseudonym([*n; 16])), &mut out);
        out
    }

    #[test]
    fn scope_by_person_category_and_time() {
        let jane = record(50, &[1, 2]);
        assert!(hold(&[], None, None, None, false).cover("acme", "events", Some(&jane)));
        assert!(!hold(&[], None, None, None, false).cover("other", "events", Some(&jane)));
        assert!(hold(&[2], None, None, None, false).cover("acme", "dest.meta", Some(&jane)));
        assert!(!hold(&[3], None, None, None, false).cover("acme", "events", Some(&jane)));
        let conversions = hold(&[], Some(Category::Conversions), None, None, false);
        assert!(conversions.cover("acme", "conversions", Some(&jane)) && !conversions.cover("acme", "events", Some(&jane)));
        assert!(conversions.concern_topic("acme", "conversions") && !conversions.concern_topic("acme", "events"));
        assert!(!conversions.concern_topic("other", "conversions"));
        assert!(hold(&[], None, Some(50), Some(51), false).cover("acme", "events", Some(&jane)));
        assert!(!hold(&[], None, Some(51), None, false).cover("acme", "events", Some(&jane)));
        assert!(!hold(&[], None, None, Some(50), false).cover("acme", "events", Some(&jane)));
    }

    #[test]
    fn released_is_none_and_what_cannot_be_told_apart_is_kept() {
        assert!(hold(&[1], None, None, None, true).is_empty());
        assert!(hold(&[1], None, Some(5), None, false).cover("acme", "events", None));
    }
}
