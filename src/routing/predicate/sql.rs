//! A predicate as the `where` of a query, with bind parameters for all that comes from outside.
//!
//! Types are written out, so that Postgres takes the operators that were taken here.

use super::operand::ConstantItems;
use super::tree::{Column, Constant, Items, Operand, Test};
use super::types::{Category, Scalar};
use super::value::{Class, Value};

pub(super) fn write(test: &Test, column: &mut dyn FnMut(usize) -> String, parameters: &mut Vec<String>) -> String {
    Writer { column, literals: Literals::Bound(parameters) }.test(test)
}

/// With the literals in it, each with its type: for SQL that takes no parameters. Only for what an operator wrote.
pub(super) fn write_typed(test: &Test, column: &mut dyn FnMut(usize) -> String) -> String {
    Writer { column, literals: Literals::Typed }.test(test)
}

/// With the literals in it, and without what only a query needs: for an explanation to the one whose they are.
pub(super) fn write_plain(test: &Test, column: &mut dyn FnMut(usize) -> String) -> String {
    Writer { column, literals: Literals::Plain }.test(test)
}

struct Writer<'w> {
    column: &'w mut dyn FnMut(usize) -> String,
    literals: Literals<'w>,
}

/// What becomes of literals.
enum Literals<'w> {
    Bound(&'w mut Vec<String>),
    Typed,
    /// Written as people would.
    Plain,
}

