//! Values by which an index finds a predicate.

use super::node::Comparison;
use super::tree::{Column, Constant, Operand, Test};
use super::types::Scalar;
use super::value::{Class, Value};

/// A column, and the values of which a row has to have one there for the predicate to be true of it: none means that it
/// is true of no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub column: usize,
    /// As Postgres prints them, hence the bytes that a row carries; each once.
    pub values: Vec<Box<str>>,
    /// Having one of them is all that is asked: the predicate is true of such a row, whatever else it has.
    pub decisive: bool,
}

pub(super) fn keys(test: &Test) -> Option<Keys> {
    match test {
        Test::And(tests) => {
            let fewest = tests.iter().filter_map(keys).min_by_key(|keys| keys.values.len())?;
            Some(Keys { decisive: false, ..fewest })
        }
        Test::Or(tests) => {
            let mut each = tests.iter().map(keys);
            let mut all = each.next()??;
            for keys in each {
                let keys = keys.filter(|keys| keys.column == all.column)?;
                all.values.extend(keys.values);
                all.decisive &= keys.decisive;
            }
            Some(all.distinct())
        }
        // A boolean column by itself, and `not` of one.
        Test::Holds(Operand::Column(column)) => Some(Keys::decisive(column, vec!["t".into()])),
        Test::Not(test) => match &**test {
            Test::Holds(Operand::Column(column)) => Some(Keys::decisive(column, vec!["f".into()])),
            _ => None,
        },
        Test::Compare { op: Comparison::Equal, left, right } => match (left, right) {
            (Operand::Column(column), Operand::Constant(constant))
            | (Operand::Constant(constant), Operand::Column(column)) => {
                Some(Keys::decisive(column, vec![printed(column, constant)?]))
            }
            _ => None,
        },
        Test::OneOf { column, items, negated: false } => {
            let values: Option<Vec<_>> = items.constants.iter().map(|one| printed(column, one)).collect();
            Some(Keys::decisive(column, values?).distinct())
        }
        _ => None,
    }
}

impl Keys {
    const fn decisive(column: &Column, values: Vec<Box<str>>) -> Self {
        Self { column: column.index, values, decisive: true }
    }

    fn distinct(mut self) -> Self {
        self.values.sort_unstable();
        self.values.dedup();
        self
    }
}

/// How Postgres prints the one value of the column that equals the constant; none where several do, which look
/// different (`1.0` and `1.00`), or where it is not known.
fn printed(column: &Column, constant: &Constant) -> Option<Box<str>> {
    match (&constant.value, column.class) {
        (Value::Bool(truth), Class::Bool) => Some(if *truth { "t" } else { "f" }.into()),
        (Value::Int(number), Class::Int) => Some(number.to_string().into()),
        // Of these `value::text` is not what is printed.
        (Value::Text(_), _) if matches!(column.source, Scalar::Bool | Scalar::Bpchar | Scalar::Inet) => None,
        (Value::Text(text), Class::Text) => Some(text.as_str().into()),
        (Value::Moment(_), _) | (Value::Micros(_), Class::Time) if constant.scalar == column.source => {
            Some(constant.text.clone())
        }
        _ => None,
    }
}
