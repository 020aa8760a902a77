//! Tables as maps, and what a change of a row is.

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

    pub(crate) fn old_json(&self, old: &Old) -> Json {
        match old {
            Old::Key(row) => self.key_json(row),
            Old::Full(row) => self.json(row),
        }
    }
}

/// One change: what happened, the wire's view of it, and the table as it was described then.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Insert {
        table: Table,
        new: Row,
    },
    /// `after`: the row with what was not sent.
    Update {
        table: Table,
        old: Option<Old>,
        new: Row,
        after: Row,
    },
    Delete {
        table: Table,
        old: Old,
    },
    Truncate {
        tables: Vec<Table>,
    },
}

/// Everything feeds this topic.
pub(crate) const FEED: &str = "feed";
/// Here everybody sees other rows.
pub(crate) const MINE: &str = "mine";
/// What topics there can be.
pub(crate) const TOPICS: [&str; 7] = [FEED, MINE, "orders:1", "orders:2", "orders:3", "tags:a", "tags:b"];

impl Change {
    pub(crate) fn tables(&self) -> &[Table] {
        match self {
            Self::Insert { table, .. } | Self::Update { table, .. } | Self::Delete { table, .. } => {
                std::slice::from_ref(table)
            }
            Self::Truncate { tables } => tables,
        }
    }
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
