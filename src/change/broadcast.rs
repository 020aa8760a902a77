//! A message that SQL sends to a topic: what `walcast.broadcast` writes into the log by `pg_logical_emit_message`.
//!
//! ```text
//! version  kind      topic              event              payload
//! 1 byte   1 byte    length (4), bytes  length (4), bytes  the rest
//! ```
//!
//! Whoever may call `pg_logical_emit_message` can write anything under our prefix, so that nothing is taken on trust.
#![deny(clippy::indexing_slicing)]

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::IgnoredAny;

/// The prefix of the messages that are ours.
pub const BROADCAST_PREFIX: &str = "walcast.broadcast";
/// Topics and events stand in Phoenix' binary frames with a length of one byte.
const NAME_BYTES_MAX: usize = 255;
/// A payload is held in the replay log and sent to everybody as one message: rows come in parts of half of this.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
const VERSION: u8 = 1;
const KIND_JSON: u8 = 0;
const KIND_BINARY: u8 = 1;

/// What is said to a topic's subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// 1 to 255 bytes.
    pub topic: Arc<str>,
    /// 1 to 255 bytes, and none of Phoenix' own.
    pub event: Arc<str>,
    pub payload: BroadcastPayload,
}

#[derive(Clone, PartialEq, Eq)]
pub enum BroadcastPayload {
    /// A JSON object in one line.
    Json(Bytes),
    Binary(Bytes),
}

impl BroadcastPayload {
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

impl fmt::Debug for BroadcastPayload {
    // What it says is somebody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Json(_)) { "json" } else { "binary" };
        write!(f, "{kind} of {} bytes", self.bytes().len())
    }
}

/// A message under our prefix that `walcast.broadcast` can't have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    #[error("version {0} of the message is unknown: `walcast setup` was run by a newer walcast than this")]
    Version(u8),
    #[error("kind {0} of the message is unknown")]
    Kind(u8),
    #[error("the message ends within {0}")]
    Short(&'static str),
    #[error("the message's {0} is not of 1 to {NAME_BYTES_MAX} bytes of UTF-8")]
    Name(&'static str),
    #[error("the message's event belongs to the Phoenix protocol, or to walcast")]
    ReservedEvent,
    #[error("the payload has {0} bytes, more than {PAYLOAD_BYTES_MAX}")]
    TooLong(usize),
    #[error("the payload is no JSON object in one line")]
    NoObject,
}

impl Broadcast {
    /// Reads a message's content. Copies what it keeps: the content is a slice of a much larger buffer.
    ///
    /// # Errors
    /// It is none that `walcast.broadcast` writes.
    pub fn decode(content: &[u8]) -> Result<Self, BroadcastError> {
        let (version, rest) = content.split_first().ok_or(BroadcastError::Short("its version"))?;
        if *version != VERSION {
            return Err(BroadcastError::Version(*version));
        }
        let (kind, rest) = rest.split_first().ok_or(BroadcastError::Short("its kind"))?;
        let (topic, rest) = name(rest, "topic")?;
        let (event, payload) = name(rest, "event")?;
        if is_reserved_event(&event) {
            return Err(BroadcastError::ReservedEvent);
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BroadcastError::TooLong(payload.len()));
        }
        let payload = match *kind {
            KIND_JSON if is_object(payload) => BroadcastPayload::Json(Bytes::copy_from_slice(payload)),
            KIND_JSON => return Err(BroadcastError::NoObject),
            KIND_BINARY => BroadcastPayload::Binary(Bytes::copy_from_slice(payload)),
            kind => return Err(BroadcastError::Kind(kind)),
        };
        Ok(Self { topic, event, payload })
    }
}

