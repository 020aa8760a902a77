//! What one client may take.

use std::time::Duration;

/// How long a connection that is being closed may take to say goodbye: its close frame must get through whatever it
/// is still sending, and a client that never answers must not keep the socket.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// Replies and broadcasts are pushed whatever waits in the outbox. Once that is more than this many times its limit,
/// and more than its limit of it are no rows, the client is closed: it keeps asking without reading. Rows alone close
/// nobody: a read for each of many topics is a lot, too.
pub(super) const OUTBOX_REPLY_FACTOR: usize = 2;

/// Bounds from the config's `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest message from a client, in bytes; over it: close 1009.
    pub frame: usize,
    /// Bytes that may wait for a client; over it, its subscriptions read on from the log when there is room again.
    pub outbox: usize,
    /// Topics that one connection may have joined; over it: `too many channels joined`.
    pub topics_per_connection: usize,
    /// The longest topic, in bytes; nothing matches a longer one.
    pub topic: usize,
    /// `sync_request`s of one connection that are not replied to; over it: `busy`.
    pub writes: usize,
    /// How long a client may be silent; over it: close 1002. Phoenix clients send a heartbeat every 30 s.
    pub idle: Duration,
    /// How long a client may take for a request's head; over it: the connection is closed.
    pub handshake: Duration,
    /// How long a poll waits for messages before it is answered without any.
    pub poll: Duration,
    /// How long an event stream may be quiet; then it is sent a comment.
    pub keep_alive: Duration,
    /// Connections of the process; over it: HTTP 503.
    pub connections: usize,
    /// Messages are deflated for clients who take them so.
    pub compression: bool,
    pub channels: ChannelLimits,
}

/// What one client may say to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLimits {
    /// The longest payload of a broadcast, in bytes; over it: `payload_too_large`.
    pub broadcast: usize,
    /// Broadcasts and presence updates of one connection, in the long run; over it: `rate_limited`.
    pub broadcasts_per_second: u32,
    /// So many may come at once, where fewer came before.
    pub broadcast_burst: u32,
    /// The longest meta of a presence, in bytes; over it: `invalid_presence`.
    pub presence_meta: usize,
}
