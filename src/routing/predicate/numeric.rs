//! `numeric`, compared exactly whatever its precision: on the digits, without arithmetic.

use std::borrow::Cow;
use std::cmp::Ordering;

/// The greatest exponent that is read: Postgres has 131,072 digits before the point and 16,383 after it.
const EXPONENT_MAX: i32 = 200_000;
/// What Postgres' `numeric` can hold before the point …
const WHOLE_DIGITS_MAX: i32 = 131_072;
/// … and after it.
const FRACTION_DIGITS_MAX: i32 = 16_383;

/// A number as its significant digits: `0.digits × 10^exponent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal<'t> {
    negative: bool,
    /// Without zeros at either end; empty for zero. In two pieces, as a point divides them.
    whole: Cow<'t, [u8]>,
    fraction: Cow<'t, [u8]>,
    exponent: i32,
}

/// A `numeric`; infinities are beyond all numbers, and NaN beyond them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Numeric<'t> {
    NegativeInfinity,
    Finite(Decimal<'t>),
    Infinity,
    NaN,
}

impl<'t> Numeric<'t> {
    /// What Postgres prints, and what it reads but for blanks.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let (sign, unsigned) = match text.as_bytes().first()? {
            b'-' => (Some(true), text.get(1..)?),
            b'+' => (Some(false), text.get(1..)?),
            _ => (None, text),
        };
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            return Some(if sign == Some(true) { Self::NegativeInfinity } else { Self::Infinity });
        }
        if sign.is_none() && unsigned.eq_ignore_ascii_case("nan") {
            return Some(Self::NaN);
        }
        Decimal::parse(sign == Some(true), unsigned).map(Self::Finite)
    }

    /// Whether Postgres' `numeric` has room for it.
    pub(super) fn fits(&self) -> bool {
        let Self::Finite(decimal) = self else { return true };
        let fits = decimal.exponent <= WHOLE_DIGITS_MAX && decimal.fraction_digits() <= FRACTION_DIGITS_MAX;
        decimal.is_zero() || fits
    }

    #[cfg(test)]
    pub(super) fn of_integer(number: i64) -> Numeric<'static> {
        let text = number.unsigned_abs().to_string();
        let parsed = Decimal::parse(number < 0, &text).map(Decimal::into_owned);
        parsed.map_or(Numeric::NaN, Numeric::Finite)
    }

    pub(super) fn is_zero(&self) -> bool {
        matches!(self, Self::Finite(decimal) if decimal.is_zero())
    }

    pub(super) const fn is_finite(&self) -> bool {
        matches!(self, Self::Finite(_))
    }

    /// The integer that it is, where it is one.
    pub(super) fn is_integral(&self) -> bool {
        matches!(self, Self::Finite(decimal) if decimal.is_zero() || decimal.fraction_digits() <= 0)
    }

    pub(super) fn borrowed(&self) -> Numeric<'_> {
        match self {
            Self::NegativeInfinity => Numeric::NegativeInfinity,
            Self::Finite(decimal) => Numeric::Finite(decimal.borrowed()),
            Self::Infinity => Numeric::Infinity,
            Self::NaN => Numeric::NaN,
        }
    }

    pub(super) fn into_owned(self) -> Numeric<'static> {
        match self {
            Self::NegativeInfinity => Numeric::NegativeInfinity,
            Self::Finite(decimal) => Numeric::Finite(decimal.into_owned()),
            Self::Infinity => Numeric::Infinity,
            Self::NaN => Numeric::NaN,
        }
    }

    pub(super) fn compare(&self, other: &Numeric<'_>) -> Ordering {
        match (self, other) {
            (Self::Finite(left), Numeric::Finite(right)) => left.compare(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::NegativeInfinity => 0,
            Self::Finite(_) => 1,
            Self::Infinity => 2,
            Self::NaN => 3,
        }
    }
}

impl<'t> Decimal<'t> {
    fn parse(negative: bool, text: &'t str) -> Option<Self> {
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || whole.len() + fraction.len() == 0 {
            return None;
        }
        Self::trimmed(negative, whole.as_bytes(), fraction.as_bytes(), exponent)
    }

