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
    /// All of them.
    pub const ALL: [ConsentState; 3] = [ConsentState::Granted, ConsentState::Denied, ConsentState::NotRequired];

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

    /// Whether a record that states the person's answers may name the person or a click: not beside a denial, whatever basis the tenant
    /// declares. Source: destinations.md 1.12.
    #[must_use]
    pub fn names_the_person(self) -> bool {
        self.ad_user_data() != Some(false)
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
    /// Why its category and the destinations get nothing, where they do not.
    otherwise: Gate,
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
    /// The route of a row that is not written.
    #[must_use]
    pub fn shut(closed: Closed) -> Route {
        Route {
            primary: Primary::None,
            network: false,
            granted: DestinationSet::default(),
            denied: DestinationSet::default(),
            opted_out: false,
            ads: None,
            personalization: None,
            otherwise: Gate::Consent,
            closed: Some(closed),
        }
    }

    /// Takes everything back: the row went to quarantine.
    pub fn hold_back(&mut self) {
        *self = Route::shut(Closed::Gated(Gate::Restricted));
    }

    /// Whether a destination may get a record of the row, be it that of a denial.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        !self.granted.or(self.denied).is_empty()
    }

    /// Closed if it lets nothing through.
    fn closed_if_empty(self) -> Route {
        let something = self.primary != Primary::None || self.network || self.is_sent();
        if something || self.closed.is_some() { self } else { Route::shut(Closed::Gated(self.otherwise)) }
    }

    /// The route without destinations that got nothing `before`: texts and URLs were made ready for those that did alone, so that what is
    /// judged anew may narrow, and never widen.
    #[must_use]
    pub fn within(mut self, before: &Route) -> Route {
        let sent = before.granted.or(before.denied);
        (self.granted, self.denied) = (self.granted.and(sent), self.denied.and(sent));
        self.closed_if_empty()
    }

    /// Why a row that was let through has no record after all.
    #[must_use]
    pub fn gate_if_nothing_came(&self) -> Gate {
        if self.is_sent() {
            // Permitted, but every destination refused it: below its minimum, too old, or not an event that it takes.
            Gate::Destination
        } else {
            // Only the network topic could have got it, and it has neither address nor user agent.
            self.otherwise
        }
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

/// Decides about one row. Units: ms.
pub(crate) fn route_row(head: &RowHead, tenant: &TenantRules, tolerance_ms: i64, now_ms: i64) -> Route {
    if now_ms.saturating_sub(head.received_at_ms) > tenant.max_lateness_ms {
        return Route::shut(Closed::Expired);
    }
    if !tenant.allowed_categories[head.category as usize] {
        return Route::shut(Closed::Gated(Gate::CategoryOff));
    }
    let consents = |basis: Basis| consents(basis, &head.consent, head, tenant, tolerance_ms);
    let answer = |purpose, allowed: bool| if allowed { Some(true) } else { head.consent.answer(purpose).filter(|yes| !yes) };
    let age_ms = now_ms.saturating_sub(head.occurred_at_ms);
    let category = tenant.category(head.category);
    if category.is_some_and(|c| age_ms > c.window_ms) {
        return Route::shut(Closed::Expired);
    }
    let mut route = Route {
        primary: Primary::None,
        network: tenant.category(Category::Network).is_some_and(|c| age_ms <= c.window_ms && consents(c.basis)),
        granted: DestinationSet::default(),
        denied: DestinationSet::default(),
        opted_out: head.consent.opt_out_of_sale,
        ads: answer(Purpose::Ads, consents(Basis::Ads)),
        personalization: answer(Purpose::Personalization, consents(Basis::Personalization)),
        otherwise: Gate::Consent,
        closed: None,
    };
    if let Some(category) = category {
        route.primary = match (consents(category.basis), tenant.without_consent) {
            (true, _) => Primary::Full,
            (false, WithoutConsent::Necessary) => Primary::Necessary,
            (false, WithoutConsent::Nothing) => Primary::None,
        };
    }
    let sent = matches!(head.category, Category::Events | Category::Conversions);
    let run_out = |purpose| head.consent.has_run_out(purpose, head.occurred_at_ms, head.received_at_ms, tenant.consent_validity_ms);
    if category.and_then(|c| c.basis.consent_needed()).is_some_and(run_out) {
        route.otherwise = Gate::ConsentExpired;
    }
    if category.is_none() && (!sent || tenant.destinations.is_empty()) {
        route.otherwise = Gate::CategoryOff;
    }
    if sent {
        route_destinations(&mut route, head, tenant, &consents);
    }
    route.closed_if_empty()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::fixture::{NOW, rules};

    const DAY: i64 = 86_400_000;
    const TENANT: &str = "destinations = ['meta', 'google_ads']\nnetwork = true\n[tenant.meta]\npixel_id = '1234567890'\n[tenant.windows]\nnetwork = '1d'\n[tenant.google_ads]\n\
        customer_id = '1234567890'\nconversion_actions = { purchase = '9' }\n";

    fn head(category: Category, analytics: Option<bool>, ads: Option<bool>) -> RowHead {
        let mut consent = Consent::default();
        consent.set(Purpose::Analytics, analytics);
        consent.set(Purpose::Ads, ads);
        RowHead { input: 0, tenant: 0, category, occurred_at_ms: NOW, received_at_ms: NOW, consent }
    }

    fn one(head: RowHead, rules: &Rules) -> Route {
        route(&[head], rules, NOW)[0]
    }

    fn sent(r: &Route) -> Vec<(Destination, ConsentState)> {
        Destination::ALL.iter().filter_map(|d| Some((*d, r.permit(*d, Basis::Ads)?.consent()))).collect()
    }

    #[test]
    fn consent_decides_purpose_by_purpose() {
        let plain = rules(TENANT);
        let necessary = rules(&format!("without_consent = 'necessary'\n{TENANT}"));
        let forward = rules(&format!("consent_mode = 'forward_denied'\n{TENANT}"));
        let both = vec![(Destination::Meta, ConsentState::Granted), (Destination::GoogleAds, ConsentState::Granted)];
        for analytics in [None, Some(false), Some(true)] {
            for ads in [None, Some(false), Some(true)] {
                let head = head(Category::Conversions, analytics, ads);
                let r = one(head, &plain);
                assert_eq!(r.primary, if analytics == Some(true) { Primary::Full } else { Primary::None }, "{analytics:?} {ads:?}");
                assert_eq!(sent(&r), if ads == Some(true) { both.clone() } else { vec![] }, "{analytics:?} {ads:?}");
                assert!(r.network && r.closed.is_none(), "security needs no consent");
                let r = one(head, &necessary);
                assert_eq!(r.primary, if analytics == Some(true) { Primary::Full } else { Primary::Necessary });
                let denial = sent(&one(head, &forward));
                assert_eq!(denial.is_empty(), ads.is_none(), "silence is not a denial to forward");
                assert_eq!(denial.contains(&(Destination::GoogleAds, ConsentState::Denied)), ads == Some(false));
                assert!(!denial.contains(&(Destination::Meta, ConsentState::Denied)), "Meta has no way to be told");
            }
        }
    }

    #[test]
    fn nothing_is_sent_of_what_is_no_event() {
        for category in [Category::Feedback, Category::Replay, Category::Media, Category::Logs] {
            assert!(sent(&one(head(category, Some(true), Some(true)), &rules(TENANT))).is_empty());
        }
    }

    #[test]
    fn an_opt_out_of_sale_stops_ads_or_limits_their_use() {
        let mut h = head(Category::Events, Some(true), Some(true));
        h.consent.opt_out_of_sale = true;
        let r = one(h, &rules(TENANT));
        assert!(sent(&r).is_empty() && r.primary == Primary::Full);
        let r = one(h, &rules(&format!("opt_out_of_sale = 'limited_data_use'\n{TENANT}")));
        assert!(r.permit(Destination::Meta, Basis::Ads).unwrap().limited_data_use());
        h.consent.opt_out_of_sale = false;
        assert!(!one(h, &rules(TENANT)).permit(Destination::Meta, Basis::Ads).unwrap().limited_data_use());
    }

    #[test]
    fn consent_runs_out_and_is_judged_at_receipt() {
        let rules = rules("");
        let mut h = head(Category::Events, Some(true), None);
        for (given, want) in [
            (None, true),
            (Some(NOW - 183 * DAY), true),
            (Some(NOW - 183 * DAY - 1), false),
            (Some(NOW + 300_000), true),
            (Some(NOW + 300_001), false),
            (Some(i64::MIN), false),
        ] {
            h.consent.given_at_ms = given;
            assert_eq!(one(h, &rules).primary == Primary::Full, want, "{given:?}");
        }
        // A replay hours later decides as the first pass did.
        h.consent.given_at_ms = Some(NOW - 183 * DAY);
        assert_eq!(route(&[h], &rules, NOW + DAY / 2)[0].primary, Primary::Full);
    }

    #[test]
    fn lateness_and_windows() {
        let rules = rules(&format!("max_lateness = '1d'\n{TENANT}"));
        let mut h = head(Category::Events, Some(true), Some(true));
        let closed = |h: RowHead, now: i64| route(&[h], &rules, now)[0].closed;
        assert_eq!(closed(h, NOW + DAY), None, "received a day ago");
        assert_eq!(closed(h, NOW + DAY + 1), Some(Closed::Expired));
        assert_eq!(closed(h, i64::MAX), Some(Closed::Expired));
        h.occurred_at_ms = NOW - 180 * DAY;
        assert_eq!(closed(h, NOW), None);
        assert!(!one(h, &rules).network, "the network window is its own");
        h.occurred_at_ms -= 1;
        assert_eq!(closed(h, NOW), Some(Closed::Expired));
        h.occurred_at_ms = i64::MIN;
        assert_eq!(closed(h, NOW), Some(Closed::Expired));
    }

    #[test]
    fn why_nothing_is_written() {
        let gate = |category, analytics, tenant: &str| one(head(category, analytics, None), &rules(tenant)).closed;
        let (off, no) = (Some(Closed::Gated(Gate::CategoryOff)), Some(Closed::Gated(Gate::Consent)));
        assert_eq!(gate(Category::Media, Some(true), ""), off);
        assert_eq!(
            gate(Category::Media, Some(true), "destinations = ['meta']\n[tenant.meta]\npixel_id = '1'"),
            off,
            "media are never sent"
        );
        assert_eq!(gate(Category::Events, None, ""), no);
        assert_eq!(
            gate(Category::Events, None, "destinations = ['meta']\n[tenant.meta]\npixel_id = '1'\n[tenant.windows]\nevents = 'off'"),
            no
        );
        assert_eq!(gate(Category::Events, Some(true), "[tenant.windows]\nevents = 'off'"), off);
        assert_eq!(gate(Category::Logs, None, ""), None, "a legitimate interest needs no consent");
    }

    #[test]
    fn what_is_held_back_has_no_permit() {
        let mut r = one(head(Category::Events, Some(true), Some(true)), &rules(TENANT));
        r.hold_back();
        assert!(r.closed.is_some() && sent(&r).is_empty() && !r.network && r.primary == Primary::None);
    }
}
