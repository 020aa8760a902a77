//! Tables as maps, and what a change of a row looks like: on the wire, and to the topics that it belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use walcast::change::{self, Relation, RelationId, ReplicaIdentity, TypeCatalogue};

pub(crate) const INT4: u32 = 23;
pub(crate) const TEXT: u32 = 25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    Default,
    Index,
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Unchanged,
    Text(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) key: bool,
    pub(crate) type_oid: u32,
}

pub(crate) type Row = Vec<Value>;

#[derive(Debug, Clone)]
pub(crate) enum Old {
    Key(Row),
    Full(Row),
}

/// A table's description; its first column is its key.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) name: &'static str,
    pub(crate) identity: Identity,
    pub(crate) columns: Vec<Column>,
}

impl Table {
    /// `articles`: a key, and a text that may be out of line; `orders`: the same with whole old rows and a topic for
    /// each owner; `tags`: the key is an index' and names the topic.
    pub(crate) fn all() -> Vec<Self> {
        let column = |name: &str, key, type_oid| Column { name: name.to_owned(), key, type_oid };
        let table = |oid, name, identity, columns| Self { oid, name, identity, columns };
        vec![
            table(16384, "articles", Identity::Default, vec![column("id", true, INT4), column("body", false, TEXT)]),
            table(
                16385,
                "orders",
                Identity::Full,
                vec![column("id", true, INT4), column("owner", false, INT4), column("body", false, TEXT)],
            ),
            table(16386, "tags", Identity::Index, vec![column("name", true, TEXT), column("n", false, INT4)]),
        ]
    }

    /// As the catalogue describes it.
    pub(crate) fn relation(&self) -> Arc<Relation> {
        let types = TypeCatalogue::builtin();
        let column = |column: &Column| change::Column {
            name: column.name.as_str().into(),
            identity: column.key || self.identity == Identity::Full,
            ty: types.get(column.type_oid).unwrap(),
        };
        Arc::new(Relation {
            id: RelationId(self.oid),
            schema: "public".into(),
            name: self.name.into(),
            replica_identity: match self.identity {
                Identity::Default => ReplicaIdentity::Default,
                Identity::Index => ReplicaIdentity::Index,
                Identity::Full => ReplicaIdentity::Full,
            },
            columns: self.columns.iter().map(column).collect(),
        })
    }

    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// `row_to_json`, without what was not sent.
    pub(crate) fn json(&self, row: &[Value]) -> Json {
        let mut object = Map::new();
        for (column, value) in self.columns.iter().zip(row) {
            let value = match value {
                Value::Unchanged => continue,
                Value::Null => Json::Null,
                Value::Text(text) if column.type_oid == INT4 => json!(text.parse::<i64>().unwrap()),
                Value::Text(text) => json!(text),
            };
            object.insert(column.name.clone(), value);
        }
        Json::Object(object)
    }

    fn key_json(&self, row: &[Value]) -> Json {
        let mut object = self.json(row);
        let is_key = |name: &str| self.columns.iter().any(|column| column.key && column.name == name);
        object.as_object_mut().unwrap().retain(|name, _| is_key(name));
        object
    }

    fn old_json(&self, old: &Old) -> Json {
        match old {
            Old::Key(row) => self.key_json(row),
            Old::Full(row) => self.json(row),
        }
    }

    /// Whether a row belongs to a topic.
    pub(crate) fn feeds(&self, topic: &str, row: &[Value]) -> bool {
        topic == FEED || self.own_topic(row).as_deref() == Some(topic)
    }

    /// The topics, besides the one that all tables feed, that a row belongs to.
    pub(crate) fn own_topic(&self, row: &[Value]) -> Option<String> {
        let value = |name| match &row[self.column(name)?] {
            Value::Text(text) => Some(text),
            Value::Null | Value::Unchanged => None,
        };
        match self.name {
            "orders" => value("owner").map(|owner| format!("orders:{owner}")),
            "tags" => value("name").map(|name| format!("tags:{name}")),
            _ => None,
        }
    }
}

/// One change: what happened, the wire's view of it, and the table as it was described then.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Insert { table: Table, new: Row },
    Update { table: Table, old: Option<Old>, new: Row },
    Delete { table: Table, old: Old },
    Truncate { tables: Vec<Table> },
}

/// Everything feeds this topic.
pub(crate) const FEED: &str = "feed";
/// What the topics for single rows can be.
pub(crate) const TOPICS: [&str; 6] = [FEED, "orders:1", "orders:2", "orders:3", "tags:a", "tags:b"];

