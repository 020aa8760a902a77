//! What the routes do with one relation's changes.

use std::sync::Arc;

use super::canonical::{TextForm, is_canonical};
use super::ops::{Op, Ops};
use super::table::{RouteId, RouteSpec, RouteTable};
use super::target::{Part, Rendered, Scratch, Side, Target};
use super::template::{Piece, Template};
use crate::change::json::Shown;
use crate::change::{Change, OldRow, Operation, Relation, Row, Type};

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
}

impl PlanProblem {
    #[must_use]
    pub const fn route(&self) -> RouteId {
        match self {
            Self::NoTopicColumn { route, .. } | Self::NoColumn { route, .. } | Self::NotInIdentity { route, .. } => {
                *route
            }
        }
    }
}

/// The routes of one relation, with names resolved to columns.
#[derive(Debug, Clone)]
pub struct Plan {
    relation: Arc<Relation>,
    steps: Box<[Step]>,
    problems: Vec<PlanProblem>,
}

/// One route of a plan.
#[derive(Debug, Clone)]
pub struct Step {
    pub route: RouteId,
    ops: Ops,
    topics: Topics,
}

/// Rows that a route has in a topic: those with these values, as `value::text`, in these columns of the relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection<'t> {
    pub route: RouteId,
    pub columns: Vec<(usize, &'t str)>,
}

#[derive(Debug, Clone)]
enum Topics {
    One(Box<str>),
    ByColumn(Box<[Part]>),
    /// The route has a problem with this relation.
    Unknown,
}

impl Plan {
    pub(super) fn new<'r>(relation: Arc<Relation>, routes: impl Iterator<Item = (RouteId, &'r RouteSpec)>) -> Self {
        let mut problems = Vec::new();
        let steps = routes.map(|(id, route)| Step::new(&relation, id, route, &mut problems)).collect();
        Self { relation, steps, problems }
    }

    #[must_use]
    pub const fn relation(&self) -> &Arc<Relation> {
        &self.relation
    }

    /// One step for each route that takes this relation, in config order; one with a problem gives only holes.
    #[must_use]
    pub const fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Everything about these routes that doesn't fit the relation.
    #[must_use]
    pub fn problems(&self) -> &[PlanProblem] {
        &self.problems
    }

    /// Which of the relation's rows are in a topic, in config order: a row is there by the first selection that takes
    /// it. Routes that take neither inserts nor updates show no rows, and those with a problem none that can be told.
    #[must_use]
    pub fn selections<'t>(&self, routes: &RouteTable, topic: &'t str) -> Vec<Selection<'t>> {
        let shows_rows = |step: &&Step| step.ops.contains(Op::Insert) || step.ops.contains(Op::Update);
        let selection = |step: &Step| {
            let columns = match &step.topics {
                Topics::One(own) => (**own == *topic).then(Vec::new),
                Topics::ByColumn(_) => step.captures(&routes.route(step.route)?.topic, topic),
                Topics::Unknown => None,
            };
            Some(Selection { route: step.route, columns: columns? })
        };
        self.steps.iter().filter(shows_rows).filter_map(selection).collect()
    }

    /// Tells the sink where a change of this relation goes: holes and [`Target::EveryTopic`] first, then each topic
    /// once, in config order. Allocates nothing once `scratch` has grown.
    pub fn route(&self, change: &Change, scratch: &mut Scratch, sink: &mut impl FnMut(Target<'_>)) {
        let op = Op::of(&change.operation);
        // The common case by far: no topic can be met twice.
        if let [Step { route, ops, topics: Topics::One(topic), .. }] = &*self.steps {
            if ops.contains(op) {
                sink(Target::Topic { route: *route, topic, shown: Shown::AsIs });
            }
            return;
        }
        scratch.clear();
        for step in self.steps.iter().filter(|step| step.ops.contains(op)) {
            let route = step.route;
            match step.find(&change.operation, scratch) {
                Outcome::Found => {}
                Outcome::EveryTopic => sink(Target::EveryTopic { route }),
                Outcome::Hole => sink(Target::Hole { route }),
            }
        }
        scratch.emit(op, sink);
    }
}

/// What a step did with a change.
enum Outcome {
    /// Its topics, if any, are in the scratch.
    Found,
    EveryTopic,
    Hole,
}

impl Step {
    fn new(relation: &Relation, id: RouteId, route: &RouteSpec, problems: &mut Vec<PlanProblem>) -> Self {
        let before = problems.len();
        find_columns(relation, id, route, problems);
        let topics = match route.topic.as_static() {
            Some(topic) => Topics::One(topic.into()),
            None => Topics::ByColumn(topic_parts(relation, id, route, problems)),
        };
        let topics = if problems.len() > before { Topics::Unknown } else { topics };
        Self { route: id, ops: route.ops, topics }
    }

