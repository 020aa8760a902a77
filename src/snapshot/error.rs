//! Why a snapshot came to nothing.

use crate::replication::wire::WireError;

/// Says nothing of any row.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("the topic has more than {limit} rows: raise `limits.snapshot_rows`, or give it fewer rows")]
    TooLarge { limit: u64 },
    #[error("connect for a snapshot: {0}")]
    Connect(WireError),
    #[error("look up the published tables: {0}")]
    Catalogue(WireError),
    #[error("a route's `where` does not fit the table as it is now: {0}")]
    Rule(crate::routing::ExpressionError),
    #[error("the subscriber's filter does not fit the table as it is now: {0}")]
    Filter(crate::routing::FilterError),
    #[error("{0}")]
    Unfit(crate::routing::PlanProblem),
    #[error("{action}: {}", harmless(.source))]
    Query { action: &'static str, source: tokio_postgres::Error },
    #[error("the published tables were altered again and again while they were being locked")]
    Altered,
    #[error(
        "the standby was replaying, or not receiving, for {} s without a pause: what it sees can't be told meanwhile. Is \
         it behind?", limit.as_secs()
    )]
    Replaying { limit: std::time::Duration },
    #[error(
        "what was read was not on the server's disk after {} s, and a crash could undo it. May walcast's role execute \
         pg_logical_emit_message?", limit.as_secs()
    )]
    Unflushed { limit: std::time::Duration },
    #[error("the server's view of transactions is {0}")]
    Visibility(#[from] crate::change::ParseVisibilityError),
    #[error("the server's WAL position is no position: {0}")]
    Position(#[from] crate::change::ParseLsnError),
    #[error("a row can't be read: {0}")]
    Row(#[from] crate::change::RowError),
    /// The hub is gone: the process ends.
    #[error("nobody waits for it any longer")]
    Unwanted,
}

impl SnapshotError {
    pub(super) fn query(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Query { action, source }
    }
}

/// The server's words, where they can't quote a value.
fn harmless(error: &tokio_postgres::Error) -> String {
    /// Data exceptions, violated constraints, and what functions raise.
    const TELLING: [&str; 3] = ["22", "23", "P0"];
    match error.as_db_error() {
        Some(error) if TELLING.iter().any(|class| error.code().code().starts_with(class)) => {
            format!("SQLSTATE {}", error.code().code())
        }
        Some(error) => format!("{} (SQLSTATE {})", error.message(), error.code().code()),
        None => error.to_string(),
    }
}
