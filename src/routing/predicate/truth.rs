//! Three-valued logic over what is known of a value that Postgres did not send.

/// Whether a predicate is true of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    True,
    /// False or null, which a `where` doesn't tell apart.
    NotTrue,
    /// A value that Postgres did not send (unchanged TOAST) decides.
    Unsent,
}

/// The truth values that an expression may have: one where all values are known, several where it depends on one that
/// was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truths(u8);

impl Truths {
    pub(super) const TRUE: Self = Self(1);
    pub(super) const FALSE: Self = Self(2);
    pub(super) const NULL: Self = Self(4);
    /// Of a value that is there and not known.
    pub(super) const TRUE_OR_FALSE: Self = Self(3);
    pub(super) const ANY: Self = Self(7);

    const EACH: [Self; 3] = [Self::TRUE, Self::FALSE, Self::NULL];

    pub(super) const fn of(truth: bool) -> Self {
        if truth { Self::TRUE } else { Self::FALSE }
    }

    pub(super) const fn of_option(truth: Option<bool>) -> Self {
        match truth {
            Some(truth) => Self::of(truth),
            None => Self::NULL,
        }
    }

    /// The only one, where there is only one; null is none.
    pub(super) const fn single(self) -> Option<Option<bool>> {
        match self {
            Self::TRUE => Some(Some(true)),
            Self::FALSE => Some(Some(false)),
            Self::NULL => Some(None),
            _ => None,
        }
    }

    pub(super) const fn may_be(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    pub(super) const fn or_else(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn not(self) -> Self {
        Self((self.0 & 1) << 1 | (self.0 & 2) >> 1 | (self.0 & 4))
    }

    pub(super) const fn not_if(self, negated: bool) -> Self {
        if negated { self.not() } else { self }
    }

    pub(super) fn and(self, other: Self) -> Self {
        self.combined(other, |left, right| match (left, right) {
            (Self::FALSE, _) | (_, Self::FALSE) => Self::FALSE,
            (Self::TRUE, Self::TRUE) => Self::TRUE,
            _ => Self::NULL,
        })
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    /// `is [not] true`, `is [not] false`, `is [not] unknown`.
    pub(super) fn is(self, truth: Option<bool>, negated: bool) -> Self {
        let wanted = Self::of_option(truth);
        self.each(|one| Self::of((one == wanted) != negated))
    }

    pub(super) const fn outcome(self) -> Truth {
        match self {
            Self::TRUE => Truth::True,
            _ if self.may_be(Self::TRUE) => Truth::Unsent,
            _ => Truth::NotTrue,
        }
    }

    fn each(self, map: impl Fn(Self) -> Self) -> Self {
        let possible = Self::EACH.into_iter().filter(|one| self.may_be(*one));
        Self(possible.fold(0, |all, one| all | map(one).0))
    }

    fn combined(self, other: Self, combine: impl Fn(Self, Self) -> Self) -> Self {
        self.each(|left| other.each(|right| combine(left, right)))
    }
}
