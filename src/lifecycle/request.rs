//! Requests as the audit tells of them: how far each has come. Everything that `retain` must know after a restart is here, read back from Kafka.

use super::audit::{Entry, Found, PlaceAt, SweptRange, What};
use crate::model::directive::{Directive, Outcome};
use crate::model::time::DAY_MS;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How old the audit's word of what is in force may become: half of the time for which the audit is kept. Units: ms.
const TOLD_AGE_MS_MAX: i64 = 182 * DAY_MS;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The directive stands in the topic; `retain` has not taken it in.
    Accepted,
    /// Not every worker is known to have taken it in.
    Suppressing,
    /// Of a termination: nothing comes in any more, and its deletion has not begun.
    Scheduled,
    /// Tombstones are being written; of a termination, topics are being deleted.
    Sweeping,
    /// A legal hold keeps some of it.
    Held,
    /// Tombstones are committed; the bytes, or the raw topics' own window, are waited for.
    AwaitingCleaner,
    /// Nothing is left, and it is certified.
    Certified,
    /// It is in force, and nothing more is to be done.
    Done,
    /// It could not be carried out.
    Refused,
}

/// One request. Units: ms since the epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Tenant id.
    pub tenant: String,
    /// Its kind; empty where it could not be read.
    pub kind: String,
    /// Place of its newest directive.
    pub offset: i64,
    /// When that was appended.
    pub received_ms: i64,
    /// When `retain` took it in.
    pub accepted_ms: i64,
    /// Why nothing is done about it, if so.
    pub refused: Option<&'static str>,
    /// It lifts or releases.
    pub ends: bool,
    /// How many pseudonyms it names.
    pub pseudonyms: usize,
    /// When every worker had taken it in.
    pub suppressed_ms: Option<i64>,
    /// Where the raw topics ended then.
    pub raw: Vec<PlaceAt>,
    /// Where the governed topics ended then.
    pub governed: Vec<PlaceAt>,
    /// Topics that the sweep under way is done with.
    pub topics_swept: BTreeSet<String>,
    /// When it was told that its deadline is at risk.
    pub at_risk_ms: Option<i64>,
    /// When it was swept last.
    pub swept_ms: Option<i64>,
    /// Where.
    pub ranges: Vec<SweptRange>,
    /// What was found, over all sweeps.
    pub found: Found,
    /// Of a termination: the topics that were there when their deletion began.
    pub deleting: Option<Vec<String>>,
    /// How long the brokers keep deleted files. Units: ms.
    pub file_delete_delay_ms: i64,
    /// When none of them was there any more.
    pub deleted_ms: Option<i64>,
    /// How many keys were destroyed, once they are.
    pub keys: Option<usize>,
    /// When it was certified.
    pub certified_ms: Option<i64>,
    /// The certificate.
    pub certificate: Option<Value>,
    /// The directive was forgotten.
    pub forgotten: bool,
}

impl Request {
    /// Whether a sweep belongs to it.
    #[must_use]
    pub fn has_sweep(&self) -> bool {
        match self.kind.as_str() {
            "erase" | "withdraw" | "opt_out_of_sale" | "terminate" => true,
            "restrict" => !self.ends,
            "hold" => self.ends,
            _ => false,
        }
    }

