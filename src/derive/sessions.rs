//! The sessions of one partition that can still change: events in, upserts and tombstones out.
//!
//! Whether an event is late is decided by the record alone: stored more than the lateness after it occurred. A session can therefore be
//! forgotten once something was stored later than its end, the gap and the lateness: nothing that is yet to come can join it, and a replay of
//! one of its events would be late. So what is in memory, and what is lost with it and read back from the topic, never changes a result.
//!
//! Memory: between batches a subject's sessions are packed (`packed`), some 250 bytes for one of three events with an entry and an exit page
//! (`benches/sessions.rs` counts them); eight bytes more an event, up to 4,096 of them. What is settled is dropped as reading goes on, so that
//! never more than half as many lie there as can still change.

use crate::derive::packed::{self, Held, Name};
use crate::derive::record::Event;
use crate::derive::session::{Session, event_hash};
use crate::model::pseudonym::{Epoch, Pseudonym};
use crate::model::time::{DAY_MS, SECOND_MS};
use std::collections::{HashMap, HashSet};

/// No event is from before or after. Units: ms from the epoch.
const TIME_MS_MAX: u64 = 250_000_000_000_000;
/// Most identifiers of one session: 64 KiB of its record's header. Only a machine has so many.
pub const IDENTIFIERS_MAX: usize = 4_096;
/// A session that lasts longer is cut, whatever the gap: the first version of its record is due while newer ones are written, and its oldest data
/// would outlive their window. Only machines and screens that nobody turned off last so long. Units: ms.
pub const LONGEST_MS: i64 = 2 * DAY_MS;
/// How far time must have gone on before it is looked for what can be forgotten. Units: ms.
const TICK_MS: i64 = 30 * SECOND_MS;

/// What the operator decided. Units: ms.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// So much silence ends a session.
    pub gap_ms: i64,
    /// How long after it occurred an event may be stored.
    pub lateness_ms: i64,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is in a session.
    Counted,
    /// It was there before.
    Duplicate,
    /// It was stored too long after it occurred.
    Late,
    /// It is nobody's.
    Anonymous,
    /// Its session has as many identifiers as a record can carry.
    Crowded,
}

impl Outcome {
    /// The metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Counted => "counted",
            Outcome::Duplicate => "duplicate",
            Outcome::Late => "late",
            Outcome::Anonymous => "anonymous",
            Outcome::Crowded => "crowded",
        }
    }
}

/// What becomes of a session when rights come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Keep,
    /// It goes from memory and from the topic.
    Remove,
    /// It goes from memory: nothing is added to it, and the topic keeps it.
    Leave,
}

/// The open sessions of one partition. No `Debug`: pseudonyms are personal data.
pub struct Sessions {
    rules: Rules,
    /// At rest.
    packed: HashMap<Name, Box<[u8]>>,
    /// How many sessions that is.
    at_rest: usize,
    /// What the batch works on: sessions in the order of time, more than the gap apart.
    work: HashMap<Name, Vec<Held>>,
    /// Sessions that became parts of others, or were erased.
    gone: Vec<(Name, u64)>,
    read_until_ms: i64,
    /// What was settled when it was last looked for what can be forgotten. Units: ms since the epoch.
    looked_ms: i64,
    /// Records since then.
    passed: usize,
}

impl Sessions {
    /// None, at a partition that had been read up to what was stored then. Units: ms since the epoch.
    #[must_use]
    pub fn new(rules: Rules, read_until_ms: i64) -> Sessions {
        let (packed, work) = (HashMap::new(), HashMap::new());
        Sessions { rules, packed, at_rest: 0, work, gone: Vec::new(), read_until_ms, looked_ms: i64::MIN, passed: 0 }
    }

    /// Up to when the partition has been read. Units: ms since the epoch.
    #[must_use]
    pub fn read_until_ms(&self) -> i64 {
        self.read_until_ms
    }

    /// Sessions that end before this cannot change any more. Units: ms since the epoch.
    #[must_use]
    pub fn settled_ms(&self) -> i64 {
        self.read_until_ms.saturating_sub(self.rules.gap_ms).saturating_sub(self.rules.lateness_ms)
    }

