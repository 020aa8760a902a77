//! Who may subscribe to what, and as part of which shape.

use std::sync::Arc;

use crate::routing::{Claims, Plan, RouteId, Topic};

use super::append::{Tables, meet};
use super::broadcast::Member;
use super::judge::Judge;
use super::log::Log;
use super::shape::Shape;
use super::sight::{Mark, Sight};
use super::snapshot::Reader;
use super::table::Table;
use super::{After, Cursor, Hub, Position, Refusal, ShapeId, Subscribe, Subscribed, View};

impl Hub {
    pub(super) fn subscribe(&mut self, reader: Reader, request: Subscribe) -> Result<Subscribed, Refusal> {
        let Subscribe { topic: name, claims, view, cursor, snapshot, introduction } = request;
        // Until the log is rebuilt, a cursor that is ahead of its head is none to refuse.
        let log = self.log.as_ref().filter(|_| self.caught_up).ok_or(Refusal::NotReady)?;
        let topic = Topic::parse(&name).map_err(|_| Refusal::UnmatchedTopic)?;
        let routes = self.routes_of(&name);
        let fed = !routes.is_empty();
        let grant = self.channels.grant(&topic, fed, &claims, introduction)?;
        self.tables.admit(&routes, &name, &claims)?;
        // Where no route feeds the topic there are no rows to begin with.
        let snapshot = snapshot && fed;
        // Changes of its table would not come, and nobody would know.
        if routes.iter().any(|route| self.unfed.contains(route)) {
            return Err(Refusal::NotReady);
        }
        self.tables.check_columns(&routes, &view)?;
        let sight = Sight::new(view, &self.tables.routes, &routes, &claims);
        if log.topics.get(&name).is_none_or(|(_, state)| state.audience.find(&sight).is_none()) {
            self.tables.check_sight(&sight, &name)?;
        }
        let mark = sight.mark(&self.tables.routes, &name);
        let resume = cursor.map(|text| resumable(log, (&name, &routes), &text, mark)).transpose();
        // The current rows are what a client needs whose cursor is too old.
        let resume = if snapshot { resume.unwrap_or_default() } else { resume? };
        let begins = |route: &&RouteId| log.topics.get(&name).is_some_and(|(_, state)| !state.routes.contains(route));
        if routes.iter().filter(begins).any(|route| self.tables.routes.has_rules(*route)) {
            // Who is there joined a topic without rows, and was not held against the rules that they have now.
            self.reset_topic(&topic);
        }
        let log = self.log.as_mut().ok_or(Refusal::NotReady)?;
        match log.topics.get_mut(&name) {
            Some(state) => state.routes = routes,
            None => {
                meet(log, &self.tables, &topic, routes);
            }
        }
        let cursor = match &resume {
            Some(cursor) => Some(cursor.to_string()),
            None => {
                (!snapshot).then(|| log.cursor(log.head, None, log.fingerprint(mark, &topic, log.head)).to_string())
            }
        };
        let position = resume.as_ref().map_or(log.head, |cursor| cursor.position);
        let shape = self.shape_of(&topic, sight, mark, position).ok_or(Refusal::NotReady)?;
        if let Some(log) = &mut self.log {
            // The truncates that a new topic is given take room, too. A topic without a shape would be forgotten.
            log.evict(self.now);
            log.give(self.now, resume.as_ref().map(|cursor| cursor.position));
        }
        let resumed = resume.is_some();
        let read_after = match resume {
            Some(Cursor { position, splice: None, .. }) => Some(After::Log(position)),
            Some(Cursor { position, splice: Some(splice), .. }) => Some(After::Splice(position, splice)),
            None if snapshot => Some(self.begin_snapshot(shape, reader)?),
            None => None,
        };
        if let Some(shape) = self.shapes.get_mut(&shape) {
            shape.add(reader.shard);
        }
        let channel = grant.channel.clone();
        self.channels.enter(Member { shard: reader.shard, join: reader.join }, &topic, shape, grant);
        Ok(Subscribed { shape, cursor, resumed, read_after, fed, channel })
    }

    /// Why a subscription can't go on as it is under other claims; none: they make no difference.
    pub(super) fn recheck(&self, shape: ShapeId, claims: &Claims) -> Option<Refusal> {
        let shape = self.shapes.get(&shape)?;
        let routes: Vec<RouteId> = shape.sight().routes.iter().map(|(route, _)| *route).collect();
        let topic = shape.topic().as_str();
        if let Err(refusal) =
            self.channels.admit(topic, claims).and_then(|()| self.tables.admit(&routes, topic, claims))
        {
            return Some(refusal);
        }
        let sight = Sight::new(shape.sight().view.clone(), &self.tables.routes, &routes, claims);
        // A join under the new claims gets the rows that they show.
        (sight != **shape.sight()).then_some(Refusal::ResyncRequired)
    }

