//! What the log has promised, and so what Postgres may forget: everything before the oldest transaction that somebody
//! may still ask for, or that not everybody sees yet.

use crate::change::{Lsn, TransactionHeader, Visibility};

use super::Log;

/// So much WAL the slot may hold back for what is not seen yet, where `replay.wal` is less: one file of it.
const UNSEEN_WAL: u64 = 16 << 20;

impl Log {
    /// What Postgres may forget: the slot sends every transaction again that commits at this position or later, so that
    /// after a crash the log is rebuilt as it was, and begins no later than where it is promised to.
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
    pub(super) fn kept(&self) -> Lsn {
        self.entries.front().map_or(self.reached, |front| front.header.commit_lsn.min(self.reached))
    }
}
