//! Vectors and properties of values and changes; the oracle test has the real server's word for every type.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::change::catalogue::{DefinitionShape, FIRST_USER_OID, TypeDefinition};
use crate::change::{
    Column, Oid, OldRow, Operation, Relation, RelationId, ReplicaIdentity, Row, Type, TypeCatalogue, TypeKind,
};

const INT4: Oid = 23;
const INT8: Oid = 20;
const TEXT: Oid = 25;
const TEXT_ARRAY: Oid = 1009;
const JSONB: Oid = 3802;
const PAIR: Oid = FIRST_USER_OID;
const PAIRS: Oid = FIRST_USER_OID + 1;
const HSTORE: Oid = FIRST_USER_OID + 2;

/// The built-in types, `pair (n int8, t text)`, `pair[]` and `hstore`.
fn catalogue() -> TypeCatalogue {
    let fields = vec![("n".to_owned(), INT8), ("t".to_owned(), TEXT)];
    let definitions = [
        (PAIR, DefinitionShape::Composite { fields }),
        (PAIRS, DefinitionShape::Array { element: PAIR, delimiter: b',' }),
        (HSTORE, DefinitionShape::Hstore),
    ];
    let definition = |(oid, shape)| TypeDefinition { oid, name: oid.to_string(), shape };
    let mut catalogue = TypeCatalogue::builtin();
    assert_eq!(catalogue.define(&[PAIR, PAIRS, HSTORE], definitions.map(definition).into()), Vec::<Oid>::new());
    catalogue
}

fn ty(oid: Oid) -> Arc<Type> {
    catalogue().get(oid).unwrap()
}

fn written(oid: Oid, text: &[u8], int8: Int8Format) -> Result<String, ValueError> {
    let mut out = b"before".to_vec();
    let result = write_value(&mut out, &ty(oid), text, int8);
    let out = String::from_utf8(out).unwrap();
    let value = out.strip_prefix("before").unwrap().to_owned();
    assert!(result.is_ok() || value.is_empty(), "an error must leave nothing behind");
    result.map(|()| value)
}

#[track_caller]
fn check(oid: Oid, text: &str, json: &str) {
    assert_eq!(written(oid, text.as_bytes(), Int8Format::Number).as_deref(), Ok(json), "{text}");
}

