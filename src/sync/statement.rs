//! What a write is in SQL. Names are quoted, values are parameters, types are the catalogue's.

use crate::change::quoted_identifier;
use crate::routing::{Int8Format, Op};

use super::plan::{Condition, Field, Write};
use super::table::{Column, Target};

/// A statement and its parameters, all of type `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) parameters: Vec<String>,
}

/// The write: one row with two booleans where it is done, whether the row belongs to the topic, and whether the client
/// may see it; no row where there is none in the topic that it may see, or it is not as the client had seen it.
pub(super) fn write(target: &Target<'_>, write: &Write<'_>) -> Statement {
    let mut builder = Builder { target, parameters: Vec::new() };
    let sql = match write.op {
        Op::Insert => builder.insert(write),
        Op::Update => builder.update(write),
        Op::Delete | Op::Truncate => builder.delete(write),
    };
    Statement { sql, parameters: builder.parameters }
}

/// The row as it is: its columns as clients see them, as one JSON text, and for each of [`conditions`] whether it
/// holds. No row where the topic has none with this key that the role and the client may see.
pub(super) fn current(target: &Target<'_>, write: &Write<'_>) -> Statement {
    let mut builder = Builder { target, parameters: Vec::new() };
    let sources = builder.sources(write);
    let shown = target.table.columns.iter().filter(|column| target.shows(column));
    let shown: Vec<String> = shown.map(|column| builder.shown(column)).collect();
    let row = format!("(select pg_catalog.row_to_json(s)::pg_catalog.text from (select {}) s)", shown.join(", "));
    let conditions = builder.conditions(write);
    let outputs: Vec<String> =
        std::iter::once(row).chain(conditions.into_iter().map(|(_, sql)| format!("coalesce({sql}, false)"))).collect();
    let sql = format!(
        "select {} from {} t{} where {}",
        outputs.join(", "),
        builder.table(),
        joined(", ", &sources),
        builder.place(write).join(" and ")
    );
    Statement { sql, parameters: builder.parameters }
}

/// The columns that decide whether the row is as the client had seen it.
pub(super) fn conditions<'w>(write: &'w Write<'_>) -> Vec<&'w str> {
    match &write.condition {
        Condition::None => Vec::new(),
        Condition::Columns(fields) => fields.iter().map(|field| field.column.name.as_str()).collect(),
        Condition::Version(field) | Condition::Until(field) => vec![&field.column.name],
    }
}

