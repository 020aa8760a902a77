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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::relation;
    use super::*;
    use crate::routing::Truth;

    const ATOMS: [&str; 12] = [
        "open",
        "not open",
        "open is true",
        "open is not false",
        "id = 1",
        "id <> 2",
        "id > 1",
        "id in (1, 2)",
        "status = 'a'",
        "status <> 'a'",
        "status is null",
        "status is distinct from 'b'",
    ];

    fn expressions() -> impl Strategy<Value = String> {
        let atom = prop::sample::select(&ATOMS[..]).prop_map(str::to_owned);
        atom.prop_recursive(3, 12, 3, |inner| {
            let several = || prop::collection::vec(inner.clone(), 2..4);
            let joined = |by: &'static str| move |parts: Vec<String>| format!("({})", parts.join(by));
            prop_oneof![
                several().prop_map(joined(" and ")),
                several().prop_map(joined(" or ")),
                inner.clone().prop_map(|inner| format!("not ({inner})")),
            ]
        })
    }

    /// Every row that there can be, as far as the atoms tell them apart.
    fn rows() -> Vec<[Option<&'static str>; 3]> {
        let (opens, ids) = ([None, Some("t"), Some("f")], [None, Some("1"), Some("2"), Some("3")]);
        let statuses = [None, Some("a"), Some("b")];
        let each = |open| ids.into_iter().flat_map(move |id| statuses.into_iter().map(move |it| [open, id, it]));
        opens.into_iter().flat_map(each).collect()
    }

    fn holds(sql: &str, scope: &Scope<'_>, row: &[Option<&str>; 3]) -> bool {
        let predicate = Expression::parse(sql).unwrap().compile(scope).unwrap();
        predicate.evaluate(&row[..]).unwrap() == Truth::True
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        #[test]
        fn no_row_of_a_rule_is_held_back_and_what_covers_is_known(
            rules in prop::collection::vec(expressions(), 1..4),
            other in expressions(),
        ) {
            let relation = relation(&[("open", 16), ("id", 23), ("status", 25)]);
            let scope = Scope::of_relation(&relation);
            let parsed: Vec<Expression> = rules.iter().map(|rule| Expression::parse(rule).unwrap()).collect();
            let Some(filter) = row_filter(parsed.iter().map(Some), &scope, |_| true) else { return Ok(()) };
            prop_assert!(is_same_filter(&filter, &filter, &scope), "{}", filter);
            for (rule, parsed) in rules.iter().zip(&parsed) {
                prop_assert_eq!(coverage(&filter, Some(parsed), &scope), Coverage::Covered, "{} by {}", rule, filter);
                let narrower = Expression::parse(&format!("({rule}) and ({other})")).unwrap();
                prop_assert_eq!(coverage(&filter, Some(&narrower), &scope), Coverage::Covered);
                for row in rows() {
                    prop_assert!(!holds(rule, &scope, &row) || holds(&filter, &scope, &row), "{:?}", row);
                }
            }
            // Whatever is said to be covered is.
            let unrelated = Expression::parse(&other).unwrap();
            if coverage(&filter, Some(&unrelated), &scope) == Coverage::Covered {
                for row in rows() {
                    prop_assert!(!holds(&other, &scope, &row) || holds(&filter, &scope, &row), "{} {:?}", other, row);
                }
            }
        }
    }

    #[test]
    fn a_filter_is_made_of_nothing_that_can_fail_or_be_misread() {
        let relation = relation(&[("id", 23), ("at", 1184), ("price", 701), ("name", 1043), ("tags", 1009)]);
        let scope = Scope::of_relation(&relation);
        let filter = |sql: &str, allowed: &[usize]| {
            row_filter([Some(&Expression::parse(sql).unwrap())], &scope, |index| allowed.contains(&index))
        };
        for sql in [
            "at > '2026-01-01'",
            "price > 1",
            "id::text = '1'",
            "name like 'a%'",
            "'a' = any (tags)",
            "name is not distinct from 'a'",
            "name = 'a' or price > 1",
        ] {
            assert_eq!(filter(sql, &[0, 1, 2, 3, 4]), None, "{sql}");
        }
        assert_eq!(filter("id > 1", &[3]), None, "not of the replica identity");
        let mixed = filter("id > 1 and price > 1 and name = 'it''s'", &[0, 1, 2, 3]);
        let expected = "(id > '1'::pg_catalog.int4) and (name::pg_catalog.text = 'it''s'::pg_catalog.text)";
        assert_eq!(mixed.as_deref(), Some(expected));
        assert_eq!(row_filter([None], &scope, |_| true), None);
        assert_eq!(coverage("(id > 1)", None, &scope), Coverage::Lacking);
        assert_eq!(coverage("(lower(name) = 'a')", None, &scope), Coverage::Unknown);
    }
}
