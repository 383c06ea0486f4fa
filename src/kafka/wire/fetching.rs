//! Fetches batches ahead of whoever reads them: a thread for each broker that leads something, and one that finds out who leads what.
//!
//! Every place has a turn: where it goes on is said anew, and whatever was asked for before that is thrown away when it comes. A broker's thread only
//! takes in bytes and checks them; to unpack them is the reader's.

use super::asking::{Came, Outcome, Wanted};
use super::batches;
use super::cluster::{AGAIN, AGAIN_MAX, Cluster, Known};
use crate::config::kafka::KafkaConfig;
use crate::kafka::client::{self, Fault, log_again};
use crate::kafka::consumer::Place;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a partition rests whose leader is to be found: an election takes some of these.
const RESTS_SHORT: Duration = Duration::from_millis(50);
/// How long one rests that cannot be read, which may need somebody's help.
pub(super) const RESTS: Duration = Duration::from_secs(1);
pub(super) const RESTS_LONG: Duration = Duration::from_secs(10);
/// How often something that cannot be read is asked for again before its reader is told.
const SPOILT_MAX: u8 = 3;
/// How long it takes at most until a wish to end is seen.
const NAP: Duration = Duration::from_millis(250);
/// A thread whose broker leads nothing for so long ends.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// The longest that brokers may ask for when somebody uses too much of them.
const THROTTLE_MAX: Duration = Duration::from_secs(30);

/// What one partition gave.
pub(in crate::kafka) struct Part {
    pub(in crate::kafka) place: Place,
    turn: u64,
    /// The offset that was asked for: batches may begin before it.
    pub(in crate::kafka) from: i64,
    /// Whole batches, checked.
    pub(in crate::kafka) batches: Bytes,
    /// Producer and first offset of transactions that were aborted.
    pub(in crate::kafka) aborted: Vec<(i64, i64)>,
}

/// A place that is fetched.
#[derive(Default)]
struct Fetched {
    turn: u64,
    /// The next offset to ask for; `None` for the first there is.
    next: Option<i64>,
    stands: bool,
    leader: Option<i32>,
    rests_until: Option<Instant>,
    /// How often in a row what came could not be read.
    spoilt: u8,
    /// Whether its error was told since it last gave something.
    is_told: bool,
}

impl Fetched {
    fn is_due(&self, now: Instant) -> bool {
        !self.stands && self.rests_until.is_none_or(|until| until <= now)
    }

    fn rest(&mut self, how_long: Duration) {
        self.rests_until = Some(Instant::now() + how_long);
    }

    /// The fault, unless one was told since something came.
    fn tell_once(&mut self, fault: Fault) -> Option<Fault> {
        (!std::mem::replace(&mut self.is_told, true)).then_some(fault)
    }
}

#[derive(Default)]
struct State {
    places: BTreeMap<Place, Fetched>,
    turns: u64,
    parts: VecDeque<Part>,
    /// Of the parts. Units: bytes.
    waiting: usize,
    faults: VecDeque<Fault>,
    /// Brokers that have a thread.
    served: BTreeSet<i32>,
    is_over: bool,
}

impl State {
    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// How long to wait for anything: no longer than a place rests.
    fn nap(&self) -> Duration {
        let now = Instant::now();
        let rests = self.places.values().filter_map(|fetched| fetched.rests_until?.checked_duration_since(now));
        rests.filter(|rest| !rest.is_zero()).min().map_or(NAP, |rest| rest.min(NAP))
    }

    fn led_by(&self, leader: i32) -> impl Iterator<Item = (&Place, &Fetched)> {
        self.places.iter().filter(move |(_, fetched)| fetched.leader == Some(leader))
    }

    /// Throws away what came of places that have had another turn since.
    fn forget_old(&mut self) {
        let State { places, parts, waiting, .. } = self;
        parts.retain(|part| places.get(&part.place).is_some_and(|fetched| fetched.turn == part.turn));
        *waiting = parts.iter().map(|part| part.batches.len()).sum();
    }
}

