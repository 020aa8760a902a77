//! A predicate: typed, closed, and asked of rows.

use super::explain::Explanation;
use super::keys::{self, Keys};
use super::sql;
use super::tree::Test;
use super::truth::Truth;
use super::value::EvaluationError;
use crate::change::{Datum, Row};

/// A row's values, or a topic's variables, as a [`super::Scope`] numbers them.
pub trait Values {
    /// As Postgres prints the type; none where there is no such value (a column of an old row of which only the key was
    /// sent). Boolean variables may be `true` and `false`, too.
    fn value(&self, index: usize) -> Option<Datum<'_>>;
}

impl Values for Row {
    fn value(&self, index: usize) -> Option<Datum<'_>> {
        self.get(index)
    }
}

impl Values for [Option<&str>] {
    fn value(&self, index: usize) -> Option<Datum<'_>> {
        Some(self.get(index)?.map_or(Datum::Null, |text| Datum::Text(text.as_bytes())))
    }
}

/// An expression or filter with its types resolved and its claims bound.
#[derive(Debug, Clone)]
pub struct Predicate {
    test: Test,
    columns: Box<[usize]>,
}

impl Predicate {
    pub(super) fn new(test: Test) -> Self {
        let mut columns = Vec::new();
        test.each_column(&mut |column, _| columns.push(column));
        columns.sort_unstable();
        columns.dedup();
        Self { test, columns: columns.into() }
    }

    pub(super) fn into_test(self) -> Test {
        self.test
    }

    /// The indexes of the values that it reads, in order.
    #[must_use]
    pub const fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// # Errors
    /// Where Postgres would raise one, and where a value is none of its type.
    pub fn evaluate<V: Values + ?Sized>(&self, values: &V) -> Result<Truth, EvaluationError> {
        Ok(self.test.evaluate(values)?.outcome())
    }

    /// Whether it is true of every row, or of none; nothing where it depends on the row.
    #[must_use]
    pub fn constant(&self) -> Option<bool> {
        match &self.test {
            Test::Constant(truth) => Some(*truth == Some(true)),
            _ => None,
        }
    }

    /// Values of which any row has one, in one column, that the predicate is true of: what an index by value is made
    /// from. None where there is no such column, or its equal values don't look the same.
    #[must_use]
    pub fn keys(&self) -> Option<Keys> {
        keys::keys(&self.test)
    }

    /// The predicate as a `where`: `column` names a column by its index, and what is to be bound to `$1` (after those
    /// already there, all of type `text`) is added to `parameters`. No value is ever part of the text.
    pub fn sql(&self, column: &mut dyn FnMut(usize) -> String, parameters: &mut Vec<String>) -> String {
        sql::write(&self.test, column, parameters)
    }

    /// True where both are.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::all(vec![self, other])
    }

    /// True where each of them is.
    pub(super) fn all(predicates: Vec<Self>) -> Self {
        Self::new(Test::and(predicates.into_iter().map(|predicate| predicate.test).collect()))
    }

    /// Each part of it, with its truth. It shows the claims and literals that are in it.
    #[must_use]
    pub fn explain<V: Values + ?Sized>(&self, values: &V) -> Explanation {
        Explanation::of(&self.test, values)
    }
}
