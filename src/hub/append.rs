//! A transaction part becomes an entry of the log.

mod said;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::change::{Change, Lsn, NumberMap, Relation, RelationId, TransactionPart};
use crate::routing::{RouteId, RouteTable, Scratch, Sources, Target, Topic};

use super::Position;
use super::entry::{BATCH_OVERHEAD, Batch, Deliveries, Delivery, Entry, Logged};
use super::log::{Hole, Log, Truncate};
use super::statistics::RouteCounts;
use super::table::Table;
use super::topics::{BatchRef, OpenTopic, TopicSlot, TopicState};

/// The routes, and what they make of each relation.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) routes: Arc<RouteTable>,
    value_limit: usize,
    /// What each route has brought, by its place in the config.
    pub(super) counts: Box<[RouteCounts]>,
    pub(super) tables: NumberMap<RelationId, Arc<Table>>,
}

impl Tables {
    pub(super) fn new(routes: Arc<RouteTable>, value_limit: usize) -> Self {
        let counts = vec![RouteCounts::default(); routes.len()].into();
        Self { routes, value_limit, counts, tables: NumberMap::default() }
    }

    /// The relation's table, compiled if it is new or was re-sent.
    pub(super) fn table(&mut self, relation: &Arc<Relation>) -> Arc<Table> {
        if let Some(table) = self.tables.get(&relation.id)
            && Arc::ptr_eq(&table.relation, relation)
        {
            return Arc::clone(table);
        }
        let table = Arc::new(Table::compile(&self.routes, relation, self.value_limit));
        self.tables.insert(relation.id, Arc::clone(&table));
        table
    }

    /// Other routes take over: what they make of each relation is compiled anew.
    pub(super) fn reload(&mut self, routes: Arc<RouteTable>) {
        let count = |id| self.routes.place(id).and_then(|place| self.counts.get(place)).copied();
        self.counts = routes.iter().map(|(id, _)| count(id).unwrap_or_default()).collect();
        self.routes = routes;
        for table in self.tables.values_mut() {
            *table = Arc::new(Table::compile(&self.routes, &table.relation, self.value_limit));
        }
    }

    /// Forgets all others: no topic is one of theirs any more.
    pub(super) fn keep(&mut self, relations: &[Arc<Relation>]) {
        let kept: HashSet<RelationId> = relations.iter().map(|relation| relation.id).collect();
        self.tables.retain(|id, _| kept.contains(id));
    }

    /// Routes that took this relation by its former name and don't by its new one, or the other way round: what their
    /// topics show of it no longer is what the table holds.
    fn moved_between(&self, relation: &Arc<Relation>) -> Vec<RouteId> {
        let Some(former) = self.tables.get(&relation.id).filter(|table| !Arc::ptr_eq(&table.relation, relation)) else {
            return Vec::new();
        };
        if former.relation.schema == relation.schema && former.relation.name == relation.name {
            return Vec::new();
        }
        let before: Vec<RouteId> = former.routes().collect();
        let plan = self.routes.plan(relation);
        let after: Vec<RouteId> = plan.steps().iter().map(|step| step.route).collect();
        let left = before.iter().filter(|route| !after.contains(route));
        let entered = after.iter().filter(|route| !before.contains(route));
        left.chain(entered).copied().collect()
    }

    /// The routes that feed a topic, by their numbers.
    pub(super) fn routes_for_topic(&self, topic: &str) -> Vec<RouteId> {
        self.routes.routes_for_topic(topic, self.plans())
    }

    pub(super) fn event(&self, route: RouteId) -> Arc<str> {
        self.routes.route(route).map_or_else(|| Arc::from(""), |route| Arc::clone(&route.event))
    }

    fn count(&mut self, route: RouteId, which: impl FnOnce(&mut RouteCounts) -> &mut u64) {
        if let Some(counts) = self.routes.place(route).and_then(|place| self.counts.get_mut(place)) {
            *which(counts) += 1;
        }
    }

    pub(super) fn relations(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }
}

/// What an append brought.
#[derive(Debug, Default)]
pub(super) struct Appended {
    /// The new entry's number; none where no topic gets anything of it.
    pub(super) entry: Option<u64>,
    /// Routes with a change that could not be routed.
    pub(super) holes: Vec<RouteId>,
    /// Topics that a route has begun to feed which their subscribers did not know of.
    pub(super) widened: Vec<Topic>,
}

