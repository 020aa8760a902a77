//! What one shape is shown of one table's changes.

use std::sync::Arc;

use crate::change::json::Shown;
use crate::change::{Datum, Operation, RelationId};
use crate::routing::{Image, Keys, Op, Ops, Predicate, RouteId, Scope, Sources, Truth, Values};

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

/// On which sides of a change a row is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sides {
    pub(super) before: bool,
    pub(super) after: bool,
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

    /// What those are shown of whom it is known on which sides they see the row, whichever route brings it.
    pub(super) fn on_sides(logged: &Logged, delivery: Delivery, sides: Sides, ops: Ops) -> Option<Self> {
        let Delivery { change, before, after } = delivery;
        let route = |sources: Sources, is_seen: bool| logged.table.plan.first_of(sources).filter(|_| is_seen);
        let (before, after) = (route(before, sides.before), route(after, sides.after));
        Self::new(change, &logged.change.operation, before, after, ops)
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
    /// The table's.
    pub(super) relation: RelationId,
    filter: Option<Box<Predicate>>,
    rules: Rules,
    /// Some route shows its rows to everyone.
    open: bool,
    ops: Ops,
}

/// By the numbers of the plan's rules; none for routes that don't feed the topic.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the one lies where the shape does: no other place is waited for")]
enum Rules {
    One(Predicate),
    Any(Box<[Option<Predicate>]>),
}

impl Rules {
    fn get(&self, number: usize) -> Option<&Predicate> {
        match self {
            Self::One(rule) => Some(rule).filter(|_| number == 0),
            Self::Any(rules) => rules.get(number)?.as_ref(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Predicate> {
        let (one, any) = match self {
            Self::One(rule) => (Some(rule), None),
            Self::Any(rules) => (None, Some(rules.iter().flatten())),
        };
        one.into_iter().chain(any.into_iter().flatten())
    }
}

impl FromIterator<Option<Predicate>> for Rules {
    fn from_iter<I: IntoIterator<Item = Option<Predicate>>>(rules: I) -> Self {
        let mut rules: Vec<Option<Predicate>> = rules.into_iter().collect();
        match &mut *rules {
            [one] if one.is_some() => one.take().map_or_else(|| Self::Any(Box::default()), Self::One),
            _ => Self::Any(rules.into()),
        }
    }
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
            relation: relation.id,
            filter: filter
                .transpose()
                .map_err(|error| Refusal::InvalidFilter { message: error.to_string() })?
                .map(Box::new),
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
        let images = [Image::before(relation, operation), Image::after(relation, operation)];
        let seen_after = self.side(after, images[1])?;
        let is_same = before == after && matches!(operation, Operation::Update { .. }) && self.reads_the_same(images);
        let seen_before = if is_same { seen_after } else { self.side(before, images[0])? };
        Ok(Seen::new(change, operation, seen_before, seen_after, self.ops))
    }

    /// Nothing that decides was changed: one look is enough for both sides.
    fn reads_the_same(&self, images: [Option<Image<'_>>; 2]) -> bool {
        let [Some(before), Some(after)] = images else { return false };
        let predicates = self.rules.iter().chain(self.filter.as_deref());
        let mut columns = predicates.flat_map(Predicate::columns).copied();
        columns.all(|column| match before.value(column) {
            Some(Datum::Unchanged) | None => false,
            value => value == after.value(column),
        })
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

    /// Any row that is seen has one of these; none: it may have any values. Decisive ones are of those who are shown
    /// every row that has one, by whichever route brings it.
    pub(super) fn keys(&self) -> Option<Vec<Keys>> {
        let by_rules: Option<Vec<Keys>> = self.rules.iter().map(Predicate::keys).collect();
        let by_filter = || self.filter.as_deref().and_then(Predicate::keys).map(|keys| vec![keys]);
        // Else something is asked beside them.
        let is_ruled_alone = self.filter.is_none() && self.table.routes().count() == 1;
        let is_filtered_alone = self.table.plan.rules().is_empty();
        let told = |keys: Vec<Keys>, alone: bool| {
            keys.into_iter().map(|keys| Keys { decisive: keys.decisive && alone, ..keys }).collect()
        };
        match by_rules.filter(|_| !self.open) {
            Some(keys) => Some(told(keys, is_ruled_alone)),
            None => by_filter().map(|keys| told(keys, is_filtered_alone)),
        }
    }

    /// The first route that shows the row to this shape.
    fn route(&self, sources: Sources, image: &Image<'_>) -> Result<Option<RouteId>, Trouble> {
        for number in sources.rules() {
            // A route that was not known to feed the topic when the shape was made: it knows no claims to ask it.
            let Some(rule) = self.rules.get(number) else { return Err(Trouble::Unknown) };
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
