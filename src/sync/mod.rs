//! Writes from clients: a `sync_request` becomes one transaction, and its outcome a reply.
//!
//! ```text
//! payload ──request──▶ changes ──plan──▶ what each writes ──statement──▶ SQL
//!                                            ▲                            │
//!                              table (the catalogue's word)         transaction ──▶ Outcome
//! ```
//!
//! What came of a request is remembered in `walcast.mutations`, in the transaction that does it, by the id that the
//! client gave it: asked again, the same answer is given and nothing is done. A request that came to nothing for a
//! reason that may pass (a lock, a lost connection) is not remembered.
//!
//! Values are never converted here: the client's JSON goes to Postgres as it came, which reads each column by its type.
//! Writes run as the role that the claims name, with the claims where policies look for them, so that row security
//! governs. The committed rows come back to everyone by the write-ahead log; this module knows nothing of that, nor of
//! sockets, messages and subscriptions.
#![deny(clippy::indexing_slicing)]

mod failure;
mod identity;
mod outcome;
mod plan;
mod prune;
mod request;
mod rule;
mod session;
mod statement;
mod table;
pub mod task;
#[cfg(test)]
mod tests;
mod transaction;

pub use outcome::{Outcome, REASONS};
pub use task::{Answer, Queued, Request, Settings, WriteLimits};
