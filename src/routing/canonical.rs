//! A value's text in a topic: how Postgres prints it, and whether a text is one that Postgres could have printed.
//!
//! Both go by the type under all domains. OIDs are those of `pg_type.dat`, which never change.

mod float;

use std::cmp::Reverse;

use crate::change::{Oid, Type};

const BOOL: Oid = 16;
const INT8: Oid = 20;
const INT2: Oid = 21;
const INT4: Oid = 23;
const OID: Oid = 26;
const FLOAT4: Oid = 700;
const FLOAT8: Oid = 701;
const INET: Oid = 869;
const BPCHAR: Oid = 1042;
const DATE: Oid = 1082;
const TIMESTAMP: Oid = 1114;
const TIMESTAMPTZ: Oid = 1184;
const NUMERIC: Oid = 1700;
const UUID: Oid = 2950;

/// Postgres' calendar: from 24 November 4714 BC …
const FIRST_DATE_BC: (u32, Reverse<(u32, u32)>) = (4714, Reverse((11, 24)));
/// … to the end of these years.
const MAX_DATE_YEAR: u32 = 5_874_897;
const MAX_TIMESTAMP_YEAR: u32 = 294_276;

/// How a type's output (what the write-ahead log carries) becomes `value::text`.
///
/// They differ where the cast to `text` is a function of its own (`pg_cast.castmethod = 'f'`) and not the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextForm {
    /// The output itself.
    Output,
    /// Output `t` and `f`, text `true` and `false`.
    Bool,
    /// Output padded to the length of the type, text without.
    Unpadded,
    /// Output without the mask where it is a single host's, text with.
    Masked,
}

impl TextForm {
    pub(super) const fn of(ty: &Type) -> Self {
        match ty.base_oid {
            BOOL => Self::Bool,
            BPCHAR => Self::Unpadded,
            INET => Self::Masked,
            _ => Self::Output,
        }
    }

    /// The text form of an output, in two pieces to be joined.
    pub(super) fn text(self, output: &str) -> (&str, &'static str) {
        match self {
            Self::Output => (output, ""),
            Self::Bool if output == "t" => ("true", ""),
            Self::Bool => ("false", ""),
            Self::Unpadded => (output.trim_end_matches(' '), ""),
            Self::Masked if output.contains('/') => (output, ""),
            Self::Masked if output.contains(':') => (output, "/128"),
            Self::Masked => (output, "/32"),
        }
    }
}

/// Whether `text` is the one spelling that Postgres prints for some value of the type. Types that are not told apart
/// here take any text: what Postgres never prints is then a topic on which nothing happens.
pub(super) fn is_canonical(ty: &Type, text: &str) -> bool {
    match ty.base_oid {
        BOOL => matches!(text, "true" | "false"),
        INT2 => is_printed_by(text, text.parse::<i16>()),
        INT4 => is_printed_by(text, text.parse::<i32>()),
        INT8 => is_printed_by(text, text.parse::<i64>()),
        OID => is_printed_by(text, text.parse::<u32>()),
        FLOAT4 => float::is_printed::<f32>(text),
        FLOAT8 => float::is_printed::<f64>(text),
        NUMERIC => is_numeric(text),
        UUID => is_uuid(text),
        DATE => is_date_and(text, MAX_DATE_YEAR, str::is_empty),
        TIMESTAMP => is_date_and(text, MAX_TIMESTAMP_YEAR, is_time),
        TIMESTAMPTZ => is_date_and(text, MAX_TIMESTAMP_YEAR, |rest| rest.strip_suffix("+00").is_some_and(is_time)),
        BPCHAR => !text.ends_with(' '),
        _ => true,
    }
}

/// Rust prints integers as Postgres does.
fn is_printed_by<N: ToString, E>(text: &str, number: Result<N, E>) -> bool {
    number.is_ok_and(|number| number.to_string() == text)
}

/// `0`, `-12.50`, `NaN`: no exponent, no superfluous zero in front, no negative zero. Zeros at the end tell the scale.
fn is_numeric(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let has_value = digits.bytes().any(|b| matches!(b, b'1'..=b'9'));
    (whole == "0" || (is_digits(whole) && !whole.starts_with('0')))
        && fraction.is_none_or(is_digits)
        && (has_value || digits.len() == text.len())
}

