//! The replay log: recent transactions in commit order, indexed by topic, bounded in time and memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::change::{Lsn, Visibility};
use crate::routing::{RouteId, Topic};

use super::cursor::Lineage;
use super::encodings::{Encodings, entries_max};
use super::entry::{Batch, Entry, Kept, Malformed};
use super::evicted::Evicted;
use super::shape::Shape;
use super::topics::{BatchRef, OpenTopic, TOPIC_OVERHEAD, TopicState, Topics};
use super::{Cursor, Position, Publication, Splice};

/// How much the log keeps; what is older can no longer be resumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    pub window: Duration,
    /// Bytes.
    pub memory: usize,
    /// Bytes of WAL that the slot may hold back for the log; 0: none, and nothing is resumed over a restart.
    pub wal: u64,
}

/// A truncate of a table whose route feeds many topics: topics that come to be known later need it too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truncate {
    pub(super) entry: u64,
    /// Its place in the entry's changes.
    pub(super) change: usize,
    pub(super) route: RouteId,
}

/// A change that could not be routed: no reader of that route's topics passes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub(super) at: Position,
    pub(super) route: RouteId,
}

#[derive(Debug)]
pub(super) struct Log {
    limits: LogLimits,
    pub(super) lineage: Lineage,
    entries: VecDeque<Entry>,
    /// The number of the front entry; numbers are never reused.
    first: u64,
    /// Everything up to here has been seen.
    pub(super) head: Position,
    /// Everything after this, up to the head, is in the log.
    tail: Position,
    /// Where the last transaction that is complete ends, or nothing is pending.
    pub(super) reached: Lsn,
    /// What was in the log once.
    pub(super) evicted: Evicted,
    /// Of the entries.
    size: usize,
    encodings: Encodings,
    pub(super) topics: Topics,
    /// How many of them have batches: they are there for the log's sake, with subscribers or without.
    pub(super) fed: usize,
    pub(super) truncates: VecDeque<Truncate>,
    pub(super) holes: VecDeque<Hole>,
    /// Topics that are owed the last part of the transaction that is coming in.
    pub(super) open: Vec<OpenTopic>,
    /// Met while encoding, for the operator.
    pub(super) malformed: Vec<Malformed>,
}

impl Log {
    /// An empty log of everything that commits at `start` or later.
    pub(super) fn new(limits: LogLimits, lineage: Lineage, start: Lsn) -> Self {
        Self {
            limits,
            lineage,
            entries: VecDeque::new(),
            first: 0,
            head: Position::before(start),
            tail: Position::before(start),
            reached: start,
            evicted: Evicted::default(),
            size: 0,
            encodings: Encodings::default(),
            topics: Topics::default(),
            fed: 0,
            truncates: VecDeque::new(),
            holes: VecDeque::new(),
            open: Vec::new(),
            malformed: Vec::new(),
        }
    }

    /// Bytes of memory, about.
    pub(super) const fn size(&self) -> usize {
        self.transactions_size() + self.encodings.size()
    }

    /// The same of the transactions and their index.
    const fn transactions_size(&self) -> usize {
        self.size + self.fed * TOPIC_OVERHEAD
    }

    /// The number that the next entry gets.
    pub(super) fn next_entry(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(self.place(number)?)
    }

