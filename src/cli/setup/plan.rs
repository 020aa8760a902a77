//! Which SQL turns the server as it is into what the configuration needs. Pure: no connection, no output.

use crate::change::quote_identifier;
use crate::config::catalogue::{
    Narrowed, PublicationFacts, SCHEMA_COMMENT, ServerFacts, Table, Undertaking, lacking_rights,
};
use crate::config::{Config, Finding};
use crate::replication::wire::alter_failover;
use crate::routing::{Op, Ops};

const SETUP_SQL: &str = include_str!("../../../sql/setup.sql");
/// How long the slot's creation waits: an open transaction of an app usually ends within seconds.
pub(super) const PATIENCE_SECONDS: u32 = 60;
/// What is printed may be in a migration, and run where it has been run before. No name has the tag in it that is not
/// made for it, and such a one is a syntax error.
const UNLESS_DONE: &str = "begin;\ndo $walcast_setup$ begin\n";
const END_UNLESS_DONE: &str =
    "exception when duplicate_object then raise notice 'done before: %', sqlerrm;\nend $walcast_setup$;\ncommit;\n";
/// The setting that keeps, from before the slot's creation until after it, which transaction was the oldest.
const SINCE: &str = "walcast.since";

/// Steps in the order in which they are to be run, each in a transaction of its own. None when all is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// After the plan the publication publishes updates or deletes, where it did not or for more tables.
    pub(super) publishes_old_rows: bool,
    /// What the role may not do of it.
    pub(super) lacking: Vec<Finding>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// As in "create the replication slot".
    pub(super) title: String,
    /// One statement or several, each with its semicolon.
    pub(super) sql: String,
    pub(super) kind: StepKind,
}

/// How a step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepKind {
    /// As one transaction.
    Transaction,
    /// The same, of which Postgres has no form that may be run again.
    Publication,
    /// By itself; takes as long as the transactions that are running.
    SlotCreation,
    /// A replication command.
    Replication,
}

/// Whether the publication is to give only what the routes need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// New tables whole; those that are there as they are.
    Whole,
    Narrow,
}

impl Plan {
    pub(super) fn new(facts: &ServerFacts, config: &Config, extent: Extent) -> Self {
        // On a standby both are the primary's.
        let is_primary = !facts.ha.in_recovery;
        let publication = is_primary.then(|| publication(facts, config)).flatten();
        let narrow = (is_primary && extent == Extent::Narrow).then(|| narrow(facts, config)).flatten();
        let schema = is_primary.then(|| schema(facts)).flatten();
        let publishes_old_rows = publication.is_some() && {
            let ops = wanted_ops(facts.publication.as_ref(), config);
            ops.contains(Op::Update) || ops.contains(Op::Delete)
        };
        let publishes = publication.is_some() || narrow.is_some();
        let tables = touched(facts, config, publication.is_some(), narrow.is_some());
        let undertaking = Undertaking { schema: schema.is_some(), publication: publishes, tables: &tables };
        let lacking = lacking_rights(facts, config, undertaking);
        let steps = [schema, publication, narrow, slot(facts, config)];
        Self { steps: steps.into_iter().flatten().collect(), publishes_old_rows, lacking }
    }

    /// Everything but the publication, which others have chosen the tables of.
    pub(super) fn beside_publication(facts: &ServerFacts, config: &Config) -> Self {
        let schema = schema(facts);
        let undertaking = Undertaking { schema: schema.is_some(), publication: false, tables: &[] };
        Self {
            lacking: lacking_rights(facts, config, undertaking),
            steps: [schema, slot(facts, config)].into_iter().flatten().collect(),
            publishes_old_rows: false,
        }
    }

    /// For psql, or any client that sends it as it is.
    pub(super) fn sql(&self) -> String {
        if self.steps.is_empty() {
            return "-- Nothing to do: publication, slot and schema are as they should be.\n".to_owned();
        }
        let mut sql = String::new();
        for Step { title, sql: statements, kind } in &self.steps {
            let (begin, end) = match kind {
                StepKind::Transaction => ("begin;\n", "commit;\n"),
                StepKind::Publication => (UNLESS_DONE, END_UNLESS_DONE),
                // A slot can't be created in a transaction that has written.
                StepKind::SlotCreation => ("", ""),
                StepKind::Replication => ("-- (on a connection of its own: psql 'replication=database …')\n", ";\n"),
            };
            sql.push_str(&format!("-- To {title}:\n{begin}{statements}{end}\n"));
        }
        sql
    }
}

