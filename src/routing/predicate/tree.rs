//! What is asked of a row: an expression whose types are resolved.

use std::sync::Arc;

use super::array;
use super::compiled::Values;
use super::node::Comparison;
use super::operand::ConstantItems;
use super::pattern::Pattern;
use super::truth::Truths;
use super::types::Scalar;
use super::value::{Class, EvaluationError, Unreadable, Value, read};
use crate::change::Datum;

/// A boolean expression over a row's values.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Constant(Option<bool>),
    And(Box<[Self]>),
    Or(Box<[Self]>),
    Not(Box<Self>),
    Is {
        test: Box<Self>,
        truth: Option<bool>,
        negated: bool,
    },
    Null {
        index: usize,
        name: Arc<str>,
        negated: bool,
    },
    /// A truth value by itself.
    Holds(Operand),
    Compare {
        op: Comparison,
        left: Operand,
        right: Operand,
    },
    Distinct {
        left: Operand,
        right: Operand,
        negated: bool,
    },
    /// `= any` of constants or, negated, `<> all`; `null` is among the constants, which are in order.
    OneOf {
        column: Column,
        items: ConstantItems,
        negated: bool,
    },
    /// `any` or `all`; nothing on the left is null.
    Quantified {
        op: Comparison,
        all: bool,
        left: Option<Operand>,
        items: Items,
    },
    Like {
        operand: Operand,
        pattern: Pattern,
        negated: bool,
    },
}

/// A column and how its value is compared.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    /// How its values are printed.
    pub(super) source: Scalar,
    /// What it is cast to.
    pub(super) scalar: Scalar,
    pub(super) class: Class,
}

/// A column of arrays, and how their elements are compared.
#[derive(Debug, Clone)]
pub(super) struct ArrayColumn {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) element: Scalar,
    pub(super) class: Class,
}

/// What `any` and `all` are about.
#[derive(Debug, Clone)]
pub(super) enum Items {
    Column(ArrayColumn),
    Constants(ConstantItems),
}

/// A literal or claim, of a type.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    /// What the type's input function reads.
    pub(super) text: Box<str>,
    pub(super) scalar: Scalar,
    pub(super) value: Value<'static>,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Column(Column),
    Constant(Constant),
}

/// An operand's value in a row.
#[derive(Debug)]
pub(super) enum Known<'v> {
    Value(Value<'v>),
    Null,
    /// There, hence not null, but not sent.
    Unsent,
    /// Not even that is known.
    Missing,
}

impl Test {
    /// All of them; what is constant is worked out.
    pub(super) fn and(tests: Vec<Self>) -> Self {
        Self::joined(tests, false, Self::And)
    }

    pub(super) fn or(tests: Vec<Self>) -> Self {
        Self::joined(tests, true, Self::Or)
    }

