//! Quoted parts of array, row and hstore literals.

/// A quoted part without its quotes and escapes, and what follows the closing quote.
pub(super) struct Quoted<'value, 'text> {
    pub(super) value: &'value [u8],
    pub(super) rest: &'text [u8],
}

/// How a quote is written inside quotes. A backslash always takes the next byte literally.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum QuoteInside {
    /// Arrays and hstore.
    Backslash,
    /// Rows.
    Doubled,
}

/// Reads up to the closing quote; `text` begins after the opening one. `scratch` is only used where there are escapes,
/// so that it costs one allocation for a whole literal, and none for most. `None` without a closing quote.
pub(super) fn read_quoted<'value, 'text: 'value>(
    text: &'text [u8],
    inside: QuoteInside,
    scratch: &'value mut Vec<u8>,
) -> Option<Quoted<'value, 'text>> {
    scratch.clear();
    let mut pending = text;
    loop {
        let stop = pending.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (plain, at_stop) = pending.split_at_checked(stop)?;
        let (stop, after) = at_stop.split_first()?;
        let literal = match (stop, after.split_first()) {
            (b'\\', Some(escaped)) => Some(escaped),
            (b'\\', None) => return None,
            (_, Some(doubled @ (b'"', _))) if inside == QuoteInside::Doubled => Some(doubled),
            _ => None,
        };
        let Some((byte, rest)) = literal else {
            if scratch.is_empty() {
                return Some(Quoted { value: plain, rest: after });
            }
            scratch.extend_from_slice(plain);
            return Some(Quoted { value: scratch, rest: after });
        };
        scratch.extend_from_slice(plain);
        scratch.push(*byte);
        pending = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, inside: QuoteInside, expected: Option<(&str, &str)>) {
        let mut scratch = b"left over".to_vec();
        let quoted = read_quoted(text.as_bytes(), inside, &mut scratch);
        let expected = expected.map(|(value, rest)| (value.as_bytes(), rest.as_bytes()));
        assert_eq!(quoted.map(|quoted| (quoted.value, quoted.rest)), expected, "{text}");
    }

    #[test]
    fn removes_quotes_and_escapes() {
        check(r#"a b",c"#, QuoteInside::Backslash, Some(("a b", ",c")));
        check(r#"","#, QuoteInside::Backslash, Some(("", ",")));
        check(r#"\"a\\b\"""#, QuoteInside::Backslash, Some((r#""a\b""#, "")));
        check(r#"a""b"#, QuoteInside::Backslash, Some(("a", r#""b"#)));
        check(r#"a""b\\",x"#, QuoteInside::Doubled, Some((r#"a"b\"#, ",x")));
        check(r#""""x"#, QuoteInside::Doubled, Some((r#"""#, "x")));
    }

    #[test]
    fn wants_the_closing_quote() {
        for text in ["", "a", "\\", "\\\"", "a\\"] {
            check(text, QuoteInside::Backslash, None);
        }
        check(r#"a"""#, QuoteInside::Doubled, None);
    }
}
