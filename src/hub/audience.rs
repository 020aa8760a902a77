//! A topic's subscribers, and which of them a change concerns.
//!
//! Shapes that are shown some rows only are found by the values that their predicates ask for, so that a change costs
//! with those whom it concerns and not with all who subscribe. What a predicate says beside that is evaluated for the
//! shapes that were found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::change::{Datum, Operation, RelationId};
use crate::routing::{Image, Keys, Sources, Values};

use super::ShapeId;
use super::entry::{Batch, Delivery, Entry, Logged};
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

/// The deliveries of a batch that may concern a shape, by their places.
pub(super) type Concerned = BTreeMap<ShapeId, Vec<usize>>;

impl Audience {
    pub(super) fn is_empty(&self) -> bool {
        self.by_sight.is_empty()
    }

    pub(super) fn find(&self, sight: &Sight) -> Option<ShapeId> {
        self.by_sight.get(sight).copied()
    }

    /// Takes a shape in, whose id is greater than all others. `keys` gives what it is found by in a table; a table for
    /// which it gives nothing is indexed anew when it next has a change.
    pub(super) fn add(&mut self, id: ShapeId, sight: Arc<Sight>, mut keys: impl FnMut(&Arc<Table>) -> Option<Found>) {
        if sight.shows_all_rows() {
            self.everyone.push(id);
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

    /// Which of the choosy shapes a batch may concern.
    pub(super) fn concerned(&self, entry: &Entry, batch: &Batch) -> Concerned {
        let mut found = Concerned::new();
        for (place, delivery) in batch.deliveries.iter().enumerate() {
            let Some(logged) = entry.changes.get(delivery.change) else { continue };
            let mut add = |id: ShapeId| {
                let places = found.entry(id).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            };
            match self.index(&logged.table) {
                Some(index) if !matches!(logged.change.operation, Operation::Truncate) => {
                    index.concerned(logged, delivery, &mut add);
                }
                _ => self.choosy.iter().copied().for_each(add),
            }
        }
        found
    }

    fn index(&self, table: &Arc<Table>) -> Option<&Index> {
        self.tables.get(&table.relation.id).filter(|index| Arc::ptr_eq(&index.table, table))
    }
}

/// Shapes by the values that they ask for in one table.
#[derive(Debug)]
struct Index {
    table: Arc<Table>,
    /// By the columns' places in the relation; the shapes of a value are ascending.
    columns: BTreeMap<usize, HashMap<Box<[u8]>, Vec<ShapeId>>>,
    /// Those that can only be asked, ascending.
    unkeyed: BTreeSet<ShapeId>,
    /// What each is found by, to be taken out again.
    keys: HashMap<ShapeId, Vec<Keys>>,
}

impl Index {
    fn new(table: Arc<Table>) -> Self {
        Self { table, columns: BTreeMap::new(), unkeyed: BTreeSet::new(), keys: HashMap::new() }
    }

    fn add(&mut self, id: ShapeId, keys: Found) {
        let Some(keys) = keys else {
            self.unkeyed.insert(id);
            return;
        };
        for Keys { column, values } in &keys {
            let by_value = self.columns.entry(*column).or_default();
            for value in values {
                let shapes = by_value.entry(value.as_bytes().into()).or_default();
                if let Err(place) = shapes.binary_search(&id) {
                    shapes.insert(place, id);
                }
            }
        }
        self.keys.insert(id, keys);
    }

    fn remove(&mut self, id: ShapeId) {
        self.unkeyed.remove(&id);
        for Keys { column, values } in self.keys.remove(&id).unwrap_or_default() {
            let Some(by_value) = self.columns.get_mut(&column) else { continue };
            for value in values {
                let Some(shapes) = by_value.get_mut(value.as_bytes()) else { continue };
                if let Ok(place) = shapes.binary_search(&id) {
                    shapes.remove(place);
                }
                if shapes.is_empty() {
                    by_value.remove(value.as_bytes());
                }
            }
        }
    }

    fn concerned(&self, logged: &Logged, delivery: &Delivery, add: &mut impl FnMut(ShapeId)) {
        let relation = &self.table.relation;
        let operation = &logged.change.operation;
        let side = |sources: Sources, image| if sources.is_empty() { None } else { image };
        let before = side(delivery.before, Image::before(relation, operation));
        let after = side(delivery.after, Image::after(relation, operation));
        for (column, by_value) in &self.columns {
            for image in before.iter().chain(&after) {
                match image.value(*column) {
                    Some(Datum::Null) => {}
                    Some(Datum::Text(text)) => by_value.get(text).into_iter().flatten().copied().for_each(&mut *add),
                    // It may be any of them.
                    Some(Datum::Unchanged) | None => by_value.values().flatten().copied().for_each(&mut *add),
                }
            }
        }
        self.unkeyed.iter().copied().for_each(add);
    }
}
