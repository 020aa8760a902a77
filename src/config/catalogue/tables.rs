//! Each route against the tables that it takes.

use super::facts::{Identity, RelationKind, ServerFacts, Table, UniqueIndex};
use super::{narrow, rules};
use crate::change::quote_identifier;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, Span, closest, quoted_list};
use crate::config::{Config, Route};
use crate::routing::Op;

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
    for table in tables {
        findings.extend(columns(table, config, route));
        findings.extend(rules::judge(table, config, route));
        findings.extend(narrow::judge(table, config, route));
        findings.extend(weak_identity(table, route));
        findings.extend(ignored_casts(table, route));
        findings.extend(generated_column(table, route));
    }
    findings
}

/// The pattern takes no table with WAL; why?
fn nothing_routed(facts: &ServerFacts, route: &Route) -> Finding {
    let pattern = &route.spec.table;
    let span = route.spans.table.clone();
    if !pattern.is_exact() {
        return Finding::warning(Code::NoTableMatches, format!("no table matches `{pattern}`"))
            .label(span, "takes nothing yet")
            .note("tables that are created later are taken once `walcast setup` has added them to the publication");
    }
    let Some(table) = facts.tables.iter().find(|table| table.matches(pattern)) else {
        return table_missing(facts, route);
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
            if *kind == RelationKind::Unlogged {
                finding.help(format!("run `alter table {} set logged`", table.quoted()))
            } else {
                finding.help("route the tables that its rows come from")
            }
        }
    }
}

fn table_missing(facts: &ServerFacts, route: &Route) -> Finding {
    let pattern = route.spec.table.as_str();
    let names: Vec<String> = facts.tables.iter().map(Table::qualified).collect();
    let guess = closest(pattern, names.iter().map(String::as_str));
    let finding = Finding::error(
        Code::TableMissing,
        format!("the table `{pattern}` does not exist in the database `{}`", facts.database),
    )
    .label(route.spans.table.clone(), "no such table");
    match guess {
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
    let published = table.published.as_ref()?;
    (!published.columns.iter().any(|column| column == name)).then(|| {
        let publication = &config.postgres.publication;
        Finding::error(Code::ColumnNotPublished, format!("column `{name}` of `{shown}` is not published"))
            .label(span.clone(), format!("the publication `{publication}` leaves it out"))
            .note("a publication may list columns, and leaves generated columns out (before Postgres 18: always)")
            .help(format!(
                "publish all columns: `begin; alter publication {publication} drop table {table}; \
                 alter publication {publication} add table {table}; commit`",
                publication = quote_identifier(publication.as_str()),
                table = table.quoted()
            ))
    })
}

/// What an old value is needed for.
#[derive(Debug, Clone, Copy)]
enum Need {
    Topic,
    Where,
}

/// Where an update or delete comes without the old value of a topic's column, nobody can tell which topic it left;
/// without one of `where`, who had the row.
fn weak_identity(table: &Table, route: &Route) -> Vec<Finding> {
    let needs_old: Vec<Op> = [Op::Update, Op::Delete].into_iter().filter(|op| route.spec.ops.contains(*op)).collect();
    if needs_old.is_empty() {
        return Vec::new();
    }
    let in_topic = route.spec.topic.columns().zip(route.spans.topic_columns.iter().cloned());
    let in_topic = in_topic.map(|(column, span)| (column, span, Need::Topic));
    let in_where = rules::filter_columns(route).into_iter().map(|(column, span)| (column, span, Need::Where));
    let needed: Vec<(&str, Span, Need)> = in_topic.chain(in_where).collect();
    let index = covering_index(table, &needed);
    let weak = |(column, span, need): &(&str, Span, Need)| {
        table.column(column)?;
        let weak: Vec<&Identity> =
            table.identities.iter().filter(|identity| !identity.columns.contains(column)).collect();
        let too_weak = || identity_too_weak(table, column, span.clone(), *need, &needs_old);
        (!weak.is_empty()).then(|| with_remedy(too_weak(), &weak, index))
    };
    needed.iter().filter_map(weak).collect()
}

/// The index that has everything that old values are needed of: writing less to the WAL than the whole row.
fn covering_index<'t>(table: &'t Table, needed: &[(&str, Span, Need)]) -> Option<&'t UniqueIndex> {
    let covers =
        |index: &&UniqueIndex| needed.iter().all(|(name, ..)| index.columns.iter().any(|column| column == name));
    table.unique_indexes.iter().filter(covers).min_by_key(|index| index.columns.len())
}

