//! **walcast** turns Postgres' write-ahead log into live updates.
//!
//! ```text
//! Postgres ──WAL──▶ replication ──▶ change ──▶ routing ──▶ hub ──▶ transport ──▶ clients
//!                   wire client,    rows as    table →     log,    websocket,
//!                   pgoutput        Postgres   topic       fan-out HTTP
//!                   decode, acks    sent them
//! ```
//!
//! One direction, no step back; the modules below stand in the order of the flow. ARCHITECTURE.md has the map.

pub mod replication;

pub mod change;

pub mod routing;

pub mod hub;

pub mod snapshot;

pub mod sync;

pub mod phoenix;

pub mod auth;

pub mod tls;

pub mod transport;
pub mod why;

pub mod config;

pub mod telemetry;

pub mod shutdown;

pub mod demo;

pub mod app;

pub mod cli;
