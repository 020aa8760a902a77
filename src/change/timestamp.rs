//! Postgres' timestamps.

/// Microseconds since 2000-01-01 00:00 UTC, the form in which the replication protocol carries time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgTimestamp(i64);

impl PgTimestamp {
    /// Seconds from the Unix epoch to Postgres' own.
    pub const UNIX_EPOCH_OFFSET_SECONDS: i64 = 946_684_800;

    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}
