//! An expression as it was written, before anything is known of the types.

use crate::change::quote_identifier;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// Where in the text something stands. Two expressions are the same wherever they stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Span(pub(super) Range<usize>);

impl Span {
    pub(super) fn range(&self) -> Range<usize> {
        self.0.clone()
    }

    pub(super) fn to(&self, end: &Self) -> Self {
        Self(self.0.start.min(end.0.start)..self.0.end.max(end.0.end))
    }
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Span {}

impl Hash for Span {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A boolean expression.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Node {
    And(Box<[Self]>),
    Or(Box<[Self]>),
    Not(Box<Self>),
    /// `is [not] true`, `is [not] false`, `is [not] unknown`.
    Is {
        operand: Box<Self>,
        truth: Option<bool>,
        negated: bool,
    },
    /// `is [not] null` of something that is no truth value.
    Null {
        operand: Term,
        negated: bool,
    },
    Compare {
        op: Comparison,
        left: Term,
        right: Term,
    },
    /// `is [not] distinct from`.
    Distinct {
        left: Term,
        right: Term,
        negated: bool,
    },
    In {
        operand: Term,
        list: Box<[Term]>,
        negated: bool,
    },
    Like {
        operand: Term,
        pattern: Term,
        escape: Escape,
        insensitive: bool,
        negated: bool,
    },
    /// `= any (…)`, `<> all (…)` and the like.
    Quantified {
        op: Comparison,
        left: Term,
        array: Term,
        all: bool,
    },
    /// A column, claim or literal that is a truth value by itself.
    Term(Term),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// `escape '…'` of a `like`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Escape {
    None,
    By(char),
}

/// Something that has a value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Term {
    pub(super) span: Span,
    pub(super) kind: TermKind,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum TermKind {
    Column(Box<str>),
    /// A claim whose value is not known yet.
    Claim(Box<[Box<str>]>),
    /// A claim with its value.
    Bound {
        path: Box<[Box<str>]>,
        value: Bound,
    },
    Null,
    Boolean(bool),
    /// Digits, perhaps with a sign, a point or an exponent.
    Number(Box<str>),
    /// A literal in quotes, whose type is what it is compared with.
    Unknown(Box<str>),
    Array(Box<[Term]>),
    Cast {
        operand: Box<Term>,
        to: TypeName,
    },
    /// `collate "C"`.
    CollateC(Box<Term>),
}

/// What a claim is, as an untyped literal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Bound {
    /// Null, or not among the claims.
    Null,
    Text(Box<str>),
    List(Box<[Option<Box<str>>]>),
    /// An object, or a list with one inside.
    Structured,
}

/// The types that can be written in an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TypeName {
    pub(super) scalar: super::types::Scalar,
    pub(super) array: bool,
}

impl Comparison {
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether it needs an order, and not only equality.
    pub(super) const fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }

    pub(super) const fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Node {
    /// Calls back with each pair of terms that are to be equal, or not to be.
    pub(super) fn each_comparison<'n>(&'n self, visit: &mut impl FnMut(&'n Term, &'n Term)) {
        match self {
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().for_each(|node| node.each_comparison(visit)),
            Self::Not(node) | Self::Is { operand: node, .. } => node.each_comparison(visit),
            Self::Compare { left, right, .. } | Self::Distinct { left, right, .. } => visit(left, right),
            Self::In { operand, list, .. } => list.iter().for_each(|item| visit(operand, item)),
            Self::Quantified { left, array: Term { kind: TermKind::Array(items), .. }, .. } => {
                items.iter().for_each(|item| visit(left, item));
            }
            Self::Quantified { .. } | Self::Null { .. } | Self::Like { .. } | Self::Term(_) => {}
        }
    }

    /// Calls back with every term in it, those inside others after them.
    pub(super) fn each_term<'n>(&'n self, visit: &mut impl FnMut(&'n Term)) {
        match self {
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().for_each(|node| node.each_term(visit)),
            Self::Not(node) | Self::Is { operand: node, .. } => node.each_term(visit),
            Self::Null { operand, .. } | Self::Term(operand) => operand.each(visit),
            Self::Compare { left, right, .. }
            | Self::Distinct { left, right, .. }
            | Self::Like { operand: left, pattern: right, .. }
            | Self::Quantified { left, array: right, .. } => {
                left.each(visit);
                right.each(visit);
            }
            Self::In { operand, list, .. } => {
                operand.each(visit);
                list.iter().for_each(|term| term.each(visit));
            }
        }
    }

    /// The same with every term that has no others inside replaced.
    pub(super) fn map(&self, replace: &impl Fn(&Term) -> Term) -> Self {
        let each = |nodes: &[Self]| nodes.iter().map(|node| node.map(replace)).collect();
        match self {
            Self::And(nodes) => Self::And(each(nodes)),
            Self::Or(nodes) => Self::Or(each(nodes)),
            Self::Not(node) => Self::Not(Box::new(node.map(replace))),
            Self::Is { operand, truth, negated } => {
                Self::Is { operand: Box::new(operand.map(replace)), truth: *truth, negated: *negated }
            }
            Self::Null { operand, negated } => Self::Null { operand: operand.map(replace), negated: *negated },
            Self::Compare { op, left, right } => {
                Self::Compare { op: *op, left: left.map(replace), right: right.map(replace) }
            }
            Self::Distinct { left, right, negated } => {
                Self::Distinct { left: left.map(replace), right: right.map(replace), negated: *negated }
            }
            Self::In { operand, list, negated } => Self::In {
                operand: operand.map(replace),
                list: list.iter().map(|term| term.map(replace)).collect(),
                negated: *negated,
            },
            Self::Like { operand, pattern, escape, insensitive, negated } => Self::Like {
                operand: operand.map(replace),
                pattern: pattern.map(replace),
                escape: *escape,
                insensitive: *insensitive,
                negated: *negated,
            },
            Self::Quantified { op, left, array, all } => {
                Self::Quantified { op: *op, left: left.map(replace), array: array.map(replace), all: *all }
            }
            Self::Term(term) => Self::Term(term.map(replace)),
        }
    }
}

impl Term {
    pub(super) const fn new(span: Span, kind: TermKind) -> Self {
        Self { span, kind }
    }

    fn each<'t>(&'t self, visit: &mut impl FnMut(&'t Self)) {
        visit(self);
        match &self.kind {
            TermKind::Array(terms) => terms.iter().for_each(|term| term.each(visit)),
            TermKind::Cast { operand, .. } | TermKind::CollateC(operand) => operand.each(visit),
            _ => {}
        }
    }

    fn map(&self, replace: &impl Fn(&Self) -> Self) -> Self {
        let kind = match &self.kind {
            TermKind::Array(terms) => TermKind::Array(terms.iter().map(|term| term.map(replace)).collect()),
            TermKind::Cast { operand, to } => TermKind::Cast { operand: Box::new(operand.map(replace)), to: *to },
            TermKind::CollateC(operand) => TermKind::CollateC(Box::new(operand.map(replace))),
            _ => return replace(self),
        };
        Self { span: self.span.clone(), kind }
    }
}

/// `claims.path.to`, as an expression spells it.
pub(super) fn claim_name(path: &[Box<str>]) -> String {
    let mut name = String::from("claims");
    for key in path {
        name.push('.');
        name.push_str(&quote_identifier(key));
    }
    name
}
