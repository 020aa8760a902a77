//! Shapes by the values that they ask for in one table.
//!
//! Whom it finds are candidates: their predicates decide, and so it knows values by their hashes alone. Where the value
//! is all that a predicate asks for, and only one shape asks for it, the value lies where the shape's number does, and
//! decides: one look, at one place in memory, says whom a change concerns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use crate::change::Datum;
use crate::routing::{Image, Keys, Sources, Values};

use super::ShapeId;
use super::audience::Found;
use super::entry::{Delivery, Logged};
use super::judge::Sides;
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
    /// With the value, where having it decides.
    One(ShapeId, Option<ShortValue>),
    /// Ascending.
    Many(Vec<ShapeId>),
}

/// A column's value that is short enough to lie with the shape's number: an identifier of any kind is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ShortValue {
    column: u16,
    length: u8,
    bytes: [u8; SHORT_MAX],
}

/// Makes a value's place in the index as large as what memory brings at once, 64 bytes.
const SHORT_MAX: usize = 36;

/// What the index says of a shape and a change: who is seen on which side, or that the shape is to be asked.
pub(super) type Known = Option<Sides>;

const BEFORE: Sides = Sides { before: true, after: false };
const AFTER: Sides = Sides { before: false, after: true };

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
        let mut hashes: Vec<(usize, u64)> = Vec::new();
        for Keys { column, values, decisive } in &keys {
            for value in values {
                let hash = self.hash(*column, value.as_bytes());
                let deciding = if *decisive { ShortValue::new(*column, value.as_bytes()) } else { None };
                let holders = self.by_value.entry(hash);
                holders.and_modify(|holders| holders.add(id)).or_insert(Holders::One(id, deciding));
                hashes.push((*column, hash));
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        columns(&hashes).for_each(|column| *self.columns.entry(column).or_default() += 1);
        self.keys.insert(id, hashes.into());
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

    /// Calls back with each shape that a change may concern, some more than once: what is known of one of them on
    /// several calls is true together, and where one knows nothing it is to be asked.
    pub(super) fn concerned(&self, logged: &Logged, delivery: &Delivery, add: &mut impl FnMut(ShapeId, Known)) {
        let relation = &self.table.relation;
        let operation = &logged.change.operation;
        let side = |sources: Sources, image| if sources.is_empty() { None } else { image };
        let before = side(delivery.before, Image::before(relation, operation));
        let after = side(delivery.after, Image::after(relation, operation));
        for column in self.columns.keys() {
            let [before, after] = [&before, &after].map(|image| image.as_ref().map(|image| image.value(*column)));
            match (before, after) {
                (Some(value), Some(after)) if value == after => {
                    self.holders(*column, value, Sides { before: true, after: true }, add);
                }
                (before, after) => {
                    after.into_iter().for_each(|value| self.holders(*column, value, AFTER, add));
                    before.into_iter().for_each(|value| self.holders(*column, value, BEFORE, add));
                }
            }
        }
        self.unkeyed.iter().for_each(|id| add(*id, None));
    }

    fn holders(&self, column: usize, value: Option<Datum<'_>>, sides: Sides, add: &mut impl FnMut(ShapeId, Known)) {
        match value {
            Some(Datum::Null) => {}
            Some(Datum::Text(text)) => match self.by_value.get(&self.hash(column, text)) {
                Some(Holders::One(id, None)) => add(*id, None),
                Some(Holders::One(id, Some(value))) if value.is(column, text) => add(*id, Some(sides)),
                Some(Holders::Many(ids)) => ids.iter().for_each(|id| add(*id, None)),
                Some(Holders::One(..)) | None => {}
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
                asking.into_iter().for_each(|id| add(id, None));
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
            // Of two values with one hash neither decides.
            Self::One(known, value) if *known == id => *value = None,
            Self::One(known, _) => *self = Self::Many(vec![id.min(*known), id.max(*known)]),
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
            Self::One(known, _) => *known == id,
            Self::Many(ids) => {
                if let Ok(place) = ids.binary_search(&id) {
                    ids.remove(place);
                }
                match &**ids {
                    [] => true,
                    // What it asks for is not known here any more.
                    [one] => {
                        *self = Self::One(*one, None);
                        false
                    }
                    _ => false,
                }
            }
        }
    }
}

impl ShortValue {
    fn new(column: usize, value: &[u8]) -> Option<Self> {
        let mut bytes = [0; SHORT_MAX];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self { column: u16::try_from(column).ok()?, length: u8::try_from(value.len()).ok()?, bytes })
    }

    fn is(&self, column: usize, value: &[u8]) -> bool {
        usize::from(self.column) == column && self.bytes.get(..usize::from(self.length)) == Some(value)
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
