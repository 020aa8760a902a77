//! What shards ask of the hub, and what it tells them.

use std::sync::Arc;

use super::shape::View;
use super::{Position, Publication, ShapeId};

/// A shard's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub usize);

/// A connection within its shard; never reused while an answer to it may be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    pub slot: usize,
    /// Tells a connection from an earlier one in the same slot.
    pub generation: u32,
}

/// A join within its connection, as the shard numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JoinToken {
    pub connection: ConnectionKey,
    pub join: u32,
}

/// A shard's request. Each is answered in order with what is published, over the same channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answered by [`ToShard::Subscribed`] or [`ToShard::Refused`].
    Subscribe { shard: ShardId, join: JoinToken, topic: String, view: View, cursor: Option<String> },
    /// One subscriber of this shape is gone. Not answered.
    Unsubscribe { shard: ShardId, shape: ShapeId },
    /// What the log has for this shape after a position. Answered by [`ToShard::Read`].
    Read { shard: ShardId, join: JoinToken, shape: ShapeId, after: Position },
}

/// A join that was accepted: the subscription is live from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    pub shape: ShapeId,
    /// The cursor for the join's reply.
    pub cursor: String,
    /// Where the subscriber resumes; it reads the log from there before it is live.
    pub resume_after: Option<Position>,
}

/// Why a join was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No route feeds such a topic.
    UnmatchedTopic,
    /// The view asks for a column that no route of the topic lets out.
    UnknownColumn(String),
    /// A cursor was given from which the log can't go on.
    ResyncRequired,
    /// The feed has not begun yet, so that nothing is known of the tables.
    NotReady,
}

/// How far a read came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Nothing is left: whatever is published after this answer is new to the reader.
    AtHead,
    /// The answer is full; the reader goes on from here.
    More(Position),
    /// The log no longer has that position.
    Lost,
}

/// What a shard is told.
#[derive(Debug, Clone)]
pub enum ToShard {
    /// To every subscriber of the shape who is live.
    Publish(Arc<Publication>),
    Subscribed {
        join: JoinToken,
        subscribed: Subscribed,
    },
    Refused {
        join: JoinToken,
        refusal: Refusal,
    },
    Read {
        join: JoinToken,
        publications: Vec<Arc<Publication>>,
        outcome: ReadOutcome,
    },
    /// The shape's feed has a hole here: its subscribers must begin afresh.
    Reset {
        shape: ShapeId,
    },
}
