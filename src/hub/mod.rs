//! The replay log and who reads it.
//!
//! One owner task ([`task`]) over pure state ([`Hub`]): it is handed feed events, commands of the shards and time, and
//! returns what each shard is to be told. It does no I/O, reads no clock, and knows neither Phoenix nor WebSockets:
//! what it publishes is a message's payload, which `transport` frames once for each serializer.
//!
//! Live delivery is reading the log's tail, resuming is reading from a cursor, a slow client is a reader that has
//! fallen behind: [`Hub::read`] serves both of the latter.

mod append;
mod cursor;
mod entry;
mod log;
mod message;
mod publication;
mod shape;
mod state;
mod table;
pub mod task;
#[cfg(test)]
mod tests;
mod topics;

pub use cursor::{Cursor, ParseCursorError, Position};
pub use entry::Malformed;
pub use log::LogLimits;
pub use message::{Command, ConnectionKey, JoinToken, ReadOutcome, Refusal, ShardId, Subscribed, ToShard};
pub use publication::{ENCODINGS, Publication};
pub use shape::{ShapeId, View};
pub use state::{Hub, HubLimits};
