//! The hub's state machine: feed events and commands in, messages to shards out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::change::{Acknowledgement, FeedEvent, Lsn, Relation, TransactionPart};
use crate::routing::{PlanProblem, RouteId, RouteTable, Scratch, Topic};

use super::append::{Tables, append, meet};
use super::broadcast::Member;
use super::channel::Channels;
use super::cursor::Lineage;
use super::entry::Malformed;
use super::log::{Keep, Log};
use super::reading::{Question, Readers};
use super::shape::Shape;
use super::snapshot::Reader;
use super::topics::BatchRef;
use super::{
    After, Command, Cursor, LogLimits, Position, Publication, Refusal, ShapeId, ShardId, Subscribe, Subscribed,
    ToShard, View,
};

/// The event by which subscribers of a quiet topic are told how far the feed has come.
pub(super) const CURSOR_EVENT: &str = "cursor";
/// They are told after this fraction of the window: three of these events can be missed.
const QUIET_FRACTION: u32 = 4;

/// The hub's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubLimits {
    pub log: LogLimits,
    /// A column's value that is longer, in bytes, is left out and named in `omitted`.
    pub value: usize,
    /// About how many bytes of payload one read gives: it is encoded while everyone else waits.
    pub read: usize,
}

/// Who is subscribed to what, and the log that they read.
#[derive(Debug)]
pub struct Hub {
    pub(super) limits: HubLimits,
    pub(super) tables: Tables,
    scratch: Scratch,
    /// None until the feed has begun, and again when it was lost.
    pub(super) log: Option<Log>,
    /// In order, so that the same events always make the same messages in the same order.
    pub(super) shapes: BTreeMap<ShapeId, Shape>,
    next_shape: u64,
    /// The flush position seen at connect: the log has caught up once it has passed it.
    target: Lsn,
    caught_up: bool,
    /// How many the feed has told of.
    losses: u64,
    pub(super) readers: Readers,
    pub(super) channels: Channels,
    /// Since the process began, as last told.
    now: Duration,
    /// Routes with changes that could not be routed.
    holes: BTreeSet<RouteId>,
    /// Routes whose table the publication does not give.
    pub(super) unfed: BTreeSet<RouteId>,
    outgoing: Vec<Vec<ToShard>>,
}

impl Hub {
    #[must_use]
    pub fn new(routes: Arc<RouteTable>, shards: usize, limits: HubLimits) -> Self {
        Self {
            limits,
            tables: Tables::new(routes, limits.value),
            scratch: Scratch::default(),
            log: None,
            shapes: BTreeMap::new(),
            next_shape: 0,
            target: Lsn::ZERO,
            caught_up: false,
            losses: 0,
            readers: Readers::default(),
            channels: Channels::new(Arc::default(), 0, 0),
            now: Duration::ZERO,
            holes: BTreeSet::new(),
            unfed: BTreeSet::new(),
            outgoing: vec![Vec::new(); shards],
        }
    }

    /// The hub with topics on which clients may do more than listen.
    #[must_use]
    pub fn with_channels(self, channels: Channels) -> Self {
        Self { channels, ..self }
    }

    /// What may be acknowledged to Postgres: the log's tail, since the slot is the log's durable copy.
    #[must_use]
    pub fn acknowledgeable(&self) -> Lsn {
        self.log.as_ref().map_or(Lsn::ZERO, Log::acknowledgeable)
    }

    /// The same as replication is told it.
    #[must_use]
    pub fn acknowledgement(&self) -> Acknowledgement {
        Acknowledgement { losses: self.losses, position: self.acknowledgeable() }
    }

    /// About how many bytes of memory the log takes.
    #[must_use]
    pub fn log_size(&self) -> usize {
        self.log.as_ref().map_or(0, Log::size)
    }

    /// The log has passed the flush position that the server had when the feed began: clients can resume.
    #[must_use]
    pub const fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// What the shards are to be told since the last call, in order for each shard.
    pub fn take_outgoing(&mut self) -> impl Iterator<Item = (ShardId, Vec<ToShard>)> {
        self.tell_presences();
        let shards = self.outgoing.iter_mut().enumerate();
        shards
            .filter(|(_, messages)| !messages.is_empty())
            .map(|(shard, messages)| (ShardId(shard), std::mem::take(messages)))
    }

    /// Since the process began, as last told.
    pub(super) const fn now(&self) -> Duration {
        self.now
    }

