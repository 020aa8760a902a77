//! How Postgres prints `real` and `double precision`: the fewest digits that are read back as the same number, without
//! an exponent where that is short.

use std::fmt::LowerExp;
use std::str::FromStr;

/// As many zeros behind a number's digits change it by less than any two numbers differ.
const FAR_BEHIND: usize = 30;

pub(super) trait Float: Copy + PartialEq + FromStr + LowerExp {
    /// How many digits tell any two numbers apart.
    const DIGITS_MAX: usize;
    /// From this power of ten on it is printed with an exponent.
    const EXPONENT_FROM: i32;
}

impl Float for f32 {
    const DIGITS_MAX: usize = 9;
    const EXPONENT_FROM: i32 = 6;
}

impl Float for f64 {
    const DIGITS_MAX: usize = 17;
    const EXPONENT_FROM: i32 = 15;
}

/// Whether the text is what Postgres prints of some number.
pub(super) fn is_printed<F: Float>(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity" | "0" | "-0") {
        return true;
    }
    // Rust reads names of infinity, too, in any case.
    let Some(number) = text.parse::<F>().ok().filter(|_| !text.contains(['n', 'N'])) else { return false };
    candidates(number).iter().any(|(digits, exponent)| printed::<F>(digits, *exponent) == text)
}

/// The shortest decimals for a number: its sign and digits, and the power of ten of the first. Two where the shortest
/// lies halfway to a neighbour: Rust takes it where it is read back, Postgres doesn't.
fn candidates<F: Float>(number: F) -> Vec<(String, i32)> {
    let shortest = split(&format!("{number:e}"));
    let exact = (1..=F::DIGITS_MAX)
        .filter_map(|digits| split(&format!("{number:.*e}", digits - 1)))
        .find(|(digits, exponent)| is_inside(number, digits, *exponent));
    shortest.into_iter().chain(exact).collect()
}

/// `-1.25e-7` is `-125` and −7; nothing where it is no such number.
fn split(scientific: &str) -> Option<(String, i32)> {
    let (mantissa, exponent) = scientific.split_once('e')?;
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    Some((digits, exponent.parse().ok()?))
}

/// Whether what is a little smaller or larger is read as the same number, too.
fn is_inside<F: Float>(number: F, digits: &str, exponent: i32) -> bool {
    let Ok(whole) = digits.parse::<i64>() else { return false };
    let is_same = |head: i64, tail: &str| {
        let places = digits.trim_start_matches('-').len() + tail.len();
        let power = i64::from(exponent) + 1 - i64::try_from(places).unwrap_or(i64::MAX);
        format!("{head}{tail}e{power}").parse::<F>().is_ok_and(|other| other == number)
    };
    let (more, less) = (format!("{}1", "0".repeat(FAR_BEHIND)), "9".repeat(FAR_BEHIND + 1));
    // Of −125 it is −124.99… that is nearer to zero, as 124.99… is of 125.
    is_same(whole, &more) && is_same(whole - whole.signum(), &less)
}

fn printed<F: Float>(digits: &str, exponent: i32) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let digits = digits.trim_end_matches('0');
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let point_after = |count: i32| {
        let (whole, part) = digits.split_at(usize::try_from(count).unwrap_or_default().min(digits.len()));
        if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
    };
    match exponent {
        _ if !(-4..F::EXPONENT_FROM).contains(&exponent) => {
            let direction = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{}e{direction}{:02}", point_after(1), exponent.unsigned_abs())
        }
        ..0 => format!("{sign}0.{}{digits}", zeros(-1 - exponent)),
        _ if exponent + 1 >= count => format!("{sign}{digits}{}", zeros(exponent + 1 - count)),
        _ => format!("{sign}{}", point_after(exponent + 1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_spelling_is_postgres() {
        // As Postgres 15 prints them.
        for text in [
            "0",
            "-0",
            "1",
            "-1.5",
            "0.1",
            "0.0001",
            "1e-05",
            "1.25e-07",
            "100000000000000",
            "1e+15",
            "1.5e+300",
            "123456789012345",
            "1.2345678901234568e+15",
            "5e-324",
            "1.7976931348623157e+308",
            "-2.5e+20",
            "9.007199254740992e+15",
            "NaN",
            "-Infinity",
        ] {
            assert!(is_printed::<f64>(text), "{text}");
        }
        for text in [
            "",
            "+1",
            "1.0",
            "01",
            ".5",
            "5.",
            "0.00001",
            "1e-5",
            "1E-05",
            "1e15",
            "1000000000000000",
            "1e+014",
            "nan",
            "inf",
            "infinity",
            "Inf",
            "0.10000000000000001",
            "1 ",
            "-00",
            "0.0",
            "1e400",
            "1.50",
        ] {
            assert!(!is_printed::<f64>(text), "{text}");
        }
        for text in ["0.1", "1e+06", "100000", "123456.79", "1e-45", "3.4028235e+38", "1.6777216e+07"] {
            assert!(is_printed::<f32>(text), "{text}");
        }
        assert!(!is_printed::<f32>("0.10000000149011612") && !is_printed::<f32>("1000000"));
    }

    proptest! {
        #[test]
        fn each_number_has_a_spelling(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite() && number != 0.0);
            for (digits, exponent) in candidates(number) {
                let text = printed::<f64>(&digits, exponent);
                prop_assert_eq!(text.parse::<f64>(), Ok(number));
                prop_assert!(is_printed::<f64>(&text));
                let padded = if text.contains(['.', 'e']) { format!("0{text}") } else { format!("{text}.0") };
                prop_assert!(!is_printed::<f64>(&padded));
            }
        }

        #[test]
        fn any_text_has_an_answer(text in "[-+0-9.eEnaif]{0,24}") {
            let _either = is_printed::<f64>(&text) || is_printed::<f32>(&text);
        }
    }
}
