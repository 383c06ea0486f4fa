//! Directives: what is in force, as it stands in `lethe.directives`, one JSON object a key `T/<kind>/<id>`.

use crate::model::category::Category;
use crate::model::consent::Purpose;
use crate::model::pseudonym::{self, Epoch, Pseudonym};
use crate::model::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Stands for every tenant in a directive's key and `tenant`.
pub const ALL_TENANTS: &str = "*";
/// How many refused records are remembered for whoever tells of them.
const REFUSED_MAX: usize = 1_000;
/// Most pseudonyms of one directive: it must fit into one record.
pub const PSEUDONYMS_MAX: usize = 25_000;

/// One directive. Shape: the value of a record of `lethe.directives`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Directive {
    /// The request's id, as printed by the command.
    pub id: String,
    /// Tenant id, or `*`.
    pub tenant: String,
    /// When the command was given. Units: ms since the epoch. The cutoff of a directive is its append time, not this.
    pub issued_at_ms: i64,
    /// Who gave it: a service's name, or a pseudonym.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// SHA-256 of salt and pseudonym, as hex, for the certificate; the salt is the requester's alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commitments: Vec<String>,
    /// What is asked for.
    #[serde(flatten)]
    pub order: Order,
}

/// Pseudonyms of the identifiers that a directive names, under every key epoch. Shape: `<epoch>.<base64url>` each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Pseudonyms(pub Vec<(Epoch, Pseudonym)>);

impl TryFrom<Vec<String>> for Pseudonyms {
    type Error = &'static str;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        let all: Option<Vec<_>> = texts.iter().map(|text| pseudonym::read_text(text)).collect();
        all.map(Pseudonyms).ok_or("a pseudonym is not <epoch>.<base64url>")
    }
}

impl From<Pseudonyms> for Vec<String> {
    fn from(all: Pseudonyms) -> Self {
        all.0.into_iter().map(|(epoch, p)| pseudonym::text(epoch, p)).collect()
    }
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
        pseudonyms: Pseudonyms,
    },
    /// Write nothing of a person until lifted.
    Restrict {
        /// Pseudonyms of all key epochs.
        pseudonyms: Pseudonyms,
        /// Whether the restriction was lifted.
        #[serde(default)]
        lifted: bool,
    },
    /// Consent withdrawn.
    Withdraw {
        /// Pseudonyms of all key epochs.
        pseudonyms: Pseudonyms,
        /// For which purpose.
        purpose: Purpose,
    },
    /// Nothing is sold or shared of a person.
    OptOutOfSale {
        /// Pseudonyms of all key epochs.
        pseudonyms: Pseudonyms,
    },
    /// Keep, against windows and erasures.
    Hold {
        /// Pseudonyms of all key epochs; none: everybody.
        #[serde(default, skip_serializing_if = "is_empty")]
        pseudonyms: Pseudonyms,
        /// One category only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<Category>,
        /// Only what occurred from then on. Units: ms since the epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_ms: Option<i64>,
        /// Only what occurred before then. Units: ms since the epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_ms: Option<i64>,
        /// Why.
        reason: String,
        /// Minimum end. Units: ms since the epoch.
        until_ms: i64,
        /// Whether the hold was released.
        #[serde(default)]
        released: bool,
        /// A security incident, and no legal matter: it extends the window of the clear network identifiers, and of nothing else.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        incident: bool,
    },
    /// End the tenant.
    Terminate {
        /// When everything must be gone. Units: ms since the epoch; less than 10^11, ms after the append time.
        deadline_ms: i64,
    },
}

fn is_empty(all: &Pseudonyms) -> bool {
    all.0.is_empty()
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
            Order::OptOutOfSale { .. } => "opt_out_of_sale",
            Order::Hold { .. } => "hold",
            Order::Terminate { .. } => "terminate",
        }
    }

    /// Whom it names.
    #[must_use]
    pub fn pseudonyms(&self) -> &[(Epoch, Pseudonym)] {
        match self {
            Order::Erase { pseudonyms }
            | Order::Restrict { pseudonyms, .. }
            | Order::Withdraw { pseudonyms, .. }
            | Order::OptOutOfSale { pseudonyms }
            | Order::Hold { pseudonyms, .. } => &pseudonyms.0,
            Order::Pause { .. } | Order::RateLimit { .. } | Order::Terminate { .. } => &[],
        }
    }

    /// Whether only the newest of a tenant counts, whatever clocks say: a kill switch must not depend on one.
    fn is_current(&self) -> bool {
        matches!(self, Order::Pause { .. } | Order::RateLimit { .. })
    }

    /// Whether it says what it must.
    fn is_whole(&self) -> bool {
        match self {
            Order::Hold { incident: true, category, .. } if *category != Some(Category::Network) => return false,
            // It would hold nothing, or let nothing through for ever.
            Order::Hold { from_ms: Some(from), to_ms: Some(to), .. } if from >= to => return false,
            Order::RateLimit { events_per_second: Some(0) } => return false,
            _ => {}
        }
        let named = !matches!(self, Order::Erase { .. } | Order::Restrict { .. } | Order::Withdraw { .. } | Order::OptOutOfSale { .. })
            || !self.pseudonyms().is_empty();
        named && self.pseudonyms().len() <= PSEUDONYMS_MAX
    }
}

