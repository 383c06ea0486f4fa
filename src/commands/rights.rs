//! `lethe erase`, `restrict`, `withdraw`, `opt-out-of-sale`, `hold`, `release`: one directive each, and its request's id.

use super::Failure;
use super::identifiers::{self, Given};
use super::orders::wait_for_barrier;
use crate::config::Config;
use crate::kafka::directives::{DirectiveReader, publish};
use crate::lifecycle::certificate::commitment;
use crate::model::category::Category;
use crate::model::consent::Purpose;
use crate::model::directive::{Directive, InForce, Order, Pseudonyms, Standing};
use crate::model::pseudonym;
use crate::model::tenant::TenantId;
use crate::model::time::parse_rfc3339;
use crate::ops::say::say;
use crate::ops::{clock, keys};
use std::sync::Arc;

/// Longest reason of a hold. Units: bytes.
const REASON_MAX: usize = 1_000;

/// What a hold covers besides people.
pub struct HoldScope {
    /// One category only.
    pub category: Option<Category>,
    /// Only what occurred from then on. Shape: RFC 3339, or a date.
    pub from: Option<String>,
    /// Only what occurred before then.
    pub to: Option<String>,
    /// Why.
    pub reason: String,
    /// Minimum end.
    pub until: String,
    /// A security incident: of the category `network` alone.
    pub incident: bool,
}

/// Forgets somebody. Errors: see [`identifiers::pseudonyms`]; the brokers.
pub fn erase(config: &Config, tenant: &TenantId, given: &Given, linked: bool) -> Result<(), Failure> {
    let keys = identifiers::tenant_keys(config, tenant)?;
    let mut pseudonyms = identifiers::pseudonyms(given, &keys)?;
    named(&pseudonyms)?;
    if linked {
        super::linked::extend(config, tenant, &mut pseudonyms)?;
    }
    let salt = keys::request_id()?;
    let commitments = pseudonyms.0.iter().map(|(epoch, p)| commitment(&salt, &pseudonym::text(*epoch, *p))).collect();
    let directive = Directive { commitments, ..new(tenant, identifiers::actor(&keys), Order::Erase { pseudonyms })? };
    give(config, &directive)?;
    say!("salt {salt} (keep it: it opens the commitments of the certificate, and stands nowhere else)");
    say!("request {}", directive.id);
    Ok(())
}

/// Stops everything of somebody, or lifts that. Errors: as [`erase`]; nothing to lift.
pub fn restrict(config: &Config, tenant: &TenantId, given: &Given, lift: bool) -> Result<(), Failure> {
    let keys = identifiers::tenant_keys(config, tenant)?;
    let pseudonyms = identifiers::pseudonyms(given, &keys)?;
    named(&pseudonyms)?;
    if lift {
        return lift_restrictions(config, tenant, &pseudonyms);
    }
    order(config, tenant, identifiers::actor(&keys), Order::Restrict { pseudonyms, lifted: false })
}

/// A restriction may name more people than are lifted: the others stay restricted. Returns once every worker knows: what comes after that is written.
fn lift_restrictions(config: &Config, tenant: &TenantId, lifted: &Pseudonyms) -> Result<(), Failure> {
    let in_force = look(config)?;
    let mut last = None;
    for standing in in_force.all().filter(|s| s.directive.tenant == tenant.as_str()) {
        let Order::Restrict { pseudonyms, lifted: false } = &standing.directive.order else { continue };
        let rest: Vec<_> = pseudonyms.0.iter().filter(|p| !lifted.0.contains(p)).copied().collect();
        if rest.len() == pseudonyms.0.len() {
            continue;
        }
        let order = if rest.is_empty() {
            Order::Restrict { pseudonyms: pseudonyms.clone(), lifted: true }
        } else {
            Order::Restrict { pseudonyms: Pseudonyms(rest), lifted: false }
        };
        let directive = Directive { order, issued_at_ms: later(standing.directive.issued_at_ms), ..standing.directive.clone() };
        last = Some((give(config, &directive)?, directive.id));
    }
    let (offset, id) =
        last.ok_or_else(|| Failure::Failed("no restriction of these identifiers is in force: there is nothing to lift".into()))?;
    let passed = wait_for_barrier(config, Some(tenant), offset);
    say!("request {id}");
    passed
}

/// Withdraws somebody's consent for a purpose. Errors: as [`erase`].
pub fn withdraw(config: &Config, tenant: &TenantId, given: &Given, purpose: Purpose) -> Result<(), Failure> {
    let keys = identifiers::tenant_keys(config, tenant)?;
    let pseudonyms = identifiers::pseudonyms(given, &keys)?;
    named(&pseudonyms)?;
    order(config, tenant, identifiers::actor(&keys), Order::Withdraw { pseudonyms, purpose })
}

/// Sells nothing of somebody from now on. Errors: as [`erase`].
pub fn opt_out(config: &Config, tenant: &TenantId, given: &Given) -> Result<(), Failure> {
    let keys = identifiers::tenant_keys(config, tenant)?;
    let pseudonyms = identifiers::pseudonyms(given, &keys)?;
    named(&pseudonyms)?;
    order(config, tenant, identifiers::actor(&keys), Order::OptOutOfSale { pseudonyms })
}

