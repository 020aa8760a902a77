//! Each route against the tables that it takes.

use super::facts::{RelationKind, ServerFacts, Table};
use super::{hidden, identity, narrow, rules, told_once};
use crate::change::quote_identifier;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, Span, closest, quoted_list};
use crate::config::{Config, Route};

/// How many tables a message names before it says how many more there are.
const NAMED_MAX: usize = 5;

pub(super) fn judge(facts: &ServerFacts, config: &Config, route: &Route) -> Vec<Finding> {
    let tables: Vec<&Table> = facts.routed(&route.spec.table).collect();
    if tables.is_empty() {
        return vec![nothing_routed(facts, route)];
    }
    let mut findings = Vec::new();
    findings.extend(not_published(facts, &tables, route));
    findings.extend(not_selectable(facts, &tables, route));
    findings.extend(unlogged(facts, route));
    let mut of_each = Vec::new();
    for table in tables {
        let of_table = columns(table, config, route)
            .into_iter()
            .chain(rules::judge(table, config, route))
            .chain(narrow::judge(table, config, route))
            .chain(identity::judge(table, route))
            .chain(ignored_casts(table, route))
            .chain(generated_column(table, route))
            .chain(unlisted_columns(table, config, route))
            .chain(hidden::judge(facts, table, route));
        of_each.extend(of_table.map(|finding| (table.qualified(), finding)));
    }
    findings.extend(told_once(of_each));
    findings
}

/// The pattern takes no table with WAL; why?
fn nothing_routed(facts: &ServerFacts, route: &Route) -> Finding {
    let pattern = &route.spec.table;
    let span = route.spans.table.clone();
    if !pattern.is_exact() {
        let others = facts.tables.iter().filter(|table| table.matches(pattern) && table.kind != RelationKind::Sequence);
        let matched = others.map(|table| (table, table.kind.without_wal().unwrap_or("a partition")));
        let matched: Vec<String> =
            matched.take(NAMED_MAX).map(|(table, what)| format!("`{}` is {what}", table.qualified())).collect();
        let finding = Finding::warning(Code::NoTableMatches, format!("no table matches `{pattern}`"))
            .label(span, "takes nothing yet");
        let finding = if matched.is_empty() { finding } else { finding.note(matched.join(", ")) };
        return finding
            .note("tables that are created later are taken once `walcast setup` has added them to the publication");
    }
    let Some(table) = facts.tables.iter().find(|table| table.matches(pattern)) else {
        return of_the_system(route).unwrap_or_else(|| table_missing(facts, route));
    };
    match (&table.kind, table.kind.without_wal()) {
        (RelationKind::Partition { root }, _) => {
            Finding::error(Code::PartitionRouted, format!("`{pattern}` is a partition of `{root}`"))
                .label(span, "its changes are published as the root's")
                .help(format!("write `table = \"{root}\"`"))
        }
        (kind, without_wal) => {
            let what = without_wal.unwrap_or("no table");
            let finding = Finding::error(Code::TableKind, format!("`{pattern}` is {what}"))
                .label(span, "its changes are not in the write-ahead log");
            match kind {
                RelationKind::Unlogged => finding.help(format!("run `alter table {} set logged`", table.quoted())),
                RelationKind::Sequence => finding.help("route the table that takes its numbers"),
                _ => finding.help("route the tables that its rows come from"),
            }
        }
    }
}

/// Schemas that are not looked at, since nothing in them can be published.
fn of_the_system(route: &Route) -> Option<Finding> {
    let (schema, _) = route.spec.table.names()?;
    let what = match schema.as_str() {
        "pg_catalog" | "information_schema" | "pg_toast" => "belongs to Postgres itself",
        schema if schema.starts_with("pg_temp") => "is a temporary table, if anything",
        _ => return None,
    };
    Some(
        Finding::error(Code::TableKind, format!("`{}` {what}", route.spec.table))
            .label(route.spans.table.clone(), "its changes are never published")
            .help("route the tables of an app"),
    )
}

