//! A topic's subscribers, and which of them a change concerns.
//!
//! Shapes that are shown some rows only are found by the values that their predicates ask for, so that a change costs
//! with those whom it concerns and not with all who subscribe. What a predicate says beside that is evaluated for the
//! shapes that were found.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::change::{Operation, RelationId};
use crate::routing::Keys;

use super::ShapeId;
use super::entry::{Batch, Entry};
use super::index::{Index, Known};
use super::judge::Sides;
use super::sight::Sight;
use super::table::Table;

/// The shapes of one topic.
#[derive(Debug, Default)]
pub(super) struct Audience {
    by_sight: HashMap<Arc<Sight>, ShapeId>,
    /// Those that see every row, ascending.
    everyone: Vec<ShapeId>,
    /// Those that see some rows.
    choosy: BTreeSet<ShapeId>,
    /// Of the choosy ones, for each table that has had changes for them.
    tables: HashMap<RelationId, Index>,
    /// The choosy ones that have got a part of the transaction that is coming in.
    pub(super) owed: BTreeSet<ShapeId>,
}

/// What a shape is found by in a table, if by anything.
pub(super) type Found = Option<Vec<Keys>>;

/// What a batch may have to do with a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Concern {
    pub(super) shape: ShapeId,
    /// The place of a delivery that may concern it among the batch's; none where it is owed the batch's end.
    pub(super) place: Option<usize>,
    /// What the index says of that; none where the shape is to be asked.
    pub(super) known: Known,
}

impl Audience {
    pub(super) fn is_empty(&self) -> bool {
        self.by_sight.is_empty()
    }

    pub(super) fn find(&self, sight: &Sight) -> Option<ShapeId> {
        self.by_sight.get(sight).copied()
    }

    /// Takes a shape in. `keys` gives what it is found by in a table; a table for which it gives nothing is indexed
    /// anew when it next has a change.
    pub(super) fn add(&mut self, id: ShapeId, sight: Arc<Sight>, mut keys: impl FnMut(&Arc<Table>) -> Option<Found>) {
        if sight.shows_all_rows() {
            if let Err(place) = self.everyone.binary_search(&id) {
                self.everyone.insert(place, id);
            }
        } else {
            self.choosy.insert(id);
            self.tables.retain(|_, index| match keys(&index.table) {
                Some(keys) => {
                    index.add(id, keys);
                    true
                }
                None => false,
            });
        }
        self.by_sight.insert(sight, id);
    }

    pub(super) fn remove(&mut self, id: ShapeId, sight: &Sight) {
        self.by_sight.remove(sight);
        if let Ok(place) = self.everyone.binary_search(&id) {
            self.everyone.remove(place);
        } else if self.choosy.remove(&id) {
            self.tables.values_mut().for_each(|index| index.remove(id));
            self.owed.remove(&id);
        }
    }

    /// A choosy shape has got a part of a transaction that is coming in, or its last part.
    pub(super) fn owe(&mut self, id: ShapeId, owed: bool) {
        if owed && self.choosy.contains(&id) {
            self.owed.insert(id);
        } else {
            self.owed.remove(&id);
        }
    }

    /// Those that see every row.
    pub(super) fn everyone(&self) -> &[ShapeId] {
        &self.everyone
    }

    pub(super) fn choosy(&self) -> &BTreeSet<ShapeId> {
        &self.choosy
    }

    /// All shapes, ascending.
    pub(super) fn shapes(&self) -> Vec<ShapeId> {
        let mut shapes: Vec<ShapeId> = self.by_sight.values().copied().collect();
        shapes.sort_unstable();
        shapes
    }

    /// The tables of these changes that are not indexed as they are now.
    pub(super) fn not_indexed(&self, entry: &Entry, batch: &Batch) -> Vec<Arc<Table>> {
        let mut missing: Vec<Arc<Table>> = Vec::new();
        let tables = batch.deliveries.iter().filter_map(|it| entry.changes.get(it.change)).map(|logged| &logged.table);
        for table in tables.filter(|table| self.index(table).is_none()) {
            if !missing.iter().any(|known| Arc::ptr_eq(known, table)) {
                missing.push(Arc::clone(table));
            }
        }
        missing
    }

    /// Indexes a table, with what each shape is found by in it.
    pub(super) fn index_table(&mut self, table: Arc<Table>, keys: impl Iterator<Item = (ShapeId, Found)>) {
        let mut index = Index::new(Arc::clone(&table));
        keys.for_each(|(id, keys)| index.add(id, keys));
        self.tables.insert(table.relation.id, index);
    }

    /// Which of the choosy shapes a batch may concern, by which of its deliveries, and those that wait for it because
    /// it is the last of its transaction: ascending, each once.
    pub(super) fn concerned(&self, entry: &Entry, batch: &Batch) -> Vec<Concern> {
        let mut found: Vec<Concern> = Vec::new();
        for (place, delivery) in batch.deliveries.iter().enumerate() {
            let Some(logged) = entry.changes.get(delivery.change) else { continue };
            let mut add = |shape, known| found.push(Concern { shape, place: Some(place), known });
            match self.index(&logged.table) {
                Some(index) if !matches!(logged.change.operation, Operation::Truncate) => {
                    index.concerned(logged, delivery, &mut add);
                }
                _ => self.choosy.iter().for_each(|shape| add(*shape, None)),
            }
        }
        if !batch.more {
            found.extend(self.owed.iter().map(|shape| Concern { shape: *shape, place: None, known: None }));
        }
        found.sort_unstable();
        found.dedup_by(|next, one| one.takes(*next));
        found
    }

    fn index(&self, table: &Arc<Table>) -> Option<&Index> {
        self.tables.get(&table.relation.id).filter(|index| Arc::ptr_eq(&index.table, table))
    }
}

impl Concern {
    /// Takes in what else is known of the same delivery to the same shape, if that is what the other one is about.
    fn takes(&mut self, other: Self) -> bool {
        let is_same = (self.shape, self.place) == (other.shape, other.place);
        if is_same {
            let both = self.known.zip(other.known);
            self.known =
                both.map(|(one, other)| Sides { before: one.before | other.before, after: one.after | other.after });
        }
        is_same
    }
}
