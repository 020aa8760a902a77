//! From a replication slot to the feed.

pub mod catalogue;
pub mod pgoutput;
pub mod progress;
pub mod source;
pub mod transaction;
pub mod wire;
