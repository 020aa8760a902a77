//! The hub's state machine: feed events and commands in, messages to shards out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::change::{Acknowledgement, FeedEvent, Lsn, Relation, TransactionPart};
use crate::routing::{PlanProblem, RouteId, RouteTable, Scratch, Topic};

use super::append::{Tables, append};
use super::broadcast::Member;
use super::channel::Channels;
use super::cursor::Lineage;
use super::entry::Malformed;
use super::judge::Seen;
use super::live::Quiet;
use super::log::Log;
use super::reading::{Question, Readers};
use super::shape::Shape;
use super::shapes::Shapes;
use super::snapshot::Reader;
use super::statistics::Counters;
use super::{Command, LogLimits, Position, ShapeId, ShardId, ToShard};

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
    pub(super) shapes: Shapes,
    /// When shapes are looked at for having been quiet.
    pub(super) quiet: Quiet,
    /// The flush position seen at connect: the log has caught up once it has passed it.
    target: Lsn,
    pub(super) caught_up: bool,
    /// How many the feed has told of.
    losses: u64,
    pub(super) readers: Readers,
    pub(super) channels: Channels,
    /// Since the process began, as last told.
    pub(super) now: Duration,
    /// Routes with changes that could not be routed.
    holes: BTreeSet<RouteId>,
    /// Routes whose table the publication does not give.
    pub(super) unfed: BTreeSet<RouteId>,
    /// What the publication gives was told.
    pub(super) knows_published: bool,
    pub(super) outgoing: Vec<Vec<ToShard>>,
    /// Room for what a shape is shown of a batch, used again for each: grows to the changes of the largest part.
    pub(super) seen: Vec<Seen>,
    pub(super) counters: Counters,
}

impl Hub {
    #[must_use]
    pub fn new(routes: Arc<RouteTable>, shards: usize, limits: HubLimits) -> Self {
        let mut readers = Readers::default();
        readers.snapshots.routes = Arc::clone(&routes);
        Self {
            limits,
            tables: Tables::new(routes, limits.value),
            scratch: Scratch::default(),
            log: None,
            shapes: Shapes::default(),
            quiet: Quiet::default(),
            target: Lsn::ZERO,
            caught_up: false,
            losses: 0,
            readers,
            channels: Channels::new(Arc::default(), 0, 0),
            now: Duration::ZERO,
            holes: BTreeSet::new(),
            unfed: BTreeSet::new(),
            knows_published: false,
            outgoing: vec![Vec::new(); shards],
            seen: Vec::new(),
            counters: Counters::default(),
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
        let malformed = self.log.as_mut().map(|log| std::mem::take(&mut log.malformed)).unwrap_or_default();
        self.counters.malformed += malformed.len() as u64;
        malformed
    }

    /// Takes what replication says, `now` after the process began.
    pub fn feed(&mut self, event: FeedEvent, now: Duration) {
        self.now = now;
        match event {
            FeedEvent::Connected { system, ancestry, start, flush, relations, doubt } => {
                self.connected(Lineage { system, ancestry }, (start, doubt), flush, &relations);
            }
            FeedEvent::Part(part) => self.append(part),
            FeedEvent::Broadcast(broadcast) => self.say_now(broadcast),
            FeedEvent::Published { relations, holes } => self.published(&relations, &holes),
            FeedEvent::Remembered(holes) => self.remembered(&holes),
            FeedEvent::Seen(visibility) => {
                let alone = self.readers.snapshots.are_all_read();
                if let Some(log) = &mut self.log {
                    log.note_seen(&visibility, alone);
                    log.evict(now);
                }
            }
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
        self.hold_back();
    }

    /// Subscribers have cursors of wherever the feed is.
    fn hold_back(&mut self) {
        let Some(log) = &mut self.log else { return };
        let subscribed = !self.shapes.is_empty();
        if subscribed {
            log.give(self.now, None);
        }
        log.thin(self.now, subscribed);
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
            Command::Recheck { shard, join, shape, claims } => {
                if let Some(refusal) = self.recheck(shape, &claims) {
                    self.tell(shard, ToShard::Ended { join, refusal });
                }
                self.channels.identify(Member { shard, join }, &claims);
            }
            Command::Broadcast(saying) => {
                self.counters.said_by_clients += 1;
                self.say(*saying);
            }
            Command::Publish { shard, number, saying } => {
                let result = self.announce(*saying);
                self.tell(shard, ToShard::Published { number, result });
            }
            Command::UpdatePresence { shard, join, meta } => self.channels.update(Member { shard, join }, meta),
            Command::Read { shard, join, shape, number, after } => {
                self.read(Question { reader: Reader { shard, join }, number, shape }, after);
            }
            Command::Fetch { shard, join, shape, number, view } => {
                self.fetch(Question { reader: Reader { shard, join }, number, shape }, view.as_deref());
            }
            Command::Judge { shard, join, shape, number, view } => {
                let result = self.judge_view(shape, &view);
                self.tell(shard, ToShard::Judged { join, number, result });
            }
            Command::Locate { shard, join, shape, number, write } => {
                self.locate(Question { reader: Reader { shard, join }, number, shape }, write);
            }
        }
    }

    fn connected(
        &mut self,
        lineage: Lineage,
        (start, doubt): (Lsn, Option<u64>),
        flush: Lsn,
        relations: &[Arc<Relation>],
    ) {
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
            None => self.log = Some(Log::new(self.limits.log, lineage, start, doubt, self.now)),
        }
    }

