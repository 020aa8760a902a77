//! permessage-deflate (RFC 7692) without context takeover: every message is deflated by itself.
//!
//! So a deflated frame is the same for all who take such frames, whoever they are and whatever they got before: it is
//! made once and shared, as frames are. And a connection remembers nothing: what inflates is its shard's.
#![deny(clippy::indexing_slicing)]

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::{RSV1, begin_frame, finish, header_length};
use super::reader::FrameError;

/// Shorter messages go as they are: they fit into a packet either way, and each client has to inflate what we deflate.
const DEFLATED_MIN: usize = 256;
/// What an empty stored block ends with. A flush ends with it, a message leaves it out (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// The first piece of an inflated message; it doubles as the message turns out to be longer.
const INFLATED_FIRST: usize = 1024;

thread_local! {
    /// A quarter of a mebibyte of tables, one for each thread that deflates.
    static DEFLATER: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// Of 1 to 9. Of 18 KiB of rows as JSON, 1 leaves 23 % in 27 µs, 3 leaves 16 % in 69 µs, and 6, zlib's own default,
/// leaves 15 % in 92 µs; of a single row (340 bytes) 3 leaves 71 % in 14 µs, and those above it no less. It is done
/// once for all.
const LEVEL: u32 = 3;

/// How far back a client can look while it inflates, as agreed with it: 2 to the power of this, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window(u8);

impl Window {
    /// The exponent, 8 to 15.
    pub(in crate::transport) const fn of_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether it is worth deflating this frame, and the client can inflate it: nothing in a message points further
    /// back than the message is long. So one deflated form serves windows of any size that it fits into.
    pub(in crate::transport) const fn takes(self, frame: &Bytes) -> bool {
        frame.len() >= DEFLATED_MIN && frame.len() <= 1 << self.0
    }
}

/// A whole frame with its message deflated, or as it is where that is no shorter.
pub(in crate::transport) fn deflated(frame: &Bytes) -> Bytes {
    let Some((first, payload)) = frame.first().zip(frame.get(header_length(frame)..)) else { return frame.clone() };
    let mut out = begin_frame(payload.len());
    let begin = out.len();
    let done = DEFLATER.with_borrow_mut(|deflater| {
        deflater.reset();
        deflater.compress_vec(payload, &mut out, FlushCompress::Sync).is_ok()
            && usize::try_from(deflater.total_in()).is_ok_and(|taken| taken == payload.len())
    });
    // All has been flushed only where room was left.
    let is_whole = done && out.len() < out.capacity() && out.ends_with(&TAIL);
    out.truncate(out.len() - TAIL.len().min(out.len()));
    if !is_whole || out.len() - begin >= payload.len() {
        return frame.clone();
    }
    // It is kept for as long as the log keeps its transaction.
    out.shrink_to_fit();
    finish(first | RSV1, out)
}

/// Inflates messages, one after the other.
#[derive(Debug, Default)]
pub(in crate::transport) struct Inflater(Option<Box<Decompress>>);

/// The most bytes that a message of `length` bytes takes deflated, however badly it is done within reason: five bytes
/// for each block that is stored, of 4 KiB or more.
pub(super) const fn deflated_max(length: usize) -> usize {
    length.saturating_add(length / 512).saturating_add(64)
}

impl Inflater {
    /// The message whose deflated form this is.
    ///
    /// # Errors
    /// It is none, or the message would be longer than `limit`.
    pub(super) fn inflate(&mut self, deflated: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
        let stream = self.0.get_or_insert_with(|| Box::new(Decompress::new(false)));
        stream.reset(false);
        let mut message = Vec::new();
        match inflate_piece(stream, deflated, &mut message, limit)? {
            Rest::Nothing => {}
            // A final block: nothing follows but the beginning of the empty one that a message leaves the end of out.
            Rest::Behind([] | [0]) => return Ok(message),
            Rest::Behind(_) => return Err(FrameError::Malformed),
        }
        match inflate_piece(stream, &TAIL, &mut message, limit)? {
            Rest::Nothing => Ok(message),
            Rest::Behind(_) => Err(FrameError::Malformed),
        }
    }
}

enum Rest<'a> {
    Nothing,
    /// What comes after the stream's end.
    Behind(&'a [u8]),
}

fn inflate_piece<'a>(
    stream: &mut Decompress,
    mut input: &'a [u8],
    message: &mut Vec<u8>,
    limit: usize,
) -> Result<Rest<'a>, FrameError> {
    loop {
        if message.len() == message.capacity() {
            // One byte over the limit shows that it is passed.
            let more = message.len().max(INFLATED_FIRST).min(limit.saturating_add(1) - message.len());
            message.reserve_exact(more);
        }
        let before = stream.total_in();
        let status = stream.decompress_vec(input, message, FlushDecompress::Sync).map_err(|_| FrameError::Malformed)?;
        let taken = usize::try_from(stream.total_in() - before).unwrap_or(usize::MAX);
        input = input.get(taken..).unwrap_or_default();
        if message.len() > limit {
            return Err(FrameError::TooLarge);
        }
        let has_room = message.len() < message.capacity();
        match status {
            Status::StreamEnd => return Ok(Rest::Behind(input)),
            Status::Ok | Status::BufError if input.is_empty() && has_room => return Ok(Rest::Nothing),
            // It wants neither more input nor more room, and goes no further.
            Status::BufError if has_room => return Err(FrameError::Malformed),
            Status::Ok | Status::BufError => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::{OpCode, finish_frame};
    use super::*;

    const LIMIT: usize = 100_000;

    fn inflate(deflated: &[u8]) -> Result<Vec<u8>, FrameError> {
        Inflater::default().inflate(deflated, LIMIT)
    }

    fn frame(payload: &[u8]) -> Bytes {
        let mut buffer = begin_frame(payload.len());
        buffer.extend_from_slice(payload);
        finish_frame(OpCode::Text, buffer)
    }

    fn payload(frame: &Bytes) -> &[u8] {
        &frame[header_length(frame)..]
    }

    #[test]
    fn the_examples_of_the_rfc_are_inflated() {
        for (deflated, message) in [
            (&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..], &b"Hello"[..]),
            // Not compressed.
            (&[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00], b"Hello"),
            // A final block.
            (&[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00], b"Hello"),
            // Two blocks.
            (&[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00], b"Hello"),
            // Of nothing.
            (&[0x00], b""),
            (&[0x02, 0x00], b""),
            (&[], b""),
        ] {
            assert_eq!(inflate(deflated).as_deref(), Ok(message), "{deflated:?}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for deflated in [
            &[0xFF, 0xFF, 0xFF][..],                                 // no such block
            &[0x00, 0x05, 0x00, 0x00, 0x00],                         // a stored block whose lengths differ
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00, 0x00], // more after the final block
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x01],
            &[0xCA, 0x00, 0x11, 0x00], // points to before the beginning: no context
        ] {
            assert_eq!(inflate(deflated), Err(FrameError::Malformed), "{deflated:?}");
        }
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let mut bomb = Vec::with_capacity(1 << 20);
        Compress::new(Compression::best(), false)
            .compress_vec(&vec![b'x'; 10 << 20], &mut bomb, FlushCompress::Sync)
            .unwrap();
        assert!(bomb.len() < LIMIT, "{}", bomb.len());
        assert_eq!(inflate(&bomb), Err(FrameError::TooLarge));
    }

    #[test]
    fn the_limit_is_of_what_comes_out() {
        let message = "x".repeat(5000);
        let deflated = deflated(&frame(message.as_bytes()));
        let inflate = |limit| Inflater::default().inflate(payload(&deflated), limit);
        assert!(payload(&deflated).len() < 100);
        assert_eq!(inflate(5000).map(|message| message.len()), Ok(5000));
        assert_eq!(inflate(4999), Err(FrameError::TooLarge));
        assert_eq!(inflate(0), Err(FrameError::TooLarge));
    }

    #[test]
    fn what_gets_no_shorter_stays_as_it_is() {
        let random: Vec<u8> = (0..1000).map(|_| fastrand::u8(..)).collect();
        let frame = frame(&random);
        assert_eq!(deflated(&frame), frame);
        assert_eq!(deflated(&Bytes::new()), Bytes::new());
    }

    #[test]
    fn a_frame_is_taken_by_who_can_look_back_far_enough() {
        let of = |length: usize| Bytes::from(vec![0; length]);
        assert!(!Window::of_bits(15).takes(&of(DEFLATED_MIN - 1)));
        assert!(Window::of_bits(15).takes(&of(32 << 10)));
        assert!(!Window::of_bits(15).takes(&of((32 << 10) + 1)));
        assert!(Window::of_bits(9).takes(&of(512)));
        assert!(!Window::of_bits(9).takes(&of(513)));
    }

    proptest! {
        #[test]
        fn a_message_comes_out_as_it_went_in(text in "[a-h ]{0,300}", times in 1_usize..300) {
            let plain = frame(text.repeat(times).as_bytes());
            let deflated = deflated(&plain);
            prop_assert!(deflated.len() <= plain.len());
            if deflated[0] & RSV1 == 0 {
                prop_assert_eq!(deflated, plain);
            } else {
                prop_assert_eq!(deflated[0], plain[0] | RSV1);
                prop_assert_eq!(inflate(payload(&deflated)).unwrap(), payload(&plain));
            }
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(deflated: Vec<u8>) {
            // One that has refused something works on.
            let mut inflater = Inflater::default();
            if let Ok(message) = inflater.inflate(&deflated, 1000) {
                prop_assert!(message.len() <= 1000);
            }
            prop_assert_eq!(inflater.inflate(&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00], 5).unwrap(), b"Hello");
        }

        #[test]
        fn others_messages_are_inflated(message: Vec<u8>, level in 0_u32..=9, cut in 0_usize..100) {
            let mut deflated = Vec::with_capacity(deflated_max(message.len()) + 64);
            let mut deflater = Compress::new(Compression::new(level), false);
            let (begin, end) = message.split_at(cut.min(message.len()));
            for part in [begin, end] {
                deflater.compress_vec(part, &mut deflated, FlushCompress::Sync).unwrap();
            }
            deflated.truncate(deflated.len() - TAIL.len());
            prop_assert_eq!(inflate(&deflated).unwrap(), message);
        }
    }
}
