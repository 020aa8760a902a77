//! What is asked of a row: an expression whose types are resolved.

use std::sync::Arc;

use super::node::Comparison;
use super::predicate::Values;
use super::truth::Truths;
use super::types::Scalar;
use super::value::{Class, EvaluationError, Value, read};
use crate::change::Datum;

/// A boolean expression over a row's values.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Constant(Option<bool>),
    And(Box<[Test]>),
    Or(Box<[Test]>),
    Not(Box<Test>),
    Is {
        test: Box<Test>,
        truth: Option<bool>,
        negated: bool,
    },
    Null {
        column: Column,
        negated: bool,
    },
    /// A boolean column by itself.
    Holds(Column),
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
    /// `= any` of constants or, negated, `<> all`; `null` is among the constants.
    OneOf {
        column: Column,
        constants: Box<[Constant]>,
        null: bool,
        negated: bool,
    },
}

/// A column and how its value is compared.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) scalar: Scalar,
    pub(super) class: Class,
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

    pub(super) fn each_column(&self, visit: &mut impl FnMut(usize)) {
        match self {
            Self::Constant(_) => {}
            Self::And(tests) | Self::Or(tests) => tests.iter().for_each(|test| test.each_column(visit)),
            Self::Not(test) | Self::Is { test, .. } => test.each_column(visit),
            Self::Null { column, .. } | Self::Holds(column) | Self::OneOf { column, .. } => visit(column.index),
            Self::Compare { left, right, .. } | Self::Distinct { left, right, .. } => {
                for operand in [left, right] {
                    if let Operand::Column(column) = operand {
                        visit(column.index);
                    }
                }
            }
        }
    }

    pub(super) fn evaluate<V: Values + ?Sized>(&self, values: &V) -> Result<Truths, EvaluationError> {
        Ok(match self {
            Self::Constant(truth) => Truths::of_option(*truth),
            Self::And(tests) => {
                let mut all = Truths::TRUE;
                for test in tests {
                    all = all.and(test.evaluate(values)?);
                    if all == Truths::FALSE {
                        break;
                    }
                }
                all
            }
            Self::Or(tests) => {
                let mut any = Truths::FALSE;
                for test in tests {
                    any = any.or(test.evaluate(values)?);
                    if any == Truths::TRUE {
                        break;
                    }
                }
                any
            }
            Self::Not(test) => test.evaluate(values)?.not(),
            Self::Is { test, truth, negated } => test.evaluate(values)?.is(*truth, *negated),
            Self::Null { column, negated } => is_null(values.value(column.index), *negated),
            Self::Holds(column) => match column.value(values)? {
                Known::Value(Value::Bool(truth)) => Truths::of(truth),
                Known::Value(_) | Known::Null => Truths::NULL,
                Known::Unsent => Truths::TRUE_OR_FALSE,
                Known::Missing => Truths::ANY,
            },
            Self::Compare { op, left, right } => compare(*op, left.value(values)?, right.value(values)?),
            Self::Distinct { left, right, negated } => {
                let distinct = distinct(left.value(values)?, right.value(values)?);
                if *negated { distinct.not() } else { distinct }
            }
            Self::OneOf { column, constants, null, negated } => {
                let truths = one_of(&column.value(values)?, constants, *null);
                if *negated { truths.not() } else { truths }
            }
        })
    }
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
fn compare(op: Comparison, left: Known<'_>, right: Known<'_>) -> Truths {
    match (left, right) {
        (Known::Null, _) | (_, Known::Null) => Truths::NULL,
        (Known::Value(left), Known::Value(right)) => Truths::of(op.holds(left.compare(&right))),
        (Known::Missing, _) | (_, Known::Missing) => Truths::ANY,
        _ => Truths::TRUE_OR_FALSE,
    }
}

fn distinct(left: Known<'_>, right: Known<'_>) -> Truths {
    match (left, right) {
        (Known::Null, Known::Null) => Truths::FALSE,
        (Known::Value(left), Known::Value(right)) => Truths::of(left.compare(&right).is_ne()),
        (Known::Null, Known::Value(_) | Known::Unsent) | (Known::Value(_) | Known::Unsent, Known::Null) => Truths::TRUE,
        _ => Truths::TRUE_OR_FALSE,
    }
}

fn one_of(value: &Known<'_>, constants: &[Constant], null: bool) -> Truths {
    // An empty list is no value's, not even null's.
    if constants.is_empty() && !null {
        return Truths::FALSE;
    }
    let not_found = if null { Truths::NULL } else { Truths::FALSE };
    match value {
        Known::Null => Truths::NULL,
        Known::Value(value) if constants.iter().any(|one| one.value.compare(value).is_eq()) => Truths::TRUE,
        Known::Value(_) => not_found,
        Known::Unsent if constants.is_empty() => not_found,
        Known::Unsent => Truths::TRUE.or_else(not_found),
        Known::Missing => Truths::ANY,
    }
}

impl Operand {
    pub(super) fn value<'v, V: Values + ?Sized>(&'v self, values: &'v V) -> Result<Known<'v>, EvaluationError> {
        match self {
            Self::Column(column) => column.value(values),
            Self::Constant(constant) => Ok(Known::Value(constant.value.borrowed())),
        }
    }
}

impl Column {
    pub(super) fn value<'v, V: Values + ?Sized>(&self, values: &'v V) -> Result<Known<'v>, EvaluationError> {
        Ok(match values.value(self.index) {
            None => Known::Missing,
            Some(Datum::Null) => Known::Null,
            Some(Datum::Unchanged) => Known::Unsent,
            Some(Datum::Text(text)) => {
                Known::Value(read(self.scalar, self.class, text).map_err(|error| error.of(&self.name))?)
            }
        })
    }
}
