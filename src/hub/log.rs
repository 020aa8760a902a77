//! The replay log: recent transactions in commit order, indexed by topic, bounded in time and memory.

mod entries;
mod retention;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::change::{Lsn, TransactionHeader, Visibility};
use crate::routing::{RouteId, Topic};

use super::cursor::Lineage;
use super::encodings::{Encodings, entries_max};
use super::entry::{Batch, Entry, Kept, Malformed};
use super::ids::Ids;
use super::judge::{Seen, Trouble};
use super::live::CURSOR_EVENT;
use super::past::Past;
use super::publication::Form;
use super::reload::Turns;
use super::said::cursor_event;
use super::shape::Shape;
use super::sight::Mark;
use super::statistics::LogStatistics;
use super::topics::{BatchRef, OpenTopic, TOPIC_OVERHEAD, TopicState, Topics};
use super::unseen::Unseen;
use super::{Cursor, Fingerprint, Position, Publication, Splice};

use entries::Entries;

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
    entries: Entries,
    /// The number of the front entry; numbers are never reused.
    first: u64,
    /// Everything up to here has been seen.
    pub(super) head: Position,
    /// Everything after this, up to the head, is in the log.
    pub(super) tail: Position,
    /// Where the last transaction that is complete ends, or nothing is pending.
    pub(super) reached: Lsn,
    past: Past,
    /// What the log does not have, unless all snapshots see it that may still be asked about.
    evicted: Ids,
    unseen: Unseen,
    /// Of the entries.
    size: usize,
    encodings: Encodings,
    pub(super) topics: Topics,
    /// How many of them have batches: they are there for the log's sake, with subscribers or without.
    pub(super) fed: usize,
    pub(super) truncates: VecDeque<Truncate>,
    pub(super) holes: VecDeque<Hole>,
    pub(super) turns: Turns,
    /// Topics that are owed the last part of the transaction that is coming in.
    pub(super) open: Vec<OpenTopic>,
    /// Met while encoding, for the operator.
    pub(super) malformed: Vec<Malformed>,
    /// Where payloads are encoded, since nobody knows before how long they become.
    buffer: Vec<u8>,
}

/// Room that is kept from one payload to the next: a part of the default size fits.
const BUFFER_KEPT: usize = 1 << 20;