/// Places that are fetched, shared by who reads and the threads that fetch.
pub(in crate::kafka) struct Fetching {
    config: KafkaConfig,
    topics: Vec<String>,
    state: Mutex<State>,
    /// Something is to be asked for.
    changed: Condvar,
    /// Something came.
    came: Condvar,
}

impl Fetching {
    /// Starts. Shape: `topics` by the index in a place. Errors: no thread.
    pub(in crate::kafka) fn start(config: &KafkaConfig, topics: &[String]) -> Result<Arc<Self>, Fault> {
        let new = Fetching {
            config: config.clone(),
            topics: topics.to_vec(),
            state: Mutex::default(),
            changed: Condvar::new(),
            came: Condvar::new(),
        };
        let new = Arc::new(new);
        let leading = Arc::clone(&new);
        spawn("leaders", &new, move || leading.find_leaders())?;
        Ok(new)
    }

    /// Ends all threads, as soon as each has its answer.
    pub(in crate::kafka) fn end(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }

    /// Fetches these places and no others, from these offsets on; `None` for the first there is. Leaders that are known stay so.
    pub(in crate::kafka) fn assign(&self, offsets: &BTreeMap<Place, Option<i64>>) {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.places);
        for (place, next) in offsets {
            let known = before.remove(place).unwrap_or_default();
            let turn = state.turn();
            state.places.insert(*place, Fetched { turn, next: *next, stands: false, ..known });
        }
        state.forget_old();
        drop(state);
        self.changed.notify_all();
    }

    /// Stops fetching a place and forgets what came of it, until it goes on from `next`.
    pub(in crate::kafka) fn stand(&self, place: Place, next: Option<i64>, stands: bool) {
        let mut state = self.state();
        let turn = state.turn();
        if let Some(fetched) = state.places.get_mut(&place) {
            (fetched.turn, fetched.next, fetched.stands) = (turn, next, stands);
        }
        state.forget_old();
        drop(state);
        self.changed.notify_all();
    }

    /// What came, or what cannot come. Waits for at most `wait`.
    pub(in crate::kafka) fn take(&self, wait: Duration) -> Result<Option<Part>, Fault> {
        let mut state = self.state();
        if state.parts.is_empty() && state.faults.is_empty() && !wait.is_zero() {
            let nothing = |s: &mut State| s.parts.is_empty() && s.faults.is_empty();
            (state, _) = self.came.wait_timeout_while(state, wait, nothing).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(fault) = state.faults.pop_front() {
            return Err(fault);
        }
        let Some(part) = state.parts.pop_front() else { return Ok(None) };
        let was_full = state.waiting >= self.ahead();
        state.waiting -= part.batches.len();
        if was_full && state.waiting < self.ahead() {
            self.changed.notify_all();
        }
        Ok(Some(part))
    }

    /// Lets a place rest whose batch at `next` cannot be read, and says so.
    pub(in crate::kafka) fn spoiled(&self, place: Place, next: i64, why: batches::Unreadable) -> Fault {
        self.stand(place, Some(next), false);
        if let Some(fetched) = self.state().places.get_mut(&place) {
            fetched.rest(RESTS_LONG);
            fetched.is_told = true;
        }
        self.unreadable(place, next, why)
    }

    /// Places that cannot be read, as was told, and that gave nothing since.
    pub(in crate::kafka) fn stuck(&self) -> Vec<Place> {
        self.state().places.iter().filter(|(_, fetched)| fetched.is_told).map(|(place, _)| *place).collect()
    }

    pub(super) fn unreadable(&self, place: Place, at: i64, why: batches::Unreadable) -> Fault {
        Fault::Topic(format!("topic {} partition {} offset {at}: a batch cannot be read: {why}", self.topic(place), place.1))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn topic(&self, place: Place) -> &str {
        self.topics.get(usize::from(place.0)).map_or("", String::as_str)
    }

    /// With so much waiting nothing more is asked for: the other half is for what is under way then. Units: bytes.
    pub(super) fn ahead(&self) -> usize {
        self.config.fetch_ahead_kib as usize * 1024 / 2
    }

    fn tell(&self, fault: Fault) {
        self.state().faults.push_back(fault);
        self.came.notify_all();
    }

    /// Finds out who leads what has no leader, until the end.
    fn find_leaders(self: Arc<Self>) {
        let mut cluster = Cluster::new(&self.config);
        let mut pause = AGAIN;
        while let Some(places) = self.without_leader() {
            let topics: BTreeSet<&str> = places.iter().map(|place| self.topic(*place)).collect();
            cluster.tidy();
            match cluster.look(&topics.into_iter().collect::<Vec<_>>()) {
                Ok(()) => {
                    pause = AGAIN;
                    let found = places.into_iter().map(|place| (place, self.led(&cluster, place)));
                    self.lead(found.collect());
                }
                Err(fault) => {
                    match fault {
                        Fault::Retry(text) => log_again("who leads the raw topics is asked again", &text),
                        other => self.tell(other),
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(AGAIN_MAX);
                }
            }
        }
    }

    /// Waits for places that have no leader. Returns `None` at the end.
    fn without_leader(&self) -> Option<Vec<Place>> {
        let mut state = self.state();
        while !state.is_over {
            let now = Instant::now();
            let places: Vec<Place> = state.places.iter().filter(|(_, f)| f.leader.is_none() && f.is_due(now)).map(|(p, _)| *p).collect();
            if !places.is_empty() {
                return Some(places);
            }
            let nap = state.nap();
            (state, _) = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Who leads a place. Errors: nobody does, or this user may not know.
    fn led(&self, cluster: &Cluster, place: Place) -> Result<i32, Option<Fault>> {
        let topic = self.topic(place);
        match cluster.known(topic) {
            Some(Known::Error(ResponseError::TopicAuthorizationFailed)) => Err(Some(self.refused(place))),
            _ => cluster.leader(topic, place.1).ok_or(None),
        }
    }

    pub(super) fn refused(&self, place: Place) -> Fault {
        Fault::Topic(client::may_not_read(self.topic(place)))
    }

    /// Notes who leads what, and sees to it that each of them has a thread.
    fn lead(self: &Arc<Self>, found: Vec<(Place, Result<i32, Option<Fault>>)>) {
        let mut leaders = BTreeSet::new();
        let mut state = self.state();
        let State { places, faults, served, .. } = &mut *state;
        for (place, leader) in found {
            let Some(fetched) = places.get_mut(&place) else { continue };
            match leader {
                Ok(leader) => {
                    fetched.leader = Some(leader);
                    leaders.extend(served.insert(leader).then_some(leader));
                }
                Err(None) => {
                    let text = format!("topic {} partition {}: nobody leads it", self.topic(place), place.1);
                    log_again("who leads the raw topics is asked again", &text);
                    fetched.rest(AGAIN_MAX);
                }
                Err(Some(fault)) => {
                    fetched.rest(RESTS);
                    faults.extend(fetched.tell_once(fault));
                }
            }
        }
        drop(state);
        self.came.notify_all();
        self.changed.notify_all();
        for leader in leaders {
            let serving = Arc::clone(self);
            if let Err(fault) = spawn("fetch", self, move || serving.serve(leader)) {
                self.tell(fault);
            }
        }
    }

    /// Asks one broker again and again, until the end, or until it leads nothing for a while.
    fn serve(self: Arc<Self>, leader: i32) {
        let mut cluster = Cluster::after_another(&self.config);
        let mut last = None;
        let mut pause = AGAIN;
        while let Some(wanted) = self.wanted(leader, last) {
            cluster.tidy();
            match self.ask(&mut cluster, leader, &wanted) {
                Ok((outcomes, throttled)) => {
                    pause = AGAIN;
                    if outcomes.iter().any(|(_, _, outcome)| matches!(outcome, Outcome::Elsewhere)) {
                        // Where this broker was, another one may answer by now.
                        cluster.lose(leader);
                    }
                    last = outcomes.iter().find(|(_, _, o)| matches!(o, Outcome::Batches(..))).map_or(last, |(place, ..)| Some(*place));
                    self.note(outcomes);
                    self.nap(throttled);
                }
                Err(fault) => {
                    cluster.lose(leader);
                    let is_passing = matches!(fault, Fault::Retry(_));
                    if is_passing {
                        log_again("reading goes on", &fault.to_string());
                    } else {
                        self.tell(fault);
                    }
                    let lost = wanted.into_iter().map(|(place, turn, _)| (place, turn, Outcome::Elsewhere));
                    self.note(lost.collect());
                    self.nap(if is_passing { pause } else { RESTS });
                    pause = (pause * 2).min(AGAIN_MAX);
                }
            }
        }
    }

    fn nap(&self, how_long: Duration) {
        let until = Instant::now() + how_long.min(THROTTLE_MAX);
        let mut state = self.state();
        while !state.is_over && Instant::now() < until {
            let wait = until.saturating_duration_since(Instant::now()).min(NAP);
            (state, _) = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for something to ask this broker for. The place after `last` comes first, so that each has its turn. Returns `None` at the end.
    fn wanted(&self, leader: i32, last: Option<Place>) -> Option<Wanted> {
        let began = Instant::now();
        let mut state = self.state();
        while !state.is_over {
            let now = Instant::now();
            if state.waiting < self.ahead() {
                let due = |(place, f): (&Place, &Fetched)| f.is_due(now).then_some((*place, f.turn, f.next));
                let mut wanted: Wanted = state.led_by(leader).filter_map(due).collect();
                if !wanted.is_empty() {
                    let after = last.map_or(Bound::Unbounded, Bound::Excluded);
                    let first = wanted.iter().position(|(place, ..)| std::ops::RangeBounds::contains(&(after, Bound::Unbounded), place));
                    wanted.rotate_left(first.unwrap_or(0));
                    return Some(wanted);
                }
            }
            if state.led_by(leader).next().is_none() && began.elapsed() > IDLE_MAX {
                state.served.remove(&leader);
                return None;
            }
            let nap = state.nap();
            (state, _) = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Takes in what came of places whose turn is still the same.
    fn note(&self, outcomes: Came) {
        let mut state = self.state();
        let State { places, parts, waiting, faults, .. } = &mut *state;
        for (place, turn, outcome) in outcomes {
            let Some(fetched) = places.get_mut(&place).filter(|fetched| fetched.turn == turn) else { continue };
            match outcome {
                Outcome::Begins(offset) => fetched.next = Some(offset),
                Outcome::Nothing => fetched.is_told = false,
                Outcome::Batches(batches, next, aborted) => {
                    let from = fetched.next.replace(next).unwrap_or(0);
                    (fetched.is_told, fetched.spoilt) = (false, 0);
                    *waiting += batches.len();
                    parts.push_back(Part { place, turn, from, batches, aborted });
                }
                Outcome::Gone => {
                    fetched.next = None;
                    fetched.rest(RESTS_SHORT);
                }
                Outcome::Elsewhere => {
                    fetched.leader = None;
                    fetched.rest(RESTS_SHORT);
                }
                Outcome::Again(text) => {
                    log_again("reading goes on", &text);
                    fetched.rest(AGAIN_MAX);
                }
                Outcome::Spoilt(fault) if fetched.spoilt < SPOILT_MAX => {
                    log_again("reading goes on", &fault.to_string());
                    fetched.spoilt += 1;
                    fetched.rest(AGAIN_MAX);
                }
                Outcome::Spoilt(fault) => {
                    fetched.rest(RESTS_LONG);
                    faults.extend(fetched.tell_once(fault));
                }
                Outcome::Refused(fault, how_long) => {
                    fetched.rest(how_long);
                    faults.extend(fetched.tell_once(fault));
                }
            }
        }
        drop(state);
        self.came.notify_all();
        self.changed.notify_all();
    }
}

fn spawn(name: &str, of: &Arc<Fetching>, body: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
    let of = Arc::clone(of);
    let watched = move || {
        if std::panic::catch_unwind(AssertUnwindSafe(body)).is_err() {
            // Nobody waits for these threads, and without one of them its places would stand still without a word.
            of.tell(Fault::Stop("a thread that fetches ended unexpectedly".into()));
        }
    };
    let started = std::thread::Builder::new().name(name.into()).spawn(watched);
    started.map(drop).map_err(|e| Fault::Stop(format!("cannot start a thread: {e}")))
}
