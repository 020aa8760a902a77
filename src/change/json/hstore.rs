//! `hstore`, as its cast to `json` (`hstore_to_json`) writes it.

use super::ValueError;
use super::escape::write_quoted;
use super::quoted::{QuoteInside, read_quoted};

/// From `"a"=>"1", "b"=>NULL` to `{"a": "1", "b": null}`, blanks included.
pub(super) fn write_hstore(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    let mut scratch = Vec::new();
    let mut rest = text;
    out.push(b'{');
    while !rest.is_empty() {
        rest = write_string(out, rest, &mut scratch)?;
        rest = rest.strip_prefix(b"=>").ok_or(ValueError::Hstore)?;
        out.extend_from_slice(b": ");
        rest = match rest.strip_prefix(b"NULL") {
            None => write_string(out, rest, &mut scratch)?,
            Some(after) => {
                out.extend_from_slice(b"null");
                after
            }
        };
        if !rest.is_empty() {
            rest = rest.strip_prefix(b", ").filter(|pair| !pair.is_empty()).ok_or(ValueError::Hstore)?;
            out.extend_from_slice(b", ");
        }
    }
    out.push(b'}');
    Ok(())
}

/// A key or a value, and what follows it.
fn write_string<'a>(out: &mut Vec<u8>, text: &'a [u8], scratch: &mut Vec<u8>) -> Result<&'a [u8], ValueError> {
    let inside = text.strip_prefix(b"\"").ok_or(ValueError::Hstore)?;
    let quoted = read_quoted(inside, QuoteInside::Backslash, scratch).ok_or(ValueError::Hstore)?;
    write_quoted(out, quoted.value);
    Ok(quoted.rest)
}
