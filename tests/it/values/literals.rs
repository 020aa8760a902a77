//! Random texts that the types' input functions read, and expressions for dates and times.

use fastrand::Rng;

/// Whatever has a meaning in array, row, range, hstore or JSON text.
pub(super) fn text(rng: &mut Rng) -> String {
    const PARTS: &[&str] = &[
        "\"", "\\", "{", "}", "(", ")", "[", "]", ",", ";", ":", " ", "\t", "\n", "\r", "\u{8}", "\u{c}", "\u{1}",
        "\u{b}", "\u{1f}", "\u{7f}", "\u{a0}", "\u{2028}", "\u{feff}", "é", "🦀", "'", "=>", "/", "<a>", "&", "%",
        "NULL", "null", "a", "b", "Z", "0", "-1", "1e5", "\\\"", "\"\"", "\\\\", "\\N",
    ];
    match rng.u8(..30) {
        0 => String::new(),
        1 => "NULL".to_owned(),
        2 => "plain ".repeat(rng.usize(100..800)),
        _ => (0..rng.usize(1..10)).map(|_| PARTS[rng.usize(..PARTS.len())]).collect(),
    }
}

/// JSON with blanks in odd places; `wild` adds what `json` takes and `jsonb` does not.
pub(super) fn json(rng: &mut Rng, depth: u8, wild: bool) -> String {
    const NUMBERS: &[&str] =
        &["0", "-0", "1E+5", "1e-7", "0.10", "123456789012345678901234567890.5", "-1e300", "9007199254740993"];
    let blank = |rng: &mut Rng| ["", " ", "\n", "\t ", "\r\n"][rng.usize(..5)];
    let inner = match rng.u8(..if depth == 0 { 4 } else { 7 }) {
        0 => ["null", "true", "false"][rng.usize(..3)].to_owned(),
        1 => NUMBERS[rng.usize(..NUMBERS.len())].to_owned(),
        2 if wild => r#""\ud800 \u0000 \/""#.to_owned(),
        2 | 3 => serde_json::to_string(&text(rng)).unwrap(),
        4 => {
            let items: Vec<String> = (0..rng.usize(..4)).map(|_| json(rng, depth - 1, wild)).collect();
            format!("[{}{}]", blank(rng), items.join(","))
        }
        _ => {
            let key = |rng: &mut Rng| serde_json::to_string(&text(rng)).unwrap();
            let members: Vec<String> = (0..rng.usize(..4))
                .map(|_| format!("{}{}:{}", key(rng), blank(rng), json(rng, depth - 1, wild)))
                .collect();
            format!("{{{}{}}}", members.join(","), blank(rng))
        }
    };
    format!("{}{inner}{}", blank(rng), blank(rng))
}

pub(super) fn float8(rng: &mut Rng) -> String {
    const SPECIAL: &[&str] =
        &["NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "1e15", "1e16"];
    match rng.u8(..4) {
        0 => SPECIAL[rng.usize(..SPECIAL.len())].to_owned(),
        1 => (rng.i32(-100_000..100_000) as f64 / 100.0).to_string(),
        _ => loop {
            let float = f64::from_bits(rng.u64(..));
            if float.is_finite() {
                break format!("{float:e}");
            }
        },
    }
}

pub(super) fn float4(rng: &mut Rng) -> String {
    const SPECIAL: &[&str] = &["NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38", "1e6", "1e7"];
    match rng.u8(..4) {
        0 => SPECIAL[rng.usize(..SPECIAL.len())].to_owned(),
        _ => loop {
            let float = f32::from_bits(rng.u32(..));
            if float.is_finite() {
                break format!("{float:e}");
            }
        },
    }
}

pub(super) fn numeric(rng: &mut Rng) -> String {
    const SPECIAL: &[&str] = &["NaN", "Infinity", "-Infinity", "0.000", "-0.1", "1e100", "1e-100"];
    let digits = |rng: &mut Rng| (0..rng.usize(1..30)).map(|_| rng.digit(10)).collect::<String>();
    match rng.u8(..5) {
        0 => SPECIAL[rng.usize(..SPECIAL.len())].to_owned(),
        1 => digits(rng),
        _ => format!("{}{}.{}", if rng.bool() { "-" } else { "" }, digits(rng), digits(rng)),
    }
}

/// From Postgres' first day almost to its last of timestamps; `day_max` allows for dates that go further.
pub(super) fn day(rng: &mut Rng, day_max: i32) -> i32 {
    if rng.bool() { rng.i32(-40_000..40_000) } else { rng.i32(-2_451_000..day_max) }
}

pub(super) fn timestamp(rng: &mut Rng, ty: &str) -> String {
    match rng.u8(..8) {
        0 => "'infinity'".to_owned(),
        1 => "'-infinity'".to_owned(),
        _ => {
            let seconds = match rng.u8(..4) {
                0 => "0".to_owned(),
                1 => rng.u32(..86_400).to_string(),
                2 => format!("{}.{:03}", rng.u32(..86_400), rng.u32(..1_000)),
                _ => format!("{}.{:06}", rng.u32(..86_400), rng.u32(..1_000_000)),
            };
            format!("{ty} '2000-01-01' + make_interval(days => {}, secs => {seconds})", day(rng, 100_000_000))
        }
    }
}

pub(super) fn date(rng: &mut Rng) -> String {
    match rng.u8(..8) {
        0 => "'infinity'".to_owned(),
        1 => "'-infinity'".to_owned(),
        _ => format!("date '2000-01-01' + ({})", day(rng, 2_140_000_000)),
    }
}

pub(super) fn time(rng: &mut Rng) -> String {
    match rng.u8(..6) {
        0 => "24:00:00".to_owned(),
        1 => "00:00:00".to_owned(),
        _ => format!("{:02}:{:02}:{:02}.{:06}", rng.u8(..24), rng.u8(..60), rng.u8(..60), rng.u32(..1_000_000)),
    }
}

pub(super) fn interval(rng: &mut Rng) -> String {
    let part = |rng: &mut Rng| if rng.bool() { 0 } else { rng.i32(-1_000..1_000) };
    format!(
        "make_interval(months => {}, days => {}, secs => {}.{:06})",
        part(rng),
        part(rng),
        rng.i32(-100_000..100_000),
        rng.u32(..1_000_000)
    )
}

pub(super) fn point(rng: &mut Rng) -> String {
    format!("({},{})", float8(rng), float8(rng))
}

pub(super) fn finite_point(rng: &mut Rng) -> String {
    format!("({},{})", rng.i32(-1_000..1_000), rng.i32(-1_000..1_000) as f64 / 8.0)
}

pub(super) fn points(rng: &mut Rng) -> String {
    let points: Vec<String> = (0..rng.usize(1..4)).map(|_| finite_point(rng)).collect();
    points.join(",")
}

/// As many binary digits as asked for, or fewer.
pub(super) fn bits(rng: &mut Rng, at_least: usize, at_most: usize) -> String {
    (0..rng.usize(at_least..=at_most)).map(|_| rng.digit(2)).collect()
}

pub(super) fn octets(rng: &mut Rng, count: usize, separator: &str) -> String {
    (0..count).map(|_| format!("{:02x}", rng.u8(..))).collect::<Vec<_>>().join(separator)
}

/// The start of a text: for types that have a limit, or are never compressed.
pub(super) fn short_text(rng: &mut Rng, characters: usize) -> String {
    text(rng).chars().take(characters).collect()
}
