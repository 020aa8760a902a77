//! How the source is doing, as numbers.

use tokio::time::Instant;

use super::gauge::ServerSample;
use crate::change::Lsn;

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
}
