//! The replication client and the source against a real server: who may connect and how, what arrives, and what
//! happens when the server, the slot or the reader does not do its part.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails where it stands")]

mod broadcast;
mod connect;
mod feed;
mod outage;
mod published;
mod stream;
mod tls;
