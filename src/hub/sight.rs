//! What subscribers of a topic see of it: what they asked for, as far as the rules let them.

use std::hash::{Hash, Hasher};

use crate::routing::{Claims, Expression, Filter, Op, Ops, RouteId, RouteSpec, RouteTable};

/// What a subscriber wants to see of its topic. By default everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// Of the route's columns, in no order; `None` for all.
    pub columns: Option<Box<[String]>>,
    /// As the topic sees them: an update that brings a row in is an insert.
    pub ops: Ops,
    /// Of which rows must be true what.
    pub filter: Option<Filter>,
}

/// A view under the rules of the topic's routes. Who has an equal one is sent the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Sight {
    pub(super) view: View,
    /// The routes that feed the topic, by their numbers, each with its `where` as far as that has claims: with their
    /// values.
    pub(super) routes: Box<[(RouteId, Option<Expression>)]>,
}

impl Sight {
    pub(super) fn new(view: View, routes: &RouteTable, feeding: &[RouteId], claims: &Claims) -> Self {
        let rule = |route: RouteId| routes.rules(route).rule.as_ref().map(|rule| rule.close(claims));
        Self { view, routes: feeding.iter().map(|route| (*route, rule(*route))).collect() }
    }

    /// The same rules, and as much of the view as another one leaves open.
    pub(super) fn viewed(&self, view: &View) -> Self {
        let columns = view.columns.as_ref().or(self.view.columns.as_ref());
        let filter = view.filter.as_ref().or(self.view.filter.as_ref()).filter(|filter| !filter.is_empty());
        let view = View { columns: columns.cloned(), ops: self.view.ops, filter: filter.cloned() };
        Self { view, routes: self.routes.clone() }
    }

    /// A route's rule for these subscribers; none where the route does not feed the topic, `Some(None)` where it shows
    /// its rows to everyone.
    pub(super) fn rule(&self, route: RouteId) -> Option<Option<&Expression>> {
        self.routes.iter().find(|(known, _)| *known == route).map(|(_, rule)| rule.as_ref())
    }

    /// Whether every row of the topic is shown.
    pub(super) fn shows_all_rows(&self) -> bool {
        self.view.filter.is_none() && self.routes.iter().all(|(_, rule)| rule.is_none())
    }

    /// Whether there is nothing that the topic gets and they don't.
    pub(super) fn shows_everything(&self) -> bool {
        self.view.ops == Ops::ALL && self.shows_all_rows()
    }

    /// What tells a cursor of these subscribers from one that was given out for other rows, over a restart with another
    /// configuration, too.
    pub(super) fn mark(&self, routes: &RouteTable, topic: &str) -> Mark {
        let mut rules: Vec<String> = Vec::new();
        for (route, rule) in &self.routes {
            let parts: Vec<String> =
                routes.rules(*route).filter.iter().chain(rule).map(Expression::canonical).collect();
            if !parts.is_empty() {
                rules.push(parts.join(" and "));
            }
        }
        let shows_all_rows = self.view.filter.is_none() && rules.is_empty();
        let specs = || self.routes.iter().filter_map(|(route, _)| routes.route(*route));
        rules.extend(specs().filter(|route| !route.shows_all()).map(form));
        let is_plain = shows_all_rows && rules.is_empty() && self.routes.len() < 2;
        rules.extend(specs().map(|route| route.table.to_string()));
        rules.sort_unstable();
        rules.dedup();
        let filter = self.view.filter.as_ref().map(Filter::canonical);
        let hash = hash_of(&(rules, filter));
        let fingerprint =
            if shows_all_rows { Fingerprint::of_all_rows(topic, hash) } else { Fingerprint::of_rows(hash) };
        Mark { fingerprint, is_plain }
    }
}

/// What a route leaves out of every row and of every transaction, and how it writes the rest.
fn form(route: &RouteSpec) -> String {
    let ops: Vec<&str> = route.ops.iter().map(Op::as_str).collect();
    format!("{:?} {ops:?} {:?}", route.columns, route.int8)
}

/// What the cursors of a sight say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) fingerprint: Fingerprint,
    /// One route gives the topic, and all is shown that its tables have: a cursor is a position in the feed, and says
    /// no more, unless a reload has made that ambiguous.
    pub(super) is_plain: bool,
}

impl Mark {
    /// What a cursor says where nothing is ambiguous.
    pub(super) fn usual(self) -> Option<Fingerprint> {
        Some(self.fingerprint).filter(|_| !self.is_plain)
    }
}

/// Of a filter and of rules, or of what gives a topic all of its rows: the same after every restart of the same
/// version. Another version may give another one, and then its cursors begin afresh.
///
/// No secret, and no right is derived from it: who forges one is sent rows that its own rules show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

/// The bit of those who are shown some of the rows.
const SOME_ROWS: u64 = 1;
/// Half of it is the topic's where all rows are shown.
const TOPIC_SHIFT: u32 = 32;

impl Fingerprint {
    const fn of_rows(hash: u64) -> Self {
        Self(hash | SOME_ROWS)
    }

    fn of_all_rows(topic: &str, hash: u64) -> Self {
        Self((hash_of(&topic) << TOPIC_SHIFT) | (hash >> TOPIC_SHIFT) & !SOME_ROWS)
    }

    /// It is of a subscriber who was shown all rows of another topic: a cursor with it says nothing of this one's rows,
    /// and is as good as any position in the feed.
    pub(super) fn is_of_another_topic(self, topic: &str) -> bool {
        self.0 & SOME_ROWS == 0 && self.0 >> TOPIC_SHIFT != Self::of_all_rows(topic, 0).0 >> TOPIC_SHIFT
    }

    /// Whether its subscribers are shown some of the rows only.
    pub(super) const fn is_of_some_rows(self) -> bool {
        self.0 & SOME_ROWS != 0
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    value.hash(&mut hash);
    hash.0
}

/// FNV-1a, 64 bits: the same in every process, which the standard library's is not.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
