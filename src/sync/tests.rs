//! From a client's change to SQL, or to why not.

use serde_json::{Value, json};

use super::plan::Write;
use super::request::Mutation;
use super::statement::{self, Statement};
use super::table::{Column, Table, Target};
use crate::routing::{Conflict, Int8Format, Op, Ops, RouteSpec, TablePattern, Template, WritableRoute, WritePolicy};

fn route(conflict: Conflict) -> WritableRoute {
    let route = RouteSpec {
        table: TablePattern::parse("public.notes").unwrap(),
        topic: Template::parse("sync:{ws}").unwrap(),
        columns: Some(["id", "ws", "title", "n", "at", "made"].map(str::to_owned).into()),
        filter: None,
        allow: None,
        ops: Ops::ALL,
        event: "sync_update".into(),
        int8: Int8Format::String,
    };
    let columns = Some(["title", "n"].map(str::to_owned).into());
    let ops = [Op::Insert, Op::Update, Op::Delete].into_iter().collect();
    WritableRoute { route, policy: WritePolicy { ops, columns, conflict, role: None } }
}

fn target(route: &WritableRoute) -> Target<'_> {
    let column = |(name, type_name): (&str, &str)| Column {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        generated: name == "made",
        key: name == "id",
        published: true,
        int8: type_name == "bigint",
        type_oid: if type_name == "bigint" { 20 } else { 25 },
    };
    let columns = [
        ("id", "integer"),
        ("ws", "text"),
        ("title", "public.\"Title\""),
        ("n", "bigint"),
        ("at", "timestamp with time zone"),
        ("made", "integer"),
        ("hidden", "text"),
    ];
    let table = Table {
        schema: "public".to_owned(),
        name: "no\"tes".to_owned(),
        columns: columns.map(column).into(),
        immediate_key: true,
    };
    Target { route, table, topic: vec![("ws".to_owned(), "' or true --".to_owned())], rule: None }
}

/// The statements of a change: the write's and the look at the row.
fn statements(conflict: Conflict, change: Value) -> Result<(Statement, Statement), String> {
    let payload = json!({"id": "m", "changes": [change]}).to_string();
    let mutation = Mutation::parse(&payload, 1).map_err(|refusal| refusal.to_json())?;
    let route = route(conflict);
    let target = target(&route);
    let write = Write::new(0, &mutation.changes[0], &target).map_err(|refusal| refusal.to_json())?;
    Ok((statement::write(&target, &write), statement::current(&target, &write)))
}

fn version() -> Conflict {
    Conflict::Row { version: "n".to_owned() }
}

fn timestamp() -> Conflict {
    Conflict::LastWriteWins { timestamp: "at".to_owned() }
}

const IN_TOPIC: &str = r#"t."ws"::pg_catalog.text collate pg_catalog."C" = "#;

