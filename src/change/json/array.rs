//! Array literals, rewritten token by token: `{` becomes `[`, elements become JSON.

use super::ValueError;
use super::quoted::{QuoteInside, read_quoted};
use super::value::{Context, write};
use crate::change::Type;

/// Postgres' `MAXDIM`.
const DIMENSIONS_MAX: usize = 6;

/// What the text before this point allows next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    OpeningBrace,
    /// An element, or the closing brace of an inner dimension.
    Item,
    Delimiter,
}

/// Nested arrays, one level for each dimension. Lower bounds (`[2:3]={…}`) leave no trace in JSON.
pub(super) fn write_array(
    out: &mut Vec<u8>,
    element: &Type,
    delimiter: u8,
    text: &[u8],
    context: Context,
) -> Result<(), ValueError> {
    let mut rest = without_bounds(text).ok_or(ValueError::Array)?;
    let mut scratch = Vec::new();
    let mut dimension = 0;
    let mut after = After::Nothing;
    while let Some((byte, tail)) = rest.split_first() {
        (after, rest) = match (after, *byte) {
            (After::Item, b'}') | (After::OpeningBrace, b'}') => {
                out.push(b']');
                dimension -= 1;
                if dimension == 0 {
                    return if tail.is_empty() { Ok(()) } else { Err(ValueError::Array) };
                }
                (After::Item, tail)
            }
            (After::Item, byte) if byte == delimiter => {
                out.push(b',');
                (After::Delimiter, tail)
            }
            (After::Item, _) => return Err(ValueError::Array),
            (_, b'{') if dimension < DIMENSIONS_MAX => {
                out.push(b'[');
                dimension += 1;
                (After::OpeningBrace, tail)
            }
            (After::Nothing, _) => return Err(ValueError::Array),
            (_, b'"') => {
                let quoted = read_quoted(tail, QuoteInside::Backslash, &mut scratch).ok_or(ValueError::Array)?;
                write(out, &element.kind, quoted.value, context)?;
                (After::Item, quoted.rest)
            }
            _ => (After::Item, write_bare(out, element, delimiter, rest, context)?),
        };
    }
    Err(ValueError::Array)
}

/// An element without quotes, and what follows it. `NULL` in quotes would be a text.
fn write_bare<'a>(
    out: &mut Vec<u8>,
    element: &Type,
    delimiter: u8,
    text: &'a [u8],
    context: Context,
) -> Result<&'a [u8], ValueError> {
    let ends = |byte: &u8| *byte == delimiter || matches!(byte, b'{' | b'}' | b'"' | b'\\');
    let (bare, rest) =
        text.iter().position(ends).and_then(|end| text.split_at_checked(end)).ok_or(ValueError::Array)?;
    match bare {
        b"" => return Err(ValueError::Array),
        b"NULL" => out.extend_from_slice(b"null"),
        _ => write(out, &element.kind, bare, context)?,
    }
    Ok(rest)
}

fn without_bounds(text: &[u8]) -> Option<&[u8]> {
    if !text.starts_with(b"[") {
        return Some(text);
    }
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (bounds, rest) = text.split_at_checked(equals)?;
    let plausible = bounds.iter().all(|byte| matches!(byte, b'[' | b']' | b':' | b'-' | b'0'..=b'9'));
    if plausible { rest.get(1..) } else { None }
}

/// `int2vector` and `oidvector`.
pub(super) fn write_vector(out: &mut Vec<u8>, element: &Type, text: &[u8], context: Context) -> Result<(), ValueError> {
    out.push(b'[');
    if !text.is_empty() {
        for (index, item) in text.split(|byte| *byte == b' ').enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write(out, &element.kind, item, context)?;
        }
    }
    out.push(b']');
    Ok(())
}