fn table_missing(facts: &ServerFacts, route: &Route) -> Finding {
    let pattern = route.spec.table.as_str();
    let tables = facts.tables.iter().filter(|table| table.kind != RelationKind::Sequence);
    let names: Vec<String> = tables.map(Table::qualified).collect();
    let guess = closest(pattern, names.iter().map(String::as_str));
    let finding = Finding::error(
        Code::TableMissing,
        format!("the table `{pattern}` does not exist in the database `{}`", facts.database),
    )
    .label(route.spans.table.clone(), "no such table");
    match guess {
        Some(guess) if guess.contains('"') => finding
            .help(format!("did you mean `{guess}`? In single quotes, TOML takes it as it is: `table = '{guess}'`")),
        Some(guess) => finding.help(format!("did you mean `{guess}`?")),
        None => finding.help("create it, or correct the name; names are written as the catalogue spells them"),
    }
}

/// One finding for all tables of a route. With a glob it is a warning: a table that an app has just created must not
/// keep the gateway from starting.
fn not_published(facts: &ServerFacts, tables: &[&Table], route: &Route) -> Option<Finding> {
    let publication = facts.publication.as_ref()?;
    // Said by the finding about partitions.
    let said = |table: &Table| table.kind == RelationKind::Partitioned && !publication.via_root;
    let missing: Vec<&Table> =
        tables.iter().copied().filter(|table| table.published.is_none() && !said(table)).collect();
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let message = format!("{} {verb} not in the publication", named(missing.iter().map(|table| table.qualified()))?);
    let code = Code::TableNotPublished;
    let finding =
        if route.spec.table.is_exact() { Finding::error(code, message) } else { Finding::warning(code, message) };
    Some(
        finding
            .label(route.spans.table.clone(), "no change would arrive")
            .help("run `walcast setup`, which adds what is missing"),
    )
}

fn not_selectable(facts: &ServerFacts, tables: &[&Table], route: &Route) -> Option<Finding> {
    let missing: Vec<&Table> = tables.iter().copied().filter(|table| !table.selectable).collect();
    let role = &facts.role.name;
    let list = named(missing.iter().map(|table| table.qualified()))?;
    let grants: Vec<String> = missing.iter().take(NAMED_MAX).map(|table| table.quoted()).collect();
    Some(
        Finding::warning(Code::RoleSelect, format!("the role `{role}` may not read {list}"))
            .label(route.spans.table.clone(), "current rows can't be read, though changes arrive")
            .help(format!("run `grant select on {} to {}`", grants.join(", "), quote_identifier(role))),
    )
}

/// "`a`, `b` and `c`", or "`a`, … and 12 more"; `None` for no names.
fn named(names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    let shown = names.iter().take(NAMED_MAX).map(String::as_str);
    match names.len() {
        0 => None,
        count if count <= NAMED_MAX => Some(quoted_list(shown)),
        count => {
            let shown: Vec<String> = shown.map(|name| format!("`{name}`")).collect();
            Some(format!("{} and {} more", shown.join(", "), count - NAMED_MAX))
        }
    }
}

/// Every column that the route names, in its topic or its list.
fn columns(table: &Table, config: &Config, route: &Route) -> Vec<Finding> {
    let in_topic = route.spec.topic.columns().zip(&route.spans.topic_columns);
    let listed = route.spec.columns.iter().flatten().map(String::as_str).zip(&route.spans.columns);
    in_topic.chain(listed).filter_map(|(name, span)| column(table, config, name, span)).collect()
}

pub(super) fn column(table: &Table, config: &Config, name: &str, span: &Span) -> Option<Finding> {
    let shown = table.qualified();
    if table.column(name).is_none() {
        let names = || table.columns.iter().map(|column| column.name.as_str());
        let guess = closest(name, names()).map(|guess| format!("did you mean `{guess}`?"));
        return Some(
            Finding::error(Code::ColumnMissing, format!("column `{name}` does not exist in table `{shown}`"))
                .label(span.clone(), "no such column")
                .note(format!("columns of {shown}: {}", names().collect::<Vec<_>>().join(", ")))
                .maybe_help(guess),
        );
    }
    not_sent(table, config, name, span)
}