    /// The key of its directive. `name`: what the request goes by, see [`Requests::name_of`].
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        if name.contains('/') { name.to_owned() } else { format!("{}/{}/{name}", self.tenant, self.kind) }
    }

    /// Whether the audit will soon have forgotten it while it is still in force or under way: it must be told anew, and what is under way begins anew.
    #[must_use]
    pub fn is_fading(&self, now_ms: i64) -> bool {
        now_ms - self.accepted_ms > TOLD_AGE_MS_MAX && !self.forgotten && !matches!(self.state(), State::Certified | State::Refused)
    }

    /// `slim`: what only proofs need is let go of. Units: ms since the epoch.
    fn certify(&mut self, at_ms: i64, certificate: &Value, slim: bool) {
        self.certified_ms = Some(at_ms);
        if slim {
            (self.raw, self.governed, self.ranges) = (Vec::new(), Vec::new(), Vec::new());
        } else {
            self.certificate = Some(certificate.clone());
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn state(&self) -> State {
        match () {
            () if self.refused.is_some() => State::Refused,
            () if self.certified_ms.is_some() => State::Certified,
            () if !self.has_sweep() => State::Done,
            () if self.suppressed_ms.is_none() => State::Suppressing,
            () if self.kind == "terminate" => self.end_state(),
            () if self.swept_ms.is_none() => State::Sweeping,
            () if self.kind != "erase" => State::Done,
            () if self.found.held > 0 => State::Held,
            () => State::AwaitingCleaner,
        }
    }
}

/// Whether a deadline that still can be met may be missed: what is left takes longer than the time that is left, or three quarters of the time are
/// over, whatever the reason, a legal hold included. `longest_ms`: what one more sweep, cleaning and raw window may take. Units: ms.
#[must_use]
pub fn is_at_risk(received_ms: i64, deadline_ms: i64, swept_ms: Option<i64>, longest_ms: i64, now_ms: i64) -> bool {
    let expected_ms = swept_ms.unwrap_or(now_ms).max(received_ms).saturating_add(longest_ms).max(now_ms);
    expected_ms > deadline_ms || now_ms - received_ms > (deadline_ms - received_ms) / 4 * 3
}

impl Request {
    /// How far a termination has come, once nothing comes in any more.
    fn end_state(&self) -> State {
        match () {
            () if self.deleting.is_none() => State::Scheduled,
            () if self.deleted_ms.is_some() => State::AwaitingCleaner,
            () if self.swept_ms.is_some() && self.found.held > 0 => State::Held,
            () => State::Sweeping,
        }
    }
}

/// All requests that the audit tells of.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// By name, see [`Requests::name_of`].
    pub by_id: BTreeMap<String, Request>,
    /// Every record of `lethe.directives` before this offset has an entry.
    pub directives: i64,
    /// Only this one is of interest.
    only: Option<String>,
    /// The certificates are not.
    slim: bool,
}

impl Requests {
    /// For somebody who asks about one request: memory is that of one, however long the audit.
    #[must_use]
    pub fn only(name: &str) -> Requests {
        Requests { only: Some(name.to_owned()), ..Requests::default() }
    }

    /// For somebody who carries requests out: of those that are certified little is kept.
    #[must_use]
    pub fn slim() -> Requests {
        Requests { slim: true, ..Requests::default() }
    }

    /// What a directive's request goes by: its id, and where another tenant's or another kind's request had the id before, the directive's key.
    #[must_use]
    pub fn name_of(&self, d: &Directive) -> String {
        let is_another = |r: &Request| r.tenant != d.tenant || r.kind != d.order.kind();
        if self.by_id.get(&d.id).is_some_and(is_another) { d.key() } else { d.id.clone() }
    }

    /// Takes in one entry of the audit, in order.
    pub fn take(&mut self, entry: &Entry) {
        let slim = self.slim;
        match &entry.what {
            What::Directive { kind, offset, stored_at_ms, outcome, tenant_known, pseudonyms, ends, .. } => {
                self.directives = self.directives.max(offset + 1);
                let refused = match outcome {
                    Outcome::InForce if *tenant_known => None,
                    Outcome::InForce => Some("the config names no such tenant"),
                    Outcome::Malformed => Some("it is no directive"),
                    // Nothing changed by it: the request is what it was.
                    Outcome::Repeated | Outcome::Older | Outcome::Forgotten => return,
                };
                if kind == "hold" && *ends {
                    self.look_again_at_held(&entry.tenant);
                }
                for id in entry.requests.iter().filter(|id| self.only.as_ref().is_none_or(|only| only == *id)) {
                    let request = Request {
                        tenant: entry.tenant.clone(),
                        kind: kind.clone(),
                        offset: *offset,
                        received_ms: *stored_at_ms,
                        accepted_ms: entry.at_ms,
                        refused,
                        ends: *ends,
                        pseudonyms: *pseudonyms,
                        ..Request::default()
                    };
                    self.by_id.insert(id.clone(), request);
                }
            }
            What::Suppressed { raw, governed } => self.each(entry, |r, _| {
                r.suppressed_ms.get_or_insert(entry.at_ms);
                // What the first sweep was to write stays the beginning of all that must be gone.
                if r.governed.is_empty() {
                    r.governed.clone_from(governed);
                }
                r.raw.clone_from(raw);
            }),
            // Told with the tombstones themselves: a sweep that was killed counts for as far as it came.
            What::Erased { topic, keys } => self.each(entry, |r, id| {
                r.found.erased += keys.get(id).copied().unwrap_or(0);
                r.topics_swept.insert(topic.clone());
            }),
            What::AtRisk {} => self.each(entry, |r, _| r.at_risk_ms = Some(entry.at_ms)),
            What::Swept { ranges, found } => self.each(entry, |r, id| {
                r.topics_swept.clear();
                r.swept_ms = Some(entry.at_ms);
                r.ranges = merged(&r.ranges, ranges);
                let new = found.get(id).copied().unwrap_or_default();
                let other = r.found.other_identifiers.max(new.other_identifiers);
                r.found = Found { erased: r.found.erased, held: new.held, other_identifiers: other };
            }),
            What::Again { .. } => self.each(entry, |r, _| (r.swept_ms, r.deleted_ms) = (None, None)),
            What::Deleting { topics, file_delete_delay_ms } => self.each(entry, |r, _| {
                r.deleting.get_or_insert_default().extend(topics.iter().cloned());
                r.file_delete_delay_ms = r.file_delete_delay_ms.max(*file_delete_delay_ms);
            }),
            What::Deleted {} => self.each(entry, |r, _| (r.deleted_ms, r.found.held) = (Some(entry.at_ms), 0)),
            What::KeysDestroyed { keys } => self.each(entry, |r, _| r.keys = Some(*keys)),
            What::Certified { certificate } => self.each(entry, |r, _| r.certify(entry.at_ms, certificate, slim)),
            What::Forgotten {} => self.each(entry, |r, _| {
                r.forgotten = true;
                if !matches!(r.state(), State::Certified | State::Done | State::Refused) {
                    r.refused = Some("its directive was deleted before it was carried out");
                }
            }),
            What::Checkpoint { .. } | What::Export { .. } => {}
        }
    }

