//! What has to be there before streaming can begin, checked at every connect so that the message can say what to do.

use tokio_postgres::Client;

use crate::change::Lsn;
use crate::replication::catalogue::{self, ServerSettings};
use crate::replication::slot::{self, Blockers, Invalidation, Slot};
use crate::replication::wire::{Disposition, Verdict, WireError};

/// What the slot has to be.
const PLUGIN: &str = "pgoutput";
/// Earlier ones have no logical slots on a standby.
const STANDBY_VERSION_MIN: i32 = 160_000;

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
    #[error("replication slot `{slot}` is lost: {}", reason.meaning())]
    SlotLost { slot: String, reason: Invalidation },
    #[error(
        "process {pid} is creating the replication slot `{slot}`, which waits for transactions that are running{blockers}"
    )]
    SlotInCreation { slot: String, pid: i32, blockers: Blockers },
    #[error("replication slot `{0}` decodes prepared transactions when they are prepared")]
    SlotTwoPhase(String),
    #[error("replication slot `{0}` is a copy of the primary's, and this server is a standby")]
    SlotSynced(String),
    #[error("the server is a standby of Postgres {0}, and only 16 and later decode on one")]
    StandbyVersion(i32),
}

impl Prerequisite {
    /// What to do about it.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        const LOST: &str = "drop the slot and run `walcast setup`; clients have to resync";
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
            Self::SlotLost { reason, .. } => (
                Disposition::Lost,
                match reason {
                    Invalidation::WalRemoved => {
                        "drop the slot and run `walcast setup`; clients have to resync. A larger \
                         max_slot_wal_keep_size lets Postgres keep WAL for longer outages"
                    }
                    Invalidation::IdleTimeout => {
                        "drop the slot and run `walcast setup`; clients have to resync. A longer \
                         idle_replication_slot_timeout, or none (0), outlasts such a pause"
                    }
                    Invalidation::RowsRemoved | Invalidation::Conflict => {
                        "drop the slot and run `walcast setup`; clients have to resync. hot_standby_feedback and a \
                         physical slot (primary_slot_name) on the standby keep the primary from that"
                    }
                    Invalidation::WalLevelInsufficient => {
                        "set wal_level = logical on the primary, then drop the slot and run `walcast setup`; clients \
                         have to resync"
                    }
                    Invalidation::Other => LOST,
                },
            ),
            Self::SlotInCreation { .. } => {
                (Disposition::Retry, "walcast goes on when those transactions have ended and the slot is there")
            }
            Self::SlotTwoPhase(_) => (
                Disposition::Operator,
                "drop it and run `walcast setup`, which creates one that sends transactions once they are committed",
            ),
            Self::SlotSynced(_) => (
                Disposition::Retry,
                "walcast goes on when this server is promoted, or on the primary: name both hosts in the url, with \
                 target_session_attrs=read-write; to decode on the standby, choose a slot of another name",
            ),
            Self::StandbyVersion(_) => {
                (Disposition::Operator, "connect to the primary, or upgrade both to Postgres 16 or later")
            }
        };
        Verdict { disposition, advice }
    }
}

/// A server that is ready to stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) confirmed_flush: Lsn,
    /// Standbys copy the slot.
    pub(super) failover: bool,
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
    let found = slot::look(client, slot).await?;
    if settings.in_recovery && settings.version < STANDBY_VERSION_MIN {
        return Ok(Err(Prerequisite::StandbyVersion(settings.version / 10_000)));
    }
    if settings.wal_level != "logical" {
        return Ok(Err(Prerequisite::WalLevel(settings.wal_level)));
    }
    if !publication_exists {
        return Ok(Err(Prerequisite::Publication(publication.to_owned())));
    }
    match usable_slot(found, slot, database, settings.in_recovery) {
        Err(Prerequisite::SlotInCreation { slot, pid, .. }) => {
            let blockers = slot::blockers(client).await?;
            Ok(Err(Prerequisite::SlotInCreation { slot, pid, blockers }))
        }
        Ok((confirmed_flush, failover)) => Ok(Ok(Ready { confirmed_flush, failover, settings })),
        Err(prerequisite) => Ok(Err(prerequisite)),
    }
}

