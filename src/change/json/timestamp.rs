//! Dates and times, in the form of XML Schema in which `row_to_json` writes them.

use super::escape::write_escaped;
use crate::change::PgTimestamp;

/// Appends what `to_json(timestamptz)` gives under `TimeZone=UTC`, quotes included:
/// `"2026-11-22T03:40:00.123456+00:00"`.
pub fn write_timestamp(out: &mut Vec<u8>, timestamp: PgTimestamp) {
    out.push(b'"');
    match timestamp {
        PgTimestamp::INFINITY => out.extend_from_slice(b"infinity"),
        PgTimestamp::NEGATIVE_INFINITY => out.extend_from_slice(b"-infinity"),
        finite => write_finite(out, finite),
    }
    out.push(b'"');
}

fn write_finite(out: &mut Vec<u8>, timestamp: PgTimestamp) {
    let date_time = timestamp.utc();
    let is_before_christ = date_time.year <= 0;
    let seconds = date_time.micros_of_day / 1_000_000;
    match if is_before_christ { 1 - date_time.year } else { date_time.year }.unsigned_abs() {
        year @ ..10_000 => write_padded::<4>(out, year),
        year => out.extend_from_slice(year.to_string().as_bytes()),
    }
    for (separator, number) in [
        (b'-', date_time.month),
        (b'-', date_time.day),
        (b'T', seconds / 3_600),
        (b':', seconds / 60 % 60),
        (b':', seconds % 60),
    ] {
        out.push(separator);
        write_padded::<2>(out, number.unsigned_abs());
    }
    write_fraction(out, date_time.micros_of_day % 1_000_000);
    out.extend_from_slice(if is_before_christ { b"+00:00 BC" } else { b"+00:00" });
}

/// Nothing where there are only whole seconds, else without trailing zeros.
fn write_fraction(out: &mut Vec<u8>, micros: i64) {
    if micros == 0 {
        return;
    }
    out.push(b'.');
    write_padded::<6>(out, micros.unsigned_abs());
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// A number of at most `WIDTH` digits, with zeros before it.
fn write_padded<const WIDTH: usize>(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; WIDTH];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// `2026-11-22 03:40:00 BC`, or an infinity.
pub(super) fn write_timestamp_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    write_joined(out, text);
    out.push(b'"');
}

/// `2026-11-22 03:40:00+00 BC`, or an infinity: an offset of whole hours gets its minutes.
pub(super) fn write_timestamp_tz_text(out: &mut Vec<u8>, text: &[u8]) {
    let (text, era): (_, &[u8]) = text.strip_suffix(b" BC").map_or((text, b""), |text| (text, b" BC"));
    out.push(b'"');
    write_joined(out, text);
    if let [.., b'+' | b'-', b'0'..=b'9', b'0'..=b'9'] = text {
        out.extend_from_slice(b":00");
    }
    out.extend_from_slice(era);
    out.push(b'"');
}

/// Date and time with a `T` for the blank between them.
fn write_joined(out: &mut Vec<u8>, text: &[u8]) {
    let blank = text.iter().position(|byte| *byte == b' ');
    match blank.and_then(|blank| text.split_at_checked(blank)) {
        Some((date, [_, time @ ..])) => {
            write_escaped(out, date);
            out.push(b'T');
            write_escaped(out, time);
        }
        _ => write_escaped(out, text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(micros: i64) -> String {
        let mut out = Vec::new();
        write_timestamp(&mut out, PgTimestamp::from_micros(micros));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_timestamps_as_to_json_does() {
        for (micros, expected) in [
            (0, "2000-01-01T00:00:00+00:00"),
            (848_547_600_123_456, "2026-11-21T03:40:00.123456+00:00"),
            (100_000, "2000-01-01T00:00:00.1+00:00"),
            (-1, "1999-12-31T23:59:59.999999+00:00"),
            (-63_113_904_000_000_000, "0001-01-01T00:00:00+00:00 BC"),
            (-211_810_204_800_000_000, "4713-01-01T00:00:00+00:00 BC"),
            // Postgres' first timestamp and its last.
            (-211_813_488_000_000_000, "4714-11-24T00:00:00+00:00 BC"),
            (9_223_371_331_199_999_999, "294276-12-31T23:59:59.999999+00:00"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            assert_eq!(written(micros), format!("\"{expected}\""), "{micros}");
        }
    }

    proptest! {
        #[test]
        fn any_timestamp_is_a_json_string(micros: i64) {
            prop_assert!(serde_json::from_str::<String>(&written(micros)).is_ok());
        }
    }
}
