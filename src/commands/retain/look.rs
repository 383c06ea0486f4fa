//! The look: what is left in each partition, which of them need a roll, and the figures that operators watch. Its cost is a record or two a
//! partition, whatever the size of the topic.

use super::Retain;
use super::partition::PartitionState;
use crate::config::governed::Governed;
use crate::kafka::client::Fault;
use crate::kafka::consumer::Place;
use crate::kafka::readback::Left;
use crate::lifecycle::retention::Pending;
use crate::model::time::SECOND_MS;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

/// How often leaders are asked for. Units: ms.
const LEADERS_EVERY_MS: i64 = 10 * SECOND_MS;
/// How often one overdue partition is logged. Units: ms.
const COMPLAIN_EVERY_MS: i64 = 60 * SECOND_MS;

/// One topic's figures over the partitions of this process.
#[derive(Default)]
struct Figures {
    overdue_ms: i64,
    oldest_ms: Option<i64>,
    next_due_ms: Option<i64>,
    late_ms: i64,
    pending: u64,
    pending_bytes: u64,
}

impl Retain<'_> {
    /// Looks at every partition of this process. Units: `now_ms` in ms since the epoch.
    pub(super) fn look(&mut self, now_ms: i64) -> Result<(), Fault> {
        let begun = Instant::now();
        let places: Vec<Place> = self.partitions.keys().copied().collect();
        let ends = self.consumer.ends(&places)?;
        let oldest = self.oldest(now_ms)?;
        let positions = self.consumer.positions();
        let mut figures: BTreeMap<u16, Figures> = BTreeMap::new();
        let (mut rolls, mut saves) = (Vec::new(), Vec::new());
        for place in places {
            let end = ends.get(&place).copied().unwrap_or(0);
            let left = self.follow_end(place, end, positions.get(&place).copied(), oldest.get(&place), now_ms)?;
            let Some(state) = self.partitions.get_mut(&place) else { continue };
            let governed = &self.governed[usize::from(place.0)];
            if needs_roll(state, governed, now_ms) {
                rolls.push(place);
            }
            if state.unsaved || state.committed != Some(state.next) || state.saved_directives != self.in_force.next_offset {
                saves.push(place);
            }
            let f = figures.entry(place.0).or_default();
            measure(f, governed, place, state, oldest.get(&place), left.as_ref(), now_ms);
        }
        self.settle(&rolls, &saves)?;
        let rolled = self.consumer.ends(&rolls)?;
        for place in &rolls {
            let governed = &self.governed[usize::from(place.0)];
            let tags = [("tenant", self.labels.of(&governed.tenant).to_owned()), ("topic", governed.topic.clone())];
            metrics::counter!("lethe_retention_rolls_total", &tags).increment(1);
            if let Some(state) = self.partitions.get_mut(place) {
                state.last_append_ms = now_ms;
                state.pending.iter_mut().for_each(|p| p.rolls += 1);
                // Our own append is not the traffic of others.
                state.end = rolled.get(place).copied().unwrap_or(state.end);
            }
        }
        self.publish(&figures, now_ms);
        metrics::histogram!("lethe_retention_look_seconds").record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// The first record of every partition, uncommitted ones included. Partitions that stand as they stood are not read again: with nothing due, a
    /// look is two requests to each broker.
    fn oldest(&mut self, now_ms: i64) -> Result<HashMap<Place, Left>, Fault> {
        // What an open transaction wrote counts as written: hanging, it must show.
        let names: Vec<(&str, i32)> = self.partitions.keys().map(|p| (self.governed[usize::from(p.0)].topic.as_str(), p.1)).collect();
        let ends: HashMap<Place, i64> = self.partitions.keys().copied().zip(self.readback.ends(&names)?).collect();
        if now_ms - self.led.0 >= LEADERS_EVERY_MS {
            // A new leader may hold what the one before it had cleaned.
            let leaders = self.readback.leaders()?;
            for (place, state) in &mut self.partitions {
                let at = (self.governed[usize::from(place.0)].topic.clone(), place.1);
                if leaders.get(&at) != self.led.1.get(&at) {
                    state.seen = None;
                }
            }
            self.led = (now_ms, leaders);
        }
        let mut by_topic: BTreeMap<u16, Vec<(i32, i64)>> = BTreeMap::new();
        let mut found = HashMap::new();
        for (place, state) in &self.partitions {
            match state.stands_as_seen(ends.get(place).copied()) {
                Some(seen) => found.extend(seen.map(|left| (*place, left))),
                None => by_topic.entry(place.0).or_default().push((place.1, 0)),
            }
        }
        for (source, from) in by_topic {
            let first = self.readback.first_at(&self.governed[usize::from(source)].topic, &from)?;
            for (partition, _) in from {
                let left = first.get(&partition).copied();
                found.extend(left.map(|left| ((source, partition), left)));
                if let Some(state) = self.partitions.get_mut(&(source, partition)) {
                    state.seen = Some((ends.get(&(source, partition)).copied().unwrap_or(-1), left));
                }
            }
        }
        Ok(found)
    }

    /// Brings a partition's end and pending up to date. Returns the first tombstone that is left, where it was worth looking.
    fn follow_end(
        &mut self,
        place: Place,
        end: i64,
        position: Option<i64>,
        oldest: Option<&Left>,
        now_ms: i64,
    ) -> Result<Option<Left>, Fault> {
        let governed = &self.governed[usize::from(place.0)];
        let Some(state) = self.partitions.get_mut(&place) else { return Ok(None) };
        if end != state.end {
            (state.end, state.last_append_ms) = (end, now_ms);
        }
        if state.parked.is_none()
            && let Some(position) = position
        {
            // Past the marks of transactions and what was aborted: nothing to decide there.
            state.next = state.next.max(position);
        }
        state.at_end = state.parked.is_none() && state.next >= end;
        // What a hold keeps stays behind the cursor, in its right: no cleaning is waited for, and it is not overdue.
        state.kept = self.holds.concern(&governed.tenant);
        state.behind = !state.kept && oldest.is_some_and(|left| left.offset < state.next && !left.is_roll);
        if state.behind && state.pending.is_none() {
            state.pending = Some(Pending::new(end, now_ms));
            state.unsaved = true;
        }
        let Some(pending) = &mut state.pending else { return Ok(None) };
        pending.until = pending.until.min(end);
        if !pending.may_be_clean(&governed.governance.timing, now_ms) {
            return Ok(None);
        }
        let left = self.readback.first_tombstone(&governed.topic, place.1, pending.from, pending.until)?;
        match &left {
            Some(left) => (pending.from, state.read_again) = (left.offset, false),
            None if !state.behind => {
                (state.pending, state.pending_bytes, state.unsaved, state.read_again) = (None, 0, true, false);
            }
            None => pending.from = pending.until,
        }
        if left.is_none() && state.behind && !state.read_again {
            self.read_again(place, oldest)?;
        }
        Ok(left)
    }

    /// The tombstones are gone and something is left that they were for: a replica that was away for longer than tombstones last has come back with it,
    /// and leads. The cursor goes back to it and writes them again. (Of an aborted transaction's records it sees nothing: they wait for the cleaner.)
    fn read_again(&mut self, place: Place, oldest: Option<&Left>) -> Result<(), Fault> {
        let (Some(state), Some(left)) = (self.partitions.get_mut(&place), oldest) else { return Ok(()) };
        tracing::warn!(
            topic = self.governed[usize::from(place.0)].topic,
            partition = place.1,
            "records are back, or left over; read again"
        );
        self.consumer.seek(std::iter::once((place, Some(left.offset))))?;
        self.consumer.resume(&[place])?;
        (state.parked, state.next, state.read_again, state.at_end) = (None, left.offset, true, false);
        Ok(())
    }

    fn publish(&self, figures: &BTreeMap<u16, Figures>, now_ms: i64) {
        let seconds = |ms: i64| ms as f64 / SECOND_MS as f64;
        let none = Figures::default();
        for (source, governed) in self.governed.iter().enumerate() {
            // A topic whose partitions are all another process's now is none of this one's figures: what it said last must not stand.
            let f = figures.get(&(source as u16)).unwrap_or(&none);
            let tags = [("tenant", self.labels.of(&governed.tenant).to_owned()), ("topic", governed.topic.clone())];
            metrics::gauge!("lethe_retention_overdue_seconds", &tags).set(seconds(f.overdue_ms));
            metrics::gauge!("lethe_retention_window_seconds", &tags).set(seconds(governed.governance.window_ms));
            metrics::gauge!("lethe_retention_oldest_record_seconds", &tags).set(f.oldest_ms.map_or(0.0, |at| seconds(now_ms - at)));
            metrics::gauge!("lethe_retention_next_due_seconds", &tags).set(f.next_due_ms.map_or(0.0, |at| seconds(at - now_ms)));
            metrics::gauge!("lethe_retention_cursor_lag_seconds", &tags).set(seconds(f.late_ms));
            metrics::gauge!("lethe_retention_pending_partitions", &tags).set(f.pending as f64);
            metrics::gauge!("lethe_retention_pending_bytes", &tags).set(f.pending_bytes as f64);
        }
        metrics::gauge!("lethe_directives_offset").set(self.in_force.next_offset as f64);
    }
}

