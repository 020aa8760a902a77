//! The one integration binary: the library and the real binary against a real Postgres that each test starts itself.

mod pgoutput;
mod replication;
mod support;
mod values;
