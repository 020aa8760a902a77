//! How the source is doing, as numbers.

use tokio::time::Instant;

use super::gauge::ServerSample;
use crate::change::Lsn;
use crate::replication::slot::{Concern, concerns};

/// Counted since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// How often streaming began.
    pub streams: u64,
    /// How often it ended without having been asked to, and attempts that came to nothing.
    pub interruptions: u64,
    /// How often continuity was lost.
    pub losses: u64,
    /// Bytes of pgoutput.
    pub received_bytes: u64,
    /// What the server said when it was last asked.
    pub server: Option<ServerSample>,
    /// The hub has everything that committed before.
    pub position: Option<Lsn>,
    /// Since when that is behind the server; none where it isn't.
    pub behind_since: Option<Instant>,
    /// `replay.wal`, in bytes.
    pub wal_budget: u64,
}

impl Statistics {
    /// Bytes of WAL that the server has and the hub has not; none until both are known.
    #[must_use]
    pub fn lag_bytes(&self) -> Option<u64> {
        Some(self.server?.flush.bytes_since(self.position?))
    }

    /// For how long the hub has been behind the server; zero where it isn't.
    #[must_use]
    pub fn lag_seconds(&self, now: Instant) -> f64 {
        self.behind_since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64())
    }

    /// What an operator should know of the slot; the heaviest first.
    #[must_use]
    pub fn concerns(&self) -> Vec<Concern> {
        let held = self.server.and_then(|server| server.slot_held_bytes());
        let slot = self.server.and_then(|server| server.slot);
        slot.map_or_else(Vec::new, |slot| concerns(&slot, held, self.wal_budget))
    }
}
