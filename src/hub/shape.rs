//! Subscribers who are sent the same bytes.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Known;
use std::sync::Arc;
use std::time::Duration;

use crate::change::RelationId;
use crate::change::json::ChangeEncoder;
use crate::routing::{Keys, RouteId, Topic};

use super::entry::{Batch, Delivery, Entry};
use super::judge::{Judge, Seen, Trouble};
use super::message::ShardId;
use super::sight::{Fingerprint, Sight};
use super::table::Table;
use super::{Position, Refusal};

/// A shape's number, never used again; shards know their share of its subscribers by it.
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
    subscribers: Vec<u32>,
    /// For a view of its own columns: made when a table is first met, and again when it was re-sent.
    encoders: HashMap<(RelationId, RouteId), (Arc<Table>, ChangeEncoder)>,
    /// For a sight of some rows, in the same way.
    judges: HashMap<RelationId, Judge>,
    /// When and up to where its subscribers were last told of a position.
    pub(super) told: (Duration, Position),
    /// Its subscribers have got a part of the transaction that is coming in, and wait for the last one.
    pub(super) owed: bool,
}

impl Shape {
    pub(super) fn new(
        id: ShapeId,
        topic: Topic,
        sight: Arc<Sight>,
        fingerprint: Option<Fingerprint>,
        told: (Duration, Position),
    ) -> Self {
        let (subscribers, encoders, judges) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { id, topic, sight, fingerprint, subscribers, encoders, judges, told, owed: false }
    }

    pub(super) fn add(&mut self, shard: ShardId) {
        if self.subscribers.len() <= shard.0 {
            self.subscribers.resize(shard.0 + 1, 0);
        }
        if let Some(count) = self.subscribers.get_mut(shard.0) {
            *count += 1;
        }
    }

    pub(super) fn remove(&mut self, shard: ShardId) {
        if let Some(count) = self.subscribers.get_mut(shard.0) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn subscribers(&self) -> u64 {
        self.subscribers.iter().map(|count| u64::from(*count)).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscribers.iter().all(|count| *count == 0)
    }

    /// The shards that have subscribers of this shape.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> {
        let counts = self.subscribers.iter().enumerate();
        counts.filter(|(_, count)| **count > 0).map(|(shard, _)| ShardId(shard))
    }

    /// Whether a message of a transaction in parts is sent though nothing in it is shown: who sees all gets all parts,
    /// and who waits for the end of the parts that it got is told of it.
    pub(super) fn wants_empty(&self, batch: &Batch, owed: bool) -> bool {
        batch.is_part() && (self.sight.shows_everything() || (owed && !batch.more))
    }

    /// What is shown of a batch: of all its deliveries, or of those that are given.
    pub(super) fn see<'d>(
        &mut self,
        entry: &Entry,
        deliveries: impl Iterator<Item = &'d Delivery>,
    ) -> Result<Vec<Seen>, Trouble> {
        let shows_all_rows = self.sight.shows_all_rows();
        let mut seen = Vec::new();
        for delivery in deliveries {
            let Some(logged) = entry.changes.get(delivery.change) else { continue };
            seen.extend(if shows_all_rows {
                Seen::by_everyone(logged, *delivery, self.sight.view.ops)?
            } else {
                self.judge(&logged.table).map_err(Trouble::Ended)?.see(logged, *delivery)?
            });
        }
        Ok(seen)
    }

    /// What the shape is found by in a table; see [`Judge::keys`].
    pub(super) fn keys(&mut self, table: &Arc<Table>) -> Result<Option<Vec<Keys>>, Refusal> {
        self.judge(table).map(Judge::keys)
    }

    fn judge(&mut self, table: &Arc<Table>) -> Result<&Judge, Refusal> {
        match self.judges.entry(table.relation.id) {
            Known::Occupied(known) if Arc::ptr_eq(&known.get().table, table) => Ok(known.into_mut()),
            place => Ok(place.insert_entry(Judge::compile(table, &self.sight)?).into_mut()),
        }
    }

    /// How the view shows what was seen before a change, and what is seen after it.
    pub(super) fn encoders<'a>(
        &'a mut self,
        table: &'a Arc<Table>,
        seen: Seen,
    ) -> Option<(&'a ChangeEncoder, &'a ChangeEncoder)> {
        let (before, after) = (seen.before.or(seen.after)?, seen.after.or(seen.before)?);
        let Some(columns) = &self.sight.view.columns else {
            return Some((table.encoder(before)?, table.encoder(after)?));
        };
        for route in [before, after] {
            let key = (table.relation.id, route);
            if self.encoders.get(&key).is_none_or(|(known, _)| !Arc::ptr_eq(known, table)) {
                self.encoders.insert(key, (Arc::clone(table), table.encoder_of(route, columns)?));
            }
        }
        let encoder = |route| self.encoders.get(&(table.relation.id, route)).map(|(_, encoder)| encoder);
        Some((encoder(before)?, encoder(after)?))
    }
}
