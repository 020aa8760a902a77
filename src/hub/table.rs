//! A relation with what the routes make of its changes.

use std::sync::Arc;

use crate::change::Relation;
use crate::change::json::{ChangeEncoder, EncodeOptions};
use crate::routing::{Plan, RouteId, RouteTable};

/// Compiled when a relation is first seen, and again when Postgres re-sends it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) relation: Arc<Relation>,
    pub(super) plan: Plan,
    /// One for each of the plan's routes, with that route's columns.
    encoders: Vec<Encoder>,
}

#[derive(Debug)]
struct Encoder {
    route: RouteId,
    /// What the route lets out; `None` for all.
    columns: Option<Vec<String>>,
    options: EncodeOptions,
    encoder: ChangeEncoder,
}

impl Table {
    pub(super) fn compile(routes: &RouteTable, relation: &Arc<Relation>, value_limit: usize) -> Self {
        let plan = routes.plan(relation);
        let encoder = |id: RouteId| {
            let route = routes.route(id)?;
            let options = EncodeOptions { int8: route.int8, value_limit_bytes: value_limit };
            let encoder = ChangeEncoder::new(relation, route.columns.as_deref(), options);
            Some(Encoder { route: id, columns: route.columns.clone(), options, encoder })
        };
        let encoders = plan.steps().iter().filter_map(|step| encoder(step.route)).collect();
        Self { relation: Arc::clone(relation), plan, encoders }
    }

    /// The routes that take this relation, in config order.
    pub(super) fn routes(&self) -> impl Iterator<Item = RouteId> + '_ {
        self.plan.steps().iter().map(|step| step.route)
    }

    pub(super) fn encoder(&self, route: RouteId) -> Option<&ChangeEncoder> {
        self.of(route).map(|it| &it.encoder)
    }

    /// For those of the route's columns that are in `columns`.
    pub(super) fn encoder_of(&self, route: RouteId, columns: &[String]) -> Option<ChangeEncoder> {
        let it = self.of(route)?;
        let shown: Vec<&String> = columns.iter().filter(|column| self.shows(route, column)).collect();
        Some(ChangeEncoder::new(&self.relation, Some(&shown), it.options))
    }

    /// Whether the route lets a column of this table out.
    pub(super) fn shows(&self, route: RouteId, column: &str) -> bool {
        let lets_out = |it: &Encoder| it.columns.as_ref().is_none_or(|columns| columns.iter().any(|it| it == column));
        self.of(route).is_some_and(lets_out) && self.relation.column(column).is_some()
    }

    fn of(&self, route: RouteId) -> Option<&Encoder> {
        self.encoders.iter().find(|it| it.route == route)
    }
}
