//! Phoenix Channels, as the official clients speak it: messages, serializers 1.0.0 and 2.0.0, and what a connection
//! must answer to each message.
//!
//! Pure: no I/O, no clock, no tokio. Knows nothing of WebSocket frames (only whether one is text or binary), of topics'
//! meaning or of the hub. Built from what Phoenix' server and the `phoenix` npm client do on the wire.

pub mod close;
pub mod connect;
mod json;
mod message;
mod serializer;
mod session;
mod v1;
mod v2;

pub use close::{CloseReason, Refusal};
pub use message::{Body, ClientMessage, Event, MAX_NAME_LENGTH, MAX_REF_LENGTH, Outgoing, Payload, Ref, Status};
pub use serializer::{DecodeError, EncodeError, FrameKind, Serializer, UnsupportedVersion};
pub use session::{DEFAULT_MAX_CHANNELS, Effect, JoinId, MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, Session};
