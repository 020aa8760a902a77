//! The replay log and who reads it.
//!
//! One owner task ([`task`]) over pure state ([`Hub`]): it is handed feed events, commands of the shards and time, and
//! returns what each shard is to be told. It does no I/O, reads no clock, and knows neither Phoenix nor WebSockets:
//! what it publishes is a message's payload, which `transport` frames once for each serializer.
//!
//! Live delivery is reading the log's tail, resuming is reading from a cursor, a slow client is a reader that has
//! fallen behind, and one that begins with a snapshot reads its parts, then the log without what the snapshot saw
//! ([`Splice`]): `reading` serves all but the first.
//!
//! What clients say to one another ([`Broadcast`], presence) goes the same way but is not in the log: [`Channels`].

mod announce;
mod append;
mod audience;
mod awaiting;
mod broadcast;
mod channel;
mod cursor;
mod encodings;
mod entry;
mod ids;
mod index;
mod judge;
mod labels;
mod live;
mod log;
mod message;
mod past;
mod presence;
mod publication;
mod published;
mod reading;
mod reload;
mod said;
mod shape;
mod shapes;
mod sight;
mod snapshot;
mod splice;
mod state;
mod statistics;
mod subscribe;
mod table;
pub mod task;
#[cfg(test)]
mod tests;
mod topics;
mod unseen;

pub use broadcast::{Broadcast, Content, Member, Saying};
pub use channel::{Channels, Introduction};
pub use cursor::{Cursor, ParseCursorError, Position};
pub use entry::Malformed;
pub use log::LogLimits;
pub use message::{
    After, Command, ConnectionKey, JoinToken, ReadOutcome, Refusal, ShardId, Subscribe, Subscribed, ToShard,
};
pub use publication::{ENCODINGS, Form, Publication};
pub use reload::Configured;
pub use shape::ShapeId;
pub use sight::{Fingerprint, View};
pub use snapshot::{
    LEAD_PARTS, SnapshotCommand, SnapshotEvent, SnapshotFailure, SnapshotId, SnapshotPart, SnapshotRequest,
};
pub use splice::Splice;
pub use state::{Hub, HubLimits};
pub use statistics::{Counters, InspectedTopic, Inspection, LogStatistics, RouteCounts, Statistics};
