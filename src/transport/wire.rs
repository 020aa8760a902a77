//! How messages stand on the wire, by the kind of client: the one place that knows all kinds.

use bytes::Bytes;

use crate::hub::{Broadcast, Content, Form, Publication};
use crate::phoenix::{Body, EncodeError, FrameKind, Outgoing, Serializer};

use super::topics::event;
use super::websocket::{OpCode, Window, begin_frame, deflated, finish_frame};

/// What a serializer puts around a payload, about.
const ENVELOPE_SIZE_GUESS: usize = 320;

/// What a connection's outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Whole WebSocket frames.
    WebSocket(Serializer),
    /// The same, deflated where that is worth it.
    Deflated(Serializer, Window),
    /// Messages as JSON strings: the elements of a poll's `messages`.
    LongPoll(Serializer),
    /// Server-sent events.
    Events,
    /// The pieces of one JSON body with a topic's rows.
    Rows {
        /// The first piece is in the outbox, or was.
        begun: bool,
    },
}

/// Each kind of encoding that is shared has its number among [`crate::hub::ENCODINGS`].
const LONG_POLL_ENCODINGS: usize = 2;
const EVENTS_ENCODING: usize = 4;
const DEFLATED_ENCODINGS: usize = 5;

impl From<Serializer> for Wire {
    fn from(serializer: Serializer) -> Self {
        Self::WebSocket(serializer)
    }
}

impl Wire {
    /// What a publication is to this kind of client: the same bytes for all of them, made once. None at all where a
    /// binary payload has no form here: under 1.0.0, in the JSON of a poll's answer, among server-sent events.
    pub(super) fn publication(self, publication: &Publication) -> Bytes {
        match self {
            Self::WebSocket(serializer) => publication.encoded(serializer as usize, |it| {
                let mut frame = begin_frame(it.payload.len() + ENVELOPE_SIZE_GUESS);
                match broadcast(serializer, it, &mut frame) {
                    Ok(FrameKind::Text) => finish_frame(OpCode::Text, frame),
                    Ok(FrameKind::Binary) => finish_frame(OpCode::Binary, frame),
                    Err(_no_form) => Bytes::new(),
                }
            }),
            Self::Deflated(serializer, window) => {
                let plain = Self::WebSocket(serializer).publication(publication);
                if window.takes(&plain) {
                    return publication.encoded(DEFLATED_ENCODINGS + serializer as usize, |_| deflated(&plain));
                }
                plain
            }
            Self::LongPoll(serializer) => publication.encoded(LONG_POLL_ENCODINGS + serializer as usize, |it| {
                let mut message = Vec::with_capacity(it.payload.len() + ENVELOPE_SIZE_GUESS);
                match broadcast(serializer, it, &mut message) {
                    Ok(FrameKind::Text) => json_string(&message),
                    Ok(FrameKind::Binary) | Err(_) => Bytes::new(),
                }
            }),
            Self::Events => publication.encoded(EVENTS_ENCODING, event::of_publication),
            Self::Rows { .. } => publication.updates(),
        }
    }

    /// The same of a broadcast; none where this kind of client has no form for it: bytes stand in WebSocket messages of
    /// serializer 2.0.0 and nowhere else.
    pub(super) fn broadcast(self, broadcast: &Broadcast) -> Option<Bytes> {
        let body = |it: &Broadcast| match &it.content {
            Content::Json(json) => Body::Json(json.clone()),
            Content::Binary(data) => Body::Binary(data.clone()),
        };
        let write = |serializer: Serializer, it: &Broadcast, out: &mut Vec<u8>| {
            serializer.broadcast(it.topic.as_str(), &it.event, &body(it), out).ok()
        };
        match self {
            Self::WebSocket(serializer) => broadcast.encoded(serializer as usize, |it| {
                let mut frame = begin_frame(it.content.len() + ENVELOPE_SIZE_GUESS);
                let kind = write(serializer, it, &mut frame)?;
                Some(finish_frame(opcode(kind), frame))
            }),
            Self::Deflated(serializer, window) => {
                let plain = Self::WebSocket(serializer).broadcast(broadcast)?;
                if window.takes(&plain) {
                    let encoding = DEFLATED_ENCODINGS + serializer as usize;
                    return broadcast.encoded(encoding, |_| Some(deflated(&plain)));
                }
                Some(plain)
            }
            Self::LongPoll(serializer) => broadcast.encoded(LONG_POLL_ENCODINGS + serializer as usize, |it| {
                let mut message = Vec::with_capacity(it.content.len() + ENVELOPE_SIZE_GUESS);
                let kind = write(serializer, it, &mut message)?;
                (kind == FrameKind::Text).then(|| json_string(&message))
            }),
            Self::Events => broadcast.encoded(EVENTS_ENCODING, |it| event::of_push(&it.event, &body(it))),
            Self::Rows { .. } => None,
        }
    }

