//! What the log keeps and for how long, and what Postgres may forget because of that.

use std::time::Duration;

use crate::change::{Lsn, TransactionHeader, Visibility};
use crate::hub::Position;
use crate::hub::encodings::entries_max;

use super::Log;

/// So much WAL the slot may hold back for what is not seen yet, where `replay.wal` is less: one file of it.
const UNSEEN_WAL: u64 = 16 << 20;

impl Log {
    /// Lets go of what is too old or too much.
    pub(in crate::hub) fn evict(&mut self, now: Duration) {
        let memory = entries_max(&self.limits);
        while let Some(front) = self.entries.front() {
            let is_seen = self.unseen.from().is_none_or(|from| front.header.commit_lsn < from);
            let expired = is_seen && now.saturating_sub(front.arrived) > self.limits.window;
            let held_back = self.reached.bytes_since(front.header.commit_lsn);
            let wal_spent = self.limits.wal > 0 && held_back > self.limits.wal;
            if !expired && !wal_spent && self.transactions_size() <= memory {
                break;
            }
            self.evict_front();
        }
        self.past.note(now, self.head.lsn, &self.limits);
        self.drop_encodings();
    }

    /// Somebody has a cursor of the head, or one that is resumed from.
    pub(in crate::hub) fn give(&mut self, now: Duration, resumed: Option<Position>) {
        if let Some(position) = resumed {
            self.past.keep(now, position.lsn, &self.limits);
        }
        self.past.give(now, self.head.lsn);
    }

    /// Lets go of what only holds the slot back, where nobody or somebody listens.
    pub(in crate::hub) fn thin(&mut self, now: Duration, subscribed: bool) {
        self.past.thin(now, self.kept(), &self.limits, subscribed);
    }

    /// Where the first transaction commits that the log has, of which anything is promised.
    #[cfg(test)]
    pub(in crate::hub) fn oldest(&self) -> Option<Lsn> {
        self.entries.front().map(|front| front.header.commit_lsn)
    }

    /// What Postgres may forget: the slot sends every transaction again that commits at this position or later, so that
    /// after a crash the log is rebuilt as it was, and begins no later than where it is promised to. So whatever has
    /// led here, this is never past the first commit that the log has ([`Log::kept`]), unless `replay.wal` is 0.
    pub(in crate::hub) fn acknowledgeable(&self) -> Lsn {
        let promised = match self.past.oldest() {
            _ if self.limits.wal == 0 => self.reached,
            // Cursors from before the tail are refused anyway.
            Some(oldest) => oldest.max(self.tail.lsn).min(self.kept()),
            None => self.kept(),
        };
        let unseen = self.unseen.from().filter(|from| *from < promised);
        let is_affordable = |from: &Lsn| self.reached.bytes_since(*from) <= self.limits.wal.max(UNSEEN_WAL);
        match unseen {
            Some(from) if is_affordable(&from) && self.unseen.has_doubt() => from.in_doubt(),
            Some(from) if is_affordable(&from) => from,
            None if !self.unseen.has_doubt() => promised,
            _ => promised.in_doubt(),
        }
    }

    /// A transaction has come in, of which the log is going to have something or not.
    pub(in crate::hub) fn came(&mut self, header: &TransactionHeader) {
        self.unseen.add(header);
    }

    /// Every snapshot that is taken from now on sees all of this. `alone`: none is under way that was taken before.
    pub(in crate::hub) fn note_seen(&mut self, visibility: &Visibility, alone: bool) {
        self.unseen.see(visibility);
        if alone {
            self.evicted.forget_seen(visibility);
        }
    }

    /// Other routes take over: what they would have taken of what has come was not kept for them.
    pub(in crate::hub) fn reroute(&mut self) {
        self.unseen.add_to(&mut self.evicted);
    }

    /// From here on there are transactions in the log, or still to come.
    fn kept(&self) -> Lsn {
        self.entries.front().map_or(self.reached, |front| front.header.commit_lsn.min(self.reached))
    }

    fn evict_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.size = self.size.saturating_sub(entry.size);
        self.tail = entry.span.end;
        self.evicted.add(entry.header.xid);
        for batch in &entry.batches {
            if let Some(kept) = &batch.publication {
                self.encodings.forget(kept.age);
            }
            if let Some(state) = self.topics.at_mut(batch.slot) {
                let was_fed = !state.batches.is_empty();
                while state.batches.front().is_some_and(|reference| reference.entry <= self.first) {
                    state.batches.pop_front();
                }
                self.fed -= usize::from(was_fed && state.batches.is_empty());
            }
            self.topics.remove_if_idle(batch.slot);
        }
        while self.truncates.front().is_some_and(|truncate| truncate.entry <= self.first) {
            self.truncates.pop_front();
        }
        while self.holes.front().is_some_and(|hole| hole.at <= self.tail) {
            self.holes.pop_front();
        }
        self.turns.forget_before(self.tail);
        self.first += 1;
    }
}
