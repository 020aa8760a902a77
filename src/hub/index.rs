//! Shapes by the values that they ask for in one table.
//!
//! Whom it finds are candidates: their predicates decide. So it knows values by their hashes alone, and one look, at
//! one place in memory, says who may be concerned.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use crate::change::Datum;
use crate::routing::{Image, Keys, Sources, Values};

use super::ShapeId;
use super::audience::Found;
use super::entry::{Delivery, Logged};
use super::table::Table;

#[derive(Debug)]
pub(super) struct Index {
    pub(super) table: Arc<Table>,
    /// Of values; nobody outside can tell which ones have equal hashes.
    hasher: RandomState,
    by_value: HashMap<u64, Holders, BuildHasherDefault<Hashed>>,
    /// The columns, by their places in the relation, whose values anybody asks for, and how many shapes do.
    columns: BTreeMap<usize, usize>,
    /// Those that can only be asked.
    unkeyed: BTreeSet<ShapeId>,
    /// What each is found by, to be taken out again: columns with the hashes of their values.
    keys: HashMap<ShapeId, Box<[(usize, u64)]>>,
}

/// Who asks for a value.
#[derive(Debug)]
enum Holders {
    One(ShapeId),
    /// Ascending.
    Many(Vec<ShapeId>),
}

impl Index {
    pub(super) fn new(table: Arc<Table>) -> Self {
        Self {
            table,
            hasher: RandomState::new(),
            by_value: HashMap::default(),
            columns: BTreeMap::new(),
            unkeyed: BTreeSet::new(),
            keys: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, id: ShapeId, keys: Found) {
        let Some(keys) = keys else {
            self.unkeyed.insert(id);
            return;
        };
        let hashes = |Keys { column, values }: Keys| values.into_iter().map(move |value| (column, value));
        let mut keys: Vec<(usize, u64)> = keys
            .into_iter()
            .flat_map(hashes)
            .map(|(column, value)| (column, self.hash(column, value.as_bytes())))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        for (_, hash) in &keys {
            self.by_value.entry(*hash).and_modify(|holders| holders.add(id)).or_insert(Holders::One(id));
        }
        columns(&keys).for_each(|column| *self.columns.entry(column).or_default() += 1);
        self.keys.insert(id, keys.into());
    }

    pub(super) fn remove(&mut self, id: ShapeId) {
        self.unkeyed.remove(&id);
        let Some(keys) = self.keys.remove(&id) else { return };
        for (_, hash) in &keys {
            if self.by_value.get_mut(hash).is_some_and(|holders| holders.remove(id)) {
                self.by_value.remove(hash);
            }
        }
        for column in columns(&keys) {
            if let Some(count) = self.columns.get_mut(&column) {
                *count -= 1;
                if *count == 0 {
                    self.columns.remove(&column);
                }
            }
        }
    }

    /// Calls back with each shape that a change may concern, some more than once.
    pub(super) fn concerned(&self, logged: &Logged, delivery: &Delivery, add: &mut impl FnMut(ShapeId)) {
        let relation = &self.table.relation;
        let operation = &logged.change.operation;
        let side = |sources: Sources, image| if sources.is_empty() { None } else { image };
        let before = side(delivery.before, Image::before(relation, operation));
        let after = side(delivery.after, Image::after(relation, operation));
        for column in self.columns.keys() {
            let [before, after] = [&before, &after].map(|image| image.as_ref().map(|image| image.value(*column)));
            if let Some(value) = after {
                self.holders(*column, value, add);
            }
            if let Some(value) = before.filter(|_| before != after) {
                self.holders(*column, value, add);
            }
        }
        self.unkeyed.iter().copied().for_each(add);
    }

    fn holders(&self, column: usize, value: Option<Datum<'_>>, add: &mut impl FnMut(ShapeId)) {
        match value {
            Some(Datum::Null) => {}
            Some(Datum::Text(text)) => match self.by_value.get(&self.hash(column, text)) {
                Some(Holders::One(id)) => add(*id),
                Some(Holders::Many(ids)) => ids.iter().copied().for_each(add),
                None => {}
            },
            // It may be any of them.
            Some(Datum::Unchanged) | None => {
                let mut asking: Vec<ShapeId> = self
                    .keys
                    .iter()
                    .filter(|(_, keys)| keys.iter().any(|(known, _)| *known == column))
                    .map(|(id, _)| *id)
                    .collect();
                asking.sort_unstable();
                asking.into_iter().for_each(add);
            }
        }
    }

    fn hash(&self, column: usize, value: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_usize(column);
        hasher.write(value);
        hasher.finish()
    }
}

/// Each once.
fn columns(keys: &[(usize, u64)]) -> impl Iterator<Item = usize> {
    keys.chunk_by(|(one, _), (other, _)| one == other).filter_map(|keys| keys.first()).map(|(column, _)| *column)
}

impl Holders {
    fn add(&mut self, id: ShapeId) {
        match self {
            Self::One(known) if *known == id => {}
            Self::One(known) => *self = Self::Many(vec![id.min(*known), id.max(*known)]),
            Self::Many(ids) => {
                if let Err(place) = ids.binary_search(&id) {
                    ids.insert(place, id);
                }
            }
        }
    }

    /// Whether nobody is left.
    fn remove(&mut self, id: ShapeId) -> bool {
        match self {
            Self::One(known) => *known == id,
            Self::Many(ids) => {
                if let Ok(place) = ids.binary_search(&id) {
                    ids.remove(place);
                }
                match &**ids {
                    [] => true,
                    [one] => {
                        *self = Self::One(*one);
                        false
                    }
                    _ => false,
                }
            }
        }
    }
}

/// Of numbers that are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