    /// A record, whatever it was, has been read.
    pub fn passed(&mut self, stored_at_ms: i64) {
        self.passed += 1;
        self.read_until_ms = self.read_until_ms.max(stored_at_ms);
    }

    /// Takes one version of a session back from the topic, in the order in which they stand there; `None`: a tombstone.
    pub fn restore(&mut self, subject: &str, id: u64, session: Option<Session>) {
        let name = Name::of(subject);
        let settled_ms = self.settled_ms();
        let session = session.filter(|s| s.end_ms >= settled_ms);
        if session.is_none() && !self.packed.contains_key(&name) {
            return;
        }
        let mut held = self.unpack(&name);
        held.retain(|h| h.session.id != id);
        if let Some(session) = session {
            let at = held.partition_point(|h| h.session.start_ms < session.start_ms);
            held.insert(at, Held { session, touched: false, written: true });
        }
        self.pack(name, held);
    }

    /// Takes one event. `stored_at_ms`: the broker's time of it. Units: ms since the epoch.
    pub fn take(&mut self, event: &Event<'_>, identifiers: impl Iterator<Item = Pseudonym>, stored_at_ms: i64) -> Outcome {
        self.passed(stored_at_ms);
        if event.is_anonymous() {
            return Outcome::Anonymous;
        }
        let at_ms = event.occurred_at_ms;
        if at_ms.unsigned_abs() > TIME_MS_MAX || stored_at_ms.saturating_sub(at_ms) > self.rules.lateness_ms {
            return Outcome::Late;
        }
        let name = Name::of(event.subject);
        if !self.work.contains_key(&name) {
            let held = self.unpack(&name);
            self.work.insert(name.clone(), held);
        }
        let Some(held) = self.work.get_mut(&name) else { return Outcome::Late };
        let hash = event_hash(event.event_id);
        if held.iter().any(|held| held.session.seen.contains(&hash)) {
            return Outcome::Duplicate;
        }
        let new = Session::of(event, identifiers.collect());
        if is_crowded(held, &new, self.rules.gap_ms) {
            return Outcome::Crowded;
        }
        if let Some(id) = add(held, new, self.rules.gap_ms) {
            self.gone.push((name, id));
        }
        Outcome::Counted
    }

    /// Gives what differs from the topic since the last call: subject, session id, and the session or, of one that is gone, none.
    pub fn drain(&mut self, mut each: impl FnMut(&str, u64, Option<&Session>)) {
        for (name, id) in std::mem::take(&mut self.gone) {
            each(&name.text(), id, None);
        }
        let settled_ms = self.settled_ms();
        for (name, mut all) in std::mem::take(&mut self.work) {
            let text = name.text();
            for held in all.iter_mut().filter(|held| held.touched) {
                (held.touched, held.written) = (false, true);
                each(&text, held.session.id, Some(&held.session));
            }
            all.retain(|h| h.session.end_ms >= settled_ms);
            self.pack(name, all);
        }
        self.forget_settled();
    }

    /// Rights came into force: asks what becomes of each session, by its key's generation, its identifiers and its start. Units: ms since the epoch.
    pub fn judge(&mut self, fate: impl Fn(Epoch, &[Pseudonym], i64) -> Fate) {
        let of = |held: &Held| fate(held.session.epoch, &held.session.identifiers, held.session.start_ms);
        let struck = |packed: &[u8]| packed::unpack(packed).iter().any(|held| of(held) != Fate::Keep);
        let names: Vec<Name> = self.packed.iter().filter(|(_, packed)| struck(packed)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let held = self.unpack(&name);
            self.work.insert(name, held);
        }
        for (name, all) in &mut self.work {
            all.retain(|held| {
                let fate = of(held);
                if fate == Fate::Remove && held.written {
                    self.gone.push((name.clone(), held.session.id));
                }
                fate == Fate::Keep
            });
        }
    }

    /// How many sessions are held.
    #[must_use]
    pub fn open(&self) -> usize {
        self.at_rest + self.work.values().map(Vec::len).sum::<usize>()
    }