/// Keeps records against windows and erasures. Errors: as [`erase`]; times that cannot be read.
pub fn hold(config: &Config, tenant: &TenantId, given: &Given, scope: &HoldScope) -> Result<(), Failure> {
    let keys = identifiers::tenant_keys(config, tenant)?;
    let pseudonyms = identifiers::pseudonyms(given, &keys)?;
    let time = |name: &str, text: &Option<String>| text.as_ref().map(|t| instant(name, t)).transpose();
    let (from_ms, to_ms, until_ms) = (time("--from", &scope.from)?, time("--to", &scope.to)?, instant("--until", &scope.until)?);
    if from_ms.zip(to_ms).is_some_and(|(from, to)| from >= to) {
        return Err(Failure::Usage("--from must be before --to".into()));
    }
    if until_ms <= clock::now_ms() {
        return Err(Failure::Usage("--until has passed".into()));
    }
    if scope.reason.trim().is_empty() || scope.reason.len() > REASON_MAX {
        return Err(Failure::Usage(format!("--reason must be 1 to {REASON_MAX} bytes")));
    }
    let incident = scope.incident;
    if incident && scope.category.is_some_and(|c| c != Category::Network) {
        return Err(Failure::Usage("--incident extends the window of network identifiers alone: leave --category out".into()));
    }
    let category = if incident { Some(Category::Network) } else { scope.category };
    let reason = scope.reason.clone();
    order(
        config,
        tenant,
        identifiers::actor(&keys),
        Order::Hold { pseudonyms, category, from_ms, to_ms, reason, until_ms, released: false, incident },
    )
}

/// Releases a hold: what is past due goes in the next sweep. Errors: no such hold.
pub fn release(config: &Config, request: &str) -> Result<(), Failure> {
    let in_force = look(config)?;
    let is_hold = |s: &&Arc<Standing>| matches!(s.directive.order, Order::Hold { .. });
    let standing = in_force.of_request(request).find(is_hold).or_else(|| in_force.of_request(request).next());
    let standing = standing.ok_or_else(|| Failure::Failed("no hold of this id is in force".into()))?;
    let mut directive = Directive::clone(&standing.directive);
    let Order::Hold { released, until_ms, .. } = &mut directive.order else {
        return Err(Failure::Failed(format!("request {request} is no hold, but {}", standing.directive.order.kind())));
    };
    if *released {
        say!("the hold was released before");
    } else {
        if *until_ms > clock::now_ms() {
            say!("the hold is released before its minimum end");
        }
        *released = true;
        directive.issued_at_ms = later(standing.directive.issued_at_ms);
        give(config, &directive)?;
    }
    say!("request {request}");
    Ok(())
}

/// A time to stand after another of the same request, whatever the clock of this machine says.
fn later(than_ms: i64) -> i64 {
    clock::now_ms().max(than_ms.saturating_add(1))
}

fn named(pseudonyms: &Pseudonyms) -> Result<(), Failure> {
    if pseudonyms.0.is_empty() {
        Err(Failure::Usage("name somebody: --email, --external-id, --phone or --client-id".into()))
    } else {
        Ok(())
    }
}

fn new(tenant: &TenantId, actor: String, order: Order) -> Result<Directive, Failure> {
    let (id, issued_at_ms) = (keys::request_id()?, clock::now_ms());
    Ok(Directive { id, tenant: tenant.to_string(), issued_at_ms, actor, commitments: Vec::new(), order })
}

fn order(config: &Config, tenant: &TenantId, actor: String, order: Order) -> Result<(), Failure> {
    let directive = new(tenant, actor, order)?;
    give(config, &directive)?;
    say!("request {}", directive.id);
    Ok(())
}

/// The directive's offset.
fn give(config: &Config, directive: &Directive) -> Result<i64, Failure> {
    let value = serde_json::to_vec(directive).map_err(|_| Failure::Failed("the directive cannot be written as JSON".into()))?;
    Ok(publish(&config.kafka, &config.topics.directives, &directive.key(), &value)?)
}

/// What is in force now. Errors: the brokers.
pub(super) fn look(config: &Config) -> Result<InForce, Failure> {
    let reader = DirectiveReader::connect(&config.kafka, &config.topics.directives)?;
    let mut in_force = InForce::default();
    reader.catch_up(&mut in_force)?;
    Ok(in_force)
}

/// Reads a time as people write it. Units: ms since the epoch.
pub(super) fn instant(name: &str, text: &str) -> Result<i64, Failure> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    parse_rfc3339(&whole).ok_or_else(|| Failure::Usage(format!("{name}: must be a time such as 2026-12-31T12:00:00Z, or a date")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_rfc3339() {
        assert_eq!(instant("--until", "2026-09-21").unwrap() + (14 * 3_600 + 13 * 60 + 20) * 1_000, 1_790_000_000_000);
        assert_eq!(instant("--until", "2026-09-21T14:13:20Z").unwrap(), 1_790_000_000_000);
        assert!(instant("--until", "tomorrow").unwrap_err().to_string().contains("--until"));
    }
}
