//! Subscribers that are not live: what they read next, and where that comes from.

use std::sync::Arc;
use std::time::Duration;

use crate::change::{Lsn, Visibility};

use super::awaiting::Awaiting;
use super::log::Stretch;
use super::message::{After, ReadOutcome, ToShard};
use super::snapshot::{Answer, Reader, SnapshotCommand, SnapshotEvent, SnapshotId, SnapshotPart, Snapshots};
use super::{Hub, Position, ShapeId, Splice, View};

/// How exactly slowness is measured; it is looked for whenever the log moves.
const PATIENCE_STEP: Duration = Duration::from_secs(1);

/// A reader's question, without the place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) reader: Reader,
    pub(super) number: u32,
    pub(super) shape: ShapeId,
}

/// Readers that wait for something to come.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pub(super) snapshots: Snapshots,
    /// They have the log up to its head, which has not passed their snapshot yet.
    splicing: Vec<Splicing>,
    /// They have written, and wait for that.
    pub(super) awaiting: Awaiting,
    /// When slow readers were looked for, since the process began.
    ticked: Duration,
}

#[derive(Debug)]
struct Splicing {
    question: Question,
    after: Position,
    splice: Arc<Splice>,
}

impl Readers {
    /// What the snapshot of a reader gave that waits at the log's head for the feed to pass it.
    pub(super) fn at_head(&self, reader: Reader) -> Option<&Arc<Splice>> {
        self.splicing.iter().find(|splicing| splicing.question.reader == reader).map(|splicing| &splicing.splice)
    }

    pub(super) fn drop_shape(&mut self, shape: ShapeId) {
        self.snapshots.drop_shape(shape);
        self.awaiting.drop_shape(shape);
        self.splicing.retain(|splicing| splicing.question.shape != shape);
    }
}

impl Hub {
    /// Takes what those who read a snapshot's rows say.
    pub fn snapshot(&mut self, event: SnapshotEvent) {
        let answers = match event {
            SnapshotEvent::Part { id, part } => self.readers.snapshots.push(id, &part, None),
            SnapshotEvent::Done { id, last, visibility, until } => self.finish(id, &last, visibility, until),
            SnapshotEvent::Failed { id, failure } => self.readers.snapshots.fail(id, &ReadOutcome::Failed(failure)),
        };
        self.tell_all(answers);
    }

    /// What those who read snapshots' rows are to be told since the last call, in order.
    pub fn take_snapshot_commands(&mut self) -> Vec<SnapshotCommand> {
        self.readers.snapshots.take_commands()
    }

    /// The rows are complete: what the log has beside them begins where the snapshot's view of it ends.
    fn finish(&mut self, id: SnapshotId, last: &SnapshotPart, visibility: Visibility, until: Lsn) -> Vec<Answer> {
        let snapshots = &mut self.readers.snapshots;
        let Some((log, (mark, topic))) = self.log.as_mut().zip(snapshots.subject(id)) else { return Vec::new() };
        let from = match visibility.is_all() {
            true => log.unseen_after(until),
            false => log.unseen_from(&visibility, until),
        };
        let Some(from) = from else { return snapshots.fail(id, &ReadOutcome::Lost) };
        let fingerprint = log.fingerprint(mark, topic, from);
        let alone = snapshots.is_alone(id);
        log.note_seen(&visibility, alone);
        log.give(self.now, Some(from));
        let splice = Arc::new(Splice { visibility, until, timeline: log.lineage.system.timeline });
        let cursor = log.cursor(from, Some(&splice), fingerprint);
        snapshots.push(id, last, Some((&cursor, After::Splice(from, splice))))
    }

    pub(super) fn read(&mut self, question: Question, after: After) {
        let Question { reader, number, shape } = question;
        match after {
            After::Log(position) => {
                let (publications, stretch) = self.read_log(shape, position, None);
                let outcome = match stretch {
                    Stretch::ToHead => ReadOutcome::AtHead,
                    Stretch::Full(position) => ReadOutcome::More(After::Log(position)),
                    Stretch::Lost => ReadOutcome::Lost,
                };
                self.tell_one(Answer { reader, number, publications, outcome });
            }
            After::Splice(after, splice) => {
                if let Some(waiting) = self.read_spliced(Splicing { question, after, splice }) {
                    self.readers.splicing.push(waiting);
                    self.tell(reader.shard, ToShard::Waiting { join: reader.join });
                }
            }
            After::Snapshot(id) => {
                let answer = self.readers.snapshots.read(id, reader, number);
                self.tell_all(answer);
            }
        }
    }