fn schema(facts: &ServerFacts) -> Option<Step> {
    let current = facts.schema_comment.as_ref().is_some_and(|comment| comment.as_deref() == Some(SCHEMA_COMMENT));
    (!current).then(|| Step {
        title: "create the schema walcast (sql/setup.sql)".to_owned(),
        sql: SETUP_SQL.to_owned(),
        kind: StepKind::Transaction,
    })
}

fn publication(facts: &ServerFacts, config: &Config) -> Option<Step> {
    let name = quote_identifier(config.postgres.publication.as_str());
    let step = |title: String, sql: String| Some(Step { title, sql, kind: StepKind::Publication });
    let missing = missing(facts, config);
    // Without `only`, the tables that inherit from one would be published with it.
    let list = missing.iter().map(|table| format!("{}{}", table.only(), table.quoted())).collect::<Vec<_>>().join(", ");
    let ops = wanted_ops(facts.publication.as_ref(), config);
    let Some(existing) = &facts.publication else {
        let tables = if missing.is_empty() { String::new() } else { format!(" for table {list}") };
        let sql = format!("create publication {name}{tables} with ({});\n", options(ops));
        return step(format!("create the publication {name} with {}", counted(missing.len())), sql);
    };
    let mut sql = String::new();
    let mut more = Vec::new();
    let added: Vec<&str> = ops.iter().filter(|op| !existing.publishes(*op)).map(Op::as_str).collect();
    if !missing.is_empty() {
        more.push(counted(missing.len()));
    }
    if !added.is_empty() {
        more.push(added.join(", "));
    }
    if !existing.via_root {
        more.push("publish_via_partition_root".to_owned());
    }
    if !existing.via_root || !added.is_empty() {
        sql.push_str(&format!("alter publication {name} set ({});\n", options(ops)));
    }
    if !missing.is_empty() {
        sql.push_str(&format!("alter publication {name} add table {list};\n"));
    }
    if sql.is_empty() {
        return None;
    }
    step(format!("extend the publication {name} by {}", more.join(" and by ")), sql)
}

/// The tables that are routed and not published.
fn missing<'f>(facts: &'f ServerFacts, config: &'f Config) -> Vec<&'f Table> {
    facts.routed_by_any(config).filter(|table| !is_in(table, facts)).collect()
}

/// The tables that the publication is given, or given anew.
fn touched<'f>(facts: &'f ServerFacts, config: &'f Config, extended: bool, narrowed: bool) -> Vec<&'f Table> {
    if narrowed {
        return facts.routed_by_any(config).filter(|table| can_be_narrowed(table, facts)).collect();
    }
    if extended { missing(facts, config) } else { Vec::new() }
}

/// Row filters and column lists, as [`Narrowed`] has them.
fn narrow(facts: &ServerFacts, config: &Config) -> Option<Step> {
    let name = quote_identifier(config.postgres.publication.as_str());
    let (mut sql, mut tables) = (String::new(), 0);
    for table in facts.routed_by_any(config).filter(|table| can_be_narrowed(table, facts)) {
        let narrowed = Narrowed::of(table, facts, config);
        let is_whole = narrowed.columns.is_none() && narrowed.filter.is_none();
        // One that is not there yet has just been added, whole.
        if narrowed.is_as_published(table) || (is_whole && table.published.is_none()) {
            continue;
        }
        let list = |columns: &Vec<String>| columns.iter().map(|it| quote_identifier(it)).collect::<Vec<_>>().join(", ");
        let columns = narrowed.columns.as_ref().map_or_else(String::new, |columns| format!(" ({})", list(columns)));
        let filter = narrowed.filter.map_or_else(String::new, |filter| format!(" where ({filter})"));
        let table = format!("{}{}", table.only(), table.quoted());
        sql.push_str(&format!(
            "alter publication {name} drop table {table};\nalter publication {name} add table {table}{columns}{filter};\n"
        ));
        tables += 1;
    }
    (tables > 0).then(|| Step {
        title: format!("narrow the publication {name} to what routes need of {}", counted(tables)),
        sql: format!("set local standard_conforming_strings = on;\n{sql}"),
        kind: StepKind::Transaction,
    })
}

