//! Directives: what is in force, as it stands in `lethe.directives`, one JSON object a key `T/<kind>/<id>`.

use crate::model::consent::Purpose;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Stands for every tenant in a directive's key and `tenant`.
pub const ALL_TENANTS: &str = "*";

/// One directive. Shape: the value of a record of `lethe.directives`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Directive {
    /// The request's id, as printed by the command.
    pub id: String,
    /// Tenant id, or `*`.
    pub tenant: String,
    /// When the command was given. Units: ms since the epoch. The cutoff of a directive is its append time, not this.
    pub issued_at_ms: i64,
    /// What is asked for.
    #[serde(flatten)]
    pub order: Order,
}

/// What a directive orders. Identifiers are pseudonyms, as text, one per key epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    /// Stop (or go on) producing records of the tenant.
    Pause {
        /// Whether the tenant stands still.
        paused: bool,
    },
    /// Process at most so many events a second and worker; `None` lifts the limit.
    RateLimit {
        /// Units: events per second.
        events_per_second: Option<u32>,
    },
    /// Forget a person.
    Erase {
        /// Pseudonyms of all key epochs.
        pseudonyms: Vec<String>,
    },
    /// Write nothing of a person until lifted.
    Restrict {
        /// Pseudonyms of all key epochs.
        pseudonyms: Vec<String>,
        /// Whether the restriction was lifted.
        lifted: bool,
    },
    /// Consent withdrawn.
    Withdraw {
        /// Pseudonyms of all key epochs.
        pseudonyms: Vec<String>,
        /// For which purpose.
        purpose: Purpose,
    },
    /// Keep, against windows and erasures.
    Hold {
        /// Why.
        reason: String,
        /// Minimum end. Units: ms since the epoch.
        until_ms: i64,
        /// Whether the hold was released.
        released: bool,
    },
    /// End the tenant.
    Terminate {
        /// Units: ms since the epoch.
        deadline_ms: i64,
    },
}

impl Order {
    /// The kind, as it stands in the key.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Order::Pause { .. } => "pause",
            Order::RateLimit { .. } => "rate_limit",
            Order::Erase { .. } => "erase",
            Order::Restrict { .. } => "restrict",
            Order::Withdraw { .. } => "withdraw",
            Order::Hold { .. } => "hold",
            Order::Terminate { .. } => "terminate",
        }
    }
}

impl Directive {
    /// The record key. Orders of which only the newest counts have one key a tenant, so that compaction forgets the older ones.
    #[must_use]
    pub fn key(&self) -> String {
        let id = match self.order {
            Order::Pause { .. } | Order::RateLimit { .. } => "current",
            _ => &self.id,
        };
        format!("{}/{}/{id}", self.tenant, self.order.kind())
    }
}

/// What is in force, by key, as of an offset of `lethe.directives`.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    directives: HashMap<String, Directive>,
    /// Everything before this offset of `lethe.directives` has been taken in.
    pub next_offset: i64,
    /// Records that could not be read as directives; they are skipped and counted.
    pub unreadable: u64,
}

impl InForce {
    /// Takes in one record of `lethe.directives`. Returns whether it could be read.
    pub fn apply(&mut self, offset: i64, key: &[u8], value: Option<&[u8]>) -> bool {
        self.next_offset = self.next_offset.max(offset + 1);
        let Ok(key) = std::str::from_utf8(key) else {
            self.unreadable += 1;
            return false;
        };
        let Some(value) = value else {
            self.directives.remove(key);
            return true;
        };
        match serde_json::from_slice::<Directive>(value) {
            Ok(directive) if directive.key() == key => {
                self.directives.insert(key.to_owned(), directive);
                true
            }
            _ => {
                self.unreadable += 1;
                false
            }
        }
    }

    fn current(&self, tenant: &str, kind: &str) -> Option<&Order> {
        self.directives.get(&format!("{tenant}/{kind}/current")).map(|d| &d.order)
    }

    /// Whether `tenant`, or everybody, is paused.
    #[must_use]
    pub fn is_paused(&self, tenant: &str) -> bool {
        [tenant, ALL_TENANTS].iter().any(|t| matches!(self.current(t, "pause"), Some(Order::Pause { paused: true })))
    }

    /// The tenant's rate limit: its own, else that of all. Units: events per second.
    #[must_use]
    pub fn rate_limit(&self, tenant: &str) -> Option<u32> {
        [tenant, ALL_TENANTS].iter().find_map(|t| match self.current(t, "rate_limit") {
            Some(Order::RateLimit { events_per_second }) => *events_per_second,
            _ => None,
        })
    }

    /// How many directives are in force, by kind.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for d in self.directives.values() {
            *counts.entry(d.order.kind()).or_insert(0) += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(tenant: &str, paused: bool) -> (String, Vec<u8>) {
        let d = Directive { id: "r1".into(), tenant: tenant.into(), issued_at_ms: 1, order: Order::Pause { paused } };
        (d.key(), serde_json::to_vec(&d).unwrap())
    }

    #[test]
    fn the_newest_order_of_a_key_counts() {
        let mut f = InForce::default();
        let (key, on) = pause("acme", true);
        assert_eq!(key, "acme/pause/current");
        assert!(f.apply(0, key.as_bytes(), Some(&on)));
        assert!(f.is_paused("acme") && !f.is_paused("other"));
        let (key, off) = pause("acme", false);
        assert!(f.apply(1, key.as_bytes(), Some(&off)));
        assert!(!f.is_paused("acme"));
        let (key, all) = pause("*", true);
        f.apply(2, key.as_bytes(), Some(&all));
        assert!(f.is_paused("other"));
        f.apply(3, key.as_bytes(), None);
        assert!(!f.is_paused("other"));
        assert_eq!(f.next_offset, 4);
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_skipped() {
        let mut f = InForce::default();
        assert!(!f.apply(0, b"acme/pause/current", Some(b"{")));
        assert!(!f.apply(1, b"\xff", Some(b"{}")));
        let (_, on) = pause("acme", true);
        assert!(!f.apply(2, b"evil/pause/current", Some(&on)), "the key must say what the value says");
        assert_eq!((f.unreadable, f.next_offset), (3, 3));
        assert!(!f.is_paused("acme"));
    }

    #[test]
    fn a_tenants_own_limit_comes_before_everybodys() {
        let mut f = InForce::default();
        for (offset, tenant, rate) in [(0, "*", 10), (1, "acme", 20)] {
            let d = Directive {
                id: "r".into(),
                tenant: tenant.into(),
                issued_at_ms: 1,
                order: Order::RateLimit { events_per_second: Some(rate) },
            };
            f.apply(offset, d.key().as_bytes(), Some(&serde_json::to_vec(&d).unwrap()));
        }
        assert_eq!((f.rate_limit("acme"), f.rate_limit("b")), (Some(20), Some(10)));
    }
}