#[test]
fn an_update_is_one_statement_that_holds_what_was_seen() {
    let change = json!({"op": "update", "key": {"id": 1}, "record": {"title": "x"}, "base": {"title": "y"}});
    let (write, current) = statements(Conflict::Columns, change).unwrap();
    assert_eq!(
        write.sql,
        format!(
            "update \"public\".\"no\"\"tes\" as t set \"title\" = r.\"title\" \
             from pg_catalog.json_to_record($1::pg_catalog.json) as k(\"id\" integer), \
             pg_catalog.json_to_record($2::pg_catalog.json) as b(\"title\" public.\"Title\"), \
             pg_catalog.json_to_record($3::pg_catalog.json) as r(\"title\" public.\"Title\") \
             where t.\"id\" = k.\"id\" and {IN_TOPIC}$4 \
             and pg_catalog.to_jsonb(t.\"title\") is not distinct from pg_catalog.to_jsonb(b.\"title\") \
             returning coalesce({IN_TOPIC}$5, false), true"
        )
    );
    let topic = "' or true --";
    assert_eq!(write.parameters, [r#"{"id":1}"#, r#"{"title":"y"}"#, r#"{"title":"x"}"#, topic, topic]);
    // Hidden columns are in no answer, and int8 is as the route writes it.
    assert!(
        current.sql.contains("t.\"n\"::pg_catalog.text as \"n\"") && !current.sql.contains("hidden"),
        "{current:?}"
    );
}

#[test]
fn a_version_is_counted_up_and_a_time_is_not_ahead() {
    let change = json!({"op": "update", "key": {"id": 1}, "record": {"title": "x"}, "base": {"n": 3}});
    let (write, _) = statements(version(), change).unwrap();
    assert!(write.sql.contains("set \"title\" = r.\"title\", \"n\" = coalesce(t.\"n\", 0) + 1 from"), "{write:?}");
    assert!(write.sql.contains("t.\"n\" is not distinct from b.\"n\""), "{write:?}");
    let change = json!({"op": "update", "key": {"id": 1}, "record": {"title": "x", "at": "2026-01-01"}});
    let (write, _) = statements(timestamp(), change).unwrap();
    let time = |alias: &str| format!("least({alias}.\"at\", pg_catalog.clock_timestamp()::timestamp with time zone)");
    assert!(write.sql.contains(&format!("\"at\" = {}", time("r"))), "{write:?}");
    assert!(write.sql.contains(&format!("(t.\"at\" is null or t.\"at\" <= {})", time("b"))), "{write:?}");
}

#[test]
fn a_new_row_gets_the_topics_values_and_meets_others_by_its_key() {
    let (write, _) =
        statements(Conflict::Columns, json!({"op": "insert", "key": {"id": 1}, "record": {"title": "x"}})).unwrap();
    assert_eq!(
        write.sql,
        format!(
            "insert into \"public\".\"no\"\"tes\" as t (\"title\", \"id\", \"ws\") \
             select r.\"title\", r.\"id\", $1::text \
             from pg_catalog.json_to_record($2::pg_catalog.json) as r(\"title\" public.\"Title\", \"id\" integer) \
             on conflict (\"id\") do nothing returning coalesce({IN_TOPIC}$3, false), true"
        )
    );
    // Without a key of the client's there is nothing to meet by.
    let (write, _) = statements(Conflict::Columns, json!({"op": "insert", "record": {"title": "x"}})).unwrap();
    assert!(!write.sql.contains("on conflict"), "{write:?}");
}

#[test]
fn a_change_of_nothing_still_needs_its_row() {
    let change = json!({"op": "update", "key": {"id": 1}, "record": {"title": "x"}, "base": {"title": "x"}});
    let (write, _) = statements(Conflict::Columns, change).unwrap();
    assert!(write.sql.contains("set \"id\" = t.\"id\" from"), "{write:?}");
}

#[test]
fn what_may_not_be_written_or_asked_is_refused() {
    let update = |record: Value, base: Value| json!({"op": "update", "key": {"id": 1}, "record": record, "base": base});
    for (conflict, change, reason) in [
        (Conflict::Columns, update(json!({"made": 1}), json!({"made": 2})), "not_writable"),
        (Conflict::Columns, update(json!({"hidden": 1}), json!({"hidden": 2})), "not_writable"),
        (Conflict::Columns, update(json!({"ws": "a"}), json!({"ws": "b"})), "not_writable"),
        (Conflict::Columns, update(json!({"title": 1}), json!({"n": 2})), "invalid_request"),
        // Whether a guess of a hidden value is right is nobody's to know.
        (Conflict::Columns, json!({"op": "delete", "key": {"id": 1}, "base": {"hidden": "x"}}), "invalid_request"),
        (Conflict::Columns, json!({"op": "delete", "key": {"id": 1}, "record": {"n": 1}}), "invalid_request"),
        (Conflict::Columns, json!({"op": "insert", "record": {"id": 1}, "base": {"n": 1}}), "invalid_request"),
        (Conflict::Columns, json!({"op": "insert", "record": {"made": 1}}), "not_writable"),
        (version(), update(json!({"title": 1}), json!({"title": 2})), "invalid_request"),
        (version(), update(json!({"n": 4}), json!({"n": 3})), "not_writable"),
        (timestamp(), update(json!({"title": 1, "at": null}), json!({})), "invalid_request"),
        (timestamp(), json!({"op": "delete", "key": {"id": 1}}), "invalid_request"),
    ] {
        let refusal = statements(conflict, change.clone()).unwrap_err();
        assert!(refusal.starts_with(&format!(r#"{{"reason":"{reason}""#)), "{change}: {refusal}");
    }
}
