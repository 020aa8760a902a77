//! What the server says of its WAL and of the slot, for those who watch over both.

use std::fmt;

use tokio_postgres::Client;

use crate::change::Lsn;
use crate::replication::wire::WireError;

/// The server at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSample {
    /// Up to here its WAL is on disk; on a standby, up to here it was received.
    pub flush: Lsn,
    /// None where the slot is gone.
    pub slot: Option<SlotSample>,
}

/// The slot at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotSample {
    /// The server keeps its WAL from here on; none where it no longer does.
    pub restart: Option<Lsn>,
    pub wal_status: WalStatus,
    /// Bytes of WAL that can still be written before the slot may lose what it needs. None where
    /// `max_slot_wal_keep_size` sets no limit.
    pub safe_wal_bytes: Option<u64>,
}

/// Whether the WAL that the slot needs is still there, in the words of `pg_replication_slots.wal_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalStatus {
    Reserved,
    Extended,
    Unreserved,
    Lost,
    /// None that this program knows.
    Unknown,
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

impl ServerSample {
    /// Bytes of WAL that the server keeps for the slot.
    #[must_use]
    pub fn slot_held_bytes(&self) -> Option<u64> {
        Some(self.flush.bytes_since(self.slot?.restart?))
    }
}

/// Asks the server. Costs it next to nothing: all of this is in shared memory.
pub(super) async fn sample(client: &Client, slot: &str) -> Result<ServerSample, WireError> {
    const SQL: &str = "\
select (case when pg_catalog.pg_is_in_recovery()
             then coalesce(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
             else pg_catalog.pg_current_wal_flush_lsn() end)::text,
       slot.slot_name is not null, slot.restart_lsn::text, slot.wal_status, slot.safe_wal_size
  from (values (1)) as one
  left join pg_catalog.pg_replication_slots as slot on slot.slot_name = $1";
    let row = client.query_one(SQL, &[&slot]).await?;
    let lsn = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let exists: bool = row.try_get(1)?;
    let safe: Option<i64> = row.try_get(4)?;
    let slot = SlotSample {
        restart: lsn(row.try_get(2)?),
        wal_status: WalStatus::parse(row.try_get(3)?),
        // It is below zero where the limit is passed already.
        safe_wal_bytes: safe.map(|bytes| u64::try_from(bytes).unwrap_or(0)),
    };
    let flush = lsn(row.try_get(0)?).unwrap_or(Lsn::ZERO);
    Ok(ServerSample { flush, slot: exists.then_some(slot) })
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
    fn a_slot_that_was_invalidated_holds_nothing() {
        let slot = SlotSample { restart: Some(Lsn::new(100)), wal_status: WalStatus::Reserved, safe_wal_bytes: None };
        let sample = |slot| ServerSample { flush: Lsn::new(350), slot };
        assert_eq!(sample(Some(slot)).slot_held_bytes(), Some(250));
        assert_eq!(sample(Some(SlotSample { restart: None, ..slot })).slot_held_bytes(), None);
        assert_eq!(sample(None).slot_held_bytes(), None);
    }
}
