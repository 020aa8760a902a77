//! Any text as an expression and as a filter: parsed, compiled and asked of a row, or refused; no panic, and what is
//! written again is the same expression. A row filter that is made of one covers it.
//!
//! `cargo +nightly fuzz run predicates`; expressions to start from are in the tests of `src/routing/predicate`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use walcast::change::{Column, Relation, RelationId, ReplicaIdentity, TypeCatalogue};
use walcast::routing::{
    Claims, Coverage, Expression, Filter, Predicate, Scope, coverage, is_same_filter, row_filter,
};

/// One column of each type that expressions can be about, named after its OID.
const TYPES: [u32; 22] = [
    16, 17, 19, 20, 21, 23, 25, 650, 700, 701, 869, 1009, 1007, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1700, 2950,
];

fuzz_target!(|text: &str| {
    let relation = relation();
    let scope = Scope::of_relation(&relation);
    if let Ok(expression) = Expression::parse(text) {
        let written = expression.to_string();
        assert_eq!(Expression::parse(&written).expect("what was written is read"), expression);
        let _found = expression.check(&scope);
        if !expression.has_claims()
            && let Some(filter) = row_filter([Some(&expression)], &scope, |_| true)
        {
            assert_eq!(coverage(&filter, Some(&expression), &scope), Coverage::Covered, "{filter}");
            assert!(is_same_filter(&filter, &filter, &scope), "{filter}");
        }
        if let Ok(predicate) = expression.close(&Claims::default()).compile(&scope) {
            ask(&predicate, text);
        }
    }
    if let Ok(predicate) = Filter::parse(text).and_then(|filter| filter.compile(&scope)) {
        ask(&predicate, text);
    }
});

/// Rows whose values are any text, or null.
fn ask(predicate: &Predicate, text: &str) {
    for row in [vec![Some(text); TYPES.len()], vec![None; TYPES.len()], vec![Some("1"); TYPES.len()]] {
        let _truth = predicate.evaluate(&*row);
        let _explained = predicate.explain(&*row);
    }
    let mut parameters = Vec::new();
    let sql = predicate.sql(&mut |index| format!("c{index}"), &mut parameters);
    assert!(!sql.contains('\''), "values are parameters: {sql}");
    let _keys = predicate.keys();
}

fn relation() -> Relation {
    let types = TypeCatalogue::builtin();
    let column = |oid: u32| Column {
        name: format!("c{oid}").into(),
        identity: true,
        ty: types.get(oid).expect("a built-in type"),
    };
    Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: "things".into(),
        replica_identity: ReplicaIdentity::Full,
        columns: TYPES.map(column).into(),
    }
}
