//! Who may see what: SQL expressions of rules and clients' filters, as predicates that are asked of rows.
//!
//! Pure. An [`Expression`] is parsed once, from the config; a subscriber's claims [close](Expression::close) it;
//! together with a relation's types it [compiles](Expression::compile) to a [`Predicate`]. A [`Filter`] is what a
//! client asks for.
//!
//! The subset, and nothing else: comparison, `and`, `or`, `not`, `in`, `between`, `like`, `is null` and its kin,
//! `= any`, over columns, literals and claims. What is in it means what it means in Postgres under the session settings
//! of [`crate::change::json::SESSION_SETTINGS`]; what isn't is refused with the reason, never approximated.

mod array;
mod compile;
mod compiled;
mod cover;
mod error;
mod explain;
mod expression;
mod filter;
mod input;
mod keys;
mod moment;
mod network;
mod node;
mod numeric;
mod operand;
mod parse;
mod pattern;
mod resolve;
mod scope;
mod source;
mod sql;
mod tree;
mod truth;
mod types;
mod value;
mod write;

pub use compiled::{Predicate, Values};
pub use cover::{Coverage, coverage, is_same_filter, row_filter};
pub use error::{ExpressionError, ExpressionErrorKind};
pub use explain::{Explanation, Verdict};
pub use expression::{Expression, MAX_DEPTH, MAX_EXPRESSION_LENGTH, MAX_NODES};
pub use filter::{Filter, FilterError, MAX_CONDITIONS, MAX_FILTER_LENGTH, MAX_IN_VALUES};
pub use keys::Keys;
pub use scope::Scope;
pub use truth::Truth;
pub use value::EvaluationError;

#[cfg(test)]
mod tests;
