//! Changes of the publication that were noticed, until the feed has come past them.
//!
//! The catalogue is ahead of the feed: a hole that is told before the feed has come past what made it would be told to
//! those who are not in it yet, and not to those who are.
#![deny(clippy::indexing_slicing)]

use std::collections::VecDeque;

use crate::change::{FeedEvent, Lsn, Operation, RelationId, TransactionPart};
use crate::replication::publication::{Look, Suspicion};

/// Truncates that are remembered to explain what a later look finds. One that was forgotten costs a needless reset.
const TRUNCATES_KEPT: usize = 1024;

/// The publication as it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub look: Look,
    /// What the feed may lack.
    pub suspicions: Vec<Suspicion>,
    /// Everything that the look saw had been committed before this; none where it saw nothing new.
    pub until: Option<Lsn>,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    look: Option<Look>,
    /// In the order in which they were noticed.
    pending: VecDeque<(Lsn, Observation)>,
    /// Which table, and by whom; the oldest first.
    truncated: VecDeque<(RelationId, u32)>,
}

impl Changes {
    pub(super) const fn look(&self) -> Option<&Look> {
        self.look.as_ref()
    }

    pub(super) fn looked(&mut self, observation: Observation) {
        self.look = Some(observation.look.clone());
        if let Some(until) = observation.until {
            self.pending.push_back((until, observation));
        }
    }

    pub(super) fn note_truncates(&mut self, part: &TransactionPart) {
        let truncates = part.changes.iter().filter(|change| change.operation == Operation::Truncate);
        self.truncated.extend(truncates.map(|change| (change.relation.id, part.header.xid)));
        let forgotten = self.truncated.len().saturating_sub(TRUNCATES_KEPT);
        self.truncated.drain(..forgotten);
    }

    /// The next to be told, once everything before `end` has been handed on.
    pub(super) fn due(&mut self, end: Lsn) -> Option<FeedEvent> {
        self.pending.front().filter(|(until, _)| *until <= end)?;
        let (_, Observation { look, suspicions, .. }) = self.pending.pop_front()?;
        let holes = suspicions.into_iter().filter(|suspicion| !self.is_explained(suspicion));
        Some(FeedEvent::Published { relations: look.relations(), holes: holes.map(|it| it.hole).collect() })
    }

    fn is_explained(&self, suspicion: &Suspicion) -> bool {
        let explains =
            |(table, xids): &(RelationId, Vec<u32>)| xids.iter().all(|xid| self.truncated.contains(&(*table, *xid)));
        suspicion.unless_truncated.as_ref().is_some_and(explains)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::change::{Change, PgTimestamp, Relation, ReplicaIdentity, TransactionHeader};

    fn relation() -> Relation {
        Relation {
            id: RelationId(1),
            schema: "public".into(),
            name: "t".into(),
            replica_identity: ReplicaIdentity::Default,
            columns: Vec::new(),
        }
    }

    fn observation(until: u64, unless_truncated: Option<(RelationId, Vec<u32>)>) -> Observation {
        let suspicions = vec![Suspicion { unless_truncated, ..Suspicion::of(&relation(), "altered") }];
        Observation { look: Look::default(), suspicions, until: Some(Lsn::new(until)) }
    }

    fn truncate(xid: u32) -> TransactionPart {
        let header = TransactionHeader { xid, commit_lsn: Lsn::new(1), commit_timestamp: PgTimestamp::default() };
        let change = Change { relation: Arc::new(relation()), operation: Operation::Truncate, ordinal: 1 };
        TransactionPart { header, changes: vec![change], announcements: Vec::new(), first: true, end_lsn: None }
    }

    fn holes(event: Option<FeedEvent>) -> Option<usize> {
        match event {
            Some(FeedEvent::Published { holes, .. }) => Some(holes.len()),
            _ => None,
        }
    }

    #[test]
    fn a_hole_is_told_once_the_feed_has_come_past_it() {
        let mut changes = Changes::default();
        changes.looked(observation(20, None));
        changes.looked(observation(30, None));
        changes.looked(Observation { until: None, ..observation(0, None) });
        assert_eq!(changes.due(Lsn::new(19)), None);
        assert_eq!(holes(changes.due(Lsn::new(20))), Some(1));
        assert_eq!(changes.due(Lsn::new(20)), None);
        assert_eq!(holes(changes.due(Lsn::new(40))), Some(1));
        assert_eq!(changes.due(Lsn::new(40)), None);
    }

    #[test]
    fn a_truncate_that_came_explains_what_it_did() {
        let mut changes = Changes::default();
        changes.note_truncates(&truncate(7));
        let table = RelationId(1);
        for (xids, expected) in [(vec![7, 7], 0), (vec![7, 8], 1), (vec![9], 1)] {
            changes.looked(observation(20, Some((table, xids))));
            assert_eq!(holes(changes.due(Lsn::new(20))), Some(expected));
        }
        for xid in 100..100 + u32::try_from(TRUNCATES_KEPT).unwrap() {
            changes.note_truncates(&truncate(xid));
        }
        assert_eq!(changes.truncated.len(), TRUNCATES_KEPT);
        changes.looked(observation(20, Some((table, vec![7]))));
        assert_eq!(holes(changes.due(Lsn::new(20))), Some(1));
    }
}
