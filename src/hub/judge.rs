//! What one shape is shown of one table's changes.

use std::sync::Arc;

use crate::change::Operation;
use crate::change::json::Shown;
use crate::routing::{Image, Keys, Op, Ops, Predicate, RouteId, Scope, Sources, Truth};

use super::Refusal;
use super::entry::{Delivery, Logged};
use super::sight::Sight;
use super::table::Table;

/// One change as one shape sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its place in [`super::entry::Entry::changes`].
    pub(super) change: usize,
    pub(super) shown: Shown,
    /// The first route by which the row was seen before the change, where it was: by its columns.
    pub(super) before: Option<RouteId>,
    /// The same after the change.
    pub(super) after: Option<RouteId>,
}

/// Why nothing can be said of what a shape is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A value that Postgres did not send decides on a rule, or a route has begun to feed the topic for whose rule the
    /// shape has no claims: a hole in this shape's feed.
    Unknown,
    /// Its rule or its filter does not fit the table, or an evaluation that Postgres would answer with an error.
    Ended(Refusal),
}

impl Seen {
    /// What those are shown who see every row of the topic.
    pub(super) fn by_everyone(logged: &Logged, delivery: Delivery, ops: Ops) -> Result<Option<Self>, Trouble> {
        let Delivery { change, before, after } = delivery;
        if [before, after].iter().any(|sources| !sources.is_empty() && sources.everyone().is_none()) {
            return Err(Trouble::Unknown);
        }
        Ok(Self::new(change, &logged.change.operation, before.everyone(), after.everyone(), ops))
    }

    fn new(
        change: usize,
        operation: &Operation,
        before: Option<RouteId>,
        after: Option<RouteId>,
        ops: Ops,
    ) -> Option<Self> {
        let (shown, op) = match (operation, before, after) {
            (_, None, None) => return None,
            (Operation::Update { .. }, None, Some(_)) => (Shown::Entering, Op::Insert),
            (Operation::Update { .. }, Some(_), None) => (Shown::Leaving, Op::Delete),
            (operation, _, _) => (Shown::AsIs, Op::of(operation)),
        };
        ops.contains(op).then_some(Self { change, shown, before, after })
    }
}

/// A sight's predicates, compiled for one table.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) table: Arc<Table>,
    filter: Option<Predicate>,
    /// By the numbers of the plan's rules; none for routes that don't feed the topic.
    rules: Box<[Option<Predicate>]>,
    /// Some route shows its rows to everyone.
    open: bool,
    ops: Ops,
}

impl Judge {
    /// # Errors
    /// A claim that can't be cast to what a rule compares it with, or a filter that doesn't fit the table.
    pub(super) fn compile(table: &Arc<Table>, sight: &Sight) -> Result<Self, Refusal> {
        let relation = &table.relation;
        let rule = |route: &RouteId| {
            let rule = sight.rule(*route).flatten();
            let compiled = rule.map(|rule| rule.compile(&Scope::of_relation(relation)));
            compiled.transpose().map_err(|error| Refusal::InvalidClaim { message: error.to_string() })
        };
        let is_let_out = |column: &str| {
            let mut routes = table.routes().filter(|route| sight.rule(*route).is_some());
            routes.all(|route| table.shows(route, column))
        };
        let filter = sight.view.filter.as_ref();
        let filter = filter.map(|filter| filter.compile(&Scope::of_relation(relation).only(is_let_out)));
        Ok(Self {
            table: Arc::clone(table),
            filter: filter.transpose().map_err(|error| Refusal::InvalidFilter { message: error.to_string() })?,
            rules: table.plan.rules().iter().map(rule).collect::<Result<_, _>>()?,
            open: table.routes().any(|route| sight.rule(route) == Some(None)),
            ops: sight.view.ops,
        })
    }

    /// What is shown of a change of this table; `None`: nothing.
    ///
    /// A filter is no rule: where it speaks of a value that was not sent, the row counts as seen. So an update without
    /// old values is shown as it is, or as a delete where the new row is not seen; and deletes are shown.
    pub(super) fn see(&self, logged: &Logged, delivery: Delivery) -> Result<Option<Seen>, Trouble> {
        let Delivery { change, before, after } = delivery;
        let operation = &logged.change.operation;
        if matches!(operation, Operation::Truncate) {
            // The table is empty for everyone.
            return Ok(Seen::new(change, operation, None, self.table.plan.first_of(after), self.ops));
        }
        let relation = &self.table.relation;
        let before = self.side(before, Image::before(relation, operation))?;
        let after = self.side(after, Image::after(relation, operation))?;
        Ok(Seen::new(change, operation, before, after, self.ops))
    }

    /// The route by which a row is seen that the topic has by these.
    fn side(&self, sources: Sources, image: Option<Image<'_>>) -> Result<Option<RouteId>, Trouble> {
        let Some(image) = image.filter(|_| !sources.is_empty()) else { return Ok(None) };
        let Some(route) = self.route(sources, &image)? else { return Ok(None) };
        match self.filter.as_ref().map(|filter| filter.evaluate(&image)) {
            None | Some(Ok(Truth::True | Truth::Unsent)) => Ok(Some(route)),
            Some(Ok(Truth::NotTrue)) => Ok(None),
            Some(Err(error)) => Err(Trouble::Ended(Refusal::InvalidFilter { message: error.to_string() })),
        }
    }

    /// Any row that is seen has one of these; none: it may have any values.
    pub(super) fn keys(&self) -> Option<Vec<Keys>> {
        let by_rules: Option<Vec<Keys>> = self.rules.iter().flatten().map(Predicate::keys).collect();
        let by_filter = || self.filter.as_ref().and_then(Predicate::keys).map(|keys| vec![keys]);
        by_rules.filter(|_| !self.open).or_else(by_filter)
    }

    /// The first route that shows the row to this shape.
    fn route(&self, sources: Sources, image: &Image<'_>) -> Result<Option<RouteId>, Trouble> {
        for number in sources.rules() {
            // A route that was not known to feed the topic when the shape was made: it knows no claims to ask it.
            let Some(Some(rule)) = self.rules.get(number) else { return Err(Trouble::Unknown) };
            match rule.evaluate(image) {
                Ok(Truth::True) => return Ok(self.table.plan.rules().get(number).copied()),
                Ok(Truth::NotTrue) => {}
                Ok(Truth::Unsent) => return Err(Trouble::Unknown),
                Err(error) => return Err(Trouble::Ended(Refusal::InvalidClaim { message: error.to_string() })),
            }
        }
        Ok(sources.rest())
    }
}
