//! An expression as text again, in one spelling: what two texts with the same meaning but for blanks have in common.

use crate::change::quote_identifier;
use std::fmt::Write as _;

use super::node::{Bound, Escape, Node, Term, TermKind, claim_name};

/// Whether claims are written as their values, or by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimStyle {
    /// For comparing, never for people: it shows somebody's data.
    Values,
    Names,
}

pub(super) fn write(node: &Node, style: ClaimStyle) -> String {
    let mut writer = Writer { out: String::new(), style };
    writer.node(node);
    writer.out
}

/// A text as a literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

struct Writer {
    out: String,
    style: ClaimStyle,
}

impl Writer {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::And(nodes) => self.joined(nodes, " and "),
            Node::Or(nodes) => self.joined(nodes, " or "),
            Node::Not(inner) => {
                self.push("not ");
                self.nested(inner);
            }
            Node::Is { operand, truth, negated } => {
                self.nested(operand);
                let truth = truth.map_or("unknown", |truth| if truth { "true" } else { "false" });
                self.push(&format!(" is {}{truth}", not(*negated)));
            }
            Node::Null { operand, negated } => {
                self.term(operand);
                self.push(&format!(" is {}null", not(*negated)));
            }
            Node::Compare { op, left, right } => self.binary(left, op.symbol(), right),
            Node::Distinct { left, right, negated } => {
                self.binary(left, &format!("is {}distinct from", not(*negated)), right);
            }
            Node::In { operand, list, negated } => {
                self.term(operand);
                self.push(&format!(" {}in (", not(*negated)));
                self.terms(list);
                self.push(")");
            }
            Node::Like { operand, pattern, escape, insensitive, negated } => {
                let like = if *insensitive { "ilike" } else { "like" };
                self.binary(operand, &format!("{}{like}", not(*negated)), pattern);
                match escape {
                    Escape::By('\\') => {}
                    Escape::By(by) => self.push(&format!(" escape {}", literal(&by.to_string()))),
                    Escape::None => self.push(" escape ''"),
                }
            }
            Node::Quantified { op, left, array, all } => {
                self.term(left);
                self.push(&format!(" {} {} (", op.symbol(), if *all { "all" } else { "any" }));
                self.term(array);
                self.push(")");
            }
            Node::Term(term) => self.term(term),
        }
    }

    fn joined(&mut self, nodes: &[Node], by: &str) {
        for (index, node) in nodes.iter().enumerate() {
            if index > 0 {
                self.push(by);
            }
            self.nested(node);
        }
    }

    /// In parentheses, unless it binds more tightly than anything around it.
    fn nested(&mut self, node: &Node) {
        if matches!(node, Node::Term(_)) {
            self.node(node);
        } else {
            self.push("(");
            self.node(node);
            self.push(")");
        }
    }

    fn binary(&mut self, left: &Term, op: &str, right: &Term) {
        self.term(left);
        self.push(&format!(" {op} "));
        self.term(right);
    }

    fn terms(&mut self, terms: &[Term]) {
        for (index, term) in terms.iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.term(term);
        }
    }

    fn term(&mut self, term: &Term) {
        match &term.kind {
            TermKind::Column(name) => self.push(&quote_identifier(name)),
            TermKind::Claim(path) => self.push(&claim_name(path)),
            TermKind::Bound { path, value } => match self.style {
                ClaimStyle::Names => self.push(&claim_name(path)),
                ClaimStyle::Values => self.bound(value),
            },
            TermKind::Null => self.push("null"),
            TermKind::Boolean(truth) => self.push(if *truth { "true" } else { "false" }),
            TermKind::Number(digits) => self.push(digits),
            TermKind::Unknown(text) => self.push(&literal(text)),
            TermKind::Array(terms) => {
                self.push("array[");
                self.terms(terms);
                self.push("]");
            }
            TermKind::Cast { operand, to } => {
                self.term(operand);
                let _infallible = write!(self.out, "::{}{}", to.scalar.typname(), if to.array { "[]" } else { "" });
            }
            // The parser wants it.
            TermKind::CollateC(operand) if matches!(operand.kind, TermKind::Cast { .. }) => {
                self.push("(");
                self.term(operand);
                self.push(") collate \"C\"");
            }
            TermKind::CollateC(operand) => {
                self.term(operand);
                self.push(" collate \"C\"");
            }
        }
    }

    /// Unambiguous, also about what is text and what a list.
    fn bound(&mut self, value: &Bound) {
        match value {
            Bound::Null => self.push("null"),
            Bound::Text(text) => self.push(&literal(text)),
            Bound::List(items) => {
                self.push("[");
                for item in items {
                    self.push(&item.as_ref().map_or_else(|| "null".to_owned(), |item| literal(item)));
                    self.push(",");
                }
                self.push("]");
            }
            Bound::Structured => self.push("{}"),
        }
    }
}

const fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}
