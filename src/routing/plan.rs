//! What the routes do with one relation's changes.

use std::sync::Arc;

use super::RouteSpec;
use super::canonical::{TextForm, is_canonical};
use super::image::Image;
use super::ops::{Op, Ops};
use super::predicate::{Expression, Predicate, Scope, Truth};
use super::table::{RouteId, RouteTable, Rules};
use super::target::{MAX_RULES, Part, Rendered, Scratch, Side, Source, Sources, Target};
use super::template::{Piece, Template};
use crate::change::{Change, Operation, Relation, Type};

mod problem;

pub use problem::PlanProblem;

/// The routes of one relation, with names resolved to columns.
#[derive(Debug, Clone)]
pub struct Plan {
    relation: Arc<Relation>,
    steps: Box<[Step]>,
    /// The routes whose `where` has claims, in config order.
    rules: Box<[RouteId]>,
    problems: Vec<PlanProblem>,
}

/// One route of a plan.
#[derive(Debug, Clone)]
pub struct Step {
    pub route: RouteId,
    ops: Ops,
    topics: Topics,
    /// The rows that the route takes at all: what `where` says without claims.
    filter: Option<Predicate>,
    /// Its number among the plan's rules, where `where` has claims.
    rule: Option<u8>,
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
    pub(super) fn new(relation: Arc<Relation>, routes: &RouteTable) -> Self {
        let mut compiling = Compiling { relation: &relation, rules: Vec::new(), problems: Vec::new() };
        let matching = routes.iter().filter(|(_, route)| route.table.matches(&relation.schema, &relation.name));
        let steps = matching.map(|(id, route)| compiling.step(id, route, routes.rules(id))).collect();
        let Compiling { rules, problems, .. } = compiling;
        Self { relation, steps, rules: rules.into(), problems }
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

    /// The routes whose `where` has claims, by the numbers that [`Sources`] has of them.
    #[must_use]
    pub const fn rules(&self) -> &[RouteId] {
        &self.rules
    }

    /// The first route in config order that has a row somewhere, whoever it is shown to.
    #[must_use]
    pub fn first_of(&self, sources: Sources) -> Option<RouteId> {
        sources.rules().find_map(|rule| self.rules.get(rule).copied()).or(sources.rest())
    }

    /// Everything about these routes that doesn't fit the relation.
    #[must_use]
    pub fn problems(&self) -> &[PlanProblem] {
        &self.problems
    }

    /// Whether some row of the relation is in a topic by a route.
    #[must_use]
    pub fn feeds(&self, routes: &RouteTable, id: RouteId, topic: &str) -> bool {
        let step = self.steps.iter().find(|step| step.route == id);
        let route = routes.route(id);
        step.zip(route).is_some_and(|(step, route)| step.captures(&route.topic, topic).is_some())
    }

    /// Which of the relation's rows are in a topic, in config order: a row is there by the first selection that takes
    /// it. Routes that take neither inserts nor updates show no rows, and those with a problem none that can be told.
    #[must_use]
    pub fn selections<'t>(&self, routes: &RouteTable, topic: &'t str) -> Vec<Selection<'t>> {
        let shows_rows = |step: &&Step| step.ops.contains(Op::Insert) || step.ops.contains(Op::Update);
        let selection = |step: &Step| {
            let columns = step.captures(&routes.route(step.route)?.topic, topic)?;
            Some(Selection { route: step.route, columns })
        };
        self.steps.iter().filter(shows_rows).filter_map(selection).collect()
    }

    /// Tells the sink where a change of this relation goes: holes and [`Target::EveryTopic`] first, then each topic
    /// once, in config order. Allocates nothing once `scratch` has grown.
    pub fn route(&self, change: &Change, scratch: &mut Scratch, sink: &mut impl FnMut(Target<'_>)) {
        let op = Op::of(&change.operation);
        // The common case by far: no topic can be met twice.
        if let [Step { route, ops, topics: Topics::One(topic), filter: None, rule: None }] = &*self.steps {
            if ops.contains(op) {
                let (before, after) = Side::of(&change.operation).with(Sources::open(*route));
                sink(Target::Topic { topic, before, after });
            }
            return;
        }
        scratch.clear();
        for step in self.steps.iter().filter(|step| step.ops.contains(op)) {
            let route = step.route;
            match step.find(&self.relation, &change.operation, scratch) {
                Outcome::Found => {}
                Outcome::EveryTopic => sink(Target::EveryTopic { route }),
                Outcome::Hole => sink(Target::Hole { route }),
            }
        }
        scratch.emit(sink);
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
    /// Whether some row of this relation is in `topic` by this step's route, of this template.
    pub(super) fn could_give(&self, template: &Template, topic: &str) -> bool {
        matches!(self.topics, Topics::ByColumn(_)) && self.captures(template, topic).is_some()
    }

    /// The columns, by their place in the relation, that tell a row of `topic` from others, and what they are there.
    /// None where the step has no row in that topic, or has a problem.
    pub(super) fn captures<'t>(&self, template: &Template, topic: &'t str) -> Option<Vec<(usize, &'t str)>> {
        let parts = match &self.topics {
            Topics::One(own) => return (**own == *topic).then(Vec::new),
            Topics::ByColumn(parts) => parts,
            Topics::Unknown => return None,
        };
        let column = |part| match part {
            &Part::Column { index, ref ty, .. } => Some((index, ty)),
            Part::Literal(_) => None,
        };
        let columns: Vec<(usize, &Arc<Type>)> = parts.iter().filter_map(column).collect();
        let accepts = |column: usize, value: &str| columns.get(column).is_some_and(|(_, ty)| is_canonical(ty, value));
        let values = template.captures_where(topic, accepts)?;
        Some(columns.iter().map(|(index, _)| *index).zip(values).collect())
    }

    fn find(&self, relation: &Relation, operation: &Operation, scratch: &mut Scratch) -> Outcome {
        let source = Source { route: self.route, rule: self.rule };
        match (&self.topics, operation) {
            (Topics::Unknown, _) => return Outcome::Hole,
            (Topics::One(topic), Operation::Truncate) => {
                let topic = scratch.push(topic);
                scratch.add(topic, Side::Both, source);
                return Outcome::Found;
            }
            (Topics::ByColumn(_), Operation::Truncate) => return Outcome::EveryTopic,
            (Topics::One(_) | Topics::ByColumn(_), _) => {}
        }
        let before = Image::before(relation, operation).map(|image| self.place(&image, scratch));
        if let (Some(before), Operation::Update { old: None, .. }) = (&before, operation) {
            // The replica identity has every column that matters here and is unchanged, hence so is the place.
            return add(scratch, before.clone(), Side::Both, source);
        }
        let after = Image::after(relation, operation).map(|image| self.place(&image, scratch));
        if before == Some(Rendered::Unknown) || after == Some(Rendered::Unknown) {
            return Outcome::Hole;
        }
        for (rendered, side) in [(before, Side::Before), (after, Side::After)] {
            add(scratch, rendered.unwrap_or(Rendered::Nowhere), side, source);
        }
        Outcome::Found
    }

    /// The topic in which the route has a row.
    fn place(&self, image: &Image<'_>, scratch: &mut Scratch) -> Rendered {
        let is_taken = self.filter.as_ref().map_or(Ok(Truth::True), |filter| filter.evaluate(image));
        if matches!(is_taken, Ok(Truth::NotTrue)) {
            return Rendered::Nowhere;
        }
        let rendered = match &self.topics {
            Topics::One(topic) => Rendered::At(scratch.push(topic)),
            Topics::ByColumn(parts) => scratch.render(parts, image),
            Topics::Unknown => Rendered::Unknown,
        };
        match is_taken {
            // Postgres, asked for such rows, gives an error and none of them.
            Ok(Truth::Unsent) | Err(_) if rendered != Rendered::Nowhere => Rendered::Unknown,
            _ => rendered,
        }
    }
}

