//! One condition: `column=operator.value`.

use std::fmt;

use super::super::node::{Comparison, Escape};
use super::super::pattern::Pattern;
use super::{FilterError, MAX_IN_VALUES};

/// What a message shows of a condition.
const SHOWN_CHARACTERS_MAX: usize = 60;
const OPERATORS: &str = "eq, neq, gt, gte, lt, lte, in, is, like, ilike";

/// What is asked of a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Condition {
    pub(super) column: Box<str>,
    pub(super) negated: bool,
    pub(super) asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Asked {
    Compare(Comparison, Box<str>),
    In(Box<[Box<str>]>),
    /// `is.null`, `is.true`, `is.false`.
    Is(Option<bool>),
    /// `is.unknown`: null, of a boolean column.
    Unknown,
    /// The pattern is SQL's.
    Like {
        pattern: Box<str>,
        insensitive: bool,
    },
}

impl Condition {
    /// From name and value, both decoded.
    pub(super) fn parse(column: String, value: &str) -> Result<Self, FilterError> {
        let written = format!("{column}={value}");
        if column.is_empty() {
            return Err(FilterError::new(format!(
                "`{}` names no column: write `column=operator.value`, as in `status=eq.open`",
                shortened(&written)
            )));
        }
        let (negated, asked) = value.strip_prefix("not.").map_or((false, value), |rest| (true, rest));
        let Some((operator, operand)) = asked.split_once('.') else {
            return Err(FilterError::new(format!(
                "`{}` is no condition: write `{column}=operator.value`, as in `{column}=eq.1`; operators: {OPERATORS}",
                shortened(&written)
            )));
        };
        let asked = Asked::parse(operator, operand)
            .map_err(|wrong| FilterError::new(format!("`{}`: {wrong}", shortened(&written))))?;
        Ok(Self { column: column.into(), negated, asked })
    }
}

impl Asked {
    fn parse(operator: &str, operand: &str) -> Result<Self, String> {
        let compare = |op| Ok(Self::Compare(op, operand.into()));
        match operator {
            "eq" => compare(Comparison::Equal),
            "neq" => compare(Comparison::NotEqual),
            "gt" => compare(Comparison::Greater),
            "gte" => compare(Comparison::GreaterOrEqual),
            "lt" => compare(Comparison::Less),
            "lte" => compare(Comparison::LessOrEqual),
            "in" => list(operand).map(Self::In),
            "is" => is(operand),
            "like" => like(operand, false),
            "ilike" => like(operand, true),
            _ => Err(format!("`{}` is no operator; use one of {OPERATORS}", shortened(operator))),
        }
    }
}

fn is(operand: &str) -> Result<Asked, String> {
    match operand.to_ascii_lowercase().as_str() {
        "null" => Ok(Asked::Is(None)),
        "true" => Ok(Asked::Is(Some(true))),
        "false" => Ok(Asked::Is(Some(false))),
        "unknown" => Ok(Asked::Unknown),
        _ => Err("`is` takes null, true, false or unknown; for other values use `eq`".to_owned()),
    }
}

/// `*` stands for `%`, which would have to be percent-encoded.
fn like(operand: &str, insensitive: bool) -> Result<Asked, String> {
    let pattern = operand.replace('*', "%");
    match Pattern::new(&pattern, Escape::By('\\'), insensitive) {
        Some(_) => Ok(Asked::Like { pattern: pattern.into(), insensitive }),
        None => Err("a pattern can't end with a backslash; one that is meant is written twice".to_owned()),
    }
}

/// `(a,b,"c,d")`: inside quotes a backslash stands before a quote or another backslash.
fn list(operand: &str) -> Result<Box<[Box<str>]>, String> {
    let inside = operand.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inside = inside.ok_or("`in` takes a list in parentheses, as in `in.(1,2)`")?;
    let mut values = Vec::new();
    if inside.is_empty() {
        return Ok(values.into());
    }
    let mut rest = inside;
    loop {
        let (value, after) = if rest.starts_with('"') { quoted(rest)? } else { bare(rest)? };
        values.push(value.into());
        if values.len() > MAX_IN_VALUES {
            return Err(format!("`in` takes at most {MAX_IN_VALUES} values"));
        }
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return Err("a comma is missing after a value in quotes".to_owned()),
        }
    }
    values.sort_unstable();
    values.dedup();
    Ok(values.into())
}

fn bare(text: &str) -> Result<(String, &str), String> {
    let end = text.find(',').unwrap_or(text.len());
    let (value, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if value.contains(['"', '(', ')']) {
        return Err("a value with a quote or a parenthesis is written in double quotes".to_owned());
    }
    Ok((value.to_owned(), rest))
}

fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    Err("a value's double quotes are not closed".to_owned())
}

fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(SHOWN_CHARACTERS_MAX).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

/// As a client writes it, before it is percent-encoded, and no longer than a message should be.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operator, operand) = match &self.asked {
            Asked::Compare(op, value) => (name(*op), value.to_string()),
            Asked::In(values) => ("in", format!("({})", values.join(","))),
            Asked::Is(truth) => ("is", truth.map_or("null", |truth| if truth { "true" } else { "false" }).to_owned()),
            Asked::Unknown => ("is", "unknown".to_owned()),
            Asked::Like { pattern, insensitive } => {
                (if *insensitive { "ilike" } else { "like" }, pattern.replace('%', "*"))
            }
        };
        let not = if self.negated { "not." } else { "" };
        f.write_str(&shortened(&format!("{}={not}{operator}.{operand}", self.column)))
    }
}

const fn name(op: Comparison) -> &'static str {
    match op {
        Comparison::Equal => "eq",
        Comparison::NotEqual => "neq",
        Comparison::Less => "lt",
        Comparison::LessOrEqual => "lte",
        Comparison::Greater => "gt",
        Comparison::GreaterOrEqual => "gte",
    }
}
