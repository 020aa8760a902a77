//! Snapshots under way: rows that someone else reads from the database, and the subscribers who are sent them.
//!
//! A snapshot is a short log of its own: each reader asks for the next part when it has room, a part that everybody has
//! is let go, and only then another one is asked for. So a snapshot's memory is bounded by [`LEAD_PARTS`], and whoever
//! reads too slowly is told to begin afresh before others have waited for long.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::change::{Lsn, Visibility};
use crate::routing::{Expression, Filter, RouteId, RouteTable, Topic};

use super::message::{After, JoinToken, ReadOutcome, ShardId};
use super::shape::Shape;
use super::sight::{Mark, Sight};
use super::{Cursor, Position, Publication, ShapeId};

/// Parts that wait for their slowest reader: enough for the reading of rows and the sending to overlap.
pub const LEAD_PARTS: usize = 4;
/// Snapshots that have parts at a time. A part is half a megabyte, unless configured.
const OPEN_MAX: usize = 64;
/// Snapshots that wait for their turn, beside those that have it; over it, joins are refused with `not_ready`.
const WAITING_MAX: usize = 10_000;
/// How long a snapshot's readers may be made to wait by slower ones, all in all.
const HOLD_UP_MAX: Duration = Duration::from_secs(10);
/// How long nobody may read anything: the database keeps old row versions for us all the while.
const STALL_MAX: Duration = Duration::from_secs(30);

/// A snapshot's number, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// Which rows, and what of them.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotRequest {
    pub id: SnapshotId,
    pub topic: Topic,
    /// Those that feed the topic are among them.
    pub routes: Arc<RouteTable>,
    /// Of the routes' columns; `None` for all.
    pub columns: Option<Box<[String]>>,
    /// Of which rows must be true what.
    pub filter: Option<Filter>,
    /// What routes' `where` says with claims: with their values.
    pub rules: Box<[(RouteId, Expression)]>,
}

impl SnapshotRequest {
    fn new(topic: &Topic, sight: &Sight, routes: &Arc<RouteTable>, id: SnapshotId) -> Self {
        let Sight { view, routes: sight } = sight;
        let rules = sight.iter().filter_map(|(route, rule)| Some((*route, rule.clone()?)));
        Self {
            id,
            topic: topic.clone(),
            routes: Arc::clone(routes),
            columns: view.columns.clone(),
            filter: view.filter.clone(),
            rules: rules.collect(),
        }
    }
}

/// What the hub asks of those who read the rows.
#[derive(Debug, Clone, PartialEq)]
pub enum SnapshotCommand {
    /// Read the topic's rows, and send up to [`LEAD_PARTS`] parts.
    Begin(SnapshotRequest),
    /// Another part may be sent.
    More(SnapshotId),
    /// Nobody waits for it any longer.
    End(SnapshotId),
}

/// Rows of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPart {
    pub event: Arc<str>,
    /// The elements of `updates`, with commas between them.
    pub updates: Bytes,
}

/// What those who read the rows say of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotEvent {
    Part {
        id: SnapshotId,
        part: SnapshotPart,
    },
    /// The last part, and what the snapshot saw. Everything that it saw has committed before `until`.
    Done {
        id: SnapshotId,
        last: SnapshotPart,
        visibility: Visibility,
        until: Lsn,
    },
    Failed {
        id: SnapshotId,
        failure: SnapshotFailure,
    },
}

/// Why a snapshot came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotFailure {
    /// More rows than the limit allows.
    TooLarge,
    /// The database could not be asked, or the rows could not be read to their end.
    Failed,
}

/// A subscriber, as reads name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) shard: ShardId,
    pub(super) join: JoinToken,
}

/// What a reader is told.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reader: Reader,
    pub(super) number: u32,
    pub(super) publications: Vec<Arc<Publication>>,
    pub(super) outcome: ReadOutcome,
}

#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// By which rows are selected.
    pub(super) routes: Arc<RouteTable>,
    by_id: BTreeMap<SnapshotId, Snapshot>,
    by_reader: HashMap<Reader, SnapshotId>,
    /// The newest of each shape: who asks before it has ended shares it.
    newest: HashMap<ShapeId, SnapshotId>,
    waiting: VecDeque<SnapshotId>,
    open: usize,
    next: u64,
    commands: Vec<SnapshotCommand>,
}

