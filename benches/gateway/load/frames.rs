//! Frames as a subscriber needs them: cut at their headers, and looked at no closer than their two last numbers.

/// A text message on one side of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen<'a> {
    /// An update; the row's two last columns.
    Update { sent: u64, n: u64 },
    /// A reply, or whatever else begins with a join's ref.
    Other(&'a [u8]),
}

/// Hands every whole frame to `take`; how many bytes those were.
///
/// # Panics
/// The gateway has sent something other than text, such as a close frame.
pub(crate) fn each(bytes: &[u8], mut take: impl FnMut(Seen<'_>)) -> usize {
    let mut at = 0;
    while let Some((header, length)) = header(&bytes[at..]) {
        let (begin, end) = (at + header, at + header + length);
        if end > bytes.len() {
            break;
        }
        let message = &bytes[begin..end];
        assert_eq!(bytes[at], 0x81, "not a text frame: {:?}", String::from_utf8_lossy(message));
        take(seen(message));
        at = end;
    }
    at
}

/// The lengths of a frame's header and payload, once its header is whole.
pub(crate) fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        127 => Some((10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?)),
        short => Some((2, usize::from(short))),
    }
}

fn seen(message: &[u8]) -> Seen<'_> {
    // A broadcast carries no refs: `[null,null,"topic",…`.
    if !message.starts_with(b"[null,null,") {
        return Seen::Other(message);
    }
    let (n, before) = last_number(message);
    let (sent, _) = last_number(before);
    Seen::Update { sent, n }
}

/// The last number in the text, and what stands before it.
fn last_number(text: &[u8]) -> (u64, &[u8]) {
    let end = text.iter().rposition(u8::is_ascii_digit).map_or(0, |last| last + 1);
    let begin = text[..end].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |before| before + 1);
    let number = text[begin..end].iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    (number, &text[..begin])
}

/// A client's text frame: masked, as clients must, with zeros, which change nothing.
pub(crate) fn client_text(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(text.len()).expect("a short message").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// A server's text frame.
pub(crate) fn server_text(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(message.len()) {
        Ok(short) if short < 126 => frame.push(short),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(message.len()).expect("a short message").to_be_bytes());
        }
    }
    frame.extend_from_slice(message);
    frame
}