/// `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`, in lower case.
fn is_uuid(text: &str) -> bool {
    let group = |group: &str, length| group.len() == length && group.bytes().all(is_lower_hex);
    let groups: Vec<&str> = text.splitn(6, '-').collect();
    matches!(&*groups, [a, b, c, d, e] if group(a, 8) && [b, c, d].iter().all(|g| group(g, 4)) && group(e, 12))
}

const fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// An ISO date (`2026-11-22`, `0044-03-15 BC`) with `rest` between the date and the era, or an infinity.
fn is_date_and(text: &str, max_year: u32, rest: impl Fn(&str) -> bool) -> bool {
    if matches!(text, "infinity" | "-infinity") {
        return true;
    }
    let (text, bc) = text.strip_suffix(" BC").map_or((text, false), |date| (date, true));
    split_date(text).is_some_and(|(year, month, day, after)| {
        // The astronomical year: 1 BC is 0, so that leap years are counted right.
        let astronomical = if bc { 1 - i64::from(year) } else { i64::from(year) };
        let in_range = if bc { (year, Reverse((month, day))) <= FIRST_DATE_BC } else { year <= max_year };
        year > 0 && in_range && (1..=days_in(month, astronomical)).contains(&day) && rest(after)
    })
}

/// Year, month, day, and what follows. A year has at least four digits, and more only where it needs them.
fn split_date(text: &str) -> Option<(u32, u32, u32, &str)> {
    let (year, after) = text.split_once('-')?;
    let (month, after) = after.split_once('-')?;
    let (day, after) = after.split_at_checked(2)?;
    let year = Some(year).filter(|year| year.len() == 4 || (year.len() > 4 && !year.starts_with('0')))?;
    Some((number(year)?, two_digits(month)?, two_digits(day)?, after))
}

const fn days_in(month: u32, year: i64) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    }
}

/// ` 03:40:00` with up to six digits of a second's fraction, which never ends in zero.
fn is_time(text: &str) -> bool {
    let Some(text) = text.strip_prefix(' ') else { return false };
    let (time, fraction) = text.split_once('.').map_or((text, None), |(time, part)| (time, Some(part)));
    let parts: Vec<&str> = time.splitn(4, ':').collect();
    let below = |part: &str, limit| two_digits(part).is_some_and(|number| number < limit);
    matches!(&*parts, [h, m, s] if below(h, 24) && below(m, 60) && below(s, 60))
        && fraction.is_none_or(|digits| digits.len() <= 6 && is_digits(digits) && !digits.ends_with('0'))
}

fn two_digits(text: &str) -> Option<u32> {
    Some(text).filter(|text| text.len() == 2).and_then(number)
}

