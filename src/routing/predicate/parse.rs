//! From SQL text to nodes: what of Postgres' expressions is in the subset, and what is refused.
//!
//! `sqlparser` reads more than Postgres does. What it and Postgres could read differently is refused: tokens and words
//! outside the subset before it sees them, and operators as operands of others unless there are parentheses.

use sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr, Ident, Spanned as _, UnaryOperator, Value};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{self, Token};

use super::error::{ExpressionError, ExpressionErrorKind};
use super::expression::{MAX_DEPTH, MAX_EXPRESSION_LENGTH, MAX_NODES};
use super::node::{Comparison, Escape, Node, Span, Term, TermKind, TypeName};
use super::source::Source;
use super::types::Scalar;
use crate::change::is_reserved;

type Parsed<T> = Result<T, ExpressionError>;

/// The name before a claim's path.
const CLAIMS: &str = "claims";
const PARENTHESES: &str = "say with parentheses what belongs together";

pub(super) fn parse(sql: &str) -> Parsed<Node> {
    if sql.len() > MAX_EXPRESSION_LENGTH {
        return Err(ExpressionError::new(0..sql.len(), ExpressionErrorKind::TooLong));
    }
    let source = Source::new(sql);
    let tokens = source.tokens()?;
    let syntax = |error| match error {
        ParserError::RecursionLimitExceeded => ExpressionError::new(0..sql.len(), ExpressionErrorKind::TooDeep),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => source.syntax_error(&message),
    };
    let dialect = PostgreSqlDialect {};
    // Twice, because parentheses and what is inside them count as a level each.
    let mut parser = Parser::new(&dialect).with_recursion_limit(2 * MAX_DEPTH).with_tokens_with_locations(tokens);
    let expression = parser.parse_expr().map_err(syntax)?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message = format!("`{}` is not expected after a whole expression", rest.token);
        return Err(ExpressionError::new(source.span(rest.span).0, ExpressionErrorKind::Syntax(message)));
    }
    let mut reader = Reader { source, depth: 0, nodes: 0 };
    reader.node(&expression)
}

struct Reader<'s> {
    source: Source<'s>,
    depth: usize,
    nodes: usize,
}

