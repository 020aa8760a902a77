//! Messages as clients send them: masked, perhaps in fragments, in whatever pieces the socket gives.
#![deny(clippy::indexing_slicing)]

use std::io::Cursor;

use bytes::BytesMut;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::deflate::{Inflater, deflated_max};

/// The longest payload of a ping, pong or close frame (RFC 6455, 5.5).
const CONTROL_PAYLOAD_MAX: u64 = 125;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::transport) enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// With the client's code, where it gave one.
    Close(Option<u16>),
}

/// Why a connection can't go on; each has its close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum FrameError {
    #[error("malformed frame")]
    Malformed,
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("message over the limit")]
    TooLarge,
}

/// Puts messages together. Holds memory only while a frame or a fragmented message is incomplete.
#[derive(Debug)]
pub(in crate::transport) struct MessageReader {
    /// The beginning of a frame whose end is still to come.
    partial: BytesMut,
    fragments: Option<Box<Fragments>>,
    /// The longest message, in bytes.
    limit: usize,
    /// Messages may be deflated.
    deflate: bool,
    /// The client has said its last word, rightly or not.
    ended: bool,
}

#[derive(Debug)]
struct Fragments {
    kind: Kind,
    payload: Vec<u8>,
}

/// What a message's first frame says of it.
#[derive(Debug, Clone, Copy)]
struct Kind {
    text: bool,
    deflated: bool,
}

impl MessageReader {
    /// `deflate`: it was agreed with the client that messages may be deflated.
    pub(in crate::transport) fn new(limit: usize, deflate: bool) -> Self {
        Self { partial: BytesMut::new(), fragments: None, limit, deflate, ended: false }
    }

    /// A close frame has come, be it one that breaks the rules: nothing comes after it.
    pub(in crate::transport) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes what the socket gave (and unmasks it in place); `sink` gets each message, and says whether to go on.
    ///
    /// # Errors
    /// The client broke the protocol; nothing further can be read.
    pub(in crate::transport) fn read(
        &mut self,
        data: &mut [u8],
        inflater: &mut Inflater,
        sink: &mut impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<(), FrameError> {
        if self.partial.is_empty() {
            let rest = self.read_frames(data, inflater, sink)?;
            self.partial.extend_from_slice(rest);
            return Ok(());
        }
        self.partial.extend_from_slice(data);
        let mut buffer = std::mem::take(&mut self.partial);
        let rest = self.read_frames(&mut buffer, inflater, sink)?.len();
        if rest > 0 {
            self.partial = buffer.split_off(buffer.len() - rest);
        }
        Ok(())
    }

    /// Handles every whole frame in `data`; gives back what is left.
    fn read_frames<'a>(
        &mut self,
        mut data: &'a mut [u8],
        inflater: &mut Inflater,
        sink: &mut impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<&'a [u8], FrameError> {
        loop {
            let mut cursor = Cursor::new(&*data);
            let header = FrameHeader::parse(&mut cursor).map_err(|_| FrameError::Malformed)?;
            let Some((header, length)) = header else { return Ok(data) };
            let start = usize::try_from(cursor.position()).map_err(|_| FrameError::TooLarge)?;
            let length = self.check(&header, length)?;
            if data.len() < start + length {
                self.partial.reserve(start + length);
                return Ok(data);
            }
            let (frame, rest) = data.split_at_mut(start + length);
            let payload = frame.get_mut(start..).unwrap_or_default();
            unmask(payload, header.mask.ok_or(FrameError::Malformed)?);
            if !self.take_frame(&header, payload, inflater, sink)? {
                return Ok(&[]);
            }
            data = rest;
        }
    }

