//! Literals: what a type's input function makes of a text, in the spelling that Postgres prints.
//!
//! Where Postgres reads more than is read here (`date 'tomorrow'`), the literal is refused; what is read is read alike.

use super::moment::{Moment, MomentType, parse_interval, parse_time, print_time};
use super::network::Network;
use super::numeric::Numeric;
use super::types::Scalar;

/// Postgres' `NAMEDATALEN`, without the zero at the end.
const NAME_BYTES_MAX: usize = 63;

/// The literal as the type prints it, or as it can be read again where it is only compared.
///
/// # Errors
/// What the type doesn't take: how it is written.
pub(super) fn input(scalar: Scalar, text: &str) -> Result<Box<str>, &'static str> {
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    match scalar {
        Scalar::Bool => bool_input(trimmed).map(|truth| if truth { "t" } else { "f" }.into()).ok_or("true or false"),
        Scalar::Int2 => integer(trimmed, i16::MIN.into(), i16::MAX.into()).ok_or("an integer from -32768 to 32767"),
        Scalar::Int4 => {
            integer(trimmed, i32::MIN.into(), i32::MAX.into()).ok_or("an integer from -2147483648 to 2147483647")
        }
        Scalar::Int8 => {
            integer(trimmed, i64::MIN, i64::MAX).ok_or("an integer from -9223372036854775808 to 9223372036854775807")
        }
        Scalar::Numeric => {
            Numeric::parse(trimmed).filter(Numeric::fits).map(|_| trimmed.into()).ok_or("a decimal number")
        }
        Scalar::Float4 | Scalar::Float8 => float(scalar, trimmed).ok_or("a number that the type has room for"),
        Scalar::Text | Scalar::Varchar | Scalar::Bpchar | Scalar::Enum(_) => Ok(text.into()),
        Scalar::Name => Ok(truncated(text).into()),
        Scalar::Uuid => uuid(text).ok_or("32 hexadecimal digits, as in a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        Scalar::Date => moment(MomentType::Date, trimmed).ok_or("as in 2026-11-22"),
        Scalar::Timestamp => moment(MomentType::Timestamp, trimmed).ok_or("as in 2026-11-22 03:40:00"),
        Scalar::TimestampTz => moment(MomentType::TimestampTz, trimmed).ok_or("as in 2026-11-22 03:40:00+00"),
        Scalar::Time => time(trimmed).ok_or("as in 03:40:00"),
        // Not every version of Postgres has infinite ones.
        Scalar::Interval if trimmed.contains("inf") => Err("as in 1 day 02:00:00"),
        Scalar::Interval => parse_interval(trimmed).map(|_| trimmed.into()).ok_or("as in 1 day 02:00:00"),
        Scalar::Bytea => bytea(text).ok_or("hexadecimal, as in \\xdeadbeef"),
        Scalar::Inet => network(trimmed, |_| true).ok_or("as in 10.0.0.1 or 10.0.0.0/8"),
        Scalar::Cidr => network(trimmed, Network::is_network).ok_or("as in 10.0.0.0/8, with nothing set to the right"),
    }
}

