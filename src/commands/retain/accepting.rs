//! What stands in `lethe.directives`, told to the audit; and forgetting directives that have served.

use super::rights::{ENTRIES_MAX, Notice, Officer, Saying, commit};
use crate::config::TenantConfig;
use crate::kafka::client::Fault;
use crate::lifecycle::audit::What;
use crate::lifecycle::request::{Request, State};
use crate::model::directive::{ALL_TENANTS, Directive, Order, Outcome, Refused, Standing};
use crate::ops::clock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most directives that one transaction upholds: each may be most of a megabyte.
const UPHELD_MAX: usize = 20;

/// An entry, what its tenant is told, and the place of the record that it is about.
type News = (i64, Saying, Option<Notice>);

impl Officer<'_> {
    /// Tells the audit of every record of `lethe.directives` that it does not know yet, or will soon know no more.
    pub(super) fn accept(&mut self) -> Result<(), Fault> {
        let from = self.requests.directives;
        self.uphold(from)?;
        let mut news = self.standing_news(from);
        news.extend(self.in_force.refused.iter().filter(|r| r.offset >= from).map(refused));
        for (id, r) in self.requests.open().filter(|(id, r)| self.in_force.get(&r.key(id)).is_none()) {
            news.push((i64::MAX, (r.tenant.clone(), vec![id.clone()], What::Forgotten {}), None));
        }
        news.sort_by_key(|(offset, ..)| *offset);
        let mut news = news.into_iter().peekable();
        while news.peek().is_some() {
            let (mut sayings, mut notices) = (Vec::new(), Vec::new());
            for (_, saying, notice) in news.by_ref().take(ENTRIES_MAX) {
                sayings.push(saying);
                notices.extend(notice);
            }
            self.write(sayings, &notices, false)?;
        }
        Ok(())
    }

    /// Writes once more what is in force under keys whose last record changed nothing: compaction would keep that one, and whoever reads the topic
    /// then would know of nothing, or of what no longer holds. Done before the audit is told, so that nobody killed in between leaves it undone.
    fn uphold(&mut self, from: i64) -> Result<(), Fault> {
        let keys: BTreeSet<&String> = self.in_force.refused.iter().filter(|r| r.offset >= from).filter_map(|r| r.key.as_ref()).collect();
        let records: Vec<(String, Vec<u8>)> =
            keys.into_iter().filter_map(|key| Some((key.clone(), self.in_force.get(key)?.upheld()?))).collect();
        for some in records.chunks(UPHELD_MAX) {
            let transaction = self.producer.begin()?;
            for (key, value) in some {
                transaction.put(&self.config.topics.directives, Some(0), key.as_bytes(), value)?;
            }
            commit(transaction, &self.cursors)?;
        }
        Ok(())
    }

    fn standing_news(&self, from: i64) -> Vec<News> {
        let now_ms = clock::now_ms();
        let mut standings: Vec<&Arc<Standing>> = self.in_force.all().collect();
        standings.sort_by_key(|s| s.offset);
        let mut named: BTreeMap<String, String> = BTreeMap::new();
        let mut news = Vec::new();
        for standing in standings {
            let d = &standing.directive;
            let name = self.requests.name_of(d);
            let known = self.requests.by_id.get(&name).filter(|r| is_of(r, standing));
            let is_fading = known.is_some_and(|r| r.is_fading(now_ms));
            if (known.is_some() || standing.offset < from) && !is_fading {
                continue;
            }
            // Of two that are new and have one id the first keeps it.
            let name = if *named.entry(name.clone()).or_insert_with(|| d.key()) == d.key() { name } else { d.key() };
            let tenant_known = d.tenant == ALL_TENANTS || self.tenant(&d.tenant).is_some();
            let notice = notice(&d.order).filter(|_| tenant_known && !is_fading).map(|n| (d.tenant.clone(), name.clone(), n));
            news.push((standing.offset, (d.tenant.clone(), vec![name], in_force(standing, tenant_known)), notice));
        }
        news
    }

    /// Directives that have served are forgotten, see [`may_forget`]; what was lifted or released, `max_lateness` later.
    pub(super) fn forget(&mut self) -> Result<(), Fault> {
        let now_ms = clock::now_ms();
        let mut served: Vec<(Saying, String)> = Vec::new();
        for standing in self.in_force.all() {
            let d = &standing.directive;
            let name = self.requests.name_of(d);
            let Some(r) = self.requests.by_id.get(&name).filter(|r| is_of(r, standing) && !r.forgotten) else { continue };
            let lateness_ms = self.tenant(&d.tenant).and_then(|t| t.max_lateness_ms().ok()).unwrap_or(i64::MAX);
            let done = match (&d.order, r.state()) {
                (Order::Erase { .. }, State::Certified) => {
                    let cutoff_ms = standing.stored_at_ms + self.config.run.future_tolerance.as_millis() as i64;
                    let longest = self.tenant(&d.tenant).and_then(TenantConfig::longest_window_ms);
                    r.certified_ms.is_some_and(|at| may_forget(at, cutoff_ms, lateness_ms, longest, now_ms))
                }
                (Order::Hold { released: true, .. } | Order::Restrict { lifted: true, .. }, State::Done) => {
                    now_ms - standing.stored_at_ms > lateness_ms
                }
                _ => false,
            };
            if done {
                served.push(((d.tenant.clone(), vec![name], What::Forgotten {}), d.key()));
            }
        }
        served.sort_by(|a, b| a.1.cmp(&b.1));
        let topic = self.config.topics.directives.clone();
        for some in served.chunks(ENTRIES_MAX) {
            let (sayings, keys): (Vec<Saying>, Vec<&String>) = some.iter().map(|(saying, key)| (saying.clone(), key)).unzip();
            self.write_with(sayings, &[], false, |transaction| {
                keys.iter().try_for_each(|key| transaction.tombstone(&topic, 0, key.as_bytes(), None))
            })?;
        }
        Ok(())
    }
}

