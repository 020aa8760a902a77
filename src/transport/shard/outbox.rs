//! What a socket has not taken yet.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// An empty outbox keeps room for this many frames at most: a burst must not cost an idle connection memory for ever.
const IDLE_CAPACITY: usize = 8;

/// Frames in order, most of them shared with other connections.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
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
        self.bytes = self.bytes.saturating_sub(taken);
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
        self.bytes = self.bytes.saturating_sub(frame.len());
        Some(frame)
    }

    /// All that waits, in order.
    pub(super) fn frames(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.frames.iter()
    }

    /// Drops what the socket has not begun to take: a frame that is half sent must end.
    pub(super) fn drop_unsent(&mut self) {
        self.frames.truncate(usize::from(self.begun));
        self.bytes = self.frames.iter().map(Bytes::len).sum();
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
