//! The replication slot as the server shows it, and what of that an operator has to know.
//!
//! One question to `pg_replication_slots` serves everyone: those who stream, those who watch, and `walcast check`.
//! What it means is decided here without asking anybody; [`blocked`] tells who keeps a slot from being created.

mod blocked;
mod concern;
mod creation;

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;

use super::wire::WireError;
use crate::change::Lsn;

pub use blocked::{Blocker, Blockers, blockers};
pub use concern::{BUDGET_SLACK, Concern, concerns};
pub use creation::{OnLostSlot, PATIENCE_SECONDS, creation};

/// A row of `pg_replication_slots`. What a version of Postgres does not tell is none or false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// `None` for a physical slot.
    pub plugin: Option<String>,
    pub database: Option<String>,
    /// Who streams from it, or is just creating it.
    pub active_pid: Option<i32>,
    /// Nothing before this comes again; `None` while it is being created.
    pub confirmed_flush: Option<Lsn>,
    pub sample: SlotSample,
}

/// What of a slot changes while it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotSample {
    /// The server keeps its WAL from here on; none where it no longer does.
    pub restart: Option<Lsn>,
    pub wal_status: WalStatus,
    /// Why it can't be used any more.
    pub invalidation: Option<Invalidation>,
    /// Bytes of WAL that can still be written before the slot may lose what it needs. None where
    /// `max_slot_wal_keep_size` sets no limit.
    pub safe_wal_bytes: Option<u64>,
    /// For how long nobody has streamed from it, by the server's clock (Postgres 17 and later).
    pub inactive_for: Option<Duration>,
    /// Prepared transactions are decoded when they are prepared.
    pub two_phase: bool,
    /// Standbys copy it (Postgres 17 and later).
    pub failover: bool,
    /// It is such a copy, which can't be used before its server is promoted; it is called that afterwards, too.
    pub synced: bool,
}

/// Whether the WAL that the slot needs is still there, in the words of `pg_replication_slots.wal_status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WalStatus {
    Reserved,
    Extended,
    Unreserved,
    Lost,
    /// None that this program knows, or none yet.
    #[default]
    Unknown,
}

/// Why a slot can't be used any more, in the words of `pg_replication_slots.invalidation_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalidation {
    /// More was written than `max_slot_wal_keep_size` keeps.
    WalRemoved,
    /// On a standby: the primary has removed old rows of the catalogue that decoding needs.
    RowsRemoved,
    /// On a standby: the primary's `wal_level` is no longer `logical`.
    WalLevelInsufficient,
    /// Nobody streamed from it for longer than `idle_replication_slot_timeout` (Postgres 18).
    IdleTimeout,
    /// On a standby of Postgres 16, which does not tell the one from the other.
    Conflict,
    /// None that this program knows.
    Other,
}

impl WalStatus {
    pub const ALL: [Self; 5] = [Self::Reserved, Self::Extended, Self::Unreserved, Self::Lost, Self::Unknown];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Extended => "extended",
            Self::Unreserved => "unreserved",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }

    fn parse(text: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|status| text == Some(status.as_str())).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for WalStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Invalidation {
    pub const ALL: [Self; 6] = [
        Self::WalRemoved,
        Self::RowsRemoved,
        Self::WalLevelInsufficient,
        Self::IdleTimeout,
        Self::Conflict,
        Self::Other,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WalRemoved => "wal_removed",
            Self::RowsRemoved => "rows_removed",
            Self::WalLevelInsufficient => "wal_level_insufficient",
            Self::IdleTimeout => "idle_timeout",
            Self::Conflict => "conflict",
            Self::Other => "other",
        }
    }

    /// What has happened, as the rest of "the slot is lost: …".
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::WalRemoved => "Postgres has removed WAL that it needs (max_slot_wal_keep_size)",
            Self::RowsRemoved => "the primary has removed rows of its catalogue that decoding on this standby needs",
            Self::WalLevelInsufficient => "the primary's wal_level is no longer logical",
            Self::IdleTimeout => "nobody streamed from it for longer than idle_replication_slot_timeout",
            Self::Conflict => "the primary has removed what decoding on this standby needs",
            Self::Other => "Postgres has invalidated it",
        }
    }

    /// What keeps it from happening again.
    #[must_use]
    pub const fn prevention(self) -> &'static str {
        match self {
            Self::WalRemoved => "a larger max_slot_wal_keep_size keeps WAL for longer outages",
            Self::RowsRemoved | Self::Conflict => {
                "hot_standby_feedback and a physical slot (primary_slot_name) on the standby keep the primary from that"
            }
            Self::WalLevelInsufficient => "set wal_level = logical on the primary, and leave it so",
            Self::IdleTimeout => "a longer idle_replication_slot_timeout, or none (0), outlasts such a pause",
            Self::Other => "the server's log says why",
        }
    }

    /// 14 and 15 know one reason and don't name it. 16 says `conflicting` of each; one that lost its WAL has no
    /// position.
    fn parse(reason: Option<&str>, conflicting: bool, wal_status: WalStatus) -> Option<Self> {
        match reason {
            Some(reason) => Some(Self::ALL.into_iter().find(|it| it.as_str() == reason).unwrap_or(Self::Other)),
            None if conflicting => Some(Self::Conflict),
            None if wal_status == WalStatus::Lost => Some(Self::WalRemoved),
            None => None,
        }
    }
}