/// Routes a part's changes and appends what some topic gets of them.
pub(super) fn append(
    log: &mut Log,
    tables: &mut Tables,
    scratch: &mut Scratch,
    part: TransactionPart,
    now: Duration,
) -> Appended {
    let lsn = part.header.commit_lsn;
    log.came(&part.header);
    let end = match part.last_ordinal() {
        Some(ordinal) => Position { lsn, ordinal },
        // The end is a step of its own: who has the changes so far has not been told that they are all.
        None if log.head.lsn == lsn && part.end_lsn.is_some() => {
            Position { lsn, ordinal: log.head.ordinal.saturating_add(1) }
        }
        None => Position::before(lsn),
    };
    let span = log.head..end.max(log.head);
    let last = part.end_lsn.is_some();
    let number = log.next_entry();
    let mut appending = Appending {
        tables,
        entry: Entry::new(part.header, span, last, now),
        number,
        table: None,
        coming: part.changes.len(),
        truncates: log.truncates.len(),
        log,
        holes: Vec::new(),
        widened: Vec::new(),
    };
    let mut announcements = part.announcements.into_iter().peekable();
    for change in part.changes {
        while let Some(earlier) = announcements.next_if(|announcement| announcement.ordinal < change.ordinal) {
            appending.announce(earlier);
        }
        appending.route(change, scratch);
    }
    announcements.for_each(|announcement| appending.announce(announcement));
    appending.finish()
}

struct Appending<'a> {
    log: &'a mut Log,
    tables: &'a mut Tables,
    entry: Entry,
    number: u64,
    /// The latest change's.
    table: Option<Arc<Table>>,
    /// How many changes are still to come, with the one that is being routed.
    coming: usize,
    /// How many truncates the log had before.
    truncates: usize,
    holes: Vec<RouteId>,
    widened: Vec<Topic>,
}

