//! More than one server: whether a failover keeps the slot, and whether a standby can be decoded on.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::facts::{HaFacts, OtherServer, ServerFacts};
use super::server::MaybeLabel;
use crate::config::Config;
use crate::config::code::Code;
use crate::config::diagnostic::Finding;
use crate::replication::wire::{WireError, connect_sql};

/// For each of the other servers: after a failover one may be gone, and a start is not to wait for it for long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Slots that standbys copy.
const FAILOVER_VERSION_MIN: i32 = 170_000;
/// Logical slots on a standby.
const STANDBY_VERSION_MIN: i32 = 160_000;

/// Asks a server about itself. Settings that it does not have, or does not show to our role, are as if they were off.
pub(super) async fn gather(client: &Client) -> Result<HaFacts, WireError> {
    const SQL: &str = "\
select pg_catalog.pg_is_in_recovery(),
       coalesce(current_setting('hot_standby_feedback', true), 'off') = 'on',
       coalesce(current_setting('primary_slot_name', true), ''),
       (select setting ~ 'dbname' from pg_catalog.pg_settings where name = 'primary_conninfo'),
       coalesce(current_setting('sync_replication_slots', true), 'off') = 'on',
       coalesce(current_setting('synchronized_standby_slots', true), ''),
       coalesce(extract(epoch from current_setting('idle_replication_slot_timeout', true)::pg_catalog.interval), 0)
           ::pg_catalog.int8";
    let row = client.query_one(SQL, &[]).await?;
    let idle: i64 = row.try_get(6)?;
    Ok(HaFacts {
        in_recovery: row.try_get(0)?,
        hot_standby_feedback: row.try_get(1)?,
        primary_slot_name: row.try_get(2)?,
        conninfo_has_database: row.try_get(3)?,
        sync_replication_slots: row.try_get(4)?,
        synchronized_standby_slots: row.try_get(5)?,
        idle_slot_timeout: u64::try_from(idle).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs),
    })
}

/// The servers of the connection string, each by itself, where standbys are to copy the slot.
pub(super) async fn others(config: &Config) -> Vec<OtherServer> {
    let mut others = Vec::new();
    if !config.postgres.failover {
        return others;
    }
    for alone in config.postgres.connection.each_host() {
        let asked = timeout(PATIENCE, async { gather(&connect_sql(&alone).await?).await }).await;
        let facts = match asked {
            Ok(facts) => facts.map_err(|error| error.to_string()),
            Err(_late) => Err(format!("no answer within {PATIENCE:?}")),
        };
        others.push(OtherServer { host: alone.to_string(), facts });
    }
    others
}

pub(super) fn judge(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.postgres.failover {
        findings.extend(failover(facts, config));
    }
    if facts.ha.in_recovery {
        findings.extend(standby(facts, config));
    }
    findings
}

fn failover(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let span = || config.postgres.spans.failover.clone();
    if facts.version < FAILOVER_VERSION_MIN {
        let message = format!("Postgres {} has no slots that standbys copy", facts.version / 10_000);
        let finding = Finding::error(Code::SlotFailover, message).maybe_label(span(), "needs Postgres 17 or newer");
        return vec![finding.help("take `failover` away; after a failover everyone has to start over")];
    }
    let mut findings = Vec::new();
    if let Some(slot) = facts.slot.as_ref().filter(|slot| !slot.sample.failover && !facts.ha.in_recovery) {
        let message = format!("standbys don't copy the slot `{}` yet", config.postgres.slot);
        let finding = Finding::warning(Code::SlotFailover, message).maybe_label(span(), "not so yet");
        findings.push(match slot.active_pid {
            Some(_) => finding.help("restart walcast, which alters the slot before it streams"),
            None => finding.help("`walcast setup`, and each start of `walcast run`, alters it"),
        });
    }
    if !facts.ha.in_recovery && facts.ha.synchronized_standby_slots.is_empty() {
        findings.push(
            Finding::warning(Code::StandbySettings, "changes are sent before any standby has them")
                .maybe_label(span(), "`synchronized_standby_slots` is empty on the primary")
                .note("a failover abandons what the standby does not have: clients who were sent that start over")
                .help("set `synchronized_standby_slots` to the standby's physical slot (its `primary_slot_name`)"),
        );
    }
    findings.extend(facts.others.iter().filter_map(|other| copying(other, config)));
    let has_standby = facts.others.iter().any(|other| other.facts.as_ref().is_ok_and(|facts| facts.in_recovery));
    if facts.others.len() < 2 {
        findings.push(
            Finding::warning(Code::StandbySettings, "`url` names one host, so that a failover can't be followed")
                .maybe_label(config.postgres.spans.url.clone(), "no second host")
                .note("an address that moves to the new primary does as well: then this can be ignored")
                .help("name every host: `postgres://user@a,b/database?target_session_attrs=read-write`"),
        );
    } else if !has_standby {
        findings.push(
            Finding::warning(Code::StandbySettings, "none of the hosts in `url` is a standby that can be asked")
                .maybe_label(config.postgres.spans.url.clone(), "nothing to fail over to"),
        );
    }
    findings
}

