//! A table as the write-ahead log describes it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalogue::Type;

/// A Postgres object id.
pub type Oid = u32;

/// A relation's OID, by which WAL messages refer to it; names may change, this does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelationId(pub Oid);

impl fmt::Debug for RelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relation {}", self.0)
    }
}

impl fmt::Display for RelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What Postgres writes of the old row on update and delete (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// `d`: the primary key, and nothing where there is none.
    Default,
    /// `n`: nothing.
    Nothing,
    /// `f`: the whole row.
    Full,
    /// `i`: the columns of a chosen unique index.
    Index,
}

impl ReplicaIdentity {
    /// From the character in `relreplident` and in a Relation message.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            b'd' => Some(Self::Default),
            b'n' => Some(Self::Nothing),
            b'f' => Some(Self::Full),
            b'i' => Some(Self::Index),
            _ => None,
        }
    }
}

/// One published column, in the order in which rows carry their values.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: Arc<str>,
    /// Part of the replica identity, so that old rows carry its value. Every column is under `FULL`.
    pub identity: bool,
    /// Resolved by the catalogue; domains, arrays and composites know what they are made of.
    pub ty: Arc<Type>,
}

/// A table with the columns that are published of it.
///
/// Replaced as a whole when Postgres re-sends it (DDL, a changed publication); rows keep the
/// `Arc<Relation>` under which they were sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    pub id: RelationId,
    pub schema: Arc<str>,
    pub name: Arc<str>,
    pub replica_identity: ReplicaIdentity,
    pub columns: Vec<Column>,
}

impl Relation {
    /// The index of a column by its exact name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}
