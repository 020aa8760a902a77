//! What keeps a route from taking a relation's changes.

use super::RouteId;
use crate::routing::target::MAX_RULES;

/// Why a route can't take a relation's changes. All of them are holes until the table or the config is mended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanProblem {
    #[error("topic column `{column}` is not among the published columns of {table}")]
    NoTopicColumn { route: RouteId, table: String, column: String },
    #[error("column `{column}` is not among the published columns of {table}")]
    NoColumn { route: RouteId, table: String, column: String },
    #[error(
        "the replica identity of {table} lacks topic column `{column}`, so that updates and deletes can't be routed: \
         `alter table {table} replica identity full`, or leave update and delete out of the route's ops"
    )]
    NotInIdentity { route: RouteId, table: String, column: String },
    #[error("column `{column}`, of which `where` speaks, is not among the published columns of {table}")]
    NoWhereColumn { route: RouteId, table: String, column: String },
    #[error(
        "the replica identity of {table} lacks column `{column}`, of which `where` speaks, so that nobody can tell \
         which updates and deletes are to be seen: `alter table {table} replica identity full`, or leave update and \
         delete out of the route's ops"
    )]
    WhereNotInIdentity { route: RouteId, table: String, column: String },
    #[error("the route's `where` doesn't fit {table}: {error}")]
    Where { route: RouteId, table: String, error: String },
    #[error("the route's `allow` doesn't fit the topic that {table} gives: {error}")]
    Allow { route: RouteId, table: String, error: String },
    #[error("{table} is taken by more than {MAX_RULES} routes with claims in `where`: join them by `or`")]
    TooManyRules { route: RouteId, table: String },
}

impl PlanProblem {
    #[must_use]
    pub const fn route(&self) -> RouteId {
        match self {
            Self::NoTopicColumn { route, .. }
            | Self::NoColumn { route, .. }
            | Self::NotInIdentity { route, .. }
            | Self::NoWhereColumn { route, .. }
            | Self::WhereNotInIdentity { route, .. }
            | Self::Where { route, .. }
            | Self::Allow { route, .. }
            | Self::TooManyRules { route, .. } => *route,
        }
    }
}
