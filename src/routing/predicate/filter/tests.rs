use proptest::prelude::*;

use super::super::tests::relation;
use super::*;
use crate::change::Relation;
use crate::routing::Truth;

fn orders() -> Relation {
    relation(&[("id", 23), ("status", 25), ("total", 1700), ("paid", 16), ("placed", 1184), ("secret", 25)])
}

fn judged(filter: &str, row: &[Option<&str>]) -> Truth {
    let filter = Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    filter.compile(&Scope::of_relation(&orders())).unwrap().evaluate(row).unwrap()
}

#[test]
fn rows_are_filtered() {
    let row = [Some("7"), Some("o, p\"é"), Some("100.50"), Some("t"), Some("2026-11-22 03:40:00+00"), None];
    for filter in [
        "",
        "id=eq.7",
        "id=gte.7&id=lt.8&total=gt.100&total=lte.100.5",
        "status=in.(a,%22o,+p%5C%22%C3%A9%22)",
        "status=like.o*",
        "status=ilike.O,*",
        "status=not.ilike.É*",
        "status=gt.O",
        "paid=is.true&secret=is.null&status=not.is.null",
        "secret=not.in.(a,b)&secret=is.null",
        "placed=eq.2026-11-22T09:10:00%2B05:30",
        "id=not.in.()",
        "id=neq.8&id=not.eq.9",
    ] {
        let expected = if filter.contains("secret=not.in") { Truth::NotTrue } else { Truth::True };
        assert_eq!(judged(filter, &row), expected, "{filter}");
    }
    for filter in ["id=in.()", "secret=eq.a", "secret=neq.a", "paid=is.false", "paid=is.unknown", "status=like.p*"] {
        assert_eq!(judged(filter, &row), Truth::NotTrue, "{filter}");
    }
}

#[test]
fn what_is_wrong_is_said_and_what_would_be_right() {
    let scope_of = orders();
    let scope = Scope::of_relation(&scope_of).only(|name| name != "secret");
    for (filter, message) in [
        (
            "status",
            "`status=` is no condition: write `status=operator.value`, as in `status=eq.1`; operators: eq, neq, gt, gte, lt, lte, in, is, like, ilike",
        ),
        ("=eq.1", "`=eq.1` names no column: write `column=operator.value`, as in `status=eq.open`"),
        (
            "id=above.5",
            "`id=above.5`: `above` is no operator; use one of eq, neq, gt, gte, lt, lte, in, is, like, ilike",
        ),
        ("id=in.1,2", "`id=in.1,2`: `in` takes a list in parentheses, as in `in.(1,2)`"),
        ("id=in.(\"1\"2)", "`id=in.(\"1\"2)`: a comma is missing after a value in quotes"),
        ("id=is.7", "`id=is.7`: `is` takes null, true, false or unknown; for other values use `eq`"),
        (
            "status=like.a%5C",
            "`status=like.a\\`: a pattern can't end with a backslash; one that is meant is written twice",
        ),
        ("status=eq.%zz", "a `%` stands before two hexadecimal digits; a `%` itself is written `%25`"),
        ("status=eq.%ff", "a filter is percent-encoded UTF-8"),
        (
            "id=eq.seven",
            "`id=eq.seven`: `seven` can't be read as integer; write an integer from -2147483648 to 2147483647",
        ),
        (
            "id=is.true",
            "`id=is.true`: `id` is no boolean column; ask `id=is.null` or `id=eq.…`; compare it with something: `… = …`",
        ),
        ("id=like.1*", "`id=like.1*`: `like` is about texts, and this is integer; cast it: `id::text like …`"),
        ("stauts=eq.a", "there is no column `stauts`; there is a column `status`"),
        ("secret=eq.a", "there is no column `secret`"),
        ("sacred=eq.a", "there is no column `sacred`"),
    ] {
        let error = Filter::parse(filter).and_then(|filter| filter.compile(&scope).map(drop)).unwrap_err();
        assert_eq!(error.to_string(), message, "{filter}");
    }
}

#[test]
fn there_are_limits() {
    let refused = |filter: &str| Filter::parse(filter).unwrap_err().message;
    assert_eq!(refused(&"a".repeat(MAX_FILTER_LENGTH + 1)), "a filter can have at most 4096 bytes");
    assert_eq!(refused(&"a=eq.1&".repeat(MAX_CONDITIONS + 1)), "a filter can have at most 32 conditions");
    let list = vec!["1"; MAX_IN_VALUES + 1].join(",");
    assert!(refused(&format!("a=in.({list})")).ends_with("`in` takes at most 500 values"));
}

#[test]
fn order_does_not_matter() {
    let [one, other] = ["b=eq.1&a=in.(2,1)", "a=in.(1,2,1)&b=eq.1&b=eq.1"].map(|text| Filter::parse(text).unwrap());
    assert_eq!(one, other);
    assert_eq!(one.canonical(), other.canonical());
    assert_eq!(one.columns().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_ne!(one, Filter::parse("a=in.(1,2)").unwrap());
}

proptest! {
    #[test]
    fn any_text_is_a_filter_or_an_error(
        text in ".{0,60}|((id|status|total|paid|placed)=(not\\.)?(eq|gt|in|is|like|ilike)\\.[()a-z0-9\",*%+\\\\.:-]{0,12}&?){0,4}",
    ) {
        let relation = orders();
        if let Ok(filter) = Filter::parse(&text) {
            let _compiled = filter.compile(&Scope::of_relation(&relation));
            let _canonical = filter.canonical();
        }
    }
}