    /// Whether a subscriber's topic can be shown in another view as well.
    pub(super) fn judge_view(&self, shape: ShapeId, view: &View) -> Result<(), Refusal> {
        let shape = self.shapes.get(&shape).ok_or(Refusal::ResyncRequired)?;
        let sight = shape.sight().viewed(view);
        let routes: Vec<RouteId> = sight.routes.iter().map(|(route, _)| *route).collect();
        self.tables.check_columns(&routes, &sight.view)?;
        self.tables.check_sight(&sight, shape.topic().as_str())
    }

    fn begin_snapshot(&mut self, shape: ShapeId, reader: Reader) -> Result<After, Refusal> {
        if let Some(id) = self.join_snapshot(shape, reader) {
            return Ok(After::Snapshot(id));
        }
        self.remove_if_empty(shape);
        Err(Refusal::NotReady)
    }

    /// The topic's shape with this sight, made if it has none; none where the topic is not known to the log, or there
    /// is no number left for one.
    fn shape_of(&mut self, topic: &Topic, sight: Sight, mark: Mark, position: Position) -> Option<ShapeId> {
        let state = self.log.as_mut()?.topics.get_mut(topic.as_str())?;
        if let Some(known) = state.audience.find(&sight) {
            return Some(known);
        }
        let next = self.shapes.vacant()?;
        let sight = Arc::new(sight);
        let mut shape = Shape::new(next, state.topic.clone(), Arc::clone(&sight), mark, (self.now, position));
        state.audience.add(next, sight, |table| shape.keys(table).ok());
        self.shapes.insert(shape);
        self.look_again(next);
        Some(next)
    }
}

impl Tables {
    /// Whether the routes of a topic let these claims in.
    fn admit(&self, routes: &[RouteId], topic: &str, claims: &Claims) -> Result<(), Refusal> {
        match self.routes.admits(routes, topic, claims, self.plans()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::Unauthorized),
            Err(error) => Err(Refusal::InvalidClaim { message: error.to_string() }),
        }
    }

    /// Whether a sight fits every table that feeds the topic: what its filter names, and what its claims are.
    fn check_sight(&self, sight: &Sight, topic: &str) -> Result<(), Refusal> {
        if sight.shows_all_rows() {
            return Ok(());
        }
        let feeds = |table: &&Arc<Table>| {
            let mut routes = sight.routes.iter().map(|(route, _)| *route);
            routes.any(|route| table.plan.feeds(&self.routes, route, topic))
        };
        self.relations().filter(feeds).try_for_each(|table| Judge::compile(table, sight).map(|_| ()))
    }

    /// Whether the routes let out every column that a view asks for.
    fn check_columns(&self, routes: &[RouteId], view: &View) -> Result<(), Refusal> {
        let lets_out = |column: &&String| {
            let mut shown = self.relations().flat_map(|table| routes.iter().map(move |route| (table, *route)));
            shown.any(|(table, route)| table.shows(route, column))
        };
        match view.columns.iter().flatten().find(|column| !lets_out(column)) {
            None => Ok(()),
            Some(column) => Err(Refusal::UnknownColumn(column.clone())),
        }
    }

    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan> + Clone {
        self.tables.values().map(|table| &table.plan)
    }
}

fn resumable(log: &Log, (topic, routes): (&str, &[RouteId]), text: &str, mark: Mark) -> Result<Cursor, Refusal> {
    let cursor: Cursor = text.parse().map_err(|_| Refusal::ResyncRequired)?;
    let is_the_same = cursor.fingerprint == mark.usual() || cursor.fingerprint == Some(mark.fingerprint);
    let shows_all_rows = !mark.fingerprint.is_of_some_rows();
    let is_anothers = shows_all_rows && cursor.fingerprint.is_some_and(|given| given.is_of_another_topic(topic));
    // Else it is of other rows than these, or of another history.
    let is_ours = (is_the_same || is_anothers) && log.lineage.holds(&cursor);
    let says_little = cursor.fingerprint.is_none() || is_anothers;
    let is_cut = says_little && log.turns.may_cut(cursor.position, topic);
    let is_reached = !log.is_beyond(cursor.position) && !is_cut;
    let valid = is_ours && is_reached && log.can_resume(cursor.position, topic, routes);
    valid.then_some(cursor).ok_or(Refusal::ResyncRequired)
}