impl Log {
    /// An empty log of everything that commits at `start` or later.
    /// `doubt`: as [`crate::change::FeedEvent::Connected`] has it.
    pub(super) fn new(limits: LogLimits, lineage: Lineage, start: Lsn, doubt: Option<u64>, now: Duration) -> Self {
        Self {
            limits,
            lineage,
            entries: Entries::default(),
            first: 0,
            head: Position::before(start),
            tail: Position::before(start),
            reached: start,
            past: Past::new(start, now, &limits),
            evicted: Ids::default(),
            unseen: Unseen::new(doubt),
            size: 0,
            encodings: Encodings::default(),
            topics: Topics::default(),
            fed: 0,
            truncates: VecDeque::new(),
            holes: VecDeque::new(),
            turns: Turns::default(),
            open: Vec::new(),
            malformed: Vec::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn statistics(&self, now: Duration) -> LogStatistics {
        let span = self.entries.front().map_or(Duration::ZERO, |front| now.saturating_sub(front.arrived));
        LogStatistics { entries: self.entries.len(), bytes: self.size(), span }
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

    /// No reader passes it. A route's last hole is as good as all of them: a log that is being rebuilt may have one
    /// that it has yet to come to.
    pub(super) fn add_hole(&mut self, hole: Hole) {
        if self.holes.iter().any(|known| known.route == hole.route && known.at >= hole.at) {
            return;
        }
        self.holes.retain(|known| known.route != hole.route);
        let place = self.holes.partition_point(|known| known.at <= hole.at);
        self.holes.insert(place, hole);
    }

    /// A hole after every position that anybody can have been given, and before every other.
    pub(super) fn break_off(&mut self, route: RouteId) {
        let at = Position { ordinal: self.head.ordinal.saturating_add(1), ..self.head };
        self.add_hole(Hole { at, route });
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// Whether a reader of a topic that these routes feed can go on at `position` without a hole.
    pub(super) fn can_resume(&self, position: Position, topic: &str, routes: &[RouteId]) -> bool {
        let within = self.tail <= position && position <= self.head;
        let hole = self.holes.iter().any(|hole| hole.at > position && routes.contains(&hole.route));
        within && !hole && self.turns.are_before(position, topic)
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
    pub(super) fn unseen_from(&self, visibility: &Visibility, until: Lsn) -> Option<Position> {
        let is_seen = |it: &TransactionHeader| it.commit_lsn < until && visibility.sees(it.xid);
        let unseen = self.entries.iter().find(|entry| !is_seen(&entry.header));
        // Nothing commits between the one before it and this one.
        let before = |entry: &Entry| entry.span.start.max(Position::before(entry.header.commit_lsn));
        let from = unseen.map_or(self.head, before);
        let is_known = self.evicted.all_seen(visibility) && !self.unseen.is_doubtful(visibility);
        is_known.then_some(from)
    }

    /// What a shape's topic got after a position: about `budget` bytes of payload at a time, and as much as can be
    /// looked at meanwhile. With a `splice`, without what its snapshot saw.
    pub(super) fn read(
        &mut self,
        shape: &mut Shape,
        after: Position,
        splice: Option<&Arc<Splice>>,
        budget: usize,
    ) -> (Vec<Arc<Publication>>, Stretch) {
        let Some((_, state)) = self.topics.get(shape.topic().as_str()) else { return (Vec::new(), Stretch::Lost) };
        if !self.can_resume(after, shape.topic().as_str(), &state.routes) {
            return (Vec::new(), Stretch::Lost);
        }
        let mut reading = Reading { after, splice, publications: Vec::new(), bytes: 0, looks: 0, said: None };
        for index in self.first_after(state, after).. {
            // Looked up one by one: who is far behind takes few of many at a time.
            let Some(reference) = self.batch_of(shape.topic(), index) else { break };
            match self.read_batch(index, reference, shape, &mut reading) {
                Ok(()) => {}
                // Whatever it is: who comes again with this position would meet it again.
                Err(Trouble::Unknown | Trouble::Ended(_)) => return (reading.publications, Stretch::Lost),
            }
            if reading.bytes >= budget || reading.looks >= LOOKS_MAX {
                let end = self.batch(reference).map_or(after, |(_, batch)| batch.span.end);
                return (self.followed(reading, shape, end), Stretch::Full(end));
            }
        }
        (self.followed(reading, shape, self.head), Stretch::ToHead)
    }

    /// What was read up to `end`; after a broadcast, with the cursor.
    fn followed(&self, mut reading: Reading<'_>, shape: &Shape, end: Position) -> Vec<Arc<Publication>> {
        if let Some(said) = reading.said {
            reading.add(self.cursor_event(shape, said..end, reading.splice));
        }
        reading.publications
    }

    /// Adds what a shape is shown of one of its topic's batches, unless the reader has that already.
    fn read_batch(
        &mut self,
        index: usize,
        at: BatchRef,
        shape: &mut Shape,
        reading: &mut Reading<'_>,
    ) -> Result<(), Trouble> {
        let Some((entry, batch)) = self.batch(at) else { return Ok(()) };
        reading.looks += 1 + batch.deliveries.len();
        if reading.splice.is_some_and(|splice| splice.has(&entry.header)) {
            return Ok(());
        }
        if let Some(said) = self.said(at, shape, reading.splice) {
            let end = said.position;
            let has_cursor = said.cursor().is_some();
            reading.add(said);
            reading.said = (!has_cursor).then_some(end);
            return Ok(());
        }
        // A reader may have part of it: transactions were cut elsewhere when it got that, by a gateway with other
        // limits or other routes.
        let is_within = batch.span.start < reading.after && reading.after.lsn == entry.header.commit_lsn;
        let rest = is_within.then(|| batch.after(reading.after.ordinal, &entry.changes));
        if let (None, Some(known)) = (&rest, self.encoded(batch, shape, reading.splice)) {
            reading.add(Arc::clone(known));
            return Ok(());
        }
        let of = rest.as_ref().unwrap_or(batch);
        let mut seen = Vec::with_capacity(of.deliveries.len());
        shape.see_all(entry, of, &mut seen)?;
        let is_owed = seen.is_empty() && of.is_part() && !of.more && self.is_owed(index, at, shape, reading);
        if seen.is_empty() && !shape.wants_empty(of, is_owed) {
            return Ok(());
        }
        let publication = match &rest {
            Some(rest) => {
                let (publication, mut malformed) =
                    self.encode(entry, rest, shape, &seen, reading.splice, &mut Vec::new());
                self.malformed.append(&mut malformed);
                Some(publication)
            }
            None => self.publication(at, shape, &seen, reading.splice, Keep::InLog),
        };
        publication.into_iter().for_each(|publication| reading.add(publication));
        Ok(())
    }

    /// Whether a reader has got a part of a transaction with whose last batch it has nothing to do: this one, the
    /// topic's batch number `index`.
    fn is_owed(&self, index: usize, at: BatchRef, shape: &mut Shape, reading: &Reading<'_>) -> bool {
        let lsn = self.entry(at.entry).map(|entry| entry.header.commit_lsn);
        // What is said between the rows is no part of them.
        let rows = reading.publications.iter().rfind(|it| it.form == Form::Feed && &*it.event != CURSOR_EVENT);
        if rows.is_some_and(|latest| Some(latest.position.lsn) == lsn) {
            return true;
        }
        if Some(reading.after.lsn) != lsn || reading.after.ordinal == 0 {
            return false;
        }
        // It has read on from within the transaction; it may have been shown what the log has let go of.
        let mut part = self.batch(at).map_or(0, |(_, batch)| batch.part);
        let mut before = index;
        while part > 0 {
            let Some(previous) = before.checked_sub(1) else { return true };
            let Some(reference) = self.batch_of(shape.topic(), previous) else { return true };
            let Some((entry, batch)) = self.batch(reference) else { return true };
            let mut seen = Vec::new();
            if shape.see_all(entry, batch, &mut seen).is_err() || !seen.is_empty() {
                return true;
            }
            // What is said between the rows is no part of them.
            (before, part) = (previous, if batch.said.is_none() { batch.part } else { part });
        }
        false
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

    pub(super) fn batch(&self, at: BatchRef) -> Option<(&Entry, &Batch)> {
        let entry = self.entry(at.entry)?;
        Some((entry, entry.batches.get(at.batch)?))
    }

    /// A batch as it was encoded for a shape's readers before.
    fn encoded<'b>(
        &self,
        batch: &'b Batch,
        shape: &Shape,
        splice: Option<&Arc<Splice>>,
    ) -> Option<&'b Arc<Publication>> {
        let cursor = self.cursor(batch.span.end, splice, None);
        let kept = batch.publication.as_ref().map(|kept| &kept.publication);
        kept.filter(|it| it.is_for(shape.id, cursor.splice.as_ref()))
    }

    /// What a shape is shown of a batch as a message.
    pub(super) fn publication(
        &mut self,
        at: BatchRef,
        shape: &mut Shape,
        seen: &[Seen],
        splice: Option<&Arc<Splice>>,
        keep: Keep,
    ) -> Option<Arc<Publication>> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let (entry, batch) = self.batch(at)?;
        let (publication, mut malformed) = self.encode(entry, batch, shape, seen, splice, &mut buffer);
        buffer.clear();
        buffer.shrink_to(BUFFER_KEPT);
        self.buffer = buffer;
        self.malformed.append(&mut malformed);
        if keep == Keep::InLog {
            self.keep(at, &publication);
        }
        Some(publication)
    }

    fn encode(
        &self,
        entry: &Entry,
        batch: &Batch,
        shape: &mut Shape,
        seen: &[Seen],
        splice: Option<&Arc<Splice>>,
        buffer: &mut Vec<u8>,
    ) -> (Arc<Publication>, Vec<Malformed>) {
        let cursor = self.cursor_of(shape, batch.span.end, splice);
        let malformed = entry.encode(batch, seen, shape, &cursor, buffer);
        // Without the room to grow that it was encoded in.
        let payload = Bytes::copy_from_slice(buffer);
        // The shape has it, too, but in memory that only a shape with a view of its own has use for.
        let topic = self.topics.at(batch.slot).map_or_else(|| shape.topic().clone(), |state| state.topic.clone());
        let event = Arc::clone(&batch.event);
        let publication = Publication::new(shape.id, topic, event, batch.span.clone(), payload);
        let publication = publication.committed_at(entry.header.commit_timestamp);
        (Arc::new(publication.with_splice(cursor.splice)), malformed)
    }

    /// A batch that shows no rows, as a message: every shape is sent it.
    pub(super) fn said(&self, at: BatchRef, shape: &Shape, splice: Option<&Arc<Splice>>) -> Option<Arc<Publication>> {
        let (entry, batch) = self.batch(at)?;
        let cursor = self.cursor_of(shape, batch.span.end, splice);
        let publication = batch.said.as_ref()?.publication(batch, shape, cursor);
        Some(Arc::new(publication.committed_at(entry.header.commit_timestamp)))
    }

    /// Tells a shape's subscribers how far the feed is.
    pub(super) fn cursor_event(
        &self,
        shape: &Shape,
        span: Range<Position>,
        splice: Option<&Arc<Splice>>,
    ) -> Arc<Publication> {
        let cursor = self.cursor_of(shape, span.end, splice);
        Arc::new(cursor_event(shape.topic().clone(), shape.id, span, cursor))
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

    /// The cursor of a shape's subscribers at a position.
    pub(super) fn cursor_of(&self, shape: &Shape, position: Position, splice: Option<&Arc<Splice>>) -> Cursor {
        self.cursor(position, splice, self.fingerprint(shape.mark, shape.topic(), position))
    }

    /// What a cursor of a topic says beside its position. Where that may be the cursor of somebody who was shown other
    /// rows before a reload, it says whose it is.
    pub(super) fn fingerprint(&self, mark: Mark, topic: &Topic, position: Position) -> Option<Fingerprint> {
        let is_said = !mark.is_plain || self.turns.may_cut(position, topic.as_str());
        is_said.then_some(mark.fingerprint)
    }

    /// A reader's cursor at a position: what a snapshot saw is told until the feed has passed it.
    pub(super) fn cursor(
        &self,
        position: Position,
        splice: Option<&Arc<Splice>>,
        fingerprint: Option<Fingerprint>,
    ) -> Cursor {
        let splice = splice.filter(|splice| !splice.is_over(position)).map(Arc::clone);
        Cursor { system: self.lineage.system, position, splice, fingerprint }
    }
}

/// How many changes one read looks at, whether or not its reader is shown them: everyone else waits meanwhile, some
/// milliseconds at most.
const LOOKS_MAX: usize = 20_000;

/// A read under way.
struct Reading<'a> {
    /// Where it began.
    after: Position,
    splice: Option<&'a Arc<Splice>>,
    publications: Vec<Arc<Publication>>,
    /// Of their payloads.
    bytes: usize,
    looks: usize,
    /// Where the latest publication ends, if it is a broadcast, which has no cursor.
    said: Option<Position>,
}

impl Reading<'_> {
    fn add(&mut self, publication: Arc<Publication>) {
        self.bytes += publication.payload.len();
        self.said = None;
        self.publications.push(publication);
    }
}

/// How far a read of the log came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stretch {
    ToHead,
    /// There is more after this than the budget allows.
    Full(Position),
    /// The log no longer has the position, or what comes next can't be shown to the shape.
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
