//! `pgoutput`, the format in which Postgres' built-in output plugin describes committed changes.
//!
//! [`decode`] takes one message, the payload of one `XLogData`, and gives a value or a typed error for any bytes
//! whatever. Row values stay slices of the message; names are copied, once for each relation. It knows nothing of
//! transactions, relations seen before or types: [`transaction`](super::transaction) puts messages together.
//!
//! Only protocol versions 1 and 2 *outside streamed transactions* are spoken. Without streaming Postgres sends a
//! transaction only after its commit and never mixes it with another, so that parts of a large one can be passed on
//! before the rest has come, and nothing has to be spooled in case it is rolled back. Streamed and prepared
//! transactions are never asked for; their messages are [`DecodeError::NotRequested`].
//!
//! The layouts are those of "Logical Replication Message Formats" in Postgres' manual.
#![deny(clippy::indexing_slicing)]

mod change;
#[cfg(test)]
mod encode;
mod error;
mod logical;
mod reader;
mod relation;
mod tag;
#[cfg(test)]
mod tests;
mod transaction;

use bytes::Bytes;

use reader::Reader;

pub use change::{Delete, Insert, Truncate, Update};
pub use error::{DecodeError, Fault};
pub use logical::LogicalMessage;
pub use relation::{Relation, RelationColumn, Type};
pub use transaction::{Begin, Commit, Origin};

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Begin(Begin),
    Commit(Commit),
    Origin(Origin),
    Relation(Relation),
    Type(Type),
    Insert(Insert),
    Update(Update),
    Delete(Delete),
    Truncate(Truncate),
    Logical(LogicalMessage),
}

impl Message {
    /// What the manual calls it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begin(_) => "Begin",
            Self::Commit(_) => "Commit",
            Self::Origin(_) => "Origin",
            Self::Relation(_) => "Relation",
            Self::Type(_) => "Type",
            Self::Insert(_) => "Insert",
            Self::Update(_) => "Update",
            Self::Delete(_) => "Delete",
            Self::Truncate(_) => "Truncate",
            Self::Logical(_) => "Message",
        }
    }
}

/// Decodes one whole message.
///
/// # Errors
/// Bytes that are no such message, bytes left over after it, and messages of modes that are never asked for.
pub fn decode(message: Bytes) -> Result<Message, DecodeError> {
    let length = message.len();
    let mut reader = Reader::new(message);
    let tag = reader.u8("tag").map_err(|_empty| DecodeError::Empty)?;
    decode_body(tag, length, &mut reader)?
        .and_then(|message| reader.finish().map(|()| message))
        .map_err(|fault| DecodeError::Malformed { tag: char::from(tag), length, fault })
}

/// The outer error is about the tag, the inner one about what follows it.
fn decode_body(tag: u8, length: usize, body: &mut Reader) -> Result<Result<Message, Fault>, DecodeError> {
    Ok(match tag {
        tag::INSERT => Insert::decode(body).map(Message::Insert),
        tag::UPDATE => Update::decode(body).map(Message::Update),
        tag::DELETE => Delete::decode(body).map(Message::Delete),
        tag::BEGIN => Begin::decode(body).map(Message::Begin),
        tag::COMMIT => Commit::decode(body).map(Message::Commit),
        tag::TRUNCATE => Truncate::decode(body).map(Message::Truncate),
        tag::RELATION => Relation::decode(body).map(Message::Relation),
        tag::TYPE => Type::decode(body).map(Message::Type),
        tag::ORIGIN => Origin::decode(body).map(Message::Origin),
        tag::MESSAGE => LogicalMessage::decode(body).map(Message::Logical),
        tag if tag::NEVER_REQUESTED.contains(&tag) => return Err(DecodeError::NotRequested(char::from(tag))),
        tag => return Err(DecodeError::UnknownTag { tag, length }),
    })
}
