//! `[route.write]`: what clients may write by a route, and the mistakes that can be seen without a database.

use super::code::Code;
use super::defaults as default;
use super::diagnostic::{Finding, Span, closest, quoted_list};
use super::document::{Reader, Section};
use super::expand::Text;
use super::routes::{checked_columns, empty_list, repeated};
use super::{Auth, Route, RouteSpans, Write, WriteSpans};
use crate::routing::{Conflict, Op, Ops, RouteSpec, WritePolicy};

/// Those that a client can ask for.
const OPS: [Op; 3] = [Op::Insert, Op::Update, Op::Delete];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Columns,
    Row,
    LastWriteWins,
    Overwrite,
}

const STRATEGIES: [(&str, Strategy); 4] = [
    ("columns", Strategy::Columns),
    ("row", Strategy::Row),
    ("last-write-wins", Strategy::LastWriteWins),
    ("overwrite", Strategy::Overwrite),
];

/// The route's section; `None` where there is none.
pub(super) fn read(reader: &mut Reader<'_>, route: &mut Section<'_>) -> Option<Write> {
    let mut section = reader.subsection(route, "write", "route.write")?;
    let ops = reader.texts(&mut section, "ops");
    let columns = reader.texts(&mut section, "columns");
    let strategy = reader.choice(&mut section, "conflict", &STRATEGIES);
    let version = reader.text(&mut section, "version");
    let timestamp = reader.text(&mut section, "timestamp");
    let role = reader.text(&mut section, "role");
    let span = section.span.clone().unwrap_or_default();
    reader.finish(section);

    let strategy = strategy.map_or(Strategy::Columns, |(strategy, _)| strategy);
    unused(reader, version.as_ref(), "version", "row", strategy == Strategy::Row);
    unused(reader, timestamp.as_ref(), "timestamp", "last-write-wins", strategy == Strategy::LastWriteWins);
    let named = |text: &Option<Text>, default: &str| text.as_ref().map_or(default, |text| &text.value).to_owned();
    let conflict_span = |text: Option<Text>| text.map_or_else(|| span.clone(), |text| text.span);
    let (conflict, conflict_column) = match strategy {
        Strategy::Columns => (Conflict::Columns, span.clone()),
        Strategy::Overwrite => (Conflict::Overwrite, span.clone()),
        Strategy::Row => (Conflict::Row { version: named(&version, default::VERSION_COLUMN) }, conflict_span(version)),
        Strategy::LastWriteWins => {
            let column = named(&timestamp, default::TIMESTAMP_COLUMN);
            (Conflict::LastWriteWins { timestamp: column }, conflict_span(timestamp))
        }
    };
    let ops = ops.map_or_else(|| OPS.into_iter().collect(), |list| checked_ops(reader, &list.items, list.span));
    let (columns, column_spans) = columns.and_then(|list| checked_columns(reader, list)).unzip();
    let spans = WriteSpans {
        section: span,
        columns: column_spans.unwrap_or_default(),
        conflict_column,
        role: role.as_ref().map(|text| text.span.clone()),
    };
    Some(Write { policy: WritePolicy { ops, columns, conflict, role: role.map(|text| text.value) }, spans })
}

fn unused(reader: &mut Reader<'_>, text: Option<&Text>, key: &str, strategy: &str, used: bool) {
    if let (Some(text), false) = (text, used) {
        reader.findings.push(
            Finding::error(Code::WriteKeys, format!("`route.write.{key}` is not used"))
                .label(text.span.clone(), format!("only with `conflict = \"{strategy}\"`"))
                .help(format!("remove the key, or write `conflict = \"{strategy}\"`")),
        );
    }
}

fn checked_ops(reader: &mut Reader<'_>, items: &[Text], span: Span) -> Ops {
    if items.is_empty() {
        empty_list(reader, span, "write.ops", "clients could write nothing", "leave `ops` out to let them write all");
    }
    repeated(reader, items, Code::DuplicateOp, "op");
    let known = |text: &Text| text.value.parse().ok().filter(|op| OPS.contains(op));
    for text in items.iter().filter(|text| known(text).is_none()) {
        let words = || OPS.into_iter().map(Op::as_str);
        let guess = closest(&text.value, words()).map(|guess| format!("did you mean `{guess}`?"));
        reader.findings.push(
            Finding::error(Code::UnknownOp, format!("clients can't be let `{}`", text.value))
                .label(text.span.clone(), "not an operation on a row")
                .note(format!("ops that clients can be let do: {}", quoted_list(words())))
                .maybe_help(guess),
        );
    }
    items.iter().filter_map(known).collect()
}

/// The section beside the rest of its route.
pub(super) fn judge(reader: &mut Reader<'_>, write: &Write, spec: &RouteSpec, spans: &RouteSpans) {
    if spec.table.names().is_none() {
        reader.findings.push(
            Finding::error(Code::WriteGlob, "clients can write by a route of one table only")
                .label(spans.table.clone(), "takes any number of tables")
                .label(write.spans.section.clone(), "clients may write")
                .help("name the table, as in `table = \"public.notes\"`; several routes may feed one topic"),
        );
    }
    let seen = |name: &String| spec.columns.as_ref().is_none_or(|columns| columns.contains(name));
    let columns = write.policy.columns.iter().flatten().zip(&write.spans.columns);
    let own = match &write.policy.conflict {
        Conflict::Row { version: column } | Conflict::LastWriteWins { timestamp: column } => {
            Some((column, &write.spans.conflict_column))
        }
        Conflict::Columns | Conflict::Overwrite => None,
    };
    for (name, span) in columns.chain(own).filter(|(name, _)| !seen(name)) {
        reader.findings.push(
            Finding::error(Code::WriteHidden, format!("clients may write `{name}`, but can't see it"))
                .label(span.clone(), "not among the route's `columns`")
                .note("a client must know what it changes, or it would overwrite what others wrote unknowingly")
                .help(format!("add `{name}` to the route's `columns`, or remove it here")),
        );
    }
}

/// Nobody has to show who they are, and no role is named for them.
pub(super) fn judge_roles(reader: &mut Reader<'_>, routes: &[Route], auth: &Auth) {
    let own_rights = |route: &&Route| route.write.as_ref().is_some_and(|write| write.policy.role.is_none());
    if !matches!(auth, Auth::None) {
        return;
    }
    for write in routes.iter().filter(own_rights).filter_map(|route| route.write.as_ref()) {
        reader.findings.push(
            Finding::warning(Code::WriteRole, "anyone's writes would run with the gateway's own rights")
                .label(write.spans.section.clone(), "names no role, and with `auth.mode = \"none\"` no token does")
                .note("what clients may write is bounded by `ops` and `columns` alone; row security may not apply")
                .help("name a role with few rights: `role = \"web\"`, after `create role web` and `grant web to …`"),
        );
    }
}