fn name<'a>(bytes: &'a [u8], what: &'static str) -> Result<(Arc<str>, &'a [u8]), BroadcastError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(BroadcastError::Short(what))?;
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > NAME_BYTES_MAX {
        return Err(BroadcastError::Name(what));
    }
    let (name, rest) = rest.split_at_checked(length).ok_or(BroadcastError::Short(what))?;
    let name = std::str::from_utf8(name).map_err(|_| BroadcastError::Name(what))?;
    Ok((name.into(), rest))
}

/// What clients would take for the protocol's own words, or for ours.
#[must_use]
pub fn is_reserved_event(event: &str) -> bool {
    ["phx_", "chan_reply_"].iter().any(|prefix| event.starts_with(prefix))
        || ["presence_state", "presence_diff", "cursor"].contains(&event)
}

/// Goes into clients' frames as it is.
fn is_object(payload: &[u8]) -> bool {
    payload.first() == Some(&b'{')
        && !payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
        && std::str::from_utf8(payload).is_ok()
        && serde_json::from_slice::<IgnoredAny>(payload).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(kind: u8, topic: &[u8], event: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = |name: &[u8]| u32::try_from(name.len()).unwrap().to_be_bytes();
        [&[VERSION, kind], &length(topic)[..], topic, &length(event), event, payload].concat()
    }

    #[test]
    fn reads_what_sql_writes() {
        let broadcast = Broadcast::decode(&content(0, b"chat:1", b"said", br#"{"a": 1}"#)).unwrap();
        assert_eq!((&*broadcast.topic, &*broadcast.event), ("chat:1", "said"));
        assert_eq!(broadcast.payload, BroadcastPayload::Json(br#"{"a": 1}"#.as_slice().into()));
        assert_eq!(format!("{:?}", broadcast.payload), "json of 8 bytes");
        let broadcast = Broadcast::decode(&content(1, b"t", b"e", &[0xFF, 0])).unwrap();
        assert_eq!(broadcast.payload, BroadcastPayload::Binary([0xFF, 0].as_slice().into()));
    }

    #[test]
    fn anything_else_is_refused() {
        let refusal = |content: &[u8]| Broadcast::decode(content).unwrap_err();
        assert_eq!(refusal(b""), BroadcastError::Short("its version"));
        assert_eq!(refusal(&[2, 0]), BroadcastError::Version(2));
        assert_eq!(refusal(&content(7, b"t", b"e", b"{}")), BroadcastError::Kind(7));
        assert_eq!(refusal(&content(0, b"", b"e", b"{}")), BroadcastError::Name("topic"));
        assert_eq!(refusal(&content(0, &[b't'; 256], b"e", b"{}")), BroadcastError::Name("topic"));
        assert_eq!(refusal(&content(0, b"t", &[0xFF], b"{}")), BroadcastError::Name("event"));
        assert_eq!(refusal(&[1, 0, 0, 0, 0, 9, b't']), BroadcastError::Short("topic"));
        for event in ["phx_close", "chan_reply_1", "presence_diff", "cursor"] {
            assert_eq!(refusal(&content(0, b"t", event.as_bytes(), b"{}")), BroadcastError::ReservedEvent);
        }
        for payload in ["[]", "{", "{} ]", "1", "{\n}", ""] {
            assert_eq!(refusal(&content(0, b"t", b"e", payload.as_bytes())), BroadcastError::NoObject, "{payload}");
        }
        let long = vec![0; PAYLOAD_BYTES_MAX + 1];
        assert_eq!(refusal(&content(1, b"t", b"e", &long)), BroadcastError::TooLong(long.len()));
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert!(Broadcast::decode(&content(0, b"t", b"e", deep.as_bytes())).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_broadcast_or_an_error(mut bytes: Vec<u8>, is_ours: bool) {
            if is_ours {
                bytes.splice(0..0, [VERSION, KIND_JSON, 0, 0, 0]);
            }
            if let Ok(broadcast) = Broadcast::decode(&bytes) {
                prop_assert!(bytes.ends_with(broadcast.payload.bytes()));
            }
        }
    }
}
