//! Values as they are compared.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::types::Scalar;

/// What values are compared as: both sides of an operator are brought to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Bool,
    Int,
    /// Bytes of text; what is no text is cast to it.
    Text,
    /// The same without blanks at the end, which `char(n)` doesn't count.
    Padded,
    Uuid,
}

/// A value that can't be compared. Says nothing of the value itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    #[error("the value of `{column}` is not what type {ty} prints")]
    Malformed { column: Arc<str>, ty: &'static str },
}

/// The same before it is known whose value it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unreadable {
    Malformed(Scalar),
}

impl Unreadable {
    pub(super) fn of(self, column: &Arc<str>) -> EvaluationError {
        match self {
            Self::Malformed(scalar) => EvaluationError::Malformed { column: Arc::clone(column), ty: scalar.name() },
        }
    }
}

#[derive(Clone)]
pub(super) enum Value<'v> {
    Bool(bool),
    Int(i64),
    Text(Cow<'v, [u8]>),
    Uuid(u128),
}

impl std::fmt::Debug for Value<'_> {
    // Row values and claims reach no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("value")
    }
}

impl Value<'_> {
    /// Total, also for floats: NaN equals itself and is above all others, as in Postgres. Values of different classes
    /// are never compared.
    pub(super) fn compare(&self, other: &Value<'_>) -> Ordering {
        match (self, other) {
            (Self::Bool(left), Value::Bool(right)) => left.cmp(right),
            (Self::Int(left), Value::Int(right)) => left.cmp(right),
            (Self::Text(left), Value::Text(right)) => left.cmp(right),
            (Self::Uuid(left), Value::Uuid(right)) => left.cmp(right),
            _ => {
                debug_assert!(false, "values of different classes");
                Ordering::Less
            }
        }
    }

    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => Value::Int(*number),
            Self::Uuid(id) => Value::Uuid(*id),
        }
    }

    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Bool(truth) => Value::Bool(truth),
            Self::Int(number) => Value::Int(number),
            Self::Uuid(id) => Value::Uuid(id),
        }
    }
}

/// A value of the type from what Postgres printed, brought to the class.
pub(super) fn read(scalar: Scalar, class: Class, text: &[u8]) -> Result<Value<'_>, Unreadable> {
    let malformed = Unreadable::Malformed(scalar);
    let utf8 = || std::str::from_utf8(text).map_err(|_| malformed);
    Ok(match class {
        Class::Bool => Value::Bool(match text {
            b"t" | b"true" => true,
            b"f" | b"false" => false,
            _ => return Err(malformed),
        }),
        Class::Int => Value::Int(utf8()?.parse().map_err(|_| malformed)?),
        Class::Text if scalar == Scalar::Bpchar => Value::Text(Cow::Borrowed(unpadded(text))),
        Class::Text => Value::Text(Cow::Borrowed(text)),
        Class::Padded => Value::Text(Cow::Borrowed(unpadded(text))),
        Class::Uuid => Value::Uuid(uuid(utf8()?).ok_or(malformed)?),
    })
}

fn unpadded(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    text.get(..end).unwrap_or(text)
}

/// As Postgres prints it: lower case, four hyphens.
fn uuid(text: &str) -> Option<u128> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    if digits.len() == 32 { u128::from_str_radix(&digits, 16).ok() } else { None }
}
