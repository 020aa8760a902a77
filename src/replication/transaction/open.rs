//! The transaction between its begin and its commit.

use std::sync::Arc;

use super::PartLimits;
use crate::change::{
    Announcement, Broadcast, Change, Lsn, Operation, PgTimestamp, Relation, TransactionHeader, TransactionPart,
};
use crate::replication::pgoutput::Begin;

#[derive(Debug)]
pub(super) struct OpenTransaction {
    header: TransactionHeader,
    /// The last change's; counts those that are dropped too, as do the part's counts.
    ordinal: u64,
    part_changes: usize,
    part_bytes: usize,
    /// Changes up to this ordinal were handed on in an earlier session. `None` where none was, nor the begin.
    handed_on: Option<u64>,
    first: bool,
    changes: Vec<Change>,
    announcements: Vec<Announcement>,
}

impl OpenTransaction {
    /// `position` is the last change handed on in earlier sessions and in this one.
    pub(super) fn begin(begin: &Begin, position: Option<(Lsn, u64)>) -> Self {
        let handed_on = position.and_then(|(commit_lsn, ordinal)| match begin.commit_lsn.cmp(&commit_lsn) {
            std::cmp::Ordering::Less => Some(u64::MAX),
            std::cmp::Ordering::Equal => Some(ordinal),
            std::cmp::Ordering::Greater => None,
        });
        let header = TransactionHeader {
            xid: begin.xid,
            commit_lsn: begin.commit_lsn,
            commit_timestamp: begin.commit_timestamp,
        };
        // A position with an ordinal is at the end of a part; 0 is that of an empty transaction.
        let first = handed_on.is_none_or(|ordinal| ordinal == 0);
        Self {
            header,
            ordinal: 0,
            part_changes: 0,
            part_bytes: 0,
            handed_on,
            first,
            changes: Vec::new(),
            announcements: Vec::new(),
        }
    }

    pub(super) const fn commit_lsn(&self) -> Lsn {
        self.header.commit_lsn
    }

    /// By the server's clock.
    pub(super) const fn committed_at(&self) -> PgTimestamp {
        self.header.commit_timestamp
    }

    /// That of the last change.
    pub(super) const fn position(&self) -> (Lsn, u64) {
        (self.header.commit_lsn, self.ordinal)
    }

    /// So far as it has come, it was handed on in an earlier session. At its end that means all of it: the last part
    /// of a transaction has its last change, so that whoever has the last change has the end too.
    pub(super) fn is_handed_on(&self) -> bool {
        self.handed_on.is_some_and(|ordinal| self.ordinal <= ordinal)
    }

    /// The part before the change that is about to be pushed, if that change is to begin a new one.
    pub(super) fn cut_if_full(&mut self, limits: PartLimits) -> Option<TransactionPart> {
        let full = self.part_changes >= limits.changes || self.part_bytes >= limits.bytes;
        if !full || self.part_changes == 0 {
            return None;
        }
        (self.part_changes, self.part_bytes) = (0, 0);
        (!self.changes.is_empty() || !self.announcements.is_empty()).then(|| self.part(None))
    }

    pub(super) fn push(&mut self, relation: Arc<Relation>, operation: Operation) {
        self.ordinal += 1;
        self.part_changes += 1;
        self.part_bytes += row_bytes(&operation);
        if !self.is_handed_on() {
            self.changes.push(Change { relation, operation, ordinal: self.ordinal });
        }
    }

    pub(super) fn announce(&mut self, content: &[u8]) {
        self.ordinal += 1;
        self.part_changes += 1;
        self.part_bytes += content.len();
        if !self.is_handed_on() {
            self.announcements.push(Announcement { ordinal: self.ordinal, broadcast: Broadcast::decode(content) });
        }
    }

    /// The last part, without changes only if the transaction has none; `None` if all of it was handed on before.
    pub(super) fn finish(mut self, end_lsn: Lsn) -> Option<TransactionPart> {
        (!self.is_handed_on()).then(|| self.part(Some(end_lsn)))
    }

    fn part(&mut self, end_lsn: Option<Lsn>) -> TransactionPart {
        let first = std::mem::replace(&mut self.first, false);
        let (changes, announcements) = (std::mem::take(&mut self.changes), std::mem::take(&mut self.announcements));
        TransactionPart { header: self.header, changes, announcements, first, end_lsn }
    }
}

pub(super) fn row_bytes(operation: &Operation) -> usize {
    match operation {
        Operation::Insert { new } => new.size(),
        Operation::Update { old, new } => old.as_ref().map_or(0, |old| old.row().size()) + new.size(),
        Operation::Delete { old } => old.row().size(),
        Operation::Truncate => 0,
    }
}
