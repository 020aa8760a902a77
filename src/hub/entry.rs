//! One transaction, or a part of a large one, as the log keeps it.

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::change::json::{MalformedValue, write_timestamp, write_unsigned};
use crate::change::{Change, OldRow, Operation, Relation, Row, TransactionHeader};
use crate::routing::{RouteId, Sources};

use super::judge::Seen;
use super::said::Said;
use super::shape::Shape;
use super::table::Table;
use super::topics::{BatchRef, TopicSlot};
use super::{Cursor, Position, Publication};

/// What an entry costs when it is empty: itself, and its buffer's bookkeeping.
const ENTRY_OVERHEAD: usize = size_of::<Entry>() + 64;
/// What a batch costs beside its deliveries: itself, and its reference in the index.
pub(super) const BATCH_OVERHEAD: usize = size_of::<Batch>() + size_of::<BatchRef>();

/// A change that some topic gets.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) change: Change,
    pub(super) table: Arc<Table>,
}

/// One change as one topic sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    /// Its place in [`Entry::changes`].
    pub(super) change: usize,
    /// The routes that have the row in the topic before it, and after it: at least one side has one.
    pub(super) before: Sources,
    pub(super) after: Sources,
}

impl Delivery {
    /// A truncate, which is nobody's row.
    pub(super) const fn of_truncate(change: usize, route: RouteId) -> Self {
        Self { change, before: Sources::open(route), after: Sources::open(route) }
    }
}

/// What one topic gets of an entry, in one message.
#[derive(Debug)]
pub(super) struct Batch {
    /// The topic's, which is known as long as the log has this.
    pub(super) slot: TopicSlot,
    pub(super) event: Arc<str>,
    /// Counts the topic's messages of this transaction, from 0.
    pub(super) part: u32,
    /// Another message of this transaction follows.
    pub(super) more: bool,
    /// A reader at `start` lacks this message; at `end` it has it.
    pub(super) span: Range<Position>,
    pub(super) deliveries: Deliveries,
    /// It has no deliveries, because it is this.
    pub(super) said: Option<Box<Said>>,
    /// Kept when somebody catches up, since others are likely to.
    pub(super) publication: Option<Kept>,
}

/// A batch's deliveries, in the order of its entry's changes. Most are one, which lies in the batch itself.
#[derive(Debug)]
pub(super) enum Deliveries {
    One(Delivery),
    Any(Vec<Delivery>),
}

impl Deliveries {
    pub(super) fn push(&mut self, delivery: Delivery) {
        match self {
            Self::One(first) => *self = Self::Any(vec![*first, delivery]),
            Self::Any(deliveries) if deliveries.is_empty() => *self = Self::One(delivery),
            Self::Any(deliveries) => deliveries.push(delivery),
        }
    }

    fn shrink_to_fit(&mut self) {
        if let Self::Any(deliveries) = self {
            deliveries.shrink_to_fit();
        }
    }

    /// Bytes of memory beside the batch's own.
    fn size(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Any(deliveries) => deliveries.len() * size_of::<Delivery>(),
        }
    }
}

impl Default for Deliveries {
    fn default() -> Self {
        Self::Any(Vec::new())
    }
}

impl Deref for Deliveries {
    type Target = [Delivery];

    fn deref(&self) -> &[Delivery] {
        match self {
            Self::One(delivery) => std::slice::from_ref(delivery),
            Self::Any(deliveries) => deliveries,
        }
    }
}

impl FromIterator<Delivery> for Deliveries {
    fn from_iter<I: IntoIterator<Item = Delivery>>(deliveries: I) -> Self {
        let mut all = Self::default();
        deliveries.into_iter().for_each(|delivery| all.push(delivery));
        all
    }
}

/// A batch's encoding, with the number by which [`super::encodings`] knows it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) publication: Arc<Publication>,
    pub(super) age: u64,
}

impl Batch {
    /// One of several messages of its transaction.
    pub(super) const fn is_part(&self) -> bool {
        self.part > 0 || self.more
    }

    /// The batch without what a reader at `ordinal` has.
    pub(super) fn after(&self, ordinal: u64, changes: &[Logged]) -> Self {
        let is_new =
            |delivery: &&Delivery| changes.get(delivery.change).is_some_and(|logged| logged.change.ordinal > ordinal);
        Self {
            slot: self.slot,
            event: Arc::clone(&self.event),
            part: self.part,
            more: self.more,
            span: self.span.clone(),
            deliveries: self.deliveries.iter().filter(is_new).copied().collect(),
            said: self.said.clone(),
            publication: None,
        }
    }
}

/// A value that Postgres sent and that its type does not write.
#[derive(Debug, Clone)]
pub struct Malformed {
    pub relation: Arc<Relation>,
    pub value: MalformedValue,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) header: TransactionHeader,
    pub(super) changes: Vec<Logged>,
    pub(super) batches: Vec<Batch>,
    /// A reader at `start` lacks the entry; at `end` it has it.
    pub(super) span: Range<Position>,
    /// The transaction ends with this entry.
    pub(super) last: bool,
    /// Since the process began.
    pub(super) arrived: Duration,
    /// Bytes of memory, about.
    pub(super) size: usize,
}

