//! What a socket has not taken yet.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::transport::limits::OUTBOX_REPLY_FACTOR;

/// An empty outbox keeps room for this many frames at most: a burst must not cost an idle connection memory for ever.
const IDLE_CAPACITY: usize = 8;

/// Frames in order, most of them shared with other connections.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// At most so many of them are no rows.
    said: usize,
    /// The socket has taken part of the front.
    begun: bool,
}

impl Outbox {
    /// An empty frame is none.
    pub(super) fn push(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// A reply, or what somebody says: such frames can't be read again from the log.
    pub(super) fn push_said(&mut self, frame: Bytes) {
        self.said += frame.len();
        self.push(frame);
    }

    /// No more may be said: too much waits, and not for the sake of rows alone.
    pub(super) const fn is_flooded(&self, limit: usize) -> bool {
        self.bytes > limit.saturating_mul(OUTBOX_REPLY_FACTOR) && self.said > limit
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The frame that waits, where it is just one.
    #[must_use]
    pub fn only(&self) -> Option<&[u8]> {
        self.frames.front().filter(|_| self.frames.len() == 1).map(|frame| &**frame)
    }

    /// The front as slices for one vectored write; how many slots were filled.
    pub fn slices<'a>(&'a self, slots: &mut [IoSlice<'a>]) -> usize {
        let filled = self.frames.iter().zip(slots).map(|(frame, slot)| *slot = IoSlice::new(frame));
        filled.count()
    }

    /// The socket took this many bytes.
    pub fn advance(&mut self, mut taken: usize) {
        self.took(taken);
        while let Some(front) = self.frames.front_mut() {
            if front.len() > taken {
                self.begun |= taken > 0;
                front.advance(taken);
                return;
            }
            taken -= front.len();
            self.begun = false;
            self.frames.pop_front();
        }
        if self.frames.capacity() > IDLE_CAPACITY {
            self.frames = VecDeque::new();
        }
    }

    /// Takes the first frame out.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.took(frame.len());
        Some(frame)
    }

    fn took(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.said = self.said.min(self.bytes);
    }

    /// All that waits, in order.
    pub(super) fn frames(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.frames.iter()
    }

    /// Drops what the socket has not begun to take: a frame that is half sent must end.
    pub(super) fn drop_unsent(&mut self) {
        self.frames.truncate(usize::from(self.begun));
        self.bytes = self.frames.iter().map(Bytes::len).sum();
        self.said = self.said.min(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_that_is_half_sent_stays() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"first"));
        outbox.push(Bytes::from_static(b"second"));
        outbox.advance(7);
        outbox.push(Bytes::from_static(b"third"));
        outbox.drop_unsent();
        assert_eq!(outbox.len(), "cond".len());
        outbox.advance(4);
        outbox.push(Bytes::from_static(b"fourth"));
        outbox.drop_unsent();
        assert!(outbox.is_empty());
    }

    proptest! {
        #[test]
        fn gives_every_byte_once_in_order(frames: Vec<Vec<u8>>, writes in prop::collection::vec(0_usize..40, 0..200)) {
            let mut outbox = Outbox::default();
            let expected: Vec<u8> = frames.concat();
            frames.into_iter().for_each(|frame| outbox.push(Bytes::from(frame)));
            prop_assert_eq!(outbox.len(), expected.len());
            let mut sent = Vec::new();
            for write in writes.into_iter().chain(std::iter::repeat_n(40, expected.len())) {
                let mut slots = [IoSlice::new(&[]); 3];
                let filled = outbox.slices(&mut slots);
                let front: Vec<u8> = slots.iter().take(filled).flat_map(|slice| slice.to_vec()).take(write).collect();
                outbox.advance(front.len());
                sent.extend(front);
                prop_assert_eq!(outbox.len(), expected.len() - sent.len());
            }
            prop_assert_eq!(sent, expected);
            prop_assert!(outbox.is_empty());
        }
    }
}