impl Directive {
    /// The record key. Orders of which only the newest counts have one key a tenant, so that compaction forgets the older ones.
    #[must_use]
    pub fn key(&self) -> String {
        let id = if self.order.is_current() { "current" } else { &self.id };
        format!("{}/{}/{id}", self.tenant, self.order.kind())
    }

    /// Whether it can be carried out: the tenant is one, or everybody where that is possible; the id is one; it names whom it must.
    fn is_whole(&self) -> bool {
        let tenant = if self.tenant == ALL_TENANTS { self.order.is_current() } else { TenantId::try_from(self.tenant.clone()).is_ok() };
        let id = !self.id.is_empty() && self.id.len() <= 64 && self.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        // A commitment stands in the certificate: no other text may.
        let hashes = self.commitments.iter().all(|c| c.len() == 64 && c.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        tenant && id && hashes && self.order.is_whole()
    }
}

/// What a record says besides its directive.
#[derive(Deserialize)]
struct Upheld {
    /// When what it upholds was appended. Units: ms since the epoch.
    #[serde(default)]
    since_ms: Option<i64>,
}

/// What became of one record of `lethe.directives`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is in force.
    InForce,
    /// It says what is in force already: nothing changes.
    Repeated,
    /// It was given before the one that is in force: nothing changes.
    Older,
    /// It is no directive, or its key says something else: skipped.
    Malformed,
    /// Nothing is in force under the key any more.
    Forgotten,
}

/// A directive that is in force, and since when.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its place in `lethe.directives`.
    pub offset: i64,
    /// When it was appended. Units: ms since the epoch.
    pub stored_at_ms: i64,
    /// What it says.
    pub directive: Directive,
    /// Its record upholds one that was appended at that time.
    pub is_upheld: bool,
}

impl Standing {
    /// A record that upholds it: compaction keeps of each key the last record alone, be it one that changed nothing.
    ///
    /// Shape: the directive, with when it was first appended, which stays its cutoff.
    #[must_use]
    pub fn upheld(&self) -> Option<Vec<u8>> {
        let mut value = serde_json::to_value(&self.directive).ok()?;
        value.as_object_mut()?.insert("since_ms".into(), self.stored_at_ms.into());
        serde_json::to_vec(&value).ok()
    }
}

/// A record that changed nothing, for whoever tells of it. It holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place in `lethe.directives`.
    pub offset: i64,
    /// Why.
    pub outcome: Outcome,
    /// The request's id, where the record could be read.
    pub id: Option<String>,
    /// Its key, where a directive is in force under it.
    pub key: Option<String>,
}

/// What is in force, by key, as of an offset of `lethe.directives`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    directives: Arc<HashMap<String, Arc<Standing>>>,
    /// Everything before this offset of `lethe.directives` has been taken in.
    pub next_offset: i64,
    /// Records that could not be read as directives; they are skipped and counted.
    pub unreadable: u64,
    /// The last records that changed nothing.
    pub refused: VecDeque<Refused>,
}

impl InForce {
    /// Takes in one record of `lethe.directives`. Units: `stored_at_ms` in ms since the epoch.
    pub fn apply(&mut self, offset: i64, stored_at_ms: i64, key: &[u8], value: Option<&[u8]>) -> Outcome {
        self.next_offset = self.next_offset.max(offset + 1);
        let (outcome, id) = self.judge(offset, stored_at_ms, key, value);
        let upholds = outcome == Outcome::Repeated && value.is_some_and(|value| since(value).is_some());
        if matches!(outcome, Outcome::Repeated | Outcome::Older | Outcome::Malformed) && !upholds {
            self.unreadable += u64::from(outcome == Outcome::Malformed);
            let key = std::str::from_utf8(key).ok().filter(|key| self.directives.contains_key(*key)).map(str::to_owned);
            self.refused.push_back(Refused { offset, outcome, id, key });
            while self.refused.len() > REFUSED_MAX {
                self.refused.pop_front();
            }
        }
        outcome
    }