/// The slot of that name, if there is one. Costs the server next to nothing: all of this is in shared memory.
///
/// # Errors
/// The query failed.
pub async fn look(client: &Client, slot: &str) -> Result<Option<Slot>, WireError> {
    // Columns that only later versions have are taken out of the row as JSON, where a missing one is null.
    const SQL: &str = "\
with slot as (select s.*, to_jsonb(s) as later from pg_catalog.pg_replication_slots s where s.slot_name = $1)
select plugin::pg_catalog.text, database::pg_catalog.text, active_pid, confirmed_flush_lsn::pg_catalog.text,
       restart_lsn::pg_catalog.text, wal_status, safe_wal_size, later ->> 'invalidation_reason',
       coalesce((later ->> 'conflicting')::pg_catalog.bool, false) and restart_lsn is not null,
       extract(epoch from pg_catalog.clock_timestamp() - (later ->> 'inactive_since')::pg_catalog.timestamptz)
           ::pg_catalog.float8,
       coalesce((later ->> 'two_phase')::pg_catalog.bool, false),
       coalesce((later ->> 'failover')::pg_catalog.bool, false),
       coalesce((later ->> 'synced')::pg_catalog.bool, false)
  from slot";
    let Some(row) = client.query_opt(SQL, &[&slot]).await? else { return Ok(None) };
    let lsn = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let wal_status = WalStatus::parse(row.try_get(5)?);
    let safe: Option<i64> = row.try_get(6)?;
    let active_pid: Option<i32> = row.try_get(2)?;
    let idle: Option<f64> = row.try_get(9)?;
    let sample = SlotSample {
        restart: lsn(row.try_get(4)?),
        wal_status,
        invalidation: Invalidation::parse(row.try_get(7)?, row.try_get(8)?, wal_status),
        // It is below zero where the limit is passed already.
        safe_wal_bytes: safe.map(|bytes| u64::try_from(bytes).unwrap_or(0)),
        // A synced slot is never streamed from, and says when it was last synced.
        inactive_for: idle.filter(|_| active_pid.is_none()).map(|idle| Duration::from_secs_f64(idle.max(0.0))),
        two_phase: row.try_get(10)?,
        failover: row.try_get(11)?,
        synced: row.try_get(12)?,
    };
    Ok(Some(Slot {
        plugin: row.try_get(0)?,
        database: row.try_get(1)?,
        active_pid,
        confirmed_flush: lsn(row.try_get(3)?),
        sample,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_a_later_postgres_is_unknown() {
        for status in WalStatus::ALL {
            assert_eq!(WalStatus::parse(Some(status.as_str())), status);
        }
        assert_eq!(WalStatus::parse(Some("archived")), WalStatus::Unknown);
        assert_eq!(WalStatus::parse(None), WalStatus::Unknown);
    }

    #[test]
    fn each_version_says_in_its_way_why_a_slot_is_lost() {
        for reason in Invalidation::ALL {
            assert_eq!(Invalidation::parse(Some(reason.as_str()), true, WalStatus::Lost), Some(reason));
        }
        let parse = |reason, conflicting, status| Invalidation::parse(reason, conflicting, status);
        assert_eq!(parse(Some("of a later version"), false, WalStatus::Lost), Some(Invalidation::Other));
        assert_eq!(parse(None, true, WalStatus::Lost), Some(Invalidation::Conflict));
        assert_eq!(parse(None, false, WalStatus::Lost), Some(Invalidation::WalRemoved));
        assert_eq!(parse(None, false, WalStatus::Unreserved), None);
    }
}
