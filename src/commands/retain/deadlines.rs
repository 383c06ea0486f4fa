//! Deadlines: by when requests must be done, which of them may not be, and telling their tenants so in time.

use super::rights::{ENTRIES_MAX, Notice, Officer, Saying};
use crate::kafka::client::Fault;
use crate::lifecycle::audit::What;
use crate::lifecycle::request::{Request, is_at_risk};
use crate::lifecycle::termination::Termination;
use crate::ops::clock;

impl Officer<'_> {
    fn termination(&self, id: &str, r: &Request) -> Option<Termination> {
        self.in_force.get(&r.key(id)).and_then(|standing| Termination::of(standing))
    }

    /// By when a request must be done, if it has a deadline. Units: ms since the epoch.
    pub(super) fn deadline_ms(&self, id: &str, r: &Request) -> Option<i64> {
        match r.kind.as_str() {
            "erase" => Some(r.received_ms + self.config.retain.erasure_deadline.as_millis() as i64),
            "terminate" => self.termination(id, r).map(|t| t.deadline_ms),
            _ => None,
        }
    }

    /// Whether the deadline of a request may be missed.
    pub(super) fn is_at_risk(&self, id: &str, r: &Request, now_ms: i64) -> bool {
        if r.kind == "terminate" {
            return self.termination(id, r).is_some_and(|t| t.is_at_risk(now_ms));
        }
        let Some(deadline_ms) = self.deadline_ms(id, r) else { return false };
        let longest_ms = self.longest_ms.get(&r.tenant).copied().unwrap_or(0);
        is_at_risk(r.received_ms, deadline_ms, r.swept_ms, longest_ms, now_ms)
    }

    /// Tells the tenant, once, of every open request whose deadline may be missed.
    pub(super) fn warn_of_deadlines(&mut self) -> Result<(), Fault> {
        let now_ms = clock::now_ms();
        let (mut sayings, mut notices): (Vec<Saying>, Vec<Notice>) = (Vec::new(), Vec::new());
        for (id, r) in self.requests.open().filter(|(id, r)| r.at_risk_ms.is_none() && self.is_at_risk(id, r, now_ms)).take(ENTRIES_MAX) {
            tracing::warn!(request = id.as_str(), tenant = r.tenant.as_str(), state = ?r.state(), "a request may miss its deadline");
            sayings.push((r.tenant.clone(), vec![id.clone()], What::AtRisk {}));
            notices.push((r.tenant.clone(), id.clone(), "at_risk"));
        }
        self.write(sayings, &notices, false)
    }
}
