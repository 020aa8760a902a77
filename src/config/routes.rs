//! `[[route]]`: from text to [`RouteSpec`]s, and the mistakes that can be seen without a database.

use std::sync::Arc;

use super::code::Code;
use super::diagnostic::{Finding, Span, closest, quoted_list};
use super::document::{Reader, Section, TextList};
use super::expand::Text;
use super::{Route, RouteSpans, rules, write};
use crate::routing::{
    Int8Format, MAX_ROUTES, Op, Ops, PatternErrorKind, Piece, RouteSpec, TablePattern, Template, TemplateErrorKind,
};

/// What changes are pushed as, unless a route says otherwise.
pub(super) const EVENT: &str = "new_updates";
/// An event's length stands in one byte of Phoenix' binary frames.
pub(super) const EVENT_BYTES_MAX: usize = 255;
/// Phoenix' own topic, for heartbeats.
const PHOENIX_TOPIC: &str = "phoenix";
/// Events with these beginnings are answered by the protocol itself.
pub(super) const RESERVED_PREFIXES: [&str; 2] = ["phx_", "chan_reply_"];
/// Events that clients, or walcast itself, give a meaning of their own.
pub(super) const RESERVED_EVENTS: [&str; 3] = ["presence_state", "presence_diff", "cursor"];

/// The usable routes, and how many there are in all. `topic_bytes_max` is `limits.topic`.
pub(super) fn read(reader: &mut Reader<'_>, root: &mut Section<'_>, topic_bytes_max: u64) -> (Vec<Route>, usize) {
    let sections = reader.sections(root, "route");
    let count = sections.len();
    if root.key_span("route").is_none() && root.key_span("channel").is_none() {
        reader.findings.push(
            Finding::warning(Code::NoRoutes, "there is no `[[route]]`, so that no change reaches anyone")
                .help("add one: `[[route]]`, `table = \"public.articles\"`, `topic = \"updates:feed\"`"),
        );
    } else if let (true, Some(span)) = (count > MAX_ROUTES, root.key_span("route")) {
        reader.findings.push(
            Finding::error(Code::OutOfRange, format!("{count} routes are more than {MAX_ROUTES}"))
                .label(span, "the first of them")
                .help("one route can take many tables: `table = \"public.*\"`"),
        );
    }
    let routes: Vec<Route> =
        sections.into_iter().filter_map(|section| route(reader, section, topic_bytes_max)).collect();
    shadowed(reader, &routes);
    (routes, count)
}

fn route(reader: &mut Reader<'_>, mut section: Section<'_>, topic_bytes_max: u64) -> Option<Route> {
    let table = reader.required_text(&mut section, "table", "write `table = \"public.articles\"`, globs allowed");
    let topic = reader.required_text(&mut section, "topic", "write `topic = \"articles\"`, or `\"articles:{id}\"`");
    let columns = reader.texts(&mut section, "columns");
    let ops = reader.texts(&mut section, "ops");
    let event = reader.text(&mut section, "event");
    let int8 = reader.choice(&mut section, "int8", &[("number", Int8Format::Number), ("string", Int8Format::String)]);
    let write = write::read(reader, &mut section);
    let filter = reader.text(&mut section, "where");
    let allow = reader.text(&mut section, "allow");
    reader.finish(section);

    let columns = columns.and_then(|list| checked_columns(reader, list));
    let ops_span = ops.as_ref().map(|list| list.span.clone());
    let ops = ops.map_or(Ops::ALL, |list| checked_ops(reader, &list));
    let event = event.map_or_else(|| EVENT.to_owned(), |text| checked_event(reader, text));
    let table = table.and_then(|text| Some((pattern(reader, &text)?, text.span)));
    let topic = topic.and_then(|text| Some((template(reader, &text, topic_bytes_max)?, text)));
    let filter = filter.and_then(|text| rules::expression(reader, "route.where", text));
    let allow = allow.and_then(|text| rules::expression(reader, "route.allow", text));
    if let (Some((allow, sql)), Some((topic, _))) = (&allow, &topic) {
        rules::check_variables(reader, allow, sql, topic);
    }
    // From here on it has to be a route: everything that can be wrong without the other keys was looked for above.
    let ((table, table_span), (topic, topic_text)) = (table?, topic?);
    let (columns, column_spans) = columns.unzip();
    let ((filter, filter_sql), (allow, allow_sql)) = (filter.unzip(), allow.unzip());
    let spans = RouteSpans {
        table: table_span,
        topic_columns: topic_columns(&topic, &topic_text),
        topic: topic_text.span,
        columns: column_spans.unwrap_or_default(),
        ops: ops_span,
        filter: filter_sql,
        allow: allow_sql,
    };
    let int8 = int8.map(|(format, _)| format).unwrap_or_default();
    let spec = RouteSpec { table, topic, columns, ops, event: Arc::from(event), int8, filter, allow };
    let write = write.inspect(|write| write::judge(reader, write, &spec, &spans));
    Some(Route { spec, spans, write })
}

