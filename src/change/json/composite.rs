//! Row literals, such as `(1,"a b",)`.

use super::ValueError;
use super::escape::write_quoted;
use super::quoted::{QuoteInside, read_quoted};
use super::value::{Context, write};
use crate::change::catalogue::Field;

/// An object with every field in order. Nothing at all between two commas is null; an empty text is in quotes.
///
/// A literal with more or fewer fields than the type had when it was looked up is an error: the type has been altered.
pub(super) fn write_composite(
    out: &mut Vec<u8>,
    fields: &[Field],
    text: &[u8],
    context: Context,
) -> Result<(), ValueError> {
    let mut rest = text.strip_prefix(b"(").ok_or(ValueError::Composite)?;
    let mut scratch = Vec::new();
    out.push(b'{');
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(b",").ok_or_else(|| misplaced(rest, fields.len()))?;
            out.push(b',');
        }
        write_quoted(out, field.name.as_bytes());
        out.push(b':');
        rest = match rest.strip_prefix(b"\"") {
            None => write_bare(out, field, rest, context)?,
            Some(inside) => {
                let quoted = read_quoted(inside, QuoteInside::Doubled, &mut scratch).ok_or(ValueError::Composite)?;
                write(out, &field.ty.kind, quoted.value, context)?;
                quoted.rest
            }
        };
    }
    out.push(b'}');
    if rest == b")" { Ok(()) } else { Err(misplaced(rest, fields.len())) }
}

/// A field without quotes, and what follows it.
fn write_bare<'a>(out: &mut Vec<u8>, field: &Field, text: &'a [u8], context: Context) -> Result<&'a [u8], ValueError> {
    let ends = |byte: &u8| matches!(byte, b',' | b')' | b'(' | b'"' | b'\\');
    let end = text.iter().position(ends).ok_or(ValueError::Composite)?;
    let (bare, rest) = text.split_at_checked(end).ok_or(ValueError::Composite)?;
    if bare.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        write(out, &field.ty.kind, bare, context)?;
    }
    Ok(rest)
}

/// What it means that a literal goes on with `rest` after a field.
fn misplaced(rest: &[u8], expected: usize) -> ValueError {
    if rest == b")" || rest.starts_with(b",") { ValueError::FieldCount { expected } } else { ValueError::Composite }
}