    /// `decides` decides the whole, its opposite decides nothing.
    fn joined(tests: Vec<Self>, decides: bool, join: impl Fn(Box<[Self]>) -> Self) -> Self {
        let mut rest = Vec::with_capacity(tests.len());
        for test in tests {
            match test {
                Self::Constant(Some(truth)) if truth == decides => return Self::Constant(Some(decides)),
                Self::Constant(Some(_)) => {}
                test => rest.push(test),
            }
        }
        match rest.len() {
            0 => Self::Constant(Some(!decides)),
            1 => rest.pop().unwrap_or(Self::Constant(Some(!decides))),
            _ if rest.iter().all(|test| matches!(test, Self::Constant(None))) => Self::Constant(None),
            _ => join(rest.into()),
        }
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Constant(truth) => Self::Constant(truth.map(|truth| !truth)),
            test => Self::Not(Box::new(test)),
        }
    }

    /// Calls back with the columns that it reads, and their names.
    pub(super) fn each_column<'t>(&'t self, visit: &mut impl FnMut(usize, &'t Arc<str>)) {
        match self {
            Self::Constant(_) => {}
            Self::And(tests) | Self::Or(tests) => tests.iter().for_each(|test| test.each_column(visit)),
            Self::Not(test) | Self::Is { test, .. } => test.each_column(visit),
            Self::Null { index, name, .. } => visit(*index, name),
            Self::OneOf { column, .. } => visit(column.index, &column.name),
            Self::Holds(operand) | Self::Like { operand, .. } => operand.each_column(visit),
            Self::Compare { left, right, .. } | Self::Distinct { left, right, .. } => {
                left.each_column(visit);
                right.each_column(visit);
            }
            Self::Quantified { left, items, .. } => {
                if let Some(left) = left {
                    left.each_column(visit);
                }
                if let Items::Column(column) = items {
                    visit(column.index, &column.name);
                }
            }
        }
    }

    /// # Errors
    /// A value that is none of its type, or that Postgres could not bring to what it is compared as.
    pub(super) fn evaluate<V: Values + ?Sized>(&self, values: &V) -> Result<Truths, EvaluationError> {
        Ok(match self {
            Self::Constant(truth) => Truths::of_option(*truth),
            Self::And(tests) => until(tests, values, Truths::FALSE, Truths::TRUE, Truths::and)?,
            Self::Or(tests) => until(tests, values, Truths::TRUE, Truths::FALSE, Truths::or)?,
            Self::Not(test) => test.evaluate(values)?.not(),
            Self::Is { test, truth, negated } => test.evaluate(values)?.is(*truth, *negated),
            Self::Null { index, negated, .. } => is_null(values.value(*index), *negated),
            Self::Holds(operand) => operand.value(values)?.map(|value| matches!(value, Value::Bool(true))),
            Self::Compare { op, left, right } => compare(*op, &left.value(values)?, &right.value(values)?),
            Self::Distinct { left, right, negated } => {
                distinct(&left.value(values)?, &right.value(values)?).not_if(*negated)
            }
            Self::OneOf { column, items, negated } => one_of(&column.value(values)?, items).not_if(*negated),
            Self::Quantified { op, all, left, items } => {
                let left = left.as_ref().map_or(Ok(Known::Null), |left| left.value(values))?;
                quantified(*op, *all, &left, items, values)?
            }
            Self::Like { operand, pattern, negated } => operand
                .value(values)?
                .map(|value| matches!(value, Value::Text(text) if pattern.matches(text.as_str())))
                .not_if(*negated),
        })
    }
}

/// Joins truths until one decides: what comes after it is not looked at, as in Postgres.
fn until<V: Values + ?Sized>(
    tests: &[Test],
    values: &V,
    decides: Truths,
    nothing: Truths,
    join: impl Fn(Truths, Truths) -> Truths,
) -> Result<Truths, EvaluationError> {
    let mut joined = nothing;
    for test in tests {
        joined = join(joined, test.evaluate(values)?);
        if joined == decides {
            break;
        }
    }
    Ok(joined)
}

fn is_null(datum: Option<Datum<'_>>, negated: bool) -> Truths {
    match datum {
        Some(Datum::Null) => Truths::of(!negated),
        // Only values that are there are TOASTed.
        Some(Datum::Text(_) | Datum::Unchanged) => Truths::of(negated),
        None => Truths::TRUE_OR_FALSE,
    }
}

/// Operators give null for null.
fn compare(op: Comparison, left: &Known<'_>, right: &Known<'_>) -> Truths {
    match (left, right) {
        (Known::Null, _) | (_, Known::Null) => Truths::NULL,
        (Known::Value(left), Known::Value(right)) => Truths::of(op.holds(left.compare(right))),
        (Known::Missing, _) | (_, Known::Missing) => Truths::ANY,
        _ => Truths::TRUE_OR_FALSE,
    }
}

