//! Subscribers who are sent the same bytes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::change::RelationId;
use crate::change::json::ChangeEncoder;
use crate::routing::{Keys, Ops, RouteId, Topic};

use super::entry::{Batch, Delivery, Entry as Transaction};
use super::judge::{Judge, Seen, Trouble};
use super::message::ShardId;
use super::sight::{Fingerprint, Sight};
use super::table::Table;
use super::{Position, Refusal};

/// A shape's number, never used again, see [`super::shapes`]; shards know their share of its subscribers by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShapeId(pub u64);

/// All subscribers of one topic with one sight of it, counted by shard: who they are is the shards' own business.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) id: ShapeId,
    pub(super) topic: Topic,
    pub(super) sight: Arc<Sight>,
    /// Of their cursors.
    pub(super) fingerprint: Option<Fingerprint>,
    subscribers: Subscribers,
    /// What of the sight is asked of every change.
    ops: Ops,
    shows_all_rows: bool,
    shows_everything: bool,
    own_columns: bool,
    /// For a view of its own columns.
    encoders: Option<Box<Encoders>>,
    /// For a sight of some rows.
    judges: Judges,
    /// When and up to where its subscribers were last told of a position.
    pub(super) told: (Duration, Position),
    /// Its subscribers have got a part of the transaction that is coming in, and wait for the last one.
    pub(super) owed: bool,
}

/// Made when a table is first met, and again when it was re-sent.
type Encoders = HashMap<(RelationId, RouteId), (Arc<Table>, ChangeEncoder)>;

/// Made when a table is first met, and again when it was re-sent. Most topics are one table's: its judge lies where the
/// shape does, so that a change of a shape that nobody has thought of for long is not five waits for memory.
#[derive(Debug, Default)]
struct Judges {
    first: Option<Judge>,
    /// Of other tables.
    others: BTreeMap<RelationId, Judge>,
}

/// How many there are, by shard. Most shapes are one subscriber's.
#[derive(Debug, Default)]
struct Subscribers {
    first: Option<(ShardId, u32)>,
    /// Of other shards.
    others: Vec<(ShardId, u32)>,
}

impl Shape {
    pub(super) fn new(
        id: ShapeId,
        topic: Topic,
        sight: Arc<Sight>,
        fingerprint: Option<Fingerprint>,
        told: (Duration, Position),
    ) -> Self {
        Self {
            id,
            topic,
            fingerprint,
            subscribers: Subscribers::default(),
            ops: sight.view.ops,
            shows_all_rows: sight.shows_all_rows(),
            shows_everything: sight.shows_everything(),
            own_columns: sight.view.columns.is_some(),
            sight,
            encoders: None,
            judges: Judges::default(),
            told,
            owed: false,
        }
    }

    pub(super) fn add(&mut self, shard: ShardId) {
        self.subscribers.add(shard);
    }

    pub(super) fn remove(&mut self, shard: ShardId) {
        self.subscribers.remove(shard);
    }

    pub(super) fn subscribers(&self) -> u64 {
        self.subscribers.iter().map(|(_, count)| u64::from(count)).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscribers.first.is_none()
    }

    /// The shards that have subscribers of this shape.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.subscribers.iter().map(|(shard, _)| shard)
    }

    /// Whether a message of a transaction in parts is sent though nothing in it is shown: who sees all gets all parts,
    /// and who waits for the end of the parts that it got is told of it.
    pub(super) fn wants_empty(&self, batch: &Batch, owed: bool) -> bool {
        batch.is_part() && (self.shows_everything || (owed && !batch.more))
    }

    /// Appends what is shown of a batch: of all its deliveries, or of those that are given.
    pub(super) fn see<'d>(
        &mut self,
        entry: &Transaction,
        deliveries: impl Iterator<Item = &'d Delivery>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), Trouble> {
        for delivery in deliveries {
            let Some(logged) = entry.changes.get(delivery.change) else { continue };
            seen.extend(if self.shows_all_rows {
                Seen::by_everyone(logged, *delivery, self.ops)?
            } else {
                self.judges.of(&logged.table, &self.sight).map_err(Trouble::Ended)?.see(logged, *delivery)?
            });
        }
        Ok(())
    }

    /// What the shape is found by in a table; see [`Judge::keys`].
    pub(super) fn keys(&mut self, table: &Arc<Table>) -> Result<Option<Vec<Keys>>, Refusal> {
        self.judges.of(table, &self.sight).map(Judge::keys)
    }

    /// How the view shows what was seen before a change, and what is seen after it.
    pub(super) fn encoders<'a>(
        &'a mut self,
        table: &'a Arc<Table>,
        seen: Seen,
    ) -> Option<(&'a ChangeEncoder, &'a ChangeEncoder)> {
        let (before, after) = (seen.before.or(seen.after)?, seen.after.or(seen.before)?);
        let Some(columns) = self.own_columns.then_some(self.sight.view.columns.as_ref()).flatten() else {
            return Some((table.encoder(before)?, table.encoder(after)?));
        };
        let encoders = self.encoders.get_or_insert_default();
        for route in [before, after] {
            let key = (table.relation.id, route);
            if encoders.get(&key).is_none_or(|(known, _)| !Arc::ptr_eq(known, table)) {
                encoders.insert(key, (Arc::clone(table), table.encoder_of(route, columns)?));
            }
        }
        let encoder = |route| encoders.get(&(table.relation.id, route)).map(|(_, encoder)| encoder);
        Some((encoder(before)?, encoder(after)?))
    }
}

impl Judges {
    fn of(&mut self, table: &Arc<Table>, sight: &Sight) -> Result<&Judge, Refusal> {
        let id = table.relation.id;
        if self.first.is_none() {
            return Ok(self.first.insert(Judge::compile(table, sight)?));
        }
        let judge = match &mut self.first {
            Some(first) if first.relation == id => first,
            _ => match self.others.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => return Ok(place.insert(Judge::compile(table, sight)?)),
            },
        };
        if !Arc::ptr_eq(&judge.table, table) {
            *judge = Judge::compile(table, sight)?;
        }
        Ok(judge)
    }
}

impl Subscribers {
    fn iter(&self) -> impl Iterator<Item = (ShardId, u32)> {
        self.first.iter().chain(&self.others).copied()
    }

    fn add(&mut self, shard: ShardId) {
        let Some(first) = &mut self.first else {
            self.first = Some((shard, 1));
            return;
        };
        match std::iter::once(first).chain(&mut self.others).find(|(known, _)| *known == shard) {
            Some((_, count)) => *count += 1,
            None => self.others.push((shard, 1)),
        }
    }

    fn remove(&mut self, shard: ShardId) {
        for (_, count) in self.first.iter_mut().chain(&mut self.others).filter(|(known, _)| *known == shard) {
            *count -= 1;
        }
        self.others.retain(|(_, count)| *count > 0);
        if self.first.is_some_and(|(_, count)| count == 0) {
            self.first = self.others.pop();
        }
    }
}
