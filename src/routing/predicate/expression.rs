//! A rule of the config: parsed, with claims that are filled in when somebody joins.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde_json::Value;

use super::compile;
use super::compiled::Predicate;
use super::error::ExpressionError;
use super::node::{Bound, Node, Term, TermKind};
use super::parse;
use super::scope::Scope;
use super::write::{ClaimStyle, write};
use crate::routing::Claims;

/// The longest expression, in bytes: what people write is far shorter, and parsing and evaluating cost as much.
pub const MAX_EXPRESSION_LENGTH: usize = 16 * 1024;
/// How deeply expressions may be nested: parsing, compiling and evaluating recurse as deeply.
pub const MAX_DEPTH: usize = 32;
/// The most operators, columns and literals in one expression: each is evaluated for each row.
pub const MAX_NODES: usize = 4_096;

/// An SQL boolean expression of the subset, parsed; its types are looked at when it is compiled.
///
/// Two that differ in blanks, parentheses, or where they stand are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Expression {
    node: Node,
}

impl Expression {
    /// # Errors
    /// What is no SQL, what is not of the subset, and what is too long or too deep.
    pub fn parse(sql: &str) -> Result<Self, ExpressionError> {
        parse::parse(sql).map(|node| Self { node })
    }

    /// Whether claims in it are still to be filled in.
    #[must_use]
    pub fn has_claims(&self) -> bool {
        has_claims(&self.node)
    }

    /// The names of the columns (or variables) that it needs.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut columns = BTreeSet::new();
        self.node.each_term(&mut |term| {
            if let TermKind::Column(name) = &term.kind {
                columns.insert(&**name);
            }
        });
        columns
    }

    /// The same, each with the bytes of the SQL text where it stands first.
    #[must_use]
    pub fn places(&self) -> Vec<(&str, Range<usize>)> {
        let mut places: Vec<(&str, Range<usize>)> = Vec::new();
        self.node.each_term(&mut |term| {
            if let TermKind::Column(name) = &term.kind
                && !places.iter().any(|(known, _)| *known == &**name)
            {
                places.push((name, term.span.range()));
            }
        });
        places
    }

    /// Each literal that a column is compared with as it is: the column, the literal, and where that stands.
    #[must_use]
    pub fn literals(&self) -> Vec<(&str, &str, Range<usize>)> {
        let mut literals = Vec::new();
        self.node.each_comparison(&mut |left, right| match (&left.kind, &right.kind) {
            (TermKind::Column(name), TermKind::Unknown(text)) => literals.push((&**name, &**text, right.span.range())),
            (TermKind::Unknown(text), TermKind::Column(name)) => literals.push((&**name, &**text, left.span.range())),
            _ => {}
        });
        literals
    }

    /// The conjuncts without claims, and those with: a row passes the whole if it passes both.
    #[must_use]
    pub fn split(self) -> (Option<Self>, Option<Self>) {
        let mut conjuncts = Vec::new();
        flatten(self.node, &mut conjuncts);
        let (with, without): (Vec<Node>, Vec<Node>) = conjuncts.into_iter().partition(has_claims);
        (joined(without), joined(with))
    }

    /// With the values that the claims have. What two people's claims make the same is then equal.
    #[must_use]
    pub fn close(&self, claims: &Claims) -> Self {
        let bind = |term: &Term| match &term.kind {
            TermKind::Claim(path) => {
                let value = bound(claims.get(path.iter().map(|key| &**key)));
                Term::new(term.span.clone(), TermKind::Bound { path: path.clone(), value })
            }
            _ => term.clone(),
        };
        Self { node: self.node.map(&bind) }
    }

    /// Everything that doesn't fit the scope's names and types, whatever the claims will be.
    #[must_use]
    pub fn check(&self, scope: &Scope<'_>) -> Vec<ExpressionError> {
        // A null goes with every type.
        match compile::compile(&self.close(&Claims::default()).node, scope) {
            Ok(_) => Vec::new(),
            Err(errors) => errors,
        }
    }

    /// Resolves names and types.
    ///
    /// # Errors
    /// The first of what [`Expression::check`] finds, a claim's value that can't be cast to what it is compared with,
    /// or claims that are not [closed](Expression::close).
    pub fn compile(&self, scope: &Scope<'_>) -> Result<Predicate, ExpressionError> {
        compile::compile(&self.node, scope).map_err(compile::first)
    }

    /// One spelling for all equal expressions, the same after every restart: what a fingerprint is made from. It holds
    /// claims' values, hence is for no log and nobody's eyes.
    #[must_use]
    pub fn canonical(&self) -> String {
        write(&self.node, ClaimStyle::Values)
    }
}

/// The expression in one spelling; claims by their names, also where they have values.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write(&self.node, ClaimStyle::Names))
    }
}

impl fmt::Debug for Expression {
    // Claims are somebody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({self})")
    }
}

fn has_claims(node: &Node) -> bool {
    let mut found = false;
    node.each_term(&mut |term| found |= matches!(term.kind, TermKind::Claim(_)));
    found
}

fn flatten(node: Node, conjuncts: &mut Vec<Node>) {
    match node {
        Node::And(nodes) => nodes.into_iter().for_each(|node| flatten(node, conjuncts)),
        node => conjuncts.push(node),
    }
}

fn joined(mut conjuncts: Vec<Node>) -> Option<Expression> {
    let last = conjuncts.pop()?;
    if conjuncts.is_empty() {
        return Some(Expression { node: last });
    }
    conjuncts.push(last);
    Some(Expression { node: Node::And(conjuncts.into()) })
}

fn bound(value: Option<&Value>) -> Bound {
    match value {
        None => Bound::Null,
        Some(Value::Array(items)) => {
            let items: Option<Box<[_]>> = items.iter().map(scalar).collect();
            items.map_or(Bound::Structured, Bound::List)
        }
        Some(value) => match scalar(value) {
            None => Bound::Structured,
            Some(None) => Bound::Null,
            Some(Some(text)) => Bound::Text(text),
        },
    }
}

/// A scalar's text, none of a null; nothing of a list or object.
fn scalar(value: &Value) -> Option<Option<Box<str>>> {
    match value {
        Value::Null => Some(None),
        Value::Bool(truth) => Some(Some(if *truth { "true" } else { "false" }.into())),
        Value::Number(number) => Some(Some(number.to_string().into())),
        Value::String(text) => Some(Some(text.as_str().into())),
        Value::Array(_) | Value::Object(_) => None,
    }
}