    /// Whether some row of this relation is in `topic` by this step's route, of this template.
    pub(super) fn could_give(&self, template: &Template, topic: &str) -> bool {
        self.captures(template, topic).is_some()
    }

    /// The columns, by their place in the relation, that tell a row of `topic` from others, and what they are there.
    fn captures<'t>(&self, template: &Template, topic: &'t str) -> Option<Vec<(usize, &'t str)>> {
        let Topics::ByColumn(parts) = &self.topics else { return None };
        let column = |part| match part {
            &Part::Column { index, ref ty, .. } => Some((index, ty)),
            Part::Literal(_) => None,
        };
        let columns: Vec<(usize, &Arc<Type>)> = parts.iter().filter_map(column).collect();
        let accepts = |column: usize, value: &str| columns.get(column).is_some_and(|(_, ty)| is_canonical(ty, value));
        let values = template.captures_where(topic, accepts)?;
        Some(columns.iter().map(|(index, _)| *index).zip(values).collect())
    }

    fn find(&self, operation: &Operation, scratch: &mut Scratch) -> Outcome {
        match (&self.topics, operation) {
            (Topics::Unknown, _) => Outcome::Hole,
            (Topics::One(topic), _) => {
                let rendered = scratch.push(topic);
                scratch.add(rendered, Side::of(operation), self.route);
                Outcome::Found
            }
            (Topics::ByColumn(_), Operation::Truncate) => Outcome::EveryTopic,
            (Topics::ByColumn(parts), Operation::Insert { new }) => {
                self.find_one(parts, new, None, Side::After, scratch)
            }
            (Topics::ByColumn(parts), Operation::Delete { old }) => {
                self.find_one(parts, old.row(), None, Side::Before, scratch)
            }
            // The replica identity has every topic column and is unchanged, hence so is the topic.
            (Topics::ByColumn(parts), Operation::Update { old: None, new }) => {
                self.find_one(parts, new, None, Side::Both, scratch)
            }
            (Topics::ByColumn(parts), Operation::Update { old: Some(old), new }) => {
                self.find_move(parts, old, new, scratch)
            }
        }
    }

    fn find_one(&self, parts: &[Part], row: &Row, old: Option<&Row>, side: Side, scratch: &mut Scratch) -> Outcome {
        match scratch.render(parts, row, old) {
            Rendered::At(topic) => scratch.add(topic, side, self.route),
            Rendered::Nowhere => {}
            Rendered::Unknown => return Outcome::Hole,
        }
        Outcome::Found
    }

    /// An update with old values. A key's old row has every topic column, since the plan has checked the identity.
    fn find_move(&self, parts: &[Part], old: &OldRow, new: &Row, scratch: &mut Scratch) -> Outcome {
        let before = scratch.render(parts, old.row(), None);
        let after = scratch.render(parts, new, Some(old.row()));
        if before == Rendered::Unknown || after == Rendered::Unknown {
            return Outcome::Hole;
        }
        if let Rendered::At(topic) = before {
            scratch.add(topic, Side::Before, self.route);
        }
        if let Rendered::At(topic) = after {
            scratch.add(topic, Side::After, self.route);
        }
        Outcome::Found
    }
}

fn find_columns(relation: &Relation, id: RouteId, route: &RouteSpec, problems: &mut Vec<PlanProblem>) {
    let is_missing = |name: &&String| relation.column(name).is_none();
    for column in route.columns.iter().flatten().filter(is_missing) {
        problems.push(PlanProblem::NoColumn { route: id, table: relation.to_string(), column: column.clone() });
    }
}

fn topic_parts(relation: &Relation, id: RouteId, route: &RouteSpec, problems: &mut Vec<PlanProblem>) -> Box<[Part]> {
    let needs_old = route.ops.contains(Op::Update) || route.ops.contains(Op::Delete);
    let mut resolve = |name: &str| {
        let (table, column) = (relation.to_string(), name.to_owned());
        let Some((index, found)) = relation.columns.iter().enumerate().find(|(_, column)| &*column.name == name) else {
            problems.push(PlanProblem::NoTopicColumn { route: id, table, column });
            return None;
        };
        if needs_old && !found.identity {
            problems.push(PlanProblem::NotInIdentity { route: id, table, column });
        }
        Some(Part::Column { index, form: TextForm::of(&found.ty), ty: Arc::clone(&found.ty) })
    };
    let parts = route.topic.pieces().iter().filter_map(|piece| match piece {
        Piece::Literal(text) => Some(Part::Literal(text.clone())),
        Piece::Column(name) => resolve(name),
    });
    parts.collect()
}

#[cfg(test)]
mod tests;
