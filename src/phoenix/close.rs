//! Every reason for which a connection is closed or a request refused: what clients, metrics and the manual call it.

use std::fmt;

use bytes::Bytes;

use super::json::push_string;
use super::message::Body;
use super::serializer::DecodeError;

/// Why the server closes a connection.
///
/// Never with 1000: `phoenix` up to 1.8.15 takes it for the end and doesn't reconnect. The codes are those of Phoenix
/// (on Bandit) wherever Phoenix has the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// No byte from the client within the idle timeout; its heartbeats have stopped.
    IdleTimeout,
    /// A frame, or a message of several, above the limit.
    TooBig,
    /// Not a WebSocket frame, or a frame that the protocol forbids at this point.
    MalformedFrame,
    /// A text frame that is not UTF-8.
    InvalidUtf8,
    /// A message that the serializer can't decode, on which a Phoenix server's process crashes.
    InvalidMessage,
    /// The server stops or is being replaced: another one, or the same, is there soon.
    Drain,
    /// Replies and broadcasts have filled the connection's outbox: the client reads too slowly. 1013 ("try again
    /// later") because coming back is right, and because it tells this apart from every case above.
    Slow,
    /// The client sends messages that wait for joins in work, or tokens, faster than those are answered. 1013, as for
    /// [`CloseReason::Slow`]: a client that comes back joins afresh.
    Flood,
    /// A fault of the server's own, logged there.
    Internal,
}

impl CloseReason {
    pub const ALL: [Self; 9] = [
        Self::IdleTimeout,
        Self::TooBig,
        Self::MalformedFrame,
        Self::InvalidUtf8,
        Self::InvalidMessage,
        Self::Drain,
        Self::Slow,
        Self::Flood,
        Self::Internal,
    ];

    /// The WebSocket close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::IdleTimeout | Self::MalformedFrame => 1002,
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
            Self::InvalidMessage | Self::Internal => 1011,
            Self::Drain => 1012,
            Self::Slow | Self::Flood => 1013,
        }
    }

    /// The reason in the close frame: at most 123 bytes.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::IdleTimeout => "no message or heartbeat within the idle timeout",
            Self::TooBig => "message too big",
            Self::MalformedFrame => "malformed WebSocket frame",
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::InvalidMessage => "message can't be decoded with the serializer of this connection",
            Self::Drain => "server restarts",
            Self::Slow => "client reads too slowly",
            Self::Flood => "too many messages that wait for a join or a token",
            Self::Internal => "internal error",
        }
    }

    /// A stable name for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle_timeout",
            Self::TooBig => "too_big",
            Self::MalformedFrame => "malformed_frame",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidMessage => "invalid_message",
            Self::Drain => "drain",
            Self::Slow => "slow",
            Self::Flood => "flood",
            Self::Internal => "internal",
        }
    }

    /// Whether a client that does the same again can hope for better.
    #[must_use]
    pub const fn retry(self) -> bool {
        match self {
            Self::IdleTimeout | Self::Drain | Self::Slow | Self::Flood | Self::Internal => true,
            Self::TooBig | Self::MalformedFrame | Self::InvalidUtf8 | Self::InvalidMessage => false,
        }
    }
}

impl From<DecodeError> for CloseReason {
    fn from(_: DecodeError) -> Self {
        Self::InvalidMessage
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why a join or a client's event is answered with an error, or a channel ends with one: the `reason` in its payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No route and no channel has this topic, or it was not joined.
    UnmatchedTopic,
    /// The connection has as many topics as it may.
    TooManyChannels,
    /// The join failed for a reason that is the server's own.
    JoinCrashed,
    /// The identity may not join this topic.
    Unauthorized,
    /// The identity's token is no longer valid.
    TokenExpired,
    /// A new token that is not valid; the identity stays what it was.
    InvalidToken,
    /// No key to check a new token with could be had; the identity stays what it was.
    KeysUnavailable,
    /// The join's filter can't be understood; the message says where.
    InvalidFilter { message: String },
    /// A claim can't be cast to what a rule compares it with, or a rule can't be evaluated; the message says which.
    InvalidClaim { message: String },
    /// The cursor can't be resumed: join again without it and load the rows anew.
    ResyncRequired,
    /// The server has not caught up with the database yet.
    NotReady,
    /// The topic has more rows than a snapshot may have: join without one, or a topic of fewer rows.
    SnapshotTooLarge,
    /// The rows could not be read to their end: join again, and it starts over.
    SnapshotFailed,
    /// Clients may not send this event on this topic.
    EventNotAllowed,
    /// The connection has broadcast more than it may for now; what was refused was not sent to anyone.
    RateLimited,
    /// The broadcast is longer than it may be.
    PayloadTooLarge,
    /// A broadcast's payload is a JSON object, or binary.
    InvalidPayload,
    /// No event can have this name; the message says why.
    InvalidEvent { message: String },
    /// Nobody can be present so; the message says why.
    InvalidPresence { message: String },
    /// The topic has as many members as its presence may have.
    PresenceFull,
}

impl Refusal {
    /// One of each, without a message.
    pub const ALL: [Self; 20] = [
        Self::UnmatchedTopic,
        Self::TooManyChannels,
        Self::JoinCrashed,
        Self::Unauthorized,
        Self::TokenExpired,
        Self::InvalidToken,
        Self::KeysUnavailable,
        Self::InvalidFilter { message: String::new() },
        Self::InvalidClaim { message: String::new() },
        Self::ResyncRequired,
        Self::NotReady,
        Self::SnapshotTooLarge,
        Self::SnapshotFailed,
        Self::EventNotAllowed,
        Self::RateLimited,
        Self::PayloadTooLarge,
        Self::InvalidPayload,
        Self::InvalidEvent { message: String::new() },
        Self::InvalidPresence { message: String::new() },
        Self::PresenceFull,
    ];