    /// Routes that can't take every change of a table as it is now, for the operator.
    pub fn problems(&self) -> impl Iterator<Item = (&Arc<Relation>, &PlanProblem)> {
        self.tables.relations().flat_map(|table| table.plan.problems().iter().map(|problem| (&table.relation, problem)))
    }

    /// Routes with changes that could not be routed since the last call, for the operator.
    pub fn take_holes(&mut self) -> BTreeSet<RouteId> {
        std::mem::take(&mut self.holes)
    }

    /// Values that were left out since the last call because their types don't write them, for the operator.
    pub fn take_malformed(&mut self) -> Vec<Malformed> {
        self.log.as_mut().map(|log| std::mem::take(&mut log.malformed)).unwrap_or_default()
    }

    /// Takes what replication says, `now` after the process began.
    pub fn feed(&mut self, event: FeedEvent, now: Duration) {
        self.now = now;
        match event {
            FeedEvent::Connected { system, ancestry, start, flush, relations } => {
                self.connected(Lineage { system, ancestry }, start, flush, &relations);
            }
            FeedEvent::Part(part) => self.append(part),
            FeedEvent::Broadcast(broadcast) => self.say_now(broadcast),
            FeedEvent::Published { relations, holes } => self.published(&relations, &holes),
            FeedEvent::Progress(lsn) => {
                if let Some(log) = &mut self.log {
                    log.advance(Position::before(lsn));
                    log.reached = log.reached.max(lsn);
                    log.evict(now);
                }
            }
            FeedEvent::Lost { .. } => {
                self.losses += 1;
                self.lose();
            }
        }
        self.answer_waiting();
        self.answer_writers();
        self.caught_up |= self.log.as_ref().is_some_and(|log| log.reached >= self.target);
    }

