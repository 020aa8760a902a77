//! Which SQL turns the server as it is into what the configuration needs. Pure: no connection, no output.

use crate::change::quote_identifier;
use crate::config::Config;
use crate::config::catalogue::{PublicationFacts, SCHEMA_COMMENT, ServerFacts, Table};
use crate::routing::{Op, Ops};

const SETUP_SQL: &str = include_str!("../../../sql/setup.sql");
/// How long a lock is waited for: an open transaction of an app usually ends within seconds.
pub(super) const LOCK_TIMEOUT_SECONDS: u32 = 60;

/// Steps in the order in which they are to be run, each in a transaction of its own. None when all is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// After the plan the publication publishes updates or deletes, where it did not or for more tables.
    pub(super) publishes_old_rows: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// As in "create the replication slot".
    pub(super) title: String,
    /// One statement or several, each with its semicolon.
    pub(super) sql: String,
    /// Takes as long as the transactions that are running.
    pub(super) creates_slot: bool,
}

impl Plan {
    pub(super) fn new(facts: &ServerFacts, config: &Config) -> Self {
        let publication = publication(facts, config);
        let publishes_old_rows = publication.is_some() && {
            let ops = wanted_ops(facts.publication.as_ref(), config);
            ops.contains(Op::Update) || ops.contains(Op::Delete)
        };
        Self {
            steps: [schema(facts), publication, slot(facts, config)].into_iter().flatten().collect(),
            publishes_old_rows,
        }
    }

    /// Everything but the publication, which others have chosen the tables of.
    pub(super) fn beside_publication(facts: &ServerFacts, config: &Config) -> Self {
        Self { steps: [schema(facts), slot(facts, config)].into_iter().flatten().collect(), publishes_old_rows: false }
    }

    /// For psql, or any client that sends it as it is.
    pub(super) fn sql(&self) -> String {
        if self.steps.is_empty() {
            return "-- Nothing to do: publication, slot and schema are as they should be.\n".to_owned();
        }
        let mut sql = String::new();
        for Step { title, sql: statements, creates_slot } in &self.steps {
            // A slot can't be created in a transaction that has written.
            let (begin, end) = if *creates_slot { ("", "") } else { ("begin;\n", "commit;\n") };
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
        creates_slot: false,
    })
}

fn publication(facts: &ServerFacts, config: &Config) -> Option<Step> {
    let name = quote_identifier(config.postgres.publication.as_str());
    let step = |title: String, sql: String| Some(Step { title, sql, creates_slot: false });
    let missing: Vec<&Table> = facts.routed_by_any(config).filter(|table| !is_in(table, facts)).collect();
    let list = missing.iter().map(|table| table.quoted()).collect::<Vec<_>>().join(", ");
    let ops = wanted_ops(facts.publication.as_ref(), config);
    let Some(existing) = &facts.publication else {
        let tables = if missing.is_empty() { String::new() } else { format!(" for table {list}") };
        let sql = format!("create publication {name}{tables} with ({});\n", options(ops));
        return step(format!("create the publication {name} with {}", counted(missing.len())), sql);
    };
    let mut sql = String::new();
    if !existing.via_root || ops.iter().any(|op| !existing.publishes(op)) {
        sql.push_str(&format!("alter publication {name} set ({});\n", options(ops)));
    }
    if !missing.is_empty() {
        sql.push_str(&format!("alter publication {name} add table {list};\n"));
    }
    if sql.is_empty() {
        return None;
    }
    step(format!("extend the publication {name} by {}", counted(missing.len())), sql)
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
    if facts.slot.is_some() {
        return None;
    }
    // A slot's name is checked to be of letters, digits and underscores.
    let name = &config.postgres.slot;
    Some(Step {
        title: format!("create the replication slot {name}"),
        sql: format!(
            "-- It waits for every transaction that is running now, and gives up after {LOCK_TIMEOUT_SECONDS} s.\n\
             set lock_timeout = '{LOCK_TIMEOUT_SECONDS}s';\n\
             select pg_create_logical_replication_slot('{name}', 'pgoutput');\n\
             reset lock_timeout;\n"
        ),
        creates_slot: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_known_by_its_comment() {
        assert!(SETUP_SQL.contains(&format!("comment on schema walcast is '{SCHEMA_COMMENT}'")));
    }
}