#[test]
fn writes_scalars() {
    check(16, "t", "true");
    check(16, "f", "false");
    check(1700, "12345678901234567890.10", "12345678901234567890.10");
    check(701, "NaN", r#""NaN""#);
    check(701, "-Infinity", r#""-Infinity""#);
    check(114, " {\"a\" : 1e999 } ", " {\"a\" : 1e999 } ");
    check(TEXT, "a\"\n", r#""a\"\n""#);
    check(26, "12", r#""12""#);
}

#[test]
fn writes_dates_and_times() {
    check(1082, "0044-03-15 BC", r#""0044-03-15 BC""#);
    check(1114, "2026-11-22 03:40:00.5", r#""2026-11-22T03:40:00.5""#);
    check(1114, "0044-03-15 12:00:00 BC", r#""0044-03-15T12:00:00 BC""#);
    check(1184, "2026-11-22 03:40:00+00", r#""2026-11-22T03:40:00+00:00""#);
    check(1184, "0044-03-15 12:00:00+00 BC", r#""0044-03-15T12:00:00+00:00 BC""#);
    check(1184, "2026-11-22 03:40:00-02:30", r#""2026-11-22T03:40:00-02:30""#);
    check(1184, "-infinity", r#""-infinity""#);
}

#[test]
fn writes_arrays() {
    check(1007, "{}", "[]");
    check(1007, "{1,NULL,3}", "[1,null,3]");
    check(1007, "[-1:0][2:3]={{1,2},{3,4}}", "[[1,2],[3,4]]");
    check(TEXT_ARRAY, r#"{"NULL",NULL,"","a\"b\\c","x,{y}",null}"#, r#"["NULL",null,"","a\"b\\c","x,{y}","null"]"#);
    check(1020, "{(1,1),(0,0);(2,2),(1,1)}", r#"["(1,1),(0,0)","(2,2),(1,1)"]"#);
    check(22, "1 2", "[1,2]");
    check(30, "1 2", r#"["1","2"]"#);
    check(30, "", "[]");
}

#[test]
fn writes_composites_in_arrays_and_hstore() {
    check(PAIR, "(,)", r#"{"n":null,"t":null}"#);
    check(PAIR, r#"(1,"")"#, r#"{"n":1,"t":""}"#);
    check(PAIR, r#"(1,"a""b\\c")"#, r#"{"n":1,"t":"a\"b\\c"}"#);
    check(PAIRS, r#"{"(1,\"a \"\"b\")",NULL,"(2,)"}"#, r#"[{"n":1,"t":"a \"b"},null,{"n":2,"t":null}]"#);
    check(HSTORE, "", "{}");
    check(HSTORE, r#""a"=>"1\"", "b"=>NULL"#, r#"{"a": "1\"", "b": null}"#);
}

#[test]
fn writes_int8_as_strings_wherever_it_stands() {
    for (oid, text, json) in
        [(INT8, "1", r#""1""#), (1016, "{1,NULL}", r#"["1",null]"#), (PAIRS, r#"{"(1,)"}"#, r#"[{"n":"1","t":null}]"#)]
    {
        assert_eq!(written(oid, text.as_bytes(), Int8Format::String).as_deref(), Ok(json));
    }
    assert_eq!(written(INT4, b"1", Int8Format::String).as_deref(), Ok("1"));
}

#[test]
fn replaces_what_is_no_utf_8() {
    assert_eq!(written(TEXT, b"a\xffb", Int8Format::Number).as_deref(), Ok("\"a\u{fffd}b\""));
}

#[test]
fn refuses_malformed_text() {
    for (oid, error, texts) in [
        (16, ValueError::Bool, &["", "true", "x"][..]),
        (
            TEXT_ARRAY,
            ValueError::Array,
            &[
                "",
                "x",
                "{",
                "}",
                "{a",
                "{a}}",
                "{a}x",
                "{,}",
                "{a,}",
                "{{a}b}",
                "{\"a}",
                "{\"a\"b}",
                "[1:2]",
                "[x]={a}",
                "{a\"b\"}",
                "\"a\"",
                "{{{{{{{a}}}}}}}",
            ],
        ),
        (PAIR, ValueError::Composite, &["", "x", "(", "(1,2", "(1,\"a)", "(1,a(b))", "(1,\"a\"b)", "(1,2)x"]),
        (PAIR, ValueError::FieldCount { expected: 2 }, &["(1)", "()", "(1,2,3)"]),
        (
            HSTORE,
            ValueError::Hstore,
            &["a", "\"a\"", "\"a\"=>", "\"a\"=>b", "\"a\"=>\"b\",", "\"a\"=>\"b\", ", "\"a\"=>NULLx"],
        ),
        (JSONB, ValueError::Json, &["", "{", "{}}", "nul", "'a'", "\"\n\""]),
    ] {
        for text in texts {
            assert_eq!(written(oid, text.as_bytes(), Int8Format::Number), Err(error), "{text}");
        }
    }
}

#[test]
fn ends_a_value_that_is_nested_too_deeply() {
    // Of vectors, since arrays in arrays are quoted: a text with so many levels would not fit this machine.
    let mut nested = ty(INT4);
    for oid in FIRST_USER_OID..FIRST_USER_OID + 100 {
        nested =
            Arc::new(Type { oid, base_oid: oid, name: "nested".into(), kind: TypeKind::Vector { element: nested } });
    }
    let mut out = Vec::new();
    assert_eq!(write_value(&mut out, &nested, b"1", Int8Format::Number), Err(ValueError::TooDeep));
    assert_eq!(out, b"");
}

/// A value of a row.
#[derive(Clone, Copy)]
enum V<'a> {
    Null,
    Unchanged,
    Text(&'a str),
}

fn row(values: &[V<'_>]) -> Row {
    let mut data = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            V::Null => data.push(b'n'),
            V::Unchanged => data.push(b'u'),
            V::Text(text) => {
                data.push(b't');
                data.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                data.extend_from_slice(text.as_bytes());
            }
        }
    }
    Row::parse(&mut Bytes::from(data)).unwrap()
}

/// `(id int4 primary key, status text, notes text, pair pair)`
fn relation(replica_identity: ReplicaIdentity) -> Arc<Relation> {
    let column = |(name, oid): (&str, Oid)| Column {
        name: name.into(),
        identity: name == "id" || replica_identity == ReplicaIdentity::Full,
        ty: ty(oid),
    };
    Arc::new(Relation {
        id: RelationId(1),
        schema: "public".into(),
        name: "or\"ders".into(),
        replica_identity,
        columns: [("id", INT4), ("status", TEXT), ("notes", TEXT), ("pair", PAIR)].map(column).into(),
    })
}

const OPTIONS: EncodeOptions = EncodeOptions { int8: Int8Format::Number, value_limit_bytes: 8 };

fn encoded(columns: Option<&[&str]>, operation: &Operation, shown: Shown) -> String {
    let encoder = ChangeEncoder::new(&relation(ReplicaIdentity::Default), columns, OPTIONS);
    let mut out = Vec::new();
    assert_eq!(encoder.encode(&mut out, operation, shown), []);
    let json = String::from_utf8(out).unwrap();
    serde_json::from_str::<&RawValue>(&json).unwrap();
    json.replace(r#","schema":"public","table":"or\"ders""#, "")
}

const PAID: [V<'_>; 4] = [V::Text("1"), V::Text("paid"), V::Unchanged, V::Null];
const OPEN: [V<'_>; 4] = [V::Text("1"), V::Text("open"), V::Text("note"), V::Null];
const KEY: [V<'_>; 4] = [V::Text("2"), V::Null, V::Null, V::Null];

#[test]
fn shows_an_insert() {
    let insert = Operation::Insert { new: row(&OPEN) };
    let whole = r#"{"op":"insert","record":{"id":1,"status":"open","notes":"note","pair":null}}"#;
    assert_eq!(encoded(None, &insert, Shown::AsIs), whole);
    assert_eq!(encoded(None, &insert, Shown::Entering), whole);
    assert_eq!(
        encoded(Some(&["notes", "id", "gone"]), &insert, Shown::AsIs),
        r#"{"op":"insert","record":{"id":1,"notes":"note"}}"#
    );
    assert_eq!(encoded(Some(&[]), &insert, Shown::AsIs), r#"{"op":"insert","record":{}}"#);
}

#[test]
fn shows_an_update_by_what_postgres_sent_of_the_old_row() {
    let update = |old| Operation::Update { old, new: row(&PAID) };
    let record = r#"{"op":"update","record":{"id":1,"status":"paid","pair":null}"#;
    assert_eq!(encoded(None, &update(None), Shown::AsIs), format!(r#"{record},"unchanged":["notes"]}}"#));
    assert_eq!(
        encoded(None, &update(Some(OldRow::Key(row(&KEY)))), Shown::AsIs),
        format!(r#"{record},"old_record":{{"id":2}},"unchanged":["notes"]}}"#)
    );
    assert_eq!(
        encoded(None, &update(Some(OldRow::Full(row(&OPEN)))), Shown::AsIs),
        concat!(
            r#"{"op":"update","record":{"id":1,"status":"paid","notes":"note","pair":null},"#,
            r#""old_record":{"id":1,"status":"open","notes":"note","pair":null}}"#
        )
    );
    assert_eq!(
        encoded(Some(&["status"]), &update(Some(OldRow::Key(row(&KEY)))), Shown::AsIs),
        r#"{"op":"update","record":{"status":"paid"},"old_record":{}}"#
    );
}

#[test]
fn an_unchanged_key_column_is_filled_from_the_old_key() {
    let new = row(&[V::Unchanged, V::Text("paid"), V::Null, V::Null]);
    let update = Operation::Update { old: Some(OldRow::Key(row(&KEY))), new };
    assert_eq!(
        encoded(None, &update, Shown::Entering),
        r#"{"op":"insert","record":{"id":2,"status":"paid","notes":null,"pair":null}}"#
    );
}

#[test]
fn shows_a_move_as_insert_or_delete() {
    let update = |old| Operation::Update { old, new: row(&PAID) };
    let full = || Some(OldRow::Full(row(&OPEN)));
    assert_eq!(
        encoded(None, &update(full()), Shown::Entering),
        r#"{"op":"insert","record":{"id":1,"status":"paid","notes":"note","pair":null}}"#
    );
    assert_eq!(
        encoded(None, &update(None), Shown::Entering),
        r#"{"op":"insert","record":{"id":1,"status":"paid","pair":null},"unchanged":["notes"]}"#
    );
    assert_eq!(
        encoded(None, &update(full()), Shown::Leaving),
        r#"{"op":"delete","old_record":{"id":1,"status":"open","notes":"note","pair":null}}"#
    );
    assert_eq!(encoded(None, &update(None), Shown::Leaving), r#"{"op":"delete","old_record":{"id":1}}"#);
}

#[test]
fn shows_deletes_and_truncates() {
    let delete = Operation::Delete { old: OldRow::Key(row(&KEY)) };
    assert_eq!(encoded(None, &delete, Shown::AsIs), r#"{"op":"delete","old_record":{"id":2}}"#);
    assert_eq!(encoded(None, &Operation::Truncate, Shown::AsIs), r#"{"op":"truncate"}"#);
}

#[test]
fn names_once_what_is_too_long() {
    let long = [V::Text("1"), V::Text("longer than 8"), V::Null, V::Null];
    let update = Operation::Update { old: Some(OldRow::Full(row(&long))), new: row(&long) };
    assert_eq!(
        encoded(Some(&["id", "status"]), &update, Shown::AsIs),
        r#"{"op":"update","record":{"id":1},"old_record":{"id":1},"omitted":["status"]}"#
    );
    // A value that is there is not said to be left out because the one before it was.
    let short = [V::Text("1"), V::Text("short"), V::Null, V::Null];
    let update = Operation::Update { old: Some(OldRow::Full(row(&long))), new: row(&short) };
    assert_eq!(
        encoded(Some(&["id", "status"]), &update, Shown::AsIs),
        r#"{"op":"update","record":{"id":1,"status":"short"},"old_record":{"id":1}}"#
    );
    let delete = Operation::Delete { old: OldRow::Full(row(&long)) };
    assert_eq!(
        encoded(Some(&["id", "status"]), &delete, Shown::AsIs),
        r#"{"op":"delete","old_record":{"id":1},"omitted":["status"]}"#
    );
}

#[test]
fn names_what_is_malformed_or_missing_and_loses_nothing_else() {
    let encoder = ChangeEncoder::new(&relation(ReplicaIdentity::Default), None::<&[&str]>, OPTIONS);
    let mut out = Vec::new();
    let new = row(&[V::Text("1"), V::Null, V::Null, V::Text("(1,2,3)")]);
    let malformed = encoder.encode(&mut out, &Operation::Insert { new }, Shown::AsIs);
    let error = ValueError::FieldCount { expected: 2 };
    assert_eq!(malformed, [MalformedValue { column: "pair".into(), error }]);
    assert!(!malformed[0].to_string().contains("1,2"), "no row value in an error");
    let expected = [
        r#"{"op":"insert","schema":"public","table":"or\"ders","#,
        r#""record":{"id":1,"status":null,"notes":null},"omitted":["pair"]}"#,
    ]
    .concat();
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let short = Operation::Insert { new: row(&[V::Text("1")]) };
    assert_eq!(
        encoded(None, &short, Shown::AsIs),
        r#"{"op":"insert","record":{"id":1},"omitted":["status","notes","pair"]}"#
    );
}

/// Bytes that come close to literals.
fn literal_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(
        [
            "{",
            "}",
            "(",
            ")",
            ",",
            ";",
            "\"",
            "\\",
            "NULL",
            "=>",
            ", ",
            " ",
            "[1:2]=",
            "1",
            "-2.5e3",
            "a",
            "t",
            "null",
            "2026-11-22 03:40:00+00",
            "\u{1}",
            "é",
            "[",
            "]",
            ":",
        ]
        .map(str::as_bytes)
        .to_vec(),
    );
    let tokens = prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat());
    prop_oneof![3 => tokens, 1 => any::<Vec<u8>>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_give_json_or_an_error(text in literal_like(), as_string: bool) {
        let catalogue = catalogue();
        let int8 = if as_string { Int8Format::String } else { Int8Format::Number };
        let builtin = [16, INT4, INT8, 701, 1082, 1114, 1184, 114, 1007, TEXT_ARRAY, 1020, 22, 30, TEXT];
        for oid in builtin.into_iter().chain([PAIR, PAIRS, HSTORE]) {
            let mut out = Vec::new();
            let result = write_value(&mut out, &catalogue.get(oid).unwrap(), &text, int8);
            match result {
                Ok(()) => prop_assert!(serde_json::from_slice::<&RawValue>(&out).is_ok(), "type {}: {:?}", oid, out),
                Err(_) => prop_assert!(out.is_empty()),
            }
        }
    }

    #[test]
    fn texts_survive_arrays_in_composites(texts in prop::collection::vec(any::<Option<String>>(), 1..6)) {
        let elements: Vec<String> = texts.iter().map(|text| match text {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        }).collect();
        let json = written(TEXT_ARRAY, format!("{{{}}}", elements.join(",")).as_bytes(), Int8Format::Number).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Vec<Option<String>>>(&json).unwrap(), &texts);
        let quoted = texts[0].as_deref().unwrap_or_default().replace('\\', "\\\\").replace('"', "\"\"");
        let json = written(PAIR, format!("(7,\"{quoted}\")").as_bytes(), Int8Format::Number).unwrap();
        let pair: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(pair["t"].as_str(), Some(texts[0].as_deref().unwrap_or_default()));
    }
}

#[test]
fn a_row_of_a_snapshot_is_shown_like_an_inserted_one() {
    let row = row(&[V::Text("7"), V::Text("too long for it"), V::Null, V::Text("(1,a)")]);
    let encoder = ChangeEncoder::new(&relation(ReplicaIdentity::Default), None::<&[&str]>, OPTIONS);
    let mut out = Vec::new();
    assert_eq!(encoder.encode_snapshot(&mut out, &row), []);
    let expected = concat!(
        r#"{"op":"snapshot","schema":"public","table":"or\"ders","#,
        r#""record":{"id":7,"notes":null,"pair":{"n":1,"t":"a"}},"omitted":["status"]}"#
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
