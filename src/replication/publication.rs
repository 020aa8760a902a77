//! What a publication gives, and which of its changes leave a hole in the feed.
//!
//! Postgres says nothing when a table leaves a publication: its changes stop. Nor when rows come to be in a table, or
//! are gone, other than by a change of their own: a partition is attached, a column gets another type. So the catalogue
//! is looked at now and then, and two looks are compared here. Pure: [`super::source`] looks, and sees to it that a
//! hole is told only when the feed has come past what made it.
//!
//! Whatever is in doubt counts as a hole: a reset too many costs a client a snapshot, one too few its trust.
#![deny(clippy::indexing_slicing)]

mod altered;
mod catalogue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::change::{Oid, Relation, RelationId, TableHole};

pub use altered::altered_since;
pub use catalogue::{enum_labels, look, mark};

/// A publication as the catalogue has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// One that is dropped and created anew has another.
    pub id: Oid,
    /// Whether inserts, updates, deletes and truncates are published.
    pub operations: [bool; 4],
    pub via_root: bool,
    pub tables: BTreeMap<RelationId, PublishedTable>,
}

/// A table as a publication gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedTable {
    pub relation: Arc<Relation>,
    /// What makes it a member: rows of `pg_publication_rel` and `pg_publication_namespace`, of the table and of what it
    /// is a partition of. Another column list or row filter is another row. Empty where all tables are published.
    pub members: BTreeSet<Oid>,
    /// In the order of the relation's columns.
    pub columns: Vec<PublishedColumn>,
    /// Where its rows are, if it is partitioned.
    pub partitions: BTreeMap<Oid, Partition>,
}

/// What a relation's description does not say of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedColumn {
    /// `attnum`, which a rename keeps.
    pub number: i16,
    /// `atttypmod`: values are rewritten when it changes, as in `numeric(8, 2)`.
    pub modifier: i32,
    /// Rows that are older than the column can have a value in it.
    pub has_default: bool,
}

/// One of the tables that a partitioned table's rows are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// `relfilenode`: a truncate gives it another one.
    pub file: Oid,
    /// Who wrote its row in `pg_class`.
    pub xid: u32,
}

/// What a look at the catalogue found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// `None` where there is no such publication.
    pub publication: Option<Publication>,
    /// Of the tables and partitions that the look before did not know: those that have never had a row.
    pub empty: BTreeSet<Oid>,
}

impl Look {
    /// Every table that the publication gives, by schema and name.
    #[must_use]
    pub fn relations(&self) -> Vec<Arc<Relation>> {
        let mut relations: Vec<_> = self.tables().map(|(_, table)| Arc::clone(&table.relation)).collect();
        relations.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
        relations
    }

    pub fn tables(&self) -> impl Iterator<Item = (RelationId, &PublishedTable)> {
        self.publication.iter().flat_map(|it| it.tables.iter().map(|(id, table)| (*id, table)))
    }
}

/// A hole, unless the feed has told of it after all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    pub hole: TableHole,
    /// A truncate of this table in each of these transactions explains everything.
    pub unless_truncated: Option<(RelationId, Vec<u32>)>,
}

impl Suspicion {
    /// Something about a table, by its name then, that can't have been told.
    #[must_use]
    pub fn of(relation: &Relation, reason: impl Into<String>) -> Self {
        let (schema, name) = (Arc::clone(&relation.schema), Arc::clone(&relation.name));
        Self { hole: TableHole { schema, name, reason: reason.into() }, unless_truncated: None }
    }
}

/// What the feed lacks of what happened between two looks.
#[must_use]
pub fn holes(before: &Look, after: &Look) -> Vec<Suspicion> {
    let Some(known) = &before.publication else { return joined(before, after) };
    if let Some(reason) = changed_as_a_whole(known, after.publication.as_ref()) {
        let all = before.tables().chain(after.tables());
        return all.map(|(_, table)| Suspicion::of(&table.relation, reason)).collect();
    }
    let mut found = joined(before, after);
    for (id, table) in &known.tables {
        match after.publication.as_ref().and_then(|it| it.tables.get(id)) {
            None => found.push(Suspicion::of(&table.relation, "the publication does not give it any more")),
            Some(now) => found.extend(changed(table, now, &after.empty)),
        }
    }
    found
}

