//! The routes, compiled and immutable.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ops::Ops;
use super::pattern::TablePattern;
use super::plan::Plan;
use super::predicate::Expression;
use super::template::Template;
use super::topic::MAX_TOPIC_LENGTH;
use crate::change::json::Int8Format;
use crate::change::{NumberMap, Relation};

/// The most routes in one config: every joined topic is held against each of them, and every table's plan is made
/// from all of them.
pub const MAX_ROUTES: usize = 10_000;

/// A route's number: of the first table its place in the config, from 0, and after a reload still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u16);

/// One `[[route]]`, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSpec {
    pub table: TablePattern,
    pub topic: Template,
    /// The columns that clients see; `None` for all.
    pub columns: Option<Vec<String>>,
    /// The operations that the route takes.
    pub ops: Ops,
    /// The event's name on the wire.
    pub event: Arc<str>,
    pub int8: Int8Format,
    /// Which rows clients see (`where`); `None` for all.
    pub filter: Option<Expression>,
    /// Who may join; `None` for everyone.
    pub allow: Option<Expression>,
}

impl RouteSpec {
    /// Nothing is left out of its rows and changes, and they are written as usual.
    #[must_use]
    pub fn shows_all(&self) -> bool {
        self.columns.is_none() && self.ops == Ops::ALL && self.int8 == Int8Format::Number
    }
}

/// A route's `where`, in two: its conjuncts without claims, which are the same for everyone, and those with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    pub filter: Option<Expression>,
    pub rule: Option<Expression>,
}

/// More routes than [`MAX_ROUTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{count} routes are too many: at most {MAX_ROUTES} can be configured; a glob in `table` stands for many tables"
)]
pub struct TooManyRoutes {
    pub count: usize,
}

/// All routes in config order. A reload makes a new one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteTable {
    pub(super) routes: Box<[RouteSpec]>,
    /// One for each route.
    rules: Box<[Rules]>,
    /// One for each route.
    pub(super) ids: Box<[RouteId]>,
    /// The routes' places.
    places: NumberMap<RouteId, usize>,
}

impl RouteTable {
    /// # Errors
    /// More than [`MAX_ROUTES`].
    pub fn new(routes: Vec<RouteSpec>) -> Result<Self, TooManyRoutes> {
        match routes.len() {
            0..=MAX_ROUTES => {
                let ids = (0..).map(RouteId).take(routes.len()).collect();
                Ok(Self::with_ids(routes.into(), ids))
            }
            count => Err(TooManyRoutes { count }),
        }
    }

    /// `ids` are as many as there are routes, and all different.
    pub(super) fn with_ids(routes: Box<[RouteSpec]>, ids: Box<[RouteId]>) -> Self {
        let rules = |route: &RouteSpec| {
            let (filter, rule) = route.filter.clone().map(Expression::split).unwrap_or_default();
            Rules { filter, rule }
        };
        let places = ids.iter().copied().zip(0..).collect();
        Self { rules: routes.iter().map(rules).collect(), routes, ids, places }
    }

    /// A route's place in the config, from 0.
    #[must_use]
    pub fn place(&self, id: RouteId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// Whether who is subscribed matters to a route.
    #[must_use]
    pub fn has_rules(&self, id: RouteId) -> bool {
        self.rules(id).rule.is_some() || self.route(id).is_some_and(|route| route.allow.is_some())
    }

    /// A route's `where`; that of no rows' restriction for an id of another table.
    pub fn rules(&self, id: RouteId) -> &Rules {
        static NONE: Rules = Rules { filter: None, rule: None };
        self.place(id).and_then(|place| self.rules.get(place)).unwrap_or(&NONE)
    }

    /// `None` for an id of another table.
    #[must_use]
    pub fn route(&self, id: RouteId) -> Option<&RouteSpec> {
        self.routes.get(self.place(id)?)
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.routes.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// In config order.
    pub fn iter(&self) -> impl Iterator<Item = (RouteId, &RouteSpec)> {
        self.ids.iter().copied().zip(&self.routes)
    }

    /// What to do with the changes of a relation; to be made anew whenever Postgres sends the relation again.
    #[must_use]
    pub fn plan(&self, relation: &Arc<Relation>) -> Plan {
        Plan::new(Arc::clone(relation), self)
    }

    /// The routes that can feed a joined topic, by their numbers; none: the topic is unmatched.
    ///
    /// A topic without columns needs no table to exist. One with columns is parsed back with the types of the tables
    /// known so far (`plans`), and it is enough that one table of the route could have given it.
    #[must_use]
    pub fn routes_for_topic<'p>(&self, topic: &str, plans: impl Iterator<Item = &'p Plan>) -> Vec<RouteId> {
        if topic.len() > MAX_TOPIC_LENGTH {
            return Vec::new();
        }
        let fixed = self.iter().filter(|(_, route)| route.topic.as_static() == Some(topic));
        let mut found: BTreeSet<RouteId> = fixed.map(|(id, _)| id).collect();
        for plan in plans {
            for step in plan.steps() {
                let could_give = || self.route(step.route).is_some_and(|route| step.could_give(&route.topic, topic));
                if !found.contains(&step.route) && could_give() {
                    found.insert(step.route);
                }
            }
        }
        found.into_iter().collect()
    }
}
