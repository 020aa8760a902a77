//! Booleans and numbers.

use super::ValueError;
use super::escape::write_quoted;

pub(super) fn write_bool(out: &mut Vec<u8>, text: &[u8]) -> Result<(), ValueError> {
    let json: &[u8] = match text {
        b"t" => b"true",
        b"f" => b"false",
        _ => return Err(ValueError::Bool),
    };
    out.extend_from_slice(json);
    Ok(())
}

/// Appends a number that is not a row's value.
pub fn write_unsigned(out: &mut Vec<u8>, number: u32) {
    const DIGITS_MAX: usize = 10;
    let mut digits = [b'0'; DIGITS_MAX];
    let (mut rest, mut length) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.split_at(DIGITS_MAX - length).1);
}

/// The text itself; `NaN` and the infinities as strings.
pub(super) fn write_number(out: &mut Vec<u8>, text: &[u8]) {
    if is_json_number(text) {
        out.extend_from_slice(text);
    } else {
        write_quoted(out, text);
    }
}

/// JSON's grammar: no leading zero, no plus sign, no bare point.
fn is_json_number(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let Some((integer, rest)) = split_digits(unsigned) else { return false };
    if integer.len() > 1 && integer.starts_with(b"0") {
        return false;
    }
    let rest = match rest.strip_prefix(b".").map(split_digits) {
        None => rest,
        Some(Some((_, rest))) => rest,
        Some(None) => return false,
    };
    match rest.split_first() {
        None => true,
        Some((b'e' | b'E', exponent)) => {
            let digits = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
            split_digits(digits).is_some_and(|(_, rest)| rest.is_empty())
        }
        Some(_) => false,
    }
}

/// One or more digits, and what follows them.
fn split_digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let count = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    if count == 0 { None } else { text.split_at_checked(count) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn knows_a_json_number() {
        for number in ["0", "-0", "12", "-1.50", "0.1", "1e+20", "1E5", "1.5e-07"] {
            assert!(is_json_number(number.as_bytes()), "{number}");
        }
        for other in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "NaN", "Infinity", "-Infinity", "1 ", "1x", "--1"] {
            assert!(!is_json_number(other.as_bytes()), "{other}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_rust_prints_them(number: u32, shift in 0..32_u32) {
            let mut out = Vec::new();
            write_unsigned(&mut out, number >> shift);
            prop_assert_eq!(String::from_utf8(out).unwrap(), (number >> shift).to_string());
        }

        #[test]
        fn agrees_with_serde_json(text in "[-+0-9.eE]{0,8}") {
            let parsed = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            prop_assert_eq!(is_json_number(text.as_bytes()), parsed.is_ok());
        }
    }
}
