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
    /// One for each of the plan's routes.
    encoders: Vec<(RouteId, ChangeEncoder)>,
}

impl Table {
    pub(super) fn compile(routes: &RouteTable, relation: &Arc<Relation>, value_limit: usize) -> Self {
        let plan = routes.plan(relation);
        let encoder = |id: RouteId| {
            let route = routes.route(id)?;
            let options = EncodeOptions { int8: route.int8, value_limit_bytes: value_limit };
            Some((id, ChangeEncoder::new(relation, route.columns.as_deref(), options)))
        };
        let encoders = plan.steps().iter().filter_map(|step| encoder(step.route)).collect();
        Self { relation: Arc::clone(relation), plan, encoders }
    }

    pub(super) fn encoder(&self, route: RouteId) -> Option<&ChangeEncoder> {
        self.encoders.iter().find(|(id, _)| *id == route).map(|(_, encoder)| encoder)
    }
}
