//! Why an expression is none of the subset, or doesn't fit what it is about.

use std::fmt;
use std::ops::Range;

use super::expression::{MAX_DEPTH, MAX_EXPRESSION_LENGTH, MAX_NODES};

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// Bytes of the SQL text.
    pub span: Range<usize>,
    pub kind: ExpressionErrorKind,
}

/// What is wrong. No variant carries a claim's value: these texts reach logs and other people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpressionErrorKind {
    TooLong,
    TooDeep,
    TooLarge,
    /// No SQL at all; the parser's own words.
    Syntax(String),
    /// SQL, but not of the subset.
    Unsupported {
        what: String,
        help: Option<String>,
    },
    /// `similar` is among the names that there are.
    UnknownColumn {
        name: String,
        similar: Option<String>,
    },
    /// Postgres would refuse it, too.
    Type {
        message: String,
        help: Option<String>,
    },
    /// A constant that is none of the type it has to be of.
    Literal {
        message: String,
        help: Option<String>,
    },
    /// A claim's value that can't be cast to what it is compared with: the fault of whoever has the claim.
    Claim {
        path: String,
        message: String,
    },
    /// [`super::Expression::compile`] needs the claims.
    Open {
        path: String,
    },
}

impl ExpressionError {
    pub(super) fn new(span: Range<usize>, kind: ExpressionErrorKind) -> Self {
        Self { span, kind }
    }

    pub(super) fn unsupported(span: Range<usize>, what: impl Into<String>, help: Option<&str>) -> Self {
        Self::new(span, ExpressionErrorKind::Unsupported { what: what.into(), help: help.map(str::to_owned) })
    }

    pub(super) fn of_type(span: Range<usize>, message: impl Into<String>, help: Option<String>) -> Self {
        Self::new(span, ExpressionErrorKind::Type { message: message.into(), help })
    }

    /// What to do about it, where there is more to say than the message.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match &self.kind {
            ExpressionErrorKind::Unsupported { help, .. }
            | ExpressionErrorKind::Type { help, .. }
            | ExpressionErrorKind::Literal { help, .. } => help.clone(),
            ExpressionErrorKind::UnknownColumn { similar, .. } => {
                similar.as_ref().map(|name| format!("there is a column `{name}`"))
            }
            ExpressionErrorKind::TooDeep => Some("flatten it: `in (…)` for many values, fewer parentheses".to_owned()),
            _ => None,
        }
    }

    /// Whether a subscriber's claims are at fault, and not the expression.
    #[must_use]
    pub const fn is_claim(&self) -> bool {
        matches!(self.kind, ExpressionErrorKind::Claim { .. })
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExpressionErrorKind::TooLong => write!(f, "an expression can have at most {MAX_EXPRESSION_LENGTH} bytes"),
            ExpressionErrorKind::TooDeep => write!(f, "an expression can be nested at most {MAX_DEPTH} levels deep"),
            ExpressionErrorKind::TooLarge => write!(f, "an expression can have at most {MAX_NODES} parts"),
            ExpressionErrorKind::Syntax(message) => write!(f, "no SQL expression: {message}"),
            ExpressionErrorKind::Unsupported { what, .. } => write!(f, "{what} can't be used here"),
            ExpressionErrorKind::UnknownColumn { name, .. } => write!(f, "there is no column `{name}`"),
            ExpressionErrorKind::Type { message, .. } | ExpressionErrorKind::Literal { message, .. } => {
                f.write_str(message)
            }
            ExpressionErrorKind::Claim { path, message } => write!(f, "`{path}` {message}"),
            ExpressionErrorKind::Open { path } => write!(f, "the claims that `{path}` is among are not known"),
        }
    }
}

impl std::error::Error for ExpressionError {}
