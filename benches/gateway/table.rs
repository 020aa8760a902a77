//! How figures are printed: as they come, in columns.

/// The width of a line's name.
const NAME: usize = 44;
/// The width of a column.
const COLUMN: usize = 16;

pub(crate) fn heading(title: &str, columns: &[&str]) {
    let columns: String = columns.iter().map(|column| format!("{column:>COLUMN$}")).collect();
    println!("\n{title:<NAME$}{columns}");
    println!("{}", "-".repeat(NAME + columns.chars().count()));
}

/// One line; a figure that there is not is a dash.
pub(crate) fn line(name: &str, figures: &[f64], decimals: usize) {
    let cells: String = figures.iter().map(|figure| cell(*figure, decimals)).collect();
    println!("  {name:<width$}{cells}", width = NAME - 2);
}

fn cell(figure: f64, decimals: usize) -> String {
    let text = if figure.is_finite() { grouped(&format!("{figure:.decimals$}")) } else { "-".to_owned() };
    format!("{text:>COLUMN$}")
}

/// Thousands apart, as in 1,234,567.8.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
    let length = whole.len();
    let digits = whole.chars().enumerate().flat_map(|(at, digit)| {
        let separates = at > 0 && (length - at).is_multiple_of(3) && whole.as_bytes()[at - 1] != b'-';
        separates.then_some(',').into_iter().chain([digit])
    });
    let grouped: String = digits.collect();
    fraction.map_or_else(|| grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}
