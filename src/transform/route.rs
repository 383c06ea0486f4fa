//! Which records a row may become: window, consent and configuration, decided before anything is worked out for it.

use crate::model::category::Category;
use crate::model::consent::{Basis, Consent, Purpose};
use crate::model::destination::{Destination, DestinationSet};
use crate::model::rejected::Gate;
use crate::transform::batch::RowHead;
use crate::transform::rules::{Rules, TenantRules, WithoutConsent};

/// The right to write one destination's record of one row. Made here and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    consent: ConsentState,
    limited: bool,
    ads: Option<bool>,
    personalization: Option<bool>,
}

/// What the person said about a destination's purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentState {
    /// Consented.
    Granted,
    /// Did not; the record says so and holds no identifier.
    Denied,
    /// The basis needs no consent.
    NotRequired,
}

impl ConsentState {
    /// The header's text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ConsentState::Granted => "granted",
            ConsentState::Denied => "denied",
            ConsentState::NotRequired => "not_required",
        }
    }
}

impl Permit {
    /// What the person said.
    #[must_use]
    pub fn consent(self) -> ConsentState {
        self.consent
    }

    /// The person opted out of sale: the destination's limited-data-use flags must be set.
    #[must_use]
    pub fn limited_data_use(self) -> bool {
        self.limited
    }

    /// What is to be said about user data for advertising. Shape: `None`: nothing; an answer that is absent or has run out is no yes.
    #[must_use]
    pub fn ad_user_data(self) -> Option<bool> {
        if self.consent == ConsentState::Denied { Some(false) } else { self.ads }
    }

    /// What is to be said about personalised advertising. Shape: as [`Permit::ad_user_data`]; an opt-out of sale is a no.
    #[must_use]
    pub fn ad_personalization(self) -> Option<bool> {
        if self.consent == ConsentState::Denied || self.limited { Some(false) } else { self.personalization }
    }
}

/// How much of the row its category's record may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    /// No record.
    None,
    /// All that the schema has.
    Full,
    /// The strictly necessary part, anonymous.
    Necessary,
}

/// What becomes of one row.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The record of the row's own category.
    pub primary: Primary,
    /// Whether the network topic gets a record.
    pub network: bool,
    /// Destinations with consent.
    pub granted: DestinationSet,
    /// Destinations to which a denial is forwarded.
    pub denied: DestinationSet,
    opted_out: bool,
    ads: Option<bool>,
    personalization: Option<bool>,
    /// Why the row is not written at all, if so.
    pub closed: Option<Closed>,
}

/// Why a row is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Too late, or its window has passed.
    Expired,
    /// Kept out on purpose.
    Gated(Gate),
}

impl Route {
    fn closed(closed: Closed) -> Route {
        Route {
            primary: Primary::None,
            network: false,
            granted: DestinationSet::default(),
            denied: DestinationSet::default(),
            opted_out: false,
            ads: None,
            personalization: None,
            closed: Some(closed),
        }
    }

    /// Takes everything back: the row went to quarantine.
    pub fn hold_back(&mut self) {
        *self = Route::closed(Closed::Gated(Gate::Restricted));
    }

    /// The permit to write a record for `destination`, if there is one.
    #[must_use]
    pub fn permit(&self, destination: Destination, basis: Basis) -> Option<Permit> {
        let consent = match (self.granted.contains(destination), self.denied.contains(destination)) {
            (true, _) if basis.consent_needed().is_none() => ConsentState::NotRequired,
            (true, _) => ConsentState::Granted,
            (_, true) => ConsentState::Denied,
            _ => return None,
        };
        Some(Permit { consent, limited: self.opted_out, ads: self.ads, personalization: self.personalization })
    }
}

/// Decides about each row.
///
/// Shape: one route a head, in order. Units: `now_ms` in ms since the epoch. Consent is judged as of the row's receipt, so that a replay
/// decides as the first pass did; windows are judged as of `now_ms`.
#[must_use]
pub fn route(heads: &[RowHead], rules: &Rules, now_ms: i64) -> Vec<Route> {
    heads.iter().map(|head| route_row(head, &rules.tenants[usize::from(head.tenant)], rules.future_tolerance_ms, now_ms)).collect()
}

fn route_row(head: &RowHead, tenant: &TenantRules, tolerance_ms: i64, now_ms: i64) -> Route {
    if now_ms.saturating_sub(head.received_at_ms) > tenant.max_lateness_ms {
        return Route::closed(Closed::Expired);
    }
    let consents = |basis: Basis| consents(basis, &head.consent, head, tenant, tolerance_ms);
    let answer = |purpose, allowed: bool| if allowed { Some(true) } else { head.consent.answer(purpose).filter(|yes| !yes) };
    let age_ms = now_ms.saturating_sub(head.occurred_at_ms);
    let category = tenant.category(head.category);
    if category.is_some_and(|c| age_ms > c.window_ms) {
        return Route::closed(Closed::Expired);
    }
    let mut route = Route {
        primary: Primary::None,
        network: tenant.category(Category::Network).is_some_and(|c| age_ms <= c.window_ms && consents(c.basis)),
        granted: DestinationSet::default(),
        denied: DestinationSet::default(),
        opted_out: head.consent.opt_out_of_sale,
        ads: answer(Purpose::Ads, consents(Basis::Ads)),
        personalization: answer(Purpose::Personalization, consents(Basis::Personalization)),
        closed: None,
    };
    if let Some(category) = category {
        route.primary = match (consents(category.basis), tenant.without_consent) {
            (true, _) => Primary::Full,
            (false, WithoutConsent::Necessary) => Primary::Necessary,
            (false, WithoutConsent::Nothing) => Primary::None,
        };
    }
    if matches!(head.category, Category::Events | Category::Conversions) {
        route_destinations(&mut route, head, tenant, &consents);
    }
    let nothing = route.primary == Primary::None && !route.network && route.granted.is_empty() && route.denied.is_empty();
    if nothing {
        let gate = if category.is_none() && tenant.destinations.is_empty() { Gate::CategoryOff } else { Gate::Consent };
        return Route::closed(Closed::Gated(gate));
    }
    route
}

fn route_destinations(route: &mut Route, head: &RowHead, tenant: &TenantRules, consents: &dyn Fn(Basis) -> bool) {
    for d in &tenant.destinations {
        // Somebody who opted out of sale is not sold: nothing goes to an advertising destination, or with its limited-data-use flags.
        let sells = d.basis == Basis::Ads;
        if head.consent.opt_out_of_sale && sells && !tenant.limited_data_use {
            continue;
        }
        if consents(d.basis) {
            route.granted.insert(d.destination);
        } else if tenant.forward_denied && d.destination.can_forward_denial() && head.consent.answer(Purpose::Ads) == Some(false) {
            route.denied.insert(d.destination);
        }
    }
}

fn consents(basis: Basis, consent: &Consent, head: &RowHead, tenant: &TenantRules, tolerance_ms: i64) -> bool {
    basis
        .consent_needed()
        .is_none_or(|purpose| consent.allows(purpose, head.occurred_at_ms, head.received_at_ms, tenant.consent_validity_ms, tolerance_ms))
}
