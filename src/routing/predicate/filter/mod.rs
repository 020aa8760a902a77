//! What a client asks for: conditions as PostgREST has them in a query string, all of which a row has to meet.
//!
//! `status=eq.open&total=gt.100&id=in.(1,2)&note=not.is.null&name=like.A*`. Values are untyped literals of their
//! column's type; what is read is what Postgres reads. Two things are this gateway's own, because the database's
//! collation is not known here: texts are ordered by their bytes, and `ilike` passes over the case of ASCII letters.

mod condition;
mod query;

use std::collections::BTreeSet;

use condition::{Asked, Condition};

use super::compile;
use super::compiled::Predicate;
use super::error::{ExpressionError, ExpressionErrorKind};
use super::node::{Escape, Node, Span, Term, TermKind};
use super::scope::Scope;
use super::types::{Category, Scalar, Shape};
use super::write::{ClaimStyle, write};

/// The longest filter, in bytes: as much as a client may make the gateway keep and compare for each subscription.
pub const MAX_FILTER_LENGTH: usize = 4_096;
/// The most conditions in one filter: each is evaluated for each row.
pub const MAX_CONDITIONS: usize = 32;
/// The most values in one `in.(…)`.
pub const MAX_IN_VALUES: usize = 500;

/// A filter whose syntax is right; its names and types are looked at when it is compiled. Two are equal if their
/// conditions are, in whatever order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    /// In order, each once.
    conditions: Box<[Condition]>,
}

/// What is wrong with a filter, and what would be right: for the client that sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    pub message: String,
}

impl FilterError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl Filter {
    /// The conditions of a query string; none in an empty one.
    ///
    /// # Errors
    /// What is no filter, or too much of one.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_FILTER_LENGTH {
            return Err(FilterError::new(format!("a filter can have at most {MAX_FILTER_LENGTH} bytes")));
        }
        let mut conditions = BTreeSet::new();
        for (count, (name, value)) in query::pairs(text).enumerate() {
            if count >= MAX_CONDITIONS {
                return Err(FilterError::new(format!("a filter can have at most {MAX_CONDITIONS} conditions")));
            }
            conditions.insert(Condition::parse(query::decoded(name)?, &query::decoded(value.unwrap_or_default())?)?);
        }
        Ok(Self { conditions: conditions.into_iter().collect() })
    }

    /// Whether it leaves out no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// The names of the columns that it needs.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<&str> {
        self.conditions.iter().map(|condition| &*condition.column).collect()
    }

    /// Resolves names and types. A name that the scope leaves out is told like one that does not exist.
    ///
    /// # Errors
    /// A column that the scope doesn't have, a value that is none of its column's type.
    pub fn compile(&self, scope: &Scope<'_>) -> Result<Predicate, FilterError> {
        let node = |condition: &Condition| {
            let node = condition.node(scope);
            // One by one, so that the message can name the condition.
            compile::compile(&node, scope).map_err(|errors| refused(condition, &compile::first(errors)))
        };
        let predicates = self.conditions.iter().map(node).collect::<Result<Vec<_>, _>>()?;
        Ok(Predicate::all(predicates))
    }

    /// One spelling for all equal filters, the same after every restart: what a fingerprint is made from.
    #[must_use]
    pub fn canonical(&self) -> String {
        let nothing = Scope::of_variables(&[]);
        let nodes = self.conditions.iter().map(|condition| condition.node(&nothing)).collect();
        write(&Node::And(nodes), ClaimStyle::Values)
    }
}

fn refused(condition: &Condition, error: &ExpressionError) -> FilterError {
    let mut message = match (&error.kind, &condition.asked) {
        (ExpressionErrorKind::UnknownColumn { .. }, _) => error.to_string(),
        (_, Asked::Is(Some(_)) | Asked::Unknown) => {
            let column = &condition.column;
            format!("`{condition}`: `{column}` is no boolean column; ask `{column}=is.null` or `{column}=eq.…`")
        }
        _ => format!("`{condition}`: {error}"),
    };
    if let Some(help) = error.help() {
        message.push_str("; ");
        message.push_str(&help);
    }
    FilterError { message }
}

impl Condition {
    /// As an expression, with what the filter says of collations.
    fn node(&self, scope: &Scope<'_>) -> Node {
        let term = |kind| Term::new(Span::default(), kind);
        let literal = |text: &str| term(TermKind::Unknown(text.into()));
        let column = term(TermKind::Column(self.column.clone()));
        let by_bytes = |column: Term| term(TermKind::CollateC(Box::new(column)));
        let node = match &self.asked {
            Asked::Compare(op, value) => {
                let ordered = op.orders() && is_text(scope, &self.column);
                let left = if ordered { by_bytes(column) } else { column };
                Node::Compare { op: *op, left, right: literal(value) }
            }
            Asked::In(values) if values.is_empty() => Node::Term(term(TermKind::Boolean(false))),
            Asked::In(values) => {
                Node::In { operand: column, list: values.iter().map(|value| literal(value)).collect(), negated: false }
            }
            Asked::Is(None) => Node::Null { operand: column, negated: false },
            Asked::Is(truth) => Node::Is { operand: Box::new(Node::Term(column)), truth: *truth, negated: false },
            Asked::Unknown => Node::Is { operand: Box::new(Node::Term(column)), truth: None, negated: false },
            Asked::Like { pattern, insensitive } => Node::Like {
                operand: if *insensitive { by_bytes(column) } else { column },
                pattern: literal(pattern),
                escape: Escape::By('\\'),
                insensitive: *insensitive,
                negated: false,
            },
        };
        if self.negated { Node::Not(Box::new(node)) } else { node }
    }
}

fn is_text(scope: &Scope<'_>, column: &str) -> bool {
    let scalar = |shape| match shape {
        Shape::Scalar(scalar) => Some(scalar),
        Shape::Array(_) => None,
    };
    let of_column: Option<Scalar> = scope.find(column).and_then(|(_, ty)| Shape::of(ty)).and_then(scalar);
    of_column.is_some_and(|scalar| scalar.category() == Category::String)
}

#[cfg(test)]
mod tests;
