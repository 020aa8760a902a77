//! What shards ask of the hub, and what it tells them.

use std::sync::Arc;

use bytes::Bytes;

use crate::change::Committed;
use crate::routing::{ChannelSpec, Claims};

use super::broadcast::{Broadcast, Saying};
use super::channel::Introduction;
use super::snapshot::{SnapshotFailure, SnapshotId};
use super::{Position, Publication, ShapeId, Splice, View};

/// A shard's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub usize);

/// A connection within its shard; never reused while an answer to it may be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    pub slot: usize,
    /// Tells a connection from an earlier one in the same slot.
    pub generation: u32,
}

/// A join within its connection, as the shard numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinToken {
    pub connection: ConnectionKey,
    pub join: u32,
}

/// Where a subscription that is not live goes on reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// What the log has after this.
    Log(Position),
    /// The same, without what a snapshot gave already.
    Splice(Position, Arc<Splice>),
    /// A snapshot's next rows.
    Snapshot(SnapshotId),
}

/// What a subscriber asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscribe {
    pub topic: String,
    /// Whose rules apply.
    pub claims: Claims,
    pub view: View,
    /// Go on after this.
    pub cursor: Option<String>,
    /// Begin with the current rows, unless the cursor can be resumed from.
    pub snapshot: bool,
    /// For topics with presence; none for who only listens.
    pub introduction: Option<Introduction>,
}

/// A shard's request. Each is answered in order with what is published, over the same channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Answered by [`ToShard::Subscribed`] or [`ToShard::Refused`].
    Subscribe { shard: ShardId, join: JoinToken, request: Box<Subscribe> },
    /// One subscriber of this shape is gone. Not answered, and neither is what it has asked before.
    Unsubscribe { shard: ShardId, join: JoinToken, shape: ShapeId },
    /// A subscriber's claims have changed. Answered by [`ToShard::Ended`] where that ends the subscription, else not.
    Recheck { shard: ShardId, join: JoinToken, shape: ShapeId, claims: Claims },
    /// What comes next for a subscriber that is not live. Answered by [`ToShard::Read`] with the same `number`, once
    /// there is something; by [`ToShard::Waiting`] before where the feed must pass a snapshot first.
    Read { shard: ShardId, join: JoinToken, shape: ShapeId, number: u32, after: After },
    /// The current rows for a subscriber, whatever it was reading: of its own view, or this once of another one, which
    /// has been judged. Answered like a read.
    Fetch { shard: ShardId, join: JoinToken, shape: ShapeId, number: u32, view: Option<Box<View>> },
    /// Whether rows can be fetched in a view. What that leaves open is as the subscription has it; a filter without
    /// conditions is none. Answered by [`ToShard::Judged`] with the same `number`.
    Judge { shard: ShardId, join: JoinToken, shape: ShapeId, number: u32, view: Box<View> },
    /// Told to everyone on the topic by [`ToShard::Broadcast`]; not answered.
    Broadcast(Box<Saying>),
    /// The same for an app, which knows nothing of who is there. Answered by [`ToShard::Published`] with the same
    /// `number`.
    Publish { shard: ShardId, number: u64, saying: Box<Saying> },
    /// A subscriber says something else of itself where its topic has presence: the entries of a JSON object, without
    /// the braces. Not answered.
    UpdatePresence { shard: ShardId, join: JoinToken, meta: Bytes },
    /// Where the feed is once it has passed a subscriber's own transaction, or now. Answered by [`ToShard::Position`]
    /// with the same `number`, unless the shape is reset before.
    Locate { shard: ShardId, join: JoinToken, shape: ShapeId, number: u32, write: Option<Committed> },
}

/// A join that was accepted: whatever commits from here on reaches the subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    pub shape: ShapeId,
    /// The cursor for the join's reply; none while a snapshot is on its way.
    pub cursor: Option<String>,
    pub resumed: bool,
    /// What the subscriber reads before it is live.
    pub read_after: Option<After>,
    /// Whether some route feeds the topic, so that there are rows to be read.
    pub fed: bool,
    /// What it may do on the topic beside listening.
    pub channel: Option<Arc<ChannelSpec>>,
}

