//! A slot that another process streams from: who that is, and its end, which is waited for.
//!
//! While walcast is rolled over to a new process this is where the new one stands. The slot can be asked for only once
//! it is free, so that how often it is looked at is a part of the pause that clients see.

use std::fmt;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::{Source, SourceState};
use crate::replication::wire::WireError;

/// Between two looks: one small query over a connection that is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Who streams from the slot. Of another role's process only the number may be known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    slot: String,
    process: i32,
    application: Option<String>,
    address: Option<String>,
    since: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, process, application, address, since } = self;
        write!(f, "the replication slot `{slot}` is in use by process {process}")?;
        if let Some(application) = application {
            write!(f, " (`{application}`")?;
            if let Some(address) = address {
                write!(f, " at {address}")?;
            }
            if let Some(since) = since {
                write!(f, ", since {since}")?;
            }
            write!(f, ")")?;
        }
        write!(f, ": walcast takes over when that one ends")
    }
}

impl Source {
    /// Returns once nobody streams from the slot, or there is none, or not yet.
    pub(super) async fn wait_for_slot(&self, client: &Client) -> Result<(), WireError> {
        let slot = self.settings.slot.as_str();
        let mut known = None;
        while let Some(holder) = holder(client, slot).await? {
            if known.as_ref() != Some(&holder) {
                tracing::warn!(slot, "{holder}");
                let reason = holder.to_string();
                self.stands_still(&reason);
                self.state.send_replace(SourceState::Waiting { reason, retry_in: LOOK_INTERVAL });
                known = Some(holder);
            }
            sleep(LOOK_INTERVAL).await;
        }
        if known.is_some() {
            tracing::info!(slot, "the replication slot is free: taking over");
            self.state.send_replace(SourceState::Connecting);
        }
        Ok(())
    }
}

async fn holder(client: &Client, slot: &str) -> Result<Option<Holder>, WireError> {
    const SQL: &str = "\
select s.active_pid, nullif(a.application_name, ''), host(a.client_addr),
       to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC')
  from pg_catalog.pg_replication_slots s left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid
 where s.slot_name = $1 and s.active_pid is not null and s.confirmed_flush_lsn is not null";
    let Some(row) = client.query_opt(SQL, &[&slot]).await? else { return Ok(None) };
    Ok(Some(Holder {
        slot: slot.to_owned(),
        process: row.try_get(0)?,
        application: row.try_get(1)?,
        address: row.try_get(2)?,
        since: row.try_get(3)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_said_as_is_known() {
        let unknown = Holder { slot: "walcast".to_owned(), process: 17, application: None, address: None, since: None };
        assert_eq!(
            unknown.to_string(),
            "the replication slot `walcast` is in use by process 17: walcast takes over when that one ends"
        );
        let known = Holder {
            application: Some("walcast".to_owned()),
            address: Some("10.0.0.7".to_owned()),
            since: Some("2026-11-22 03:40:00 UTC".to_owned()),
            ..unknown
        };
        let says = "process 17 (`walcast` at 10.0.0.7, since 2026-11-22 03:40:00 UTC): walcast takes over";
        assert!(known.to_string().contains(says), "{known}");
    }
}
