//! Subscribers who are sent the same bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::change::RelationId;
use crate::change::json::{ChangeEncoder, Shown};
use crate::routing::{Op, Ops, RouteId, Topic};

use super::Position;
use super::entry::{Delivery, Logged};
use super::message::ShardId;
use super::table::Table;

/// A shape's number, never used again; shards know their share of its subscribers by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShapeId(pub u64);

/// What a subscriber wants to see of its topic. By default everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// Of the route's columns, in no order; `None` for all.
    pub columns: Option<Box<[String]>>,
    /// As the topic sees them: an update that brings a row in is an insert.
    pub ops: Ops,
}

/// All subscribers of one topic with one view, counted by shard: who they are is the shards' own business.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) id: ShapeId,
    pub(super) topic: Topic,
    pub(super) view: View,
    subscribers: Vec<u32>,
    /// For a view of its own columns: made when a table is first met, and again when it was re-sent.
    encoders: HashMap<(RelationId, RouteId), (Arc<Table>, ChangeEncoder)>,
    /// When and up to where its subscribers were last told of a position.
    pub(super) told: (Duration, Position),
}

impl Shape {
    pub(super) fn new(id: ShapeId, topic: Topic, view: View, told: (Duration, Position)) -> Self {
        Self { id, topic, view, subscribers: Vec::new(), encoders: HashMap::new(), told }
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

    pub(super) fn is_empty(&self) -> bool {
        self.subscribers.iter().all(|count| *count == 0)
    }

    /// The shards that have subscribers of this shape.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> {
        let counts = self.subscribers.iter().enumerate();
        counts.filter(|(_, count)| **count > 0).map(|(shard, _)| ShardId(shard))
    }

    /// Whether the view shows this change.
    pub(super) fn shows(&self, logged: &Logged, delivery: Delivery) -> bool {
        let op = match delivery.shown {
            Shown::AsIs => Op::of(&logged.change.operation),
            Shown::Entering => Op::Insert,
            Shown::Leaving => Op::Delete,
        };
        self.view.ops.contains(op)
    }

    /// How the view shows a table's changes by a route.
    pub(super) fn encoder<'a>(&'a mut self, table: &'a Arc<Table>, route: RouteId) -> Option<&'a ChangeEncoder> {
        let Some(columns) = &self.view.columns else { return table.encoder(route) };
        let key = (table.relation.id, route);
        if self.encoders.get(&key).is_none_or(|(known, _)| !Arc::ptr_eq(known, table)) {
            self.encoders.insert(key, (Arc::clone(table), table.encoder_of(route, columns)?));
        }
        self.encoders.get(&key).map(|(_, encoder)| encoder)
    }
}
