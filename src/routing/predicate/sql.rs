//! A predicate as the `where` of a query, with bind parameters for all that comes from outside.

use super::test::{Column, Constant, Operand, Test};

pub(super) fn write(test: &Test, column: &mut dyn FnMut(usize) -> String, parameters: &mut Vec<String>) -> String {
    let mut writer = Writer { column, parameters };
    writer.test(test)
}

struct Writer<'w> {
    column: &'w mut dyn FnMut(usize) -> String,
    parameters: &'w mut Vec<String>,
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
            Test::Null { column, negated } => format!("{} is {}null", (self.column)(column.index), not(*negated)),
            Test::Holds(column) => (self.column)(column.index),
            Test::Compare { op, left, right } => {
                format!("{} {} {}", self.operand(left), op.symbol(), self.operand(right))
            }
            Test::Distinct { left, right, negated } => {
                format!("{} is {}distinct from {}", self.operand(left), not(*negated), self.operand(right))
            }
            Test::OneOf { column, constants, null, negated } => {
                let mut list: Vec<String> = constants.iter().map(|one| self.constant(one)).collect();
                if *null {
                    list.push("null".to_owned());
                }
                if list.is_empty() {
                    return constant(Some(*negated)).to_owned();
                }
                format!("{} {}in ({})", self.column(column), not(*negated), list.join(", "))
            }
        }
    }

    fn joined(&mut self, tests: &[Test], by: &str) -> String {
        let each: Vec<String> = tests.iter().map(|test| format!("({})", self.test(test))).collect();
        each.join(by)
    }

    fn operand(&mut self, operand: &Operand) -> String {
        match operand {
            Operand::Column(column) => self.column(column),
            Operand::Constant(constant) => self.constant(constant),
        }
    }

    fn column(&mut self, column: &Column) -> String {
        (self.column)(column.index)
    }

    fn constant(&mut self, constant: &Constant) -> String {
        self.parameters.push(constant.text.to_string());
        format!("${}::pg_catalog.text::{}", self.parameters.len(), constant.scalar.name())
    }
}

const fn constant(truth: Option<bool>) -> &'static str {
    match truth {
        Some(true) => "true",
        Some(false) => "false",
        None => "null::boolean",
    }
}

const fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}
