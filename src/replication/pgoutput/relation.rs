//! Tables and types, described before the first row that needs them.

use std::sync::Arc;

use super::error::Fault;
use super::reader::Reader;
use crate::change::{Oid, RelationId, ReplicaIdentity};

/// The only flag of a column: it is part of the replica identity. Others are ignored, as Postgres' subscriber does.
pub(super) const IDENTITY_FLAG: u8 = 1;
/// Flags, an empty name's terminator, type and modifier.
const COLUMN_BYTES_MIN: usize = 1 + 1 + 4 + 4;

/// A table: sent before its first change in a session, and again once it may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub id: RelationId,
    /// Empty for `pg_catalog`.
    pub schema: Arc<str>,
    pub name: Arc<str>,
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order of a row's values.
    pub columns: Vec<RelationColumn>,
}

/// One published column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity; true of every column under `REPLICA IDENTITY FULL`.
    pub identity: bool,
    pub name: Arc<str>,
    pub type_oid: Oid,
    /// `atttypmod`: -1 where the type has none.
    pub type_modifier: i32,
}

/// A type that is not built in; sent before the relations that use it. What the type is made of is told nowhere in
/// the stream, and for a domain the schema and name are those of the type under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    pub oid: Oid,
    /// Empty for `pg_catalog`.
    pub schema: Arc<str>,
    pub name: Arc<str>,
}

impl Relation {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        let id = RelationId(body.u32("the relation's OID")?);
        let schema = body.name("the schema's name")?;
        let name = body.name("the relation's name")?;
        let identity_code = body.u8("the replica identity")?;
        let replica_identity = ReplicaIdentity::from_code(identity_code)
            .ok_or(Fault::UnknownValue { field: "the replica identity", value: identity_code })?;
        let announced = body.u16("the column count")?;
        let count = body.count(usize::from(announced), COLUMN_BYTES_MIN, "columns")?;
        let columns = (0..count).map(|_| RelationColumn::decode(body)).collect::<Result<_, _>>()?;
        Ok(Self { id, schema, name, replica_identity, columns })
    }
}

impl RelationColumn {
    fn decode(body: &mut Reader) -> Result<Self, Fault> {
        Ok(Self {
            identity: body.u8("a column's flags")? & IDENTITY_FLAG != 0,
            name: body.name("a column's name")?,
            type_oid: body.u32("a column's type")?,
            type_modifier: body.i32("a column's type modifier")?,
        })
    }
}

impl Type {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        Ok(Self {
            oid: body.u32("the type's OID")?,
            schema: body.name("the type's schema")?,
            name: body.name("the type's name")?,
        })
    }
}
