//! What clients send and what they are sent, whichever the serializer.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::json;
use super::serializer::DecodeError;

/// The longest topic or event in bytes: binary frames carry such lengths in one byte.
pub const MAX_NAME_LENGTH: usize = 255;
/// The longest ref, in bytes of JSON text. Refs are counters in practice, and a connection keeps one for each topic.
pub const MAX_REF_LENGTH: usize = 512;

/// A client's `ref` or `join_ref`: opaque, kept as the JSON text that came and echoed as it is, type included.
///
/// Two refs are equal if their texts are: clients write the same ref in one way.
#[derive(Clone, PartialEq, Eq)]
pub struct Ref(Box<str>);

impl Ref {
    /// From JSON text that is known to be well-formed; `null` is no ref.
    pub(super) fn from_json(text: &str) -> Result<Option<Self>, DecodeError> {
        match text {
            "null" => Ok(None),
            text if text.len() > MAX_REF_LENGTH => Err(DecodeError::RefTooLong),
            text => Ok(Some(Self(text.into()))),
        }
    }

    /// From a binary frame, where refs are bare strings and an absent one is empty.
    pub(super) fn from_bare(text: &str) -> Option<Self> {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        json::push_string(text, &mut quoted);
        String::from_utf8(quoted).ok().filter(|_| !text.is_empty()).map(|text| Self(text.into()))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// As it stands in a binary frame: a string without quotes, anything else as its JSON text.
    pub(super) fn bare(&self) -> Cow<'_, str> {
        serde_json::from_str(&self.0).map_or(Cow::Borrowed(&self.0), |text: String| Cow::Owned(text))
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A payload as a client sent it.
#[derive(Clone)]
pub enum Payload {
    /// Any JSON value, unparsed.
    Json(Box<RawValue>),
    Binary(Bytes),
}

impl Payload {
    /// In bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(value) => value.get().len(),
            Self::Binary(data) => data.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for Payload {
    /// JSON is compared as text.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(own), Self::Json(other)) => own.get() == other.get(),
            (Self::Binary(own), Self::Binary(other)) => own == other,
            _ => false,
        }
    }
}

impl fmt::Debug for Payload {
    // Payloads may hold tokens and row values: never more than their length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Json(_)) { "json" } else { "binary" };
        write!(f, "{kind} of {} bytes", self.len())
    }
}

/// A message from a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {
    pub join_ref: Option<Ref>,
    pub reference: Option<Ref>,
    pub topic: String,
    pub event: String,
    pub payload: Payload,
}

/// A payload or response for clients, already encoded.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// JSON text: an object in pushes and broadcasts, any value in a reply's response.
    Json(Bytes),
    Binary(Bytes),
}

impl Body {
    /// `{}`
    pub const EMPTY: Self = Self::Json(Bytes::from_static(b"{}"));
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(data) => write!(f, "json of {} bytes", data.len()),
            Self::Binary(data) => write!(f, "binary of {} bytes", data.len()),
        }
    }
}

/// A reply's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok,
    Error,
}

impl Status {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// A message for one client: it carries that client's refs. Broadcasts carry none and are encoded once for all
/// ([`super::Serializer::broadcast`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub join_ref: Option<Ref>,
    pub topic: Arc<str>,
    pub event: Event,
}

/// What an [`Outgoing`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `phx_reply` to the message with this `ref`.
    Reply { reference: Option<Ref>, status: Status, response: Body },
    /// An event that nobody asked for.
    Push { event: Arc<str>, payload: Body },
    /// `phx_close`: the channel is over, and clients don't rejoin. Its `ref` is the join_ref.
    Close,
    /// `phx_error`: the channel has failed, and clients rejoin. Its `ref` is the join_ref.
    Error { payload: Body },
}