#[derive(Debug)]
struct Snapshot {
    shape: ShapeId,
    topic: Topic,
    mark: Mark,
    /// Until it is its turn.
    request: Option<SnapshotRequest>,
    open: bool,
    /// Those that somebody has not read yet.
    parts: VecDeque<Arc<Publication>>,
    /// The number of the front.
    first: u32,
    /// Where its readers go on; none while parts are still to come.
    end: Option<After>,
    /// What its readers are told instead of rows.
    failed: Option<ReadOutcome>,
    readers: HashMap<Reader, Waiting>,
    /// How many of them have not read the front.
    at_front: usize,
    /// For how long the front has been the front.
    stalled: Duration,
    held_up: Duration,
}

/// How far a reader is.
#[derive(Debug)]
struct Waiting {
    next: u32,
    /// The number of a read that is not answered yet.
    asked: Option<u32>,
}

impl Snapshots {
    /// What those who read the rows are to be told since the last call, in order.
    pub(super) fn take_commands(&mut self) -> Vec<SnapshotCommand> {
        std::mem::take(&mut self.commands)
    }

    /// The snapshot that a subscriber of this shape reads from its part 0 on; none where too many wait.
    pub(super) fn join(&mut self, shape: &Shape, reader: Reader) -> Option<SnapshotId> {
        self.leave(reader);
        let shared = self.newest.get(&shape.id).filter(|id| self.by_id.get(id).is_some_and(Snapshot::can_be_shared));
        let id = match shared {
            Some(id) => *id,
            None => {
                let id = self.begin(shape, shape.sight())?;
                self.newest.insert(shape.id, id);
                id
            }
        };
        self.enter(id, reader)
    }

    /// The same with another sight of the topic, which nobody else shares.
    pub(super) fn join_alone(&mut self, shape: &Shape, sight: &Sight, reader: Reader) -> Option<SnapshotId> {
        self.leave(reader);
        let id = self.begin(shape, sight)?;
        self.enter(id, reader)
    }

    /// A reader's question; the answer is none while there is nothing to read yet.
    pub(super) fn read(&mut self, id: SnapshotId, reader: Reader, number: u32) -> Option<Answer> {
        let snapshot = self.by_id.get_mut(&id).filter(|snapshot| snapshot.readers.contains_key(&reader));
        let Some(snapshot) = snapshot else {
            return Some(Answer { reader, number, publications: Vec::new(), outcome: ReadOutcome::Lost });
        };
        if let Some(outcome) = snapshot.failed.clone() {
            self.leave(reader);
            return Some(Answer { reader, number, publications: Vec::new(), outcome });
        }
        if let Some(waiting) = snapshot.readers.get_mut(&reader) {
            waiting.asked = Some(number);
        }
        let answer = self.answer(id, reader);
        self.settle(id);
        answer
    }

    /// A part has come, with this cursor and the place where its readers go on if it is the last one. The answers to
    /// those who waited for it; nothing where nobody waits any longer.
    pub(super) fn push(&mut self, id: SnapshotId, part: &SnapshotPart, end: Option<(&Cursor, After)>) -> Vec<Answer> {
        let wanted = self.by_id.get_mut(&id).filter(|snapshot| snapshot.failed.is_none());
        let Some(snapshot) = wanted else { return Vec::new() };
        snapshot.push(part, end.as_ref().map(|(cursor, _)| *cursor));
        snapshot.end = end.map(|(_, end)| end);
        let asking = snapshot.readers.iter().filter(|(_, waiting)| waiting.asked.is_some());
        let asking: Vec<Reader> = asking.map(|(reader, _)| *reader).collect();
        let answers = asking.into_iter().filter_map(|reader| self.answer(id, reader)).collect();
        self.settle(id);
        answers
    }

    /// Ends a snapshot for all who read it. A reader who has not asked is told when it does.
    pub(super) fn fail(&mut self, id: SnapshotId, outcome: &ReadOutcome) -> Vec<Answer> {
        let Some(snapshot) = self.by_id.get_mut(&id) else { return Vec::new() };
        snapshot.failed = Some(outcome.clone());
        snapshot.parts.clear();
        let asking = snapshot.readers.iter().filter_map(|(reader, waiting)| Some((*reader, waiting.asked?)));
        let asking: Vec<(Reader, u32)> = asking.collect();
        self.close(id);
        let told = asking.into_iter().map(|(reader, number)| {
            self.leave(reader);
            Answer { reader, number, publications: Vec::new(), outcome: outcome.clone() }
        });
        told.collect()
    }

