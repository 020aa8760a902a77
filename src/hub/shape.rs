//! Subscribers who are sent the same bytes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::change::RelationId;
use crate::change::json::ChangeEncoder;
use crate::routing::{Keys, Ops, RouteId, Topic};

use super::entry::{Batch, Delivery, Entry as Transaction};
use super::index::Known;
use super::judge::{Judge, Seen, Trouble};
use super::message::ShardId;
use super::sight::{Mark, Sight};
use super::table::Table;
use super::{Position, Refusal};

/// A shape's number, never used again, see [`super::shapes`]; shards know their share of its subscribers by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShapeId(pub u64);

/// All subscribers of one topic with one sight of it, counted by shard: who they are is the shards' own business.
///
/// What every change of it needs lies in what memory brings at once, 64 bytes and their neighbours; the rest is
/// elsewhere, so that a change of a shape that nobody has thought of for long waits for memory once.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Shape {
    pub(super) id: ShapeId,
    /// Of their cursors.
    pub(super) mark: Mark,
    /// When and up to where its subscribers were last told of a position.
    pub(super) told: (Duration, Position),
    subscribers: Subscribers,
    /// What of the sight is asked of every change.
    ops: Ops,
    shows_all_rows: bool,
    shows_everything: bool,
    own_columns: bool,
    /// Its subscribers have got a part of the transaction that is coming in, and wait for the last one.
    pub(super) owed: bool,
    rest: Box<Rest>,
}

/// What a change needs that its value alone does not decide, and what it doesn't need.
#[derive(Debug)]
struct Rest {
    topic: Topic,
    sight: Arc<Sight>,
    /// For a view of its own columns.
    encoders: Encoders,
    /// For a sight of some rows.
    judges: Judges,
}

/// Made when a table is first met, and again when it was re-sent.
type Encoders = HashMap<(RelationId, RouteId), (Arc<Table>, ChangeEncoder)>;

/// Made when a table is first met, and again when it was re-sent. Most topics are one table's: its judge lies where the
/// rest does.
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
    /// Of other shards; most shapes have none.
    others: Option<Box<Vec<(ShardId, u32)>>>,
}

impl Shape {
    pub(super) fn new(id: ShapeId, topic: Topic, sight: Arc<Sight>, mark: Mark, told: (Duration, Position)) -> Self {
        Self {
            id,
            mark,
            told,
            subscribers: Subscribers::default(),
            ops: sight.view.ops,
            shows_all_rows: sight.shows_all_rows(),
            shows_everything: sight.shows_everything(),
            own_columns: sight.view.columns.is_some(),
            owed: false,
            rest: Box::new(Rest { topic, sight, encoders: Encoders::new(), judges: Judges::default() }),
        }
    }

    pub(super) const fn topic(&self) -> &Topic {
        &self.rest.topic
    }

    pub(super) const fn sight(&self) -> &Arc<Sight> {
        &self.rest.sight
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

    /// Appends what is shown of a batch: of all its deliveries, or of those that are given, with what is known of them.
    pub(super) fn see<'d>(
        &mut self,
        entry: &Transaction,
        deliveries: impl Iterator<Item = (&'d Delivery, Known)>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), Trouble> {
        for (delivery, known) in deliveries {
            let Some(logged) = entry.changes.get(delivery.change) else { continue };
            seen.extend(match known {
                _ if self.shows_all_rows => Seen::by_everyone(logged, *delivery, self.ops)?,
                Some(sides) => Seen::on_sides(logged, *delivery, sides, self.ops),
                None => {
                    let Rest { judges, sight, .. } = &mut *self.rest;
                    judges.of(&logged.table, sight).map_err(Trouble::Ended)?.see(logged, *delivery)?
                }
            });
        }
        Ok(())
    }

    /// Appends what is shown of all deliveries of a batch.
    pub(super) fn see_all(&mut self, entry: &Transaction, batch: &Batch, seen: &mut Vec<Seen>) -> Result<(), Trouble> {
        self.see(entry, batch.deliveries.iter().map(|delivery| (delivery, None)), seen)
    }

    /// What the shape is found by in a table; see [`Judge::keys`].
    pub(super) fn keys(&mut self, table: &Arc<Table>) -> Result<Option<Vec<Keys>>, Refusal> {
        let Rest { judges, sight, .. } = &mut *self.rest;
        judges.of(table, sight).map(Judge::keys)
    }

    /// How the view shows what was seen before a change, and what is seen after it.
    pub(super) fn encoders<'a>(
        &'a mut self,
        table: &'a Arc<Table>,
        seen: Seen,
    ) -> Option<(&'a ChangeEncoder, &'a ChangeEncoder)> {
        let (before, after) = (seen.before.or(seen.after)?, seen.after.or(seen.before)?);
        if !self.own_columns {
            return Some((table.encoder(before)?, table.encoder(after)?));
        }
        let Rest { sight, encoders, .. } = &mut *self.rest;
        let columns = sight.view.columns.as_ref()?;
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
        self.first.iter().chain(self.others.iter().flat_map(|others| others.iter())).copied()
    }

    fn add(&mut self, shard: ShardId) {
        let Some(first) = &mut self.first else {
            self.first = Some((shard, 1));
            return;
        };
        if first.0 == shard {
            first.1 += 1;
            return;
        }
        let others = self.others.get_or_insert_default();
        match others.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, count)) => *count += 1,
            None => others.push((shard, 1)),
        }
    }

    fn remove(&mut self, shard: ShardId) {
        let others = self.others.iter_mut().flat_map(|others| others.iter_mut());
        for (_, count) in self.first.iter_mut().chain(others).filter(|(known, _)| *known == shard) {
            *count -= 1;
        }
        if let Some(others) = &mut self.others {
            others.retain(|(_, count)| *count > 0);
        }
        if self.first.is_some_and(|(_, count)| count == 0) {
            self.first = self.others.as_mut().and_then(|others| others.pop());
        }
        self.others.take_if(|others| others.is_empty());
    }
}