impl Reader<'_> {
    fn span(&self, expr: &Expr) -> Span {
        extent(expr, MAX_DEPTH).map_or_else(|| self.source.whole(), |span| self.source.span(span))
    }

    fn unsupported<T>(&self, expr: &Expr, what: &str, help: Option<&str>) -> Parsed<T> {
        Err(ExpressionError::unsupported(self.span(expr).0, what, help))
    }

    /// Counts what is read, and how deep in it we are.
    fn within<T>(&mut self, expr: &Expr, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ExpressionError::new(self.span(expr).0, ExpressionErrorKind::TooLarge));
        }
        if self.depth >= MAX_DEPTH {
            return Err(ExpressionError::new(self.span(expr).0, ExpressionErrorKind::TooDeep));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn node(&mut self, expr: &Expr) -> Parsed<Node> {
        self.within(expr, |reader| reader.node_inside(expr))
    }

    fn node_inside(&mut self, expr: &Expr) -> Parsed<Node> {
        match expr {
            Expr::Nested(inner) => self.node(inner),
            Expr::BinaryOp { op: BinaryOperator::And, .. } => Ok(Node::And(self.chain(expr, &BinaryOperator::And)?)),
            Expr::BinaryOp { op: BinaryOperator::Or, .. } => Ok(Node::Or(self.chain(expr, &BinaryOperator::Or)?)),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Ok(Node::Not(Box::new(self.node(expr)?))),
            Expr::BinaryOp { left, op, right } => {
                let op = self.comparison(expr, op)?;
                Ok(Node::Compare { op, left: self.term(left)?, right: self.term(right)? })
            }
            Expr::IsDistinctFrom(left, right) => self.distinct(left, right, false),
            Expr::IsNotDistinctFrom(left, right) => self.distinct(left, right, true),
            Expr::IsNull(operand) => self.null(operand, false),
            Expr::IsNotNull(operand) => self.null(operand, true),
            Expr::IsTrue(operand) => self.is(operand, Some(true), false),
            Expr::IsNotTrue(operand) => self.is(operand, Some(true), true),
            Expr::IsFalse(operand) => self.is(operand, Some(false), false),
            Expr::IsNotFalse(operand) => self.is(operand, Some(false), true),
            Expr::IsUnknown(operand) => self.is(operand, None, false),
            Expr::IsNotUnknown(operand) => self.is(operand, None, true),
            Expr::InList { expr, list, negated } => {
                let list = list.iter().map(|item| self.term(item)).collect::<Parsed<_>>()?;
                Ok(Node::In { operand: self.term(expr)?, list, negated: *negated })
            }
            _ => self.other_node(expr),
        }
    }

    fn other_node(&mut self, expr: &Expr) -> Parsed<Node> {
        match expr {
            Expr::Between { expr, negated, low, high } => self.between(expr, low, high, *negated),
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), false, *negated)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), true, *negated)
            }
            Expr::AnyOp { left, compare_op, right, .. } => self.quantified(expr, left, compare_op, right, false),
            Expr::AllOp { left, compare_op, right } => self.quantified(expr, left, compare_op, right, true),
            _ => Ok(Node::Term(self.term(expr)?)),
        }
    }

    /// `a and b and c`, which the parser gives as `(a and b) and c`, however long.
    fn chain(&mut self, expr: &Expr, joined_by: &BinaryOperator) -> Parsed<Box<[Node]>> {
        let mut rights = Vec::new();
        let mut rest = expr;
        while let Expr::BinaryOp { left, op, right } = rest
            && op == joined_by
        {
            rights.push(right);
            rest = left;
        }
        let mut nodes = vec![self.node(rest)?];
        for right in rights.into_iter().rev() {
            nodes.push(self.node(right)?);
        }
        Ok(nodes.into())
    }

    fn distinct(&mut self, left: &Expr, right: &Expr, negated: bool) -> Parsed<Node> {
        Ok(Node::Distinct { left: self.term(left)?, right: self.term(right)?, negated })
    }

    fn null(&mut self, operand: &Expr, negated: bool) -> Parsed<Node> {
        if is_test(operand) {
            return self.unsupported(operand, "one `is` after another", Some(PARENTHESES));
        }
        let node = self.node(operand)?;
        Ok(match node {
            Node::Term(operand) => Node::Null { operand, negated },
            // A truth value that is null is an unknown one.
            node => Node::Is { operand: Box::new(node), truth: None, negated },
        })
    }

    fn is(&mut self, operand: &Expr, truth: Option<bool>, negated: bool) -> Parsed<Node> {
        if is_test(operand) {
            return self.unsupported(operand, "one `is` after another", Some(PARENTHESES));
        }
        Ok(Node::Is { operand: Box::new(self.node(operand)?), truth, negated })
    }

    fn between(&mut self, operand: &Expr, low: &Expr, high: &Expr, negated: bool) -> Parsed<Node> {
        let operand = self.term(operand)?;
        let low = Node::Compare { op: Comparison::GreaterOrEqual, left: operand.clone(), right: self.term(low)? };
        let high = Node::Compare { op: Comparison::LessOrEqual, left: operand, right: self.term(high)? };
        let both = Node::And([low, high].into());
        Ok(if negated { Node::Not(Box::new(both)) } else { both })
    }

    fn like(
        &mut self,
        operand: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        insensitive: bool,
        negated: bool,
    ) -> Parsed<Node> {
        let escape = match escape {
            None => Escape::By('\\'),
            Some(Expr::Value(value)) => match &value.value {
                Value::SingleQuotedString(text) => self.escape(escape, text)?,
                _ => return self.unsupported(pattern, "an escape that is no string", None),
            },
            Some(other) => return self.unsupported(other, "an escape that is no string", None),
        };
        Ok(Node::Like { operand: self.term(operand)?, pattern: self.term(pattern)?, escape, insensitive, negated })
    }

    fn escape(&self, at: Option<&Expr>, text: &str) -> Parsed<Escape> {
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (None, _) => Ok(Escape::None),
            (Some(by), None) => Ok(Escape::By(by)),
            _ => {
                let span = at.map(|at| self.span(at).0).unwrap_or_default();
                let message = "an escape is one character, or none".to_owned();
                Err(ExpressionError::new(span, ExpressionErrorKind::Literal { message, help: None }))
            }
        }
    }

    fn quantified(&mut self, expr: &Expr, left: &Expr, op: &BinaryOperator, right: &Expr, all: bool) -> Parsed<Node> {
        let op = self.comparison(expr, op)?;
        Ok(Node::Quantified { op, left: self.term(left)?, array: self.term(right)?, all })
    }

    fn comparison(&self, expr: &Expr, op: &BinaryOperator) -> Parsed<Comparison> {
        Ok(match op {
            BinaryOperator::Eq => Comparison::Equal,
            BinaryOperator::NotEq => Comparison::NotEqual,
            BinaryOperator::Lt => Comparison::Less,
            BinaryOperator::LtEq => Comparison::LessOrEqual,
            BinaryOperator::Gt => Comparison::Greater,
            BinaryOperator::GtEq => Comparison::GreaterOrEqual,
            _ => return self.unsupported(expr, &format!("the operator `{op}`"), None),
        })
    }

    fn term(&mut self, expr: &Expr) -> Parsed<Term> {
        self.within(expr, |reader| {
            let span = reader.span(expr);
            Ok(Term::new(span, reader.term_kind(expr)?))
        })
    }

    fn term_kind(&mut self, expr: &Expr) -> Parsed<TermKind> {
        match expr {
            Expr::Identifier(name) => self.column(expr, name),
            Expr::CompoundIdentifier(path) => self.path(expr, path),
            Expr::Value(value) => self.value(expr, &value.value),
            Expr::Nested(inner) => self.in_parentheses(inner),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: operand } => self.negative(operand),
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: operand, data_type, format: None } => {
                let to = self.type_name(expr, data_type)?;
                Ok(TermKind::Cast { operand: Box::new(self.term(operand)?), to })
            }
            Expr::TypedString(typed) => match &typed.value.value {
                Value::SingleQuotedString(text) if !typed.uses_odbc_syntax => self.typed(expr, &typed.data_type, text),
                _ => self.unsupported(expr, "a typed literal that is no string", None),
            },
            Expr::Interval(interval) if interval.leading_field.is_none() && interval.last_field.is_none() => {
                match &*interval.value {
                    Expr::Value(value) => match &value.value {
                        Value::SingleQuotedString(text) => self.typed(expr, &INTERVAL, text),
                        _ => self.unsupported(expr, "an interval that is no string", None),
                    },
                    _ => self.unsupported(expr, "an interval that is no string", None),
                }
            }
            Expr::Collate { expr: operand, collation } => match collation.to_string().as_str() {
                "\"C\"" | "\"POSIX\"" => Ok(TermKind::CollateC(Box::new(self.term(operand)?))),
                _ => self.unsupported(
                    expr,
                    "a collation other than \"C\"",
                    Some("only the order of bytes is the same everywhere: write `collate \"C\"`"),
                ),
            },
            Expr::Array(array) if array.named => {
                Ok(TermKind::Array(array.elem.iter().map(|item| self.term(item)).collect::<Parsed<_>>()?))
            }
            _ => self.refuse(expr),
        }
    }

    /// What has a name of its own in the message, and what hasn't.
    fn refuse<T>(&self, expr: &Expr) -> Parsed<T> {
        let (what, help) = match expr {
            Expr::Function(_) | Expr::Extract { .. } | Expr::Ceil { .. } | Expr::Floor { .. } => (
                "a function",
                Some("only columns, claims and literals are compared; keep what the function gives in a column"),
            ),
            Expr::Position { .. } | Expr::Substring { .. } | Expr::Trim { .. } | Expr::Overlay { .. } => {
                ("a function", Some("keep what it gives in a column, perhaps a generated one"))
            }
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => {
                ("a subquery", Some("only the row itself and the claims are looked at; put it into a claim"))
            }
            Expr::Case { .. } => ("`case`", Some("write it with `and` and `or`")),
            Expr::Tuple(_) => ("a row", Some("compare its fields one by one")),
            Expr::SimilarTo { .. } | Expr::RLike { .. } => ("a regular expression", Some("use `like`")),
            Expr::UnaryOp { op: UnaryOperator::Not, .. } => ("`not` here", Some(PARENTHESES)),
            Expr::UnaryOp { .. } => ("this sign", None),
            _ if is_operator(expr) => ("an operator's result as an operand", Some(PARENTHESES)),
            _ => ("this", None),
        };
        self.unsupported(expr, what, help)
    }

    fn in_parentheses(&mut self, inner: &Expr) -> Parsed<TermKind> {
        if is_operator(inner) || matches!(inner, Expr::UnaryOp { op: UnaryOperator::Not, .. }) {
            return self.unsupported(
                inner,
                "a truth value as an operand",
                Some("truth values are joined with `and`, `or` and `not`, and asked with `is true`"),
            );
        }
        Ok(self.term(inner)?.kind)
    }

    fn column(&self, expr: &Expr, name: &Ident) -> Parsed<TermKind> {
        if name.quote_style.is_none() && is_reserved(&name.value.to_ascii_lowercase()) {
            let help = format!("a column of this name is written \"{}\"", name.value.to_ascii_lowercase());
            return self.unsupported(expr, &format!("the reserved word `{}`", name.value), Some(&help));
        }
        Ok(TermKind::Column(folded(name)))
    }

    /// `claims.path.to`; there are no other qualified names.
    fn path(&self, expr: &Expr, path: &[Ident]) -> Parsed<TermKind> {
        let Some((first, keys)) =
            path.split_first().filter(|(first, keys)| *folded(first) == *CLAIMS && !keys.is_empty())
        else {
            let column = path.last().map(|name| format!("write the column's name alone: `{}`", name.value));
            return self.unsupported(expr, "a qualified name", column.as_deref());
        };
        debug_assert!(first.value.eq_ignore_ascii_case(CLAIMS));
        let misleading = |key: &&Ident| key.quote_style.is_none() && key.value.bytes().any(|b| b.is_ascii_uppercase());
        if let Some(key) = keys.iter().find(misleading) {
            let help = format!("names fold to lower case unless quoted: write \"{}\"", key.value);
            return self.unsupported(expr, &format!("the claim's name `{}` without quotes", key.value), Some(&help));
        }
        Ok(TermKind::Claim(keys.iter().map(folded).collect()))
    }

    fn value(&self, expr: &Expr, value: &Value) -> Parsed<TermKind> {
        Ok(match value {
            Value::Number(digits, false) => TermKind::Number(digits.as_str().into()),
            Value::SingleQuotedString(text) => TermKind::Unknown(text.as_str().into()),
            Value::Boolean(truth) => TermKind::Boolean(*truth),
            Value::Null => TermKind::Null,
            _ => return self.unsupported(expr, "this kind of literal", Some("write a plain string: 'text'")),
        })
    }

    fn negative(&mut self, operand: &Expr) -> Parsed<TermKind> {
        match operand {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, false) => Ok(TermKind::Number(format!("-{digits}").into())),
                _ => self.unsupported(operand, "arithmetic", None),
            },
            Expr::Cast { .. } => {
                self.unsupported(operand, "a sign before a cast", Some("put the number in parentheses: `(-1)::int8`"))
            }
            _ => self.unsupported(operand, "arithmetic", Some("only a number can have a sign")),
        }
    }

    fn typed(&self, expr: &Expr, data_type: &DataType, text: &str) -> Parsed<TermKind> {
        let to = self.type_name(expr, data_type)?;
        let operand = Term::new(self.span(expr), TermKind::Unknown(text.into()));
        Ok(TermKind::Cast { operand: Box::new(operand), to })
    }

    fn type_name(&self, expr: &Expr, data_type: &DataType) -> Parsed<TypeName> {
        let written = data_type.to_string().to_ascii_lowercase();
        let (element, array) = written.strip_suffix("[]").map_or((&*written, false), |element| (element, true));
        let named = match element.strip_prefix("pg_catalog.") {
            // By other names than its own a type is only known without a schema.
            Some(typname) => Scalar::named(typname).filter(|scalar| scalar.typname() == typname),
            None => Scalar::named(element),
        };
        match named {
            Some(scalar) => Ok(TypeName { scalar, array }),
            None => self.unsupported(
                expr,
                &format!("the type `{written}`"),
                Some("the types are those of docs/guide.md, \"Who sees what\", without a length or precision"),
            ),
        }
    }
}

