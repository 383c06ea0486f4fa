//! Batches of each partition: the one that is open, and those that are sealed and not acknowledged.

use super::records::Open;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Where a sealed batch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// To be sent, for the first time or again.
    Waiting,
    /// Sent, and not answered.
    UnderWay,
    /// Stored.
    Stored,
}

/// A sealed batch.
pub(super) struct Sealed {
    pub(super) bytes: Bytes,
    pub(super) sequence: i32,
    pub(super) state: State,
    pub(super) sealed_at: Instant,
}

/// What goes into one partition.
pub(super) struct Outbox {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) open: Open,
    pub(super) sealed: VecDeque<Sealed>,
    /// Of the next batch's first record.
    pub(super) sequence: i32,
    /// Whether the coordinator knows that the transaction writes here.
    pub(super) is_added: bool,
}

impl Outbox {
    pub(super) fn new(topic: Arc<str>, partition: i32) -> Self {
        Outbox { topic, partition, open: Open::default(), sealed: VecDeque::new(), sequence: 0, is_added: false }
    }

    /// Whether it has a part in the transaction.
    pub(super) fn is_used(&self) -> bool {
        self.open.count() > 0 || !self.sealed.is_empty()
    }

    /// The next batch to be sent: in order, and none while an earlier one is to be sent again and later ones are still under way.
    pub(super) fn next(&self) -> Option<usize> {
        let at = self.sealed.iter().position(|batch| batch.state == State::Waiting)?;
        let is_free = self.sealed.iter().skip(at).all(|batch| batch.state != State::UnderWay);
        (is_free && self.sealed.iter().filter(|b| b.state == State::UnderWay).count() < super::IN_FLIGHT).then_some(at)
    }

    /// Takes note of where a batch is, and lets go of what is stored.
    pub(super) fn set(&mut self, sequence: i32, state: State) {
        if let Some(batch) = self.sealed.iter_mut().find(|batch| batch.sequence == sequence) {
            batch.state = state;
        }
        while self.sealed.front().is_some_and(|batch| batch.state == State::Stored) {
            self.sealed.pop_front();
        }
    }

    /// Moves on past a batch of so many records: sequence numbers begin anew after the largest.
    pub(super) fn advance(&mut self, count: i32) -> i32 {
        let first = self.sequence;
        self.sequence = ((i64::from(first) + i64::from(count)) % (i64::from(i32::MAX) + 1)) as i32;
        first
    }

    /// Forgets what was not committed.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.sealed.clear();
        self.is_added = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(states: &[State]) -> Outbox {
        let mut all = Outbox::new(Arc::from("t"), 0);
        for (i, state) in states.iter().enumerate() {
            all.sealed.push_back(Sealed { bytes: Bytes::new(), sequence: i as i32, state: *state, sealed_at: Instant::now() });
        }
        all
    }

    #[test]
    fn batches_go_in_order_and_at_most_five_are_under_way() {
        use State::{Stored, UnderWay, Waiting};
        assert_eq!(outbox(&[]).next(), None);
        assert_eq!(outbox(&[Waiting, Waiting]).next(), Some(0));
        assert_eq!(outbox(&[UnderWay, Waiting]).next(), Some(1));
        assert_eq!(outbox(&[UnderWay, UnderWay, UnderWay, UnderWay, UnderWay, Waiting]).next(), None);
        assert_eq!(outbox(&[Waiting, UnderWay, Waiting]).next(), None, "the first is sent again once the second has come back");
        assert_eq!(outbox(&[Waiting, Stored, Waiting]).next(), Some(0));
    }

    #[test]
    fn what_is_stored_is_let_go_in_order() {
        let mut all = outbox(&[State::UnderWay, State::UnderWay]);
        all.set(1, State::Stored);
        assert_eq!(all.sealed.len(), 2);
        all.set(0, State::Stored);
        assert!(all.sealed.is_empty());
    }

    #[test]
    fn sequence_numbers_begin_anew_after_the_largest() {
        let mut all = Outbox::new(Arc::from("t"), 0);
        all.sequence = i32::MAX - 1;
        assert_eq!((all.advance(2), all.advance(5), all.sequence), (i32::MAX - 1, 0, 5));
    }
}
