//! A message to a topic, encoded once and shared by all who are sent it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::routing::Topic;

use super::{Position, ShapeId, Splice};

/// How many wire forms of a message there can be; `transport` numbers them.
pub const ENCODINGS: usize = 5;

/// How a payload with a cursor begins: the text of a cursor needs no escapes.
const CURSOR_MEMBER: &[u8] = br#"{"cursor":""#;
/// What stands before the rows of a message. Nothing that comes earlier in it holds text of others.
const UPDATES_MEMBER: &[u8] = br#""updates":["#;

/// One message of one shape: its payload as JSON, and its wire forms as they are asked for.
#[derive(Debug)]
pub struct Publication {
    pub shape: ShapeId,
    pub topic: Topic,
    pub event: Arc<str>,
    /// A reader that has this message has everything up to here.
    pub position: Position,
    /// A reader that lacks this message, and nothing before it, is here.
    pub before: Position,
    pub payload: Bytes,
    /// What its cursor holds of a snapshot.
    pub(super) splice: Option<Arc<Splice>>,
    encoded: [OnceLock<Bytes>; ENCODINGS],
}

impl Publication {
    pub(super) fn new(
        shape: ShapeId,
        topic: Topic,
        event: Arc<str>,
        span: std::ops::Range<Position>,
        payload: Bytes,
    ) -> Self {
        let encoded = std::array::from_fn(|_| OnceLock::new());
        Self { shape, topic, event, position: span.end, before: span.start, payload, splice: None, encoded }
    }

    #[must_use]
    pub(super) fn with_splice(self, splice: Option<Arc<Splice>>) -> Self {
        Self { splice, ..self }
    }

    /// Whether it is what such a reader is to be sent.
    pub(super) fn is_for(&self, shape: ShapeId, splice: Option<&Arc<Splice>>) -> bool {
        self.shape == shape && self.splice.as_ref() == splice
    }

    /// The cursor that a client has with this message, as it stands in the payload: its first member, or none.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        let rest = self.payload.strip_prefix(CURSOR_MEMBER)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        str::from_utf8(rest.get(..end)?).ok()
    }

    /// The elements of the payload's `updates`, its last member, with commas between them.
    #[must_use]
    pub fn updates(&self) -> Bytes {
        let begin = self.payload.windows(UPDATES_MEMBER.len()).position(|window| window == UPDATES_MEMBER);
        let elements = begin.map(|begin| begin + UPDATES_MEMBER.len()..self.payload.len().saturating_sub(2));
        elements.filter(|range| !range.is_empty()).map_or_else(Bytes::new, |range| self.payload.slice(range))
    }

    /// The wire form with this number, made by `encode` when it is first asked for, whichever shard asks.
    pub fn encoded(&self, encoding: usize, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        match self.encoded.get(encoding) {
            Some(form) => form.get_or_init(|| encode(self)).clone(),
            None => encode(self),
        }
    }
}
