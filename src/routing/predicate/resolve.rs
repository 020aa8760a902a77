//! Which operator Postgres takes for two types: what untyped literals become, and what both sides are compared as.

use super::types::Scalar;
use super::value::Class;

/// An operator's two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparing {
    /// What an untyped literal on the left is read as; a typed left side as it is.
    pub(super) left: Scalar,
    pub(super) right: Scalar,
    pub(super) class: Class,
}

/// For `=` and its kin; `None` on a side is an untyped literal. `None` where Postgres has no operator.
pub(super) fn comparing(left: Option<Scalar>, right: Option<Scalar>) -> Option<Comparing> {
    let (left, right) = match (left, right) {
        (Some(left), Some(right)) => (left, right),
        (Some(known), None) => (known, literal_beside(known)),
        (None, Some(known)) => (literal_beside(known), known),
        (None, None) => (Scalar::Text, Scalar::Text),
    };
    Some(Comparing { left, right, class: class(left, right)? })
}

/// What an untyped literal becomes beside a type: the type itself, if it has operators of its own.
const fn literal_beside(known: Scalar) -> Scalar {
    match known {
        Scalar::Varchar => Scalar::Text,
        Scalar::Cidr => Scalar::Inet,
        other => other,
    }
}

fn class(left: Scalar, right: Scalar) -> Option<Class> {
    use Scalar::{
        Bool, Bpchar, Bytea, Cidr, Date, Enum, Float4, Float8, Inet, Int2, Int4, Int8, Interval, Name, Numeric, Text,
        Time, Timestamp, TimestampTz, Uuid, Varchar,
    };
    Some(match (left, right) {
        (Bool, Bool) => Class::Bool,
        (Int2 | Int4 | Int8, Int2 | Int4 | Int8) => Class::Int,
        (Int2 | Int4 | Int8 | Numeric, Int2 | Int4 | Int8 | Numeric) => Class::Numeric,
        // Float8 is preferred, and every other number casts to it.
        (Int2 | Int4 | Int8 | Numeric | Float4 | Float8, Int2 | Int4 | Int8 | Numeric | Float4 | Float8) => {
            Class::Float
        }
        (Bpchar, Bpchar | Varchar) | (Varchar, Bpchar) => Class::Padded,
        // `text`, being preferred, wins over `char(n)`, which loses its blanks by the cast.
        (Text | Varchar | Bpchar | Name, Text | Varchar | Bpchar | Name) => Class::Text,
        (Uuid, Uuid) | (Bytea, Bytea) => Class::Text,
        (Enum(left), Enum(right)) if left == right => Class::Text,
        (Date | Timestamp | TimestampTz, Date | Timestamp | TimestampTz) => Class::Moment,
        (Time, Time) => Class::Time,
        // A time is cast to the interval since midnight.
        (Time | Interval, Time | Interval) => Class::Interval,
        (Inet | Cidr, Inet | Cidr) => Class::Network,
        _ => return None,
    })
}

/// Whether values have an order that is the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Known,
    /// By the rules of some language, unless collation "C" is asked for.
    OfCollation,
    /// Enums: by the order in which their labels were made, which rows don't tell.
    Unknown,
}

impl Comparing {
    pub(super) const fn order(self) -> Order {
        match (self.left, self.right) {
            (Scalar::Enum(_), _) => Order::Unknown,
            // Its collation is "C".
            (Scalar::Name, Scalar::Name) => Order::Known,
            (Scalar::Text | Scalar::Varchar | Scalar::Bpchar | Scalar::Name, _) => Order::OfCollation,
            _ => Order::Known,
        }
    }
}

/// The type that the values of an `in` or `array[…]` are brought to, as Postgres' `select_common_type`; `None` on the
/// list is an untyped literal. None where there is no such type.
pub(super) fn common_type(types: &[Option<Scalar>]) -> Option<Scalar> {
    let mut common: Option<Scalar> = None;
    for scalar in types.iter().flatten() {
        common = Some(match common {
            None => *scalar,
            Some(known) if known == *scalar => known,
            Some(known) if known.category() != scalar.category() => return None,
            Some(known) if !known.is_preferred() && known.casts_to(*scalar) && !scalar.casts_to(known) => *scalar,
            Some(known) => known,
        });
    }
    let common = common.unwrap_or(Scalar::Text);
    types.iter().flatten().all(|scalar| scalar.casts_to(common)).then_some(common)
}
