//! What of a table the routes need, and what the publication may therefore keep in the database: its row filter and
//! column list.
//!
//! Postgres refuses updates and deletes of a table whose row filter names a column outside of the replica identity, or
//! whose column list lacks one of it. So nothing is ever narrowed by which an app's write could fail.

use std::collections::BTreeSet;

use super::facts::{IdentityColumns, RelationKind, ServerFacts, Table};
use super::rules::relation;
use super::writes::WritableTable;
use crate::config::code::Code;
use crate::config::diagnostic::Finding;
use crate::config::{Config, Route};
use crate::routing::{Conflict, Coverage, Expression, Op, Scope, coverage, is_same_filter, row_filter};

/// How a table is to be in the publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Narrowed {
    /// In attribute order; none for all.
    pub(crate) columns: Option<Vec<String>>,
    /// SQL; none for all rows.
    pub(crate) filter: Option<String>,
}

impl Narrowed {
    /// As narrow as the routes allow.
    pub(crate) fn of(table: &Table, facts: &ServerFacts, config: &Config) -> Self {
        let routes: Vec<&Route> = config.routes.iter().filter(|route| table.matches(&route.spec.table)).collect();
        let writable = facts.writes.tables.iter().find(|it| it.schema == table.schema && it.name == table.name);
        Self { columns: columns(table, &routes, writable), filter: filter(table, &routes) }
    }

    /// Whether the table is in the publication like this.
    pub(crate) fn is_as_published(&self, table: &Table) -> bool {
        let Some(published) = &table.published else { return false };
        let sent = table.columns.iter().filter(|column| !column.generated).map(|column| &column.name);
        let wanted: BTreeSet<&String> = match &self.columns {
            Some(columns) => columns.iter().collect(),
            None => sent.collect(),
        };
        let has_columns = wanted.iter().all(|name| published.columns.contains(name));
        let has_others = self.columns.is_some() && published.columns.iter().any(|name| !wanted.contains(name));
        let relation = relation(table);
        let same_filter = match (&self.filter, &published.filter) {
            (None, None) => true,
            (Some(wanted), Some(known)) => is_same_filter(wanted, known, &Scope::of_relation(&relation)),
            _ => false,
        };
        has_columns && !has_others && same_filter
    }
}

/// The part of `where` that is the same for everyone.
fn static_part(route: &Route) -> Option<Expression> {
    route.spec.filter.clone().and_then(|filter| filter.split().0)
}

fn filter(table: &Table, routes: &[&Route]) -> Option<String> {
    let relation = relation(table);
    // A move in or out arrives as an insert or a delete: a route that takes only some of these takes whatever comes.
    let takes_moves =
        |route: &Route| [Op::Insert, Op::Update, Op::Delete].iter().all(|op| route.spec.ops.contains(*op));
    let rules: Vec<Option<Expression>> =
        routes.iter().map(|route| static_part(route).filter(|_| takes_moves(route))).collect();
    let is_allowed =
        |index: usize| table.columns.get(index).is_some_and(|column| stays_in_identity(table, &column.name));
    row_filter(rules.iter().map(Option::as_ref), &Scope::of_relation(&relation), is_allowed)
}

/// Whether old rows have the column, also those of partitions that are still to be made: these have the primary key.
fn stays_in_identity(table: &Table, column: &str) -> bool {
    let is_partitioned = table.kind == RelationKind::Partitioned;
    let has = |identity: &IdentityColumns| match identity {
        IdentityColumns::All => !is_partitioned,
        IdentityColumns::Some(columns) => columns.iter().any(|name| name == column),
    };
    !table.identities.is_empty() && table.identities.iter().all(|identity| has(&identity.columns))
}

/// None where a route takes all columns, or old rows come whole: then Postgres takes no list.
fn columns(table: &Table, routes: &[&Route], writable: Option<&WritableTable>) -> Option<Vec<String>> {
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for route in routes {
        let spec = &route.spec;
        needed.extend(spec.columns.as_ref()?.iter().map(String::as_str));
        needed.extend(spec.topic.columns());
        needed.extend(spec.filter.iter().flat_map(Expression::columns));
        let policy = route.write.as_ref().map(|write| &write.policy);
        needed.extend(policy.iter().filter_map(|policy| policy.columns.as_ref()).flatten().map(String::as_str));
        needed.extend(policy.and_then(|policy| match &policy.conflict {
            Conflict::Row { version: column } | Conflict::LastWriteWins { timestamp: column } => Some(column.as_str()),
            Conflict::Columns | Conflict::Overwrite => None,
        }));
    }
    let keys = writable.iter().flat_map(|it| &it.columns).filter(|column| column.key);
    needed.extend(keys.map(|column| column.name.as_str()));
    for identity in &table.identities {
        match &identity.columns {
            IdentityColumns::All => return None,
            IdentityColumns::Some(columns) => needed.extend(columns.iter().map(String::as_str)),
        }
    }
    let sent = || table.columns.iter().filter(|column| !column.generated);
    let listed: Vec<String> =
        sent().map(|column| &column.name).filter(|name| needed.contains(name.as_str())).cloned().collect();
    (!listed.is_empty() && listed.len() < sent().count()).then_some(listed)
}

/// What the publication's row filter keeps back that a route would show.
pub(super) fn judge(table: &Table, config: &Config, route: &Route) -> Option<Finding> {
    let row_filter = table.published.as_ref()?.filter.as_deref()?;
    held_back(table, config, route, row_filter)
}

fn held_back(table: &Table, config: &Config, route: &Route, row_filter: &str) -> Option<Finding> {
    let relation = relation(table);
    let (name, publication) = (table.qualified(), &config.postgres.publication);
    let help = "run `walcast setup --row-filters`, which writes what the routes need now";
    let (span, what) = match &route.spans.filter {
        Some(sql) => (sql.span(), "takes rows that may not come"),
        None => (route.spans.table.clone(), "takes every row"),
    };
    let finding = match coverage(row_filter, static_part(route).as_ref(), &Scope::of_relation(&relation)) {
        Coverage::Covered => return None,
        Coverage::Lacking => Finding::error(
            Code::RowFilter,
            format!("the publication `{publication}` holds rows of `{name}` back that the route shows"),
        )
        .help(help)
        .help("or write in `where` what the row filter says"),
        Coverage::Unknown => Finding::warning(
            Code::RowFilter,
            format!(
                "the publication `{publication}` has a row filter on `{name}` that can't be compared with the route"
            ),
        )
        .help(format!("see to it that it lets through what the route shows, or {help}")),
    };
    Some(finding.label(span, what).note(format!("its row filter: {row_filter}")))
}