    fn pack(&mut self, name: Name, held: Vec<Held>) {
        if !held.is_empty() {
            self.at_rest += held.len();
            self.packed.insert(name, packed::pack(&held));
        }
    }

    fn unpack(&mut self, name: &Name) -> Vec<Held> {
        let held = self.packed.remove(name).map_or_else(Vec::new, |packed| packed::unpack(&packed));
        self.at_rest -= held.len();
        held
    }

    /// Drops what cannot change any more. All are looked at, so it is done when at least half as many records have passed.
    fn forget_settled(&mut self) {
        let settled_ms = self.settled_ms();
        if settled_ms < self.looked_ms.saturating_add(TICK_MS) || self.passed < self.packed.len() / 2 {
            return;
        }
        (self.looked_ms, self.passed) = (settled_ms, 0);
        let at_rest = &mut self.at_rest;
        self.packed.retain(|_, packed| {
            if packed::first_end_ms(packed) >= settled_ms {
                return true;
            }
            let mut held = packed::unpack(packed);
            let before = held.len();
            held.retain(|h| h.session.end_ms >= settled_ms);
            *at_rest -= before - held.len();
            *packed = packed::pack(&held);
            !held.is_empty()
        });
        if self.packed.capacity() > 4 * self.packed.len() + 1_024 {
            self.packed.shrink_to(2 * self.packed.len());
        }
    }
}

/// Whether a session and those that it would join have more identifiers than the header of a record may carry. An identifier cannot be left out: an
/// erasure would not reach the session by it. So such an event is in no session, and the session stays as it is.
fn is_crowded(all: &[Held], new: &Session, gap_ms: i64) -> bool {
    let joined = || all.iter().filter(|held| is_near(&held.session, new, gap_ms)).map(|held| &held.session).chain([new]);
    joined().map(|s| s.identifiers.len()).sum::<usize>() > IDENTIFIERS_MAX
        && joined().flat_map(|s| &s.identifiers).collect::<HashSet<_>>().len() > IDENTIFIERS_MAX
}

/// Whether there is no more silence than the gap between two sessions, and they are not too long together.
fn is_near(a: &Session, b: &Session, gap_ms: i64) -> bool {
    b.start_ms - a.end_ms <= gap_ms && a.start_ms - b.end_ms <= gap_ms && a.end_ms.max(b.end_ms) - a.start_ms.min(b.start_ms) <= LONGEST_MS
}

