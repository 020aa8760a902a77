//! Sockets: HTTP, the WebSocket upgrade, and the shards that own the connections.
//!
//! A shard is one thread with a single-threaded runtime. What it decides is pure ([`shard`]'s state, handed bytes and
//! time); what it does to sockets is the thin shell around that. The hub sends a shard one message for a published
//! frame; the shard appends it to each subscriber's outbox and writes each dirty connection once.

mod complaint;
mod http;
mod limits;
mod link;
mod listener;
mod long_poll;
mod pace;
mod shard;
mod tls;
mod topics;
mod unix_socket;
mod websocket;
mod wire;

pub use complaint::{Complaint, complaint, explaining};
pub use http::{Doors, Routers};
pub use limits::{ChannelLimits, Limits};
pub use listener::{Arrival, Count, Entrance, Listener, Permit, accept};
pub use long_poll::{Peers, SessionRequest};
pub use pace::Pace;
pub use shard::{Accepted, Control, Outbox, ShardChannels, ShardThread, State as ShardState};
pub use shard::{BUCKETS, Counters, Counts, Histogram, Resync, SlowClient, Statistics as ShardStatistics, Transport};
pub use tls::{Tls, TlsControl};
pub use unix_socket::SocketFile;
pub use websocket::Window;
pub use wire::Wire;
