//! From a replication slot to the feed.
//!
//! [`wire`] speaks to the server, [`pgoutput`] decodes what it sends, [`transaction`] puts it together, [`progress`]
//! decides what is acknowledged, [`catalogue`] looks up what WAL does not say, [`publication`] notices what leaves a
//! hole in it, [`slot`] knows what state the slot is in, and [`source`] is the task that does all of it, again and
//! again. Knows nothing of topics and clients.

pub mod catalogue;
pub mod pgoutput;
pub mod progress;
pub mod publication;
pub mod slot;
pub mod source;
pub mod transaction;
pub mod wire;