/// Adds a session of one event, which extends one that is near, or joins the two that it lies between. Returns the id of one that stood in the
/// topic and is part of another now.
fn add(all: &mut Vec<Held>, new: Session, gap_ms: i64) -> Option<u64> {
    let near = |held: &Held| is_near(&held.session, &new, gap_ms);
    let Some(first) = all.iter().position(near) else {
        let at = all.partition_point(|h| h.session.start_ms < new.start_ms);
        all.insert(at, Held { session: new, touched: true, written: false });
        return None;
    };
    let fits = |second: &Held| near(second) && second.session.end_ms.max(new.end_ms) - all[first].session.start_ms <= LONGEST_MS;
    let second = all.get(first + 1).is_some_and(fits).then(|| all.remove(first + 1));
    let held = &mut all[first];
    held.touched = true;
    held.session.join(new);
    // The earlier one keeps its key.
    let later = second?;
    let gone = later.written.then_some(later.session.id);
    held.session.join(later.session);
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const RULES: Rules = Rules { gap_ms: 100, lateness_ms: 400 };
    const SUBJECTS: [&str; 3] = ["1.a", "1.b", "-x"];

    /// Event id, subject, when it occurred and was stored.
    type Row = (u16, usize, i64, i64);

    fn event<'e>(id: &'e str, path: &'e str, row: Row) -> Event<'e> {
        Event {
            event_id: id,
            event_name: "view",
            occurred_at_ms: row.2,
            subject: SUBJECTS[row.1],
            epoch: Epoch(1),
            given_at_ms: None,
            country: "",
            device_class: "",
            host: "",
            path,
            campaign: [if row.0.is_multiple_of(3) { path } else { "" }, "", "", "", "", ""],
            value: None,
            currency: "",
        }
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        // An event that comes twice occurred once.
        proptest::collection::vec((0u16..60, 0usize..3, 0i64..60), 0..60).prop_map(|rows| {
            let at = |id: u16| i64::from(id) * 37 % 120 * 20;
            let mut stored: Vec<Row> = rows.into_iter().map(|(id, s, late)| (id * 4 + s as u16, s, at(id), at(id) + late * 10)).collect();
            stored.sort_by_key(|row| row.3);
            stored
        })
    }

    /// Start, end, events, entry, exit and campaign of each session, by subject.
    type Shape = BTreeMap<(String, i64), (i64, u64, Option<String>, Option<String>, Option<String>)>;

    fn naive(rows: &[Row]) -> Shape {
        let mut shape = Shape::new();
        for (s, subject) in SUBJECTS.iter().enumerate().take(2) {
            let mut seen = BTreeSet::new();
            let mut events: Vec<&Row> = rows.iter().filter(|r| r.1 == s && r.3 - r.2 <= RULES.lateness_ms && seen.insert(r.0)).collect();
            events.sort_by_key(|r| r.2);
            for session in events.chunk_by(|a, b| b.2 - a.2 <= RULES.gap_ms) {
                let path = |r: &Row| format!("/{}", r.0);
                // Of several at one time: the first that came is the entry, the last the exit (the sort keeps their order).
                let campaign = session.iter().find(|r| r.0.is_multiple_of(3)).map(|r| path(r));
                let (first, last) = (session[0], session[session.len() - 1]);
                shape.insert((subject.to_string(), first.2), (last.2, session.len() as u64, Some(path(first)), Some(path(last)), campaign));
            }
        }
        shape
    }

    fn shape(topic: &BTreeMap<(String, u64), Session>) -> Shape {
        let text = |texts: &[Box<str>], i: usize| texts[i].to_string();
        let shapes = topic.iter().map(|((subject, _), s)| {
            let entry = s.entry.as_ref().map(|p| text(&p.texts, 1));
            let exit = s.exit.as_ref().map(|p| text(&p.texts, 1));
            let campaign = s.campaign.as_ref().map(|c| text(&c.texts, 0));
            ((subject.clone(), s.start_ms), (s.end_ms, s.events, entry, exit, campaign))
        });
        shapes.collect()
    }

    proptest! {
        #[test]
        fn equals_the_model_however_it_is_cut_and_however_often_it_dies(rows in rows(), batch in 1usize..12, dies in 0usize..4) {
            let mut topic: BTreeMap<(String, u64), Session> = BTreeMap::new();
            let mut sessions = Sessions::new(RULES, i64::MIN);
            for (n, some) in rows.chunks(batch).enumerate() {
                for row in some {
                    let (id, path) = (format!("e{}", row.0), format!("/{}", row.0));
                    sessions.take(&event(&id, &path, *row), std::iter::once(Pseudonym([row.0 as u8; 16])), row.3);
                }
                let mut changes = 0;
                sessions.drain(|subject, id, session| {
                    changes += 1;
                    let key = (subject.to_owned(), id);
                    match session {
                        None => assert!(topic.remove(&key).is_some(), "a tombstone for nothing"),
                        Some(session) => drop(topic.insert(key, session.clone())),
                    }
                });
                prop_assert!(changes <= 2 * some.len());
                if dies > 0 && n % dies == 0 {
                    sessions = Sessions::new(RULES, sessions.read_until_ms());
                    for ((subject, id), session) in &topic {
                        sessions.restore(subject, *id, Some(session.clone()));
                    }
                }
            }
            prop_assert_eq!(shape(&topic), naive(&rows));
        }
    }

    fn one(id: &str, at_ms: i64) -> Event<'_> {
        event(id, "/", (1, 0, at_ms, at_ms))
    }

    fn changes(sessions: &mut Sessions) -> Vec<(u64, Option<u64>)> {
        let mut all = Vec::new();
        sessions.drain(|_, id, session| all.push((id, session.map(|s| s.events))));
        all
    }

    #[test]
    fn a_late_event_that_bridges_two_sessions_joins_them_under_the_earlier_key() {
        let mut s = Sessions::new(RULES, 0);
        let (a, b) = (event_hash("a"), event_hash("b"));
        s.take(&one("a", 0), std::iter::empty(), 150);
        s.take(&one("b", 150), std::iter::empty(), 150);
        assert_eq!(changes(&mut s), [(a, Some(1)), (b, Some(1))]);
        s.take(&one("c", 75), std::iter::empty(), 160);
        assert_eq!(changes(&mut s), [(b, None), (a, Some(3))]);
        assert_eq!(s.take(&one("b", 150), std::iter::empty(), 170), Outcome::Duplicate);
        assert!(changes(&mut s).is_empty());
    }

    #[test]
    fn what_cannot_change_is_forgotten() {
        let mut s = Sessions::new(RULES, 0);
        s.take(&one("a", 0), std::iter::empty(), 0);
        changes(&mut s);
        assert_eq!(s.open(), 1);
        s.passed(10 * TICK_MS);
        changes(&mut s);
        assert_eq!((s.open(), s.packed.len(), s.work.len()), (0, 0, 0));
    }

    #[test]
    fn the_sessions_of_the_erased_are_gone_and_a_later_one_is_a_new_one() {
        let mut s = Sessions::new(RULES, 0);
        let person = Pseudonym([7; 16]);
        s.take(&one("a", 0), std::iter::once(person), 0);
        s.take(&one("b", 300), std::iter::once(person), 300);
        changes(&mut s);
        let of =
            |fate| move |_: Epoch, ids: &[Pseudonym], at_ms: i64| if ids.contains(&person) && at_ms <= 100 { fate } else { Fate::Keep };
        s.judge(of(Fate::Remove));
        assert_eq!(changes(&mut s), [(event_hash("a"), None)]);
        assert_eq!(s.open(), 1);
        s.take(&one("c", 90), std::iter::once(person), 310);
        changes(&mut s);
        s.judge(of(Fate::Leave));
        assert!(changes(&mut s).is_empty(), "the topic keeps what is held");
        assert_eq!(s.open(), 1);
    }

    #[test]
    fn a_session_never_has_more_identifiers_than_its_record_can_carry() {
        let mut sessions = Sessions::new(RULES, i64::MIN);
        let who = |n: usize| [0, 1, 2, 3].map(|b| (n >> (8 * b)) as u8);
        let mut outcomes = BTreeMap::new();
        // Two events for each identifier: the second of one that is in the session is counted, whatever else is refused.
        for n in 0..2 * (IDENTIFIERS_MAX + 100) {
            let mut p = [9; 16];
            p[..4].copy_from_slice(&who(n / 2));
            let (id, path) = (format!("e{n}"), "/");
            let outcome = sessions.take(&event(&id, path, (n as u16, 0, n as i64 / 100, 0)), std::iter::once(Pseudonym(p)), n as i64 / 100);
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
        assert_eq!(outcomes, BTreeMap::from([(Outcome::Counted, 2 * IDENTIFIERS_MAX), (Outcome::Crowded, 200)]));
        let mut sizes = Vec::new();
        sessions.drain(|_, _, session| sizes.extend(session.map(|s| (s.identifiers.len(), s.events, s.seen.len()))));
        assert_eq!(sizes, [(IDENTIFIERS_MAX, 2 * IDENTIFIERS_MAX as u64, 4_096)]);
    }

    #[test]
    fn a_session_that_never_ends_is_cut() {
        let rules = Rules { gap_ms: DAY_MS, lateness_ms: DAY_MS };
        let mut sessions = Sessions::new(rules, i64::MIN);
        for n in 0..10 {
            let at = n * DAY_MS / 2;
            sessions.take(&event(&format!("e{n}"), "/", (n as u16, 0, at, at)), std::iter::empty(), at);
        }
        let mut spans = Vec::new();
        sessions.drain(|_, _, session| spans.extend(session.map(|s| (s.start_ms, s.end_ms, s.events))));
        spans.sort_unstable();
        assert_eq!(spans, [(0, LONGEST_MS, 5), (5 * DAY_MS / 2, 9 * DAY_MS / 2, 5)]);
    }
}
