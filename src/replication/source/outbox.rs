//! What was received and the hub has yet to take.

use crate::change::{FeedEvent, Lsn};

/// Bytes of WAL messages that may wait for the hub; then the socket is no longer read, and Postgres waits. Enough for
/// the hub never to run dry between two batches, little against what the hub keeps anyway.
pub const OUTBOX_BYTES: usize = 1024 * 1024;
/// As many events: what small transactions cost is not their bytes.
pub const OUTBOX_EVENTS: usize = 4096;

/// Events for which there is room from the start: what a read of the socket brings of the smallest transactions.
const NEXT_EVENTS_MAX: usize = 512;

/// Events in order, and how far they reach. Outlives the connection that they came over.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: Vec<FeedEvent>,
    bytes: usize,
}

impl Outbox {
    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// An empty one always has: what was read and came to nothing is no reason to wait for anybody.
    pub(super) const fn has_room(&self) -> bool {
        self.is_empty() || (self.bytes < OUTBOX_BYTES && self.events.len() < OUTBOX_EVENTS)
    }

    /// Counts what was read for events, whether or not one has come of it yet.
    pub(super) const fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn push(&mut self, event: FeedEvent) {
        // Only the last of several reports says anything.
        match (&event, self.events.last_mut()) {
            (FeedEvent::Progress(_), Some(last @ FeedEvent::Progress(_)))
            | (FeedEvent::Seen(_), Some(last @ FeedEvent::Seen(_))) => *last = event,
            _ => self.events.push(event),
        }
    }

    pub(super) fn take(&mut self) -> Vec<FeedEvent> {
        self.bytes = 0;
        // While a backlog comes in, the next batch is about as large.
        let next = Vec::with_capacity(self.events.len().min(NEXT_EVENTS_MAX));
        std::mem::replace(&mut self.events, next)
    }
}

/// Everything that commits before this is complete with a batch. Positions before a loss are of other WAL.
pub(super) fn last_end(batch: &[FeedEvent]) -> Option<Lsn> {
    let same_wal = batch.iter().rev().take_while(|event| !matches!(event, FeedEvent::Lost { .. }));
    same_wal.into_iter().find_map(|event| match event {
        FeedEvent::Part(part) => part.end_lsn,
        FeedEvent::Progress(lsn) => Some(*lsn),
        FeedEvent::Broadcast(_)
        | FeedEvent::Seen(_)
        | FeedEvent::Published { .. }
        | FeedEvent::Remembered(_)
        | FeedEvent::Connected { .. }
        | FeedEvent::Lost { .. } => None,
    })
}

/// Whether a batch brings anything that was not known before it.
pub(super) fn is_new(batch: &[FeedEvent]) -> bool {
    batch.iter().any(|event| matches!(event, FeedEvent::Part(_) | FeedEvent::Broadcast(_) | FeedEvent::Progress(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{PgTimestamp, TransactionHeader, TransactionPart};

    #[test]
    fn is_bounded_in_bytes_and_events() {
        let mut outbox = Outbox::default();
        outbox.count(OUTBOX_BYTES);
        assert!(outbox.has_room());
        outbox.push(FeedEvent::Progress(Lsn::new(1)));
        assert!(!outbox.has_room());
        outbox.take();
        assert!(outbox.has_room());
        for _ in 0..OUTBOX_EVENTS {
            outbox.push(FeedEvent::Lost { reason: String::new() });
        }
        assert!(!outbox.has_room());
    }

    #[test]
    fn progress_reports_do_not_pile_up() {
        let mut outbox = Outbox::default();
        for position in 1..=3 {
            outbox.push(FeedEvent::Progress(Lsn::new(position)));
        }
        assert_eq!(outbox.take(), [FeedEvent::Progress(Lsn::new(3))]);
    }

    #[test]
    fn what_a_batch_completes_is_the_end_of_a_transaction_or_progress() {
        let header = TransactionHeader { xid: 1, commit_lsn: Lsn::new(2), commit_timestamp: PgTimestamp::default() };
        let part = |end_lsn: Option<Lsn>| {
            FeedEvent::Part(TransactionPart {
                header,
                changes: Vec::new(),
                announcements: Vec::new(),
                first: end_lsn.is_some(),
                end_lsn,
            })
        };
        let batch = [part(Some(Lsn::new(3))), part(None), FeedEvent::Progress(Lsn::new(9))];
        assert_eq!(last_end(&batch), Some(Lsn::new(9)));
        assert_eq!(last_end(batch.get(..2).unwrap_or_default()), Some(Lsn::new(3)));
        assert_eq!(last_end(&[part(Some(Lsn::new(3))), FeedEvent::Lost { reason: String::new() }]), None);
        assert!(is_new(&batch) && !is_new(&[FeedEvent::Lost { reason: String::new() }]));
    }
}