/// Fields as a JSON object, each value as it came.
pub(super) fn object(fields: &[Field<'_>]) -> String {
    let field = |field: &Field<'_>| format!("{}:{}", serde_json::Value::from(&*field.column.name), field.value.get());
    format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
}

struct Builder<'t, 'r> {
    target: &'t Target<'r>,
    parameters: Vec<String>,
}

impl<'t> Builder<'t, '_> {
    fn insert(&mut self, write: &Write<'_>) -> String {
        let forced = self.forced(write);
        let mut names: Vec<String> = write.set.iter().map(|field| quoted_identifier(&field.column.name)).collect();
        let mut values: Vec<String> = write.set.iter().map(|field| self.value(field)).collect();
        for (column, value) in &forced {
            names.push(quoted_identifier(&column.name));
            values.push(format!("{}::{}", self.parameter(value.clone()), column.type_name));
        }
        let from: Vec<String> = self.source("r", &write.set).into_iter().collect();
        let rows = if names.is_empty() {
            "default values".to_owned()
        } else {
            format!("({}) select {}{}", names.join(", "), values.join(", "), joined(" from ", &from))
        };
        let key: Vec<String> = self.target.table.key().map(|column| quoted_identifier(&column.name)).collect();
        let meets_others = self.target.table.immediate_key && !key.is_empty() && write.knows_key(self.target);
        let on_conflict =
            if meets_others { format!(" on conflict ({}) do nothing", key.join(", ")) } else { String::new() };
        format!("insert into {} as t {rows}{on_conflict} returning {}", self.table(), self.verdict())
    }

    /// The topic's columns that the client left out of a new row.
    fn forced(&self, write: &Write<'_>) -> Vec<(&'t Column, String)> {
        let is_given = |name: &str| write.set.iter().any(|field| field.column.name == name);
        let target = self.target;
        let topic = target.topic.iter().filter(|(name, _)| !is_given(name));
        topic.filter_map(|(name, value)| Some((target.table.column(name)?, value.clone()))).collect()
    }

    fn update(&mut self, write: &Write<'_>) -> String {
        let mut assignments: Vec<String> = Vec::new();
        for field in &write.set {
            assignments.push(format!("{} = {}", quoted_identifier(&field.column.name), self.value(field)));
        }
        if let Condition::Version(field) = &write.condition {
            let name = quoted_identifier(&field.column.name);
            assignments.push(format!("{name} = coalesce(t.{name}, 0) + 1"));
        }
        if assignments.is_empty() {
            // Nothing that the client had seen is changed by it; the row must be there all the same.
            assignments.extend(self.target.table.key().take(1).map(|column| {
                let name = quoted_identifier(&column.name);
                format!("{name} = t.{name}")
            }));
        }
        let mut sources = self.sources(write);
        sources.extend(self.source("r", &write.set));
        format!(
            "update {} as t set {}{} where {} returning {}",
            self.table(),
            assignments.join(", "),
            joined(" from ", &sources),
            self.place_and_conditions(write),
            self.verdict()
        )
    }

    fn delete(&mut self, write: &Write<'_>) -> String {
        let sources = self.sources(write);
        let place = self.place_and_conditions(write);
        format!("delete from {} as t{} where {place} returning true, true", self.table(), joined(" using ", &sources))
    }

    /// What says which row is meant, and what the client had seen of it.
    fn sources(&mut self, write: &Write<'_>) -> Vec<String> {
        let seen: &[Field<'_>] = match &write.condition {
            Condition::None => &[],
            Condition::Columns(fields) => fields,
            Condition::Version(field) | Condition::Until(field) => std::slice::from_ref(field),
        };
        let key = if write.op == Op::Insert && !write.knows_key(self.target) { &[] } else { &*write.key };
        [self.source("k", key), self.source("b", seen)].into_iter().flatten().collect()
    }

    /// A row of the client's values, each read by Postgres as its column's type.
    fn source(&mut self, alias: &str, fields: &[Field<'_>]) -> Option<String> {
        if fields.is_empty() {
            return None;
        }
        let column =
            |field: &Field<'_>| format!("{} {}", quoted_identifier(&field.column.name), field.column.type_name);
        let columns: Vec<String> = fields.iter().map(column).collect();
        let parameter = self.parameter(object(fields));
        Some(format!("pg_catalog.json_to_record({parameter}::pg_catalog.json) as {alias}({})", columns.join(", ")))
    }

    fn value(&self, field: &Field<'_>) -> String {
        if self.target.stamps(field.column) {
            not_later_than_now("r", field.column)
        } else {
            format!("r.{}", quoted_identifier(&field.column.name))
        }
    }

    fn place_and_conditions(&mut self, write: &Write<'_>) -> String {
        let mut all = self.place(write);
        all.extend(self.conditions(write).into_iter().map(|(_, sql)| sql));
        all.join(" and ")
    }

    /// The row that is meant, if it is of the topic and the client sees it.
    fn place(&mut self, write: &Write<'_>) -> Vec<String> {
        let equal = |field: &Field<'_>| {
            let name = quoted_identifier(&field.column.name);
            format!("t.{name} = k.{name}")
        };
        let mut all: Vec<String> = write.key.iter().map(equal).collect();
        all.extend(self.in_topic());
        all.extend(self.seen());
        all
    }

    fn conditions<'w>(&self, write: &'w Write<'_>) -> Vec<(&'w str, String)> {
        let condition = |field: &'w Field<'_>| {
            let name = quoted_identifier(&field.column.name);
            let sql = match &write.condition {
                Condition::Version(_) => format!("t.{name} is not distinct from b.{name}"),
                Condition::Until(_) => {
                    let time = not_later_than_now("b", field.column);
                    format!("(t.{name} is null or t.{name} <= {time})")
                }
                // As JSON, because json, points and other types have no equality of their own.
                _ => format!("pg_catalog.to_jsonb(t.{name}) is not distinct from pg_catalog.to_jsonb(b.{name})"),
            };
            (field.column.name.as_str(), sql)
        };
        match &write.condition {
            Condition::None => Vec::new(),
            Condition::Columns(fields) => fields.iter().map(condition).collect(),
            Condition::Version(field) | Condition::Until(field) => vec![condition(field)],
        }
    }

    /// Of the row as it has become: whether it belongs to the topic, and whether the client may see it.
    fn verdict(&mut self) -> String {
        let all = |conditions: &[String]| match conditions {
            [] => "true".to_owned(),
            _ => format!("coalesce({}, false)", conditions.join(" and ")),
        };
        let in_topic = all(&self.in_topic());
        format!("{in_topic}, {}", all(self.seen().as_slice()))
    }

    fn seen(&mut self) -> Option<String> {
        let target = self.target;
        target.rule.as_ref().map(|rule| rule.sql(&mut self.parameters))
    }

    /// Topics are made of `value::text`, so that decides.
    fn in_topic(&mut self) -> Vec<String> {
        let topic = self.target.topic.clone();
        let condition = |(name, value): (String, String)| {
            let parameter = self.parameter(value);
            format!("t.{}::pg_catalog.text collate pg_catalog.\"C\" = {parameter}", quoted_identifier(&name))
        };
        topic.into_iter().map(condition).collect()
    }

    fn shown(&self, column: &Column) -> String {
        let name = quoted_identifier(&column.name);
        let as_text = column.int8 && self.target.route.route.int8 == Int8Format::String;
        format!("t.{name}{} as {name}", if as_text { "::pg_catalog.text" } else { "" })
    }

    fn table(&self) -> String {
        let table = &self.target.table;
        format!("{}.{}", quoted_identifier(&table.schema), quoted_identifier(&table.name))
    }

    fn parameter(&mut self, value: String) -> String {
        self.parameters.push(value);
        format!("${}", self.parameters.len())
    }
}

/// A clock that is ahead must not keep everyone else from writing until its time has come.
fn not_later_than_now(alias: &str, column: &Column) -> String {
    format!("least({alias}.{}, pg_catalog.clock_timestamp()::{})", quoted_identifier(&column.name), column.type_name)
}

/// The items with commas between them, after `before`; nothing for none.
fn joined(before: &str, items: &[String]) -> String {
    if items.is_empty() { String::new() } else { format!("{before}{}", items.join(", ")) }
}
