//! Resolves names and types, as Postgres would, and works out what is constant.

use super::error::{ExpressionError, ExpressionErrorKind};
use super::node::{Bound, Comparison, Node, Term, TermKind, claim_name};
use super::predicate::Predicate;
use super::scope::Scope;
use super::test::{Column, Constant, Operand, Test};
use super::types::{Scalar, Shape};
use super::value::{Class, read};

/// All that is wrong, in the order of the text; never empty.
type Compiled<T> = Result<T, Vec<ExpressionError>>;

pub(super) fn compile(node: &Node, scope: &Scope<'_>) -> Compiled<Predicate> {
    Compiler { scope }.node(node).map(Predicate::new)
}

pub(super) fn first(errors: Vec<ExpressionError>) -> ExpressionError {
    let fallback = || ExpressionError::unsupported(0..0, "this", None);
    errors.into_iter().next().unwrap_or_else(fallback)
}

struct Compiler<'s> {
    scope: &'s Scope<'s>,
}

/// A term as far as it is known without the other side.
enum Typed {
    Column(usize, Box<str>, Scalar),
    Unknown(Option<Box<str>>),
    Constant(Scalar, Box<str>),
}

impl Compiler<'_> {
    fn node(&self, node: &Node) -> Compiled<Test> {
        match node {
            Node::And(nodes) => self.nodes(nodes).map(Test::and),
            Node::Or(nodes) => self.nodes(nodes).map(Test::or),
            Node::Not(node) => self.node(node).map(Test::negated),
            Node::Is { operand, truth, negated } => {
                Ok(Test::Is { test: Box::new(self.node(operand)?), truth: *truth, negated: *negated })
            }
            Node::Null { operand, negated } => match self.term(operand)? {
                Typed::Column(index, name, scalar) => Ok(Test::Null {
                    column: Column { index, name: (&*name).into(), scalar, class: Class::Text },
                    negated: *negated,
                }),
                Typed::Unknown(value) => Ok(Test::Constant(Some(value.is_none() != *negated))),
                Typed::Constant(..) => Ok(Test::Constant(Some(*negated))),
            },
            Node::Compare { op, left, right } => self.compare(*op, left, right),
            Node::In { operand, list, negated } => {
                let any = self.each(list, |item| self.compare(Comparison::Equal, operand, item)).map(Test::or)?;
                Ok(if *negated { any.negated() } else { any })
            }
            Node::Term(term) => match self.term(term)? {
                Typed::Column(index, name, Scalar::Bool) => {
                    Ok(Test::Holds(Column { index, name: (&*name).into(), scalar: Scalar::Bool, class: Class::Bool }))
                }
                Typed::Constant(Scalar::Bool, text) => Ok(Test::Constant(Some(&*text == "true"))),
                Typed::Unknown(None) => Ok(Test::Constant(None)),
                _ => Err(vec![ExpressionError::of_type(term.span.range(), "a truth value is wanted here", None)]),
            },
            _ => Err(vec![ExpressionError::unsupported(0..0, "this", None)]),
        }
    }

    fn nodes(&self, nodes: &[Node]) -> Compiled<Vec<Test>> {
        self.each(nodes, |node| self.node(node))
    }

    /// Everything that is wrong with any of them.
    fn each<N>(&self, nodes: &[N], compile: impl Fn(&N) -> Compiled<Test>) -> Compiled<Vec<Test>> {
        let (mut tests, mut errors) = (Vec::with_capacity(nodes.len()), Vec::new());
        for node in nodes {
            match compile(node) {
                Ok(test) => tests.push(test),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() { Ok(tests) } else { Err(errors) }
    }

    fn compare(&self, op: Comparison, left: &Term, right: &Term) -> Compiled<Test> {
        let (one, other) = (self.term(left)?, self.term(right)?);
        let scalar = match (&one, &other) {
            (Typed::Column(_, _, scalar) | Typed::Constant(scalar, _), _)
            | (_, Typed::Column(_, _, scalar) | Typed::Constant(scalar, _)) => *scalar,
            _ => Scalar::Text,
        };
        let class = match scalar {
            Scalar::Bool => Class::Bool,
            Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => Class::Int,
            Scalar::Text | Scalar::Varchar | Scalar::Enum(_) => Class::Text,
            Scalar::Uuid => Class::Uuid,
            _ => return Err(vec![ExpressionError::unsupported(left.span.range(), scalar.name(), None)]),
        };
        let (Some(left), Some(right)) =
            (self.operand(left, one, scalar, class)?, self.operand(right, other, scalar, class)?)
        else {
            return Ok(Test::Constant(None));
        };
        Ok(match (left, right) {
            (Operand::Constant(left), Operand::Constant(right)) => {
                Test::Constant(Some(op.holds(left.value.compare(&right.value))))
            }
            (left, right) => Test::Compare { op, left, right },
        })
    }

    /// `None` for null.
    fn operand(&self, term: &Term, typed: Typed, scalar: Scalar, class: Class) -> Compiled<Option<Operand>> {
        match typed {
            Typed::Column(index, name, scalar) => {
                Ok(Some(Operand::Column(Column { index, name: (&*name).into(), scalar, class })))
            }
            Typed::Unknown(None) => Ok(None),
            Typed::Unknown(Some(text)) | Typed::Constant(_, text) => {
                let value = read(scalar, class, text.as_bytes()).map_err(|_| {
                    let message = format!("can't be cast to {}", scalar.name());
                    let kind = match &term.kind {
                        TermKind::Bound { path, .. } => ExpressionErrorKind::Claim { path: claim_name(path), message },
                        _ => ExpressionErrorKind::Literal { message: format!("this {message}"), help: None },
                    };
                    vec![ExpressionError::new(term.span.range(), kind)]
                })?;
                let value = value.into_owned();
                Ok(Some(Operand::Constant(Constant { text, scalar, value })))
            }
        }
    }

    fn term(&self, term: &Term) -> Compiled<Typed> {
        let fail = |kind| Err(vec![ExpressionError::new(term.span.range(), kind)]);
        match &term.kind {
            TermKind::Column(name) => match self.scope.find(name) {
                Some((index, ty)) => match Shape::of(ty) {
                    Some(Shape::Scalar(scalar)) => Ok(Typed::Column(index, name.clone(), scalar)),
                    _ => Err(vec![ExpressionError::unsupported(term.span.range(), &*ty.name, None)]),
                },
                None => fail(ExpressionErrorKind::UnknownColumn {
                    name: name.to_string(),
                    similar: self.scope.similar(name).map(str::to_owned),
                }),
            },
            TermKind::Claim(path) => fail(ExpressionErrorKind::Open { path: claim_name(path) }),
            TermKind::Bound { value: Bound::Null, .. } | TermKind::Null => Ok(Typed::Unknown(None)),
            TermKind::Bound { value: Bound::Text(text), .. } | TermKind::Unknown(text) => {
                Ok(Typed::Unknown(Some(text.clone())))
            }
            TermKind::Bound { path, .. } => {
                fail(ExpressionErrorKind::Claim { path: claim_name(path), message: "is no single value".to_owned() })
            }
            TermKind::Boolean(truth) => Ok(Typed::Constant(Scalar::Bool, truth.to_string().into())),
            TermKind::Number(digits) => Ok(Typed::Constant(Scalar::Int4, digits.clone())),
            _ => Err(vec![ExpressionError::unsupported(term.span.range(), "this", None)]),
        }
    }
}