    /// All of them: what they saw may have been abandoned since.
    pub(super) fn fail_all(&mut self) -> Vec<Answer> {
        let ids: Vec<SnapshotId> = self.by_id.keys().copied().collect();
        ids.into_iter().flat_map(|id| self.fail(id, &ReadOutcome::Lost)).collect()
    }

    /// A subscriber is gone, or reads something else.
    pub(super) fn leave(&mut self, reader: Reader) {
        let Some(id) = self.by_reader.remove(&reader) else { return };
        if let Some(snapshot) = self.by_id.get_mut(&id) {
            snapshot.leave(reader);
        }
        self.settle(id);
    }

    /// The shape's subscribers are told to begin afresh by other means.
    pub(super) fn drop_shape(&mut self, shape: ShapeId) {
        let of_shape = |(id, snapshot): (&SnapshotId, &Snapshot)| (snapshot.shape == shape).then_some(*id);
        let ids: Vec<SnapshotId> = self.by_id.iter().filter_map(of_shape).collect();
        for id in ids {
            self.remove(id);
        }
    }

    /// Lets go of readers who are too slow; they are told when they ask. `elapsed` is the time since the last call.
    pub(super) fn tick(&mut self, elapsed: Duration) {
        let slow = |snapshot: &mut Snapshot| snapshot.slow_readers(elapsed);
        let slow: Vec<Reader> = self.by_id.values_mut().flat_map(slow).collect();
        slow.into_iter().for_each(|reader| self.leave(reader));
    }

    /// Whether no other is being read: what this one sees, all later ones see.
    pub(super) fn is_alone(&self, id: SnapshotId) -> bool {
        self.by_id.iter().all(|(other, snapshot)| *other == id || !snapshot.open || snapshot.end.is_some())
    }

    /// Whether none is being read: those that are begun from now on see what any earlier one saw.
    pub(super) fn are_all_read(&self) -> bool {
        self.by_id.values().all(|snapshot| !snapshot.open || snapshot.end.is_some())
    }

    /// Whose it is; none where nobody wants it any longer.
    pub(super) fn subject(&self, id: SnapshotId) -> Option<(Mark, &Topic)> {
        self.by_id.get(&id).map(|snapshot| (snapshot.mark, &snapshot.topic))
    }

    fn enter(&mut self, id: SnapshotId, reader: Reader) -> Option<SnapshotId> {
        let snapshot = self.by_id.get_mut(&id)?;
        snapshot.readers.insert(reader, Waiting { next: snapshot.first, asked: None });
        snapshot.at_front += 1;
        self.by_reader.insert(reader, id);
        Some(id)
    }

    fn begin(&mut self, shape: &Shape, sight: &Sight) -> Option<SnapshotId> {
        if self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let id = SnapshotId(self.next);
        self.next += 1;
        self.by_id.insert(id, Snapshot::new(shape, SnapshotRequest::new(shape.topic(), sight, &self.routes, id)));
        self.waiting.push_back(id);
        self.open_next();
        Some(id)
    }

    fn open_next(&mut self) {
        while self.open < OPEN_MAX
            && let Some(id) = self.waiting.pop_front()
        {
            let Some(snapshot) = self.by_id.get_mut(&id) else { continue };
            snapshot.open = true;
            self.open += 1;
            self.commands.extend(snapshot.request.take().map(SnapshotCommand::Begin));
        }
    }

    /// The part that a reader has asked for, if it is there. Who has all of them is no longer a reader of the snapshot.
    fn answer(&mut self, id: SnapshotId, reader: Reader) -> Option<Answer> {
        let snapshot = self.by_id.get_mut(&id)?;
        let waiting = snapshot.readers.get_mut(&reader)?;
        let publication = Arc::clone(snapshot.parts.get(usize::try_from(waiting.next - snapshot.first).ok()?)?);
        let number = waiting.asked.take()?;
        snapshot.at_front -= usize::from(waiting.next == snapshot.first);
        waiting.next += 1;
        let has_all = usize::try_from(waiting.next - snapshot.first).is_ok_and(|read| read == snapshot.parts.len());
        let outcome = match snapshot.end.clone().filter(|_| has_all) {
            Some(end) => {
                snapshot.readers.remove(&reader);
                self.by_reader.remove(&reader);
                ReadOutcome::More(end)
            }
            None => ReadOutcome::More(After::Snapshot(id)),
        };
        Some(Answer { reader, number, publications: vec![publication], outcome })
    }

