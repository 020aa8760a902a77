//! The configuration: a TOML file, read once, checked as a whole, immutable from then on.
//!
//! ```text
//! file ──load──▶ Source ──document──▶ sections ──▶ Config         what the rest of walcast is built from
//!                                        └───────▶ Vec<Finding>   what is wrong, all of it
//! Config + ServerFacts ──catalogue::judge──▶ Vec<Finding>         what is wrong on the server
//! ```
//!
//! It knows `routing`'s types, whose parsers judge table patterns and topics, `auth`'s, which judge keys and origins,
//! and the wire client's connection string.
//! It does not know what is built from a configuration.

mod address;
mod auth;
pub mod catalogue;
mod channels;
pub mod code;
mod connection;
pub mod defaults;
pub mod diagnostic;
mod document;
mod expand;
mod load;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod mistyped;
mod operators;
pub mod published;
mod quantity;
pub mod reload;
pub mod render;
mod routes;
mod rules;
mod sections;
mod server;
mod source;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Hosts, Origins, Tokens};
use crate::replication::slot::OnLostSlot;
use crate::replication::wire::ConnectionConfig;
use crate::routing::{ChannelSpec, ChannelTable, RouteSpec, RouteTable, TooManyRoutes, WritableRoute, WritePolicy};
use crate::tls;

pub use address::{Address, AddressError};
pub use diagnostic::{Finding, Severity, Span};
pub use expand::Environment;
pub use load::{Loaded, ReadError, parse, read};
pub use operators::{OperatorsError, operators};
pub use quantity::{display_duration, display_size};
pub use rules::SqlText;
pub use source::Source;

/// A configuration without errors.
#[derive(Debug, Clone)]
pub struct Config {
    pub source: Arc<Source>,
    pub postgres: Postgres,
    pub server: Server,
    pub auth: Auth,
    pub replay: Replay,
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// In the order of the file.
    pub channels: Vec<Channel>,
    pub limits: Limits,
}

impl Config {
    /// The routes without their places in the file.
    ///
    /// # Errors
    /// There are more than a table can hold.
    pub fn route_table(&self) -> Result<RouteTable, TooManyRoutes> {
        RouteTable::new(self.routes.iter().map(|route| route.spec.clone()).collect())
    }

    /// The channels without their places in the file.
    #[must_use]
    pub fn channel_table(&self) -> ChannelTable {
        ChannelTable::new(self.channels.iter().map(|channel| channel.spec.clone()))
    }
}

impl Config {
    /// The routes that clients may write by.
    #[must_use]
    pub fn writable_routes(&self) -> Vec<WritableRoute> {
        let writable = |route: &Route| {
            let policy = route.write.as_ref()?.policy.clone();
            Some(WritableRoute { route: route.spec.clone(), policy })
        };
        self.routes.iter().filter_map(writable).collect()
    }
}

/// `[postgres]`: where changes come from.
#[derive(Debug, Clone)]
pub struct Postgres {
    pub connection: ConnectionConfig,
    pub publication: PublicationName,
    pub slot: SlotName,
    /// Standbys copy the slot (Postgres 17 and later).
    pub failover: bool,
    pub on_lost_slot: OnLostSlot,
    pub spans: PostgresSpans,
}

/// Where the keys stand; `None` for those left to their defaults.
#[derive(Debug, Clone, Default)]
pub struct PostgresSpans {
    pub url: Option<Span>,
    pub publication: Option<Span>,
    pub slot: Option<Span>,
    pub failover: Option<Span>,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A publication's name: an identifier of 1 to 63 bytes.
    PublicationName
);
name!(
    /// A replication slot's name: 1 to 63 lower-case letters, digits and underscores.
    SlotName
);

/// `[server]`: the two entrances, each with an address or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Clients.
    pub listen: Vec<Address>,
    /// Operators: all of that plus metrics, readiness and the inspector.
    pub admin: Vec<Address>,
    /// Who may connect to the Unix sockets among them.
    pub socket_mode: SocketMode,
    /// What clients' TCP connections are encrypted with.
    pub tls: Option<tls::Files>,
    /// WebSocket messages are deflated for clients that take them so.
    pub compression: bool,
    /// The pages from which browsers may connect.
    pub origins: Origins,
    /// By which names; `None` where any will do for clients. Operators are always held to it.
    pub hosts: Option<Hosts>,
}

/// A file's permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// `[auth]`: who may connect.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Anyone.
    None,
    /// Whoever shows a valid token.
    Jwt(Tokens),
}

/// `[replay]`: how far back a cursor may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    pub window: Duration,
    /// In bytes of encoded transactions.
    pub memory: u64,
    /// In bytes of WAL that the slot may hold back on the primary; 0 gives up resuming over restarts.
    pub wal: u64,
    pub wal_span: Option<Span>,
}

/// A `[[route]]` and where its parts stand in the file.
#[derive(Debug, Clone)]
pub struct Route {
    pub spec: RouteSpec,
    pub spans: RouteSpans,
    /// `[route.write]`, where clients may write.
    pub write: Option<Write>,
}

/// `[route.write]` and where its parts stand in the file.
#[derive(Debug, Clone)]
pub struct Write {
    pub policy: WritePolicy,
    pub spans: WriteSpans,
}

