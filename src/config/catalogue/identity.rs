//! What a route needs of a table's replica identity, now and of partitions to come.

use super::facts::{Identity, RelationKind, Table, UniqueIndex};
use super::rules;
use crate::change::quote_identifier;
use crate::config::Route;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, Span, quoted_list};
use crate::routing::Op;

/// How many statements a line has before it says how many more there are.
const NAMED_MAX: usize = 5;

/// What an old value is needed for.
#[derive(Debug, Clone, Copy)]
enum Need {
    Topic,
    Where,
}

/// Where an update or delete comes without the old value of a topic's column, nobody can tell which topic it left;
/// without one of `where`, who had the row.
pub(super) fn judge(table: &Table, route: &Route) -> Vec<Finding> {
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
    let mut findings: Vec<Finding> = needed.iter().filter_map(weak).collect();
    if findings.is_empty() {
        findings.extend(later_partitions(table, route, &needed));
    }
    findings
}

/// A new partition has its root's primary key and not what was said to the partitions before it. Nobody would notice
/// until the apps' updates of it fail, or can't be routed.
fn later_partitions(table: &Table, route: &Route, needed: &[(&str, Span, Need)]) -> Option<Finding> {
    if table.kind != RelationKind::Partitioned || table.identities.iter().any(|identity| identity.columns.is_empty()) {
        return None;
    }
    let lacks = needed.iter().find(|(column, ..)| !table.key.iter().any(|key| key == column));
    let (what, note) = match lacks {
        _ if table.key.is_empty() => (
            "no primary key, which they would have from it".to_owned(),
            "once published, Postgres would refuse updates and deletes of their rows, and apps would fail".to_owned(),
        ),
        Some((column, ..)) => (
            format!("its primary key, which they will have, is without `{column}`"),
            format!("their updates and deletes would come without the old `{column}`, and could not be routed"),
        ),
        None => return None,
    };
    let message =
        format!("partitions of `{}` that are created later will have a weaker replica identity", table.qualified());
    Some(
        Finding::warning(Code::PartitionsLater, message)
            .label(route.spans.table.clone(), what)
            .note(note)
            .help("give each `replica identity full` in the transaction that creates it")
            .help("or give the partitioned table a primary key with what is needed"),
    )
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

pub(super) fn replica_identity_full(identities: &[&Identity]) -> String {
    let statements: Vec<String> = identities
        .iter()
        .take(NAMED_MAX)
        .map(|identity| format!("`alter table {} replica identity full`", identity.table))
        .collect();
    let more = identities.len().saturating_sub(NAMED_MAX);
    let rest = if more == 0 { String::new() } else { format!(", and the same for {more} more partitions") };
    format!("run {}{rest}", statements.join(", "))
}
