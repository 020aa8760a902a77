//! Subscribers who have written, and wait for their writes to come through the feed.
//!
//! Their transaction is known by its id, which the feed shows; and by a position after its commit, for one that has
//! come through long ago or that shows nobody anything. The answer goes to the shard behind everything that was
//! published before, so that a subscriber who is live then has all of it: the cursor in it leaves nothing out.

use std::collections::VecDeque;
use std::time::Duration;

use crate::change::Committed;

use super::message::ToShard;
use super::reading::Question;
use super::snapshot::Reader;
use super::{Hub, ShapeId};

/// Transactions whose ids are kept: a session tells of its own within milliseconds of the commit. Where more come in
/// that time, the position decides.
const RECENT_MAX: usize = 16 * 1024;
/// A feed that is so far behind is not waited for: the write is done, and the answer's cursor is before it. Phoenix'
/// clients give up a push after ten seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// Who waits, and what came through.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    waiting: Vec<Waiting>,
    /// The last one at the back.
    recent: VecDeque<u32>,
}

#[derive(Debug)]
struct Waiting {
    question: Question,
    write: Committed,
    passed: bool,
    /// Since the process began.
    until: Duration,
}

impl Awaiting {
    /// A transaction has come through, whole.
    pub(super) fn ended(&mut self, xid: u32) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(xid);
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.write.xid == xid) {
            waiting.passed = true;
        }
    }

    /// The feed begins anew: ids of before may be another's.
    pub(super) fn lose(&mut self) {
        self.recent.clear();
    }

    pub(super) fn drop_shape(&mut self, shape: ShapeId) {
        self.waiting.retain(|waiting| waiting.question.shape != shape);
    }

    pub(super) fn leave(&mut self, reader: Reader) {
        self.waiting.retain(|waiting| waiting.question.reader != reader);
    }
}

impl Hub {
    /// Where the feed is, once it has passed a transaction; at once where there is none to wait for.
    pub(super) fn locate(&mut self, question: Question, write: Option<Committed>) {
        match write {
            Some(write) => {
                let until = self.now() + PATIENCE;
                let Awaiting { waiting, recent } = &mut self.readers.awaiting;
                let passed = recent.iter().rev().any(|recent| *recent == write.xid);
                waiting.push(Waiting { question, write, passed, until });
                self.answer_writers();
            }
            None => self.tell_position(question),
        }
    }

    /// The feed, or time, has moved on.
    pub(super) fn answer_writers(&mut self) {
        if self.readers.awaiting.waiting.is_empty() {
            return;
        }
        let reached = self.log.as_ref().map(|log| log.reached);
        let now = self.now();
        let is_due = |waiting: &mut Waiting| {
            let after_it = waiting.write.before.zip(reached).is_some_and(|(before, reached)| reached >= before);
            waiting.passed || after_it || now >= waiting.until
        };
        let due: Vec<Waiting> = self.readers.awaiting.waiting.extract_if(.., is_due).collect();
        for waiting in due {
            self.tell_position(waiting.question);
        }
    }

    /// A shape that is gone was reset: its subscribers are told that.
    fn tell_position(&mut self, Question { reader, number, shape }: Question) {
        let Some((log, known)) = self.log.as_ref().zip(self.shapes.get(&shape)) else { return };
        // Who waits for the feed to pass its snapshot has all of the log up to the head, and does not count as live.
        let splice = self.readers.at_head(reader);
        let mut json = Vec::new();
        log.cursor_of(known, log.head, splice).write_json(&mut json);
        let cursor = String::from_utf8_lossy(&json).into_owned();
        let complete = splice.is_some();
        self.tell(reader.shard, ToShard::Position { join: reader.join, number, cursor, complete });
    }
}
