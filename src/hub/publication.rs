//! A message to a topic, encoded once and shared by all who are sent it.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::change::PgTimestamp;
use crate::routing::Topic;

use super::{Cursor, Position, ShapeId, Splice};

/// How many wire forms of a message there can be; `transport` numbers them.
pub const ENCODINGS: usize = 7;
/// Of these, what is deflated of others: a fraction of the payload each.
pub(super) const DEFLATED: usize = 2;

/// How a payload with a cursor begins: the text of a cursor needs no escapes.
const CURSOR_MEMBER: &[u8] = br#"{"cursor":""#;
/// What stands before the rows of a message. Nothing that comes earlier in it holds text of others.
const UPDATES_MEMBER: &[u8] = br#""updates":["#;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON that the hub has written: with a cursor, and `updates`.
    Feed,
    /// Somebody's JSON.
    Json,
    /// Somebody's bytes.
    Binary,
}

/// One message of one shape: its payload, and its wire forms as they are asked for.
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
    pub form: Form,
    /// When what it tells of was committed, by the database's clock.
    pub committed: Option<PgTimestamp>,
    /// What its cursor holds of a snapshot.
    pub(super) splice: Option<Arc<Splice>>,
    /// Its cursor, where the payload is somebody's own and has no place for one.
    beside: Option<Box<Cursor>>,
    /// The wire form that was asked for first, with its number: most often there is no other.
    first: OnceLock<(usize, Bytes)>,
    others: OnceLock<Box<[OnceLock<Bytes>; ENCODINGS]>>,
}

impl Publication {
    pub(super) fn new(
        shape: ShapeId,
        topic: Topic,
        event: Arc<str>,
        span: std::ops::Range<Position>,
        payload: Bytes,
    ) -> Self {
        let (before, position, form) = (span.start, span.end, Form::Feed);
        Self {
            shape,
            topic,
            event,
            position,
            before,
            payload,
            form,
            committed: None,
            splice: None,
            beside: None,
            first: OnceLock::new(),
            others: OnceLock::new(),
        }
    }

    #[must_use]
    pub(super) fn committed_at(self, time: PgTimestamp) -> Self {
        Self { committed: Some(time), ..self }
    }

    #[must_use]
    pub(super) fn in_form(self, form: Form) -> Self {
        Self { form, ..self }
    }

    #[must_use]
    pub(super) fn with_splice(self, splice: Option<Arc<Splice>>) -> Self {
        Self { splice, ..self }
    }

    /// With the cursor that a client has with it, which does not stand in the payload.
    #[must_use]
    pub(super) fn beside_cursor(self, cursor: Cursor) -> Self {
        Self { splice: cursor.splice.clone(), beside: Some(Box::new(cursor)), ..self }
    }

    /// Whether it is what such a reader is to be sent.
    pub(super) fn is_for(&self, shape: ShapeId, splice: Option<&Arc<Splice>>) -> bool {
        self.shape == shape && self.splice.as_ref() == splice
    }

    /// The cursor that a client has with this message, as it stands in the payload: its first member, or none.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        let own = Some(&self.payload).filter(|_| self.form == Form::Feed);
        let rest = own?.strip_prefix(CURSOR_MEMBER)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        str::from_utf8(rest.get(..end)?).ok()
    }

    /// The cursor that a client has with this message, for transports that have a place of their own for it.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'_, str>> {
        match &self.beside {
            Some(cursor) => cursor.text().map(Cow::Owned),
            None => self.cursor().map(Cow::Borrowed),
        }
    }

    /// The elements of the payload's `updates`, its last member, with commas between them.
    #[must_use]
    pub fn updates(&self) -> Bytes {
        if self.form != Form::Feed {
            return Bytes::new();
        }
        let begin = self.payload.windows(UPDATES_MEMBER.len()).position(|window| window == UPDATES_MEMBER);
        let elements = begin.map(|begin| begin + UPDATES_MEMBER.len()..self.payload.len().saturating_sub(2));
        elements.filter(|range| !range.is_empty()).map_or_else(Bytes::new, |range| self.payload.slice(range))
    }

    /// The wire form with this number, made by `encode` when it is first asked for, whichever shard asks.
    pub fn encoded(&self, encoding: usize, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        if self.first.get().is_none_or(|(first, _)| *first == encoding) {
            let mut encode = Some(encode);
            let form = || (encoding, encode.take().map_or_else(Bytes::new, |encode| encode(self)));
            let (first, form) = self.first.get_or_init(form);
            if *first == encoding {
                return form.clone();
            }
            return encode.map_or_else(Bytes::new, |encode| self.other(encoding, encode));
        }
        self.other(encoding, encode)
    }

    fn other(&self, encoding: usize, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let others = self.others.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        match others.get(encoding) {
            Some(form) => form.get_or_init(|| encode(self)).clone(),
            None => encode(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(payload: &'static [u8]) -> Publication {
        let nowhere = Position::default()..Position::default();
        let topic = Topic::parse("t").unwrap();
        Publication::new(ShapeId(1), topic, "new_updates".into(), nowhere, Bytes::from_static(payload))
    }

    #[test]
    fn a_payload_s_cursor_and_rows_are_found_in_it() {
        for (payload, cursor, updates) in [
            (&br#"{"cursor":"abc","xid":1,"updates":[{"op":"insert"},{}]}"#[..], Some("abc"), r#"{"op":"insert"},{}"#),
            (br#"{"cursor":null,"snapshot":true,"part":0,"updates":[]}"#, None, ""),
            (
                br#"{"snapshot":true,"part":1,"more":true,"updates":[{"record":{"x":"\"updates\":["}}]}"#,
                None,
                r#"{"record":{"x":"\"updates\":["}}"#,
            ),
            (br#"{"cursor":"abc"}"#, Some("abc"), ""),
        ] {
            let publication = publication(payload);
            assert_eq!((publication.cursor(), &publication.updates()[..]), (cursor, updates.as_bytes()));
        }
    }
}
