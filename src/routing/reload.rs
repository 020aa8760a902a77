//! From one route table to the next: which routes are still the same, and whose topics are no longer what they were.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::table::{RouteId, RouteSpec, RouteTable};
use super::template::{Piece, Template};

/// What a reload has changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteChanges {
    /// The topics of routes that are gone.
    pub removed: Vec<Template>,
    /// Those of them that had all their table's rows, and all of each.
    pub plain: Vec<Template>,
    /// The topics of routes that have come.
    pub added: Vec<Template>,
    /// Routes that give the same rows as before, to others: their `allow` has changed.
    pub admission: Vec<RouteId>,
}

impl RouteTable {
    /// The table that replaces `former`. A route that is as it was, but for its `allow`, keeps its number, so that what
    /// was routed by it still is; every other one gets a number that no route of `former` has.
    #[must_use]
    pub fn succeeding(self, former: &Self) -> (Self, RouteChanges) {
        let kept = kept(&self, former);
        let mut numbers = Numbers::after(former);
        let ids = kept.iter().map(|kept| kept.and_then(|place| former.ids.get(place)).copied());
        let ids: Box<[RouteId]> = ids.map(|known| known.unwrap_or_else(|| numbers.next())).collect();
        let gone = others(&former.routes, &kept.iter().flatten().copied().collect());
        let is_plain = |route: &&&RouteSpec| route.filter.is_none() && route.shows_all();
        let changes = RouteChanges {
            plain: gone.iter().filter(is_plain).map(|route| route.topic.clone()).collect(),
            removed: gone.iter().map(|route| route.topic.clone()).collect(),
            added: self
                .routes
                .iter()
                .zip(&kept)
                .filter(|(_, kept)| kept.is_none())
                .map(|(it, _)| it.topic.clone())
                .collect(),
            admission: Vec::new(),
        };
        let admits_others = |((route, kept), _): &((&RouteSpec, &Option<usize>), &RouteId)| {
            kept.and_then(|place| former.routes.get(place)).is_some_and(|before| before.allow != route.allow)
        };
        let admission = self.routes.iter().zip(&kept).zip(&ids).filter(admits_others).map(|(_, id)| *id).collect();
        (Self::with_ids(self.routes, ids), RouteChanges { admission, ..changes })
    }
}

/// For each route its place in the former table, if it is the same route.
fn kept(table: &RouteTable, former: &RouteTable) -> Vec<Option<usize>> {
    let mut known: HashMap<u64, Vec<usize>> = HashMap::new();
    for (place, route) in former.routes.iter().enumerate().rev() {
        known.entry(hint(route)).or_default().push(place);
    }
    let mut take = |route: &RouteSpec| {
        let places = known.get_mut(&hint(route))?;
        let index =
            places.iter().rposition(|place| former.routes.get(*place).is_some_and(|it| gives_the_same(it, route)))?;
        Some(places.remove(index))
    };
    let mut kept: Vec<Option<usize>> = table.routes.iter().map(&mut take).collect();
    drop_overtaken(&mut kept, &table.routes);
    kept
}

/// Of two routes to one topic the first decides on the event, and how a row is shown: where they have changed places,
/// the topic is another one.
fn drop_overtaken(kept: &mut [Option<usize>], routes: &[RouteSpec]) {
    let mut latest = None;
    let mut overtaken = Vec::new();
    for (place, before) in kept.iter().enumerate().filter_map(|(place, before)| Some((place, (*before)?))) {
        if latest.is_some_and(|latest| before < latest) {
            overtaken.push((place, before));
        }
        latest = latest.max(Some(before));
    }
    for (place, before) in overtaken {
        let Some(route) = routes.get(place) else { continue };
        let mut earlier = kept.iter().zip(routes).take(place);
        if earlier.any(|(other, it)| other.is_some_and(|other| other > before) && may_meet(&it.topic, &route.topic)) {
            kept.iter_mut().skip(place).take(1).for_each(|kept| *kept = None);
        }
    }
}

/// Whether some topic may be both routes'.
fn may_meet(one: &Template, other: &Template) -> bool {
    let beginning = |template: &Template| match template.pieces().first() {
        Some(Piece::Literal(text)) => text.to_string(),
        Some(Piece::Column(_)) | None => String::new(),
    };
    match (one.as_static(), other.as_static()) {
        (Some(one), Some(other)) => one == other,
        (Some(topic), None) => topic.starts_with(&beginning(other)),
        (None, Some(topic)) => topic.starts_with(&beginning(one)),
        (None, None) => {
            let (one, other) = (beginning(one), beginning(other));
            one.starts_with(&other) || other.starts_with(&one)
        }
    }
}

fn others<'r>(routes: &'r [RouteSpec], kept: &HashSet<usize>) -> Vec<&'r RouteSpec> {
    routes.iter().enumerate().filter(|(place, _)| !kept.contains(place)).map(|(_, route)| route).collect()
}

