//! Subscribers who are sent the same bytes.

use crate::routing::Topic;

use super::message::ShardId;

/// A shape's number, never used again; shards know their share of its subscribers by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShapeId(pub u64);

/// All subscribers of one topic, counted by shard: who they are is the shards' own business.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) topic: Topic,
    subscribers: Vec<u32>,
}

impl Shape {
    pub(super) const fn new(topic: Topic) -> Self {
        Self { topic, subscribers: Vec::new() }
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
}
