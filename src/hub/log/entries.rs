//! The log's entries, oldest first, in blocks: none moves when there are more of them, so that a long log costs no more
//! memory than it has entries, and none of them is copied.

use std::collections::VecDeque;

use crate::hub::entry::Entry;

/// Some ten kilobytes: little where the log is short, and few allocations where it is long.
const BLOCK: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Entries {
    /// All but the first and the last have [`BLOCK`] entries, for which there is room in each.
    blocks: VecDeque<VecDeque<Entry>>,
    /// How many the first block has let go of.
    gone: usize,
    len: usize,
}

impl Entries {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// By its place, the front's being 0.
    pub(super) fn get(&self, place: usize) -> Option<&Entry> {
        let (block, within) = self.find(place);
        self.blocks.get(block)?.get(within)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Entry> {
        let (block, within) = self.find(place);
        self.blocks.get_mut(block)?.get_mut(within)
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.blocks.front()?.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.blocks.iter().flatten()
    }

    pub(super) fn push_back(&mut self, entry: Entry) {
        let (block, _) = self.find(self.len);
        if block == self.blocks.len() {
            self.blocks.push_back(VecDeque::with_capacity(BLOCK));
        }
        if let Some(block) = self.blocks.back_mut() {
            block.push_back(entry);
            self.len += 1;
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.blocks.front_mut()?.pop_front()?;
        self.len -= 1;
        self.gone += 1;
        if self.gone == BLOCK {
            self.gone = 0;
            self.blocks.pop_front();
        }
        Some(entry)
    }

    /// How many at the front `is_before` is true of, which is true of none behind them.
    pub(super) fn partition_point(&self, is_before: impl Fn(&Entry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle).is_some_and(&is_before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// A place's block, and its place there.
    const fn find(&self, place: usize) -> (usize, usize) {
        let from_first = place + self.gone;
        match from_first / BLOCK {
            0 => (0, place),
            block => (block, from_first % BLOCK),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::change::{Lsn, PgTimestamp, TransactionHeader};
    use crate::hub::Position;

    fn entry(xid: u32) -> Entry {
        let header = TransactionHeader { xid, commit_lsn: Lsn::ZERO, commit_timestamp: PgTimestamp::default() };
        Entry::new(header, Position::default()..Position::default(), true, Duration::ZERO)
    }

    proptest! {
        #[test]
        fn a_plain_queue_has_the_same_entries(steps in prop::collection::vec((any::<bool>(), 0..200_u32), 0..20)) {
            let (mut entries, mut model) = (Entries::default(), VecDeque::new());
            let mut next = 0;
            for (push, count) in steps {
                for _ in 0..count {
                    if push {
                        entries.push_back(entry(next));
                        model.push_back(next);
                        next += 1;
                    } else {
                        prop_assert_eq!(entries.pop_front().map(|it| it.header.xid), model.pop_front());
                    }
                }
                prop_assert_eq!(entries.len(), model.len());
                prop_assert!(entries.iter().map(|it| it.header.xid).eq(model.iter().copied()));
                prop_assert_eq!(entries.front().map(|it| it.header.xid), model.front().copied());
                for place in 0..=model.len() {
                    prop_assert_eq!(entries.get(place).map(|it| it.header.xid), model.get(place).copied());
                    prop_assert_eq!(entries.get_mut(place).map(|it| it.header.xid), model.get(place).copied());
                }
                let middle = next / 2;
                prop_assert_eq!(
                    entries.partition_point(|it| it.header.xid < middle),
                    model.partition_point(|xid| *xid < middle)
                );
            }
        }
    }
}
