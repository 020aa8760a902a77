//! What has to be there before streaming can begin, checked at every connect so that the message can say what to do.

use tokio_postgres::Client;

use crate::change::Lsn;
use crate::replication::catalogue::{self, ServerSettings, SlotStatus};
use crate::replication::wire::{Disposition, Verdict, WireError};

/// What the slot has to be.
const PLUGIN: &str = "pgoutput";

/// Something in the database that is missing or not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Prerequisite {
    #[error("wal_level is `{0}`")]
    WalLevel(String),
    #[error("publication `{0}` does not exist")]
    Publication(String),
    #[error("replication slot `{0}` does not exist")]
    Slot(String),
    #[error("replication slot `{slot}` is of {kind}")]
    SlotKind { slot: String, kind: String },
    #[error("replication slot `{slot}` belongs to database `{found}`, not to `{wanted}`")]
    SlotDatabase { slot: String, found: String, wanted: String },
    #[error("replication slot `{slot}` is lost: {reason}")]
    SlotLost { slot: String, reason: String },
}

impl Prerequisite {
    /// What to do about it.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        let (disposition, advice) = match self {
            Self::WalLevel(_) => {
                (Disposition::Operator, "set wal_level = logical in postgresql.conf and restart Postgres")
            }
            Self::Publication(_) => {
                (Disposition::Operator, "run `walcast setup`, which creates it, or correct `publication`")
            }
            Self::Slot(_) => (
                Disposition::Lost,
                "run `walcast setup`, which creates it; clients that were connected before have to resync",
            ),
            Self::SlotKind { .. } | Self::SlotDatabase { .. } => {
                (Disposition::Operator, "choose another name for `slot`, or drop that slot and run `walcast setup`")
            }
            Self::SlotLost { .. } => (
                Disposition::Lost,
                "drop the slot and run `walcast setup`; clients have to resync. A larger max_slot_wal_keep_size \
                 lets Postgres keep WAL for longer outages",
            ),
        };
        Verdict { disposition, advice }
    }
}

/// A server that is ready to stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) confirmed_flush: Lsn,
    pub(super) settings: ServerSettings,
}

/// Looks at what streaming depends on.
pub(super) async fn check(
    client: &Client,
    database: &str,
    slot: &str,
    publication: &str,
) -> Result<Result<Ready, Prerequisite>, WireError> {
    let settings = catalogue::server_settings(client).await?;
    let publication_exists = catalogue::publication_exists(client, publication).await?;
    let status = catalogue::slot_status(client, slot).await?;
    if settings.wal_level != "logical" {
        return Ok(Err(Prerequisite::WalLevel(settings.wal_level)));
    }
    if !publication_exists {
        return Ok(Err(Prerequisite::Publication(publication.to_owned())));
    }
    Ok(usable_slot(status, slot, database).map(|confirmed_flush| Ready { confirmed_flush, settings }))
}

fn usable_slot(status: Option<SlotStatus>, slot: &str, database: &str) -> Result<Lsn, Prerequisite> {
    let slot = slot.to_owned();
    let Some(status) = status else { return Err(Prerequisite::Slot(slot)) };
    match (status.plugin, status.database) {
        (None, _) => Err(Prerequisite::SlotKind { slot, kind: "physical replication".to_owned() }),
        (Some(plugin), _) if plugin != PLUGIN => {
            Err(Prerequisite::SlotKind { slot, kind: format!("the plugin `{plugin}`, not of `{PLUGIN}`") })
        }
        (_, Some(found)) if found != database => {
            Err(Prerequisite::SlotDatabase { slot, found, wanted: database.to_owned() })
        }
        _ if status.wal_status.as_deref() == Some("lost") || status.invalidation_reason.is_some() => {
            let reason = status.invalidation_reason.unwrap_or_else(|| "Postgres removed WAL that it needs".to_owned());
            Err(Prerequisite::SlotLost { slot, reason })
        }
        // A logical slot has a position from its creation on; while that lasts, streaming waits for it.
        _ => Ok(status.confirmed_flush.unwrap_or(Lsn::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> SlotStatus {
        SlotStatus {
            plugin: Some("pgoutput".to_owned()),
            database: Some("app".to_owned()),
            wal_status: Some("reserved".to_owned()),
            invalidation_reason: None,
            active_pid: None,
            confirmed_flush: Some(Lsn::new(5)),
        }
    }

    #[test]
    fn only_a_pgoutput_slot_of_this_database_that_still_has_its_wal_will_do() {
        let refusal = |status| usable_slot(status, "walcast", "app").unwrap_err();
        assert_eq!(usable_slot(Some(slot()), "walcast", "app"), Ok(Lsn::new(5)));
        assert!(matches!(refusal(None), Prerequisite::Slot(_)));
        let physical = SlotStatus { plugin: None, database: None, ..slot() };
        assert!(matches!(refusal(Some(physical)), Prerequisite::SlotKind { .. }));
        let other_plugin = SlotStatus { plugin: Some("wal2json".to_owned()), ..slot() };
        assert!(refusal(Some(other_plugin)).to_string().contains("wal2json"));
        let elsewhere = SlotStatus { database: Some("other".to_owned()), ..slot() };
        assert!(matches!(refusal(Some(elsewhere)), Prerequisite::SlotDatabase { .. }));
        let lost = SlotStatus { wal_status: Some("lost".to_owned()), ..slot() };
        assert_eq!(refusal(Some(lost)).verdict().disposition, Disposition::Lost);
    }
}