fn needs_roll(state: &PartitionState, governed: &Governed, now_ms: i64) -> bool {
    state.pending.as_ref().is_some_and(|p| p.needs_roll(&governed.governance.timing, state.last_append_ms, now_ms))
}

/// Adds one partition to its topic's figures, and says so where something is there past its window.
fn measure(
    f: &mut Figures,
    governed: &Governed,
    place: Place,
    state: &mut PartitionState,
    oldest: Option<&Left>,
    tombstone: Option<&Left>,
    now_ms: i64,
) {
    let times = &governed.governance;
    let overdue = |left: &Left| if left.is_roll { 0 } else { times.overdue_ms(left.stored_at_ms, left.is_null, now_ms) };
    let overdue_ms = oldest.filter(|_| !state.kept).into_iter().chain(tombstone).map(overdue).max().unwrap_or(0);
    f.overdue_ms = f.overdue_ms.max(overdue_ms);
    if let Some(left) = oldest.filter(|left| !left.is_roll) {
        f.oldest_ms = Some(f.oldest_ms.map_or(left.stored_at_ms, |at| at.min(left.stored_at_ms)));
    }
    if let Some(held) = &state.parked {
        f.next_due_ms = Some(f.next_due_ms.map_or(held.due_ms, |at| at.min(held.due_ms)));
        f.late_ms = f.late_ms.max(now_ms - held.due_ms);
    } else if let Some(left) = oldest.filter(|left| left.offset >= state.next && !left.is_null) {
        // Not read yet: a stuck last stable offset shows here.
        f.late_ms = f.late_ms.max(now_ms - times.due_ms(left.stored_at_ms));
    }
    f.pending += u64::from(state.pending.is_some());
    f.pending_bytes += state.pending_bytes;
    if overdue_ms > 0 && now_ms - state.complained_ms >= COMPLAIN_EVERY_MS {
        state.complained_ms = now_ms;
        let cause = if state.next > oldest.map_or(0, |left| left.offset) {
            "its tombstone is written and the broker has not cleaned it: is the log cleaner alive, is a transaction hanging?"
        } else {
            "the cursor has not reached it: was retain down, is a transaction hanging before it?"
        };
        tracing::warn!(topic = governed.topic, partition = place.1, overdue_s = overdue_ms / SECOND_MS, cause, "a window is overdue");
    }
}
