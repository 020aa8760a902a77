//! The whole way from text to truth; the oracle of all of it is `tests/it/predicates.rs`.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::change::{Column, Oid, Relation, RelationId, ReplicaIdentity, TypeCatalogue};
use crate::routing::Claims;

pub(super) fn relation(columns: &[(&str, Oid)]) -> Relation {
    let types = TypeCatalogue::builtin();
    let column =
        |(name, oid): &(&str, Oid)| Column { name: (*name).into(), identity: true, ty: types.get(*oid).unwrap() };
    Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: "orders".into(),
        replica_identity: ReplicaIdentity::Full,
        columns: columns.iter().map(column).collect(),
    }
}

pub(super) fn claims(value: Json) -> Claims {
    let Json::Object(map) = value else { panic!("an object") };
    Claims::new(map)
}

fn orders() -> Arc<Relation> {
    Arc::new(relation(&[("id", 23), ("status", 25), ("paid", 16), ("owner", 2950)]))
}

fn truth(sql: &str, row: &[Option<&str>]) -> Truth {
    let claims = claims(json!({"sub": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "role": "admin", "n": 7}));
    let expression = Expression::parse(sql).unwrap().close(&claims);
    expression.compile(&Scope::of_relation(&orders())).unwrap().evaluate(row).unwrap()
}