/// The same for routes that are the same.
fn hint(route: &RouteSpec) -> u64 {
    let mut hash = DefaultHasher::new();
    (route.topic.to_string(), route.table.to_string(), &route.event).hash(&mut hash);
    hash.finish()
}

/// They differ in who may join, if at all.
fn gives_the_same(one: &RouteSpec, other: &RouteSpec) -> bool {
    let RouteSpec { table, topic, columns, ops, event, int8, filter, allow: _ } = one;
    *table == other.table
        && *topic == other.topic
        && *columns == other.columns
        && *ops == other.ops
        && *event == other.event
        && *int8 == other.int8
        && *filter == other.filter
}

/// Numbers for new routes, in turn, so that one that was given up is not soon another route's.
struct Numbers {
    taken: HashSet<RouteId>,
    next: u16,
}

impl Numbers {
    fn after(former: &RouteTable) -> Self {
        let latest = former.ids.iter().map(|id| id.0).max();
        Self { taken: former.ids.iter().copied().collect(), next: latest.map_or(0, |latest| latest.wrapping_add(1)) }
    }

    /// There are more numbers than two tables have routes.
    fn next(&mut self) -> RouteId {
        loop {
            let id = RouteId(self.next);
            self.next = self.next.wrapping_add(1);
            if self.taken.insert(id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Expression, Int8Format, Ops, TablePattern};

    fn route(text: &str) -> RouteSpec {
        let mut words = text.split(' ');
        let mut word = || words.next();
        RouteSpec {
            table: TablePattern::parse(word().unwrap()).unwrap(),
            topic: Template::parse(word().unwrap()).unwrap(),
            columns: None,
            ops: Ops::default(),
            event: "new_updates".into(),
            int8: Int8Format::Number,
            filter: word().map(|sql| Expression::parse(sql).unwrap()),
            allow: word().map(|sql| Expression::parse(sql).unwrap()),
        }
    }

    fn table(routes: &[&str]) -> RouteTable {
        RouteTable::new(routes.iter().map(|text| route(text)).collect()).unwrap()
    }

    fn numbers(table: &RouteTable) -> Vec<u16> {
        table.iter().map(|(id, _)| id.0).collect()
    }

    fn topics(templates: &[Template]) -> Vec<String> {
        templates.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_route_that_is_as_it_was_keeps_its_number() {
        let first = table(&["p.a a", "p.b b", "p.c c:{x}", "p.a a"]);
        let (second, changes) = table(&["p.new n", "p.a a", "p.b b id=1", "p.a a"]).succeeding(&first);
        assert_eq!(numbers(&second), [4, 0, 5, 3]);
        assert_eq!(
            (topics(&changes.removed), topics(&changes.added)),
            (vec!["b".into(), "c:{x}".into()], vec!["n".into(), "b".into()])
        );
        for (place, (id, spec)) in second.iter().enumerate() {
            assert_eq!((second.route(id), second.place(id)), (Some(spec), Some(place)));
        }
        assert_eq!(second.route(RouteId(1)), None);
        let (third, changes) = table(&["p.b b id=1 claims.a", "p.a a"]).succeeding(&second);
        assert_eq!(numbers(&third), [5, 0]);
        assert_eq!((topics(&changes.removed), changes.added.len()), (vec!["n".into(), "a".into()], 0));
        assert_eq!(changes.admission, [RouteId(5)]);
        let (same, changes) = table(&["p.b b id=1 claims.a", "p.a a"]).succeeding(&third);
        assert_eq!((same, changes), (third, RouteChanges::default()));
    }

    #[test]
    fn the_order_matters_to_routes_that_may_share_a_topic() {
        let first = table(&["p.a a:{x}", "p.b b", "p.c a:1", "p.d d"]);
        let (second, changes) = table(&["p.d d", "p.b b", "p.a a:{x}", "p.c a:1"]).succeeding(&first);
        assert_eq!((numbers(&second), changes), (vec![3, 1, 0, 2], RouteChanges::default()));
        let (third, changes) = table(&["p.c a:1", "p.a a:{x}", "p.b b", "p.d d"]).succeeding(&first);
        assert_eq!(numbers(&third), [2, 4, 1, 3]);
        assert_eq!((topics(&changes.removed), topics(&changes.added)), (vec!["a:{x}".into()], vec!["a:{x}".into()]));
    }

    #[test]
    fn numbers_never_run_out() {
        let mut current = table(&["p.keep keep"]);
        for round in 0..70_000_u32 {
            let name = format!("p.t{} t", round % 7);
            current = table(&["p.keep keep", &name]).succeeding(&current).0;
            assert_eq!(current.ids.first(), Some(&RouteId(0)));
        }
        assert_eq!(current.iter().count(), 2);
    }
}
