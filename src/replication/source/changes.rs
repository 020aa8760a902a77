//! Changes of the publication that were noticed, until the feed has come past them.
//!
//! The catalogue is ahead of the feed: a hole that is told before the feed has come past what made it would be told to
//! those who are not in it yet, and not to those who are.
#![deny(clippy::indexing_slicing)]

use std::collections::VecDeque;

use crate::change::{FeedEvent, Lsn, Operation, PlacedHole, RelationId, TransactionPart};
use crate::replication::publication::{Look, Notes, Suspicion};

/// Truncates that are remembered to explain what a later look finds. One that was forgotten costs a needless reset.
const TRUNCATES_KEPT: usize = 1024;

/// The publication as it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub look: Look,
    /// What the feed may lack.
    pub suspicions: Vec<Suspicion>,
    /// None where the look saw nothing new.
    pub until: Option<Until>,
    /// Holes that a process before this one has told of.
    pub remembered: Vec<PlacedHole>,
}

/// Everything that a look saw had been committed before this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    pub position: Lsn,
    /// Something is going to be committed after it that the feed has not come past.
    pub is_followed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    look: Option<Look>,
    /// In the order in which they were noticed.
    pending: VecDeque<(Lsn, Observation)>,
    /// Which table, and by whom; the oldest first.
    truncated: VecDeque<(RelationId, u32)>,
    /// What has been told, for the process after this one.
    notes: Notes,
    is_noted: bool,
}

impl Changes {
    pub(super) const fn look(&self) -> Option<&Look> {
        self.look.as_ref()
    }

    /// The feed has come as far as `end`, and who follows it may have a position there already. So what is told waits
    /// for the next one, where there is going to be one: a hole has those before it and those behind it.
    pub(super) fn looked(&mut self, observation: Observation, end: Lsn) {
        self.look = Some(observation.look.clone());
        for placed in &observation.remembered {
            self.notes.place(placed.clone());
        }
        match observation.until {
            Some(Until { position, is_followed: true }) => {
                let next = Lsn::new(end.as_u64().saturating_add(1));
                self.pending.push_back((position.max(next), observation));
            }
            Some(Until { position, is_followed: false }) => self.pending.push_back((position, observation)),
            None if self.pending.is_empty() => self.note(&observation.look),
            None => {}
        }
    }

    pub(super) fn note_truncates(&mut self, part: &TransactionPart) {
        let truncates = part.changes.iter().filter(|change| change.operation == Operation::Truncate);
        self.truncated.extend(truncates.map(|change| (change.relation.id, part.header.xid)));
        let forgotten = self.truncated.len().saturating_sub(TRUNCATES_KEPT);
        self.truncated.drain(..forgotten);
    }

    /// The next to be told, once everything before `end` has been handed on. `ordinal`: 0 where nobody has been given
    /// the position `end`, and 1 where somebody may have.
    pub(super) fn due(&mut self, end: Lsn, ordinal: u64) -> Option<FeedEvent> {
        self.pending.front().filter(|(until, _)| *until <= end)?;
        let (_, Observation { look, suspicions, .. }) = self.pending.pop_front()?;
        let suspicions = suspicions.into_iter().filter(|suspicion| !self.is_explained(suspicion));
        let holes: Vec<_> = suspicions.map(|suspicion| suspicion.hole).collect();
        for hole in &holes {
            self.notes.place(PlacedHole { lsn: end, ordinal, hole: hole.clone() });
        }
        self.note(&look);
        Some(FeedEvent::Published { relations: look.relations, holes })
    }

    /// Nobody can resume from before this any more: holes up to there need not be known.
    pub(super) fn forget_before(&mut self, kept: Lsn) {
        self.notes.holes.retain(|placed| placed.lsn > kept);
    }

    /// What is to be noted, where that has changed since the last call.
    pub(super) fn take_notes(&mut self) -> Option<Notes> {
        std::mem::take(&mut self.is_noted).then(|| self.notes.clone())
    }

    fn note(&mut self, look: &Look) {
        self.notes.publication.clone_from(&look.publication);
        self.notes.in_flight.clone_from(&look.in_flight);
        self.is_noted = true;
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
    use crate::change::{Change, PgTimestamp, Relation, ReplicaIdentity, TableHole, TransactionHeader};

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
        let hole = TableHole { schema: "public".into(), name: "t".into(), reason: "altered".to_owned() };
        Observation {
            look: Look::default(),
            suspicions: vec![Suspicion { unless_truncated, hole, by_publication: false }],
            until: Some(Until { position: Lsn::new(until), is_followed: true }),
            remembered: Vec::new(),
        }
    }