fn pattern(reader: &mut Reader<'_>, text: &Text) -> Option<TablePattern> {
    let error = match TablePattern::parse(&text.value) {
        Ok(pattern) => return Some(pattern),
        Err(error) => error,
    };
    let finding = Finding::error(Code::BadTable, "`route.table` is not a table pattern");
    reader.findings.push(match error.kind {
        PatternErrorKind::MissingSchema if !text.value.is_empty() => finding
            .label(text.span_of(0..text.value.len()), "the schema is missing")
            .help(format!("write `public.{}`, if that is its schema", text.value)),
        kind => finding
            .label(text.span_of(culprit(&text.value, error.offset)), kind.to_string())
            .help("write `schema.table`; `*` stands for any characters and `?` for one, in either part"),
    });
    None
}

fn template(reader: &mut Reader<'_>, text: &Text, topic_bytes_max: u64) -> Option<Template> {
    let template = match Template::parse(&text.value) {
        Ok(template) => template,
        Err(error) => {
            let help = match error.kind {
                TemplateErrorKind::Empty => "write a name, as in `topic = \"articles\"`",
                TemplateErrorKind::TooLong => "shorten it, and leave room for the columns' values",
                TemplateErrorKind::AdjacentColumns => "put a character between them, as in `{a}:{b}`",
                _ => "write it like `orders:{customer_id}`: text, and columns in braces",
            };
            reader.findings.push(
                Finding::error(Code::BadTopic, "`route.topic` is not a topic")
                    .label(text.span_of(culprit(&text.value, error.offset)), error.kind.to_string())
                    .help(help),
            );
            return None;
        }
    };
    check_reserved(reader, &template, text);
    check_length(reader, &template, text, topic_bytes_max);
    Some(template)
}

fn check_reserved(reader: &mut Reader<'_>, template: &Template, text: &Text) {
    let starts_reserved = RESERVED_PREFIXES.iter().find(|prefix| text.value.starts_with(**prefix));
    let length = match (template.as_static(), starts_reserved) {
        (Some(PHOENIX_TOPIC), _) => PHOENIX_TOPIC.len(),
        (_, Some(prefix)) => prefix.len(),
        _ => return,
    };
    reader.findings.push(
        Finding::error(Code::ReservedTopic, "this topic belongs to the Phoenix protocol")
            .label(text.span_of(0..length), "reserved")
            .help("choose another name, or put a word before it, as in `app:…`"),
    );
}

fn check_length(reader: &mut Reader<'_>, template: &Template, text: &Text, bytes_max: u64) {
    let literal = |piece: &Piece| match piece {
        Piece::Literal(text) => text.len() as u64,
        // A value has one byte at least.
        Piece::Column(_) => 1,
    };
    let least: u64 = template.pieces().iter().map(literal).sum();
    if least > bytes_max {
        reader.findings.push(
            Finding::error(Code::BadTopic, "`route.topic` is longer than `limits.topic` allows")
                .label(text.span.clone(), format!("at least {least} bytes, {bytes_max} are allowed"))
                .help("shorten it, or raise `limits.topic`"),
        );
    }
}

/// The brace or word that starts at a parser's error offset.
pub(super) fn culprit(value: &str, offset: usize) -> std::ops::Range<usize> {
    let rest = value.get(offset..).unwrap_or_default();
    let end = match rest.chars().next() {
        Some('{') => rest.find('}').map_or(rest.len(), |close| close + 1),
        Some(first) => first.len_utf8(),
        None => 0,
    };
    offset.min(value.len())..(offset + end).min(value.len())
}

/// The span of each `{column}`, found by walking the pieces along the text they were parsed from.
fn topic_columns(template: &Template, text: &Text) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut from = 0;
    for column in template.columns() {
        let written = format!("{{{column}}}");
        let found = text.value.get(from..).and_then(|rest| rest.find(&written));
        let range = found.map_or(0..text.value.len(), |at| from + at..from + at + written.len());
        from = range.end;
        spans.push(text.span_of(range));
    }
    spans
}

