//! What happened to rows and tables.

use super::error::Fault;
use super::reader::Reader;
use super::tag;
use crate::change::{OldRow, RelationId, Row};

/// The option bits of a truncate; others are ignored, as Postgres' subscriber does.
pub(super) const CASCADE_FLAG: u8 = 1;
pub(super) const RESTART_IDENTITY_FLAG: u8 = 2;
const OID_BYTES: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    pub relation: RelationId,
    pub new: Row,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub relation: RelationId,
    /// Absent where the identity is a key that did not change.
    pub old: Option<OldRow>,
    pub new: Row,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    pub relation: RelationId,
    pub old: OldRow,
}

/// Several tables at once where the statement named several, or cascaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncate {
    pub relations: Vec<RelationId>,
    /// Said `CASCADE`; the tables that it reached, so far as they are published, are in `relations`.
    pub cascade: bool,
    /// Said `RESTART IDENTITY`.
    pub restart_identity: bool,
}

impl Insert {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        let relation = relation_id(body)?;
        match body.u8("the tuple's kind")? {
            tag::NEW_TUPLE => Ok(Self { relation, new: body.row()? }),
            value => Err(unknown_tuple(value)),
        }
    }
}

impl Update {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        let relation = relation_id(body)?;
        let (old, kind) = match body.u8("the tuple's kind")? {
            tag::NEW_TUPLE => (None, tag::NEW_TUPLE),
            kind => (Some(old_row(kind, body)?), body.u8("the new tuple's kind")?),
        };
        match kind {
            tag::NEW_TUPLE => Ok(Self { relation, old, new: body.row()? }),
            value => Err(unknown_tuple(value)),
        }
    }
}

impl Delete {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        let relation = relation_id(body)?;
        let kind = body.u8("the tuple's kind")?;
        Ok(Self { relation, old: old_row(kind, body)? })
    }
}

impl Truncate {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, Fault> {
        let announced = body.u32("the relation count")?;
        let flags = body.u8("the flags")?;
        let count = body.count(usize::try_from(announced).unwrap_or(usize::MAX), OID_BYTES, "relations")?;
        Ok(Self {
            relations: (0..count).map(|_| relation_id(body)).collect::<Result<_, _>>()?,
            cascade: flags & CASCADE_FLAG != 0,
            restart_identity: flags & RESTART_IDENTITY_FLAG != 0,
        })
    }
}

fn relation_id(body: &mut Reader) -> Result<RelationId, Fault> {
    body.u32("the relation's OID").map(RelationId)
}

fn old_row(kind: u8, body: &mut Reader) -> Result<OldRow, Fault> {
    match kind {
        tag::KEY_TUPLE => body.row().map(OldRow::Key),
        tag::OLD_TUPLE => body.row().map(OldRow::Full),
        value => Err(unknown_tuple(value)),
    }
}

const fn unknown_tuple(value: u8) -> Fault {
    Fault::UnknownValue { field: "the tuple's kind", value }
}
