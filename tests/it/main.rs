//! The one integration binary: the library and the real binary against a real Postgres that each test starts itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod apps;
mod auth;
mod channels;
mod chaos;
mod check;
mod demo_page;
mod inspector;
mod interop;
mod live;
mod metrics;
mod pgoutput;
mod predicates;
mod readme;
mod reload;
mod replication;
mod routing;
mod rules;
mod said;
mod schema;
mod setup;
mod snapshot;
mod start;
mod support;
mod sync;
mod tail;
mod tls;
mod transports;
mod try_out;
mod values;
mod visibility;
mod why;
