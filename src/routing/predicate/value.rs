//! Values as they are compared.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::moment::{Moment, MomentType, parse_interval, parse_time};
use super::network::Network;
use super::numeric::Numeric;
use super::types::Scalar;

/// What values are compared as: both sides of an operator are brought to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Bool,
    Int,
    Numeric,
    Float,
    /// The bytes of `value::text`. Of `uuid`, `bytea` and enums too: equal ones, and only these, look the same, and the
    /// order of `uuid` and `bytea` is that of their texts.
    Text,
    /// The same without blanks at the end, which `char(n)` doesn't count.
    Padded,
    /// With all blanks, as `like` sees it.
    Raw,
    /// Dates and timestamps.
    Moment,
    Time,
    Interval,
    Network,
}

/// A value that can't be compared. Says nothing of the value itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The type has changed, or Postgres prints it in a way that is not known here.
    #[error("the value of column `{column}` is not what type {ty} prints")]
    Malformed { column: Arc<str>, ty: &'static str },
    /// Postgres raises an error, too.
    #[error("the value of column `{column}` is out of range for type double precision")]
    OutOfRange { column: Arc<str> },
}

/// The same before it is known whose value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Malformed(Scalar),
    OutOfRange,
}

impl Unreadable {
    pub(super) fn of(self, column: &Arc<str>) -> EvaluationError {
        let column = Arc::clone(column);
        match self {
            Self::Malformed(scalar) => EvaluationError::Malformed { column, ty: scalar.name() },
            Self::OutOfRange => EvaluationError::OutOfRange { column },
        }
    }
}

#[derive(Clone)]
pub(super) enum Value<'v> {
    Bool(bool),
    Int(i64),
    Numeric(Numeric<'v>),
    Float(f64),
    Text(Text<'v>),
    Moment(Moment),
    /// Microseconds: a `time`, or an `interval`.
    Micros(i128),
    Network(Network),
}

/// A text. A short one that a predicate holds lies where the predicate does: it is compared without another wait for
/// memory.
#[derive(Clone)]
pub(super) enum Text<'v> {
    Borrowed(&'v str),
    Short { length: u8, bytes: [u8; SHORT_MAX] },
    Owned(Box<str>),
}

/// Makes no value larger than it is without short texts, and a `uuid` is one.
const SHORT_MAX: usize = 46;

impl Text<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(text) => text.as_bytes(),
            Self::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Owned(text) => text.as_bytes(),
        }
    }

    /// As it lies, for a comparison.
    fn borrowed(&self) -> Text<'_> {
        match self {
            Self::Short { length, bytes } => Text::Short { length: *length, bytes: *bytes },
            Self::Borrowed(text) => Text::Borrowed(text),
            Self::Owned(text) => Text::Borrowed(text),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            // It was made of one.
            Self::Short { .. } => str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Owned(text) => text,
        }
    }

    fn into_owned(self) -> Text<'static> {
        let text = match self {
            Self::Owned(text) => return Text::Owned(text),
            Self::Short { length, bytes } => return Text::Short { length, bytes },
            Self::Borrowed(text) => text,
        };
        let mut bytes = [0; SHORT_MAX];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Text::Short { length, bytes }
            }
            _ => Text::Owned(text.into()),
        }
    }
}

impl<'v> From<Cow<'v, str>> for Text<'v> {
    fn from(text: Cow<'v, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => Self::Owned(text.into()),
        }
    }
}

impl fmt::Debug for Value<'_> {
    // Row values and claims reach no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            (Self::Numeric(left), Value::Numeric(right)) => left.compare(right),
            (Self::Float(left), Value::Float(right)) => {
                left.partial_cmp(right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
            }
            (Self::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
            (Self::Moment(left), Value::Moment(right)) => left.cmp(right),
            (Self::Micros(left), Value::Micros(right)) => left.cmp(right),
            (Self::Network(left), Value::Network(right)) => left.compare(*right),
            _ => {
                debug_assert!(false, "values of different classes");
                Ordering::Less
            }
        }
    }

    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text.borrowed()),
            Self::Numeric(number) => Value::Numeric(number.borrowed()),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => Value::Int(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Moment(moment) => Value::Moment(*moment),
            Self::Micros(micros) => Value::Micros(*micros),
            Self::Network(network) => Value::Network(*network),
        }
    }

    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(text.into_owned()),
            Self::Numeric(number) => Value::Numeric(number.into_owned()),
            Self::Bool(truth) => Value::Bool(truth),
            Self::Int(number) => Value::Int(number),
            Self::Float(number) => Value::Float(number),
            Self::Moment(moment) => Value::Moment(moment),
            Self::Micros(micros) => Value::Micros(micros),
            Self::Network(network) => Value::Network(network),
        }
    }
}

/// A value of the type from what Postgres printed, brought to the class.
pub(super) fn read(scalar: Scalar, class: Class, text: &[u8]) -> Result<Value<'_>, Unreadable> {
    let malformed = Unreadable::Malformed(scalar);
    let text = std::str::from_utf8(text).map_err(|_| malformed)?;
    let moment = |ty| Moment::parse(ty, text).map(Value::Moment);
    let value = match class {
        Class::Bool => read_bool(text).map(Value::Bool),
        Class::Int => text.parse().ok().map(Value::Int),
        Class::Numeric => Numeric::parse(text).map(Value::Numeric),
        Class::Float => return read_float(scalar, text).map(Value::Float),
        Class::Text => text_of(scalar, text).map(Text::from).map(Value::Text),
        Class::Padded => text_of(scalar, text).map(unpadded).map(Text::from).map(Value::Text),
        Class::Raw => Some(Value::Text(Text::Borrowed(text))),
        Class::Moment => match scalar {
            Scalar::Date => moment(MomentType::Date),
            Scalar::TimestampTz => moment(MomentType::TimestampTz),
            _ => moment(MomentType::Timestamp),
        },
        Class::Time => parse_time(text).map(Value::Micros),
        Class::Interval => parse_interval(text).map(Value::Micros),
        Class::Network => Network::parse(text).map(Value::Network),
    };
    value.ok_or(malformed)
}

fn read_bool(text: &str) -> Option<bool> {
    match text {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        _ => None,
    }
}

/// Any number as a `double precision`; a `real` keeps the value that it has.
fn read_float(scalar: Scalar, text: &str) -> Result<f64, Unreadable> {
    let malformed = Unreadable::Malformed(scalar);
    if scalar == Scalar::Float4 {
        return text.parse::<f32>().map(f64::from).map_err(|_| malformed);
    }
    let float: f64 = text.parse().map_err(|_| malformed)?;
    let rounded_away = float.is_infinite() || float == 0.0;
    if rounded_away && Numeric::parse(text).is_some_and(|exact| exact.is_finite() && !(exact.is_zero())) {
        return Err(Unreadable::OutOfRange);
    }
    Ok(float)
}

/// `value::text`, which for some types is not what they print.
fn text_of(scalar: Scalar, text: &str) -> Option<Cow<'_, str>> {
    Some(match scalar {
        Scalar::Bool => Cow::Borrowed(if read_bool(text)? { "true" } else { "false" }),
        Scalar::Bpchar => Cow::Borrowed(text.trim_end_matches(' ')),
        Scalar::Inet if !text.contains('/') => {
            Cow::Owned(format!("{text}{}", if text.contains(':') { "/128" } else { "/32" }))
        }
        _ => Cow::Borrowed(text),
    })
}

fn unpadded(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(' ')),
        Cow::Owned(text) => Cow::Owned(text.trim_end_matches(' ').to_owned()),
    }
}