    /// The stable `reason`. Where Phoenix has the case it is Phoenix' text.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UnmatchedTopic => "unmatched topic",
            Self::TooManyChannels => "too many channels joined",
            Self::JoinCrashed => "join crashed",
            Self::Unauthorized => "unauthorized",
            Self::TokenExpired => "token_expired",
            Self::InvalidToken => "invalid_token",
            Self::KeysUnavailable => "keys_unavailable",
            Self::InvalidFilter { .. } => "invalid_filter",
            Self::InvalidClaim { .. } => "invalid_claim",
            Self::ResyncRequired => "resync_required",
            Self::NotReady => "not_ready",
            Self::SnapshotTooLarge => "snapshot_too_large",
            Self::SnapshotFailed => "snapshot_failed",
            Self::EventNotAllowed => "event not allowed",
            Self::RateLimited => "rate_limited",
            Self::PayloadTooLarge => "payload_too_large",
            Self::InvalidPayload => "invalid_payload",
            Self::InvalidEvent { .. } => "invalid_event",
            Self::InvalidPresence { .. } => "invalid_presence",
            Self::PresenceFull => "presence_full",
        }
    }

    /// Whether the same request can succeed later. (The npm client repeats a refused join for ever, whatever this
    /// says.)
    #[must_use]
    pub const fn retry(&self) -> bool {
        match self {
            Self::JoinCrashed
            | Self::KeysUnavailable
            | Self::NotReady
            | Self::SnapshotFailed
            | Self::RateLimited
            | Self::PresenceFull => true,
            Self::UnmatchedTopic
            | Self::TooManyChannels
            | Self::Unauthorized
            | Self::TokenExpired
            | Self::InvalidToken
            | Self::InvalidFilter { .. }
            | Self::InvalidClaim { .. }
            | Self::ResyncRequired
            | Self::SnapshotTooLarge
            | Self::EventNotAllowed
            | Self::PayloadTooLarge
            | Self::InvalidPayload
            | Self::InvalidEvent { .. }
            | Self::InvalidPresence { .. } => false,
        }
    }

    /// `{"reason": …}`, with a `message` where there is more to say: a reply's response, or a `phx_error`'s payload.
    #[must_use]
    pub fn response(&self) -> Body {
        let mut json = br#"{"reason":"#.to_vec();
        push_string(self.reason(), &mut json);
        if let Self::InvalidFilter { message }
        | Self::InvalidClaim { message }
        | Self::InvalidEvent { message }
        | Self::InvalidPresence { message } = self
        {
            json.extend_from_slice(br#","message":"#);
            push_string(message, &mut json);
        }
        json.push(b'}');
        Body::Json(Bytes::from(json))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_close_fits_a_close_frame_and_is_never_1000() {
        for reason in CloseReason::ALL {
            assert!(reason.text().len() <= 123, "{reason}");
            assert!([1002, 1007, 1009, 1011, 1012, 1013].contains(&reason.code()), "{reason}");
        }
        assert_eq!(CloseReason::ALL.map(CloseReason::name).into_iter().collect::<HashSet<_>>().len(), 9);
        assert_eq!(CloseReason::ALL.map(CloseReason::text).into_iter().collect::<HashSet<_>>().len(), 9);
    }

    #[test]
    fn closes_have_phoenix_codes() {
        for (reason, code) in [
            (CloseReason::IdleTimeout, 1002),
            (CloseReason::TooBig, 1009),
            (CloseReason::MalformedFrame, 1002),
            (CloseReason::InvalidUtf8, 1007),
            (DecodeError::NotAMessage.into(), 1011),
            (CloseReason::Drain, 1012),
        ] {
            assert_eq!(reason.code(), code, "{reason}");
        }
    }

    #[test]
    fn refusals_say_their_reason() {
        let json = |refusal: Refusal| match refusal.response() {
            Body::Json(json) => String::from_utf8(json.to_vec()).unwrap(),
            Body::Binary(_) => panic!("a refusal is JSON"),
        };
        assert_eq!(json(Refusal::UnmatchedTopic), r#"{"reason":"unmatched topic"}"#);
        assert_eq!(json(Refusal::EventNotAllowed), r#"{"reason":"event not allowed"}"#);
        let message = r#"no operator "x""#.to_owned();
        assert_eq!(
            json(Refusal::InvalidFilter { message }),
            r#"{"reason":"invalid_filter","message":"no operator \"x\""}"#
        );
    }
}