    fn trimmed(negative: bool, whole: &'t [u8], fraction: &'t [u8], exponent: i32) -> Option<Self> {
        let whole = trim_start(whole);
        let fraction = trim_end(fraction);
        let length = |digits: &[u8]| i32::try_from(digits.len()).ok();
        let (whole, fraction, exponent) = if whole.is_empty() {
            let significant = trim_start(fraction);
            let zeros = length(fraction)? - length(significant)?;
            (whole, significant, exponent - zeros)
        } else {
            (if fraction.is_empty() { trim_end(whole) } else { whole }, fraction, exponent + length(whole)?)
        };
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self {
            negative: negative && !zero,
            whole: Cow::Borrowed(whole),
            fraction: Cow::Borrowed(fraction),
            exponent: if zero { 0 } else { exponent },
        })
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    /// How many digits stand after the point.
    fn fraction_digits(&self) -> i32 {
        let digits = i32::try_from(self.whole.len() + self.fraction.len()).unwrap_or(i32::MAX);
        digits.saturating_sub(self.exponent)
    }

    fn borrowed(&self) -> Decimal<'_> {
        Decimal {
            negative: self.negative,
            whole: Cow::Borrowed(&self.whole),
            fraction: Cow::Borrowed(&self.fraction),
            exponent: self.exponent,
        }
    }

    fn into_owned(self) -> Decimal<'static> {
        Decimal {
            negative: self.negative,
            whole: Cow::Owned(self.whole.into_owned()),
            fraction: Cow::Owned(self.fraction.into_owned()),
            exponent: self.exponent,
        }
    }

    fn digits(&self) -> impl Iterator<Item = &u8> {
        self.whole.iter().chain(self.fraction.iter())
    }

    fn compare(&self, other: &Decimal<'_>) -> Ordering {
        match (self.sign(), other.sign()) {
            (-1, -1) => other.magnitude(self),
            (1, 1) => self.magnitude(other),
            (left, right) => left.cmp(&right),
        }
    }

    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Of two that are not zero. Without zeros at the end, the longer of two with the same start is greater.
    fn magnitude(&self, other: &Decimal<'_>) -> Ordering {
        self.exponent.cmp(&other.exponent).then_with(|| self.digits().cmp(other.digits()))
    }
}

fn parse_exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent: i32 = digits.parse().ok().filter(|exponent| *exponent <= EXPONENT_MAX)?;
    Some(if text.starts_with('-') { -exponent } else { exponent })
}

fn trim_start(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    digits.get(start..).unwrap_or_default()
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    digits.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(text: &str) -> Numeric<'_> {
        Numeric::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn they_are_in_order() {
        let order = [
            "-Infinity",
            "-1e131000",
            "-100",
            "-99.9",
            "-1.01",
            "-1",
            "-0.5",
            "-0.05",
            "0",
            "0.00000001",
            "0.05",
            "0.5",
            "0.51",
            "1",
            "1.0000000000000000000000001",
            "9",
            "10",
            "10.5",
            "99",
            "100",
            "123456789012345678901234567890",
            "1e100",
            "Infinity",
            "NaN",
        ];
        for (left, one) in order.iter().enumerate() {
            for (right, other) in order.iter().enumerate() {
                assert_eq!(numeric(one).compare(&numeric(other)), left.cmp(&right), "{one} against {other}");
            }
        }
    }

    #[test]
    fn spelling_does_not_count() {
        for (one, other) in [
            ("1", "1.000"),
            ("0", "-0.00"),
            ("100", "1e2"),
            ("0.001", "1E-3"),
            ("12.50", "0012.5"),
            ("+7", "7."),
            (".5", "0.5"),
        ] {
            assert_eq!(numeric(one).compare(&numeric(other)), Ordering::Equal, "{one} against {other}");
        }
        assert_eq!(Numeric::of_integer(i64::MIN).compare(&numeric("-9223372036854775808")), Ordering::Equal);
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-", ".", "1e", "e5", "1.2.3", "0x1", "1_0", "1 ", "--1", "-NaN", "1e999999999999", "١"] {
            assert_eq!(Numeric::parse(text), None, "{text}");
        }
        assert!(numeric("1e131071").fits() && !numeric("1e131072").fits() && !numeric("1e-16384").fits());
    }
}
