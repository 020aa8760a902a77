//! Values by which an index finds a predicate.

use super::node::Comparison;
use super::test::{Constant, Operand, Test};
use super::types::Scalar;

/// A column, and the values that a row has to have one of there: none means that the predicate is true of no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub column: usize,
    /// As Postgres prints them, hence as a row carries them.
    pub values: Vec<Box<str>>,
}

pub(super) fn keys(test: &Test) -> Option<Keys> {
    match test {
        Test::And(tests) => tests.iter().filter_map(keys).min_by_key(|keys| keys.values.len()),
        Test::Or(tests) => {
            let mut each = tests.iter().map(keys);
            let mut all = each.next()??;
            for keys in each {
                let keys = keys.filter(|keys| keys.column == all.column)?;
                all.values.extend(keys.values);
            }
            all.values.sort_unstable();
            all.values.dedup();
            Some(all)
        }
        Test::Compare { op: Comparison::Equal, left: Operand::Column(column), right: Operand::Constant(constant) }
        | Test::Compare { op: Comparison::Equal, left: Operand::Constant(constant), right: Operand::Column(column) } => {
            Some(Keys { column: column.index, values: vec![printed(column.scalar, constant)?] })
        }
        Test::OneOf { column, constants, null: _, negated: false } => {
            let values: Option<Vec<_>> = constants.iter().map(|one| printed(column.scalar, one)).collect();
            Some(Keys { column: column.index, values: values? })
        }
        _ => None,
    }
}

/// How Postgres prints the constant as a value of the column, where equal values look the same.
fn printed(column: Scalar, constant: &Constant) -> Option<Box<str>> {
    match column {
        Scalar::Text | Scalar::Varchar if matches!(constant.scalar, Scalar::Text | Scalar::Varchar) => {
            Some(constant.text.clone())
        }
        _ => None,
    }
}