    fn judge(&mut self, offset: i64, stored_at_ms: i64, key: &[u8], value: Option<&[u8]>) -> (Outcome, Option<String>) {
        let Ok(key) = std::str::from_utf8(key) else { return (Outcome::Malformed, None) };
        let Some(value) = value else {
            Arc::make_mut(&mut self.directives).remove(key);
            return (Outcome::Forgotten, None);
        };
        let directive = match serde_json::from_slice::<Directive>(value) {
            Ok(directive) if directive.is_whole() && directive.key() == key => directive,
            _ => return (Outcome::Malformed, None),
        };
        let id = Some(directive.id.clone());
        match self.directives.get(key) {
            Some(before) if before.directive == directive => (Outcome::Repeated, id),
            Some(before) if !directive.order.is_current() && directive.issued_at_ms < before.directive.issued_at_ms => (Outcome::Older, id),
            _ => {
                // Who upholds something cannot put it off.
                let since_ms = since(value);
                let stored_at_ms = since_ms.map_or(stored_at_ms, |since_ms| since_ms.min(stored_at_ms));
                let standing = Standing { offset, stored_at_ms, directive, is_upheld: since_ms.is_some() };
                Arc::make_mut(&mut self.directives).insert(key.to_owned(), Arc::new(standing));
                (Outcome::InForce, id)
            }
        }
    }

    fn current(&self, tenant: &str, kind: &str) -> Option<&Order> {
        self.directives.get(&format!("{tenant}/{kind}/current")).map(|s| &s.directive.order)
    }

    /// Everything in force. Shape: in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Standing>> {
        self.directives.values()
    }

    /// What is in force under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<Standing>> {
        self.directives.get(key)
    }

    /// The directives in force whose request goes by a name: its id or, whole, its key. Who produces directives may give one id twice.
    pub fn of_request<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f Arc<Standing>> {
        let by_key = self.directives.get(name).into_iter();
        by_key.chain(self.all().filter(move |s| s.directive.id == name))
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
        for s in self.all() {
            *counts.entry(s.directive.order.kind()).or_insert(0) += 1;
        }
        counts
    }
}