    pub(super) fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        let place = self.place(number)?;
        self.entries.get_mut(place)
    }

    /// The entry with which the transaction of entry `number` ends, unless that is still to come.
    pub(super) fn transaction_end(&self, number: u64) -> Option<u64> {
        (number..self.next_entry()).find(|number| self.entry(*number).is_some_and(|entry| entry.last))
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.size += entry.size;
        self.entries.push_back(entry);
    }

    /// An entry that is in the log already has grown.
    pub(super) fn grow(&mut self, number: u64, bytes: usize) {
        if let Some(entry) = self.entry_mut(number) {
            entry.size += bytes;
            self.size += bytes;
        }
    }

    /// Nothing that commits before `position` is still to come.
    pub(super) fn advance(&mut self, position: Position) {
        self.head = self.head.max(position);
    }

    /// No reader passes it. A route's last hole is as good as all of them.
    pub(super) fn add_hole(&mut self, hole: Hole) {
        self.holes.retain(|known| known.route != hole.route);
        self.holes.push_back(hole);
    }

    /// A hole after every position that anybody can have been given, and before every other.
    pub(super) fn break_off(&mut self, route: RouteId) {
        let at = Position { ordinal: self.head.ordinal.saturating_add(1), ..self.head };
        self.add_hole(Hole { at, route });
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// Lets go of what is too old or too much.
    pub(super) fn evict(&mut self, now: Duration) {
        let memory = entries_max(&self.limits);
        while let Some(front) = self.entries.front() {
            let expired = now.saturating_sub(front.arrived) > self.limits.window;
            let held_back = self.reached.bytes_since(front.header.commit_lsn);
            let wal_spent = self.limits.wal > 0 && held_back > self.limits.wal;
            if !expired && !wal_spent && self.transactions_size() <= memory {
                break;
            }
            self.evict_front();
        }
        self.drop_encodings();
    }

    /// What Postgres may forget: the slot sends every transaction again that commits at this position or later, so that
    /// after a crash the log is rebuilt as it was.
    pub(super) fn acknowledgeable(&self) -> Lsn {
        match self.entries.front() {
            Some(front) if self.limits.wal > 0 => front.header.commit_lsn.min(self.reached),
            _ => self.reached,
        }
    }

    fn evict_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.size = self.size.saturating_sub(entry.size);
        self.tail = entry.span.end;
        self.evicted.add(entry.header.xid);
        for batch in &entry.batches {
            if let Some(kept) = &batch.publication {
                self.encodings.forget(kept.age);
            }
            if let Some(state) = self.topics.get_mut(batch.topic.as_str()) {
                let was_fed = !state.batches.is_empty();
                while state.batches.front().is_some_and(|reference| reference.entry <= self.first) {
                    state.batches.pop_front();
                }
                self.fed -= usize::from(was_fed && state.batches.is_empty());
            }
            self.topics.remove_if_idle(batch.topic.as_str());
        }
        while self.truncates.front().is_some_and(|truncate| truncate.entry <= self.first) {
            self.truncates.pop_front();
        }
        while self.holes.front().is_some_and(|hole| hole.at <= self.tail) {
            self.holes.pop_front();
        }
        self.first += 1;
    }

    /// Whether a reader of these routes' topics at `position` can go on without a hole.
    pub(super) fn can_resume(&self, position: Position, routes: &[RouteId]) -> bool {
        let within = self.tail <= position && position <= self.head;
        let hole = self.holes.iter().any(|hole| hole.at > position && routes.contains(&hole.route));
        within && !hole
    }

    /// Whether a transaction that is in the log to its end has no such change: nobody was given that position.
    pub(super) fn is_beyond(&self, position: Position) -> bool {
        let until = self.entries.partition_point(|entry| entry.header.commit_lsn <= position.lsn);
        let latest = until.checked_sub(1).and_then(|index| self.entries.get(index));
        let same = latest.filter(|entry| entry.last && entry.header.commit_lsn == position.lsn);
        same.is_some_and(|entry| position.ordinal > entry.span.end.ordinal)
    }

    /// Where someone who has the rows that a snapshot saw goes on: just before the first transaction that it did not
    /// see. None where the log has let go of such a transaction.
    pub(super) fn unseen_from(&self, visibility: &Visibility) -> Option<Position> {
        let unseen = self.entries.iter().find(|entry| !visibility.sees(entry.header.xid));
        let from = unseen.map_or(self.head, |entry| entry.span.start);
        self.evicted.all_seen(visibility).then_some(from)
    }

    /// What a shape's topic got after a position: about `budget` bytes of payload at a time. With a `splice`, without
    /// what its snapshot saw.
    pub(super) fn read(
        &mut self,
        shape: &mut Shape,
        after: Position,
        splice: Option<&Arc<Splice>>,
        budget: usize,
    ) -> (Vec<Arc<Publication>>, Stretch) {
        let Some((_, state)) = self.topics.get(shape.topic.as_str()) else { return (Vec::new(), Stretch::Lost) };
        if !self.can_resume(after, &state.routes) {
            return (Vec::new(), Stretch::Lost);
        }
        let (mut publications, mut bytes) = (Vec::new(), 0);
        for index in self.first_after(state, after).. {
            // Looked up one by one: who is far behind takes few of many at a time.
            let Some(reference) = self.batch_of(&shape.topic, index) else { break };
            if splice.is_some_and(|splice| self.is_seen(reference, &splice.visibility)) {
                continue;
            }
            let publication = if self.is_within(reference, after) {
                self.rest_of(reference, shape, after, splice)
            } else {
                self.publication(reference, shape, splice, Keep::InLog)
            };
            let Some(publication) = publication else { continue };
            bytes += publication.payload.len();
            let position = publication.position;
            publications.push(publication);
            if bytes >= budget {
                return (publications, Stretch::Full(position));
            }
        }
        (publications, Stretch::ToHead)
    }

    fn batch_of(&self, topic: &Topic, index: usize) -> Option<BatchRef> {
        self.topics.get(topic.as_str()).and_then(|(_, state)| state.batches.get(index)).copied()
    }

    /// The first of a topic's batches that ends after a position.
    fn first_after(&self, state: &TopicState, after: Position) -> usize {
        let ends_before = |reference: &BatchRef| {
            let batch = self.entry(reference.entry).and_then(|entry| entry.batches.get(reference.batch));
            batch.is_some_and(|batch| batch.span.end <= after)
        };
        state.batches.partition_point(ends_before)
    }

    /// Whether a reader has part of a batch: transactions were cut elsewhere when it got that, by a gateway with other
    /// limits or other routes.
    fn is_within(&self, at: BatchRef, after: Position) -> bool {
        let Some(entry) = self.entry(at.entry) else { return false };
        let begins_before = entry.batches.get(at.batch).is_some_and(|batch| batch.span.start < after);
        begins_before && after.lsn == entry.header.commit_lsn
    }

    /// What is left of such a batch.
    fn rest_of(
        &mut self,
        at: BatchRef,
        shape: &mut Shape,
        after: Position,
        splice: Option<&Arc<Splice>>,
    ) -> Option<Arc<Publication>> {
        let entry = self.entries.get(self.place(at.entry)?)?;
        if let Some(said) = self.said(at, shape, splice) {
            return Some(said);
        }
        let rest = entry.batches.get(at.batch)?.after(after.ordinal, &entry.changes);
        let cursor = self.cursor(rest.span.end, splice);
        let payload = entry.encode(&rest, shape, &cursor, &mut self.malformed)?;
        let publication = Publication::new(shape.id, rest.topic, rest.event, rest.span, payload);
        Some(Arc::new(publication.with_splice(cursor.splice)))
    }

    /// A batch as a message, encoded unless it is at hand; none where the shape shows nothing of it.
    pub(super) fn publication(
        &mut self,
        at: BatchRef,
        shape: &mut Shape,
        splice: Option<&Arc<Splice>>,
        keep: Keep,
    ) -> Option<Arc<Publication>> {
        if let Some(said) = self.said(at, shape, splice) {
            return Some(said);
        }
        let end = self.entry(at.entry)?.batches.get(at.batch)?.span.end;
        let cursor = self.cursor(end, splice);
        let place = self.place(at.entry)?;
        let entry = self.entries.get(place)?;
        let batch = entry.batches.get(at.batch)?;
        let kept = batch.publication.as_ref().map(|kept| &kept.publication);
        if let Some(publication) = kept.filter(|it| it.is_for(shape.id, cursor.splice.as_ref())) {
            return Some(Arc::clone(publication));
        }
        let mut payload = entry.encode(batch, shape, &cursor, &mut self.malformed)?;
        if keep == Keep::InLog {
            // Without the room to grow that it was encoded in.
            payload = Bytes::copy_from_slice(&payload);
        }
        let (topic, event) = (batch.topic.clone(), Arc::clone(&batch.event));
        let publication = Publication::new(shape.id, topic, event, batch.span.clone(), payload);
        let publication = Arc::new(publication.with_splice(cursor.splice));
        if keep == Keep::InLog {
            self.keep(at, &publication);
        }
        Some(publication)
    }

    /// A batch that shows no rows, as a message: every shape is sent it.
    fn said(&self, at: BatchRef, shape: &Shape, splice: Option<&Arc<Splice>>) -> Option<Arc<Publication>> {
        let batch = self.entry(at.entry)?.batches.get(at.batch)?;
        let said = batch.said.as_ref()?;
        Some(Arc::new(said.publication(batch, shape.id, self.cursor(batch.span.end, splice))))
    }

    /// Keeps a batch's encoding, in place of another shape's.
    fn keep(&mut self, at: BatchRef, publication: &Arc<Publication>) {
        let age = self.encodings.keep(at, publication);
        let kept = Kept { publication: Arc::clone(publication), age };
        let replaced = self.batch_mut(at).and_then(|batch| batch.publication.replace(kept));
        if let Some(Kept { age, .. }) = replaced {
            self.encodings.forget(age);
        }
        self.drop_encodings();
    }

    /// Encodings take what the entries leave, and never less than their share: reading makes the log no shorter.
    fn drop_encodings(&mut self) {
        let most = self.limits.memory - self.transactions_size().min(entries_max(&self.limits));
        while let Some(at) = self.encodings.pop_over(most) {
            if let Some(batch) = self.batch_mut(at) {
                batch.publication = None;
            }
        }
    }

    fn batch_mut(&mut self, at: BatchRef) -> Option<&mut Batch> {
        self.entry_mut(at.entry)?.batches.get_mut(at.batch)
    }

    /// A reader's cursor at a position: what a snapshot saw is told until the feed has passed it.
    pub(super) fn cursor(&self, position: Position, splice: Option<&Arc<Splice>>) -> Cursor {
        let splice = splice.filter(|splice| !splice.is_over(position)).map(Arc::clone);
        Cursor { system: self.lineage.system, position, splice }
    }

    fn is_seen(&self, at: BatchRef, visibility: &Visibility) -> bool {
        self.entry(at.entry).is_some_and(|entry| visibility.sees(entry.header.xid))
    }
}

/// How far a read of the log came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stretch {
    ToHead,
    /// There is more after this than the budget allows.
    Full(Position),
    /// The log no longer has the position.
    Lost,
}

/// What becomes of a message's encoding once it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Live: everybody who wants it is sent it now.
    No,
    /// Somebody catches up: others are likely to.
    InLog,
}
