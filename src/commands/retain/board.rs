//! What the status page shows of requests: those that are open, holds, and the last certificate. Ids, kinds and times; nothing of anybody.

use crate::lifecycle::request::{Request, Requests, State};
use crate::model::directive::{InForce, Order};
use serde::Serialize;

/// Most entries of a list: the page is for people.
const SHOWN_MAX: usize = 100;

/// The whole board. Units: ms since the epoch.
#[derive(Serialize)]
pub(super) struct Shown<'b> {
    now_ms: i64,
    /// How many requests are open, shown or not.
    open: usize,
    /// What falls due first comes first.
    requests: Vec<Open<'b>>,
    holds: Vec<HoldShown<'b>>,
    last_certificate: Option<Certified<'b>>,
}

#[derive(Serialize)]
struct Open<'b> {
    request: &'b str,
    tenant: &'b str,
    kind: &'b str,
    state: State,
    received_ms: i64,
    deadline_ms: Option<i64>,
    /// It may be missed.
    at_risk: bool,
}

#[derive(Serialize)]
struct HoldShown<'b> {
    request: &'b str,
    tenant: &'b str,
    since_ms: i64,
    /// Minimum end.
    until_ms: i64,
}

#[derive(Serialize)]
struct Certified<'b> {
    request: &'b str,
    tenant: &'b str,
    kind: &'b str,
    certified_ms: i64,
}

/// What there is to show; `deadline`: by when a request must be done. Shape: lists end after [`SHOWN_MAX`] entries.
pub(super) fn shown<'b>(
    in_force: &'b InForce,
    requests: &'b Requests,
    deadline: impl Fn(&str, &Request) -> Option<i64>,
    now_ms: i64,
) -> Shown<'b> {
    let mut open: Vec<Open<'_>> = requests
        .open()
        .map(|(id, r)| Open {
            request: id,
            tenant: &r.tenant,
            kind: &r.kind,
            state: r.state(),
            received_ms: r.received_ms,
            deadline_ms: deadline(id, r),
            at_risk: r.at_risk_ms.is_some(),
        })
        .collect();
    open.sort_by_key(|o| (o.deadline_ms.unwrap_or(i64::MAX), o.received_ms));
    let mut holds: Vec<HoldShown<'_>> = in_force
        .all()
        .filter_map(|s| match s.directive.order {
            Order::Hold { released: false, until_ms, .. } => {
                Some(HoldShown { request: &s.directive.id, tenant: &s.directive.tenant, since_ms: s.stored_at_ms, until_ms })
            }
            _ => None,
        })
        .collect();
    holds.sort_by_key(|h| h.until_ms);
    let certified = requests
        .by_id
        .iter()
        .filter_map(|(id, r)| Some(Certified { request: id, tenant: &r.tenant, kind: &r.kind, certified_ms: r.certified_ms? }));
    let last_certificate = certified.max_by_key(|c| c.certified_ms);
    let count = open.len();
    open.truncate(SHOWN_MAX);
    holds.truncate(SHOWN_MAX);
    Shown { now_ms, open: count, requests: open, holds, last_certificate }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: &str, received_ms: i64, certified_ms: Option<i64>) -> Request {
        Request { tenant: "acme".into(), kind: kind.into(), received_ms, certified_ms, ..Request::default() }
    }

    #[test]
    fn what_falls_due_first_comes_first_and_the_newest_certificate_is_the_last() {
        let mut requests = Requests::default();
        for (id, kind, received, certified) in [
            ("a", "erase", 20, None),
            ("b", "erase", 10, None),
            ("c", "withdraw", 5, None),
            ("d", "erase", 1, Some(7)),
            ("e", "erase", 2, Some(9)),
        ] {
            requests.by_id.insert(id.into(), request(kind, received, certified));
        }
        let in_force = InForce::default();
        let deadline = |_: &str, r: &Request| (r.kind == "erase").then_some(r.received_ms + 100);
        let shown = shown(&in_force, &requests, deadline, 30);
        assert_eq!(shown.requests.iter().map(|o| o.request).collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!((shown.open, shown.requests[0].deadline_ms), (3, Some(110)));
        assert_eq!(shown.last_certificate.map(|c| c.request), Some("e"));
        assert!(shown.holds.is_empty());
    }
}
