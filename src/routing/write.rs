//! What clients may write by a route.

use super::ops::Ops;
use super::table::RouteSpec;

/// `[route.write]`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePolicy {
    /// Never truncate.
    pub ops: Ops,
    /// The columns that clients may set; `None` for all that the route lets out.
    pub columns: Option<Vec<String>>,
    pub conflict: Conflict,
    /// The database role that writes run as where the claims name none.
    pub role: Option<String>,
}

/// What makes a write fail because of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// One of the columns that it changes no longer has the value that the client had seen.
    Columns,
    /// The row has another version than the client had seen. Each write counts this column up.
    Row { version: String },
    /// The row was written at a later time than the client says of its own.
    LastWriteWins { timestamp: String },
    /// Nothing does.
    Overwrite,
}

/// A route that clients may write by. Its table pattern has no globs.
#[derive(Debug, Clone, PartialEq)]
pub struct WritableRoute {
    pub route: RouteSpec,
    pub policy: WritePolicy,
}
