//! Labels that enums don't have, in clients' filters and claims: Postgres raises an error for them.
//!
//! A label can be added while clients are there, and the feed doesn't tell. The catalogue is looked at every few
//! seconds; a join that names a label which was not there the last time waits until it has been looked at again, and is
//! refused only for what is not there then.

use std::sync::Arc;
use std::time::Duration;

use crate::change::EnumLabels;

use super::snapshot::Reader;
use super::{Hub, JoinToken, Refusal, ShapeId, ShardId, Subscribe, ToShard, View};

/// A look may have begun before the question came. The one after it has not.
const LOOKS: u64 = 2;
/// Phoenix' clients give up a join after ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);
/// So many wait at a time; others are told to ask again.
const WAITING_MAX: usize = 1024;

/// What is known of labels, and who waits for more.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) known: Arc<EnumLabels>,
    /// How often they were looked at.
    looks: u64,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    question: Question,
    asked: Asked,
}

/// When something was asked first.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// How many looks there had been.
    looks: u64,
    until: Duration,
}

/// What can be about labels.
#[derive(Debug)]
enum Question {
    Join { reader: Reader, request: Box<Subscribe> },
    View { reader: Reader, shape: ShapeId, number: u32, view: Box<View> },
}

/// Why there is nothing to see.
#[derive(Debug)]
pub(super) enum Denied {
    Refused(Refusal),
    /// It names a label that the enum did not have when it was last looked at.
    Label(Refusal),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Hub {
    /// Answers a join, or lets it wait.
    pub(super) fn join(&mut self, shard: ShardId, join: JoinToken, request: Box<Subscribe>) {
        let question = Question::Join { reader: Reader { shard, join }, request };
        self.ask(Waiting { question, asked: self.asked_now() });
    }

    /// Answers whether rows can be fetched in a view, or lets that wait.
    pub(super) fn judge(&mut self, reader: Reader, shape: ShapeId, number: u32, view: Box<View>) {
        let question = Question::View { reader, shape, number, view };
        self.ask(Waiting { question, asked: self.asked_now() });
    }

    /// The catalogue was looked at.
    pub(super) fn labels(&mut self, known: EnumLabels) {
        self.labels.known = Arc::new(known);
        self.labels.looks += 1;
        std::mem::take(&mut self.labels.waiting).into_iter().for_each(|waiting| self.ask(waiting));
    }

    /// Who has waited for too long is told so.
    pub(super) fn give_up_on_labels(&mut self) {
        let now = self.now();
        let late: Vec<Waiting> = self.labels.waiting.extract_if(.., |waiting| waiting.asked.until <= now).collect();
        late.into_iter().for_each(|Waiting { question, .. }| self.refuse(&question, Refusal::NotReady));
    }

    fn asked_now(&self) -> Asked {
        Asked { looks: self.labels.looks, until: self.now() + PATIENCE }
    }

    fn ask(&mut self, Waiting { question, asked }: Waiting) {
        let denied = match &question {
            Question::Join { reader, request } => {
                self.subscribe(*reader, Subscribe::clone(request)).map(|subscribed| {
                    self.tell(reader.shard, ToShard::Subscribed { join: reader.join, subscribed });
                })
            }
            Question::View { reader, shape, number, view } => self.judge_view(*shape, view).map(|()| {
                self.tell(reader.shard, ToShard::Judged { join: reader.join, number: *number, result: Ok(()) });
            }),
        };
        match denied {
            Ok(()) => {}
            Err(Denied::Label(_)) if self.labels.looks < asked.looks + LOOKS => self.wait(Waiting { question, asked }),
            Err(Denied::Refused(refusal) | Denied::Label(refusal)) => self.refuse(&question, refusal),
        }
    }

    fn wait(&mut self, waiting: Waiting) {
        if self.labels.waiting.len() < WAITING_MAX {
            self.labels.waiting.push(waiting);
        } else {
            self.refuse(&waiting.question, Refusal::NotReady);
        }
    }

    fn refuse(&mut self, question: &Question, refusal: Refusal) {
        let (reader, message) = match question {
            Question::Join { reader, .. } => (reader, ToShard::Refused { join: reader.join, refusal }),
            Question::View { reader, number, .. } => {
                (reader, ToShard::Judged { join: reader.join, number: *number, result: Err(refusal) })
            }
        };
        self.tell(reader.shard, message);
    }
}
