//! A predicate as the `where` of a query, with bind parameters for all that comes from outside.
//!
//! Types are written out, so that Postgres takes the operators that were taken here.

use super::operand::ConstantItems;
use super::test::{Column, Constant, Items, Operand, Test};
use super::types::{Category, Scalar};

pub(super) fn write(test: &Test, column: &mut dyn FnMut(usize) -> String, parameters: &mut Vec<String>) -> String {
    Writer {
        column,
        literal: &mut |text| {
            parameters.push(text.to_owned());
            format!("${}::pg_catalog.text", parameters.len())
        },
    }
    .test(test)
}

/// With the literals in it: for an explanation to the one whose they are.
pub(super) fn write_plain(test: &Test, column: &mut dyn FnMut(usize) -> String) -> String {
    Writer { column, literal: &mut |text| super::write::literal(text) }.test(test)
}

struct Writer<'w> {
    column: &'w mut dyn FnMut(usize) -> String,
    literal: &'w mut dyn FnMut(&str) -> String,
}

impl Writer<'_> {
    fn test(&mut self, test: &Test) -> String {
        match test {
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
                let collation = if op.orders() { collation(left) } else { "" };
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
                    Some(left) if op.orders() => format!("{}{}", self.operand(left), collation(left)),
                    Some(left) => self.operand(left),
                    None => format!("null::{}", element.cast_name()),
                };
                let items = match items {
                    Items::Column(column) if matches!(column.element, Scalar::Enum(_)) => {
                        format!("{}::pg_catalog.text[]", (self.column)(column.index))
                    }
                    Items::Column(column) => (self.column)(column.index),
                    Items::Constants(items) => self.items(items),
                };
                format!("{left} {} {} ({items})", op.symbol(), if *all { "all" } else { "any" })
            }
            Test::Like { operand, pattern, negated } => {
                let (like, collation) = if pattern.is_insensitive() { ("ilike", C) } else { ("like", "") };
                let text = (self.literal)(&pattern.text());
                format!("{}{collation} {}{like} {text}", self.operand(operand), not(*negated))
            }
        }
    }

    fn joined(&mut self, tests: &[Test], by: &str) -> String {
        let each: Vec<String> = tests.iter().map(|test| format!("({})", self.test(test))).collect();
        each.join(by)
    }

    fn items(&mut self, items: &ConstantItems) -> String {
        let mut list: Vec<String> = items.constants.iter().map(|one| self.constant(one)).collect();
        if items.null {
            list.push("null".to_owned());
        }
        format!("array[{}]::{}[]", list.join(", "), items.element.cast_name())
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
        if as_text || column.source != column.scalar { format!("{name}::{}", column.scalar.cast_name()) } else { name }
    }

    fn constant(&mut self, constant: &Constant) -> String {
        let text = (self.literal)(&constant.text);
        match constant.scalar {
            Scalar::Text | Scalar::Enum(_) => text,
            scalar => format!("{text}::{}", scalar.cast_name()),
        }
    }
}

const C: &str = " collate pg_catalog.\"C\"";

/// Texts are only ever ordered by their bytes.
fn collation(operand: &Operand) -> &'static str {
    let scalar = match operand {
        Operand::Column(column) => column.scalar,
        Operand::Constant(constant) => constant.scalar,
    };
    if scalar.category() == Category::String { C } else { "" }
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
