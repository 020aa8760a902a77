//! Durations (`"10m"`) and sizes (`"256MiB"`) as an operator writes them.

use std::time::Duration;

/// Why a text is no duration or no size: a part of the text, what is wrong with it, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(super) struct QuantityError {
    pub(super) at: std::ops::Range<usize>,
    pub(super) problem: String,
    pub(super) help: String,
}

const DURATION_HELP: &str = "write a number and a unit (`ms`, `s`, `m`, `h`, `d`), as in `90s`, `10m` or `1h30m`";
const SIZE_HELP: &str = "write a number and a unit (`B`, `KiB`, `MiB`, `GiB`, `TiB`), as in `512KiB` or `1GiB`";

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000)];
const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Parses `500ms`, `90s`, `10m`, `1h30m`, `0`.
///
/// # Errors
/// The text is anything else, or longer than 2⁶⁴ milliseconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total: u64 = 0;
    let mut position = 0;
    while position < text.len() || position == 0 {
        let (amount, end) = term(text, position, &DURATION_UNITS, DURATION_HELP)?;
        total = total.checked_add(amount).ok_or_else(|| too_large(0..text.len()))?;
        position = end;
    }
    Ok(Duration::from_millis(total))
}

/// Parses `0`, `255B`, `512KiB`, `256MiB`, `1GiB` into bytes.
///
/// # Errors
/// The text is anything else, or larger than 2⁶⁴ bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, QuantityError> {
    if text == "0" {
        return Ok(0);
    }
    let (bytes, end) = term(text, 0, &SIZE_UNITS, SIZE_HELP)?;
    if end < text.len() {
        return Err(error(end..text.len(), "a size is one number and one unit", SIZE_HELP));
    }
    Ok(bytes)
}

/// A duration as `parse_duration` reads it, in the largest unit that leaves no rest.
#[must_use]
pub fn display_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    display(milliseconds, &DURATION_UNITS)
}

/// A size as `parse_size` reads it, in the largest unit that leaves no rest.
#[must_use]
pub fn display_size(bytes: u64) -> String {
    display(bytes, &SIZE_UNITS)
}

fn display(amount: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().rev().find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor));
    exact.map_or_else(|| "0".to_owned(), |(unit, factor)| format!("{}{unit}", amount / factor))
}

/// A number and its unit from `start` on; the amount in the smallest unit and where the term ends.
fn term(text: &str, start: usize, units: &[(&str, u64)], help: &str) -> Result<(u64, usize), QuantityError> {
    let rest = &text[start..];
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    if digits == 0 {
        let what = if rest.is_empty() { "empty" } else { "a number is expected here" };
        return Err(error(start..text.len(), what, help));
    }
    let after = &rest[digits..];
    let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
    let unit = &after[..letters];
    let unit_at = start + digits..start + digits + letters;
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown_unit(&rest[..digits], unit, unit_at, start..text.len(), units, help));
    };
    let number: u64 = rest[..digits].parse().map_err(|_| too_large(start..start + digits))?;
    let amount = number.checked_mul(*factor).ok_or_else(|| too_large(start..unit_at.end))?;
    Ok((amount, unit_at.end))
}

fn unknown_unit(
    number: &str,
    unit: &str,
    unit_at: std::ops::Range<usize>,
    whole: std::ops::Range<usize>,
    units: &[(&str, u64)],
    help: &str,
) -> QuantityError {
    if unit.is_empty() {
        return error(whole, "the unit is missing", help);
    }
    // `MB` is 10⁶ to some and 2²⁰ to others (Postgres among them), so that it is not taken silently as either.
    let same = |name: &str| name.eq_ignore_ascii_case(unit) || name.replace('i', "").eq_ignore_ascii_case(unit);
    match units.iter().find(|(name, _)| same(name)) {
        Some((name, _)) => error(unit_at, "unknown unit", &format!("did you mean `{number}{name}`?")),
        None => error(unit_at, "unknown unit", help),
    }
}

fn too_large(at: std::ops::Range<usize>) -> QuantityError {
    error(at, "too large", "write a smaller number")
}

fn error(at: std::ops::Range<usize>, problem: &str, help: &str) -> QuantityError {
    QuantityError { at, problem: problem.to_owned(), help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let milliseconds = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(milliseconds("10m"), Ok(600_000));
        assert_eq!(milliseconds("1h30m"), Ok(5_400_000));
        assert_eq!(milliseconds("250ms"), Ok(250));
        assert_eq!(milliseconds("0"), Ok(0));
        for bad in ["", "m", "10", "10 m", "10x", "1h30", "-5s", "1.5h", "99999999999999999999s", "٣s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("255B"), Ok(255));
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("256MB").unwrap_err().help, "did you mean `256MiB`?");
        assert_eq!(parse_size("1gib").unwrap_err().help, "did you mean `1GiB`?");
        for bad in ["", "MiB", "1", "1MiB2", "99999999TiB", "1 MiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(amount in 0..u64::MAX) {
            prop_assert_eq!(parse_size(&display_size(amount)), Ok(amount));
            let duration = Duration::from_millis(amount);
            prop_assert_eq!(parse_duration(&display_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused_within_its_bounds(text in ".{0,20}") {
            for at in [parse_duration(&text).err(), parse_size(&text).err()].into_iter().flatten().map(|e| e.at) {
                prop_assert!(text.get(at).is_some());
            }
        }
    }
}
