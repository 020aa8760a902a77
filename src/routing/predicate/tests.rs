//! The whole way from text to truth; the oracle of all of it is `tests/it/predicates.rs`.

use std::sync::Arc;

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
