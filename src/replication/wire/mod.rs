//! Connections to Postgres: a thin replication client, and ordinary sessions under the same rules.
//!
//! Knows the wire protocol below SQL (startup, authentication, TLS, copy-both, keepalives) and nothing of what the
//! replication messages mean: they are handed on as bytes. What to do about an error is decided here too, in
//! [`classify`], and carried out by `source`.

mod client;
mod command;
mod config;
mod connect;
mod conninfo;
mod error;
mod framed;
mod policy;
mod session;
mod socket;
mod startup;
mod stream;
mod tls;

pub use client::{ReplicationClient, SystemIdentity, TextRow};
pub use command::{StartReplication, alter_failover, quote_literal};
pub use config::{
    APPLICATION_NAME, CONNECT_TIMEOUT, ConnectionConfig, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES,
    RootCertificates, SslMode, TCP_USER_TIMEOUT, TlsSettings,
};
pub use connect::connect_sql;
pub use error::{ConfigError, ServerError, WireError};
pub use framed::FRAME_LIMIT;
pub use policy::{Disposition, Verdict, classify};
pub use session::{session_settings, startup_options};
pub use socket::Socket;
pub use stream::{ReplicationMessage, ReplicationStream, StatusUpdate};
