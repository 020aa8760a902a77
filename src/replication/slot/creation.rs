//! The statements that make the slot, and make it anew.

/// How long the slot's creation waits: an open transaction of an app usually ends within seconds.
pub const PATIENCE_SECONDS: u32 = 60;
/// The setting that keeps, from before the slot's creation until after it, which transaction was the oldest.
const SINCE: &str = "walcast.since";

/// What is to be done where Postgres has given the slot up, or it is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnLostSlot {
    /// Tell everyone, and wait until somebody has made another.
    #[default]
    Wait,
    /// Tell everyone, and make another.
    Recreate,
}

impl OnLostSlot {
    /// As in the configuration.
    pub const NAMED: [(&'static str, Self); 2] = [("wait", Self::Wait), ("recreate", Self::Recreate)];
}

/// Statements that create the slot of this name, which is of letters, digits and underscores, and note since when it
/// has everything. They are for a session of their own, and for no transaction; where there is one, they do nothing.
#[must_use]
pub fn creation(name: &str, is_copied: bool, in_recovery: bool) -> String {
    let failover = if is_copied { ", failover => true" } else { "" };
    let unless_there = format!("\n  where not exists (select from pg_replication_slots where slot_name = '{name}')");
    let note = if in_recovery { String::new() } else { note(name) };
    format!(
        "select set_config('{SINCE}', pg_snapshot_xmin(pg_current_snapshot())::text, false){unless_there};\n\
         -- It waits for every transaction that is running now, and gives up after {PATIENCE_SECONDS} s.\n\
         set lock_timeout = '{PATIENCE_SECONDS}s';\n\
         set statement_timeout = '{PATIENCE_SECONDS}s';\n\
         select pg_create_logical_replication_slot('{name}', 'pgoutput'{failover}){unless_there};\n\
         reset lock_timeout;\n\
         reset statement_timeout;\n{note}"
    )
}

/// In the same session. Nobody is stopped who may not say it, or where there is no such table: then more is in doubt
/// when a gateway starts.
fn note(name: &str) -> String {
    format!(
        "do $$ begin\n  \
         if coalesce(current_setting('{SINCE}', true), '') = '' then return; end if;\n  \
         insert into walcast.slots (name, since, system, timeline)\n  \
         select '{name}', current_setting('{SINCE}')::xid8, system_identifier,\n         \
         ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint from pg_control_system()\n  \
         on conflict (name) do update\n  \
         set since = excluded.since, system = excluded.system, timeline = excluded.timeline, noticed = null;\n\
         exception when insufficient_privilege or undefined_table or undefined_column\n         \
         or invalid_schema_name then null;\n\
         end $$;\n"
    )
}
