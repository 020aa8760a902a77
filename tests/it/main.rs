//! The one integration binary: the library and the real binary against a real Postgres that each test starts itself.

mod check;
mod routing;
mod setup;
mod support;
