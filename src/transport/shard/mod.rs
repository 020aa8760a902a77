//! One thread's share of the connections.

mod channel;
mod commands;
mod connection;
mod fetch;
mod group;
mod introduction;
mod join;
mod outbox;
mod posts;
mod reload;
mod requests;
mod rounds;
mod sessions;
mod shell;
mod state;
mod statistics;
mod stream;
#[cfg(test)]
mod tests;
mod thread;
mod writes;
mod writing;

pub(in crate::transport) use channel::content;
pub use outbox::Outbox;
pub(in crate::transport) use posts::publish;
pub(in crate::transport) use shell::{Newcomer, Shell, adopt};
pub use state::State;
pub use statistics::{BUCKETS, Counters, Counts, Histogram, Resync, SlowClient, Statistics, Transport};
pub(in crate::transport) use stream::{NoStream, Stream, open as open_stream};
pub use thread::{Accepted, Control, ShardChannels, ShardThread};
