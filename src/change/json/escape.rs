//! JSON strings, escaped as Postgres' `escape_json` does.

/// Appends a JSON string with its quotes.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    write_quoted(out, text.as_bytes());
}

/// The same for bytes that are known to be UTF-8.
pub(super) fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// The inside of a JSON string.
pub(super) fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let (plain, tail) = rest.split_at_checked(plain_length(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = tail.split_first() else { return };
        write_escape(out, *byte);
        rest = after;
    }
}

/// How many bytes at the start stand for themselves.
fn plain_length(text: &[u8]) -> usize {
    let (words, remainder) = text.as_chunks::<8>();
    let plain_words = words.iter().position(|word| has_special(u64::from_ne_bytes(*word)));
    let mut length = plain_words.unwrap_or(words.len()) * 8;
    let rest = if plain_words.is_some() { text.get(length..).unwrap_or_default() } else { remainder };
    length += rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
    length
}

const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether any of eight bytes is special, without a branch for each.
///
/// `(x - n) & !x` has the top bit of a byte set where that byte is less than n (up to 0x80); a borrow from a byte that
/// is can set it for the next one too, which does not change the answer for all eight.
const fn has_special(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & TOPS != 0
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digit = HEX.get(usize::from(byte & 0x0f)).copied().unwrap_or_default();
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_what_postgres_escapes_and_nothing_else() {
        assert_eq!(written("a\"b\\c/d"), r#""a\"b\\c/d""#);
        assert_eq!(written("\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}"), "\"\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}\"");
        assert_eq!(written("grüße 🦀"), "\"grüße 🦀\"");
    }

    proptest! {
        #[test]
        fn reads_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }

        #[test]
        fn a_word_is_special_where_a_byte_of_it_is(word: [u8; 8]) {
            prop_assert_eq!(has_special(u64::from_ne_bytes(word)), word.iter().any(|byte| is_special(*byte)));
        }

        #[test]
        fn a_mostly_plain_word_too(mut word in prop::array::uniform8(0x20_u8..), at in 0_usize..8, byte: u8) {
            word[at] = byte;
            prop_assert_eq!(has_special(u64::from_ne_bytes(word)), word.iter().any(|byte| is_special(*byte)));
        }
    }
}
