//! One thread's share of the connections.

mod commands;
mod connection;
mod group;
mod join;
mod outbox;
mod shell;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod writes;
mod writing;

pub use outbox::Outbox;
pub(in crate::transport) use shell::{Newcomer, Shell, adopt};
pub use state::State;
pub use thread::{Accepted, Control, ShardChannels, ShardThread};
