//! Rights in force, ready to look up: who was erased, restricted, withdrew or opted out, by pseudonym.
//!
//! The look-up needs pseudonyms, so it comes after the door; the rows that it hits, few, are routed again with what the person really said.
//! Where nothing is in force for a tenant it costs one branch a piece of work.

use crate::model::consent::Purpose;
use crate::model::directive::{InForce, Order};
use crate::model::pseudonym::Pseudonym;
use crate::model::rejected::Gate;
use crate::transform::batch::RowHead;
use crate::transform::pseudonymise::Pseudonyms;
use crate::transform::route::{Closed, Route, route_row};
use crate::transform::rules::{Rules, TenantRules};
use std::collections::HashMap;

/// What is known of one pseudonym. Units: ms since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rights {
    /// Rows that occurred up to then are erased.
    erased_to_ms: Option<i64>,
    restricted: bool,
    /// By purpose: consents given up to then are withdrawn.
    withdrawn_ms: [Option<i64>; Purpose::ALL.len()],
    opted_out: bool,
}

impl Rights {
    /// What holds for somebody who goes by both.
    fn and(mut self, other: &Rights) -> Rights {
        self.erased_to_ms = self.erased_to_ms.max(other.erased_to_ms);
        self.restricted |= other.restricted;
        self.opted_out |= other.opted_out;
        for (mine, theirs) in self.withdrawn_ms.iter_mut().zip(other.withdrawn_ms) {
            *mine = (*mine).max(theirs);
        }
        self
    }
}

/// One tenant's.
#[derive(Clone, Debug, Default)]
struct TenantGates {
    people: HashMap<Pseudonym, Rights>,
    terminated: bool,
}

/// What is in force. Shape: by tenant index; empty: nothing for anybody.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    tenants: Vec<TenantGates>,
}

impl Gates {
    /// Compiles what is in force. Units: `rules.future_tolerance_ms` is added to the append time of an erasure: its cutoff.
    #[must_use]
    pub fn build(in_force: &InForce, rules: &Rules) -> Gates {
        let mut gates = Gates { tenants: vec![TenantGates::default(); rules.tenants.len()] };
        let index: HashMap<&str, usize> = rules.tenants.iter().enumerate().map(|(i, t)| (t.id.as_str(), i)).collect();
        let mut any = false;
        for standing in in_force.all() {
            let Some(tenant) = index.get(standing.directive.tenant.as_str()).map(|i| &mut gates.tenants[*i]) else { continue };
            let at_ms = standing.stored_at_ms;
            let mut rights = Rights::default();
            match &standing.directive.order {
                Order::Erase { .. } => rights.erased_to_ms = Some(at_ms.saturating_add(rules.future_tolerance_ms)),
                Order::Restrict { lifted: false, .. } => rights.restricted = true,
                Order::Withdraw { purpose, .. } => rights.withdrawn_ms[*purpose as usize] = Some(at_ms),
                Order::OptOutOfSale { .. } => rights.opted_out = true,
                Order::Terminate { .. } => {
                    (tenant.terminated, any) = (true, true);
                    continue;
                }
                _ => continue,
            }
            any = true;
            for (_, pseudonym) in standing.directive.order.pseudonyms() {
                let known = tenant.people.entry(*pseudonym).or_default();
                *known = known.and(&rights);
            }
        }
        if any { gates } else { Gates::default() }
    }

    /// Whether anybody's rows of a tenant have to be looked up.
    #[must_use]
    pub fn concern(&self, tenant: u16) -> bool {
        self.tenants.get(usize::from(tenant)).is_some_and(|t| t.terminated || !t.people.is_empty())
    }

    /// Closes or narrows the routes of rows whose people have rights in force; what they withdrew goes from the heads' consent.
    ///
    /// Shape: heads, routes and pseudonyms of the same rows. Units: `now_ms` in ms since the epoch.
    pub fn shut(&self, heads: &mut [RowHead], routes: &mut [Route], pseudonyms: &Pseudonyms, rules: &Rules, now_ms: i64) {
        for (row, (head, route)) in heads.iter_mut().zip(routes).enumerate() {
            let Some(gates) = self.tenants.get(usize::from(head.tenant)).filter(|_| route.closed.is_none()) else { continue };
            if gates.terminated {
                *route = Route::shut(Closed::Gated(Gate::Restricted));
                continue;
            }
            if gates.people.is_empty() {
                continue;
            }
            let found = pseudonyms
                .subjects(row)
                .filter_map(|(_, p)| gates.people.get(p))
                .fold(None, |sum: Option<Rights>, one| Some(sum.unwrap_or_default().and(one)));
            if let Some(rights) = found {
                let tenant = &rules.tenants[usize::from(head.tenant)];
                *route = judge(&rights, (head, route), tenant, rules.future_tolerance_ms, now_ms);
            }
        }
    }
}