/// Where it begins, and whether standbys copy it.
fn usable_slot(
    found: Option<Slot>,
    slot: &str,
    database: &str,
    in_recovery: bool,
) -> Result<(Lsn, bool), Prerequisite> {
    let slot = slot.to_owned();
    let Some(Slot { plugin, database: other, active_pid, confirmed_flush, sample }) = found else {
        return Err(Prerequisite::Slot(slot));
    };
    match (plugin, other, sample.invalidation) {
        (None, _, _) => Err(Prerequisite::SlotKind { slot, kind: "physical replication".to_owned() }),
        (Some(plugin), _, _) if plugin != PLUGIN => {
            Err(Prerequisite::SlotKind { slot, kind: format!("the plugin `{plugin}`, not of `{PLUGIN}`") })
        }
        (_, Some(found), _) if found != database => {
            Err(Prerequisite::SlotDatabase { slot, found, wanted: database.to_owned() })
        }
        (_, _, Some(reason)) => Err(Prerequisite::SlotLost { slot, reason }),
        // It is called that for ever, also once its server was promoted.
        _ if sample.synced && in_recovery => Err(Prerequisite::SlotSynced(slot)),
        _ if sample.two_phase => Err(Prerequisite::SlotTwoPhase(slot)),
        _ => match (confirmed_flush, active_pid) {
            (Some(confirmed_flush), _) => Ok((confirmed_flush, sample.failover)),
            (None, Some(pid)) => Err(Prerequisite::SlotInCreation { slot, pid, blockers: Blockers::default() }),
            // Its creation has just been given up: it is about to go.
            (None, None) => Err(Prerequisite::Slot(slot)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::slot::SlotSample;

    fn slot() -> Slot {
        Slot {
            plugin: Some("pgoutput".to_owned()),
            database: Some("app".to_owned()),
            active_pid: None,
            confirmed_flush: Some(Lsn::new(5)),
            sample: SlotSample::default(),
        }
    }

    #[test]
    fn only_a_pgoutput_slot_of_this_database_that_still_has_its_wal_will_do() {
        let refusal = |status| usable_slot(status, "walcast", "app", true).unwrap_err();
        assert_eq!(usable_slot(Some(slot()), "walcast", "app", true), Ok((Lsn::new(5), false)));
        assert!(matches!(refusal(None), Prerequisite::Slot(_)));
        let physical = Slot { plugin: None, database: None, ..slot() };
        assert!(matches!(refusal(Some(physical)), Prerequisite::SlotKind { .. }));
        let other_plugin = Slot { plugin: Some("wal2json".to_owned()), ..slot() };
        assert!(refusal(Some(other_plugin)).to_string().contains("wal2json"));
        let elsewhere = Slot { database: Some("other".to_owned()), ..slot() };
        assert!(matches!(refusal(Some(elsewhere)), Prerequisite::SlotDatabase { .. }));
    }

    #[test]
    fn a_slot_in_each_other_state_is_refused_for_what_it_is() {
        let refusal = |slot| usable_slot(Some(slot), "walcast", "app", true).unwrap_err();
        for reason in Invalidation::ALL {
            let sample = SlotSample { invalidation: Some(reason), ..SlotSample::default() };
            let lost = refusal(Slot { sample, ..slot() });
            assert_eq!(lost.verdict().disposition, Disposition::Lost);
            assert!(lost.to_string().ends_with(reason.meaning()));
        }
        let two_phase = SlotSample { two_phase: true, ..SlotSample::default() };
        assert!(matches!(refusal(Slot { sample: two_phase, ..slot() }), Prerequisite::SlotTwoPhase(_)));
        let synced = SlotSample { synced: true, failover: true, ..SlotSample::default() };
        assert_eq!(refusal(Slot { sample: synced, ..slot() }).verdict().disposition, Disposition::Retry);
        let promoted = usable_slot(Some(Slot { sample: synced, ..slot() }), "walcast", "app", false);
        assert_eq!(promoted, Ok((Lsn::new(5), true)));
        let in_creation = Slot { confirmed_flush: None, active_pid: Some(7), ..slot() };
        assert!(matches!(refusal(in_creation), Prerequisite::SlotInCreation { pid: 7, .. }));
    }
}
