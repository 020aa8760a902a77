//! RFC 6455, as far as a server needs it: frames to send, made once and shared, and messages received.

mod deflate;
mod extension;
mod frame;
mod handshake;
mod reader;

pub use deflate::Window;
pub(super) use deflate::{Inflater, deflated};
pub(super) use extension::{Agreement, agree};
pub(super) use frame::{OpCode, bare_close_frame, begin_frame, close_frame, finish_frame, pong_frame};
pub(super) use handshake::accept;
pub(super) use reader::{FrameError, Incoming, MessageReader};
