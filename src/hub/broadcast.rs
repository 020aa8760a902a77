//! A message to everyone on a topic that is not in the log: encoded once and shared, told once and never again.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::routing::Topic;

use super::message::{ConnectionKey, JoinToken, ShardId};
use super::publication::ENCODINGS;
use super::{Hub, ShapeId, ToShard};

/// A payload as clients exchange it; what it says is their business.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A JSON object in one line.
    Json(Bytes),
    Binary(Bytes),
}

impl Content {
    /// In bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Json(data) | Self::Binary(data) => data.len(),
        }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Content {
    // It is somebody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Json(_)) { "json" } else { "binary" };
        write!(f, "{kind} of {} bytes", self.len())
    }
}

/// What a client wants everyone on its topic to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    pub topic: Arc<str>,
    pub event: Arc<str>,
    pub content: Content,
    /// Who is left out, because it is the sender and the channel says so.
    pub except: Option<Member>,
}

/// A joined topic of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    pub shard: ShardId,
    pub join: JoinToken,
}

impl Member {
    /// No other comes before it.
    pub(super) const FIRST: Self =
        Self { shard: ShardId(0), join: JoinToken { connection: ConnectionKey { slot: 0, generation: 0 }, join: 0 } };
}

/// One message for all subscribers of a topic, whatever their shape. A frame of it carries nothing of the receiver's.
#[derive(Debug)]
pub struct Broadcast {
    pub topic: Topic,
    pub event: Arc<str>,
    pub content: Content,
    /// Whose subscribers are to get it.
    pub shapes: Box<[ShapeId]>,
    pub except: Option<Member>,
    encoded: [OnceLock<Option<Bytes>>; ENCODINGS],
}

impl Broadcast {
    /// The wire form with this number, made by `encode` when it is first asked for, whichever shard asks. None where
    /// that encoding has no form for the content.
    pub fn encoded(&self, encoding: usize, encode: impl FnOnce(&Self) -> Option<Bytes>) -> Option<Bytes> {
        match self.encoded.get(encoding) {
            Some(form) => form.get_or_init(|| encode(self)).clone(),
            None => encode(self),
        }
    }
}

impl Hub {
    /// Hands every shard with subscribers of the topic one reference to what is said there. In one order for all.
    pub(super) fn say(&mut self, saying: Saying) {
        let Saying { topic, event, content, except } = saying;
        if let Some((broadcast, shards)) = self.broadcast(&topic, event, content, except) {
            shards.into_iter().for_each(|shard| self.tell(shard, ToShard::Broadcast(Arc::clone(&broadcast))));
        }
    }

    /// A message to a topic, and the shards with subscribers; none where nobody is left to hear it.
    pub(super) fn broadcast(
        &self,
        topic: &str,
        event: Arc<str>,
        content: Content,
        except: Option<Member>,
    ) -> Option<(Arc<Broadcast>, Vec<ShardId>)> {
        let (topic, state) = self.log.as_ref()?.topics.get(topic)?;
        let shapes: Box<[ShapeId]> = state.audience.shapes().into();
        let mut shards: Vec<ShardId> =
            shapes.iter().filter_map(|id| self.shapes.get(id)).flat_map(super::shape::Shape::shards).collect();
        shards.sort_unstable();
        shards.dedup();
        let encoded = std::array::from_fn(|_| OnceLock::new());
        let broadcast = Broadcast { topic: topic.clone(), event, content, shapes, except, encoded };
        (!shards.is_empty()).then(|| (Arc::new(broadcast), shards))
    }
}
