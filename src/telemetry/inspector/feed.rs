//! What the page is told of where changes come from: names, states and numbers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::replication::slot::Invalidation;
use crate::replication::source::Statistics;

/// Where changes come from, and how long they are kept, as the configuration has it.
#[derive(Debug, Clone)]
pub struct Feed {
    /// `user@host:port/database`.
    pub server: String,
    pub publication: String,
    pub slot: String,
    /// `replay.window`.
    pub window: Duration,
    /// `replay.memory`, in bytes.
    pub memory: u64,
}

impl Feed {
    pub(super) fn replication(&self, source: &Statistics) -> Value {
        let slot = source.server.and_then(|server| server.slot);
        let invalidation = slot.and_then(|slot| slot.invalidation);
        json!({
            "server": self.server,
            "publication": self.publication,
            "slot": self.slot,
            "in_recovery": source.server.is_some_and(|server| server.in_recovery),
            "lag_bytes": source.lag_bytes(),
            "lag_seconds": source.lag_seconds(Instant::now()),
            "slot_held_bytes": source.server.and_then(|server| server.slot_held_bytes()),
            "wal_budget": source.wal_budget,
            "slot_safe_bytes": slot.and_then(|slot| slot.safe_wal_bytes),
            "slot_status": slot.map(|slot| slot.wal_status.as_str()),
            "slot_invalidation": invalidation.map(Invalidation::as_str),
            "slot_lost_because": invalidation.map(Invalidation::meaning),
            "slot_inactive_seconds": slot.and_then(|slot| slot.inactive_for).map(|time| time.as_secs()),
            "slot_failover": slot.is_some_and(|slot| slot.failover),
            "slot_synced": slot.is_some_and(|slot| slot.synced),
            "interruptions": source.interruptions,
            "losses": source.losses,
        })
    }
}