/// It is there, and still doesn't come.
fn not_sent(table: &Table, config: &Config, name: &str, span: &Span) -> Option<Finding> {
    let column = table.column(name).filter(|column| !table.sends(column))?;
    let publication = &config.postgres.publication;
    let finding = Finding::error(
        Code::ColumnNotPublished,
        format!("column `{name}` of `{}` is not published", table.qualified()),
    )
    .label(span.clone(), format!("the publication `{publication}` leaves it out"));
    Some(if column.generated {
        finding
            .note("before Postgres 18 generated columns are never published, after that where the publication says so")
            .help("let a trigger fill an ordinary column, or let clients compute it")
    } else {
        finding
            .note(format!("the publication lists the table's columns, without `{name}`"))
            .help(publish_all(table, config))
    })
}

/// What `row_to_json` would write by a cast, the WAL's text can't.
fn ignored_casts(table: &Table, route: &Route) -> Option<Finding> {
    let sent =
        |name: &str| route.spec.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name));
    let column = table.columns.iter().find(|column| column.json_cast && sent(&column.name))?;
    let message = format!("column `{}` of `{}` is shown as text", column.name, table.qualified());
    Some(
        Finding::warning(Code::CastIgnored, message)
            .label(route.spans.table.clone(), format!("its type is `{}`", column.type_name))
            .note("the type has a cast to json of its own, which `row_to_json` uses and the write-ahead log can't")
            .help("leave the column out of `columns`, or let clients read its text"),
    )
}

/// Whoever asks for all columns is told which of them never come. One that the route names is an error.
fn generated_column(table: &Table, route: &Route) -> Option<Finding> {
    if route.spec.columns.is_some() {
        return None;
    }
    let column = table.columns.iter().find(|column| column.generated && !table.sends(column))?;
    let message = format!("generated column `{}` of `{}` is not sent", column.name, table.qualified());
    Some(
        Finding::warning(Code::GeneratedColumn, message)
            .label(route.spans.table.clone(), "takes every column")
            .note("before Postgres 18 generated columns are never published, after that where the publication says so")
            .help(
                "list the other columns in `columns`, let a trigger fill an ordinary column, or let clients compute it",
            ),
    )
}

/// A column list in the publication leaves clients with less than the route says.
fn unlisted_columns(table: &Table, config: &Config, route: &Route) -> Option<Finding> {
    let published = table.published.as_ref().filter(|_| route.spec.columns.is_none())?;
    let is_missing = |name: &str| !published.columns.iter().any(|column| column == name);
    let missing = table.columns.iter().filter(|column| !column.generated && is_missing(&column.name));
    let list = named(missing.map(|column| column.name.clone()))?;
    let publication = &config.postgres.publication;
    Some(
        Finding::warning(Code::ColumnNotPublished, format!("clients don't get {list} of `{}`", table.qualified()))
            .label(route.spans.table.clone(), "takes every column")
            .note(format!("the publication `{publication}` lists the table's columns, without these"))
            .help(publish_all(table, config))
            .help("or list in `columns` what clients are to see"),
    )
}

fn publish_all(table: &Table, config: &Config) -> String {
    format!(
        "publish all columns: `begin; alter publication {publication} drop table {only}{table}; \
         alter publication {publication} add table {only}{table}; commit`",
        publication = quote_identifier(config.postgres.publication.as_str()),
        table = table.quoted(),
        only = table.only(),
    )
}

/// An app's tables are what a glob is meant to take; that some of them are never heard of would not be noticed.
fn unlogged(facts: &ServerFacts, route: &Route) -> Option<Finding> {
    let taken = |table: &&Table| table.kind == RelationKind::Unlogged && table.matches(&route.spec.table);
    let tables: Vec<&Table> = facts.tables.iter().filter(taken).collect();
    let list = named(tables.iter().map(|table| table.qualified()))?;
    let statements: Vec<String> =
        tables.iter().map(|table| format!("`alter table {} set logged`", table.quoted())).collect();
    let verb = if tables.len() == 1 { "is" } else { "are" };
    Some(
        Finding::warning(Code::TableKind, format!("{list} {verb} unlogged"))
            .label(route.spans.table.clone(), "their changes are not in the write-ahead log")
            .help(format!("run {}", statements.join(", ")))
            .help("or route tables by narrower patterns"),
    )
}