fn distinct(left: &Known<'_>, right: &Known<'_>) -> Truths {
    match (left, right) {
        (Known::Null, Known::Null) => Truths::FALSE,
        (Known::Value(left), Known::Value(right)) => Truths::of(left.compare(right).is_ne()),
        (Known::Null, Known::Value(_) | Known::Unsent) | (Known::Value(_) | Known::Unsent, Known::Null) => Truths::TRUE,
        _ => Truths::TRUE_OR_FALSE,
    }
}

/// Of at least one item.
fn one_of(value: &Known<'_>, items: &ConstantItems) -> Truths {
    let not_found = if items.null { Truths::NULL } else { Truths::FALSE };
    match value {
        Known::Null => Truths::NULL,
        Known::Value(value) if items.constants.binary_search_by(|one| one.value.compare(value)).is_ok() => Truths::TRUE,
        Known::Value(_) => not_found,
        Known::Unsent if items.constants.is_empty() => not_found,
        Known::Unsent => Truths::TRUE.or_else(not_found),
        Known::Missing => Truths::ANY,
    }
}

fn quantified<V: Values + ?Sized>(
    op: Comparison,
    all: bool,
    left: &Known<'_>,
    items: &Items,
    values: &V,
) -> Result<Truths, EvaluationError> {
    let mut joined = Truths::of(all);
    let mut join = |item: &Known<'_>| {
        let truth = compare(op, left, item);
        joined = if all { joined.and(truth) } else { joined.or(truth) };
    };
    match items {
        Items::Constants(ConstantItems { constants, null, .. }) => {
            constants.iter().for_each(|one| join(&Known::Value(one.value.clone())));
            if *null {
                join(&Known::Null);
            }
        }
        Items::Column(column) => match values.value(column.index) {
            Some(Datum::Null) => return Ok(Truths::NULL),
            Some(Datum::Text(text)) => column.each_element(text, join)?,
            Some(Datum::Unchanged) | None => return Ok(Truths::ANY),
        },
    }
    Ok(joined)
}

impl Known<'_> {
    /// What is asked of the value, if it is known; null of null.
    fn map(&self, ask: impl Fn(&Value<'_>) -> bool) -> Truths {
        match self {
            Self::Value(value) => Truths::of(ask(value)),
            Self::Null => Truths::NULL,
            Self::Unsent => Truths::TRUE_OR_FALSE,
            Self::Missing => Truths::ANY,
        }
    }
}

impl Operand {
    fn each_column<'t>(&'t self, visit: &mut impl FnMut(usize, &'t Arc<str>)) {
        if let Self::Column(column) = self {
            visit(column.index, &column.name);
        }
    }

    fn value<'v, V: Values + ?Sized>(&'v self, values: &'v V) -> Result<Known<'v>, EvaluationError> {
        match self {
            Self::Column(column) => column.value(values),
            Self::Constant(constant) => Ok(Known::Value(constant.value.borrowed())),
        }
    }
}

impl Column {
    fn value<'v, V: Values + ?Sized>(&self, values: &'v V) -> Result<Known<'v>, EvaluationError> {
        Ok(match values.value(self.index) {
            None => Known::Missing,
            Some(Datum::Null) => Known::Null,
            Some(Datum::Unchanged) => Known::Unsent,
            Some(Datum::Text(text)) => {
                Known::Value(read(self.source, self.class, text).map_err(|error| error.of(&self.name))?)
            }
        })
    }
}

impl ArrayColumn {
    fn each_element(&self, text: &[u8], mut visit: impl FnMut(&Known<'_>)) -> Result<(), EvaluationError> {
        let malformed = || Unreadable::Malformed(self.element).of(&self.name);
        let text = str::from_utf8(text).map_err(|_| malformed())?;
        for element in array::elements(text).ok_or_else(malformed)? {
            match element {
                None => visit(&Known::Null),
                Some(text) => {
                    let value =
                        read(self.element, self.class, text.as_bytes()).map_err(|error| error.of(&self.name))?;
                    visit(&Known::Value(value));
                }
            }
        }
        Ok(())
    }
}
