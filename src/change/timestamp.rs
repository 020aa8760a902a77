//! Postgres' timestamps.

/// Microseconds since 2000-01-01 00:00 UTC, the form in which the replication protocol carries time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgTimestamp(i64);

impl PgTimestamp {
    /// Seconds from the Unix epoch to Postgres' own.
    pub const UNIX_EPOCH_OFFSET_SECONDS: i64 = 946_684_800;
    /// `infinity`, later than every other.
    pub const INFINITY: Self = Self(i64::MAX);
    /// `-infinity`, earlier than every other.
    pub const NEGATIVE_INFINITY: Self = Self(i64::MIN);

    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Date and time of day in UTC. The infinities, too, get some date.
    #[must_use]
    pub(super) const fn utc(self) -> UtcDateTime {
        let days = self.0.div_euclid(MICROS_PER_DAY);
        let micros_of_day = self.0.rem_euclid(MICROS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        UtcDateTime { year, month, day, micros_of_day }
    }
}

/// A point in time as people write it, in UTC and the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UtcDateTime {
    /// Astronomical: 0 is 1 BC, -1 is 2 BC.
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// 1 to 31.
    pub(super) day: i64,
    /// Since midnight.
    pub(super) micros_of_day: i64,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// `(year, month, day)` of a day counted from 2000-01-01.
///
/// Counted in years that begin on 1 March, so that the leap day is a year's last; 400 of them have always the same
/// number of days.
const fn civil_from_days(days_since_2000: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    // 2000-03-01 is 60 days into the year, and begins an era.
    let days = days_since_2000 - 60;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    // Without the leap days before it, a day's number is 365 times its year and a rest.
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, months have 31, 30, 31, 30, 31 days, and again: 153 in five months.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (2000 + era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_follows_the_day_before() {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_in = |year: i64, month: i64| match month {
            2 => 28 + i64::from(is_leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        assert_eq!(civil_from_days(0), (2000, 1, 1));
        // From before 1 BC to after 2400.
        let mut expected = civil_from_days(-740_000);
        for days in -740_000..150_000 {
            assert_eq!(civil_from_days(days), expected, "day {days}");
            let (year, month, day) = expected;
            expected = match (month, day < days_in(year, month)) {
                (_, true) => (year, month, day + 1),
                (12, false) => (year + 1, 1, 1),
                (_, false) => (year, month + 1, 1),
            };
        }
    }
}
