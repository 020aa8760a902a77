//! Who is written to next: everyone who has got something, in rounds, a few at a time.
//!
//! A write costs the kernel some microseconds, so that telling thousands takes milliseconds. Between a few of them the
//! shard turns to whatever else there is: what the hub publishes meanwhile reaches the outboxes of those whose turn is
//! still to come, and is written to them together with what they wait for; replies, newcomers and posts don't wait for
//! the end of the round.

use super::shell::Shell;
use super::state::State;

/// Writes in a row: some hundred microseconds.
const WRITES_A_TURN: usize = 64;
/// Batches of the hub taken in a round. What comes faster than it can be written waits in the channel, where it makes
/// the hub wait, rather than in every outbox, where it would make clients fall behind.
const BATCHES_A_ROUND: usize = 64;

/// How far the round has come.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Those who had something when it began and have not been written to.
    left: usize,
    /// Batches that were taken since.
    batches: usize,
}

impl Round {
    pub(super) fn took(&mut self, batches: usize) {
        self.batches += batches;
    }

    /// How many batches may still be taken.
    pub(super) const fn room(&self) -> usize {
        BATCHES_A_ROUND.saturating_sub(self.batches)
    }
}

impl Shell {
    /// Writes to the next few; whether somebody is left.
    pub(super) fn write_some(&mut self) -> bool {
        for _ in 0..WRITES_A_TURN {
            if self.round.left == 0 && !self.next_round() {
                return false;
            }
            self.round.left -= 1;
            if let Some(slot) = self.state.next_dirty() {
                self.flush(slot);
            }
        }
        self.round.left > 0 || self.next_round()
    }

    /// Ends a round and begins the next, unless nobody has anything.
    fn next_round(&mut self) -> bool {
        self.measure();
        self.state.begin_round();
        self.round = Round { left: self.state.dirty.len(), batches: 0 };
        self.round.left > 0
    }
}

impl State {
    /// A connection that has got something to send, in the order in which they got it.
    pub(super) fn next_dirty(&mut self) -> Option<usize> {
        let slot = self.dirty.pop_front()?;
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.dirty = false;
        }
        Some(slot)
    }

    /// Its own task has just written to it: no need to come back, if it was the last to get something.
    pub(super) fn wrote(&mut self, slot: usize) {
        if self.dirty.back() == Some(&slot) {
            self.dirty.pop_back();
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.dirty = false;
            }
        }
    }
}