    /// The rules that a header must keep; the payload's length once it is known to be bearable.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<usize, FrameError> {
        let reserved = header.rsv2 || header.rsv3 || (header.rsv1 && !self.may_be_deflated(header));
        if reserved || header.mask.is_none() {
            return Err(FrameError::Malformed);
        }
        let is_deflated = header.rsv1 || self.fragments.as_ref().is_some_and(|fragments| fragments.kind.deflated);
        let limit = if is_deflated { deflated_max(self.limit) } else { self.limit };
        match header.opcode {
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => Err(FrameError::Malformed),
            OpCode::Control(_) if length > CONTROL_PAYLOAD_MAX || !header.is_final => Err(FrameError::Malformed),
            OpCode::Data(Data::Continue) if self.fragments.is_none() => Err(FrameError::Malformed),
            OpCode::Data(Data::Text | Data::Binary) if self.fragments.is_some() => Err(FrameError::Malformed),
            OpCode::Control(_) | OpCode::Data(_) => {
                let before = self.fragments.as_ref().map_or(0, |fragments| fragments.payload.len());
                let length = usize::try_from(length).map_err(|_| FrameError::TooLarge)?;
                let total = before.checked_add(length).ok_or(FrameError::TooLarge)?;
                if total > limit { Err(FrameError::TooLarge) } else { Ok(length) }
            }
        }
    }

    /// The first frame of a message says that it is deflated; no other frame says anything by that bit.
    fn may_be_deflated(&self, header: &FrameHeader) -> bool {
        self.deflate && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary))
    }

    fn take_frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        inflater: &mut Inflater,
        sink: &mut impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<bool, FrameError> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(sink(Incoming::Ping(payload))),
            OpCode::Control(Control::Pong) => Ok(sink(Incoming::Pong)),
            OpCode::Control(_) => {
                self.ended = true;
                Ok(sink(Incoming::Close(close_code(payload)?)))
            }
            OpCode::Data(Data::Continue) => self.take_fragment(header.is_final, payload, inflater, sink),
            OpCode::Data(kind) => {
                let kind = Kind { text: kind == Data::Text, deflated: header.rsv1 };
                if header.is_final {
                    return self.take_message(kind, payload, inflater, sink);
                }
                self.fragments = Some(Box::new(Fragments { kind, payload: payload.to_vec() }));
                Ok(true)
            }
        }
    }

    fn take_fragment(
        &mut self,
        last: bool,
        payload: &[u8],
        inflater: &mut Inflater,
        sink: &mut impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<bool, FrameError> {
        let Some(fragments) = &mut self.fragments else { return Err(FrameError::Malformed) };
        fragments.payload.extend_from_slice(payload);
        if !last {
            return Ok(true);
        }
        match self.fragments.take() {
            Some(fragments) => self.take_message(fragments.kind, &fragments.payload, inflater, sink),
            None => Ok(true),
        }
    }

    fn take_message(
        &self,
        kind: Kind,
        payload: &[u8],
        inflater: &mut Inflater,
        sink: &mut impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<bool, FrameError> {
        if kind.deflated {
            let inflated = inflater.inflate(payload, self.limit)?;
            return Ok(sink(message(kind.text, &inflated)?));
        }
        Ok(sink(message(kind.text, payload)?))
    }
}

fn message(text: bool, payload: &[u8]) -> Result<Incoming<'_>, FrameError> {
    if text {
        str::from_utf8(payload).map(Incoming::Text).map_err(|_| FrameError::NotUtf8)
    } else {
        Ok(Incoming::Binary(payload))
    }
}

