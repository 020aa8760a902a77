//! A query string: pairs, percent-decoded.

use super::FilterError;

/// `name=value` by `name=value`, as they are written.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let pair = |pair: &'_ str| -> (usize, Option<usize>) { (pair.len(), pair.find('=')) };
    text.split('&').filter(|piece| !piece.is_empty()).map(move |piece| match pair(piece) {
        (_, Some(at)) => (piece.get(..at).unwrap_or_default(), piece.get(at + 1..)),
        (_, None) => (piece, None),
    })
}

/// `%XX` is a byte, `+` a blank.
///
/// # Errors
/// A `%` that is followed by something else, bytes that are no UTF-8, and the zero byte, which no text can have.
pub(super) fn decoded(text: &str) -> Result<String, FilterError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let (byte, after) = match byte {
            b'+' => (b' ', after),
            b'%' => escaped(after).ok_or_else(|| {
                FilterError::new("a `%` stands before two hexadecimal digits; a `%` itself is written `%25`")
            })?,
            other => (*other, after),
        };
        bytes.push(byte);
        rest = after;
    }
    let text = String::from_utf8(bytes).map_err(|_| FilterError::new("a filter is percent-encoded UTF-8"))?;
    if text.contains('\0') {
        return Err(FilterError::new("a filter can't hold the zero byte, which no text in Postgres can"));
    }
    Ok(text)
}

fn escaped(after: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = after.split_first_chunk::<2>()?;
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((u8::try_from(high? * 16 + low?).ok()?, rest))
}