fn identity_too_weak(table: &Table, column: &str, span: Span, need: Need, needs_old: &[Op]) -> Finding {
    let shown = table.qualified();
    let ops = quoted_list(needs_old.iter().map(|op| op.as_str()));
    let (why, what) = match need {
        Need::Topic => ("which topic a row left", "could not be routed"),
        Need::Where => ("who had the row", "nobody could say who may see them"),
    };
    let message = format!("the replica identity of `{shown}` does not have the column `{column}`");
    Finding::error(Code::IdentityTooWeak, message)
        .label(span, format!("the old value is needed to know {why}"))
        .note(format!("{ops} come without the old `{column}`, and {what}"))
}

fn with_remedy(finding: Finding, weak: &[&Identity], index: Option<&UniqueIndex>) -> Finding {
    let finding = match (index, weak) {
        (Some(index), [identity]) => finding.help(format!(
            "run `alter table {} replica identity using index {}`",
            identity.table,
            quote_identifier(&index.name)
        )),
        _ => finding.help(replica_identity_full(weak)),
    };
    finding.help("or leave these ops out of the route's `ops`")
}

fn replica_identity_full(identities: &[&Identity]) -> String {
    let statements: Vec<String> = identities
        .iter()
        .take(NAMED_MAX)
        .map(|identity| format!("`alter table {} replica identity full`", identity.table))
        .collect();
    let more = identities.len().saturating_sub(NAMED_MAX);
    let rest = if more == 0 { String::new() } else { format!(", and the same for {more} more partitions") };
    format!("run {}{rest}", statements.join(", "))
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
    let published = table.published.as_ref().filter(|_| route.spec.columns.is_none())?;
    let is_missing = |name: &str| !published.columns.iter().any(|column| column == name);
    let column = table.columns.iter().find(|column| column.generated && is_missing(&column.name))?;
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

/// Tables whose updates and deletes Postgres refuses, because they are in a publication of these (or are about to be)
/// and nothing says which row is meant. An app's writes fail by this, so that it is the gravest of all findings, and
/// tables that no route takes but the publication has are looked at too.
pub(crate) fn refused_updates(facts: &ServerFacts, config: &Config) -> Vec<Finding> {
    let routed = facts.routed_by_any(config);
    let others = facts.tables.iter().filter(|table| table.published.is_some());
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut findings = Vec::new();
    for table in routed.chain(others) {
        let without: Vec<&Identity> = table.identities.iter().filter(|identity| identity.columns.is_empty()).collect();
        if without.is_empty() || seen.contains(&(&table.schema, &table.name)) {
            continue;
        }
        seen.push((&table.schema, &table.name));
        let route = config.routes.iter().find(|route| table.matches(&route.spec.table));
        findings.push(updates_refused(table, route, &without));
    }
    findings
}

fn updates_refused(table: &Table, route: Option<&Route>, without: &[&Identity]) -> Finding {
    let shown = table.qualified();
    let (message, what) = if table.published.is_some() {
        (format!("Postgres refuses updates and deletes of `{shown}`"), "published without a replica identity")
    } else {
        (format!("in a publication, Postgres would refuse updates and deletes of `{shown}`"), "has no replica identity")
    };
    let finding = Finding::error(Code::UpdatesRefused, message);
    match route {
        Some(route) => finding.label(route.spans.table.clone(), what),
        None => finding.note("no route takes the table, but the publication has it"),
    }
    .note("the apps that write to it would fail: the table has no primary key, and no other replica identity")
    .help("give it a primary key")
    .help(format!("or {}; where rows are only inserted, it costs nothing", replica_identity_full(without)))
}
