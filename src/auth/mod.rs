//! Who somebody is, and whether they may come in: tokens, the keys that they are checked with, and the origin check.
//!
//! ```text
//! request ──credential──▶ token ──jwt + KeySet + clock──▶ Identity ──▶ shard, rules
//!                                       ▲
//!                  secret, PEM, JWKS ───┘    keyring: a JWKS that is fetched, cached and renewed (fetch, location)
//! ```
//!
//! The way in is [`Gate::admit`]: whoever serves a request asks it first. Judging a token ([`jwt`]) and reading keys
//! ([`KeySet`]) is pure: handed bytes and time. Sockets, files and the clock are in `fetch`, `keyring` and `gate`.
//!
//! What is deliberately not known here: topics, rules and what an identity may see. A token's text is in no log line
//! and in no error.

mod credential;
mod fetch;
mod gate;
mod host;
mod identity;
mod jwks;
pub mod jwt;
mod keyring;
mod keys;
mod location;
mod origin;
#[cfg(test)]
pub(crate) mod testing;

pub use credential::Credential;
pub use gate::{Denials, Denied, Gate, Tokens, wall_clock};
pub use host::{Host, HostError, Hosts};
pub use identity::{Identity, WallTime};
pub use jwks::{JwksError, KEYS_MAX};
pub use jwt::{Rules, TokenError};
pub use keyring::Refresher;
pub use keys::{KeyError, KeySet, KeySource, SECRET_BYTES_SAFE};
pub use location::{JwksUrl, JwksUrlError};
pub use origin::{Origin, OriginError, Origins};
