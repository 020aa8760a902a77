//! What the model says that a client is shown of a change, and which rows it has: its topic under a configuration, with
//! its claims and what it asked for.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::config::{Claims, Config, Known};
use crate::postgres::Item;
use crate::table::{Change, Old, Replica, Row, Table, Value};
use crate::view::View;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) topic: &'static str,
    pub(crate) config: Config,
    pub(crate) claims: Claims,
    pub(crate) view: View,
}

/// What of a change reaches somebody.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shown {
    Nothing,
    /// It can't be told: whoever was before it has to begin afresh.
    Hole,
    Update {
        event: &'static str,
        json: Json,
    },
}

impl Sight {
    /// Whether another sight of the topic shows the same rows.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let claims = self.topic != crate::table::MINE || self.claims.owner == other.claims.owner;
        claims && self.config.is_same_for(self.topic, other.config)
    }

    /// Not everything that the topic gets is shown.
    pub(crate) fn is_choosy(&self) -> bool {
        self.view.ops.is_some() || self.view.has_filter() || self.topic == crate::table::MINE
    }

    /// A column that is asked for is one of the topic's tables.
    pub(crate) fn has_columns(&self) -> bool {
        self.view.columns.is_none() || self.topic != crate::table::FEED || self.config.feeds("tags", self.topic)
    }

    pub(crate) fn admits(&self) -> bool {
        self.has_columns() && self.config.has(self.topic) && self.config.admits(self.topic, self.claims)
    }

    pub(crate) fn shown(&self, item: &Item) -> Shown {
        let table = item.table();
        if !self.config.feeds(table.name, self.topic) {
            return Shown::Nothing;
        }
        if Config::is_hole(self.topic, table) {
            return Shown::Hole;
        }
        let json = match &*item.change {
            Change::Truncate { .. } => Some(element("truncate", table, None, None, &[])),
            Change::Insert { new, .. } => {
                let insert = || element("insert", table, Some(table.json(new)), None, &[]);
                self.sees(table, new, false).then(insert)
            }
            Change::Delete { old, .. } => {
                let delete = || element("delete", table, None, Some(table.old_json(old)), &[]);
                self.sees_old(table, old).then(delete)
            }
            Change::Update { old, new, .. } => self.update(table, old.as_ref(), new),
        };
        let Some(mut json) = json.filter(|json| self.view.shows_op(json["op"].as_str().unwrap())) else {
            return Shown::Nothing;
        };
        self.project_update(&mut json);
        Shown::Update { event: self.event(table), json }
    }

    pub(crate) fn event(&self, table: &Table) -> &'static str {
        if table.name == "tags" && self.topic == crate::table::FEED { "tags_changed" } else { "new_updates" }
    }

    /// Under `FULL` a value that was not sent is in the old row.
    fn update(&self, table: &Table, old: Option<&Old>, new: &Row) -> Option<Json> {
        let fill = |(index, value): (usize, &Value)| match (value, old) {
            (Value::Unchanged, Some(Old::Full(row))) => row[index].clone(),
            _ => value.clone(),
        };
        let after: Row = new.iter().enumerate().map(fill).collect();
        let columns = table.columns.iter().zip(&after);
        let unchanged: Vec<&str> =
            columns.filter(|(_, value)| **value == Value::Unchanged).map(|(column, _)| column.name.as_str()).collect();
        let old_json = old.map(|old| table.old_json(old));
        let record = table.json(&after);
        let before = match old {
            Some(old) => self.sees_old(table, old),
            // The key is what it was, and nothing else is known.
            None => self.sees(table, new, true),
        };
        match (before, self.sees(table, &after, false)) {
            (true, true) => Some(element("update", table, Some(record), old_json, &unchanged)),
            (true, false) => {
                let identity = || table.old_json(&Old::Key(new.clone()));
                Some(element("delete", table, None, Some(old_json.unwrap_or_else(identity)), &[]))
            }
            (false, true) => Some(element("insert", table, Some(record), None, &unchanged)),
            (false, false) => None,
        }
    }

    fn sees_old(&self, table: &Table, old: &Old) -> bool {
        match old {
            Old::Key(row) => self.sees(table, row, true),
            Old::Full(row) => self.sees(table, row, false),
        }
    }

    /// What a filter says of what is not known counts as said of a row that is asked for.
    fn sees(&self, table: &Table, row: &Row, key_only: bool) -> bool {
        let column = |name: &str| known(table, row, key_only, name);
        self.config.shows(self.topic, self.claims, column) && self.view.wants(column).unwrap_or(true)
    }

    /// The rows that somebody has who has everything of a database with these.
    pub(crate) fn rows<'r>(&self, rows: impl Iterator<Item = (&'r Table, &'r Row)>) -> Replica {
        let mut replica = Replica::new();
        let mine =
            rows.filter(|(table, row)| self.config.feeds(table.name, self.topic) && self.sees(table, row, false));
        for (table, row) in mine {
            let json = table.json(row);
            let key = json[table.columns[0].name.as_str()].to_string();
            let mut object = json.as_object().unwrap().clone();
            object.retain(|_, value| !value.is_null());
            self.project(&mut object);
            replica.insert((table.name.to_owned(), key), object);
        }
        replica
    }

    /// The same after some of all changes.
    pub(crate) fn rows_after<'i>(&self, items: impl Iterator<Item = &'i Item>) -> Replica {
        let mut state: BTreeMap<(&str, String), (&Table, &Row)> = BTreeMap::new();
        for item in items {
            let table = item.table();
            let key = |row: &Row| (table.name, table.json(row)[table.columns[0].name.as_str()].to_string());
            match &*item.change {
                Change::Truncate { .. } => state.retain(|(name, _), _| *name != table.name),
                Change::Insert { new, .. } => drop(state.insert(key(new), (table, new))),
                Change::Delete { old: Old::Key(row) | Old::Full(row), .. } => drop(state.remove(&key(row))),
                Change::Update { old, after, .. } => {
                    if let Some(Old::Key(row) | Old::Full(row)) = old {
                        state.remove(&key(row));
                    }
                    state.insert(key(after), (table, after));
                }
            }
        }
        self.rows(state.into_values())
    }

    /// Whether a message shows nothing that may not be seen.
    pub(crate) fn may_see(&self, update: &Json) -> bool {
        update.get("record").is_none_or(|record| self.config.may_see(self.topic, self.claims, record))
    }

    fn project_update(&self, json: &mut Json) {
        for record in ["record", "old_record"] {
            if let Some(Json::Object(row)) = json.get_mut(record) {
                self.project(row);
            }
        }
        if let Some(Json::Array(unchanged)) = json.get_mut("unchanged") {
            unchanged.retain(|name| self.has_column(name.as_str().unwrap()));
            if unchanged.is_empty() {
                json.as_object_mut().unwrap().remove("unchanged");
            }
        }
    }

    fn project(&self, row: &mut Map<String, Json>) {
        row.retain(|name, _| self.has_column(name));
    }

    fn has_column(&self, name: &str) -> bool {
        let sets = [self.config.columns(self.topic), self.view.columns];
        sets.into_iter().flatten().all(|columns| columns.contains(&name))
    }
}

fn known<'a>(table: &Table, row: &'a Row, key_only: bool, name: &str) -> Known<'a> {
    let index = table.column(name)?;
    match &row[index] {
        _ if key_only && !table.columns[index].key => None,
        Value::Unchanged => None,
        Value::Null => Some(None),
        Value::Text(text) => Some(Some(text)),
    }
}

fn element(op: &str, table: &Table, record: Option<Json>, old_record: Option<Json>, unchanged: &[&str]) -> Json {
    let mut object = json!({"op": op, "schema": "public", "table": table.name});
    if let Some(record) = record {
        object["record"] = record;
    }
    if let Some(old_record) = old_record {
        object["old_record"] = old_record;
    }
    if !unchanged.is_empty() {
        object["unchanged"] = json!(unchanged);
    }
    object
}
