//! Dates and times, compared as microseconds.
//!
//! What is read is what Postgres prints under `DateStyle=ISO` and `TimeZone=UTC`, and the common ways to write the same
//! in ISO 8601; of the many others that Postgres reads, some depend on settings or on when they are read.

use std::fmt::Write as _;

const MICROS_A_SECOND: i128 = 1_000_000;
const MICROS_A_DAY: i128 = 86_400 * MICROS_A_SECOND;
/// `infinity`, after every moment.
const INFINITY: i128 = i128::MAX;
const NEGATIVE_INFINITY: i128 = i128::MIN;
/// Postgres' calendar begins on 24 November 4714 BC …
const FIRST_DAY: i64 = days_from_civil(-4713, 11, 24);
/// … and ends before the first day of these years.
const DATE_END: i64 = days_from_civil(5_874_898, 1, 1);
const TIMESTAMP_END: i64 = days_from_civil(294_277, 1, 1);
/// An offset can be at most this far from UTC, exclusive (`MAX_TZDISP_HOUR`).
const OFFSET_END_SECONDS: i32 = 16 * 3_600;

/// Which type a text is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MomentType {
    Date,
    Timestamp,
    TimestampTz,
}

/// Microseconds since 1970, in UTC; a date is its first moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i128);

impl Moment {
    /// `None` for what is not understood, or is outside of the type's range.
    pub(super) fn parse(ty: MomentType, text: &str) -> Option<Self> {
        match text {
            "infinity" => return Some(Self(INFINITY)),
            "-infinity" => return Some(Self(NEGATIVE_INFINITY)),
            _ => {}
        }
        let (text, bc) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
        let (days, rest) = parse_date(text, bc)?;
        let (micros, offset) =
            if rest.is_empty() { (0, 0) } else { parse_time_of_day(rest.strip_prefix([' ', 'T'])?)? };
        let start = i128::from(days) * MICROS_A_DAY;
        let moment = match ty {
            MomentType::Date => start,
            // Postgres passes over the zone.
            MomentType::Timestamp => start + micros,
            MomentType::TimestampTz => start + micros - i128::from(offset) * MICROS_A_SECOND,
        };
        let end = if ty == MomentType::Date { DATE_END } else { TIMESTAMP_END };
        let range = i128::from(FIRST_DAY) * MICROS_A_DAY..i128::from(end) * MICROS_A_DAY;
        range.contains(&moment).then_some(Self(moment))
    }

    /// As Postgres prints it.
    pub(super) fn print(self, ty: MomentType) -> String {
        match self.0 {
            INFINITY => return "infinity".to_owned(),
            NEGATIVE_INFINITY => return "-infinity".to_owned(),
            _ => {}
        }
        let (year, month, day) = civil_from_days(self.0.div_euclid(MICROS_A_DAY));
        let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
        let mut text = format!("{shown:04}-{month:02}-{day:02}");
        if ty != MomentType::Date {
            text.push(' ');
            text.push_str(&print_time(self.0.rem_euclid(MICROS_A_DAY)));
        }
        if ty == MomentType::TimestampTz {
            text.push_str("+00");
        }
        text + era
    }
}

/// A `time`: microseconds since midnight, up to and with 24:00:00.
pub(super) fn parse_time(text: &str) -> Option<i128> {
    if text == "24:00:00" {
        return Some(MICROS_A_DAY);
    }
    let (micros, rest) = parse_clock(text)?;
    rest.is_empty().then_some(micros)
}

