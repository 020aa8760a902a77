//! From messages to transactions, in parts that are bounded however large the transaction is.
//!
//! The [`Assembler`] knows what a session has said so far: the relations, the types that they are made of, the
//! transaction that is open. It is handed messages and the answers to its questions about types, and hands on
//! [`TransactionPart`]s. It knows neither sockets nor time, nor what becomes of a part.
//!
//! Where a transaction is cut depends on nothing but its changes as Postgres sent them, so that a transaction that is
//! sent again after a reconnect is cut at the same places and its changes have the same ordinals. A part is cut off
//! only when a further change arrives: the last part of a transaction with changes is never empty.
#![deny(clippy::indexing_slicing)]

mod open;
mod relations;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::change::catalogue::TypeDefinition;
use crate::change::{BROADCAST_PREFIX, Lsn, Oid, Operation, PgTimestamp, Relation, RelationId, TransactionPart};
use crate::replication::pgoutput::{Begin, Commit, LogicalMessage, Message, Truncate};

use open::OpenTransaction;
use relations::Relations;

/// When a part is full: by whichever is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// Changes in a part; 0 counts as 1. A truncate is not divided, and may take a part past this by as many tables
    /// as it names.
    pub changes: usize,
    /// Bytes of old and new rows; the change that reaches this is still in the part.
    pub bytes: usize,
}

impl PartLimits {
    /// What people and forms do to a database commits far fewer and arrives whole; of a bulk load this many are a
    /// message that a browser takes in without a stutter.
    pub const CHANGES: usize = 1000;
    /// About as much as [`PartLimits::CHANGES`] rows of half a kilobyte. It bounds what is held of an open
    /// transaction, and as JSON stays below the message sizes that proxies and clients commonly refuse.
    pub const BYTES: usize = 512 * 1024;
}

impl Default for PartLimits {
    fn default() -> Self {
        Self { changes: Self::CHANGES, bytes: Self::BYTES }
    }
}

/// What came of a message.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Assembled {
    /// Nothing to hand on yet.
    Nothing,
    Part(TransactionPart),
    /// A relation was described that is made of these types: look them up, and [`Assembler::define_types`] before the
    /// next message.
    NeedsTypes(Vec<Oid>),
    /// From `pg_logical_emit_message`, ahead of its transaction's changes if it is transactional. It has no ordinal:
    /// after a reconnect it can come a second time. Transactional broadcasts have one, and come in their part.
    Message(LogicalMessage),
}