    fn truncate(xid: u32) -> TransactionPart {
        let header = TransactionHeader { xid, commit_lsn: Lsn::new(1), commit_timestamp: PgTimestamp::default() };
        let change = Change { relation: Arc::new(relation()), operation: Operation::Truncate, ordinal: 1 };
        TransactionPart { header, changes: vec![change], announcements: Vec::new(), first: true, end_lsn: None }
    }

    fn due(changes: &mut Changes, end: u64) -> Option<usize> {
        match changes.due(Lsn::new(end), 0) {
            Some(FeedEvent::Published { holes, .. }) => Some(holes.len()),
            _ => None,
        }
    }

    #[test]
    fn a_hole_is_told_once_the_feed_has_come_past_it() {
        let mut changes = Changes::default();
        let end = Lsn::new(10);
        changes.looked(observation(20, None), end);
        changes.looked(observation(30, None), end);
        changes.looked(Observation { until: None, ..observation(0, None) }, end);
        assert_eq!(due(&mut changes, 19), None);
        assert_eq!(due(&mut changes, 20), Some(1));
        assert_eq!(due(&mut changes, 20), None);
        assert_eq!(due(&mut changes, 40), Some(1));
        assert_eq!(due(&mut changes, 40), None);
    }

    #[test]
    fn a_hole_stands_behind_every_position_that_was_given_out() {
        let mut changes = Changes::default();
        let end = Lsn::new(25);
        changes.looked(observation(20, None), end);
        assert_eq!(due(&mut changes, 25), None, "more is on its way");
        assert_eq!(due(&mut changes, 26), Some(1));
        let written_by_nobody = Until { position: Lsn::new(20), is_followed: false };
        changes.looked(Observation { until: Some(written_by_nobody), ..observation(0, None) }, end);
        assert_eq!(due(&mut changes, 25), Some(1), "nothing may come for hours");
    }

    #[test]
    fn what_was_told_is_noted_with_its_place() {
        let mut changes = Changes::default();
        let end = Lsn::new(10);
        let hole = TableHole { schema: "public".into(), name: "u".into(), reason: "before".to_owned() };
        let remembered = vec![PlacedHole { lsn: Lsn::new(5), ordinal: 1, hole }];
        changes.looked(Observation { remembered, ..observation(20, None) }, end);
        assert_eq!(changes.take_notes(), None, "a look that was not told is not noted");
        assert_eq!(due(&mut changes, 22), Some(1));
        let notes = changes.take_notes().expect("notes");
        let placed =
            |notes: &Notes| -> Vec<(u64, u64)> { notes.holes.iter().map(|it| (it.lsn.as_u64(), it.ordinal)).collect() };
        assert_eq!(placed(&notes), [(5, 1), (22, 0)]);
        assert_eq!(changes.take_notes(), None);
        // The last of a table's is enough, and what nobody can resume from needs none.
        changes.looked(observation(30, None), Lsn::new(22));
        assert_eq!(due(&mut changes, 33), Some(1));
        changes.forget_before(Lsn::new(5));
        assert_eq!(placed(&changes.take_notes().expect("notes")), [(33, 0)]);
        let text = serde_json::to_string(&notes).expect("text");
        assert_eq!(serde_json::from_str::<Notes>(&text).expect("notes"), notes);
    }

    #[test]
    fn a_truncate_that_came_explains_what_it_did() {
        let mut changes = Changes::default();
        let (table, end) = (RelationId(1), Lsn::new(10));
        changes.note_truncates(&truncate(7));
        for (xids, expected) in [(vec![7, 7], 0), (vec![7, 8], 1), (vec![9], 1)] {
            changes.looked(observation(20, Some((table, xids))), end);
            assert_eq!(due(&mut changes, 20), Some(expected));
        }
        for xid in 100..100 + u32::try_from(TRUNCATES_KEPT).unwrap() {
            changes.note_truncates(&truncate(xid));
        }
        assert_eq!(changes.truncated.len(), TRUNCATES_KEPT);
        changes.looked(observation(20, Some((table, vec![7]))), end);
        assert_eq!(due(&mut changes, 20), Some(1));
    }
}