    /// After a release: what the hold kept is looked at again.
    fn look_again_at_held(&mut self, tenant: &str) {
        self.by_id.values_mut().filter(|r| r.tenant == tenant && r.state() == State::Held).for_each(|r| r.swept_ms = None);
    }

    fn each(&mut self, entry: &Entry, change: impl Fn(&mut Request, &String)) {
        for id in &entry.requests {
            if let Some(request) = self.by_id.get_mut(id) {
                change(request, id);
            }
        }
    }

    /// Requests that a sweep belongs to and that are not done, held ones included.
    pub fn open(&self) -> impl Iterator<Item = (&String, &Request)> {
        self.by_id.iter().filter(|(_, r)| r.has_sweep() && !matches!(r.state(), State::Certified | State::Done | State::Refused))
    }
}

/// The ranges of the last sweep, with the tombstones of those before.
fn merged(before: &[SweptRange], last: &[SweptRange]) -> Vec<SweptRange> {
    let mut out: Vec<SweptRange> = before.to_vec();
    for new in last {
        match out.iter_mut().find(|r| r.topic == new.topic && r.partition == new.partition) {
            Some(known) => {
                let tombstones_from = known.tombstones_from.min(new.tombstones_from);
                *known = SweptRange { tombstones: known.tombstones + new.tombstones, tombstones_from, ..new.clone() };
            }
            None => out.push(new.clone()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::audit::Chain;
    use crate::model::directive::{Order, Pseudonyms};

    struct Log {
        chain: Chain,
        requests: Requests,
        at_ms: i64,
    }

    impl Log {
        fn new() -> Log {
            Log { chain: Chain::new("c", None), requests: Requests::default(), at_ms: 0 }
        }

        fn say(&mut self, what: What) -> State {
            self.at_ms += 10;
            let (entry, _) = self.chain.append(self.at_ms, "retain", "acme", vec!["r".into()], what, None);
            self.requests.take(&entry);
            self.requests.by_id["r"].state()
        }

        fn directive(&mut self, kind: &str, ends: bool, tenant_known: bool) -> State {
            let outcome = Outcome::InForce;
            self.say(What::Directive {
                kind: kind.into(),
                offset: 4,
                stored_at_ms: 1,
                outcome,
                tenant_known,
                given_by: String::new(),
                pseudonyms: 2,
                ends,
                incident: false,
            })
        }

        fn suppressed(&mut self) -> State {
            let at = |offset| vec![PlaceAt { topic: "acme.events".into(), partition: 0, offset }];
            self.say(What::Suppressed { raw: at(self.at_ms), governed: at(self.at_ms) })
        }

        fn swept(&mut self, from: i64, tombstones: u64, held: u64) -> State {
            let range = SweptRange {
                topic: "t".into(),
                partition: 0,
                from: 0,
                to: from,
                tombstones_from: from,
                tombstones_to: from + 5,
                tombstones,
            };
            let found = BTreeMap::from([("r".to_owned(), Found { erased: tombstones, held, other_identifiers: 1 })]);
            self.say(What::Erased { topic: "t".into(), keys: BTreeMap::from([("r".to_owned(), tombstones)]) });
            self.say(What::Swept { ranges: vec![range], found })
        }
    }

    #[test]
    fn an_erasure_goes_its_way_and_a_hold_and_a_second_sweep_turn_it_back() {
        let mut log = Log::new();
        assert_eq!(log.directive("erase", false, true), State::Suppressing);
        assert_eq!(log.requests.directives, 5);
        assert_eq!(log.suppressed(), State::Sweeping);
        assert_eq!(log.swept(100, 3, 2), State::Held);
        assert_eq!(log.say(What::Again { why: "released".into() }), State::Sweeping);
        assert_eq!(log.swept(200, 2, 0), State::AwaitingCleaner);
        assert_eq!(log.requests.open().count(), 1);
        let r = &log.requests.by_id["r"];
        assert_eq!((r.ranges[0].tombstones_from, r.ranges[0].tombstones_to, r.ranges[0].tombstones, r.found.erased), (100, 205, 5, 5));
        assert_eq!(log.say(What::Certified { certificate: Value::Null }), State::Certified);
        assert_eq!(log.requests.open().count(), 0);
    }

    #[test]
    fn what_needs_no_certificate_is_done_once_swept() {
        for (kind, ends, sweeps) in [
            ("withdraw", false, true),
            ("restrict", false, true),
            ("restrict", true, false),
            ("hold", false, false),
            ("hold", true, true),
            ("pause", false, false),
        ] {
            let mut log = Log::new();
            let state = log.directive(kind, ends, true);
            assert_eq!(state, if sweeps { State::Suppressing } else { State::Done }, "{kind}");
            if sweeps {
                log.suppressed();
                assert_eq!(log.swept(1, 0, 0), State::Done);
            }
        }
        assert_eq!(Log::new().directive("erase", false, false), State::Refused);
    }

    #[test]
    fn a_termination_is_scheduled_held_and_ends_once_all_is_deleted() {
        let mut log = Log::new();
        assert_eq!(log.directive("terminate", false, true), State::Suppressing);
        assert_eq!(log.suppressed(), State::Scheduled);
        let deleting = |topic: &str, delay| What::Deleting { topics: vec![topic.into()], file_delete_delay_ms: delay };
        assert_eq!(log.say(deleting("acme.events", 9)), State::Sweeping);
        assert_eq!(log.swept(10, 3, 1), State::Held);
        assert_eq!(log.requests.open().count(), 1);
        assert_eq!(log.say(What::Again { why: "released".into() }), State::Sweeping);
        assert_eq!(log.say(deleting("acme.raw.web", 5)), State::Sweeping, "one that was made in between");
        assert_eq!(log.say(What::Deleted {}), State::AwaitingCleaner);
        assert_eq!(log.say(What::Again { why: "a topic is there again".into() }), State::Sweeping);
        assert_eq!(log.say(What::Deleted {}), State::AwaitingCleaner);
        assert_eq!(log.say(What::KeysDestroyed { keys: 2 }), State::AwaitingCleaner);
        let r = &log.requests.by_id["r"];
        assert_eq!((r.deleting.as_ref().unwrap().len(), r.file_delete_delay_ms, r.keys, r.found.held), (2, 9, Some(2), 0));
        assert_eq!(log.say(What::Certified { certificate: Value::Null }), State::Certified);
    }

    #[test]
    fn a_sweep_tells_how_far_it_is_and_a_risk_is_told_once() {
        let mut log = Log::new();
        log.directive("erase", false, true);
        log.suppressed();
        log.say(What::Erased { topic: "t".into(), keys: BTreeMap::new() });
        assert_eq!(log.requests.by_id["r"].topics_swept.len(), 1);
        log.say(What::AtRisk {});
        assert_eq!(log.swept(1, 0, 0), State::AwaitingCleaner);
        let r = &log.requests.by_id["r"];
        assert!(r.topics_swept.is_empty() && r.at_risk_ms.is_some());
    }

    #[test]
    fn a_deadline_is_at_risk_before_it_is_missed() {
        let (received, deadline) = (1_000, 11_000);
        assert!(!is_at_risk(received, deadline, None, 2_000, 2_000));
        assert!(is_at_risk(received, deadline, None, 12_000, 2_000), "the raw window alone is longer");
        assert!(is_at_risk(received, deadline, None, 5_000, 6_001), "not swept yet, and too little is left");
        assert!(!is_at_risk(received, deadline, Some(3_000), 5_000, 6_001), "swept in time");
        assert!(is_at_risk(received, deadline, Some(3_000), 5_000, 8_501), "three quarters are over");
        assert!(is_at_risk(received, deadline, Some(3_000), 1, 12_000));
    }

    #[test]
    fn a_release_turns_what_was_held_back_to_the_sweep() {
        let mut log = Log::new();
        log.directive("erase", false, true);
        log.suppressed();
        assert_eq!(log.swept(10, 0, 3), State::Held);
        let what = What::Directive {
            kind: "hold".into(),
            offset: 9,
            stored_at_ms: 1,
            outcome: Outcome::InForce,
            tenant_known: true,
            given_by: String::new(),
            pseudonyms: 0,
            ends: true,
            incident: false,
        };
        let (entry, _) = log.chain.append(99, "retain", "acme", vec!["hold".into()], what, None);
        log.requests.take(&entry);
        assert_eq!(log.requests.by_id["r"].state(), State::Sweeping);
        assert_eq!(log.requests.by_id["hold"].state(), State::Suppressing, "what the cursor passed is swept");
    }

    #[test]
    fn two_requests_of_one_id_do_not_replace_each_other() {
        let mut log = Log::new();
        log.directive("erase", false, true);
        let given = |tenant: &str, order| Directive {
            id: "r".into(),
            tenant: tenant.into(),
            issued_at_ms: 1,
            actor: String::new(),
            commitments: Vec::new(),
            order,
        };
        let erase = || Order::Erase { pseudonyms: Pseudonyms::default() };
        for (directive, name) in [
            (given("acme", erase()), "r"),
            (given("other", erase()), "other/erase/r"),
            (given("acme", Order::Terminate { deadline_ms: 1 }), "acme/terminate/r"),
        ] {
            assert_eq!(log.requests.name_of(&directive), name);
        }
        let r = &log.requests.by_id["r"];
        assert_eq!((r.key("r"), r.key("other/erase/r")), ("acme/erase/r".to_owned(), "other/erase/r".to_owned()));
    }

    #[test]
    fn what_is_under_way_is_told_anew_before_the_audit_forgets_it() {
        let mut log = Log::new();
        log.directive("erase", false, true);
        let accepted_ms = log.requests.by_id["r"].accepted_ms;
        let fades = |log: &Log, after_ms| log.requests.by_id["r"].is_fading(accepted_ms + after_ms);
        assert!(!fades(&log, TOLD_AGE_MS_MAX) && fades(&log, TOLD_AGE_MS_MAX + 1));
        log.say(What::Certified { certificate: Value::Null });
        assert!(!fades(&log, i64::MAX / 2), "what is done needs no telling");
    }

    #[test]
    fn who_asks_for_one_keeps_one_and_who_carries_out_keeps_no_proofs() {
        let mut log = Log::new();
        log.requests = Requests::only("another");
        let (entry, _) = log.chain.append(1, "retain", "acme", vec!["r".into()], What::Forgotten {}, None);
        log.requests.take(&entry);
        assert!(log.requests.by_id.is_empty());
        log.requests = Requests::slim();
        log.directive("erase", false, true);
        log.suppressed();
        log.swept(1, 1, 0);
        assert_eq!(log.say(What::Certified { certificate: Value::from(1) }), State::Certified);
        let r = &log.requests.by_id["r"];
        assert!(r.certificate.is_none() && r.ranges.is_empty() && r.governed.is_empty() && r.raw.is_empty());
    }

    #[test]
    fn a_repeated_directive_does_not_begin_anew() {
        let mut log = Log::new();
        log.directive("erase", false, true);
        log.suppressed();
        let what = What::Directive {
            kind: "erase".into(),
            offset: 9,
            stored_at_ms: 1,
            outcome: Outcome::Repeated,
            tenant_known: true,
            given_by: String::new(),
            pseudonyms: 2,
            ends: false,
            incident: false,
        };
        assert_eq!(log.say(what), State::Sweeping);
        assert_eq!(log.requests.directives, 10);
    }
}