impl Appending<'_> {
    fn route(&mut self, change: Change, scratch: &mut Scratch) {
        let at = Position { lsn: self.lsn(), ordinal: change.ordinal };
        let table = self.table_of(&change.relation, at);
        let place = self.entry.changes.len();
        let mut kept = false;
        table.plan.route(&change, scratch, &mut |target| match target {
            Target::Topic { topic, before, after } => {
                kept = true;
                let delivery = Delivery { change: place, before, after };
                let Some(first) = table.plan.first_of(after).or(table.plan.first_of(before)) else { return };
                if self.follows(topic, &table, first, delivery) {
                    return;
                }
                let known = self.log.topics.find(topic);
                if let Some(slot) = known {
                    self.feed(slot, &table, [before, after]);
                }
                if let Some(slot) = known.or_else(|| self.meet(topic)) {
                    self.deliver(slot, at, first, delivery);
                }
            }
            Target::EveryTopic { route } => {
                kept = true;
                self.truncate(at, place, route);
            }
            Target::Hole { route } => self.hole(at, route),
        });
        if kept {
            if self.entry.changes.is_empty() {
                // Most often all of a transaction's changes go somewhere.
                self.entry.changes.reserve_exact(self.coming);
            }
            self.entry.changes.push(Logged { change, table });
        }
        self.coming = self.coming.saturating_sub(1);
    }

    /// A change's table. Routes that no longer take it by its name, or begin to, have a hole here.
    fn table_of(&mut self, relation: &Arc<Relation>, at: Position) -> Arc<Table> {
        if let Some(table) = self.table.as_ref().filter(|table| Arc::ptr_eq(&table.relation, relation)) {
            return Arc::clone(table);
        }
        for route in self.tables.moved_between(relation) {
            self.hole(at, route);
        }
        let table = self.tables.table(relation);
        self.table = Some(Arc::clone(&table));
        table
    }

    /// The routes feed the topic, even if this table was not known when the topic was met: then nobody who is there was
    /// held against their rules, or knows that there are rows where there were none before.
    fn feed(&mut self, slot: TopicSlot, table: &Table, sources: [Sources; 2]) {
        let rules =
            sources.into_iter().flat_map(Sources::rules).filter_map(|rule| table.plan.rules().get(rule).copied());
        for route in rules.chain(sources.into_iter().filter_map(Sources::rest)) {
            let Some(begun) = self.log.topics.feed(slot, route) else { continue };
            if begun.first || self.tables.routes.has_rules(route) {
                self.widened.extend(self.log.topics.at(slot).map(|state| state.topic.clone()));
            }
        }
    }

    fn hole(&mut self, at: Position, route: RouteId) {
        self.log.add_hole(Hole { at, route });
        self.tables.count(route, |counts| &mut counts.holes);
        self.holes.push(route);
    }

    const fn lsn(&self) -> Lsn {
        self.entry.header.commit_lsn
    }

    fn truncate(&mut self, at: Position, change: usize, route: RouteId) {
        self.log.truncates.push_back(Truncate { entry: self.number, change, route });
        let topics: Vec<TopicSlot> = self.log.topics.of_route(route).map(|(slot, _)| slot).collect();
        for slot in topics {
            self.deliver(slot, at, route, Delivery::of_truncate(change, route));
        }
    }

    /// Most rows of a transaction go where the one before them went, by the same routes: they join the entry's newest
    /// message, which then is its topic's newest, too. `first` is the first of the delivery's routes.
    fn follows(&mut self, topic: &str, table: &Arc<Table>, first: RouteId, delivery: Delivery) -> bool {
        let Some(newest) = self.entry.batches.last_mut().filter(|it| it.said.is_none()) else { return false };
        let Some(latest) = newest.deliveries.last() else { return false };
        // What has a route on one side only has the same one there that the latest one had on some side.
        let known = [latest.before, latest.after];
        let goes_by_known = |sources: Sources| sources.is_empty() || known.contains(&sources);
        let is_next = self.entry.changes.get(latest.change).is_some_and(|it| Arc::ptr_eq(&it.table, table))
            && table.plan.first_of(latest.after).or(table.plan.first_of(latest.before)) == Some(first)
            && goes_by_known(delivery.before)
            && goes_by_known(delivery.after)
            && self.log.topics.at(newest.slot).is_some_and(|state| state.topic.as_str() == topic);
        if is_next {
            newest.deliveries.push(delivery);
            self.tables.count(first, |counts| &mut counts.changes);
        }
        is_next
    }

    /// Adds a change that comes first by a route to the topic's message of this entry.
    fn deliver(&mut self, slot: TopicSlot, at: Position, route: RouteId, delivery: Delivery) {
        let event = self.tables.event(route);
        let mut start = self.entry.span.start;
        let (latest, latest_rows) = (self.latest(slot), self.latest_rows(slot));
        if let Some(Batch { said: Some(_), span, .. }) = latest.and_then(|batch| self.entry.batches.get(batch)) {
            start = span.end;
            if let Some(rows) = latest_rows.and_then(|batch| self.entry.batches.get_mut(batch)) {
                rows.more = true;
            }
        } else if let Some(batch) = latest.and_then(|batch| self.entry.batches.get_mut(batch)) {
            if batch.deliveries.last().is_some_and(|latest| latest.change == delivery.change) {
                return; // two routes bring it here: once is enough
            }
            if batch.event == event {
                batch.deliveries.push(delivery);
                self.tables.count(route, |counts| &mut counts.changes);
                return;
            }
            // Another event: the message so far ends just before this change.
            let before = Position { lsn: at.lsn, ordinal: at.ordinal.saturating_sub(1) };
            batch.more = true;
            batch.span.end = before;
            start = before;
        }
        self.tables.count(route, |counts| &mut counts.changes);
        self.open_batch(slot, event, start..self.entry.span.end, Deliveries::One(delivery));
    }

    fn open_batch(&mut self, slot: TopicSlot, event: Arc<str>, span: Range<Position>, deliveries: Deliveries) {
        let lsn = self.lsn();
        let Some(state) = self.log.topics.at_mut(slot) else { return };
        let part = state.next_part(lsn);
        let more = !self.entry.last;
        if more && part == 0 {
            self.log.open.push(OpenTopic { topic: state.topic.clone(), event: Arc::clone(&event) });
        }
        self.add_batch(Batch { slot, event, part, more, span, deliveries, said: None, publication: None });
    }

    fn add_batch(&mut self, batch: Batch) {
        let reference = BatchRef { entry: self.number, batch: self.entry.batches.len() };
        let Some(state) = self.log.topics.at_mut(batch.slot) else { return };
        self.log.fed += usize::from(state.batches.is_empty());
        state.batches.push_back(reference);
        if self.entry.batches.is_empty() {
            // Most transactions are one topic's.
            self.entry.batches.reserve_exact(1);
        }
        self.entry.batches.push(batch);
    }

    /// A topic that the log did not know: the truncates that it keeps are that topic's too. None where nothing can have
    /// that name.
    fn meet(&mut self, topic: &str) -> Option<TopicSlot> {
        let topic = Topic::parse(topic).ok()?;
        let routes = self.tables.routes_for_topic(topic.as_str());
        let slot = meet(self.log, self.tables, &topic, routes);
        let mine = |truncate: &&Truncate| truncate.entry == self.number;
        let truncates: Vec<Truncate> = self.log.truncates.iter().filter(mine).copied().collect();
        for truncate in truncates {
            let fed = self.log.topics.at(slot).is_some_and(|state| state.routes.contains(&truncate.route));
            let change = self.entry.changes.get(truncate.change).map(|logged| logged.change.ordinal);
            if let Some(ordinal) = change.filter(|_| fed) {
                let at = Position { lsn: self.lsn(), ordinal };
                let delivery = Delivery::of_truncate(truncate.change, truncate.route);
                self.deliver(slot, at, truncate.route, delivery);
            }
        }
        Some(slot)
    }

    /// The transaction's last entry closes every topic that got a part of it.
    fn close_open_topics(&mut self) {
        for OpenTopic { topic, event } in std::mem::take(&mut self.log.open) {
            let known = self.log.topics.find(topic.as_str());
            if let Some(slot) = known.filter(|slot| self.latest_rows(*slot).is_none()) {
                self.open_batch(slot, event, self.entry.span.clone(), Deliveries::default());
            }
        }
    }

    /// A topic that is met later gets the transaction's truncate, and then needs to find its end.
    fn ends_with_truncate(&self) -> bool {
        let latest = self.log.truncates.back().and_then(|truncate| self.log.entry(truncate.entry));
        self.entry.last && latest.is_some_and(|entry| entry.header.commit_lsn == self.lsn())
    }

    fn finish(mut self) -> Appended {
        if self.entry.last {
            self.close_open_topics();
        }
        self.add_cursors();
        self.log.advance(self.entry.span.end);
        let is_empty = self.entry.batches.is_empty() && self.log.truncates.len() == self.truncates;
        if is_empty && !self.ends_with_truncate() {
            return Appended { entry: None, holes: self.holes, widened: self.widened };
        }
        self.entry.settle();
        self.log.push(self.entry);
        Appended { entry: Some(self.number), holes: self.holes, widened: self.widened }
    }
}