/// `03:40:00.5`; a fraction of a second is as long as it has to be.
pub(super) fn print_time(micros: i128) -> String {
    let seconds = micros / MICROS_A_SECOND;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = micros % MICROS_A_SECOND;
    if fraction != 0 {
        let _infallible = write!(text, ".{fraction:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

/// An `interval`, as microseconds of months of thirty days: two intervals with the same are equal.
pub(super) fn parse_interval(text: &str) -> Option<i128> {
    match text {
        "infinity" => return Some(INFINITY),
        "-infinity" => return Some(NEGATIVE_INFINITY),
        _ => {}
    }
    let mut words = text.split_ascii_whitespace().peekable();
    words.peek()?;
    let mut micros = 0_i128;
    while let Some(word) = words.next() {
        if word.contains(':') {
            micros += parse_span(word)?;
            return words.next().is_none().then_some(micros);
        }
        let count: i32 = word.parse().ok()?;
        micros += i128::from(count) * unit(words.next()?)?;
    }
    Some(micros)
}

const fn unit_days(days: i128) -> Option<i128> {
    Some(days * MICROS_A_DAY)
}

/// Units that don't differ from one version of Postgres to another.
fn unit(name: &str) -> Option<i128> {
    match name {
        "year" | "years" => unit_days(360),
        "mon" | "mons" | "month" | "months" => unit_days(30),
        "week" | "weeks" => unit_days(7),
        "day" | "days" => unit_days(1),
        "hour" | "hours" => Some(3_600 * MICROS_A_SECOND),
        "minute" | "minutes" => Some(60 * MICROS_A_SECOND),
        "second" | "seconds" => Some(MICROS_A_SECOND),
        _ => None,
    }
}

/// `-102:03:04.5`: hours, minutes and seconds, of any number of hours.
fn parse_span(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (hours, rest) = unsigned.split_once(':')?;
    let hours: i128 = number(hours).filter(|_| hours.len() <= 10)?;
    let (minutes, seconds) = rest.split_once(':')?;
    let micros = (hours * 60 + two_digits(minutes, 60)?) * 60 * MICROS_A_SECOND + parse_seconds(seconds)?;
    Some(if text.starts_with('-') { -micros } else { micros })
}

/// Days since 1970, and what follows the date. A year has four digits or more.
fn parse_date(text: &str, bc: bool) -> Option<(i64, &str)> {
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let year = number(year).filter(|_| (4..=7).contains(&year.len()))?;
    let year = if bc { 1 - i64::try_from(year).ok()? } else { i64::try_from(year).ok()? };
    let (month, day) = (two_digits(month, 13)?, two_digits(day, 32)?);
    let (month, day) = (i64::try_from(month).ok()?, i64::try_from(day).ok()?);
    let exists = (year != 0 || bc) && month > 0 && day > 0;
    let days = days_from_civil(year, month, day);
    // The thirtieth of February would be another day.
    let same = civil_from_days(i128::from(days)) == (year, month, day);
    (exists && same).then_some((days, rest))
}

/// Microseconds since midnight, and the offset from UTC in seconds.
fn parse_time_of_day(text: &str) -> Option<(i128, i32)> {
    let (micros, rest) = parse_clock(text)?;
    Some((micros, parse_offset(rest)?))
}

/// `03:40`, `03:40:00`, `03:40:00.123`, and what follows.
fn parse_clock(text: &str) -> Option<(i128, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (clock, rest) = text.split_at_checked(end)?;
    let (hours, minutes) = clock.split_once(':')?;
    let (minutes, seconds) = minutes.split_once(':').unwrap_or((minutes, "00"));
    let whole = (two_digits(hours, 24)? * 60 + two_digits(minutes, 60)?) * 60 * MICROS_A_SECOND;
    Some((whole + parse_seconds(seconds)?, rest))
}

/// With up to six digits of a fraction: more would be rounded.
fn parse_seconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| (1..=6).contains(digits))?;
    Some(two_digits(whole, 60)? * MICROS_A_SECOND + number(fraction)? * 10_i128.pow(6 - digits))
}

/// Nothing, `Z`, `+05`, `+0530`, `-05:30`, `+05:30:15`.
fn parse_offset(text: &str) -> Option<i32> {
    if matches!(text, "" | "Z" | "z") {
        return Some(0);
    }
    let unsigned = text.strip_prefix(['+', '-'])?;
    let compact = unsigned.len() == 4 && !unsigned.contains(':');
    let parts: Vec<&str> =
        if compact { vec![unsigned.get(..2)?, unsigned.get(2..)?] } else { unsigned.splitn(3, ':').collect() };
    let part = |index: usize, end| parts.get(index).map_or(Some(0), |part| two_digits(part, end));
    let seconds = i32::try_from(part(0, 24)? * 3_600 + part(1, 60)? * 60 + part(2, 60)?).ok()?;
    let seconds = Some(seconds).filter(|seconds| *seconds < OFFSET_END_SECONDS)?;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

fn two_digits(text: &str, end: i128) -> Option<i128> {
    Some(text).filter(|text| text.len() == 2).and_then(number).filter(|number| *number < end)
}

/// Digits only, unlike `str::parse`, which takes a sign.
fn number(text: &str) -> Option<i128> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Days since 1970 in the proleptic Gregorian calendar; the year before 1 is 0. Years are counted from March, so that a
/// leap day is a year's last.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i128) -> (i64, i64, i64) {
    let days = i64::try_from(days).unwrap_or(0) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgres_prints_is_read_and_printed_again() {
        for text in
            ["2026-11-22", "0001-01-01", "0044-03-15 BC", "4714-11-24 BC", "5874897-12-31", "infinity", "-infinity"]
        {
            assert_eq!(
                Moment::parse(MomentType::Date, text).map(|day| day.print(MomentType::Date)).as_deref(),
                Some(text)
            );
        }
        for text in ["2026-11-22 03:40:00.123456+00", "0044-03-15 23:59:59.5+00 BC", "294276-12-31 23:59:59.999999+00"]
        {
            let ty = MomentType::TimestampTz;
            assert_eq!(Moment::parse(ty, text).map(|moment| moment.print(ty)).as_deref(), Some(text));
        }
    }

    #[test]
    fn the_ways_to_write_the_same_are_the_same() {
        let same = |ty, texts: &[&str]| {
            let moments: Vec<_> =
                texts.iter().map(|text| Moment::parse(ty, text).unwrap_or_else(|| panic!("{text}"))).collect();
            assert!(moments.windows(2).all(|two| two[0] == two[1]), "{texts:?}");
        };
        same(
            MomentType::TimestampTz,
            &["2026-11-22T03:40:00Z", "2026-11-22 03:40", "2026-11-22 09:10:00.000+05:30", "2026-11-21T19:40:00-0800"],
        );
        same(MomentType::Timestamp, &["2026-11-22T03:40:00Z", "2026-11-22 03:40:00+05"]);
        same(MomentType::Date, &["2026-11-22", "2026-11-22T23:00:00-11"]);
    }

    #[test]
    fn what_is_no_date_or_time_is_none() {
        for text in [
            "",
            "2026-02-30",
            "2023-02-29",
            "2026-13-01",
            "0000-01-01",
            "26-01-01",
            "2026-1-1",
            "today",
            "4714-11-23 BC",
            "2026-11-22x",
        ] {
            assert_eq!(Moment::parse(MomentType::Date, text), None, "{text}");
        }
        for text in [
            "2026-11-22 24:00:00",
            "2026-11-22 03:40:60",
            "2026-11-22 03",
            "2026-11-22 03:40:00.1234567",
            "2026-11-22 03:40+99",
            "2026-11-22 ",
        ] {
            assert_eq!(Moment::parse(MomentType::Timestamp, text), None, "{text}");
        }
        assert_eq!(parse_time("24:00:00"), Some(MICROS_A_DAY));
        assert_eq!(parse_time("24:00:01"), None);
    }

    #[test]
    fn intervals_are_months_of_thirty_days() {
        let day = Some(MICROS_A_DAY);
        for text in [
            "1 day",
            "24:00:00",
            "1 mon -29 days",
            "2 days -24:00:00",
            "-1 year +361 days",
            "24 hours",
            "1 day 00:00:00.000000",
        ] {
            assert_eq!(parse_interval(text), day, "{text}");
        }
        for text in ["", "1", "day", "1.5 days", "1 day 2", "04:05", "P1D", "1 fortnight", "00:60:00"] {
            assert_eq!(parse_interval(text), None, "{text}");
        }
    }
}
