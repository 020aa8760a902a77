//! Row filters of publications: what of `where` the database itself can hold back, and whether it holds back too much.
//!
//! Both questions are about implication, which is decided here for what setup writes and no more: conjuncts and
//! disjuncts are compared by their one spelling. In doubt a filter lacks rows.

use super::compile::compile;
use super::expression::{Expression, MAX_EXPRESSION_LENGTH};
use super::parse;
use super::scope::Scope;
use super::sql;
use super::tree::{Column, Constant, Operand, Test};
use super::types::Scalar;
use crate::change::quote_identifier;

/// Whether a row filter lets every row through that a rule takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    Covered,
    /// It can't be shown to: what the rule takes may never come.
    Lacking,
    /// The filter is none that setup writes, nor like one: it can't be compared with anything.
    Unknown,
}

/// The row filter of a table that these rules take rows of, as SQL; none where some rule takes all rows, or is about
/// nothing that a row filter can be about. `is_allowed` says of a column, by its index, whether filters may name it.
///
/// Postgres evaluates it where an error would stop the feed, and prints it in its own way: it is made of what can't
/// fail and is known again ([`coverage`]).
pub fn row_filter<'e>(
    rules: impl IntoIterator<Item = Option<&'e Expression>>,
    scope: &Scope<'_>,
    is_allowed: impl Fn(usize) -> bool,
) -> Option<String> {
    let mut disjuncts: Vec<String> = Vec::new();
    for rule in rules {
        let conjuncts = conjuncts(rule?.compile(scope).ok()?.into_test());
        let pushed = conjuncts.iter().filter(|test| is_simple(test) && reads_only(test, &is_allowed));
        let pushed: Vec<String> = pushed.map(|test| spelled(test, scope)).collect();
        let disjunct = parenthesized(&pushed, " and ")?;
        if !disjuncts.contains(&disjunct) {
            disjuncts.push(disjunct);
        }
    }
    // Half as long as what is read again: Postgres writes types and parentheses into it.
    parenthesized(&disjuncts, " or ").filter(|sql| sql.len() <= MAX_EXPRESSION_LENGTH / 2)
}

/// Whether a row filter, as the server prints it, lets through what a rule without claims takes; no rule takes all.
#[must_use]
pub fn coverage(row_filter: &str, rule: Option<&Expression>, scope: &Scope<'_>) -> Coverage {
    let Some(filter) = tested(row_filter, scope) else { return Coverage::Unknown };
    let rule = rule.map(|rule| rule.compile(scope).map(|predicate| conjuncts(predicate.into_test())));
    let is_covered = match rule {
        None => covers(&filter, &[], scope),
        Some(Ok(rule)) => covers(&filter, &rule, scope),
        Some(Err(_)) => false,
    };
    if is_covered { Coverage::Covered } else { Coverage::Lacking }
}

/// Whether two row filters are the same.
#[must_use]
pub fn is_same_filter(one: &str, other: &str, scope: &Scope<'_>) -> bool {
    let [one, other] = [one, other].map(|sql| tested(sql, scope).map(|test| spelled(&test, scope)));
    one.is_some() && one == other
}

fn tested(sql: &str, scope: &Scope<'_>) -> Option<Test> {
    let node = parse::parse(sql).ok()?;
    compile(&node, scope).ok().map(super::Predicate::into_test)
}

/// A row that passes all conjuncts passes the filter.
fn covers(filter: &Test, rule: &[Test], scope: &Scope<'_>) -> bool {
    let is_one = || {
        let wanted = spelled(filter, scope);
        rule.iter().any(|test| spelled(test, scope) == wanted)
    };
    match filter {
        Test::Constant(truth) => *truth == Some(true),
        Test::And(tests) => tests.iter().all(|test| covers(test, rule, scope)),
        Test::Or(tests) => {
            is_one() || tests.iter().any(|test| covers(test, rule, scope)) || splits(filter, rule, scope)
        }
        _ => is_one(),
    }
}

/// Whether each alternative of one of the conjuncts passes the filter by itself.
fn splits(filter: &Test, rule: &[Test], scope: &Scope<'_>) -> bool {
    rule.iter().any(|test| match test {
        Test::Or(alternatives) => alternatives.iter().all(|one| covers(filter, &conjuncts(one.clone()), scope)),
        _ => false,
    })
}

fn conjuncts(test: Test) -> Vec<Test> {
    match test {
        Test::And(tests) => tests.into_iter().flat_map(conjuncts).collect(),
        test => vec![test],
    }
}

fn parenthesized(parts: &[String], by: &str) -> Option<String> {
    match parts {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(several.iter().map(|part| format!("({part})")).collect::<Vec<_>>().join(by)),
    }
}

fn spelled(test: &Test, scope: &Scope<'_>) -> String {
    let mut name = |index: usize| scope.name(index).map_or_else(String::new, quote_identifier);
    sql::write_typed(test, &mut name)
}

fn reads_only(test: &Test, is_allowed: impl Fn(usize) -> bool) -> bool {
    let mut all = true;
    test.each_column(&mut |index, _| all &= is_allowed(index));
    all
}

/// Of built-in types and immutable operators that can't fail, of values that look the same to everyone.
fn is_simple(test: &Test) -> bool {
    match test {
        Test::And(tests) | Test::Or(tests) => tests.iter().all(is_simple),
        Test::Not(test) | Test::Is { test, .. } => is_simple(test),
        Test::Null { .. } => true,
        Test::Holds(operand) => is_simple_operand(operand),
        Test::Compare { left, right, .. } | Test::Distinct { left, right, negated: false } => {
            is_simple_operand(left) && is_simple_operand(right)
        }
        Test::OneOf { column, items, .. } => {
            is_simple_column(column)
                && is_simple_scalar(items.element)
                && items.constants.iter().all(is_simple_constant)
        }
        Test::Constant(_) | Test::Distinct { .. } | Test::Quantified { .. } | Test::Like { .. } => false,
    }
}

fn is_simple_operand(operand: &Operand) -> bool {
    match operand {
        Operand::Column(column) => is_simple_column(column),
        Operand::Constant(constant) => is_simple_constant(constant),
    }
}

fn is_simple_constant(constant: &Constant) -> bool {
    is_simple_scalar(constant.scalar)
}

fn is_simple_column(column: &Column) -> bool {
    let is_exact = column.source == column.scalar || column.source.casts_to(column.scalar);
    is_exact && is_simple_scalar(column.source) && is_simple_scalar(column.scalar)
}

const fn is_simple_scalar(scalar: Scalar) -> bool {
    use Scalar::{Bool, Int2, Int4, Int8, Numeric, Text, Uuid, Varchar};
    matches!(scalar, Bool | Int2 | Int4 | Int8 | Numeric | Uuid | Text | Varchar)
}