/// One that is published with all others, or through its schema, comes whole.
pub(super) fn can_be_narrowed(table: &Table, facts: &ServerFacts) -> bool {
    let all = facts.publication.as_ref().is_some_and(|publication| publication.all_tables);
    !all && (table.member || table.published.is_none())
}

fn is_in(table: &Table, facts: &ServerFacts) -> bool {
    let all = facts.publication.as_ref().is_some_and(|publication| publication.all_tables);
    facts.publication.is_some() && (all || table.member || table.published.is_some())
}

fn counted(tables: usize) -> String {
    format!("{tables} table{}", if tables == 1 { "" } else { "s" })
}

/// A new publication publishes everything: routes may want less now and more later. An existing one keeps what it has,
/// and gets what routes want of it.
fn wanted_ops(existing: Option<&PublicationFacts>, config: &Config) -> Ops {
    let Some(existing) = existing else { return Ops::ALL };
    let routed = config.routes.iter().flat_map(|route| route.spec.ops.iter());
    Op::ALL.into_iter().filter(|op| existing.publishes(*op)).chain(routed).collect()
}

fn options(ops: Ops) -> String {
    let ops: Vec<&str> = ops.iter().map(Op::as_str).collect();
    format!("publish = '{}', publish_via_partition_root = true", ops.join(", "))
}

fn slot(facts: &ServerFacts, config: &Config) -> Option<Step> {
    // A slot's name is checked to be of letters, digits and underscores.
    let name = &config.postgres.slot;
    let copied = config.postgres.failover && !facts.ha.in_recovery;
    if let Some(slot) = &facts.slot {
        // One in use can't be altered: who streams from it does so at its next start.
        let is_to_be_copied = copied && !slot.sample.failover && slot.active_pid.is_none();
        return is_to_be_copied.then(|| Step {
            title: format!("let standbys copy the replication slot {name}"),
            sql: alter_failover(name.as_str()),
            kind: StepKind::Replication,
        });
    }
    let failover = if copied { ", failover => true" } else { "" };
    let unless_there = format!("\n  where not exists (select from pg_replication_slots where slot_name = '{name}')");
    let note = if facts.ha.in_recovery { String::new() } else { note_slot(name.as_str()) };
    Some(Step {
        title: format!("create the replication slot {name}"),
        sql: format!(
            "select set_config('{SINCE}', pg_snapshot_xmin(pg_current_snapshot())::text, false){unless_there};\n\
             -- It waits for every transaction that is running now, and gives up after {PATIENCE_SECONDS} s.\n\
             set lock_timeout = '{PATIENCE_SECONDS}s';\n\
             set statement_timeout = '{PATIENCE_SECONDS}s';\n\
             select pg_create_logical_replication_slot('{name}', 'pgoutput'{failover}){unless_there};\n\
             reset lock_timeout;\n\
             reset statement_timeout;\n{note}"
        ),
        kind: StepKind::SlotCreation,
    })
}

/// Says since when the new slot has everything, in the same session, which has noted that before the slot was. Nobody
/// is stopped who may not say it: then more is in doubt when a gateway starts.
fn note_slot(name: &str) -> String {
    format!(
        "do $$ begin\n  \
         if coalesce(current_setting('{SINCE}', true), '') = '' then return; end if;\n  \
         insert into walcast.slots (name, since, system, timeline)\n  \
         select '{name}', current_setting('{SINCE}')::xid8, system_identifier,\n         \
         ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint from pg_control_system()\n  \
         on conflict (name) do update\n  \
         set since = excluded.since, system = excluded.system, timeline = excluded.timeline, noticed = null;\n\
         exception when insufficient_privilege then null;\n\
         end $$;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_known_by_its_comment() {
        assert!(SETUP_SQL.contains(&format!("comment on schema walcast is '{SCHEMA_COMMENT}'")));
    }
}