/// Whether a request is that of a directive, which may have been upheld since: its place is another then.
fn is_of(request: &Request, standing: &Standing) -> bool {
    request.offset == standing.offset || standing.is_upheld && request.received_ms == standing.stored_at_ms
}

/// What the audit is told of a directive that is in force.
fn in_force(standing: &Standing, tenant_known: bool) -> What {
    let d = &standing.directive;
    What::Directive {
        kind: d.order.kind().into(),
        offset: standing.offset,
        stored_at_ms: standing.stored_at_ms,
        outcome: Outcome::InForce,
        tenant_known,
        given_by: given_by(d),
        pseudonyms: d.order.pseudonyms().len(),
        ends: matches!(&d.order, Order::Restrict { lifted: true, .. } | Order::Hold { released: true, .. }),
        incident: matches!(d.order, Order::Hold { incident: true, .. }),
    }
}

/// What it is told of one that is not.
fn refused(refused: &Refused) -> News {
    let what = What::Directive {
        kind: String::new(),
        offset: refused.offset,
        stored_at_ms: 0,
        outcome: refused.outcome,
        tenant_known: false,
        given_by: String::new(),
        pseudonyms: 0,
        ends: false,
        incident: false,
    };
    (refused.offset, (String::new(), refused.id.iter().cloned().collect(), what), None)
}

/// Who gave it, as it says. Who produces directives may write anything there: what is no service's name nor a pseudonym is not passed on.
fn given_by(d: &Directive) -> String {
    let is_name = d.actor.len() <= 100 && d.actor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b));
    if is_name { d.actor.clone() } else { "withheld".into() }
}

/// What the tenant is told.
fn notice(order: &Order) -> Option<&'static str> {
    match order {
        Order::Hold { incident: false, released: false, .. } => Some("hold_set"),
        Order::Hold { incident: false, released: true, .. } => Some("hold_released"),
        Order::Hold { incident: true, released: false, .. } => Some("incident_hold_set"),
        Order::Hold { incident: true, released: true, .. } => Some("incident_hold_released"),
        Order::Terminate { .. } => Some("terminated"),
        _ => None,
    }
}

/// Whether an erasure's directive may be forgotten: rows that were received before it are too late by then, and rows that occurred up to its cutoff and
/// are produced once more are past every window. `longest_window_ms`: none where a window cannot be read. Units: ms.
fn may_forget(certified_ms: i64, cutoff_ms: i64, lateness_ms: i64, longest_window_ms: Option<i64>, now_ms: i64) -> bool {
    let late = now_ms.saturating_sub(certified_ms) > lateness_ms;
    late && longest_window_ms.is_some_and(|window| now_ms.saturating_sub(cutoff_ms) > window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_remembered_for_as_long_as_a_row_produced_again_could_be_written() {
        let (certified, cutoff, lateness, window) = (1_000, 500, 100, Some(5_000));
        assert!(!may_forget(certified, cutoff, lateness, window, 1_050), "raw rows of then may still be read");
        assert!(!may_forget(certified, cutoff, lateness, window, 1_101), "an old row with a new receipt is inside its window");
        assert!(!may_forget(certified, cutoff, lateness, window, 5_500));
        assert!(may_forget(certified, cutoff, lateness, window, 5_501));
        assert!(!may_forget(certified, cutoff, lateness, None, i64::MAX), "what nobody knows is not forgotten");
        assert!(!may_forget(certified, cutoff, lateness, Some(i64::MAX / 4), 1 << 50), "nor what is kept while a contract lasts");
    }

    #[test]
    fn no_address_gets_into_the_audit_as_whoever_gave_an_order() {
        let by = |actor: &str| {
            let order = Order::Pause { paused: true };
            given_by(&Directive { id: "r".into(), tenant: "a".into(), issued_at_ms: 1, actor: actor.into(), commitments: vec![], order })
        };
        for name in ["", "operator", "privacy-portal/v2", "operator:1.AAECAwQFBgcICQoLDA0ODw"] {
            assert_eq!(by(name), name);
        }
        for other in ["jane@example.com", "Jane Doe", &"x".repeat(101)] {
            assert_eq!(by(other), "withheld");
        }
    }
}
