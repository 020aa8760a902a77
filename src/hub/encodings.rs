//! Encoded messages that the log keeps for those who catch up next, and what they cost.

use std::collections::BTreeMap;

use super::publication::{DEFLATED, ENCODINGS};
use super::topics::BatchRef;
use super::{LogLimits, Publication};

/// The part of the log's memory that encodings have for themselves, so that thousands who come back to a full log are
/// not sent what is encoded for each of them. What is more goes before any transaction does.
const SHARE: usize = 8;
/// What a serializer puts around a payload, and what a frame's own allocation costs, about.
const FRAME_OVERHEAD: usize = 384;

/// Which batches have one, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Encodings {
    by_age: BTreeMap<u64, (BatchRef, usize)>,
    next: u64,
    size: usize,
}

/// What transactions may take of the log's memory.
pub(super) const fn entries_max(limits: &LogLimits) -> usize {
    limits.memory - limits.memory / SHARE
}

impl Encodings {
    /// Bytes of memory, about.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// A batch's encoding is kept from now on: by this number it is known.
    pub(super) fn keep(&mut self, at: BatchRef, publication: &Publication) -> u64 {
        let age = self.next;
        self.next += 1;
        let size = size(publication);
        self.by_age.insert(age, (at, size));
        self.size += size;
        age
    }

    pub(super) fn forget(&mut self, age: u64) {
        if let Some((_, size)) = self.by_age.remove(&age) {
            self.size -= size;
        }
    }

    /// The batch whose encoding has to go next where no more than `most` bytes may be kept.
    pub(super) fn pop_over(&mut self, most: usize) -> Option<BatchRef> {
        if self.size <= most {
            return None;
        }
        let (_, (at, size)) = self.by_age.pop_first()?;
        self.size -= size;
        Some(at)
    }
}

/// With the frames that shards make of it, each a copy of its payload, or together one more where they are deflated.
fn size(publication: &Publication) -> usize {
    let copies = 1 + ENCODINGS - DEFLATED + 1;
    size_of::<Publication>() + publication.payload.len() * copies + FRAME_OVERHEAD * ENCODINGS
}
