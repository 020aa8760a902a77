//! What the server says of its WAL and of the slot, for those who watch over both.

use tokio_postgres::Client;

use crate::change::Lsn;
use crate::replication::slot::{self, SlotSample};
use crate::replication::wire::WireError;

/// The server at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSample {
    /// Up to here its WAL is on disk; on a standby, up to here it was received.
    pub flush: Lsn,
    /// It is a standby.
    pub in_recovery: bool,
    /// None where the slot is gone.
    pub slot: Option<SlotSample>,
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
             else pg_catalog.pg_current_wal_flush_lsn() end)::pg_catalog.text, pg_catalog.pg_is_in_recovery()";
    let slot = slot::look(client, slot).await?;
    let row = client.query_one(SQL, &[]).await?;
    let flush: Option<&str> = row.try_get(0)?;
    let flush = flush.and_then(|text| text.parse().ok()).unwrap_or(Lsn::ZERO);
    Ok(ServerSample { flush, in_recovery: row.try_get(1)?, slot: slot.map(|slot| slot.sample) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_invalidated_holds_nothing() {
        let slot = SlotSample { restart: Some(Lsn::new(100)), ..SlotSample::default() };
        let sample = |slot| ServerSample { flush: Lsn::new(350), in_recovery: false, slot };
        assert_eq!(sample(Some(slot)).slot_held_bytes(), Some(250));
        assert_eq!(sample(Some(SlotSample { restart: None, ..slot })).slot_held_bytes(), None);
        assert_eq!(sample(None).slot_held_bytes(), None);
    }
}
