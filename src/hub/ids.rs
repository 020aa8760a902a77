//! Sets of transaction ids that are asked which of them a snapshot of the database does not see.

use std::collections::VecDeque;

use crate::change::{NumberMap, Visibility};

/// Transaction ids in a chunk: a bitmap of 8 KiB.
const CHUNK_IDS: u32 = 1 << 16;
const CHUNK_WORDS: usize = (CHUNK_IDS / u64::BITS) as usize;
/// 32 million ids in 4 MiB: nine hours at a thousand transactions a second. What is older is known by its bounds
/// only, which matters to nobody but a snapshot under which a transaction is in progress that began before that.
const CHUNKS_MAX: usize = 512;

/// A set of ids, bounded: of the oldest it may come to know no more than between which bounds they are.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// By the upper half of the id.
    chunks: NumberMap<u16, Box<[u64; CHUNK_WORDS]>>,
    /// The oldest first.
    order: VecDeque<u16>,
    /// Chunks that were given up: every id of them may be in the set.
    forgotten: Option<u16>,
}

impl Ids {
    pub(super) fn add(&mut self, xid: u32) {
        let (number, word, bit) = place(xid);
        if let Some(word) = self.chunk(number).get_mut(word) {
            *word |= bit;
        }
    }

    fn chunk(&mut self, number: u16) -> &mut [u64; CHUNK_WORDS] {
        if !self.chunks.contains_key(&number) {
            self.order.push_back(number);
            if self.order.len() > CHUNKS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.chunks.remove(&oldest);
                self.forgotten = Some(oldest);
            }
        }
        self.chunks.entry(number).or_insert_with(|| Box::new([0; CHUNK_WORDS]))
    }

    /// Whether every one is seen.
    pub(super) fn all_seen(&self, visibility: &Visibility) -> bool {
        let seen = |(number, chunk): (&u16, &Box<_>)| {
            sees_all_up_to(visibility, *number) || unseen(visibility, *number, chunk).next().is_none()
        };
        self.forgotten.is_none_or(|forgotten| sees_all_up_to(visibility, forgotten)) && self.chunks.iter().all(seen)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.forgotten.is_none()
    }

    /// Takes in those of another set.
    pub(super) fn merge(&mut self, other: &Self) {
        self.forgotten = self.forgotten.max(other.forgotten);
        for number in &other.order {
            let Some(words) = other.chunks.get(number) else { continue };
            let own = self.chunk(*number);
            own.iter_mut().zip(words.iter()).for_each(|(own, word)| *own |= word);
        }
    }

    /// Lets go of what is seen. For when no older snapshot will be asked about: later ones see it, too.
    pub(super) fn forget_seen(&mut self, visibility: &Visibility) {
        self.forgotten = self.forgotten.filter(|forgotten| !sees_all_up_to(visibility, *forgotten));
        let seen = |number: &u16, chunk: &[u64; CHUNK_WORDS]| {
            sees_all_up_to(visibility, *number) || unseen(visibility, *number, chunk).next().is_none()
        };
        self.chunks.retain(|number, chunk| !seen(number, chunk));
        self.order.retain(|number| self.chunks.contains_key(number));
    }
}

fn place(xid: u32) -> (u16, usize, u64) {
    let [a, b, c, d] = xid.to_be_bytes();
    let within = u16::from_be_bytes([c, d]);
    (u16::from_be_bytes([a, b]), usize::from(within) / 64, 1 << (within % 64))
}

/// The ids in a chunk that are not seen.
fn unseen<'a>(
    visibility: &'a Visibility,
    number: u16,
    chunk: &'a [u64; CHUNK_WORDS],
) -> impl Iterator<Item = u32> + use<'a> {
    let first = u32::from(number) << 16;
    let words = chunk.iter().zip((first..=u32::MAX).step_by(64)).filter(|(word, _)| **word != 0);
    let ids = words.flat_map(|(word, xid)| (0..64).filter(|bit| *word & (1 << *bit) != 0).map(move |bit| xid | bit));
    ids.filter(|xid| !visibility.sees(*xid))
}

/// No id up to the chunk's last is invisible, however old.
fn sees_all_up_to(visibility: &Visibility, chunk: u16) -> bool {
    let last = visibility.widen(u32::from(chunk) << 16 | 0xFFFF);
    last < visibility.xmax() && visibility.in_progress().first().is_none_or(|oldest| *oldest > last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: u64 = 3 << 32;

    #[test]
    fn finds_the_one_that_is_not_seen() {
        let mut evicted = Ids::default();
        assert!(evicted.all_seen(&Visibility::new(EPOCH, [])));
        for xid in [u32::MAX, 0, 1, 70_000] {
            evicted.add(xid);
        }
        assert!(!evicted.all_seen(&Visibility::new(EPOCH + 70_000, [])));
        assert!(evicted.all_seen(&Visibility::new(EPOCH + 70_001, [])));
        evicted.forget_seen(&Visibility::new(EPOCH + 1, []));
        assert!(!evicted.all_seen(&Visibility::new(EPOCH + 1, [])));
        evicted.forget_seen(&Visibility::new(EPOCH + 70_001, []));
        assert!(evicted.order.is_empty() && evicted.chunks.is_empty());
        evicted.add(9);
        assert!(!evicted.all_seen(&Visibility::new(EPOCH + 10, [EPOCH + 9])));
        assert!(evicted.all_seen(&Visibility::new(EPOCH + 10, [EPOCH + 8])));
    }

    #[test]
    fn what_is_too_much_to_remember_is_taken_for_evicted() {
        let mut evicted = Ids::default();
        let chunks = u32::try_from(CHUNKS_MAX).unwrap() + 10;
        for chunk in 0..chunks {
            evicted.add(chunk * CHUNK_IDS + 5);
        }
        assert_eq!(evicted.chunks.len(), CHUNKS_MAX);
        let xmax = EPOCH + u64::from(chunks * CHUNK_IDS);
        // In progress since before all that: it may be one of them.
        assert!(!evicted.all_seen(&Visibility::new(xmax, [EPOCH + 6])));
        // Younger than what was forgotten, and not among what is remembered.
        assert!(evicted.all_seen(&Visibility::new(xmax, [EPOCH + u64::from(20 * CHUNK_IDS)])));
    }
}