/// Any unique start of the words, in any case.
fn bool_input(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let starts = |word: &str, shortest: usize| text.len() >= shortest && word.starts_with(&text);
    if starts("true", 1) || starts("yes", 1) || starts("on", 2) || text == "1" {
        Some(true)
    } else if starts("false", 1) || starts("no", 1) || starts("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

fn integer(text: &str, min: i64, max: i64) -> Option<Box<str>> {
    let number: i64 = text.parse().ok()?;
    (min..=max).contains(&number).then(|| number.to_string().into())
}

/// Neither over- nor underflowing, both of which Postgres refuses.
fn float(scalar: Scalar, text: &str) -> Option<Box<str>> {
    let exact = Numeric::parse(text).or_else(|| beyond_numeric(text))?;
    let float = if scalar == Scalar::Float4 { text.parse::<f32>().map(f64::from) } else { text.parse::<f64>() }.ok()?;
    let kept = !exact.is_finite() || (float.is_finite() && (float != 0.0 || exact.is_zero()));
    kept.then(|| text.into())
}

/// `-nan`, which only floats have.
fn beyond_numeric(text: &str) -> Option<Numeric<'static>> {
    let unsigned = text.strip_prefix(['+', '-'])?;
    unsigned.eq_ignore_ascii_case("nan").then_some(Numeric::NaN)
}

/// At the end of a character.
fn truncated(text: &str) -> &str {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

/// In braces or not, a hyphen after any four digits, in any case.
fn uuid(text: &str) -> Option<Box<str>> {
    let bare = text.strip_prefix('{').map_or(Some(text), |text| text.strip_suffix('}'))?;
    let mut digits = String::with_capacity(32);
    let mut hyphen_may_follow = false;
    for character in bare.chars() {
        match character {
            '-' if hyphen_may_follow && digits.len() < 32 => hyphen_may_follow = false,
            _ if character.is_ascii_hexdigit() => {
                digits.push(character.to_ascii_lowercase());
                hyphen_may_follow = digits.len().is_multiple_of(4);
            }
            _ => return None,
        }
    }
    if digits.len() != 32 {
        return None;
    }
    let part = |range| digits.get(range);
    let parts = [part(0..8)?, part(8..12)?, part(12..16)?, part(16..20)?, part(20..32)?];
    Some(parts.join("-").into())
}

fn moment(ty: MomentType, text: &str) -> Option<Box<str>> {
    Moment::parse(ty, text).map(|moment| moment.print(ty).into())
}

fn time(text: &str) -> Option<Box<str>> {
    parse_time(text).map(|micros| print_time(micros).into())
}

fn network(text: &str, fits: impl Fn(Network) -> bool) -> Option<Box<str>> {
    Network::parse(text).filter(|network| fits(*network)).map(|network| network.to_string().into())
}

fn bytea(text: &str) -> Option<Box<str>> {
    let digits = text.strip_prefix("\\x")?;
    let whole = digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_come_out_as_postgres_prints_them() {
        for (scalar, text, printed) in [
            (Scalar::Bool, " YES ", "t"),
            (Scalar::Bool, "of", "f"),
            (Scalar::Int4, " +07 ", "7"),
            (Scalar::Uuid, "{A0EEBC999C0B4EF8bb6d6bb9-bd38-0a11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            (Scalar::TimestampTz, "2026-11-22T09:10:00.5+05:30", "2026-11-22 03:40:00.5+00"),
            (Scalar::Date, "2026-11-22T09:10:00Z", "2026-11-22"),
            (Scalar::Time, "09:10", "09:10:00"),
            (Scalar::Bytea, "\\xDE", "\\xde"),
            (Scalar::Inet, "10.0.0.1", "10.0.0.1/32"),
        ] {
            assert_eq!(input(scalar, text).as_deref(), Ok(printed), "{scalar:?} {text}");
        }
        let long = format!("{}é", "a".repeat(62));
        assert_eq!(input(Scalar::Name, &long).as_deref(), Ok("a".repeat(62).as_str()));
    }

    #[test]
    fn what_the_type_does_not_take_is_refused() {
        for (scalar, text) in [
            (Scalar::Bool, "o"),
            (Scalar::Bool, ""),
            (Scalar::Int2, "32768"),
            (Scalar::Int4, "1.0"),
            (Scalar::Int8, "0x1"),
            (Scalar::Numeric, "1e131072"),
            (Scalar::Float8, "1e400"),
            (Scalar::Float4, "1e-60"),
            (Scalar::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1"),
            (Scalar::Uuid, "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11"),
            (Scalar::Date, "tomorrow"),
            (Scalar::Cidr, "10.0.0.1/8"),
            (Scalar::Bytea, "\\x1"),
        ] {
            assert!(input(scalar, text).is_err(), "{scalar:?} {text}");
        }
    }
}
