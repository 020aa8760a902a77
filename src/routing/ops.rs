//! Postgres' operations, and sets of them.

use std::fmt;
use std::str::FromStr;

use crate::change::Operation;

/// One of Postgres' operations on a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Op {
    /// All of them, in the order in which they are listed to users.
    pub const ALL: [Self; 4] = [Self::Insert, Self::Update, Self::Delete, Self::Truncate];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    #[must_use]
    pub const fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Insert { .. } => Self::Insert,
            Operation::Update { .. } => Self::Update,
            Operation::Delete { .. } => Self::Delete,
            Operation::Truncate => Self::Truncate,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Insert => 1,
            Self::Update => 2,
            Self::Delete => 4,
            Self::Truncate => 8,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no operation: use insert, update, delete or truncate")]
pub struct UnknownOp(pub String);

impl FromStr for Op {
    type Err = UnknownOp;

    fn from_str(name: &str) -> Result<Self, UnknownOp> {
        Self::ALL.into_iter().find(|op| op.as_str() == name).ok_or_else(|| UnknownOp(name.to_owned()))
    }
}

/// A set of operations; by default all.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ops(u8);

impl Ops {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(15);

    /// The set of the operations so named.
    ///
    /// # Errors
    /// The first name that is no operation.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownOp> {
        names.into_iter().map(str::parse).collect()
    }

    #[must_use]
    pub const fn contains(self, op: Op) -> bool {
        self.0 & op.bit() != 0
    }

    #[must_use]
    pub const fn with(self, op: Op) -> Self {
        Self(self.0 | op.bit())
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Op> {
        Op::ALL.into_iter().filter(move |op| self.contains(*op))
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromIterator<Op> for Ops {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        ops.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_sets() {
        let ops = Ops::parse(["delete", "insert", "delete"]).unwrap();
        assert_eq!(ops.iter().collect::<Vec<_>>(), [Op::Insert, Op::Delete]);
        assert!(Ops::parse([]).unwrap().is_empty());
        assert_eq!(Ops::parse(Op::ALL.map(Op::as_str)).unwrap(), Ops::default());
    }

    #[test]
    fn an_unknown_name_is_told() {
        assert_eq!(Ops::parse(["insert", "Update"]).unwrap_err(), UnknownOp("Update".into()));
    }
}