/// A close frame is empty, or a code and a reason in UTF-8.
fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(FrameError::Malformed) };
    };
    let code = u16::from_be_bytes(*code);
    if !CloseCode::from(code).is_allowed() {
        return Err(FrameError::Malformed);
    }
    str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?;
    Ok(Some(code))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (chunks, rest) = payload.as_chunks_mut::<4>();
    for chunk in chunks {
        *chunk = (u32::from_ne_bytes(*chunk) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1000;

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Got {
        Text(String),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong,
        Close(Option<u16>),
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut out = vec![first];
        match payload.len() {
            short @ 0..=125 => out.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                out.push(0x80 | 126);
                out.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    fn read_in_pieces(bytes: &[u8], piece: usize) -> (Vec<Got>, Result<(), FrameError>) {
        read_as(MessageReader::new(LIMIT, false), bytes, piece)
    }

    fn read_as(mut reader: MessageReader, bytes: &[u8], piece: usize) -> (Vec<Got>, Result<(), FrameError>) {
        let mut inflater = Inflater::default();
        let mut got = Vec::new();
        for piece in bytes.chunks(piece.max(1)) {
            let result = reader.read(&mut piece.to_vec(), &mut inflater, &mut |incoming| {
                got.push(match incoming {
                    Incoming::Text(text) => Got::Text(text.to_owned()),
                    Incoming::Binary(bytes) => Got::Binary(bytes.to_vec()),
                    Incoming::Ping(bytes) => Got::Ping(bytes.to_vec()),
                    Incoming::Pong => Got::Pong,
                    Incoming::Close(code) => Got::Close(code),
                });
                true
            });
            if result.is_err() {
                return (got, result);
            }
        }
        (got, Ok(()))
    }

    #[test]
    fn the_same_messages_whatever_the_pieces() {
        let stream = [
            frame(0x81, b"hello"),
            frame(0x01, "frag€".as_bytes().get(..5).unwrap()),
            frame(0x89, b"ping between fragments"),
            frame(0x80, "frag€ment".as_bytes().get(5..).unwrap()),
            frame(0x82, &[7; 300]),
            frame(0x8A, b""),
            frame(0x88, &[0x03, 0xE8]),
        ]
        .concat();
        let expected = vec![
            Got::Text("hello".to_owned()),
            Got::Ping(b"ping between fragments".to_vec()),
            Got::Text("frag€ment".to_owned()),
            Got::Binary(vec![7; 300]),
            Got::Pong,
            Got::Close(Some(1000)),
        ];
        for piece in 1..=stream.len() {
            assert_eq!(read_in_pieces(&stream, piece), (expected.clone(), Ok(())), "in pieces of {piece}");
        }
    }

    #[test]
    fn broken_rules_have_their_codes() {
        let mut unmasked = frame(0x81, b"x");
        if let Some(length) = unmasked.get_mut(1) {
            *length &= 0x7F;
        }
        for (bytes, error) in [
            (unmasked, FrameError::Malformed),
            (frame(0xC1, b"x"), FrameError::Malformed), // reserved bit
            (frame(0x83, b"x"), FrameError::Malformed), // reserved opcode
            (frame(0x8B, b"x"), FrameError::Malformed), // reserved control opcode
            (frame(0x80, b"x"), FrameError::Malformed), // continuation of nothing
            ([frame(0x01, b"x"), frame(0x81, b"y")].concat(), FrameError::Malformed),
            (frame(0x09, b"x"), FrameError::Malformed),      // fragmented ping
            (frame(0x89, &[0; 126]), FrameError::Malformed), // long ping
            (frame(0x88, &[3]), FrameError::Malformed),      // half a close code
            (frame(0x88, &[0x03, 0xED]), FrameError::Malformed), // 1005 is never sent
            (frame(0x81, &[0xFF]), FrameError::NotUtf8),
            (frame(0x88, &[0x03, 0xE8, 0xFF]), FrameError::NotUtf8),
            (frame(0x82, &[0; LIMIT + 1]), FrameError::TooLarge),
            ([frame(0x02, &[0; LIMIT]), frame(0x80, &[0])].concat(), FrameError::TooLarge),
        ] {
            assert_eq!(read_in_pieces(&bytes, bytes.len()).1, Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_header() {
        let header = [0x82, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(read_in_pieces(&header, header.len()).1, Err(FrameError::TooLarge));
    }

    #[test]
    fn an_idle_reader_holds_nothing() {
        let mut reader = MessageReader::new(LIMIT, false);
        let bytes = frame(0x82, &[0; 500]);
        for piece in bytes.chunks(100) {
            reader.read(&mut piece.to_vec(), &mut Inflater::default(), &mut |_| true).unwrap();
        }
        assert_eq!(reader.partial.capacity(), 0);
    }

    /// "Hello", as RFC 7692 has it.
    const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];

    #[test]
    fn deflated_messages_are_inflated_in_any_fragments() {
        let (begin, end) = HELLO.split_at(3);
        let stream = [
            frame(0xC1, &HELLO),
            frame(0x81, b"as it is"),
            frame(0x41, begin),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x80, end),
            frame(0xC2, &HELLO),
            frame(0x02, b"plain "),
            frame(0x80, b"fragments"),
        ]
        .concat();
        let hello = || Got::Text("Hello".to_owned());
        let expected = vec![
            hello(),
            Got::Text("as it is".to_owned()),
            Got::Ping(b"ping".to_vec()),
            hello(),
            Got::Binary(b"Hello".to_vec()),
            Got::Binary(b"plain fragments".to_vec()),
        ];
        for piece in 1..=stream.len() {
            let got = read_as(MessageReader::new(LIMIT, true), &stream, piece);
            assert_eq!(got, (expected.clone(), Ok(())), "in pieces of {piece}");
        }
    }

    #[test]
    fn the_bit_for_deflated_messages_stands_where_it_may() {
        let bomb = {
            let mut out = Vec::with_capacity(1000);
            flate2::Compress::new(flate2::Compression::best(), false)
                .compress_vec(&[0; LIMIT + 1], &mut out, flate2::FlushCompress::Sync)
                .unwrap();
            out
        };
        let not_utf8 = [0x00, 0x01, 0x00, 0xFE, 0xFF, 0xFF, 0x00];
        for (bytes, error) in [
            (frame(0xA1, &HELLO), FrameError::Malformed), // another reserved bit
            (frame(0xD1, &HELLO), FrameError::Malformed), // both
            (frame(0xC9, b""), FrameError::Malformed),    // a ping
            (frame(0xC8, b""), FrameError::Malformed),    // a close
            ([frame(0x41, &HELLO), frame(0xC0, b"")].concat(), FrameError::Malformed), // a later fragment
            ([frame(0x01, b"x"), frame(0xC0, &HELLO)].concat(), FrameError::Malformed),
            (frame(0xC1, &[0xFF; 3]), FrameError::Malformed),
            (frame(0xC1, &not_utf8), FrameError::NotUtf8),
            (frame(0xC2, &bomb), FrameError::TooLarge),
            (frame(0xC2, &[0; deflated_max(LIMIT) + 1]), FrameError::TooLarge),
            ([frame(0x42, &[0; LIMIT]), frame(0x80, &[0; LIMIT])].concat(), FrameError::TooLarge),
        ] {
            let (_, result) = read_as(MessageReader::new(LIMIT, true), &bytes, bytes.len());
            assert_eq!(result, Err(error), "{bytes:?}");
        }
        assert_eq!(read_in_pieces(&frame(0xC1, &HELLO), 100).1, Err(FrameError::Malformed), "not agreed on");
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_an_error(bytes: Vec<u8>, piece in 1_usize..50, deflate: bool) {
            let read = |piece| read_as(MessageReader::new(LIMIT, deflate), &bytes, piece);
            let (whole, result) = read(bytes.len().max(1));
            let (in_pieces, result_in_pieces) = read(piece);
            prop_assert_eq!(whole, in_pieces);
            prop_assert_eq!(result, result_in_pieces);
        }
    }
}
