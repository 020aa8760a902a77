//! What a client asks to see of its topic.

use fastrand::Rng;
use serde_json::{Map, Value as Json};

use crate::table::Replica;

/// A column set always has the key: without it nobody could keep rows.
const COLUMN_SETS: [(&str, &[&str]); 3] =
    [("feed", &["id", "name", "owner"]), ("orders", &["id", "body"]), ("tags", &["name"])];
const OP_SETS: [&[&str]; 3] = [&["insert", "update"], &["delete", "truncate"], &["insert", "update", "delete"]];

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct View {
    columns: Option<&'static [&'static str]>,
    pub(crate) ops: Option<&'static [&'static str]>,
}

impl View {
    pub(crate) fn random(topic: &str, random: &mut Rng) -> Self {
        let (_, columns) = COLUMN_SETS.into_iter().find(|(prefix, _)| topic.starts_with(prefix)).unwrap();
        Self {
            columns: (random.u8(0..4) == 0).then_some(columns),
            ops: (random.u8(0..4) == 0).then(|| OP_SETS[random.usize(..OP_SETS.len())]),
        }
    }

    /// Join params.
    pub(crate) fn ask(self, params: &mut Json) {
        if let Some(columns) = self.columns {
            params["columns"] = columns.into();
        }
        if let Some(ops) = self.ops {
            params["ops"] = ops.into();
        }
    }

    pub(crate) fn shows(self, update: &Json) -> bool {
        self.ops.is_none_or(|ops| ops.iter().any(|op| update["op"] == *op))
    }

    /// An update as this view shows it.
    pub(crate) fn of(self, update: &Json) -> Json {
        let mut shown = update.clone();
        let Some(columns) = self.columns else { return shown };
        for record in ["record", "old_record"] {
            if let Some(Json::Object(row)) = shown.get_mut(record) {
                self.project(row);
            }
        }
        if let Some(Json::Array(unchanged)) = shown.get_mut("unchanged") {
            unchanged.retain(|name| columns.iter().any(|column| name == column));
            if unchanged.is_empty() {
                shown.as_object_mut().unwrap().remove("unchanged");
            }
        }
        shown
    }

    /// Rows as this view shows them.
    pub(crate) fn of_rows(self, mut rows: Replica) -> Replica {
        rows.values_mut().for_each(|row| self.project(row));
        rows
    }

    fn project(self, row: &mut Map<String, Json>) {
        if let Some(columns) = self.columns {
            row.retain(|name, _| columns.contains(&name.as_str()));
        }
    }
}