#[test]
fn a_row_is_judged() {
    let row = [Some("7"), Some("open"), Some("t"), Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")];
    for sql in [
        "status = 'open'",
        "STATUS <> 'draft' and paid",
        "owner = claims.sub and id = claims.n",
        "id in (1, 7) or false",
        "not (status = 'x' or id is null)",
        "claims.role = 'admin'",
    ] {
        assert_eq!(truth(sql, &row), Truth::True, "{sql}");
    }
    let nothing = [None; 4];
    for sql in ["status = 'open'", "status <> 'open'", "not paid", "id in (1, null)", "claims.missing = 'a'"] {
        assert_eq!(truth(sql, &nothing), Truth::NotTrue, "{sql}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let errors = Expression::parse("stauts = 'x' and id = 'seven'").unwrap().check(&Scope::of_relation(&orders()));
    let said: Vec<_> = errors.iter().map(|error| (error.span.clone(), error.to_string(), error.help())).collect();
    assert_eq!(
        said,
        [
            (0..6, "there is no column `stauts`".to_owned(), Some("there is a column `status`".to_owned())),
            (
                22..29,
                "`seven` can't be read as integer".to_owned(),
                Some("write an integer from -2147483648 to 2147483647".to_owned())
            ),
        ]
    );
}

#[test]
fn what_is_no_subset_is_refused_with_the_reason() {
    for (sql, message, help) in [
        ("lower(status) = 'a'", "a function can't be used here", "only columns"),
        ("id + 1 = 2", "the operator `+` can't be used here", "in a column"),
        ("id in (select 1)", "a subquery can't be used here", ""),
        ("placed > current_date", "`current_date` can't be used here", "nothing would tell"),
        ("status < 'b'", "`<` of texts, whose order depends on the collation, can't be used here", "collate \"C\""),
        ("status ilike 'b'", "`ilike`, which depends on the collation, can't be used here", "collate \"C\""),
        ("id = status", "operator does not exist: integer = text", "cast"),
        ("owner = 'x'::text", "operator does not exist: uuid = text", "cast"),
        ("public.orders.id = 1", "a qualified name can't be used here", "`id`"),
        ("claims.userId = status", "the claim's name `userId` without quotes can't be used here", "\"userId\""),
        ("user = status", "the reserved word `user` can't be used here", "\"user\""),
        ("id = 1 = true", "an operator's result as an operand can't be used here", "parentheses"),
        ("id", "a truth value is wanted here", "compare"),
        ("id = 1;", "`;` can't be used here", ""),
        ("id = $1", "`$1` can't be used here", ""),
        ("id = E'1'", "this kind of string can't be used here", "'text'"),
        ("id == 1", "the operator `==` can't be used here", "`=`"),
        ("status::date = '2026-11-22'", "a cast from text to date can't be used here", "other side"),
        ("status like id", "`like` is about texts, and this is text", "cast"),
        ("id = any (1)", "an array is wanted here", "`=`"),
    ] {
        let error = match Expression::parse(sql) {
            Err(error) => error,
            Ok(expression) => expression.check(&Scope::of_relation(&orders())).remove(0),
        };
        assert_eq!(error.to_string(), message, "{sql}");
        assert!(error.help().unwrap_or_default().contains(help), "{sql}: {:?}", error.help());
        assert!(sql.get(error.span.clone()).is_some_and(|part| !part.is_empty()), "{sql}: {:?}", error.span);
    }
}

#[test]
fn claims_at_fault_are_told_apart_and_not_shown() {
    let bad = claims(json!({"id": "secret", "list": ["1", "secret"], "object": {"a": 1}, "one": "1"}));
    for (sql, message) in [
        ("id = claims.id", "`claims.id` can't be cast to integer"),
        ("id = any (claims.list)", "`claims.list` can't be cast to integer"),
        ("id = claims.list", "`claims.list` is a list, and a single value is wanted"),
        ("id = any (claims.one)", "`claims.one` is no list"),
        ("id = claims.object", "`claims.object` is neither a single value nor a list of them"),
    ] {
        let closed = Expression::parse(sql).unwrap().close(&bad);
        let error = closed.compile(&Scope::of_relation(&orders())).unwrap_err();
        assert!(error.is_claim(), "{error:?}");
        assert_eq!(error.to_string(), message);
        assert!(!format!("{error:?} {closed:?} {closed}").contains("secret"), "{error:?} {closed:?}");
        assert!(sql == "id = claims.object" || closed.canonical().contains("secret") || sql.contains("one"));
    }
    let open = Expression::parse("id = claims.id").unwrap();
    assert!(open.has_claims() && !open.close(&bad).has_claims());
    assert!(matches!(open.compile(&Scope::of_relation(&orders())).unwrap_err().kind, ExpressionErrorKind::Open { .. }));
}

#[test]
fn expressions_are_split_and_compared() {
    let parse = |sql| Expression::parse(sql).unwrap();
    let (fixed, bound) = parse("paid and (owner = claims.sub or id = 1) and status = 'a'").split();
    assert_eq!(fixed.unwrap().to_string(), "paid and (status = 'a')");
    assert_eq!(bound.unwrap().to_string(), "(owner = claims.sub) or (id = 1)");
    assert_eq!(parse("paid").split(), (Some(parse("paid")), None));
    assert_eq!(parse("id=1 AND ((Paid))"), parse("id = 1\n and paid"));
    assert_eq!(parse("id = 1 and paid").columns().into_iter().collect::<Vec<_>>(), ["id", "paid"]);
    let rule = parse("owner = claims.sub");
    let of = |sub: &str| rule.close(&claims(json!({"sub": sub, "exp": sub.len()})));
    assert_eq!(of("a"), of("a"));
    assert_ne!(of("a"), of("b"));
    assert_eq!(of("a").canonical(), "owner = 'a'");
}

#[test]
fn keys_are_what_rows_carry() {
    let keys = |sql: &str| {
        let expression = Expression::parse(sql).unwrap().close(&claims(json!({"sub": "U1", "none": null})));
        let keys = expression.compile(&Scope::of_relation(&orders())).unwrap().keys()?;
        Some((keys.column, keys.values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")))
    };
    assert_eq!(keys("status = claims.sub and id > 1"), Some((1, "U1".to_owned())));
    assert_eq!(keys("id in (7, 007, 8) and status in ('a', 'b', 'c')"), Some((0, "7 8".to_owned())));
    assert_eq!(
        keys("owner = '{A0EEBC999C0B4EF8BB6D6BB9BD380A11}'"),
        Some((3, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into()))
    );
    assert_eq!(keys("id = 1 or id = 2"), Some((0, "1 2".to_owned())));
    assert_eq!(keys("paid and not (id = 1)"), Some((2, "t".to_owned())));
    for sql in ["id = 1 or paid", "id <> 1", "status like 'a'", "not (id = 1)", "id::float8 = 1", "id = claims.none"] {
        assert_eq!(keys(sql), None, "{sql}");
    }
}

#[test]
fn keys_decide_where_nothing_else_is_asked() {
    let decisive = |sql: &str| {
        let expression = Expression::parse(sql).unwrap().close(&claims(json!({"sub": "U1"})));
        expression.compile(&Scope::of_relation(&orders())).unwrap().keys().unwrap().decisive
    };
    for sql in ["status = claims.sub", "id in (7, 8)", "id = 1 or id = 2", "paid", "not paid", "id = any ('{1,2}')"] {
        assert!(decisive(sql), "{sql}");
    }
    for sql in ["status = claims.sub and id > 1", "id = 1 or (id = 2 and paid)", "paid and not (id = 1)"] {
        assert!(!decisive(sql), "{sql}");
    }
}

#[test]
fn a_value_that_was_not_sent_is_only_asked_for_where_it_decides() {
    struct Without(usize);
    impl Values for Without {
        fn value(&self, index: usize) -> Option<crate::change::Datum<'_>> {
            use crate::change::Datum;
            Some(if index == self.0 { Datum::Unchanged } else { Datum::Text(b"1") })
        }
    }
    let judged = |sql: &str| {
        let predicate = Expression::parse(sql).unwrap().compile(&Scope::of_relation(&orders())).unwrap();
        predicate.evaluate(&Without(1)).unwrap()
    };
    assert_eq!(judged("status = 'a'"), Truth::Unsent);
    assert_eq!(judged("status is not null"), Truth::True);
    assert_eq!(judged("status is null"), Truth::NotTrue);
    assert_eq!(judged("status = 'a' and id = 2"), Truth::NotTrue);
    assert_eq!(judged("status = 'a' or id = 1"), Truth::True);
    assert_eq!(judged("status = null or id = 2"), Truth::NotTrue);
    assert_eq!(judged("not (status = 'a' and null)"), Truth::Unsent);
    assert_eq!(judged("(status = 'a') is not unknown"), Truth::True);
}

#[test]
fn there_are_limits() {
    let refused = |sql: &str| Expression::parse(sql).unwrap_err().kind;
    assert_eq!(refused(&format!("id = {}", "1".repeat(MAX_EXPRESSION_LENGTH))), ExpressionErrorKind::TooLong);
    for (open, close) in [("(", ")"), ("not (", ")"), ("not ", ""), ("id in (", ")"), ("array[", "]"), ("id = - ", "")]
    {
        let sql = format!("{}id = 1{}", open.repeat(1_000), close.repeat(1_000));
        assert!(
            matches!(refused(&sql), ExpressionErrorKind::TooDeep | ExpressionErrorKind::Unsupported { .. }),
            "{open}"
        );
    }
    // As deep as allowed, and wrong at the bottom: the parser tries whatever it could be.
    for (open, close) in
        [("(", ")"), ("not (", ")"), ("id in (", ")"), ("array[", "]"), ("cast(", "as int)"), ("f(", ")")]
    {
        for bottom in ["", "id =", "1 1", "interval 'x"] {
            let sql = format!("{}{bottom}{}", open.repeat(MAX_DEPTH), close.repeat(MAX_DEPTH));
            let _refused = Expression::parse(&sql).unwrap_err();
        }
    }
    for chain in ["::text", " is null", " = id", " collate \"C\""] {
        Expression::parse(&format!("id{}", chain.repeat(1_000))).unwrap_err();
    }
    let long = vec!["id = 1"; 1_200].join(" or ");
    assert!(Expression::parse(&long).is_ok());
    assert_eq!(refused(&vec!["a"; 3_000].join(" or ")), ExpressionErrorKind::TooLarge);
    let inside = format!("f({}) = 1", vec!["a"; 3_000].join(" or "));
    assert!(matches!(refused(&inside), ExpressionErrorKind::Unsupported { .. }));
    assert_eq!(refused(&format!("id in ({})", vec!["1"; 5_000].join(","))), ExpressionErrorKind::TooLarge);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever comes, it is an expression or an error with a place in the text, and soon.
    #[test]
    fn any_text_is_an_expression_or_an_error(
        text in prop_oneof![
            ".{0,80}",
            prop::collection::vec(prop::sample::select(TOKENS), 0..40).prop_map(|tokens| tokens.join(" ")),
            prop::collection::vec(prop::sample::select(TOKENS), 0..40).prop_map(|tokens| tokens.concat()),
        ],
    ) {
        let relation = orders();
        match Expression::parse(&text) {
            Err(error) => prop_assert!(text.get(error.span.clone()).is_some(), "{:?} of {text:?}", error.span),
            Ok(expression) => {
                for error in expression.check(&Scope::of_relation(&relation)) {
                    prop_assert!(text.get(error.span.clone()).is_some(), "{:?} of {text:?}", error.span);
                }
                let again = Expression::parse(&expression.to_string());
                prop_assert_eq!(again.as_ref(), Ok(&expression), "{}", expression);
            }
        }
    }
}

const TOKENS: &[&str] = &[
    "id",
    "status",
    "paid",
    "owner",
    "claims",
    ".",
    "sub",
    "=",
    "<>",
    "<",
    ">=",
    "and",
    "or",
    "not",
    "in",
    "(",
    ")",
    "(",
    ")",
    "is",
    "null",
    "true",
    "unknown",
    "distinct",
    "from",
    "between",
    "like",
    "ilike",
    "escape",
    "any",
    "all",
    "array",
    "[",
    "]",
    ",",
    "'a'",
    "''",
    "'{a,b}'",
    "1",
    "1.5",
    "-",
    "1e9",
    "::",
    "text",
    "int",
    "date",
    "cast",
    "as",
    "collate",
    "\"C\"",
    "\"",
    "'",
    "interval",
    "timestamp",
    "with",
    "time",
    "zone",
    "case",
    "when",
    "end",
    "select",
    "\n",
    "é",
    "🦀",
    "--",
    "/*",
    "*/",
    "lower",
    "exists",
    "row",
    "values",
    "struct",
    "map",
    "@",
    "#",
    "$$",
    "?",
    ";",
    "{",
    "}",
    "||",
    "current_date",
    "user",
    "position",
    "overlay",
    "extract",
    "substring",
    "trim",
    "convert",
    "try_cast",
    "within",
    "over",
    "filter",
    "some",
];
