//! The two serializers: which one a client gets, and what they have in common.

use bytes::Bytes;

use super::message::{Body, ClientMessage, MAX_NAME_LENGTH, MAX_REF_LENGTH, Outgoing};
use super::{v1, v2};

/// How messages stand in frames, by the `vsn` of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serializer {
    /// 1.0.x: JSON objects, without `join_ref` to clients; text only.
    V1,
    /// 2.0.x: JSON arrays, or binary frames for binary payloads.
    V2,
}

/// Which kind of frame holds an encoded message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Text,
    Binary,
}

/// A `vsn` that no serializer speaks; the handshake is refused with 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client's protocol version is not supported: connect with vsn=2.0.0 or vsn=1.0.0")]
pub struct UnsupportedVersion;

/// A frame that is no message; the connection is closed with 1011, as Phoenix does. Says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("message is no JSON from byte {column} of line {line}")]
    NotJson { line: usize, column: usize },
    #[error("message is JSON, but has not the form of the connection's protocol version")]
    NotAMessage,
    #[error("ref is longer than {MAX_REF_LENGTH} bytes")]
    RefTooLong,
    #[error("binary message in protocol version 1.0.0, which has none")]
    BinaryInV1,
    #[error("binary message of unknown kind {0:#04x}; clients send kind 0")]
    UnknownKind(u8),
    #[error("binary message ends within its header")]
    Truncated,
    #[error("name in a binary message is not UTF-8")]
    InvalidUtf8,
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Data => Self::NotAMessage,
            _ => Self::NotJson { line: error.line(), column: error.column() },
        }
    }
}

/// A message that the serializer has no form for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("a binary payload can't be sent in protocol version 1.0.0")]
    BinaryInV1,
    #[error("a ref, topic or event of {length} bytes can't be sent in a binary message: at most {MAX_NAME_LENGTH} fit")]
    NameTooLong { length: usize },
}

impl Serializer {
    /// The serializer for the `vsn` of a connection's query. Without one it is 1.0.0.
    ///
    /// # Errors
    /// Anything but a full semantic version that `~> 1.0.0` or `~> 2.0.0` takes.
    pub fn negotiate(vsn: Option<&str>) -> Result<Self, UnsupportedVersion> {
        let Some(vsn) = vsn else { return Ok(Self::V1) };
        let parsed = parse_version(vsn).ok_or(UnsupportedVersion)?;
        match parsed {
            // A pre-release of x.0.0 comes before it.
            Version { minor: "0", patch: "0", pre_release: true, .. } => Err(UnsupportedVersion),
            Version { major: "1", minor: "0", .. } => Ok(Self::V1),
            Version { major: "2", minor: "0", .. } => Ok(Self::V2),
            Version { .. } => Err(UnsupportedVersion),
        }
    }

    /// Decodes a text frame.
    ///
    /// # Errors
    /// Any text that is no message.
    pub fn decode_text(self, text: &str) -> Result<ClientMessage, DecodeError> {
        match self {
            Self::V1 => v1::decode(text),
            Self::V2 => v2::decode_text(text),
        }
    }

    /// Decodes a binary frame; the payload is a slice of it.
    ///
    /// # Errors
    /// Any bytes that are no message.
    pub fn decode_binary(self, frame: Bytes) -> Result<ClientMessage, DecodeError> {
        match self {
            Self::V1 => Err(DecodeError::BinaryInV1),
            Self::V2 => v2::decode_binary(frame),
        }
    }

    /// Appends a message for one client.
    ///
    /// # Errors
    /// A binary payload that has no form here; nothing is appended then.
    pub fn encode(self, message: &Outgoing, out: &mut Vec<u8>) -> Result<FrameKind, EncodeError> {
        match self {
            Self::V1 => v1::encode(message, out),
            Self::V2 => v2::encode(message, out),
        }
    }

