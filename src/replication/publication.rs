//! What a publication gives, and which of its changes leave a hole in the feed.
//!
//! Postgres says nothing when a table leaves a publication: its changes stop. Nor when rows come to be in a table, or
//! are gone, other than by a change of their own: a partition is attached, a column gets another type. So the catalogue
//! is looked at now and then, and two looks are compared ([`holes()`]), the first with the last one of the process
//! before ([`Notes`]). Pure: [`super::source`] looks, and sees to it that a hole is told only when the feed has come
//! past what made it.
//!
//! Whatever is in doubt counts as a hole: a reset too many costs a client a snapshot, one too few its trust.
#![deny(clippy::indexing_slicing)]

mod altered;
mod catalogue;
mod holes;
mod in_flight;
mod notes;
mod signature;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::{Enum, EnumLabels, Oid, Relation, RelationId, TableHole, Type, TypeKind};

pub use altered::altered_since;
pub use catalogue::{Known, Mark, look, mark};
pub use holes::holes;
pub use in_flight::{Horizon, InFlight};
pub use notes::{Notebook, Notes};
pub(crate) use signature::signature;

/// A publication as the catalogue has it: all that decides which changes are told and what of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// One that is dropped and created anew has another.
    pub id: Oid,
    pub version: Version,
    /// Whether inserts, updates, deletes and truncates are published.
    pub operations: [bool; 4],
    pub via_root: bool,
    pub tables: BTreeMap<RelationId, PublishedTable>,
    /// The labels of each enum that a published column has values of, by what identifies a label when it is renamed.
    pub labels: BTreeMap<Oid, BTreeMap<Oid, String>>,
}

/// Tells whether a row of the catalogue was written in between, and whether that may have been for something that
/// matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The transaction that wrote the row.
    pub writer: u32,
    /// Stands for what the row holds that does not matter, such as an owner.
    pub rest: i64,
}

impl Version {
    /// The row was written, and what it says now is all the same: it said something else in between, or may have.
    #[must_use]
    pub const fn is_unexplained(self, before: Self) -> bool {
        self.writer != before.writer && self.rest == before.rest
    }
}

/// A table as a publication gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTable {
    pub schema: Arc<str>,
    pub name: Arc<str>,
    /// Of the row of its type, which is written when the table is renamed or moved to another schema.
    pub named: Version,
    /// What makes it a member: rows of `pg_publication_rel` and `pg_publication_namespace`, of the table and of what it
    /// is a partition of. Another column list or row filter is another row. Empty where all tables are published.
    pub members: BTreeSet<Oid>,
    /// `relfilenode`: a rewrite gives it another one, as does a truncate. 0 where it is partitioned.
    pub file: Oid,
    /// In the order in which rows carry them.
    pub columns: Vec<PublishedColumn>,
    /// Where its rows are, if it is partitioned.
    pub partitions: BTreeMap<Oid, Partition>,
}

/// A column of a published table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedColumn {
    /// `attnum`, which a rename keeps.
    pub number: i16,
    pub name: Arc<str>,
    /// What its values look like, as [`signature()`] writes it.
    pub ty: Arc<str>,
    /// `atttypmod`: values are rewritten when it changes, as in `numeric(8, 2)`.
    pub modifier: i32,
    /// Rows that are older than the column can have a value in it.
    pub has_default: bool,
    /// Of its row in `pg_attribute`; its default, and whether it may be null, do not matter.
    pub version: Version,
}

/// One of the tables that a partitioned table's rows are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// `relfilenode`: a truncate gives it another one.
    pub file: Oid,
    /// Who wrote its row in `pg_class`.
    pub writer: u32,
    /// Stands for the rows of `pg_inherits` that make it one: another one once it was detached and attached again.
    pub attached: i64,
}

/// What a look at the catalogue found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// `None` where there is no such publication.
    pub publication: Option<Publication>,
    /// Every table that it gives, as the feed describes it, by schema and name.
    pub relations: Vec<Arc<Relation>>,
    /// Of the tables and partitions that the look before did not know: those that have never had a row.
    pub empty: BTreeSet<Oid>,
    /// Which transactions there were after it.
    pub horizon: Horizon,
    /// Tables that were altered while transactions were in progress.
    pub in_flight: InFlight,
}

impl Look {
    /// The labels of the enums that columns are of.
    #[must_use]
    pub fn enum_labels(&self) -> EnumLabels {
        let Some(publication) = &self.publication else { return EnumLabels::default() };
        let columns = self.relations.iter().flat_map(|relation| &relation.columns);
        let enums = columns.filter_map(|column| enum_of(&column.ty)).filter_map(|ty| {
            let labels = publication.labels.get(&ty.base_oid)?.values().map(|label| label.as_str().into()).collect();
            Some((ty.base_oid, Enum { name: (*ty.name).into(), labels }))
        });
        enums.collect()
    }

    /// Whether another look has found the same.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        self.publication == other.publication && self.relations == other.relations
    }

    pub fn tables(&self) -> impl Iterator<Item = (RelationId, &PublishedTable)> {
        self.publication.iter().flat_map(|it| it.tables.iter().map(|(id, table)| (*id, table)))
    }
}

/// The enum that a type's values are, or that its elements are.
fn enum_of(ty: &Type) -> Option<&Type> {
    match &ty.kind {
        TypeKind::Enum => Some(ty),
        TypeKind::Array { element, .. } => enum_of(element),
        _ => None,
    }
}

/// A hole, unless the feed has told of it after all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    pub hole: TableHole,
    /// A truncate of this table in each of these transactions explains everything.
    pub unless_truncated: Option<(RelationId, Vec<u32>)>,
    /// What the publication gives was altered: transactions that were in progress then may have more to it.
    pub by_publication: bool,
}

impl Suspicion {
    /// Something about a table, by its name then, that can't have been told.
    #[must_use]
    pub fn of(table: &PublishedTable, reason: impl Into<String>) -> Self {
        let (schema, name) = (Arc::clone(&table.schema), Arc::clone(&table.name));
        Self { hole: TableHole { schema, name, reason: reason.into() }, unless_truncated: None, by_publication: false }
    }

    /// The same where the publication itself was altered.
    #[must_use]
    pub fn of_publication(table: &PublishedTable, reason: impl Into<String>) -> Self {
        Self { by_publication: true, ..Self::of(table, reason) }
    }
}