/// The tables that feed a topic, by their place among all.
pub(crate) fn tables_of(topic: &str) -> Vec<usize> {
    match topic.split(':').next() {
        Some("orders") => vec![1],
        Some("tags") => vec![2],
        _ => vec![0, 1, 2],
    }
}

/// What a topic is sent of a change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Update {
    pub(crate) topic: String,
    pub(crate) event: &'static str,
    /// Among the change's own ordinals: a truncate has one for each table.
    pub(crate) offset: u64,
    pub(crate) json: Json,
}

impl Change {
    pub(crate) fn ordinals(&self) -> u64 {
        match self {
            Self::Truncate { tables } => tables.len() as u64,
            _ => 1,
        }
    }

    pub(crate) fn updates(&self) -> Vec<Update> {
        match self {
            Self::Insert { table, new } => {
                let json = element("insert", table, Some(table.json(new)), None, &[]);
                let own = table.own_topic(new);
                on_topics(table, own, &json)
            }
            Self::Update { table, old, new } => update(table, old.as_ref(), new),
            Self::Delete { table, old } => {
                let row = match old {
                    Old::Key(row) | Old::Full(row) => row,
                };
                let json = element("delete", table, None, Some(table.old_json(old)), &[]);
                on_topics(table, table.own_topic(row), &json)
            }
            Self::Truncate { tables } => tables.iter().enumerate().flat_map(truncate).collect(),
        }
    }
}

pub(crate) fn event(table: &Table, topic: &str) -> &'static str {
    if table.name == "tags" && topic == FEED { "tags_changed" } else { "new_updates" }
}

fn on_topics(table: &Table, own: Option<String>, json: &Json) -> Vec<Update> {
    let topics = std::iter::once(FEED.to_owned()).chain(own);
    topics.map(|topic| Update { event: event(table, &topic), topic, offset: 0, json: json.clone() }).collect()
}

fn truncate((index, table): (usize, &Table)) -> Vec<Update> {
    let prefix = format!("{}:", table.name);
    let topics = TOPICS.iter().filter(|topic| **topic == FEED || topic.starts_with(&prefix));
    let json = element("truncate", table, None, None, &[]);
    let update = |topic: &&str| Update {
        topic: (*topic).to_owned(),
        event: event(table, topic),
        offset: index as u64,
        json: json.clone(),
    };
    topics.map(update).collect()
}

fn update(table: &Table, old: Option<&Old>, new: &[Value]) -> Vec<Update> {
    let full = match old {
        Some(Old::Full(row)) => Some(row),
        _ => None,
    };
    // Under `FULL` a value that was not sent is in the old row.
    let fill = |index: usize, value: &Value| match (value, full) {
        (Value::Unchanged, Some(row)) => row[index].clone(),
        _ => value.clone(),
    };
    let shown: Row = new.iter().enumerate().map(|(index, value)| fill(index, value)).collect();
    let unchanged: Vec<&str> = table
        .columns
        .iter()
        .zip(&shown)
        .filter(|(_, value)| **value == Value::Unchanged)
        .map(|(column, _)| column.name.as_str())
        .collect();
    let record = table.json(&shown);
    let old_json = old.map(|old| table.old_json(old));
    let as_is = element("update", table, Some(record.clone()), old_json.clone(), &unchanged);
    let after = table.own_topic(&shown);
    let before = match old {
        Some(Old::Key(row) | Old::Full(row)) => table.own_topic(row),
        None => after.clone(),
    };
    if before == after {
        return on_topics(table, after, &as_is);
    }
    let mut updates = on_topics(table, None, &as_is);
    let mut own = |topic: Option<String>, json: Json| {
        updates.extend(topic.map(|topic| Update { event: event(table, &topic), topic, offset: 0, json }));
    };
    own(before, element("delete", table, None, old_json, &[]));
    own(after, element("insert", table, Some(record), None, &unchanged));
    updates
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

/// A client's rows, by table and key. Columns that it was never told of are missing.
pub(crate) type Replica = BTreeMap<(String, String), Map<String, Json>>;

/// What any client does with an update.
pub(crate) fn apply(replica: &mut Replica, update: &Json) {
    let table = update["table"].as_str().unwrap();
    let key = |row: &Json| {
        let name = if table == "tags" { "name" } else { "id" };
        (table.to_owned(), row[name].to_string())
    };
    match update["op"].as_str().unwrap() {
        "truncate" => replica.retain(|(name, _), _| name != table),
        "delete" => drop(replica.remove(&key(&update["old_record"]))),
        _ => {
            let record = &update["record"];
            let old = update.get("old_record").unwrap_or(record);
            let mut row = replica.remove(&key(old)).unwrap_or_default();
            row.extend(record.as_object().unwrap().clone());
            replica.insert(key(record), row);
        }
    }
}