/// Why nothing that the publication gave can be gone on with.
fn changed_as_a_whole(before: &Publication, after: Option<&Publication>) -> Option<&'static str> {
    match after {
        None => Some("the publication was dropped"),
        Some(after) if after.id != before.id => Some("the publication was dropped and created anew"),
        Some(after) if after.operations != before.operations => {
            Some("the publication publishes other operations than before")
        }
        Some(after) if after.via_root != before.via_root => {
            Some("the publication's `publish_via_partition_root` was changed")
        }
        Some(_) => None,
    }
}

/// Tables that are new to the publication with rows in them: nobody was told of those.
fn joined(before: &Look, after: &Look) -> Vec<Suspicion> {
    let is_new = |id: &RelationId| before.publication.as_ref().is_none_or(|it| !it.tables.contains_key(id));
    let has_rows = |id: RelationId, table: &PublishedTable| match table.partitions.is_empty() {
        true => !after.empty.contains(&id.0),
        false => table.partitions.keys().any(|partition| !after.empty.contains(partition)),
    };
    let joined = after.tables().filter(|(id, table)| is_new(id) && has_rows(*id, table));
    joined.map(|(_, table)| Suspicion::of(&table.relation, "it joined the publication with rows in it")).collect()
}

fn changed(before: &PublishedTable, after: &PublishedTable, empty: &BTreeSet<Oid>) -> Vec<Suspicion> {
    let mut found = Vec::new();
    if (&before.relation.schema, &before.relation.name) != (&after.relation.schema, &after.relation.name) {
        found.push(Suspicion::of(&before.relation, format!("it was renamed to {}", after.relation)));
        found.push(Suspicion::of(&after.relation, format!("it was renamed from {}", before.relation)));
    }
    if !before.members.is_empty() && before.members.is_disjoint(&after.members) {
        let reason = "it was taken out of the publication and put back, or its column list or row filter was changed";
        found.push(Suspicion::of(&after.relation, reason));
    }
    let columns = columns(before, after).map(|reason| Suspicion::of(&after.relation, reason));
    found.extend(columns);
    found.extend(partitions(before, after, empty));
    found
}

/// A column whose values are others than those that the feed gave. One that is gone, or new and empty, is no hole: rows
/// have it or don't from their next change on.
fn columns(before: &PublishedTable, after: &PublishedTable) -> Option<String> {
    let described = |table: &PublishedTable| {
        let columns = table.columns.iter().copied().zip(table.relation.columns.iter().cloned());
        columns.map(|(facts, column)| (facts.number, (facts, column))).collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (described(before), described(after));
    after.iter().find_map(|(number, (facts, column))| {
        let name = &column.name;
        match before.get(number) {
            None => facts.has_default.then(|| format!("column `{name}` was added with a value for rows that exist")),
            Some((_, was)) if was.name != *name => Some(format!("column `{}` was renamed to `{name}`", was.name)),
            Some((old, was)) if was.ty != column.ty || old.modifier != facts.modifier => {
                Some(format!("the type of column `{name}` was changed"))
            }
            Some(_) => None,
        }
    })
}

fn partitions(before: &PublishedTable, after: &PublishedTable, empty: &BTreeSet<Oid>) -> Option<Suspicion> {
    let relation = &after.relation;
    if before.partitions.keys().any(|partition| !after.partitions.contains_key(partition)) {
        return Some(Suspicion::of(relation, "a partition was detached or dropped"));
    }
    let attached = after.partitions.keys().filter(|partition| !before.partitions.contains_key(partition));
    if attached.into_iter().any(|partition| !empty.contains(partition)) {
        return Some(Suspicion::of(relation, "a partition was attached with rows in it"));
    }
    let is_other = |(id, now): &(&Oid, &Partition)| before.partitions.get(id).is_some_and(|was| was.file != now.file);
    let truncates: Vec<u32> = after.partitions.iter().filter(is_other).map(|(_, partition)| partition.xid).collect();
    (!truncates.is_empty()).then(|| Suspicion {
        unless_truncated: Some((relation.id, truncates)),
        ..Suspicion::of(relation, "a partition was truncated by itself, or rewritten")
    })
}
