//! What `retain` knows of one partition between two turns, and the form in which it survives a restart.

use crate::kafka::directives::Mark;
use crate::kafka::readback::Left;
use crate::lifecycle::retention::Pending;

/// The record that the cursor is parked at. It is held here, so that waking up costs no second read.
pub(super) struct Held {
    pub offset: i64,
    pub stored_at_ms: i64,
    pub key: Vec<u8>,
    pub header: Option<Vec<u8>>,
    pub due_ms: i64,
    /// When to look again: a little after it is due, so that a busy partition is not woken for every record. Units: ms since the epoch.
    pub wake_ms: i64,
}

/// One partition.
#[derive(Default)]
pub(super) struct PartitionState {
    /// What the group has committed, or will with the next transaction.
    pub next: i64,
    /// Everything before this has been decided, and committed.
    pub committed: Option<i64>,
    pub parked: Option<Held>,
    /// Nothing lies between the cursor and the end, as of the last look.
    pub at_end: bool,
    pub pending: Option<Pending>,
    /// Something is left behind the cursor.
    pub behind: bool,
    /// What was left behind the cursor when its tombstones were gone has been read again.
    pub read_again: bool,
    /// A hold keeps something of the tenant.
    pub kept: bool,
    /// Values whose tombstones are written and not yet seen gone. Units: bytes.
    pub pending_bytes: u64,
    /// The end as of the last look, and when it was first seen.
    pub end: i64,
    pub last_append_ms: i64,
    /// The end and the first record, if any, as of the last time that it was read for.
    pub seen: Option<(i64, Option<Left>)>,
    /// The metadata on the broker is not what it should be.
    pub unsaved: bool,
    /// Directives that the committed metadata speaks of.
    pub saved_directives: i64,
    /// When an overdue partition was last logged.
    pub complained_ms: i64,
}

impl PartitionState {
    /// Takes up a partition from what its last owner committed.
    pub(super) fn resume(committed: Option<&(i64, String)>, now_ms: i64) -> Self {
        let mut state = PartitionState { end: -1, last_append_ms: now_ms, unsaved: true, ..PartitionState::default() };
        if let Some((offset, text)) = committed {
            state.next = *offset;
            state.committed = Some(*offset);
            state.saved_directives = Mark::read(text).map_or(-1, |m| m.directives);
            // Up to where is found out at the first look.
            state.pending = read_pending(text).map(|(from, since_ms)| Pending { until: i64::MAX, since_ms, ..Pending::new(from, now_ms) });
        }
        state
    }

    /// What was seen first in the partition, where it cannot have changed since: nothing is pending or behind, and the cursor is parked at that very
    /// record, or nobody has written to a partition without values.
    pub(super) fn stands_as_seen(&self, end: Option<i64>) -> Option<Option<Left>> {
        let (seen_end, first) = self.seen.filter(|_| self.pending.is_none() && !self.behind)?;
        let stands = match (&self.parked, first) {
            (Some(held), Some(left)) => held.offset == left.offset,
            (Some(_), None) => false,
            (None, left) => left.is_none_or(|left| left.is_roll) && end == Some(seen_end),
        };
        stands.then_some(first)
    }

    /// The metadata of the next commit.
    pub(super) fn metadata(&self, directives: i64) -> String {
        let mark = Mark { directives, epoch: 0 }.to_text();
        match &self.pending {
            Some(p) => format!("{mark} pending={}@{}", p.from, p.since_ms),
            None => mark,
        }
    }
}

/// From where on, and since when, a cursor's metadata says that tombstones may lie about. Units: offset; ms since the epoch.
pub(in crate::commands) fn read_pending(text: &str) -> Option<(i64, i64)> {
    let word = text.split(' ').find_map(|w| w.strip_prefix("pending="))?;
    let (from, since) = word.split_once('@')?;
    Some((from.parse().ok()?, since.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_again_unless_it_stands_as_it_stood() {
        let left = Left { offset: 5, stored_at_ms: 1, is_null: false, is_roll: false };
        let held = || Held { offset: 5, stored_at_ms: 1, key: vec![], header: None, due_ms: 9, wake_ms: 9 };
        let parked = PartitionState { seen: Some((8, Some(left))), parked: Some(held()), ..PartitionState::default() };
        assert_eq!(parked.stands_as_seen(Some(20)), Some(Some(left)), "what is written behind the cursor's record is not older");
        assert_eq!(PartitionState { parked: None, ..parked }.stands_as_seen(Some(8)), None, "a value that waits to be read");
        let empty = || PartitionState { seen: Some((8, None)), ..PartitionState::default() };
        assert_eq!(empty().stands_as_seen(Some(8)), Some(None));
        assert_eq!(empty().stands_as_seen(Some(9)), None, "somebody wrote");
        for state in [
            PartitionState { pending: Some(Pending::new(1, 1)), ..empty() },
            PartitionState { behind: true, ..empty() },
            PartitionState { parked: Some(Held { offset: 7, ..held() }), seen: Some((8, Some(left))), ..PartitionState::default() },
            PartitionState::default(),
        ] {
            assert_eq!(state.stands_as_seen(Some(8)), None);
        }
    }

    #[test]
    fn pending_survives_a_restart() {
        let mut state = PartitionState { pending: Some(Pending::new(17, 99)), ..PartitionState::default() };
        let text = state.metadata(5);
        assert_eq!(Mark::read(&text).unwrap().directives, 5, "the barrier reads the same metadata");
        assert_eq!(read_pending(&text), Some((17, 99)));
        let back = PartitionState::resume(Some(&(40, text)), 1_000);
        assert_eq!((back.next, back.saved_directives), (40, 5));
        assert_eq!(back.pending.map(|p| (p.from, p.since_ms)), Some((17, 99)));
        state.pending = None;
        assert_eq!(read_pending(&state.metadata(5)), None);
    }
}