/// Where an expression stands, as far as that is found in so many levels: the parser's own way of telling recurses as
/// deeply as a chain of operators is long.
fn extent(expr: &Expr, levels: usize) -> Option<tokenizer::Span> {
    let levels = levels.checked_sub(1)?;
    let both = |left: &Expr, right: &Expr| Some(extent(left, levels)?.union(&extent(right, levels)?));
    match expr {
        Expr::Identifier(name) => Some(name.span),
        Expr::CompoundIdentifier(path) => Some(path.first()?.span.union(&path.last()?.span)),
        Expr::Value(value) => Some(value.span),
        Expr::TypedString(typed) => Some(typed.value.span),
        Expr::Function(function) => Some(function.name.span()),
        Expr::Interval(interval) => extent(&interval.value, levels),
        Expr::Array(array) => both(array.elem.first()?, array.elem.last()?),
        Expr::Nested(inner)
        | Expr::UnaryOp { expr: inner, .. }
        | Expr::Cast { expr: inner, .. }
        | Expr::Collate { expr: inner, .. }
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotUnknown(inner) => extent(inner, levels),
        Expr::BinaryOp { left, right, .. }
        | Expr::IsDistinctFrom(left, right)
        | Expr::IsNotDistinctFrom(left, right)
        | Expr::Between { expr: left, high: right, .. }
        | Expr::Like { expr: left, pattern: right, .. }
        | Expr::ILike { expr: left, pattern: right, .. }
        | Expr::AnyOp { left, right, .. }
        | Expr::AllOp { left, right, .. } => both(left, right),
        Expr::InList { expr, list, .. } => both(expr, list.last()?),
        _ => None,
    }
}

const INTERVAL: DataType = DataType::Interval { fields: None, precision: None };

/// Names fold to lower case unless quoted, as in Postgres.
fn folded(name: &Ident) -> Box<str> {
    if name.quote_style.is_some() { name.value.as_str().into() } else { name.value.to_ascii_lowercase().into() }
}

/// `is null` and its kin, which don't associate.
fn is_test(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
    )
}

/// Whether it gives a truth value by an operator.
fn is_operator(expr: &Expr) -> bool {
    is_test(expr)
        || matches!(
            expr,
            Expr::BinaryOp { .. }
                | Expr::InList { .. }
                | Expr::Between { .. }
                | Expr::Like { .. }
                | Expr::ILike { .. }
                | Expr::AnyOp { .. }
                | Expr::AllOp { .. }
        )
}