    /// Lets go of the parts that everybody has, and of the snapshot when nobody reads it.
    fn settle(&mut self, id: SnapshotId) {
        let Some(snapshot) = self.by_id.get_mut(&id) else { return };
        if snapshot.readers.is_empty() {
            self.remove(id);
            return;
        }
        for _ in 0..snapshot.let_go() {
            self.commands.push(SnapshotCommand::More(id));
        }
    }

    fn remove(&mut self, id: SnapshotId) {
        self.close(id);
        let Some(snapshot) = self.by_id.remove(&id) else { return };
        for reader in snapshot.readers.keys() {
            self.by_reader.remove(reader);
        }
        if self.newest.get(&snapshot.shape) == Some(&id) {
            self.newest.remove(&snapshot.shape);
        }
    }

    /// It needs no turn any longer.
    fn close(&mut self, id: SnapshotId) {
        let Some(snapshot) = self.by_id.get_mut(&id) else { return };
        if std::mem::take(&mut snapshot.open) {
            self.open -= 1;
            self.commands.push(SnapshotCommand::End(id));
            self.open_next();
        } else {
            self.waiting.retain(|waiting| *waiting != id);
        }
    }
}

impl Snapshot {
    fn new(shape: &Shape, request: SnapshotRequest) -> Self {
        Self {
            shape: shape.id,
            topic: shape.topic().clone(),
            mark: shape.mark,
            request: Some(request),
            open: false,
            parts: VecDeque::new(),
            first: 0,
            end: None,
            failed: None,
            readers: HashMap::new(),
            at_front: 0,
            stalled: Duration::ZERO,
            held_up: Duration::ZERO,
        }
    }

    /// Its rows are all there for one who comes now, and not older than the log reaches back.
    const fn can_be_shared(&self) -> bool {
        self.first == 0 && self.end.is_none() && self.failed.is_none()
    }

    /// Makes a message of the rows: `{["cursor",] "snapshot", "part", ["more",] "updates"}`.
    fn push(&mut self, part: &SnapshotPart, cursor: Option<&Cursor>) {
        let number = u32::try_from(self.parts.len()).map_or(u32::MAX, |parts| parts.saturating_add(self.first));
        let mut out = Vec::with_capacity(part.updates.len() + ENVELOPE_SIZE_GUESS);
        out.push(b'{');
        if let Some(cursor) = cursor {
            out.extend_from_slice(b"\"cursor\":");
            cursor.write_json(&mut out);
            out.push(b',');
        }
        out.extend_from_slice(format!("\"snapshot\":true,\"part\":{number}").as_bytes());
        if cursor.is_none() {
            out.extend_from_slice(b",\"more\":true");
        }
        out.extend_from_slice(b",\"updates\":[");
        out.extend_from_slice(&part.updates);
        out.extend_from_slice(b"]}");
        let (topic, event) = (self.topic.clone(), Arc::clone(&part.event));
        let nowhere = Position::default()..Position::default();
        self.parts.push_back(Arc::new(Publication::new(self.shape, topic, event, nowhere, out.into())));
    }

    fn leave(&mut self, reader: Reader) {
        if let Some(waiting) = self.readers.remove(&reader) {
            self.at_front -= usize::from(waiting.next == self.first);
        }
    }

    /// How many parts more there may be now.
    fn let_go(&mut self) -> usize {
        let mut count = 0;
        while self.at_front == 0 && self.parts.pop_front().is_some() {
            self.first += 1;
            self.at_front = self.readers.values().filter(|waiting| waiting.next == self.first).count();
            self.stalled = Duration::ZERO;
            count += 1;
        }
        if self.end.is_some() { 0 } else { count }
    }

    /// Those who make others wait, or have not moved for very long.
    fn slow_readers(&mut self, elapsed: Duration) -> Vec<Reader> {
        if self.parts.is_empty() {
            return Vec::new();
        }
        let is_full = self.parts.len() >= LEAD_PARTS;
        if is_full && self.readers.values().any(|waiting| waiting.asked.is_some()) {
            self.held_up += elapsed;
        }
        self.stalled += elapsed;
        if self.held_up < HOLD_UP_MAX && self.stalled < STALL_MAX {
            return Vec::new();
        }
        let slow = self.readers.iter().filter(|(_, waiting)| waiting.next == self.first && waiting.asked.is_none());
        slow.map(|(reader, _)| *reader).collect()
    }
}

/// What stands around a part's rows, about.
const ENVELOPE_SIZE_GUESS: usize = 256;

#[cfg(test)]
mod tests;
