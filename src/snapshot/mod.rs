//! The current rows of a topic, read from the database for subscribers who begin with them.
//!
//! [`task`] takes the hub's orders, [`read`](self) carries one out in a transaction of its own, [`query`](self) says it
//! in SQL. What the rows and the feed have in common is decided by the hub, from the snapshot's view of transactions:
//! here nobody knows the log, and subscribers only as the pace at which parts are asked for.

mod durable;
mod error;
mod meter;
mod parts;
mod published;
mod query;
mod read;
mod standby;
pub mod task;

pub use meter::Meter;