    fn append(&mut self, part: TransactionPart) {
        let Some(log) = &mut self.log else {
            debug_assert!(false, "replication says Connected before it sends parts");
            return;
        };
        let (xid, end_lsn) = (part.header.xid, part.end_lsn);
        self.counters.transactions += u64::from(end_lsn.is_some());
        self.counters.changes += part.changes.len() as u64;
        self.counters.said_by_sql += part.announcements.len() as u64;
        let appended = append(log, &mut self.tables, &mut self.scratch, part, self.now);
        for topic in &appended.widened {
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

    fn unsubscribe(&mut self, shard: ShardId, id: ShapeId) {
        if let Some(shape) = self.shapes.get_mut(&id) {
            shape.remove(shard);
            self.remove_if_empty(id);
        }
    }

    pub(super) fn remove_if_empty(&mut self, id: ShapeId) {
        if self.shapes.get(&id).is_some_and(Shape::is_empty)
            && let Some(shape) = self.shapes.remove(&id)
        {
            self.forget_shape(&shape);
        }
    }

    pub(super) fn forget_shape(&mut self, shape: &Shape) {
        let Some(log) = &mut self.log else { return };
        let Some(slot) = log.topics.find(shape.topic().as_str()) else { return };
        if let Some(state) = log.topics.at_mut(slot) {
            state.audience.remove(shape.id, shape.sight());
        }
        log.topics.remove_if_idle(slot);
    }

    /// Continuity is lost: everyone begins afresh, and the log too.
    fn lose(&mut self) {
        for id in self.shapes.ids() {
            self.reset(id);
        }
        self.log = None;
        self.readers.awaiting.lose();
        self.caught_up = false;
    }

    pub(super) fn reset_topics_of(&mut self, route: RouteId) {
        let Some(log) = &self.log else { return };
        for topic in log.topics.of_route(route).map(|(_, topic)| topic.clone()).collect::<Vec<_>>() {
            self.reset_topic(&topic);
        }
    }

    pub(super) fn reset_topic(&mut self, topic: &Topic) {
        self.shapes_of(topic).into_iter().for_each(|id| self.reset(id));
    }

    pub(super) fn shapes_of(&self, topic: &Topic) -> Vec<ShapeId> {
        let state = self.log.as_ref().and_then(|log| log.topics.get(topic.as_str()));
        state.map(|(_, state)| state.audience.shapes()).unwrap_or_default()
    }

    pub(super) fn tell(&mut self, shard: ShardId, message: ToShard) {
        if let Some(outgoing) = self.outgoing.get_mut(shard.0) {
            outgoing.push(message);
        }
    }
}
