//! All shapes, each found by its number at once: a change costs what it costs however many there are.

use super::ShapeId;
use super::shape::Shape;

/// Slots are made in blocks: none moves when there are more of them.
const BLOCK: usize = 256;
/// A number is a slot and, above it, how often the slot was used before.
const SLOT_BITS: u32 = u32::BITS;

/// By number.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// All but the last are full.
    blocks: Vec<Vec<Slot>>,
    /// Slots to be used again, the latest first.
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
enum Slot {
    Used(Shape),
    /// How many shapes it has had before.
    Free {
        generation: u32,
    },
}

impl Shapes {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number that the next shape is to have; none where all numbers are in use, for which there is no memory.
    pub(super) fn vacant(&self) -> Option<ShapeId> {
        let fresh = self.blocks.len().saturating_sub(1) * BLOCK + self.blocks.last().map_or(0, Vec::len);
        match self.free.last() {
            Some(slot) => match self.slot(*slot)? {
                Slot::Free { generation } => Some(number(*slot, *generation)),
                Slot::Used(_) => None,
            },
            None => u32::try_from(fresh).ok().map(|slot| number(slot, 0)),
        }
    }

    /// Takes a shape in whose number is [`Shapes::vacant`].
    pub(super) fn insert(&mut self, shape: Shape) {
        debug_assert_eq!(Some(shape.id), self.vacant());
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            if let Some(slot) = self.slot_mut(slot) {
                *slot = Slot::Used(shape);
            }
            return;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(Slot::Used(shape));
        }
    }

    pub(super) fn get(&self, id: &ShapeId) -> Option<&Shape> {
        match self.slot(parts(*id).0)? {
            Slot::Used(shape) if shape.id == *id => Some(shape),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: &ShapeId) -> Option<&mut Shape> {
        match self.slot_mut(parts(*id).0)? {
            Slot::Used(shape) if shape.id == *id => Some(shape),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, id: &ShapeId) -> Option<Shape> {
        let (number, generation) = parts(*id);
        self.get(id)?;
        let next = generation.checked_add(1);
        let free = Slot::Free { generation: next.unwrap_or(generation) };
        let Slot::Used(shape) = std::mem::replace(self.slot_mut(number)?, free) else { return None };
        self.len -= 1;
        // A number is never used again: the slot of the last one is given up.
        if next.is_some() {
            self.free.push(number);
        }
        Some(shape)
    }

    /// All numbers, ascending.
    pub(super) fn ids(&self) -> Vec<ShapeId> {
        let id = |slot: &Slot| if let Slot::Used(shape) = slot { Some(shape.id) } else { None };
        let mut ids: Vec<ShapeId> = self.blocks.iter().flatten().filter_map(id).collect();
        ids.sort_unstable();
        ids
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        let slot = usize::try_from(slot).ok()?;
        self.blocks.get(slot / BLOCK)?.get(slot % BLOCK)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        let slot = usize::try_from(slot).ok()?;
        self.blocks.get_mut(slot / BLOCK)?.get_mut(slot % BLOCK)
    }
}

fn number(slot: u32, generation: u32) -> ShapeId {
    ShapeId(u64::from(generation) << SLOT_BITS | u64::from(slot))
}

/// The slot, and the generation.
fn parts(id: ShapeId) -> (u32, u32) {
    let [g0, g1, g2, g3, s0, s1, s2, s3] = id.0.to_be_bytes();
    (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([g0, g1, g2, g3]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::hub::Position;
    use crate::hub::sight::Sight;
    use crate::routing::{RouteTable, Topic};

    fn shape(id: ShapeId, name: &str) -> Shape {
        let nowhere = (Duration::ZERO, Position::default());
        let mark = Sight::default().mark(&RouteTable::default(), name);
        Shape::new(id, Topic::parse(name).unwrap(), Arc::default(), mark, nowhere)
    }

    proptest! {
        #[test]
        fn a_number_is_one_shape_s_for_ever(steps in prop::collection::vec(any::<Option<u8>>(), 0..1_000)) {
            let mut shapes = Shapes::default();
            let mut model: BTreeMap<ShapeId, String> = BTreeMap::new();
            let mut gone: Vec<ShapeId> = Vec::new();
            for (step, remove) in steps.into_iter().enumerate() {
                let victim = remove.and_then(|which| model.keys().nth(usize::from(which)).copied());
                if let Some(id) = victim {
                    let name = model.remove(&id).unwrap();
                    prop_assert_eq!(shapes.remove(&id).map(|it| it.topic().to_string()), Some(name));
                    gone.push(id);
                } else {
                    let id = shapes.vacant().unwrap();
                    prop_assert!(!model.contains_key(&id) && !gone.contains(&id));
                    shapes.insert(shape(id, &format!("t{step}")));
                    model.insert(id, format!("t{step}"));
                }
                prop_assert_eq!(shapes.len(), model.len());
            }
            prop_assert_eq!(shapes.ids(), model.keys().copied().collect::<Vec<_>>());
            for (id, name) in &model {
                prop_assert_eq!(shapes.get(id).map(|it| it.topic().as_str()), Some(name.as_str()));
                prop_assert_eq!(shapes.get_mut(id).map(|it| it.id), Some(*id));
            }
            for id in &gone {
                prop_assert!(shapes.get(id).is_none() && shapes.remove(id).is_none());
            }
        }
    }
}