    /// Lets go of what is older than the window and of who is too slow, and tells quiet topics where the feed is.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        if let Some(log) = &mut self.log {
            log.evict(now);
        }
        self.look_at_readers(now);
        self.answer_writers();
        self.refresh_cursors();
    }

    /// Takes what a shard asks.
    pub fn command(&mut self, command: Command) {
        match command {
            Command::Subscribe { shard, join, request } => {
                let reader = Reader { shard, join };
                let message = match self.subscribe(reader, *request) {
                    Ok(subscribed) => ToShard::Subscribed { join, subscribed },
                    Err(refusal) => ToShard::Refused { join, refusal },
                };
                self.tell(shard, message);
            }
            Command::Unsubscribe { shard, join, shape } => {
                self.forget_reader(Reader { shard, join });
                self.readers.awaiting.leave(Reader { shard, join });
                self.unsubscribe(shard, shape);
                self.channels.leave(Member { shard, join });
            }
            Command::Recheck { shard, join, claims, .. } => self.channels.identify(Member { shard, join }, &claims),
            Command::Broadcast(saying) => self.say(*saying),
            Command::UpdatePresence { shard, join, meta } => self.channels.update(Member { shard, join }, meta),
            Command::Read { shard, join, shape, number, after } => {
                self.read(Question { reader: Reader { shard, join }, number, shape }, after);
            }
            Command::Fetch { shard, join, shape, number } => {
                self.fetch(Question { reader: Reader { shard, join }, number, shape });
            }
            Command::Locate { shard, join, shape, number, write } => {
                self.locate(Question { reader: Reader { shard, join }, number, shape }, write);
            }
        }
    }

    fn connected(&mut self, lineage: Lineage, start: Lsn, flush: Lsn, relations: &[Arc<Relation>]) {
        let system_id = lineage.system.system_id;
        if self.log.as_ref().is_some_and(|log| log.lineage.system.system_id != system_id) {
            self.lose();
        }
        for relation in relations {
            self.tables.table(relation);
        }
        self.target = flush;
        if self.log.as_ref().is_some_and(|log| log.lineage.system != lineage.system) {
            self.abandon_snapshots();
        }
        match &mut self.log {
            // Replication says Lost before it connects to a timeline that abandoned what it sent.
            Some(log) => log.lineage = lineage,
            None => self.log = Some(Log::new(self.limits.log, lineage, start)),
        }
    }

    fn append(&mut self, part: TransactionPart) {
        let Some(log) = &mut self.log else {
            debug_assert!(false, "replication says Connected before it sends parts");
            return;
        };
        let (xid, end_lsn) = (part.header.xid, part.end_lsn);
        let appended = append(log, &mut self.tables, &mut self.scratch, part, self.now);
        for topic in &appended.entered {
            self.reset_topic(topic);
        }
        // First: a message of this entry has a cursor past the hole, from which whoever has seen it would be resumed.
        self.holes.extend(&appended.holes);
        for route in appended.holes {
            self.reset_topics_of(route);
        }
        if let Some(entry) = appended.entry {
            self.publish(entry);
        }
        if let (Some(end), Some(log)) = (end_lsn, &mut self.log) {
            log.reached = log.reached.max(end);
            self.readers.awaiting.ended(xid);
        }
        if let Some(log) = &mut self.log {
            log.evict(self.now);
        }
    }

    /// Encodes what has subscribers, once for each shape, and hands each shard one message for it.
    fn publish(&mut self, number: u64) {
        let Some(log) = &mut self.log else { return };
        let batches = log.entry(number).map_or(0, |entry| entry.batches.len());
        for batch in 0..batches {
            let Some(topic) = log.entry(number).and_then(|entry| entry.batches.get(batch)).map(|batch| &batch.topic)
            else {
                continue;
            };
            let Some((_, state)) = log.topics.get(topic.as_str()) else { continue };
            for id in state.shapes.clone() {
                let Some(shape) = self.shapes.get_mut(&id) else { continue };
                let at = BatchRef { entry: number, batch };
                let Some(publication) = log.publication(at, shape, None, Keep::No) else { continue };
                shape.told = (self.now, publication.position);
                publish(&mut self.outgoing, shape, &publication);
            }
        }
    }

    /// A quiet topic's cursor must not grow old: it would fall out of the log while its subscribers are connected.
    fn refresh_cursors(&mut self) {
        let Some(log) = &self.log else { return };
        for shape in self.shapes.values_mut() {
            let (when, position) = shape.told;
            let is_quiet = self.now.saturating_sub(when) >= self.limits.log.window / QUIET_FRACTION;
            if !is_quiet || log.head <= position {
                continue;
            }
            let cursor = log.cursor(log.head, None);
            let payload = Bytes::from(format!(r#"{{"cursor":"{cursor}"}}"#));
            let (topic, event) = (shape.topic.clone(), Arc::from(CURSOR_EVENT));
            let publication = Arc::new(Publication::new(shape.id, topic, event, log.head..log.head, payload));
            shape.told = (self.now, log.head);
            publish(&mut self.outgoing, shape, &publication);
        }
    }

    fn subscribe(&mut self, reader: Reader, request: Subscribe) -> Result<Subscribed, Refusal> {
        let Subscribe { topic: name, claims, view, cursor, snapshot, introduction } = request;
        // Until the log is rebuilt, a cursor that is ahead of its head is none to refuse.
        let log = self.log.as_mut().filter(|_| self.caught_up).ok_or(Refusal::NotReady)?;
        let topic = Topic::parse(&name).map_err(|_| Refusal::UnmatchedTopic)?;
        let known = log.topics.get(&name).map(|(_, state)| state.routes.clone());
        // A topic that only a channel has may be fed by a table that has come since.
        let known = known.filter(|routes| !routes.is_empty());
        let routes = known.unwrap_or_else(|| self.tables.routes_for_topic(&name));
        let fed = !routes.is_empty();
        let grant = self.channels.grant(&topic, fed, &claims, introduction)?;
        // Where no route feeds the topic there are no rows to begin with.
        let snapshot = snapshot && fed;
        // Changes of its table would not come, and nobody would know.
        if routes.iter().any(|route| self.unfed.contains(route)) {
            return Err(Refusal::NotReady);
        }
        self.tables.check_view(&routes, &view)?;
        let resume = cursor.map(|text| resumable(log, &routes, &text)).transpose();
        // The current rows are what a client needs whose cursor is too old.
        let resume = if snapshot { resume.unwrap_or_default() } else { resume? };
        match log.topics.get_mut(&name) {
            Some(state) => state.routes = routes,
            None => meet(log, &self.tables, &topic, routes),
        }
        // The truncates that a new topic is given take room, too.
        log.evict(self.now);
        let cursor = match &resume {
            Some(cursor) => Some(cursor.to_string()),
            None => (!snapshot).then(|| log.cursor(log.head, None).to_string()),
        };
        let position = resume.as_ref().map_or(log.head, |cursor| cursor.position);
        let shape = self.shape_of(&topic, view, position);
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
        if let Some(log) = &mut self.log {
            // What a topic that was met has of the log's truncates takes memory, too.
            log.evict(self.now);
        }
        let channel = grant.channel.clone();
        self.channels.enter(Member { shard: reader.shard, join: reader.join }, &topic, shape, grant);
        Ok(Subscribed { shape, cursor, resumed, read_after, fed, channel })
    }

    fn begin_snapshot(&mut self, shape: ShapeId, reader: Reader) -> Result<After, Refusal> {
        let known = self.shapes.get(&shape);
        if let Some(id) = known.and_then(|shape| self.readers.snapshots.join(shape, reader)) {
            return Ok(After::Snapshot(id));
        }
        self.remove_if_empty(shape);
        Err(Refusal::NotReady)
    }

    /// The topic's shape with this view, made if it has none.
    fn shape_of(&mut self, topic: &Topic, view: View, position: Position) -> ShapeId {
        let next = ShapeId(self.next_shape);
        let state = self.log.as_mut().and_then(|log| log.topics.get_mut(topic.as_str()));
        let Some(state) = state else { return next };
        let has_view = |id: &&ShapeId| self.shapes.get(id).is_some_and(|shape| shape.view == view);
        if let Some(known) = state.shapes.iter().find(has_view) {
            return *known;
        }
        state.shapes.push(next);
        self.next_shape += 1;
        self.shapes.insert(next, Shape::new(next, topic.clone(), view, (self.now, position)));
        next
    }

    fn unsubscribe(&mut self, shard: ShardId, id: ShapeId) {
        if let Some(shape) = self.shapes.get_mut(&id) {
            shape.remove(shard);
            self.remove_if_empty(id);
        }
    }

    fn remove_if_empty(&mut self, id: ShapeId) {
        if self.shapes.get(&id).is_some_and(Shape::is_empty)
            && let Some(shape) = self.shapes.remove(&id)
        {
            self.forget_shape(&shape);
        }
    }

    fn forget_shape(&mut self, shape: &Shape) {
        let Some(log) = &mut self.log else { return };
        if let Some(state) = log.topics.get_mut(shape.topic.as_str()) {
            state.shapes.retain(|id| *id != shape.id);
        }
        log.topics.remove_if_idle(shape.topic.as_str());
    }

    /// Continuity is lost: everyone begins afresh, and the log too.
    fn lose(&mut self) {
        for id in self.shapes.keys().copied().collect::<Vec<_>>() {
            self.reset(id);
        }
        self.log = None;
        self.readers.awaiting.lose();
        self.caught_up = false;
    }

    pub(super) fn reset_topics_of(&mut self, route: RouteId) {
        let Some(log) = &self.log else { return };
        for topic in log.topics.of_route(route).cloned().collect::<Vec<_>>() {
            self.reset_topic(&topic);
        }
    }

    fn reset_topic(&mut self, topic: &Topic) {
        let state = self.log.as_ref().and_then(|log| log.topics.get(topic.as_str()));
        let shapes = state.map(|(_, state)| state.shapes.clone()).unwrap_or_default();
        shapes.into_iter().for_each(|id| self.reset(id));
    }

    fn reset(&mut self, id: ShapeId) {
        let Some(shape) = self.shapes.remove(&id) else { return };
        self.readers.drop_shape(id);
        self.channels.reset(id);
        for shard in shape.shards() {
            if let Some(outgoing) = self.outgoing.get_mut(shard.0) {
                outgoing.push(ToShard::Reset { shape: id });
            }
        }
        self.forget_shape(&shape);
    }

    pub(super) fn tell(&mut self, shard: ShardId, message: ToShard) {
        if let Some(outgoing) = self.outgoing.get_mut(shard.0) {
            outgoing.push(message);
        }
    }
}

fn publish(outgoing: &mut [Vec<ToShard>], shape: &Shape, publication: &Arc<Publication>) {
    for shard in shape.shards() {
        if let Some(outgoing) = outgoing.get_mut(shard.0) {
            outgoing.push(ToShard::Publish(Arc::clone(publication)));
        }
    }
}

fn resumable(log: &Log, routes: &[RouteId], text: &str) -> Result<Cursor, Refusal> {
    let cursor: Cursor = text.parse().map_err(|_| Refusal::ResyncRequired)?;
    let is_ours = log.lineage.holds(&cursor) && !log.is_beyond(cursor.position);
    let valid = is_ours && log.can_resume(cursor.position, routes);
    valid.then_some(cursor).ok_or(Refusal::ResyncRequired)
}
