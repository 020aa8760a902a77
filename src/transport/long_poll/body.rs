//! What a POST brings: one message, or one a line.

use bytes::Bytes;
use data_encoding::BASE64_NOPAD;

/// Messages in one request. Phoenix' clients split there, and await the answer before they send the next ones.
const BATCH_MAX: usize = 100;
/// A request's body may be as large as this many of the largest messages.
const FRAMES_MAX: usize = 8;

/// One message, as a WebSocket frame would carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) enum Message {
    Text(String),
    Binary(Bytes),
    /// Neither UTF-8 nor base64.
    Malformed,
}

/// More than [`BATCH_MAX`] messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// The largest body, in bytes, where a message may have so many.
pub(super) const fn most(frame: usize) -> usize {
    frame.saturating_mul(FRAMES_MAX)
}

/// Whether a content type says that each line is a message.
pub(super) fn is_batch(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/x-ndjson")
}

/// The messages in a body.
pub(super) fn messages(body: &[u8], is_batch: bool) -> Result<Vec<Message>, TooMany> {
    if !is_batch {
        return Ok(vec![text(body)]);
    }
    let mut messages = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if messages.len() == BATCH_MAX {
            return Err(TooMany);
        }
        messages.push(match line.first() {
            // In base64 there are no brackets; 1.0.0 has objects.
            Some(b'[' | b'{') => text(line),
            _ => binary(line),
        });
    }
    Ok(messages)
}

fn text(bytes: &[u8]) -> Message {
    str::from_utf8(bytes).map_or(Message::Malformed, |text| Message::Text(text.to_owned()))
}

fn binary(line: &[u8]) -> Message {
    let unpadded = line.trim_ascii_end().split(|byte| *byte == b'=').next().unwrap_or_default();
    BASE64_NOPAD.decode(unpadded).map_or(Message::Malformed, |data| Message::Binary(data.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_message() {
        let body = b"[1]\r\n{\"a\":1}\n\nAAEC/w==\n!\n[\xFF]";
        let expected = [
            Message::Text("[1]".to_owned()),
            Message::Text("{\"a\":1}".to_owned()),
            Message::Binary(Bytes::from_static(&[0, 1, 2, 255])),
            Message::Malformed,
            Message::Malformed,
        ];
        assert_eq!(messages(body, true), Ok(expected.to_vec()));
    }

    #[test]
    fn another_body_is_one_message() {
        assert_eq!(messages(b"{\n}", false), Ok(vec![Message::Text("{\n}".to_owned())]));
        assert!(is_batch("application/x-ndjson; charset=utf-8") && is_batch("Application/X-NDJSON"));
        assert!(!is_batch("application/json") && !is_batch(""));
    }

    #[test]
    fn a_batch_is_taken_whole_or_not_at_all() {
        assert_eq!(messages("[]\n".repeat(BATCH_MAX).as_bytes(), true).unwrap().len(), BATCH_MAX);
        assert_eq!(messages("[]\n".repeat(BATCH_MAX + 1).as_bytes(), true), Err(TooMany));
    }
}