/// Whether a standby copies slots.
fn copying(other: &OtherServer, config: &Config) -> Option<Finding> {
    let (host, span) = (&other.host, config.postgres.spans.failover.clone());
    let facts = match &other.facts {
        Ok(facts) => facts,
        Err(error) => {
            let message = format!("{host} could not be asked whether it copies slots");
            return Some(Finding::warning(Code::StandbySettings, message).maybe_label(span, "unknown").note(error));
        }
    };
    let missing = facts.in_recovery.then(|| missing(facts, true)).filter(|missing| !missing.is_empty())?;
    let message = format!("the standby {host} does not copy slots");
    let mut finding = Finding::warning(Code::StandbySettings, message).maybe_label(span, "needs its part there");
    for (what, help) in missing {
        finding = finding.note(what).help(help);
    }
    Some(finding)
}

/// What a standby lacks to keep a slot, its own or a copy.
fn missing(facts: &HaFacts, copies: bool) -> Vec<(&'static str, &'static str)> {
    let mut missing = Vec::new();
    if copies && !facts.sync_replication_slots {
        missing.push(("`sync_replication_slots` is off", "set `sync_replication_slots = on` on the standby"));
    }
    if !facts.hot_standby_feedback {
        let help = "set `hot_standby_feedback = on` on the standby, or the primary removes what the slot needs";
        missing.push(("`hot_standby_feedback` is off", help));
    }
    if facts.primary_slot_name.is_empty() {
        let help = "create a physical slot on the primary and name it in the standby's `primary_slot_name`";
        missing.push(("`primary_slot_name` is empty", help));
    }
    if copies && facts.conninfo_has_database == Some(false) {
        missing.push(("`primary_conninfo` names no database", "add `dbname=` to the standby's `primary_conninfo`"));
    }
    missing
}

/// The server that we decode on is a standby.
fn standby(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let url = || config.postgres.spans.url.clone();
    if facts.version < STANDBY_VERSION_MIN {
        let message = format!("the server is a standby of Postgres {}", facts.version / 10_000);
        let finding = Finding::error(Code::StandbyVersion, message)
            .maybe_label(url(), "can't be decoded on")
            .note("logical slots on a standby came with Postgres 16")
            .help("connect to the primary, or upgrade both to Postgres 16 or newer");
        return vec![finding];
    }
    let mut findings = Vec::new();
    if let Some(slot) = facts.slot.as_ref().filter(|slot| !slot.sample.synced) {
        let lacking = missing(&facts.ha, false);
        if !lacking.is_empty() && slot.sample.invalidation.is_none() {
            let message = "the server is a standby that does not keep the primary from removing what the slot needs";
            let mut finding = Finding::warning(Code::StandbySettings, message).maybe_label(url(), "decoded on");
            for (what, help) in lacking {
                finding = finding.note(what).help(help);
            }
            findings.push(finding.note("a conflict invalidates the slot, and everyone has to start over"));
        }
    }
    let writable = config.routes.iter().filter(|route| route.write.is_some());
    findings.extend(writable.map(|route| {
        Finding::error(Code::StandbyWrites, "clients can't write on a standby")
            .label(route.spans.table.clone(), "has `[route.write]`")
            .help("take `[route.write]` away, or connect to the primary")
    }));
    findings
}
