//! A slot that Postgres has given up, or that is gone, made anew where the configuration says so.
//!
//! Everyone is told to begin afresh, as they would be by whoever made it. A gateway that has never streamed makes none
//! where there is none: that is for `walcast setup`.

use tokio_postgres::Client;

use super::{Failure, Prerequisite, Source};
use crate::replication::slot::{OnLostSlot, creation};
use crate::replication::wire::WireError;

impl Source {
    /// Whether this is for us to mend.
    pub(super) fn makes_another(&self, prerequisite: &Prerequisite) -> bool {
        self.settings.on_lost_slot == OnLostSlot::Recreate
            && match prerequisite {
                Prerequisite::SlotLost { .. } => true,
                Prerequisite::Slot(_) => self.started || self.is_slot_owed,
                _ => false,
            }
    }

    /// Makes another slot of that name. Waits for transactions that are open, for a minute at most.
    pub(super) async fn recreate(&mut self, client: &Client, lost: Prerequisite) -> Result<(), Failure> {
        const DROP: &str = "select pg_catalog.pg_drop_replication_slot($1)";
        let slot = self.settings.slot.clone();
        self.lose(&lost.to_string());
        let standby = client.query_one("select pg_catalog.pg_is_in_recovery()", &[]).await.map_err(wire)?;
        let in_recovery: bool = standby.try_get(0).map_err(wire)?;
        if matches!(lost, Prerequisite::SlotLost { .. }) {
            client.execute(DROP, &[&slot]).await.map_err(wire)?;
            self.is_slot_owed = true;
        }
        tracing::warn!(slot, reason = %lost, "making another slot, once transactions have ended that are running");
        let is_copied = self.settings.failover && !in_recovery;
        client.batch_execute(&creation(&slot, is_copied, in_recovery)).await.map_err(wire)?;
        self.is_slot_owed = false;
        tracing::error!(slot, reason = %lost, "the slot was made anew: what was committed in between is in no feed");
        Ok(())
    }
}

fn wire(error: tokio_postgres::Error) -> Failure {
    WireError::from(error).into()
}