    /// The current rows for one who is subscribed already, in a view of their own if there is one. What comes after
    /// them, and the cursor behind them, is the subscription's.
    pub(super) fn fetch(&mut self, question: Question, view: Option<&View>) {
        let Question { reader, number, shape } = question;
        self.forget_reader(reader);
        let snapshots = &mut self.readers.snapshots;
        let outcome = match (self.shapes.get(&shape), view) {
            (Some(shape), Some(view)) => snapshots.join_alone(shape, &shape.sight().viewed(view), reader),
            (Some(shape), None) => snapshots.join(shape, reader),
            (None, _) => None,
        };
        let outcome = outcome.map_or(ReadOutcome::Lost, |id| ReadOutcome::More(After::Snapshot(id)));
        self.tell_one(Answer { reader, number, publications: Vec::new(), outcome });
    }

    /// The snapshot that a shape's subscriber reads; none where too many wait.
    pub(super) fn join_snapshot(&mut self, shape: ShapeId, reader: Reader) -> Option<SnapshotId> {
        let shape = self.shapes.get(&shape)?;
        self.readers.snapshots.join(shape, reader)
    }

    /// The log after a snapshot, without what that saw. Who is at the head before all of it came is not answered, and
    /// waits there.
    fn read_spliced(&mut self, splicing: Splicing) -> Option<Splicing> {
        let Splicing { question, after, splice } = splicing;
        let (publications, stretch) = self.read_log(question.shape, after, Some(&splice));
        let head = self.log.as_ref().map_or(after, |log| log.head);
        let outcome = match stretch {
            Stretch::Lost => ReadOutcome::Lost,
            Stretch::Full(position) => ReadOutcome::More(After::Splice(position, splice)),
            Stretch::ToHead if splice.is_over(head) => ReadOutcome::AtHead,
            Stretch::ToHead if publications.is_empty() => {
                return Some(Splicing { question, after: head, splice });
            }
            Stretch::ToHead => ReadOutcome::More(After::Splice(head, splice)),
        };
        self.tell_one(Answer { reader: question.reader, number: question.number, publications, outcome });
        None
    }

    /// The log has moved: who waited at its head reads on.
    pub(super) fn answer_waiting(&mut self) {
        for splicing in std::mem::take(&mut self.readers.splicing) {
            let waiting = self.read_spliced(splicing);
            self.readers.splicing.extend(waiting);
        }
    }

    /// Looks for readers that are too slow, `now` after the process began.
    pub(super) fn look_at_readers(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.readers.ticked);
        if elapsed >= PATIENCE_STEP {
            self.readers.ticked = now;
            self.readers.snapshots.tick(elapsed);
        }
    }

    /// The database goes on from another timeline, which need not have all that a snapshot saw.
    pub(super) fn abandon_snapshots(&mut self) {
        let answers = self.readers.snapshots.fail_all();
        self.tell_all(answers);
    }

    /// It is gone, or reads something else: what it has asked is not answered.
    pub(super) fn forget_reader(&mut self, reader: Reader) {
        self.readers.snapshots.leave(reader);
        self.readers.splicing.retain(|splicing| splicing.question.reader != reader);
    }

    fn read_log(
        &mut self,
        id: ShapeId,
        after: Position,
        splice: Option<&Arc<Splice>>,
    ) -> (Vec<Arc<super::Publication>>, Stretch) {
        let log = self.log.as_mut().filter(|log| splice.is_none_or(|splice| log.lineage.has(splice)));
        match log.zip(self.shapes.get_mut(&id)) {
            Some((log, shape)) => log.read(shape, after, splice, self.limits.read),
            None => (Vec::new(), Stretch::Lost),
        }
    }

    fn tell_one(&mut self, answer: Answer) {
        self.tell_all([answer]);
    }

    fn tell_all(&mut self, answers: impl IntoIterator<Item = Answer>) {
        for Answer { reader, number, publications, outcome } in answers {
            self.tell(reader.shard, ToShard::Read { join: reader.join, number, publications, outcome });
        }
    }
}