/// A stream that pgoutput can't have sent, or an answer that was not asked for. What was collected is not to be
/// trusted: reconnect, and [`Assembler::restart`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    #[error("{message} message for relation {relation}, which this session has not described")]
    UnknownRelation { message: &'static str, relation: RelationId },
    #[error("row with {found} columns for {relation}, which has {expected}")]
    ColumnCount { relation: String, expected: usize, found: usize },
    #[error("{message} message outside a transaction")]
    OutsideTransaction { message: &'static str },
    #[error("transaction {begun} begins inside transaction {open}")]
    BeginInTransaction { open: Lsn, begun: Lsn },
    #[error("transaction {begun} comes after transaction {previous}, which committed later")]
    OutOfOrder { previous: Lsn, begun: Lsn },
    #[error("transaction {open} ends with the commit of {committed}")]
    CommitMismatch { open: Lsn, committed: Lsn },
    #[error("{message} message while the types of {relation} are being looked up")]
    TypesAwaited { message: &'static str, relation: String },
    #[error("type definitions that no relation waits for")]
    NoTypesAwaited,
    #[error("type {oid} of {relation} is still unknown after its look-up")]
    UnresolvedType { oid: Oid, relation: String },
}

/// Puts the messages of one session after another together.
#[derive(Debug)]
pub struct Assembler {
    limits: PartLimits,
    relations: Relations,
    open: Option<OpenTransaction>,
    /// The last transaction that was complete in this session.
    last_commit: Option<Lsn>,
    position: Option<(Lsn, u64)>,
}

impl Assembler {
    #[must_use]
    pub fn new(limits: PartLimits) -> Self {
        Self { limits, relations: Relations::default(), open: None, last_commit: None, position: None }
    }

    /// A new session begins: Postgres describes the relations again, and sends transactions again from their start.
    ///
    /// Changes up to `after`, a commit LSN and an ordinal, have been handed on already and are dropped; they are still
    /// counted. A transaction of which every change is dropped is dropped whole, its end included.
    pub fn restart(&mut self, after: Option<(Lsn, u64)>) {
        *self = Self { position: after, ..Self::new(self.limits) };
    }

    /// Takes the next message of the session.
    ///
    /// # Errors
    /// The message can't follow those before it.
    pub fn accept(&mut self, message: Message) -> Result<Assembled, AssembleError> {
        let name = message.name();
        if let Some(relation) = self.relations.awaiting() {
            return Err(AssembleError::TypesAwaited { message: name, relation: relation.to_owned() });
        }
        match message {
            Message::Insert(insert) => self.change(name, insert.relation, Operation::Insert { new: insert.new }),
            Message::Update(update) => {
                self.change(name, update.relation, Operation::Update { old: update.old, new: update.new })
            }
            Message::Delete(delete) => self.change(name, delete.relation, Operation::Delete { old: delete.old }),
            Message::Truncate(truncate) => self.truncate(name, &truncate),
            Message::Begin(begin) => self.begin(&begin),
            Message::Commit(commit) => self.commit(name, &commit),
            Message::Relation(relation) => self.relations.describe(relation).map(needs_types),
            Message::Logical(message) => self.logical(name, message),
            // Which server a change was first made on makes no difference to who sees it.
            Message::Origin(_) => self.open_mut(name).map(|_open| Assembled::Nothing),
            // The relation that follows has the OID, and the look-up tells more than the name.
            Message::Type(_) => Ok(Assembled::Nothing),
        }
    }

    /// Takes the answer to [`Assembled::NeedsTypes`], which may lead to the next question: what is made of a type is
    /// known only with its definition. An OID that was asked for and is not among the definitions counts as dropped
    /// since; values of that type are written as text.
    ///
    /// # Errors
    /// Nothing was asked.
    pub fn define_types(&mut self, definitions: Vec<TypeDefinition>) -> Result<Assembled, AssembleError> {
        self.relations.define_types(definitions).map(needs_types)
    }

    /// Between a begin and its commit: nothing past the last end LSN may be acknowledged.
    #[must_use]
    pub const fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// When the transaction was committed that is open, by the server's clock.
    #[must_use]
    pub fn committed_at(&self) -> Option<PgTimestamp> {
        self.open.as_ref().map(OpenTransaction::committed_at)
    }

    /// The last change handed on, as a commit LSN and an ordinal; 0 for a transaction without changes. What
    /// [`Assembler::restart`] takes.
    #[must_use]
    pub const fn position(&self) -> Option<(Lsn, u64)> {
        self.position
    }

    fn begin(&mut self, begin: &Begin) -> Result<Assembled, AssembleError> {
        let begun = begin.commit_lsn;
        if let Some(open) = &self.open {
            return Err(AssembleError::BeginInTransaction { open: open.commit_lsn(), begun });
        }
        if let Some(previous) = self.last_commit.filter(|previous| *previous >= begun) {
            return Err(AssembleError::OutOfOrder { previous, begun });
        }
        self.open = Some(OpenTransaction::begin(begin, self.position));
        Ok(Assembled::Nothing)
    }

    fn commit(&mut self, name: &'static str, commit: &Commit) -> Result<Assembled, AssembleError> {
        let open = self.open.take().ok_or(AssembleError::OutsideTransaction { message: name })?;
        if open.commit_lsn() != commit.commit_lsn {
            return Err(AssembleError::CommitMismatch { open: open.commit_lsn(), committed: commit.commit_lsn });
        }
        self.last_commit = Some(commit.commit_lsn);
        let reached = open.position();
        Ok(self.hand_on(reached, open.finish(commit.end_lsn)))
    }

    fn change(&mut self, name: &'static str, id: RelationId, operation: Operation) -> Result<Assembled, AssembleError> {
        let relation = self.relations.get(name, id)?;
        check_columns(&relation, &operation)?;
        let limits = self.limits;
        let open = self.open_mut(name)?;
        let reached = open.position();
        let part = open.cut_if_full(limits);
        open.push(relation, operation);
        Ok(self.hand_on(reached, part))
    }

    fn truncate(&mut self, name: &'static str, truncate: &Truncate) -> Result<Assembled, AssembleError> {
        let relations = truncate.relations.iter().map(|id| self.relations.get(name, *id));
        let relations = relations.collect::<Result<Vec<_>, _>>()?;
        let limits = self.limits;
        let open = self.open_mut(name)?;
        let reached = open.position();
        // Without a relation it is no further change, and may be the transaction's last message.
        let part = if relations.is_empty() { None } else { open.cut_if_full(limits) };
        for relation in relations {
            open.push(relation, Operation::Truncate);
        }
        Ok(self.hand_on(reached, part))
    }

    fn logical(&mut self, name: &'static str, message: LogicalMessage) -> Result<Assembled, AssembleError> {
        if !message.transactional {
            return Ok(Assembled::Message(message));
        }
        let limits = self.limits;
        let open = self.open_mut(name)?;
        if *message.prefix != *BROADCAST_PREFIX {
            return Ok(if open.is_handed_on() { Assembled::Nothing } else { Assembled::Message(message) });
        }
        let reached = open.position();
        let part = open.cut_if_full(limits);
        open.announce(&message.content);
        Ok(self.hand_on(reached, part))
    }

    fn open_mut(&mut self, message: &'static str) -> Result<&mut OpenTransaction, AssembleError> {
        self.open.as_mut().ok_or(AssembleError::OutsideTransaction { message })
    }

    /// `reached` is the position with which `part` ends.
    fn hand_on(&mut self, reached: (Lsn, u64), part: Option<TransactionPart>) -> Assembled {
        match part {
            Some(part) => {
                self.position = Some(reached);
                Assembled::Part(part)
            }
            None => Assembled::Nothing,
        }
    }
}

fn needs_types(oids: Vec<Oid>) -> Assembled {
    if oids.is_empty() { Assembled::Nothing } else { Assembled::NeedsTypes(oids) }
}

/// Every row has a value for each of its relation's columns, so that nobody after this has to ask.
fn check_columns(relation: &Arc<Relation>, operation: &Operation) -> Result<(), AssembleError> {
    let (old, new) = match operation {
        Operation::Insert { new } => (None, Some(new)),
        Operation::Update { old, new } => (old.as_ref(), Some(new)),
        Operation::Delete { old } => (Some(old), None),
        Operation::Truncate => (None, None),
    };
    let expected = relation.columns.len();
    let mut lengths = old.map(|old| old.row().len()).into_iter().chain(new.map(|new| new.len()));
    match lengths.find(|found| *found != expected) {
        Some(found) => Err(AssembleError::ColumnCount { relation: relation.to_string(), expected, found }),
        None => Ok(()),
    }
}
