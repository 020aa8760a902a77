//! From when until when a certificate is good, which rustls checks for clients and tells nobody.
#![deny(clippy::indexing_slicing)]

use super::der::{CONTEXT_0, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, value};

/// In seconds since 1970, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

impl Validity {
    /// Of a certificate in DER; none where it is no certificate.
    ///
    /// `TBSCertificate ::= SEQUENCE { version [0], serialNumber INTEGER, signature SEQUENCE, issuer SEQUENCE,
    /// validity SEQUENCE { notBefore Time, notAfter Time }, … }` (RFC 5280, 4.1)
    #[must_use]
    pub fn of_certificate(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = value(certificate, SEQUENCE)?;
        let (signed, _) = value(certificate, SEQUENCE)?;
        let rest = value(signed, CONTEXT_0).map_or(signed, |(_version, rest)| rest);
        let (_serial, rest) = value(rest, INTEGER)?;
        let (_signature, rest) = value(rest, SEQUENCE)?;
        let (_issuer, rest) = value(rest, SEQUENCE)?;
        let (validity, _) = value(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
    }

    /// Whether it is over at this time.
    #[must_use]
    pub const fn has_ended(&self, now: i64) -> bool {
        now > self.not_after
    }

    /// Whether it has not begun at this time.
    #[must_use]
    pub const fn is_to_come(&self, now: i64) -> bool {
        now < self.not_before
    }
}

/// A time at the start of `data`, and what follows it. Certificates have seconds and no zone but UTC.
fn time(data: &[u8]) -> Option<(i64, &[u8])> {
    if let Some((text, rest)) = value(data, GENERALIZED_TIME) {
        let (year, text) = text.split_at_checked(4)?;
        return Some((seconds(number(year)?, text)?, rest));
    }
    let (text, rest) = value(data, UTC_TIME)?;
    let (year, text) = text.split_at_checked(2)?;
    // RFC 5280, 4.1.2.5.1: two digits are of the years 1950 to 2049.
    let year = number(year)?;
    Some((seconds(if year < 50 { 2000 + year } else { 1900 + year }, text)?, rest))
}

/// Since 1970 to `MMDDHHMMSSZ` of that year.
fn seconds(year: i64, text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"Z").filter(|text| text.len() == 10)?;
    let mut parts = text.as_chunks::<2>().0.iter().map(|part| number(part));
    let mut part = |allowed: std::ops::RangeInclusive<i64>| parts.next()?.filter(|part| allowed.contains(part));
    let (month, day) = (part(1..=12)?, part(1..=31)?);
    let (hour, minute, second) = (part(0..=23)?, part(0..=59)?, part(0..=60)?);
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// From 1970-01-01 to a day of the Gregorian calendar. Years begin in March here, so that the day that some of them
/// lack is their last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_1970: i64 = 719_468;
    let year = if month <= 2 { year - 1 } else { year };
    let months = (month + 9) % 12;
    let leap_days = year / 4 - year / 100 + year / 400;
    365 * year + leap_days + (153 * months + 2) / 5 + day - 1 - BEFORE_1970
}

fn number(digits: &[u8]) -> Option<i64> {
    let digits = digits.iter().all(u8::is_ascii_digit).then(|| str::from_utf8(digits).ok())?;
    digits?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_says_from_when_until_when() {
        for (from, until, not_before, not_after) in [
            ((1975, 1, 1), (4096, 1, 1), 157_766_400, 67_090_118_400),
            ((2024, 2, 29), (2049, 12, 31), 1_709_164_800, 2_524_521_600),
            ((1999, 12, 31), (2050, 3, 1), 946_598_400, 2_529_705_600),
        ] {
            let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            parameters.not_before = date_time_ymd(from.0, from.1, from.2);
            parameters.not_after = date_time_ymd(until.0, until.1, until.2);
            assert_eq!(parameters.not_after.unix_timestamp(), not_after, "the expectation itself");
            let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let validity = Validity::of_certificate(certificate.der()).unwrap();
            assert_eq!(validity, Validity { not_before, not_after });
            assert!(!validity.has_ended(not_after) && validity.has_ended(not_after + 1));
            assert!(!validity.is_to_come(not_before) && validity.is_to_come(not_before - 1));
        }
    }

    #[test]
    fn a_time_has_its_form() {
        let encode = |tag: u8, text: &str| [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (UTC_TIME, "700101000000", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "70010100000+Z", None),
            (GENERALIZED_TIME, "500101000000Z", None),
            (INTEGER, "700101000000Z", None),
        ] {
            assert_eq!(time(&encode(tag, text)).map(|(seconds, _)| seconds), seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_reason_to_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _any = Validity::of_certificate(&bytes);
            let _any = time(&bytes);
        }
    }
}