    /// Appends a broadcast: the same for every client with this serializer.
    ///
    /// # Errors
    /// A binary payload that has no form here; nothing is appended then.
    pub fn broadcast(
        self,
        topic: &str,
        event: &str,
        payload: &Body,
        out: &mut Vec<u8>,
    ) -> Result<FrameKind, EncodeError> {
        match (payload, self) {
            (Body::Json(json), _) => {
                self.broadcast_prefix(topic, event, out);
                out.extend_from_slice(json);
                out.extend_from_slice(self.broadcast_suffix().as_bytes());
                Ok(FrameKind::Text)
            }
            (Body::Binary(_), Self::V1) => Err(EncodeError::BinaryInV1),
            (Body::Binary(data), Self::V2) => v2::encode_binary_broadcast(topic, event, data, out),
        }
    }

    /// Appends what stands before the payload in a broadcast's text frame, so that a payload can be written in place.
    pub fn broadcast_prefix(self, topic: &str, event: &str, out: &mut Vec<u8>) {
        match self {
            Self::V1 => v1::prefix(topic, event, out),
            Self::V2 => v2::prefix(None, None, topic, event, out),
        }
    }

    /// What stands after the payload in a broadcast's text frame.
    #[must_use]
    pub const fn broadcast_suffix(self) -> &'static str {
        match self {
            Self::V1 => v1::SUFFIX_WITHOUT_REF,
            Self::V2 => v2::SUFFIX,
        }
    }
}

/// A semantic version, as far as it matters here.
struct Version<'a> {
    major: &'a str,
    minor: &'a str,
    patch: &'a str,
    pre_release: bool,
}

fn parse_version(text: &str) -> Option<Version<'_>> {
    let is_identifiers = |text: &str| {
        text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let is_number = |text: &&str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (*text == "0" || !text.starts_with('0'))
    };
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre_release) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let mut numbers = core.split('.').map(|part| Some(part).filter(is_number));
    let version = Version {
        major: numbers.next()??,
        minor: numbers.next()??,
        patch: numbers.next()??,
        pre_release: pre_release.is_some(),
    };
    let well_formed = numbers.next().is_none() && [build, pre_release].into_iter().flatten().all(is_identifiers);
    well_formed.then_some(version)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_choose_the_serializer() {
        for (vsn, expected) in [
            (None, Ok(Serializer::V1)),
            (Some("1.0.0"), Ok(Serializer::V1)),
            (Some("2.0.0"), Ok(Serializer::V2)),
            (Some("2.0.17"), Ok(Serializer::V2)),
            (Some("2.0.1-rc.1"), Ok(Serializer::V2)),
            (Some("2.0.0+build.7"), Ok(Serializer::V2)),
        ] {
            assert_eq!(Serializer::negotiate(vsn), expected, "{vsn:?}");
        }
        for vsn in [
            "",
            "2",
            "2.0",
            "2.1.0",
            "1.1.0",
            "3.0.0",
            "123.1.1",
            "2.0.0-rc.1",
            "1.0.0-0",
            "02.0.0",
            "2.0.00",
            "2.0.0.0",
            "2.0.0-",
            "2.0.0+",
            " 2.0.0",
            "2.0.0 ",
            "v2.0.0",
            "+2.0.0",
            "2.0.x",
        ] {
            assert_eq!(Serializer::negotiate(Some(vsn)), Err(UnsupportedVersion), "{vsn}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_message_or_an_error(text in r#"[\[\]{}",:a-f0-9 \\u]{0,40}|.{0,40}"#) {
            for serializer in [Serializer::V1, Serializer::V2] {
                let _decoded = serializer.decode_text(&text);
            }
            let _chosen = Serializer::negotiate(Some(&text));
        }

        #[test]
        fn any_bytes_give_a_message_or_an_error(
            mut frame in proptest::collection::vec(any::<u8>(), 0..60),
            push: bool,
        ) {
            if let (true, Some(kind)) = (push, frame.first_mut()) {
                *kind = 0;
            }
            let frame = Bytes::from(frame);
            prop_assert_eq!(Serializer::V1.decode_binary(frame.clone()), Err(DecodeError::BinaryInV1));
            let _decoded = Serializer::V2.decode_binary(frame);
        }
    }
}