/// Where findings about writes point at.
#[derive(Debug, Clone)]
pub struct WriteSpans {
    pub section: Span,
    /// One for each of `columns`, in order.
    pub columns: Vec<Span>,
    /// The key that names the version's or the timestamp's column; the section's where it is left out.
    pub conflict_column: Span,
    pub role: Option<Span>,
}

/// Where findings about a route point at.
#[derive(Debug, Clone)]
pub struct RouteSpans {
    pub table: Span,
    pub topic: Span,
    /// One for each `{column}` of the topic, in order.
    pub topic_columns: Vec<Span>,
    /// One for each of `columns`, in order.
    pub columns: Vec<Span>,
    pub ops: Option<Span>,
    /// Of `where`.
    pub filter: Option<SqlText>,
    pub allow: Option<SqlText>,
}

/// A `[[channel]]` and where its parts stand in the file.
#[derive(Debug, Clone)]
pub struct Channel {
    pub spec: ChannelSpec,
    pub spans: ChannelSpans,
}

/// Where findings about a channel point at.
#[derive(Debug, Clone)]
pub struct ChannelSpans {
    pub topic: Span,
    /// One for each of `publish`, in order.
    pub publish: Vec<Span>,
    pub allow: Option<SqlText>,
}

/// `[limits]`: what one client, and all of them together, may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections.
    pub connections: u32,
    /// Topics that one connection may have joined.
    pub topics_per_connection: u32,
    /// A topic's name, in bytes.
    pub topic: u64,
    /// The largest message from a client, in bytes.
    pub frame: u64,
    /// What may wait for one client, in bytes.
    pub outbox: u64,
    /// The largest value that is sent, in bytes of JSON.
    pub value: u64,
    /// Changes in one message; a larger transaction is sent in parts.
    pub part_changes: u32,
    /// Bytes in one message, apart from a single change that is larger.
    pub part_bytes: u64,
    /// Snapshots that are read at a time.
    pub snapshots: u32,
    /// Rows in one snapshot.
    pub snapshot_rows: u64,
    /// The payload of a client's broadcast, in bytes.
    pub broadcast: u64,
    /// Broadcasts and presence updates of one connection, in the long run.
    pub broadcasts_per_second: u32,
    /// So many of them may come at once.
    pub broadcast_burst: u32,
    /// Events that apps post, all together.
    pub posts_per_second: u32,
    /// Members of one topic with presence.
    pub presence_members: u32,
    /// What one member may say of itself, in bytes.
    pub presence_meta: u64,
    /// Connections to the database for clients' writes.
    pub write_connections: u32,
    /// Writes that wait for one of these.
    pub write_queue: u32,
    /// Changes in one `sync_request`.
    pub write_changes: u32,
    /// `sync_request`s of one connection that are not answered yet.
    pub writes_per_connection: u32,
    /// How long one `sync_request` may take …
    pub write_timeout: Duration,
    /// … and how long it may wait for others' locks.
    pub write_lock_timeout: Duration,
    /// How long what came of it is remembered.
    pub write_retention: Duration,
    /// How long a connection may be silent.
    pub idle: Duration,
    /// How long a client may take over its HTTP request.
    pub handshake: Duration,
    /// How long a poll waits for messages.
    pub poll: Duration,
    /// How long an event stream is quiet before it is sent a comment.
    pub keep_alive: Duration,
    /// How long the feed may stand still before the gateway is not ready any more.
    pub outage: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: defaults::CONNECTIONS,
            topics_per_connection: defaults::TOPICS_PER_CONNECTION,
            topic: defaults::TOPIC,
            frame: defaults::FRAME,
            outbox: defaults::OUTBOX,
            value: defaults::VALUE,
            part_changes: defaults::PART_CHANGES,
            part_bytes: defaults::PART_BYTES,
            snapshots: defaults::SNAPSHOTS,
            snapshot_rows: u64::from(defaults::SNAPSHOT_ROWS),
            broadcast: defaults::BROADCAST,
            broadcasts_per_second: defaults::BROADCASTS_PER_SECOND,
            broadcast_burst: defaults::BROADCAST_BURST,
            posts_per_second: defaults::POSTS_PER_SECOND,
            presence_members: defaults::PRESENCE_MEMBERS,
            presence_meta: defaults::PRESENCE_META,
            write_connections: defaults::WRITE_CONNECTIONS,
            write_queue: defaults::WRITE_QUEUE,
            write_changes: defaults::WRITE_CHANGES,
            writes_per_connection: defaults::WRITES_PER_CONNECTION,
            write_timeout: defaults::WRITE_TIMEOUT,
            write_lock_timeout: defaults::WRITE_LOCK_TIMEOUT,
            write_retention: defaults::WRITE_RETENTION,
            idle: defaults::IDLE,
            handshake: defaults::HANDSHAKE,
            poll: defaults::POLL,
            keep_alive: defaults::KEEP_ALIVE,
            outage: defaults::OUTAGE,
        }
    }
}

impl Default for Replay {
    fn default() -> Self {
        Self { window: defaults::WINDOW, memory: defaults::MEMORY, wal: defaults::WAL, wal_span: None }
    }
}