fn since(value: &[u8]) -> Option<i64> {
    serde_json::from_slice::<Upheld>(value).ok()?.since_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directive(id: &str, tenant: &str, issued_at_ms: i64, order: Order) -> (String, Vec<u8>) {
        let d = Directive { id: id.into(), tenant: tenant.into(), issued_at_ms, actor: String::new(), commitments: Vec::new(), order };
        (d.key(), serde_json::to_vec(&d).unwrap())
    }

    fn pause(tenant: &str, paused: bool) -> (String, Vec<u8>) {
        directive("r1", tenant, 1, Order::Pause { paused })
    }

    fn one() -> Pseudonyms {
        Pseudonyms(vec![(Epoch(1), Pseudonym([7; 16]))])
    }

    fn apply(f: &mut InForce, offset: i64, (key, value): &(String, Vec<u8>)) -> Outcome {
        f.apply(offset, offset * 10, key.as_bytes(), Some(value))
    }

    #[test]
    fn the_newest_order_of_a_key_counts() {
        let mut f = InForce::default();
        let on = pause("acme", true);
        assert_eq!(on.0, "acme/pause/current");
        assert_eq!(apply(&mut f, 0, &on), Outcome::InForce);
        assert!(f.is_paused("acme") && !f.is_paused("other"));
        assert_eq!(apply(&mut f, 1, &pause("acme", false)), Outcome::InForce);
        assert!(!f.is_paused("acme"));
        let all = pause("*", true);
        apply(&mut f, 2, &all);
        assert!(f.is_paused("other"));
        assert_eq!(f.apply(3, 0, all.0.as_bytes(), None), Outcome::Forgotten);
        assert!(!f.is_paused("other"));
        assert_eq!(f.next_offset, 4);
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_skipped() {
        let mut f = InForce::default();
        let on = pause("acme", true);
        let erase = |tenant: &str, id: &str, pseudonyms| directive(id, tenant, 1, Order::Erase { pseudonyms });
        for (key, value) in [
            ("acme/pause/current".to_owned(), b"{".to_vec()),
            ("evil/pause/current".to_owned(), on.1.clone()),
            erase("*", "r", one()),
            erase("acme", "r/../x", one()),
            erase("acme", "r", Pseudonyms::default()),
            directive("r", "acme", 1, Order::RateLimit { events_per_second: Some(0) }),
            (
                "acme/erase/r".to_owned(),
                br#"{"id":"r","tenant":"acme","issued_at_ms":1,"commitments":["jane@example.com"],"kind":"erase","pseudonyms":["1.AAECAwQFBgcICQoLDA0ODw"]}"#.to_vec(),
            ),
            (
                "acme/hold/h".to_owned(),
                br#"{"id":"h","tenant":"acme","issued_at_ms":1,"kind":"hold","reason":"r","until_ms":9,"from_ms":5,"to_ms":5}"#.to_vec(),
            ),
            (
                "acme/erase/r".to_owned(),
                br#"{"id":"r","tenant":"acme","issued_at_ms":1,"kind":"erase","pseudonyms":["jane@example.com"]}"#.to_vec(),
            ),
        ] {
            assert_eq!(f.apply(0, 0, key.as_bytes(), Some(&value)), Outcome::Malformed, "{key}");
        }
        assert_eq!(f.apply(8, 0, b"\xff", Some(b"{}")), Outcome::Malformed);
        assert_eq!((f.unreadable, f.next_offset, f.refused.len()), (10, 9, 10));
        assert!(f.counts().is_empty());
    }

    #[test]
    fn repeated_and_older_ones_change_nothing() {
        let mut f = InForce::default();
        let order = |lifted| Order::Restrict { pseudonyms: one(), lifted };
        assert_eq!(apply(&mut f, 0, &directive("r", "acme", 5, order(false))), Outcome::InForce);
        assert_eq!(apply(&mut f, 1, &directive("r", "acme", 5, order(false))), Outcome::Repeated);
        assert_eq!(f.get("acme/restrict/r").unwrap().stored_at_ms, 0, "the cutoff stays");
        assert_eq!(apply(&mut f, 2, &directive("r", "acme", 9, order(true))), Outcome::InForce);
        assert_eq!(apply(&mut f, 3, &directive("r", "acme", 5, order(false))), Outcome::Older);
        assert!(matches!(f.of_request("r").next().unwrap().directive.order, Order::Restrict { lifted: true, .. }));
        apply(&mut f, 4, &directive("p", "acme", 9, Order::Pause { paused: false }));
        assert_eq!(
            apply(&mut f, 5, &directive("p", "acme", 5, Order::Pause { paused: true })),
            Outcome::InForce,
            "no clock can disarm the kill switch"
        );
    }

    #[test]
    fn what_is_upheld_stands_alone_as_it_stood() {
        let (mut f, mut alone) = (InForce::default(), InForce::default());
        let order = |lifted| Order::Restrict { pseudonyms: one(), lifted };
        apply(&mut f, 3, &directive("r", "acme", 9, order(true)));
        let key = "acme/restrict/r";
        assert_eq!(apply(&mut f, 4, &directive("r", "acme", 5, order(false))), Outcome::Older);
        assert_eq!(f.apply(5, 50, key.as_bytes(), Some(b"{")), Outcome::Malformed);
        assert!(f.refused.iter().all(|r| r.key.as_deref() == Some(key)));
        let upheld = f.get(key).unwrap().upheld().unwrap();
        assert_eq!(f.apply(6, 60, key.as_bytes(), Some(&upheld)), Outcome::Repeated);
        assert_eq!(f.refused.len(), 2, "nobody has to be told of it, or it would be upheld again");
        // Whoever reads the topic when it has been compacted.
        assert_eq!(alone.apply(6, 60, key.as_bytes(), Some(&upheld)), Outcome::InForce);
        let (before, after) = (f.get(key).unwrap(), alone.get(key).unwrap());
        assert_eq!((before.stored_at_ms, &before.directive), (after.stored_at_ms, &after.directive));
        let late = String::from_utf8(upheld).unwrap().replace("\"since_ms\":30", "\"since_ms\":99999");
        let mut forged = InForce::default();
        forged.apply(6, 60, key.as_bytes(), Some(late.as_bytes()));
        assert_eq!(forged.get(key).unwrap().stored_at_ms, 60, "no cutoff lies after the record");
    }

    #[test]
    fn the_schemas_example_is_a_directive() {
        for (text, kind) in
            [(include_str!("../../schemas/directive/erase.json"), "erase"), (include_str!("../../schemas/directive/hold.json"), "hold")]
        {
            let d: Directive = serde_json::from_str(text).unwrap();
            assert!(d.is_whole());
            assert_eq!(d.order.kind(), kind);
        }
        let bad = serde_json::from_str::<Directive>(include_str!("../../schemas/directive/bad.json"));
        assert!(bad.is_err(), "a clear value is no pseudonym");
    }

    #[test]
    fn a_tenants_own_limit_comes_before_everybodys() {
        let mut f = InForce::default();
        for (offset, tenant, rate) in [(0, "*", 10), (1, "acme", 20)] {
            apply(&mut f, offset, &directive("r", tenant, 1, Order::RateLimit { events_per_second: Some(rate) }));
        }
        assert_eq!((f.rate_limit("acme"), f.rate_limit("b")), (Some(20), Some(10)));
    }
}