/// Routes a row anew with what the person really said.
fn judge(rights: &Rights, (head, before): (&mut RowHead, &Route), tenant: &TenantRules, tolerance_ms: i64, now_ms: i64) -> Route {
    if rights.erased_to_ms.is_some_and(|cutoff| head.occurred_at_ms <= cutoff) {
        return Route::shut(Closed::Gated(Gate::Erased));
    }
    if rights.restricted {
        return Route::shut(Closed::Gated(Gate::Restricted));
    }
    let given_at_ms = head.consent.given_at_ms.unwrap_or(head.occurred_at_ms);
    let mut withdrew = false;
    for purpose in Purpose::ALL {
        if rights.withdrawn_ms[purpose as usize].is_some_and(|at| given_at_ms <= at) && head.consent.answer(purpose) == Some(true) {
            head.consent.set(purpose, Some(false));
            withdrew = true;
        }
    }
    head.consent.opt_out_of_sale |= rights.opted_out;
    let route = route_row(head, tenant, tolerance_ms, now_ms).within(before);
    match route.closed {
        Some(Closed::Gated(Gate::Consent)) if withdrew => Route::shut(Closed::Gated(Gate::Withdrawn)),
        _ => route,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::category::Category;
    use crate::model::consent::{Basis, Consent};
    use crate::model::directive::{Directive, Pseudonyms as Named};
    use crate::model::identifier::IdentifierType;
    use crate::model::pseudonym::Epoch;
    use crate::model::record::RawRecords;
    use crate::transform::enrich::device_table::DeviceTable;
    use crate::transform::enriched::Assets;
    use crate::transform::identify::pseudonyms_of;
    use crate::transform::line::{Transformed, transform_known};
    use crate::transform::rules::CategoryRules;
    use std::sync::Arc;

    const NOW: i64 = 1_790_000_000_000;

    fn rules() -> Rules {
        rules_of("profile='web_analytics'\ndestinations=['meta']\n[tenant.meta]\npixel_id='1'\n")
    }

    fn rules_of(tenant: &str) -> Rules {
        let config = crate::config::load::parse(&format!("[[tenant]]\nid='acme'\n{tenant}"), std::iter::empty()).unwrap();
        let mut keyring = crate::ops::keys::temporary(&config.tenant[0].id).unwrap();
        let second = crate::ops::keys::temporary(&config.tenant[0].id).unwrap();
        let mut entry = second.tenants.into_values().next().unwrap().remove(0);
        (entry.epoch, entry.from_ms) = (Epoch(2), NOW - 1_000);
        keyring.tenants.values_mut().next().unwrap().push(entry);
        crate::config::compile::compile(&config, &keyring).unwrap()
    }

    fn event(n: u32, email: &str, external: &str, age_ms: i64) -> String {
        let at = jiff::Timestamp::from_millisecond(NOW - age_ms).unwrap();
        format!(
            r#"{{"event_id":"e{n}","event_name":"page_view","event_time":"{at}","user":{{"email":"{email}","external_id":"{external}"}},
            "consent":{{"analytics":true,"ads":true,"given_at":"{at}"}}}}"#
        )
    }

    /// One event under each epoch.
    fn run(rules: &Rules, gates: &Gates, events: &[String]) -> Transformed {
        let assets = Assets { devices: Arc::new(DeviceTable::embedded().unwrap()), geo: None };
        let mut records = RawRecords::default();
        for (i, event) in events.iter().enumerate() {
            records.push(0, 0, 2 * i as i64, NOW - 2_000, event.as_bytes());
            records.push(0, 0, 2 * i as i64 + 1, NOW - 500, event.as_bytes());
        }
        transform_known(&records, rules, &assets, (gates, &rules.schemas), NOW)
    }

    fn gates(rules: &Rules, order: impl Fn(Named) -> Order, kind: IdentifierType, value: &str, at_ms: i64) -> Gates {
        let named = Named(pseudonyms_of(kind, value, &rules.tenants[0].keys).unwrap());
        let forms = if kind == IdentifierType::Email { 2 } else { 1 };
        assert_eq!(named.0.len(), 2 * forms, "one an epoch; of an email address one more, hashed");
        let directive = Directive {
            id: "r".into(),
            tenant: "acme".into(),
            issued_at_ms: 1,
            actor: String::new(),
            commitments: Vec::new(),
            order: order(named),
        };
        let mut in_force = InForce::default();
        in_force.apply(0, at_ms, directive.key().as_bytes(), Some(&serde_json::to_vec(&directive).unwrap()));
        Gates::build(&in_force, rules)
    }

    fn gated(done: &Transformed, gate: Gate) -> u64 {
        done.tallies[0].gated[gate as usize]
    }

    #[test]
    fn an_erasure_covers_its_identifier_up_to_the_cutoff_under_every_key() {
        let rules = rules();
        let events = [
            event(1, " Jane@Example.com", "u1", 400_000),
            event(2, "jane@example.com", "", 1_000),
            event(3, "joe@example.com", "u1", 400_000),
            // SHA-256 of jane@example.com, as a producer sends it that hashes by itself.
            event(4, "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d", "", 400_000),
        ];
        // Appended so long ago that with the tolerance only the first and the last event lie before the cutoff.
        let g = gates(&rules, |pseudonyms| Order::Erase { pseudonyms }, IdentifierType::Email, "JANE@example.com", NOW - 350_000);
        let done = run(&rules, &g, &events);
        assert_eq!((gated(&done, Gate::Erased), done.tallies[0].written), (4, 4));
        assert_eq!(done.tallies[0].rows(), 8);
        let all = run(&rules, &Gates::default(), &events);
        assert_eq!(all.tallies[0].written, 8);
    }

    #[test]
    fn a_restriction_covers_everything() {
        let rules = rules();
        let g = gates(&rules, |pseudonyms| Order::Restrict { pseudonyms, lifted: false }, IdentifierType::ExternalId, "u1", NOW);
        let done = run(&rules, &g, &[event(1, "a@b.cd", "u1", 0), event(2, "a@b.cd", "U1", 0)]);
        assert_eq!((gated(&done, Gate::Restricted), done.tallies[0].written), (2, 2), "an external id is taken as it is");
        let lifted = gates(&rules, |pseudonyms| Order::Restrict { pseudonyms, lifted: true }, IdentifierType::ExternalId, "u1", NOW);
        assert!(!lifted.concern(0));
    }

    #[test]
    fn a_withdrawal_beats_older_consents_for_its_purpose_only() {
        let rules = rules();
        let events = [event(1, "a@b.cd", "", 10_000), event(2, "a@b.cd", "", 1_000)];
        let g = gates(
            &rules,
            |pseudonyms| Order::Withdraw { pseudonyms, purpose: Purpose::Analytics },
            IdentifierType::Email,
            "a@b.cd",
            NOW - 5_000,
        );
        let done = run(&rules, &g, &events);
        let meta = crate::model::destination::Destination::Meta as usize;
        let plain = run(&rules, &Gates::default(), &events);
        let records = |t: &Transformed| t.chunks.iter().map(|c| c.records.len()).sum::<usize>();
        assert_eq!(done.tallies[0].destination_written[meta], plain.tallies[0].destination_written[meta], "ads were not withdrawn");
        assert_eq!(records(&plain) - records(&done), 2, "the older consent's analytics records");
    }

    #[test]
    fn withdrawn_is_a_reason_of_its_own() {
        let rules = rules();
        let mut rules = rules;
        rules.tenants[0].destinations.clear();
        let g =
            gates(&rules, |pseudonyms| Order::Withdraw { pseudonyms, purpose: Purpose::Analytics }, IdentifierType::Email, "a@b.cd", NOW);
        let done = run(&rules, &g, &[event(1, "a@b.cd", "", 10_000)]);
        assert_eq!((gated(&done, Gate::Withdrawn), gated(&done, Gate::Consent)), (2, 0));
    }

    /// An answer that had run out is no denial to be forwarded; one that is withdrawn later must not make it one, of texts nobody looked at.
    #[test]
    fn a_withdrawal_sends_nothing_that_was_not_sent_before() {
        let rules = rules_of(
            "profile='web_analytics'\ndestinations=['ga4']\nwithout_consent='necessary'\nconsent_mode='forward_denied'\n\
             [tenant.ga4]\nmeasurement_id='G-TEST'\n",
        );
        let event = r#"{"event_id":"e1","event_name":"page_view","event_time":"AT","user":{"email":"a@b.cd","first_name":"Ana"},
            "ids":{"ga_client_id":"1.2"},"url":"https://a.example/x","items":[{"id":"1","name":"for Ana"}],"consent":{"ads":true,"given_at":1600000000}}"#;
        let event = event.replace("AT", &jiff::Timestamp::from_millisecond(NOW - 10_000).unwrap().to_string());
        let g = gates(&rules, |pseudonyms| Order::Withdraw { pseudonyms, purpose: Purpose::Ads }, IdentifierType::Email, "a@b.cd", NOW);
        for gates in [&Gates::default(), &g] {
            let done = run(&rules, gates, std::slice::from_ref(&event));
            assert_eq!((done.tallies[0].written, done.tallies[0].destination_written.iter().sum::<u64>()), (2, 0));
        }
    }

    #[test]
    fn a_terminated_tenant_takes_nothing_in() {
        let rules = rules();
        let g = gates(&rules, |_| Order::Terminate { deadline_ms: 0 }, IdentifierType::Email, "a@b.cd", NOW);
        let done = run(&rules, &g, &[event(1, "x@y.zz", "", 0)]);
        assert_eq!((gated(&done, Gate::Restricted), done.tallies[0].written), (2, 0));
    }

    #[test]
    fn the_strictly_necessary_part_of_an_erased_person_is_not_written_either() {
        let mut rules = rules();
        rules.tenants[0].without_consent = crate::transform::rules::WithoutConsent::Necessary;
        rules.tenants[0].destinations.clear();
        let denied = event(1, "a@b.cd", "", 10_000).replace(r#""analytics":true,"ads":true"#, r#""analytics":false,"ads":false"#);
        let g = gates(&rules, |pseudonyms| Order::Erase { pseudonyms }, IdentifierType::Email, "a@b.cd", NOW);
        assert_eq!(run(&rules, &Gates::default(), std::slice::from_ref(&denied)).tallies[0].written, 2);
        assert_eq!(gated(&run(&rules, &g, std::slice::from_ref(&denied)), Gate::Erased), 2);
        // Somebody else's erasure changes not a byte, though everybody is looked up.
        let other = gates(&rules, |pseudonyms| Order::Erase { pseudonyms }, IdentifierType::Email, "x@y.zz", NOW);
        let bytes = |done: &Transformed| {
            done.chunks
                .iter()
                .map(|c| c.records.iter().map(|r| (r.key.of(&c.arena).to_vec(), r.value.of(&c.arena).to_vec())).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        assert_eq!(bytes(&run(&rules, &other, std::slice::from_ref(&denied))), bytes(&run(&rules, &Gates::default(), &[denied])));
    }

    #[test]
    fn rights_of_two_identifiers_add_up() {
        let one = Rights { erased_to_ms: Some(5), ..Rights::default() };
        let two = Rights { erased_to_ms: Some(3), restricted: true, withdrawn_ms: [None, Some(2), None, None], opted_out: true };
        let sum = one.and(&two);
        assert_eq!(sum, two.and(&one));
        assert_eq!((sum.erased_to_ms, sum.restricted, sum.opted_out, sum.withdrawn_ms[1]), (Some(5), true, true, Some(2)));
    }

    #[test]
    fn an_opt_out_and_a_basis_without_consent() {
        let mut rules = rules();
        let g = gates(&rules, |pseudonyms| Order::OptOutOfSale { pseudonyms }, IdentifierType::Email, "a@b.cd", NOW);
        let done = run(&rules, &g, &[event(1, "a@b.cd", "", 10_000)]);
        assert_eq!(done.tallies[0].destination_written.iter().sum::<u64>(), 0);
        assert_eq!(done.tallies[0].written, 2, "statistics go on");
        let events = Category::Events as usize;
        let topic = rules.tenants[0].categories[events].as_ref().unwrap().topic;
        rules.tenants[0].categories[events] = Some(CategoryRules { topic, window_ms: i64::MAX, basis: Basis::Contract });
        let g =
            gates(&rules, |pseudonyms| Order::Withdraw { pseudonyms, purpose: Purpose::Analytics }, IdentifierType::Email, "a@b.cd", NOW);
        assert_eq!(run(&rules, &g, &[event(1, "a@b.cd", "", 10_000)]).tallies[0].written, 2, "a contract needs no consent");
        assert_eq!(Consent::default().answer(Purpose::Ads), None);
    }
}
