//! The wire client.

mod connect;

pub use connect::{ConnectError, ConnectionConfig, connect_sql};
