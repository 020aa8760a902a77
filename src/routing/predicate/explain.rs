//! Why a predicate is true of a row, or isn't.

use super::predicate::Values;
use super::test::Test;
use super::truth::Truths;
use super::value::EvaluationError;

/// A part of a predicate with its truth, and the parts that it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// As SQL.
    pub text: String,
    pub verdict: Verdict,
    pub parts: Vec<Explanation>,
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

impl Explanation {
    pub(super) fn of<V: Values + ?Sized>(test: &Test, values: &V) -> Self {
        let parts = match test {
            Test::And(tests) | Test::Or(tests) => tests.iter().map(|test| Self::of(test, values)).collect(),
            Test::Not(test) | Test::Is { test, .. } => vec![Self::of(test, values)],
            _ => Vec::new(),
        };
        let verdict = match test.evaluate(values) {
            Ok(Truths::TRUE) => Verdict::True,
            Ok(Truths::FALSE) => Verdict::False,
            Ok(Truths::NULL) => Verdict::Null,
            Ok(_) => Verdict::Unsent,
            Err(error) => Verdict::Failed(error),
        };
        Self { text: String::new(), verdict, parts }
    }
}
