//! The publication changes under the hub: what it no longer gives, and what of it no change has told.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::change::{PlacedHole, Relation, TableHole};
use crate::routing::{RouteId, RouteSpec};

use super::log::Hole;
use super::{Hub, Position};

impl Hub {
    /// Takes the published tables as they are now, and has those begin afresh who watch one with a hole. What was let
    /// out before is the log's still; no cursor from before this is resumed by the topics of such a table.
    pub(super) fn published(&mut self, relations: &[Arc<Relation>], holes: &[TableHole]) {
        self.tables.keep(relations);
        self.knows_published = true;
        for relation in relations {
            self.tables.table(relation);
        }
        self.look_for_unfed();
        let routes = Arc::clone(&self.tables.routes);
        for (route, spec) in routes.iter() {
            if holes.iter().any(|hole| spec.table.matches(&hole.schema, &hole.name)) {
                self.break_off(route);
            }
        }
    }

    /// Takes holes that were told before the process began: their places are those of the cursors that clients have.
    pub(super) fn remembered(&mut self, holes: &[PlacedHole]) {
        let Some(log) = &mut self.log else { return };
        for PlacedHole { lsn, ordinal, hole } in holes {
            let at = Position { lsn: *lsn, ordinal: *ordinal };
            let routes = self.tables.routes.iter();
            let routes = routes.filter(|(_, spec)| spec.table.matches(&hole.schema, &hole.name));
            routes.for_each(|(route, _)| log.add_hole(Hole { at, route }));
        }
    }

    /// Routes to which nothing can come, since the publication does not give the one table that they name.
    pub fn unfed(&self) -> impl Iterator<Item = (RouteId, &RouteSpec)> {
        self.unfed.iter().filter_map(|route| Some((*route, self.tables.routes.route(*route)?)))
    }

    /// Nobody passes this point of the route's feed: who is here begins afresh, and who comes back to before it, too.
    fn break_off(&mut self, route: RouteId) {
        let Some(log) = &mut self.log else { return };
        log.break_off(route);
        self.reset_topics_of(route);
    }

    /// Holds the routes against the published tables, once these are known.
    pub(super) fn look_for_unfed(&mut self) {
        if !self.knows_published {
            return;
        }
        let published = || self.tables.relations().map(|table| &table.relation);
        let gives = |route: &RouteSpec| published().any(|it| route.table.matches(&it.schema, &it.name));
        let unfed = self.tables.routes.iter().filter(|(_, route)| route.table.is_exact() && !gives(route));
        self.unfed = unfed.map(|(id, _)| id).collect::<BTreeSet<_>>();
    }
}