pub(super) fn checked_columns(reader: &mut Reader<'_>, list: TextList) -> Option<(Vec<String>, Vec<Span>)> {
    if list.items.is_empty() {
        empty_list(reader, list.span, "columns", "no column would be sent", "leave `columns` out to send all");
        return None;
    }
    repeated(reader, &list.items, Code::DuplicateColumn, "column");
    Some(list.items.into_iter().map(|text| (text.value, text.span)).unzip())
}

fn checked_ops(reader: &mut Reader<'_>, list: &TextList) -> Ops {
    if list.items.is_empty() {
        empty_list(reader, list.span.clone(), "ops", "no change would be sent", "leave `ops` out to send all");
        return Ops::ALL;
    }
    repeated(reader, &list.items, Code::DuplicateOp, "op");
    let mut ops = Ops::NONE;
    for text in &list.items {
        match text.value.parse::<Op>() {
            Ok(op) => ops = ops.with(op),
            Err(_) => unknown_op(reader, text),
        }
    }
    ops
}

fn unknown_op(reader: &mut Reader<'_>, text: &Text) {
    let words = || Op::ALL.into_iter().map(Op::as_str);
    let guess = closest(&text.value, words()).map(|guess| format!("did you mean `{guess}`?"));
    reader.findings.push(
        Finding::error(Code::UnknownOp, format!("unknown op `{}`", text.value))
            .label(text.span.clone(), "not an operation of Postgres")
            .note(format!("ops: {}", quoted_list(words())))
            .maybe_help(guess),
    );
}

pub(super) fn empty_list(reader: &mut Reader<'_>, span: Span, key: &str, what: &str, help: &str) {
    reader
        .findings
        .push(Finding::error(Code::EmptyList, format!("`route.{key}` is empty")).label(span, what).help(help));
}

pub(super) fn repeated(reader: &mut Reader<'_>, items: &[Text], code: Code, noun: &str) {
    for (index, text) in items.iter().enumerate() {
        if let Some(first) = items.iter().take(index).find(|earlier| earlier.value == text.value) {
            reader.findings.push(
                Finding::error(code, format!("{noun} `{}` is listed twice", text.value))
                    .label(text.span.clone(), "again here")
                    .label(first.span.clone(), "first here")
                    .help("remove one of them"),
            );
        }
    }
}

fn checked_event(reader: &mut Reader<'_>, text: Text) -> String {
    let name = &*text.value;
    let reserved = RESERVED_EVENTS.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if reserved {
        reader.findings.push(
            Finding::error(Code::ReservedEvent, format!("the event `{name}` has a meaning of its own to clients"))
                .label(text.span.clone(), "reserved")
                .note("reserved: `phx_…`, `chan_reply_…`, ".to_owned() + &quoted_list(RESERVED_EVENTS))
                .help(format!("choose another name, or leave `event` out for `{EVENT}`")),
        );
    } else if !(1..=EVENT_BYTES_MAX).contains(&name.len()) {
        reader.findings.push(
            Finding::error(Code::OutOfRange, "`route.event` is out of range")
                .label(text.span.clone(), format!("a name of 1 to {EVENT_BYTES_MAX} bytes is expected"))
                .help(format!("leave `event` out for `{EVENT}`")),
        );
    }
    text.value
}

/// A change reaches a topic once, by the first route that brings it there: a later one with the same table and topic
/// and no further op would never get a change, whatever else it says.
fn shadowed(reader: &mut Reader<'_>, routes: &[Route]) {
    let shadows = |first: &RouteSpec, later: &RouteSpec| {
        let has_its_rows = first.filter.is_none() || first.filter == later.filter;
        let has_its_ops = later.ops.iter().all(|op| first.ops.contains(op));
        first.table == later.table && first.topic == later.topic && has_its_rows && has_its_ops
    };
    for (index, route) in routes.iter().enumerate() {
        if let Some(first) = routes.iter().take(index).find(|first| shadows(&first.spec, &route.spec)) {
            reader.findings.push(
                Finding::error(Code::DuplicateRoute, "this route would never get a change")
                    .label(route.spans.table.clone(), "the same table and topic again")
                    .label(first.spans.table.clone(), "this route takes all its changes")
                    .note("a change reaches a topic once, by the first route that brings it there")
                    .help("remove one of the two, or give them topics or ops of their own"),
            );
        }
    }
}
