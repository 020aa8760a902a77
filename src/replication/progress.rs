//! What is reported to Postgres about the stream, and when.
//!
//! The flush position of a status update is what Postgres takes as acknowledged: it gives up the log before it, and
//! never sends again what committed before it. So [`Progress`] lets it pass a position only when the hub has everything
//! up to there *and* says that it may be given up; where nothing is published, too, since the hub knows which cursors
//! are out. It is handed positions and time, and knows no socket.
//!
//! One `Progress` lives as long as the hub's log, across reconnects: one that was made anew where streaming goes on
//! would acknowledge all that the log still wants to be sent again after a crash.

use std::time::Duration;

use crate::change::Lsn;

/// The positions of a standby status update; a position is where the next byte is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandbyStatus {
    /// Received.
    pub write: Lsn,
    /// Acknowledged: becomes the slot's `confirmed_flush_lsn`.
    pub flush: Lsn,
    /// Handed to the hub.
    pub apply: Lsn,
}

/// How far the stream has come. No position ever goes back.
#[derive(Debug, Clone)]
pub struct Progress {
    status_interval: Duration,
    received: Lsn,
    /// The hub has everything that commits before this.
    applied: Lsn,
    /// What the hub has said it may give up; can run ahead of `applied`, which then holds it back.
    acknowledgeable: Lsn,
    flush: Lsn,
    next_status: Duration,
}

impl Progress {
    /// `start` is the slot's `confirmed_flush_lsn` as the process found it, which is acknowledged by definition.
    ///
    /// `status_interval` is to be well below half of the server's `wal_sender_timeout`, so that one update may come
    /// late. The first is due at once. Time is counted from any fixed moment.
    #[must_use]
    pub const fn new(start: Lsn, status_interval: Duration) -> Self {
        Self {
            status_interval,
            received: start,
            applied: start,
            acknowledgeable: start,
            flush: start,
            next_status: Duration::ZERO,
        }
    }

    /// The stream has come up to here, wherever in a transaction that is.
    pub fn received(&mut self, lsn: Lsn) {
        self.received = self.received.max(lsn);
    }

    /// The hub has everything that commits before this: the last part of a transaction that ends here, or the news that
    /// nothing is pending up to here.
    pub fn applied(&mut self, end_lsn: Lsn) {
        self.received(end_lsn);
        self.applied = self.applied.max(end_lsn);
        self.settle();
    }

    /// The hub may give up everything up to here. Takes effect as far as transactions have been applied: a later one
    /// that the hub can't know of is never acknowledged by this.
    pub fn acknowledgeable(&mut self, lsn: Lsn) {
        self.acknowledgeable = self.acknowledgeable.max(lsn);
        self.settle();
    }

    /// A keepalive: the server has sent everything that committed before `wal_end`.
    pub fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) {
        self.received(wal_end);
        if reply_requested {
            self.next_status = Duration::ZERO;
        }
    }

    /// A connection was made (again): the server knows nothing yet, so that a status update is due, and its
    /// `wal_sender_timeout` can be another.
    pub const fn reconnected(&mut self, status_interval: Duration) {
        self.status_interval = status_interval;
        self.next_status = Duration::ZERO;
    }

    /// A status update is to be sent.
    #[must_use]
    pub fn status_due(&self, now: Duration) -> bool {
        now >= self.next_status
    }

    /// When the next one is due, if nothing asks for it before; a time in the past when it is due.
    #[must_use]
    pub const fn next_status(&self) -> Duration {
        self.next_status
    }

    /// The status update to send at `now`; the next is due an interval later.
    #[must_use]
    pub fn status(&mut self, now: Duration) -> StandbyStatus {
        self.next_status = now.saturating_add(self.status_interval);
        StandbyStatus { write: self.received, flush: self.flush, apply: self.applied }
    }

    fn settle(&mut self) {
        self.flush = self.flush.max(self.acknowledgeable.min(self.applied));
    }
}

#[cfg(test)]
mod tests;
