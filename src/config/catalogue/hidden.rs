//! Rows that are not what they seem: kept elsewhere, under another name, or from other eyes.

use super::facts::{RowSecurity, ServerFacts, SilentLeaf, Table};
use crate::change::quote_identifier;
use crate::config::Route;
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, quoted_list};
use crate::routing::TablePattern;

pub(super) fn judge(facts: &ServerFacts, table: &Table, route: &Route) -> Vec<Finding> {
    let inherited = inherited(table, route);
    inherited.into_iter().chain(silent_partitions(table, route)).chain(row_security(facts, table, route)).collect()
}

/// `select` from the table shows rows of those that inherit from it; changes of theirs have their own names.
fn inherited(table: &Table, route: &Route) -> Option<Finding> {
    let others = table.heirs.iter().filter(|(schema, name)| !route.spec.table.matches(schema, name));
    let others: Vec<String> = others.map(|(schema, name)| TablePattern::text_of(schema, name)).collect();
    let verb = if others.len() == 1 { "inherits" } else { "inherit" };
    (!others.is_empty()).then(|| {
        let message = format!("{} {verb} from `{}`", quoted_list(others.iter().map(String::as_str)), table.qualified());
        Finding::warning(Code::InheritedRows, message)
            .label(route.spans.table.clone(), "takes the rows of this table only")
            .note("a query of this table shows their rows too, but in the write-ahead log they have their own names")
            .help("write a route for each that is wanted; several may have the same topic")
    })
}

/// Rows that a query shows, and of whose changes nobody hears: a gap that nobody would notice.
fn silent_partitions(table: &Table, route: &Route) -> Vec<Finding> {
    let of = |unlogged: bool| -> Vec<&SilentLeaf> {
        table.silent_leaves.iter().filter(|leaf| leaf.unlogged == unlogged).collect()
    };
    let (unlogged, foreign) = (of(true), of(false));
    let mut findings = Vec::new();
    if !unlogged.is_empty() {
        let statements: Vec<String> =
            unlogged.iter().map(|leaf| format!("`alter table {} set logged`", leaf.table)).collect();
        let message = format!("{} unlogged", partitions(table, &unlogged));
        findings.push(
            Finding::error(Code::PartitionSilent, message)
                .label(route.spans.table.clone(), "the rows in there have no changes in the write-ahead log")
                .help(format!("run {}", statements.join(", "))),
        );
    }
    if !foreign.is_empty() {
        let message = format!("{} on another server", partitions(table, &foreign));
        findings.push(
            Finding::warning(Code::PartitionSilent, message)
                .label(route.spans.table.clone(), "the rows in there have no changes in the write-ahead log")
                .help("if they change, clients learn of it when they load all rows again, and not before"),
        );
    }
    findings
}

fn partitions(table: &Table, leaves: &[&SilentLeaf]) -> String {
    let list = quoted_list(leaves.iter().map(|leaf| leaf.table.as_str()));
    let noun = if leaves.len() == 1 { "the partition" } else { "the partitions" };
    let verb = if leaves.len() == 1 { "is" } else { "are" };
    format!("{noun} {list} of `{}` {verb}", table.qualified())
}

/// Policies are about queries. Changes pass them by, so that a route without a rule of its own shows everything.
fn row_security(facts: &ServerFacts, table: &Table, route: &Route) -> Vec<Finding> {
    let mut findings = Vec::new();
    if table.row_security == RowSecurity::Off {
        return findings;
    }
    let shown = table.qualified();
    if route.spec.filter.is_none() && route.spec.allow.is_none() {
        findings.push(
            Finding::warning(Code::RowSecurity, format!("the row security of `{shown}` does not hold for its changes"))
                .label(route.spans.table.clone(), "whoever may join its topic sees every row")
                .note("policies are about queries; the write-ahead log has all rows")
                .help("say with `where` who sees which rows, or with `allow` who may join"),
        );
    }
    if table.row_security == RowSecurity::Applies {
        let role = &facts.role.name;
        let message = format!("the row security of `{shown}` hides rows from the role `{role}`");
        findings.push(
            Finding::warning(Code::RoleSelect, message)
                .label(route.spans.table.clone(), "current rows can't be read, though changes arrive")
                .help(format!("run `alter role {} bypassrls` as a superuser", quote_identifier(role)))
                .help("or let it connect as a role that is not subject to the policies"),
        );
    }
    findings
}