/// Why a join was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No route feeds such a topic, and no channel has it.
    UnmatchedTopic,
    /// A rule does not let these claims in.
    Unauthorized,
    /// The view asks for a column that no route of the topic lets out.
    UnknownColumn(String),
    /// The view's filter does not fit a table that feeds the topic; says nothing of any row.
    InvalidFilter { message: String },
    /// A claim can't be cast to what a rule compares it with, or a rule can't be evaluated; says nothing of any row.
    InvalidClaim { message: String },
    /// A cursor was given from which the log can't go on.
    ResyncRequired,
    /// The feed has not begun yet, so that nothing is known of the tables.
    NotReady,
    /// By this event the topic's rows come, which nobody can make up.
    EventNotAllowed,
    /// Nobody can be present under this key; says why.
    InvalidPresence(String),
    /// The topic has as many members as its presence may have.
    PresenceFull,
}

/// How far a read came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Nothing is left: whatever is published after this answer is new to the reader.
    AtHead,
    /// The answer is full; the reader goes on from here.
    More(After),
    /// The log no longer has that position, or the snapshot was read too slowly.
    Lost,
    /// The snapshot came to nothing.
    Failed(SnapshotFailure),
}

/// What a shard is told.
#[derive(Debug, Clone)]
pub enum ToShard {
    /// To every subscriber of the shape who is live.
    Publish(Arc<Publication>),
    /// To every subscriber of its shapes, live or not.
    Broadcast(Arc<Broadcast>),
    /// The same, but to those only who have the topic's [`ToShard::PresenceState`].
    PresenceDiff(Arc<Broadcast>),
    /// What an app has said is on its way to everyone on the topic, or not.
    Published {
        number: u64,
        result: Result<(), Refusal>,
    },
    /// To these subscribers alone: who is there. From here on they are told of changes.
    PresenceState {
        joins: Vec<JoinToken>,
        state: Arc<Broadcast>,
    },
    Subscribed {
        join: JoinToken,
        subscribed: Subscribed,
    },
    Refused {
        join: JoinToken,
        refusal: Refusal,
    },
    /// One subscription goes no further, for a reason that is its own; the shard unsubscribes.
    Ended {
        join: JoinToken,
        refusal: Refusal,
    },
    Read {
        join: JoinToken,
        /// The read's, by which an answer that is no longer waited for is known.
        number: u32,
        publications: Vec<Arc<Publication>>,
        outcome: ReadOutcome,
    },
    /// This one has all that there is and reads on once the feed has passed its snapshot, which a quiet database may
    /// not let it do for long.
    Waiting {
        join: JoinToken,
    },
    /// Whether rows can be fetched in a view.
    Judged {
        join: JoinToken,
        number: u32,
        result: Result<(), Refusal>,
    },
    /// A subscriber who is live has everything up to this cursor, and nothing after it.
    Position {
        join: JoinToken,
        number: u32,
        /// A JSON string.
        cursor: String,
        /// So has this one, though it is not live.
        complete: bool,
    },
    /// Nothing gives the shape's topic any longer. The hub has forgotten the shape already.
    Closed {
        shape: ShapeId,
    },
    /// The shape's topic lets its subscribers in by another rule: each is to be checked again by [`Command::Recheck`].
    Recheck {
        shape: ShapeId,
    },
    /// What the shape's subscribers may do beside listening has changed.
    Channel {
        shape: ShapeId,
        channel: Option<Arc<ChannelSpec>>,
    },
    /// The shape's feed has a hole here: its subscribers must begin afresh.
    Reset {
        shape: ShapeId,
    },
    /// The shape goes no further, for a reason that its subscribers share. The hub has forgotten it already.
    Failed {
        shape: ShapeId,
        refusal: Refusal,
    },
}
