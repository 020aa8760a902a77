//! Frames as a server sends them: unmasked, so that one frame serves every client.

use bytes::Bytes;

/// A frame's kind, as its first byte carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum OpCode {
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Pong = 0xA,
}

/// The final-fragment bit: this server never fragments what it sends.
const FINAL: u8 = 0x80;
/// The first reserved bit: the message is deflated (RFC 7692, 6).
pub(super) const RSV1: u8 = 0x40;
/// Lengths up to this stand in the second byte.
const LENGTH_IN_BYTE_MAX: usize = 125;
const LENGTH_IS_U16: u8 = 126;
const LENGTH_IS_U64: u8 = 127;
/// The longest header that a server sends: two bytes and a 64-bit length.
const HEADER_MAX: usize = 10;
/// Most messages fit without growing the buffer.
const MESSAGE_SIZE_GUESS: usize = 256;

/// Room for a frame: a message is appended to it, then [`finish_frame`] makes it whole.
pub(in crate::transport) fn begin_frame(size_hint: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(HEADER_MAX + size_hint.max(MESSAGE_SIZE_GUESS));
    buffer.extend_from_slice(&[0; HEADER_MAX]);
    buffer
}

/// The whole frame of what was appended since [`begin_frame`].
///
/// The header is written in front of the payload once its length is known, so that nothing is copied.
pub(in crate::transport) fn finish_frame(opcode: OpCode, buffer: Vec<u8>) -> Bytes {
    finish(FINAL | opcode as u8, buffer)
}

/// The same with this first byte.
pub(super) fn finish(first: u8, mut buffer: Vec<u8>) -> Bytes {
    let (header, length) = header(first, buffer.len().saturating_sub(HEADER_MAX));
    let start = HEADER_MAX - length;
    for (slot, byte) in buffer.iter_mut().skip(start).zip(header.iter().take(length)) {
        *slot = *byte;
    }
    Bytes::from(buffer).slice(start..)
}

/// A close frame: `code`, and a reason of at most 123 bytes.
pub(in crate::transport) fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut buffer = begin_frame(0);
    buffer.extend_from_slice(&code.to_be_bytes());
    let reason_max = LENGTH_IN_BYTE_MAX - size_of::<u16>();
    let fitting = (0..=reason.len().min(reason_max)).rev().find(|end| reason.is_char_boundary(*end));
    buffer.extend_from_slice(reason.get(..fitting.unwrap_or(0)).unwrap_or_default().as_bytes());
    finish_frame(OpCode::Close, buffer)
}

/// The answer to a close frame without a code: the same.
pub(in crate::transport) fn bare_close_frame() -> Bytes {
    finish_frame(OpCode::Close, begin_frame(0))
}

/// The answer to a ping: the same payload.
pub(in crate::transport) fn pong_frame(payload: &[u8]) -> Bytes {
    let mut buffer = begin_frame(payload.len());
    buffer.extend_from_slice(payload);
    finish_frame(OpCode::Pong, buffer)
}

/// How long the header of a whole frame is that was made here.
pub(super) fn header_length(frame: &[u8]) -> usize {
    match frame.get(1) {
        Some(&LENGTH_IS_U16) => 4,
        Some(&LENGTH_IS_U64) => HEADER_MAX,
        _ => 2,
    }
}

/// A header for a payload of this length, and how much of the array it is.
fn header(first: u8, payload: usize) -> ([u8; HEADER_MAX], usize) {
    let mut header = [0; HEADER_MAX];
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(slot) = header.get_mut(length) {
                *slot = *byte;
                length += 1;
            }
        }
    };
    put(&[first]);
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short), _) if payload <= LENGTH_IN_BYTE_MAX => put(&[short]),
        (_, Ok(medium)) => {
            put(&[LENGTH_IS_U16]);
            put(&medium.to_be_bytes());
        }
        _ => {
            put(&[LENGTH_IS_U64]);
            put(&(payload as u64).to_be_bytes());
        }
    }
    (header, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xFF, 0xFF]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut buffer = begin_frame(0);
            buffer.resize(buffer.len() + length, b'x');
            let frame = finish_frame(OpCode::Text, buffer);
            assert_eq!(frame.len(), header.len() + length);
            assert!(frame.starts_with(&header), "{length}");
            assert_eq!(header_length(&frame), header.len());
            assert!(frame.iter().skip(header.len()).all(|byte| *byte == b'x'));
        }
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let frame = close_frame(1012, &"ä".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert_eq!(frame.get(..4), Some(&[0x88, 124, 0x03, 0xF4][..]));
        assert!(str::from_utf8(frame.get(4..).unwrap()).is_ok());
    }
}
