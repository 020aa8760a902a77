//! From a replication slot to the feed.

pub mod wire;