/// Digits only, unlike `str::parse`, which takes a sign.
fn number(text: &str) -> Option<u32> {
    Some(text).filter(|text| is_digits(text)).and_then(|text| text.parse().ok())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::change::TypeKind;

    const TEXT: Oid = 25;

    fn type_of(oid: Oid) -> Type {
        Type { oid: 100_000, base_oid: oid, name: "t".into(), kind: TypeKind::Text }
    }

    fn check(oid: Oid, canonical: &[&str], not: &[&str]) {
        for text in canonical {
            assert!(is_canonical(&type_of(oid), text), "{oid}: {text}");
        }
        for text in not {
            assert!(!is_canonical(&type_of(oid), text), "{oid}: {text}");
        }
    }

    #[test]
    fn integers_are_plain_and_in_range() {
        let not = ["", "07", "+7", "-0", "7 ", " 7", "0x7", "7.0", "1e3", "٧"];
        check(INT2, &["0", "-32768", "32767"], &["32768", "-32769"]);
        check(INT4, &["7", "-2147483648"], &["2147483648"]);
        check(INT8, &["9223372036854775807"], &["9223372036854775808"]);
        check(OID, &["4294967295"], &["-1", "4294967296"]);
        for oid in [INT2, INT4, INT8, OID] {
            check(oid, &[], &not);
        }
    }

    #[test]
    fn numerics_keep_their_scale_and_nothing_else() {
        let canonical = ["0", "0.00", "-0.5", "12.50", "100", "NaN", "Infinity", "-Infinity"];
        check(NUMERIC, &canonical, &["", "-", ".5", "5.", "00", "01.5", "-0", "-0.00", "1e3", "+1", "nan", "1.2.3"]);
    }

    #[test]
    fn uuids_are_lower_case_with_hyphens() {
        check(
            UUID,
            &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
            &[
                "A0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "a0eebc999c0b4ef8bb6d6bb9bd380a11",
                "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
                "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            ],
        );
    }

    #[test]
    fn dates_are_iso() {
        let canonical = ["2026-11-22", "2024-02-29", "0044-03-15 BC", "0001-02-29 BC", "10000-01-01", "infinity"];
        check(
            DATE,
            &canonical,
            &[
                "",
                "2026-1-22",
                "2026-11-31",
                "2023-02-29",
                "1900-02-29",
                "0000-01-01",
                "02026-11-22",
                "26-11-22",
                "2026-11-22 ",
                "2026-11-22 AD",
                "+2026-11-22",
                "2026-+1-22",
                "2026-13-01",
                "2026-00-01",
                "2026-11-00",
            ],
        );
    }

    #[test]
    fn timestamps_are_iso_and_in_utc() {
        check(
            TIMESTAMP,
            &["2026-11-22 03:40:00", "2026-11-22 03:40:00.123456", "0044-03-15 00:00:00.5 BC"],
            &[
                "2026-11-22",
                "2026-11-22T03:40:00",
                "2026-11-22 03:40",
                "2026-11-22 24:00:00",
                "2026-11-22 03:40:60",
                "2026-11-22 03:40:00.",
                "2026-11-22 03:40:00.10",
                "2026-11-22 03:40:00.1234567",
                "2026-11-22 3:40:00",
            ],
        );
        check(
            TIMESTAMPTZ,
            &["2026-11-22 03:40:00+00", "-infinity", "0044-03-15 00:00:00.5+00 BC"],
            &["2026-11-22 03:40:00", "2026-11-22 03:40:00Z", "2026-11-22 03:40:00+01", "2026-11-22+00"],
        );
    }

    #[test]
    fn text_is_any_text_and_bool_is_a_word() {
        check(BOOL, &["true", "false"], &["t", "f", "TRUE", "", "1"]);
        check(TEXT, &["", " x ", "07"], &[]);
        check(BPCHAR, &["", " x"], &["x "]);
    }

    fn text_of(oid: Oid, output: &str) -> String {
        let (stem, suffix) = TextForm::of(&type_of(oid)).text(output);
        format!("{stem}{suffix}")
    }

    #[test]
    fn outputs_become_text() {
        assert_eq!(text_of(BOOL, "t"), "true");
        assert_eq!(text_of(BOOL, "f"), "false");
        assert_eq!(text_of(BPCHAR, "x y  "), "x y");
        assert_eq!(text_of(INET, "10.0.0.1"), "10.0.0.1/32");
        assert_eq!(text_of(INET, "10.0.0.0/8"), "10.0.0.0/8");
        assert_eq!(text_of(INET, "::1"), "::1/128");
        assert_eq!(text_of(TEXT, "x  "), "x  ");
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "[0-9a-f:. +BC-]{0,30}|.{0,30}") {
            for oid in [BOOL, INT2, INT4, INT8, OID, NUMERIC, UUID, DATE, TIMESTAMP, TIMESTAMPTZ, BPCHAR, TEXT] {
                let _judged = is_canonical(&type_of(oid), &text);
            }
        }

        #[test]
        fn every_integer_is_canonical(n: i64) {
            prop_assert!(is_canonical(&type_of(INT8), &n.to_string()));
            prop_assert_eq!(is_canonical(&type_of(INT4), &n.to_string()), i32::try_from(n).is_ok());
        }
    }
}
