//! Commits that not every later snapshot of the database is known to see.
//!
//! Under synchronous replication a commit is in the write-ahead log, and decoded, before anybody sees it, however long
//! that takes. A snapshot that does not see one can only be continued from a log that has it. So the log keeps such a
//! commit over its window, and the slot over a restart; where that would be too much the slot's position says so
//! ([`Lsn::in_doubt`]), and after a restart snapshots wait until everything has ended that may be such a commit.

use std::collections::VecDeque;

use crate::change::{Lsn, TransactionHeader, Visibility};

use super::ids::Ids;

/// How many groups are told apart: the slot holds back as much more than it has to as a group spans.
const GROUPS_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// In the order of commits.
    groups: VecDeque<Group>,
    /// What comes belongs to the last group: nothing was looked at since that began.
    is_open: bool,
    /// What an earlier process let go of, which may not be seen either: its ids are below this.
    doubt: Option<u64>,
}

/// What came between two looks, as far as it is not seen.
#[derive(Debug)]
struct Group {
    /// Where the first of it committed.
    from: Lsn,
    ids: Ids,
}

impl Unseen {
    pub(super) fn new(doubt: Option<u64>) -> Self {
        Self { doubt, ..Self::default() }
    }

    /// It has come in.
    pub(super) fn add(&mut self, header: &TransactionHeader) {
        if !self.is_open {
            self.groups.push_back(Group { from: header.commit_lsn, ids: Ids::default() });
            self.is_open = true;
        }
        if let Some(group) = self.groups.back_mut() {
            group.ids.add(header.xid);
        }
    }

    /// All of this is seen from now on.
    pub(super) fn see(&mut self, visibility: &Visibility) {
        self.doubt = self.doubt.filter(|below| visibility.xmin() < *below);
        self.groups.iter_mut().for_each(|group| group.ids.forget_seen(visibility));
        self.groups.retain(|group| !group.ids.is_empty());
        self.is_open = false;
        if self.groups.len() > GROUPS_MAX
            && let (Some(latest), Some(before)) = (self.groups.pop_back(), self.groups.back_mut())
        {
            before.ids.merge(&latest.ids);
        }
    }

    /// Everything that committed before this is seen.
    pub(super) fn from(&self) -> Option<Lsn> {
        self.groups.front().map(|group| group.from)
    }

    /// An earlier process let go of something that this snapshot may not see.
    pub(super) fn is_doubtful(&self, visibility: &Visibility) -> bool {
        self.doubt.is_some_and(|below| visibility.xmin() < below)
    }

    pub(super) const fn has_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Adds all of it to a set.
    pub(super) fn add_to(&self, ids: &mut Ids) {
        self.groups.iter().for_each(|group| ids.merge(&group.ids));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::PgTimestamp;

    fn header(xid: u32) -> TransactionHeader {
        TransactionHeader { xid, commit_lsn: Lsn::new(u64::from(xid) * 8), commit_timestamp: PgTimestamp::default() }
    }

    #[test]
    fn waits_for_the_oldest_that_is_not_seen() {
        let mut unseen = Unseen::default();
        assert_eq!(unseen.from(), None);
        unseen.add(&header(5));
        unseen.add(&header(4));
        unseen.see(&Visibility::new(4, []));
        unseen.add(&header(7));
        assert_eq!(unseen.from(), Some(Lsn::new(40)));
        unseen.see(&Visibility::new(6, []));
        assert_eq!(unseen.from(), Some(Lsn::new(56)));
        unseen.see(&Visibility::new(9, [7]));
        assert_eq!(unseen.from(), Some(Lsn::new(56)));
        unseen.see(&Visibility::new(9, [8]));
        assert_eq!(unseen.from(), None);
    }

    #[test]
    fn groups_are_few_and_nothing_is_forgotten() {
        let mut unseen = Unseen::default();
        for xid in 1..100 {
            unseen.add(&header(xid));
            unseen.see(&Visibility::new(u64::from(xid) + 1, 1..=u64::from(xid)));
            assert!(unseen.groups.len() <= GROUPS_MAX);
        }
        unseen.see(&Visibility::new(200, [99]));
        assert!(unseen.from().is_some_and(|from| from <= Lsn::new(99 * 8)));
        let mut ids = Ids::default();
        unseen.add_to(&mut ids);
        assert!(!ids.all_seen(&Visibility::new(200, [99])));
        unseen.see(&Visibility::new(200, []));
        assert_eq!(unseen.from(), None);
    }

    #[test]
    fn a_doubt_ends_with_what_was_in_progress() {
        let mut unseen = Unseen::new(Some(10));
        for (visibility, doubtful) in
            [(Visibility::new(10, [9]), true), (Visibility::new(9, []), true), (Visibility::new(12, [10]), false)]
        {
            assert_eq!(unseen.is_doubtful(&visibility), doubtful);
            unseen.see(&visibility);
            assert_eq!(unseen.has_doubt(), doubtful);
        }
    }
}
