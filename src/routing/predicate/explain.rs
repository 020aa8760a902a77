//! Why a predicate is true of a row, or isn't.

use crate::change::quote_identifier;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::compiled::Values;
use super::sql;
use super::tree::Test;
use super::truth::Truths;
use super::value::EvaluationError;

/// A part of a predicate with its truth, and the parts that it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// As SQL, with the claims and literals that are in it.
    pub text: String,
    pub verdict: Verdict,
    pub parts: Vec<Self>,
}

/// What a part of a predicate came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    True,
    False,
    Null,
    /// A value that Postgres did not send decides.
    Unsent,
    Failed(EvaluationError),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::True => f.write_str("true"),
            Self::False => f.write_str("false"),
            Self::Null => f.write_str("null"),
            Self::Unsent => f.write_str("unknown: decided by a value that Postgres did not send"),
            Self::Failed(error) => write!(f, "error: {error}"),
        }
    }
}

impl Explanation {
    pub(super) fn of<V: Values + ?Sized>(test: &Test, values: &V) -> Self {
        let mut names = BTreeMap::new();
        test.each_column(&mut |index, name| drop(names.insert(index, Arc::clone(name))));
        explain(test, values, &names)
    }
}

fn explain<V: Values + ?Sized>(test: &Test, values: &V, names: &BTreeMap<usize, Arc<str>>) -> Explanation {
    let parts = match test {
        Test::And(tests) | Test::Or(tests) => tests.iter().map(|test| explain(test, values, names)).collect(),
        Test::Not(test) | Test::Is { test, .. } => vec![explain(test, values, names)],
        _ => Vec::new(),
    };
    let verdict = match test.evaluate(values) {
        Ok(Truths::TRUE) => Verdict::True,
        Ok(Truths::FALSE) => Verdict::False,
        Ok(Truths::NULL) => Verdict::Null,
        Ok(_) => Verdict::Unsent,
        Err(error) => Verdict::Failed(error),
    };
    let text =
        sql::write_plain(test, &mut |index| names.get(&index).map_or_else(String::new, |name| quote_identifier(name)));
    Explanation { text, verdict, parts }
}