impl Entry {
    pub(super) const fn new(header: TransactionHeader, span: Range<Position>, last: bool, arrived: Duration) -> Self {
        Self { header, changes: Vec::new(), batches: Vec::new(), span, last, arrived, size: ENTRY_OVERHEAD }
    }

    /// Makes it as small as it can be, and counts what it takes. Rows move into one buffer of the entry's own: a slice
    /// of the replication connection's read buffer would hold all of that buffer, however little of it the log keeps.
    pub(super) fn settle(&mut self) {
        self.changes.shrink_to_fit();
        self.batches.shrink_to_fit();
        self.batches.iter_mut().for_each(|batch| batch.deliveries.shrink_to_fit());
        let rows = || self.changes.iter().flat_map(|logged| rows(&logged.change.operation));
        let total: usize = rows().map(Row::size).sum();
        let mut arena = BytesMut::with_capacity(total);
        rows().for_each(|row| arena.extend_from_slice(row.data()));
        let mut arena = arena.freeze();
        for logged in &mut self.changes {
            move_rows(&mut logged.change.operation, &mut arena);
        }
        let deliveries: usize = self.batches.iter().map(|batch| batch.deliveries.size()).sum();
        self.size += self
            .batches
            .iter()
            .filter_map(|batch| batch.said.as_ref())
            .map(|said| size_of::<Said>() + said.size())
            .sum::<usize>();
        self.size += total + self.changes.len() * size_of::<Logged>();
        self.size += self.batches.len() * BATCH_OVERHEAD + deliveries;
    }

    /// Appends a message's payload, of what a shape is shown of a batch:
    /// `{"cursor", "commit_timestamp", "xid", ["part", "more",] "updates"}`.
    ///
    /// A value that its type does not write is named in `omitted`, and returned for the operator.
    pub(super) fn encode(
        &self,
        batch: &Batch,
        seen: &[Seen],
        shape: &mut Shape,
        cursor: &Cursor,
        out: &mut Vec<u8>,
    ) -> Vec<Malformed> {
        let mut malformed = Vec::new();
        out.extend_from_slice(b"{\"cursor\":");
        cursor.write_json(out);
        out.extend_from_slice(b",\"commit_timestamp\":");
        write_timestamp(out, self.header.commit_timestamp);
        out.extend_from_slice(b",\"xid\":");
        write_unsigned(out, self.header.xid);
        if batch.is_part() {
            out.extend_from_slice(b",\"part\":");
            write_unsigned(out, batch.part);
        }
        if batch.more {
            out.extend_from_slice(b",\"more\":true");
        }
        out.extend_from_slice(b",\"updates\":[");
        let before_updates = out.len();
        for seen in seen {
            if out.len() > before_updates {
                out.push(b',');
            }
            self.encode_update(out, shape, *seen, &mut malformed);
        }
        out.extend_from_slice(b"]}");
        malformed
    }

    fn encode_update(&self, out: &mut Vec<u8>, shape: &mut Shape, seen: Seen, malformed: &mut Vec<Malformed>) {
        let logged = self.changes.get(seen.change);
        let encoders = logged.and_then(|logged| Some((logged, shape.encoders(&logged.table, seen)?)));
        debug_assert!(encoders.is_some(), "what is seen is a change and a route of its own entry");
        if let Some((logged, (before, after))) = encoders {
            let values = after.encode_between(out, &logged.change.operation, seen.shown, before);
            let relation = || Arc::clone(&logged.table.relation);
            malformed.extend(values.into_iter().map(|value| Malformed { relation: relation(), value }));
        }
    }
}

fn rows(operation: &Operation) -> impl Iterator<Item = &Row> {
    let (old, new) = match operation {
        Operation::Insert { new } => (None, Some(new)),
        Operation::Update { old, new } => (old.as_ref().map(OldRow::row), Some(new)),
        Operation::Delete { old } => (Some(old.row()), None),
        Operation::Truncate => (None, None),
    };
    old.into_iter().chain(new)
}

/// Takes each row's bytes off the front of `arena`, in the order of [`rows`].
fn move_rows(operation: &mut Operation, arena: &mut Bytes) {
    let mut take = |row: &Row| row.with_data(arena.split_to(row.size()));
    let mut take_old = |old: &OldRow| match old {
        OldRow::Key(row) => OldRow::Key(take(row)),
        OldRow::Full(row) => OldRow::Full(take(row)),
    };
    match operation {
        Operation::Insert { new } => *new = take(new),
        Operation::Update { old, new } => {
            *old = old.as_ref().map(take_old);
            *new = new.with_data(arena.split_to(new.size()));
        }
        Operation::Delete { old } => *old = take_old(old),
        Operation::Truncate => {}
    }
}