impl Writer<'_> {
    const fn is_plain(&self) -> bool {
        matches!(self.literals, Literals::Plain)
    }

    fn test(&mut self, test: &Test) -> String {
        match test {
            Test::Constant(None) if self.is_plain() => "null".to_owned(),
            Test::Constant(truth) => constant(*truth).to_owned(),
            Test::And(tests) => self.joined(tests, " and "),
            Test::Or(tests) => self.joined(tests, " or "),
            Test::Not(test) => format!("not ({})", self.test(test)),
            Test::Is { test, truth, negated } => {
                let truth = truth.map_or("unknown", |truth| if truth { "true" } else { "false" });
                format!("({}) is {}{truth}", self.test(test), not(*negated))
            }
            Test::Null { index, negated, .. } => format!("{} is {}null", (self.column)(*index), not(*negated)),
            Test::Holds(operand) => self.operand(operand),
            Test::Compare { op, left, right } => {
                let collation = if op.orders() { self.collation(left) } else { "" };
                format!("{}{collation} {} {}", self.operand(left), op.symbol(), self.operand(right))
            }
            Test::Distinct { left, right, negated } => {
                format!("{} is {}distinct from {}", self.operand(left), not(*negated), self.operand(right))
            }
            Test::OneOf { column, items, negated } => {
                let (op, quantifier) = if *negated { ("<>", "all") } else { ("=", "any") };
                format!("{} {op} {quantifier} ({})", self.column(column), self.items(items))
            }
            Test::Quantified { op, all, left, items } => {
                let element = match items {
                    Items::Column(column) => column.element,
                    Items::Constants(items) => items.element,
                };
                let left = match left {
                    Some(left) if op.orders() => format!("{}{}", self.operand(left), self.collation(left)),
                    Some(left) => self.operand(left),
                    None => format!("null::{}", element.cast_name()),
                };
                let items = match items {
                    Items::Column(column) if !self.is_plain() && matches!(column.element, Scalar::Enum(_)) => {
                        format!("{}::pg_catalog.text[]", (self.column)(column.index))
                    }
                    Items::Column(column) => (self.column)(column.index),
                    Items::Constants(items) => self.items(items),
                };
                format!("{left} {} {} ({items})", op.symbol(), if *all { "all" } else { "any" })
            }
            Test::Like { operand, pattern, negated } => {
                let (like, collation) = if pattern.is_insensitive() { ("ilike", self.c()) } else { ("like", "") };
                let text = self.literal(&pattern.text());
                format!("{}{collation} {}{like} {text}", self.operand(operand), not(*negated))
            }
        }
    }

    fn joined(&mut self, tests: &[Test], by: &str) -> String {
        let each: Vec<String> = tests.iter().map(|test| self.nested(test)).collect();
        each.join(by)
    }

    fn nested(&mut self, test: &Test) -> String {
        match test {
            Test::Constant(_) | Test::Holds(_) => self.test(test),
            test => format!("({})", self.test(test)),
        }
    }

    fn items(&mut self, items: &ConstantItems) -> String {
        let mut list: Vec<String> = items.constants.iter().map(|one| self.constant(one)).collect();
        if items.null {
            list.push("null".to_owned());
        }
        match &self.literals {
            Literals::Bound(_) => format!("array[{}]::{}[]", list.join(", "), items.element.cast_name()),
            Literals::Typed | Literals::Plain => format!("array[{}]", list.join(", ")),
        }
    }

    fn operand(&mut self, operand: &Operand) -> String {
        match operand {
            Operand::Column(column) => self.column(column),
            Operand::Constant(constant) => self.constant(constant),
        }
    }

    fn column(&mut self, column: &Column) -> String {
        let name = (self.column)(column.index);
        let as_text = matches!(column.scalar, Scalar::Enum(_));
        let is_cast = column.source != column.scalar;
        let shown = if column.class == Class::Numeric { Scalar::Numeric } else { as_compared(column.scalar) };
        match &self.literals {
            Literals::Typed if column.source != shown => format!("{name}::{}", shown.cast_name()),
            Literals::Bound(_) if as_text || is_cast => format!("{name}::{}", column.scalar.cast_name()),
            Literals::Plain if is_cast => format!("{name}::{}", column.scalar.typname()),
            _ => name,
        }
    }

    fn constant(&mut self, constant: &Constant) -> String {
        match (&self.literals, constant.scalar) {
            (Literals::Plain, scalar) if scalar.category() == Category::Numeric => constant.text.to_string(),
            (Literals::Plain, _) | (Literals::Bound(_), Scalar::Text | Scalar::Enum(_)) => self.literal(&constant.text),
            (Literals::Typed, scalar) => {
                // Postgres shows that an integer is cast, where it is compared with a `numeric`.
                let is_numeric = matches!(constant.value, Value::Numeric(_));
                let scalar = if is_numeric { Scalar::Numeric } else { as_compared(scalar) };
                format!("{}::{}", self.literal(&constant.text), scalar.cast_name())
            }
            (_, scalar) => format!("{}::{}", self.literal(&constant.text), scalar.cast_name()),
        }
    }

    fn literal(&mut self, text: &str) -> String {
        match &mut self.literals {
            Literals::Typed | Literals::Plain => super::write::literal(text),
            Literals::Bound(parameters) => {
                parameters.push(text.to_owned());
                format!("${}::pg_catalog.text", parameters.len())
            }
        }
    }

    /// Texts are only ever ordered by their bytes.
    fn collation(&self, operand: &Operand) -> &'static str {
        let scalar = match operand {
            Operand::Column(column) => column.scalar,
            Operand::Constant(constant) => constant.scalar,
        };
        if scalar.category() == Category::String { self.c() } else { "" }
    }

    const fn c(&self) -> &'static str {
        // With a schema it would not be read again here.
        if matches!(self.literals, Literals::Bound(_)) { " collate pg_catalog.\"C\"" } else { " collate \"C\"" }
    }
}

/// Postgres has no operators of `varchar`, and none are needed: it shows what it takes.
fn as_compared(scalar: Scalar) -> Scalar {
    if scalar == Scalar::Varchar { Scalar::Text } else { scalar }
}

const fn constant(truth: Option<bool>) -> &'static str {
    match truth {
        Some(true) => "true",
        Some(false) => "false",
        None => "null::pg_catalog.bool",
    }
}

const fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}