fn add(scratch: &mut Scratch, rendered: Rendered, side: Side, source: Source) -> Outcome {
    match rendered {
        Rendered::At(topic) => scratch.add(topic, side, source),
        Rendered::Nowhere => {}
        Rendered::Unknown => return Outcome::Hole,
    }
    Outcome::Found
}

/// A plan in the making.
struct Compiling<'a> {
    relation: &'a Relation,
    rules: Vec<RouteId>,
    problems: Vec<PlanProblem>,
}

impl Compiling<'_> {
    fn step(&mut self, id: RouteId, route: &RouteSpec, rules: &Rules) -> Step {
        let before = self.problems.len();
        let needs_old = route.ops.contains(Op::Update) || route.ops.contains(Op::Delete);
        self.find_columns(id, route);
        let topics = match route.topic.as_static() {
            Some(topic) => Topics::One(topic.into()),
            None => Topics::ByColumn(self.topic_parts(id, route, needs_old)),
        };
        let filter = rules.filter.as_ref().and_then(|filter| self.filter(id, filter, needs_old));
        let rule = rules.rule.as_ref().and_then(|rule| self.rule(id, rule, needs_old));
        if let Some(allow) = route.allow.as_ref().filter(|_| self.problems.len() == before) {
            self.check_allow(id, allow, &topics, route);
        }
        let topics = if self.problems.len() > before { Topics::Unknown } else { topics };
        Step { route: id, ops: route.ops, topics, filter, rule }
    }

    fn table(&self) -> String {
        self.relation.to_string()
    }

    fn find_columns(&mut self, route: RouteId, spec: &RouteSpec) {
        let is_missing = |name: &&String| self.relation.column(name).is_none();
        for column in spec.columns.iter().flatten().filter(is_missing) {
            self.problems.push(PlanProblem::NoColumn { route, table: self.table(), column: column.clone() });
        }
    }

    fn topic_parts(&mut self, route: RouteId, spec: &RouteSpec, needs_old: bool) -> Box<[Part]> {
        let mut parts = Vec::new();
        for piece in spec.topic.pieces() {
            match piece {
                Piece::Literal(text) => parts.push(Part::Literal(text.clone())),
                Piece::Column(name) => parts.extend(self.topic_column(route, name, needs_old)),
            }
        }
        parts.into()
    }

    fn topic_column(&mut self, route: RouteId, name: &str, needs_old: bool) -> Option<Part> {
        let (table, column) = (self.table(), name.to_owned());
        let mut columns = self.relation.columns.iter().enumerate();
        let Some((index, found)) = columns.find(|(_, column)| &*column.name == name) else {
            self.problems.push(PlanProblem::NoTopicColumn { route, table, column });
            return None;
        };
        if needs_old && !found.identity {
            self.problems.push(PlanProblem::NotInIdentity { route, table, column });
        }
        Some(Part::Column { index, form: TextForm::of(&found.ty), ty: Arc::clone(&found.ty) })
    }

    /// Whether every column that `where` names is published, and sent of old rows if they are `needed`.
    fn has_columns(&mut self, route: RouteId, expression: &Expression, needs_old: bool) -> bool {
        let before = self.problems.len();
        for name in expression.columns() {
            let (table, column) = (self.table(), name.to_owned());
            match self.relation.column(name) {
                None => self.problems.push(PlanProblem::NoWhereColumn { route, table, column }),
                Some(index) if needs_old && !self.relation.columns.get(index).is_some_and(|it| it.identity) => {
                    self.problems.push(PlanProblem::WhereNotInIdentity { route, table, column });
                }
                Some(_) => {}
            }
        }
        self.problems.len() == before
    }

    fn filter(&mut self, route: RouteId, filter: &Expression, needs_old: bool) -> Option<Predicate> {
        if !self.has_columns(route, filter, needs_old) {
            return None;
        }
        let compiled = filter.compile(&Scope::of_relation(self.relation));
        compiled
            .map_err(|error| {
                let (table, error) = (self.table(), error.to_string());
                self.problems.push(PlanProblem::Where { route, table, error });
            })
            .ok()
    }

    fn rule(&mut self, route: RouteId, rule: &Expression, needs_old: bool) -> Option<u8> {
        if !self.has_columns(route, rule, needs_old) {
            return None;
        }
        for error in rule.check(&Scope::of_relation(self.relation)) {
            self.problems.push(PlanProblem::Where { route, table: self.table(), error: error.to_string() });
        }
        let number = u8::try_from(self.rules.len()).ok().filter(|number| usize::from(*number) < MAX_RULES);
        match number {
            Some(_) => self.rules.push(route),
            None => self.problems.push(PlanProblem::TooManyRules { route, table: self.table() }),
        }
        number
    }

    fn check_allow(&mut self, route: RouteId, allow: &Expression, topics: &Topics, spec: &RouteSpec) {
        let types: Vec<&Arc<Type>> = match topics {
            Topics::ByColumn(parts) => parts.iter().filter_map(Part::ty).collect(),
            Topics::One(_) | Topics::Unknown => Vec::new(),
        };
        let variables: Vec<(&str, &Arc<Type>)> = spec.topic.columns().zip(types).collect();
        for error in allow.check(&Scope::of_variables(&variables)) {
            self.problems.push(PlanProblem::Allow { route, table: self.table(), error: error.to_string() });
        }
    }
}

#[cfg(test)]
mod tests;