/// Begins to know a topic: the log's truncates of its routes, up to the newest entry, become batches of it.
pub(super) fn meet(log: &mut Log, tables: &Tables, topic: &Topic, routes: Vec<RouteId>) -> TopicSlot {
    let slot = log.topics.vacant();
    let mut past = Past { state: TopicState::new(topic.clone(), routes), slot, log };
    let logged = past.log.truncates.iter().filter(|truncate| past.log.entry(truncate.entry).is_some());
    let fed = logged.filter(|truncate| past.state.routes.contains(&truncate.route));
    let truncates: Vec<Truncate> = fed.copied().collect();
    let mut latest: Option<Truncate> = None;
    for truncate in truncates {
        if let Some(latest) =
            latest.filter(|latest| past.log.transaction_end(latest.entry).is_some_and(|end| end < truncate.entry))
        {
            past.close(latest.entry, tables.event(latest.route));
        }
        past.add(truncate.entry, tables.event(truncate.route), Some(truncate));
        latest = Some(truncate);
    }
    if let Some(latest) = latest {
        past.close(latest.entry, tables.event(latest.route));
    }
    let state = past.state;
    log.fed += usize::from(!state.batches.is_empty());
    log.topics.insert(state);
    slot
}

/// A topic's batches in entries that are in the log already, oldest first.
struct Past<'a> {
    state: TopicState,
    slot: TopicSlot,
    log: &'a mut Log,
}

impl Past<'_> {
    /// A batch with a truncate, or an empty one; an entry's second truncate joins the first.
    fn add(&mut self, number: u64, event: Arc<str>, truncate: Option<Truncate>) {
        let known = self.state.batches.back().copied().filter(|reference| reference.entry == number);
        let Some(entry) = self.log.entry_mut(number) else { return };
        let delivery = truncate.map(|it| Delivery::of_truncate(it.change, it.route));
        if let Some(batch) = known.and_then(|reference| entry.batches.get_mut(reference.batch)) {
            // Two routes can bring it here: once is enough.
            let known = batch.deliveries.last().map(|latest| latest.change);
            let new = delivery.filter(|delivery| Some(delivery.change) != known);
            new.into_iter().for_each(|delivery| batch.deliveries.push(delivery));
            return;
        }
        self.state.batches.push_back(BatchRef { entry: number, batch: entry.batches.len() });
        entry.batches.push(Batch {
            slot: self.slot,
            event,
            part: self.state.next_part(entry.header.commit_lsn),
            more: !entry.last,
            span: entry.span.clone(),
            deliveries: delivery.into_iter().collect(),
            said: None,
            publication: None,
        });
        self.log.grow(number, BATCH_OVERHEAD + size_of::<Delivery>());
    }

    /// The last part that the transaction of entry `number` owes the topic, now or once it comes.
    fn close(&mut self, number: u64, event: Arc<str>) {
        match self.log.transaction_end(number) {
            Some(end) if end == number => {}
            Some(end) => self.add(end, event, None),
            None => self.log.open.push(OpenTopic { topic: self.state.topic.clone(), event }),
        }
    }
}
