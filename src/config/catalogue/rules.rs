//! `where` and `allow` against the tables that a route takes: names, types, collations, and what is known of old rows.

use std::ops::Range;
use std::sync::Arc;

use super::facts::Table;
use super::tables;
use crate::change::{Column, Relation, RelationId, ReplicaIdentity, Type};
use crate::config::code::Code;
use crate::config::diagnostic::{Finding, Span, closest, quoted_list};
use crate::config::{Config, Route, SqlText};
use crate::routing::{Expression, ExpressionError, ExpressionErrorKind, Scope};

pub(super) fn judge(table: &Table, config: &Config, route: &Route) -> Vec<Finding> {
    let mut findings = filter(table, config, route);
    findings.extend(allow(table, route));
    findings
}

/// The columns of `where`, and where each stands first.
pub(super) fn filter_columns(route: &Route) -> Vec<(&str, Span)> {
    let (Some(filter), Some(sql)) = (&route.spec.filter, &route.spans.filter) else { return Vec::new() };
    filter.places().into_iter().map(|(name, place)| (name, sql.span_of(place))).collect()
}

fn filter(table: &Table, config: &Config, route: &Route) -> Vec<Finding> {
    let (Some(filter), Some(sql)) = (&route.spec.filter, &route.spans.filter) else { return Vec::new() };
    let mut findings: Vec<Finding> = Vec::new();
    for (name, span) in filter_columns(route) {
        findings.extend(tables::column(table, config, name, &span));
        findings.extend(collation(table, name, &span));
    }
    let relation = relation(table);
    let errors = filter.check(&Scope::of_relation(&relation));
    // What is no column has been said.
    let said = |error: &&ExpressionError| !matches!(error.kind, ExpressionErrorKind::UnknownColumn { .. });
    let message = format!("`route.where` does not fit the table `{}`", table.qualified());
    findings.extend(errors.iter().filter(said).map(|error| finding(sql, message.clone(), error)));
    findings.extend(labels(table, filter, sql));
    findings
}

/// Labels that an enum does not have. Postgres would raise an error; the log's text can only be unequal to them.
fn labels(table: &Table, expression: &Expression, sql: &SqlText) -> Vec<Finding> {
    let unknown = |(name, literal, place): (&str, &str, Range<usize>)| {
        let column = table.column(name).filter(|column| !column.labels.is_empty())?;
        if column.labels.iter().any(|label| label == literal) {
            return None;
        }
        let labels = || column.labels.iter().map(String::as_str);
        let guess = closest(literal, labels()).map(|guess| format!("did you mean `{guess}`?"));
        let message = format!("`{}` has no label `{literal}`", column.type_name);
        Some(
            Finding::error(Code::ExpressionType, message)
                .label(sql.span_of(place), format!("compared with `{name}` of `{}`", table.qualified()))
                .note(format!("labels of `{}`: {}", column.type_name, quoted_list(labels())))
                .maybe_help(guess),
        )
    };
    expression.literals().into_iter().filter_map(unknown).collect()
}

/// Its variables are the topic's columns, which are known to be there when this is asked.
fn allow(table: &Table, route: &Route) -> Vec<Finding> {
    let (Some(allow), Some(sql)) = (&route.spec.allow, &route.spans.allow) else { return Vec::new() };
    let typed = |name| Some((name, &table.column(name)?.ty));
    let Some(variables) = route.spec.topic.columns().map(typed).collect::<Option<Vec<(&str, &Arc<Type>)>>>() else {
        return Vec::new();
    };
    let message = format!("`route.allow` does not fit the topic's columns, which are of `{}`", table.qualified());
    let errors = allow.check(&Scope::of_variables(&variables));
    let errors = errors.iter().map(|error| finding(sql, message.clone(), error));
    errors.chain(labels(table, allow, sql)).collect()
}

fn finding(sql: &SqlText, message: String, error: &ExpressionError) -> Finding {
    sql.finding(Code::ExpressionType, message, error)
}

/// Texts are compared by their bytes, which is what equality means in every collation but these.
fn collation(table: &Table, name: &str, span: &Span) -> Option<Finding> {
    table.column(name).filter(|column| column.nondeterministic)?;
    let message = format!("the collation of `{name}` of `{}` takes different texts for equal", table.qualified());
    Some(
        Finding::error(Code::Collation, message)
            .label(span.clone(), "compared by its bytes here, and otherwise by Postgres")
            .note("a nondeterministic collation is a program that only Postgres has")
            .help("ask for another column, such as a generated one: `lower(name) collate \"C\"`"),
    )
}

/// The table as the write-ahead log would describe it, as far as expressions ask.
pub(super) fn relation(table: &Table) -> Relation {
    let column = |column: &super::facts::Column| Column {
        name: column.name.as_str().into(),
        identity: false,
        ty: Arc::clone(&column.ty),
    };
    Relation {
        id: RelationId(0),
        schema: table.schema.as_str().into(),
        name: table.name.as_str().into(),
        replica_identity: ReplicaIdentity::Nothing,
        columns: table.columns.iter().map(column).collect(),
    }
}