    /// A message for one Phoenix client; none where its transport has no form for it: a binary message can't stand in
    /// the JSON of a poll's answer.
    ///
    /// # Errors
    /// The serializer has no form for it.
    pub(super) fn message(self, outgoing: &Outgoing) -> Result<Option<Bytes>, EncodeError> {
        match self {
            // What one client gets alone is short, mostly, and deflated for nobody else.
            Self::WebSocket(serializer) | Self::Deflated(serializer, _) => {
                let mut frame = begin_frame(0);
                let kind = serializer.encode(outgoing, &mut frame)?;
                Ok(Some(finish_frame(opcode(kind), frame)))
            }
            Self::LongPoll(serializer) => {
                let mut message = Vec::new();
                let kind = serializer.encode(outgoing, &mut message)?;
                Ok((kind == FrameKind::Text).then(|| json_string(&message)))
            }
            Self::Events | Self::Rows { .. } => Ok(None),
        }
    }

    /// How a Phoenix client's messages are read; none where clients send nothing.
    pub(super) const fn serializer(self) -> Option<Serializer> {
        match self {
            Self::WebSocket(serializer) | Self::Deflated(serializer, _) | Self::LongPoll(serializer) => {
                Some(serializer)
            }
            Self::Events | Self::Rows { .. } => None,
        }
    }

    pub(super) const fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket(_) | Self::Deflated(..))
    }

    /// Clients' messages may be deflated.
    pub(super) const fn is_deflated(self) -> bool {
        matches!(self, Self::Deflated(..))
    }

    /// One HTTP answer, which goes out as it comes.
    pub(super) const fn is_stream(self) -> bool {
        matches!(self, Self::Events | Self::Rows { .. })
    }
}

const fn opcode(kind: FrameKind) -> OpCode {
    match kind {
        FrameKind::Text => OpCode::Text,
        FrameKind::Binary => OpCode::Binary,
    }
}

fn broadcast(serializer: Serializer, publication: &Publication, out: &mut Vec<u8>) -> Result<FrameKind, EncodeError> {
    let payload = publication.payload.clone();
    let payload = match publication.form {
        Form::Feed | Form::Json => Body::Json(payload),
        Form::Binary => Body::Binary(payload),
    };
    serializer.broadcast(publication.topic.as_str(), &publication.event, &payload, out)
}

/// A message's text as a JSON string.
fn json_string(message: &[u8]) -> Bytes {
    serde_json::Value::from(String::from_utf8_lossy(message)).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phoenix::Event;

    fn push(payload: Body) -> Outgoing {
        Outgoing { join_ref: None, topic: "t".into(), event: Event::Push { event: "e".into(), payload } }
    }

    #[test]
    fn a_poll_carries_messages_as_strings() {
        let outgoing = push(Body::Json(Bytes::from_static(r#"{"a":"x\"ä"}"#.as_bytes())));
        let element = Wire::LongPoll(Serializer::V2).message(&outgoing).unwrap().unwrap();
        let text: String = serde_json::from_slice(&element).unwrap();
        assert_eq!(text, r#"[null,null,"t","e",{"a":"x\"ä"}]"#);
    }

    #[test]
    fn a_binary_message_has_no_form_in_a_poll() {
        let outgoing = push(Body::Binary(Bytes::from_static(&[0xFF])));
        assert_eq!(Wire::LongPoll(Serializer::V2).message(&outgoing), Ok(None));
        assert_eq!(Wire::LongPoll(Serializer::V1).message(&outgoing), Err(EncodeError::BinaryInV1));
        assert!(Wire::from(Serializer::V2).message(&outgoing).unwrap().is_some());
    }
}
