//! What is refused, by which reason, and that nothing of it is done.

use serde_json::{Value, json};

use super::{Device, NOTES, start};
use crate::support::database::Database;
use crate::support::gateway::Gateway;

#[tokio::test]
async fn what_the_policy_leaves_out_is_refused() {
    let (database, gateway) = start(
        "ops = [\"insert\", \"update\"]\ncolumns = [\"title\"]",
        "insert into notes (id, workspace_id, title) values (1, 7, 'first')",
    )
    .await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let key = json!({"id": 1});
    for (number, (changes, reason, part)) in [
        (json!([{"op": "delete", "key": key}]), "not_writable", "may not delete"),
        (
            json!([{"op": "update", "key": key, "record": {"body": "x"}, "base": {"body": null}}]),
            "not_writable",
            "body",
        ),
        (json!([{"op": "update", "key": key, "record": {"id": 2}, "base": {}}]), "not_writable", "id"),
        (json!([{"op": "insert", "record": {"id": 2, "title": "x", "rank": 1}}]), "not_writable", "rank"),
        (json!([{"op": "update", "key": key, "record": {"title": "x"}}]), "invalid_request", "`base` has no `title`"),
        (json!([{"op": "update", "key": key, "record": {"nothing": 1}}]), "invalid_request", "no column"),
        (json!([{"op": "update", "key": {}, "record": {"title": "x"}}]), "invalid_request", "`key` has no `id`"),
        (json!([{"op": "update", "key": {"title": "x"}, "record": {}}]), "invalid_request", "primary key"),
        (json!([{"op": "update", "table": "orders", "key": key}]), "invalid_request", "no table `orders`"),
        (json!([{"op": "insert", "key": key, "record": {"id": 2}}]), "invalid_request", "different values"),
        (json!([]), "invalid_request", "empty"),
        (json!({}), "invalid_request", "`changes` is a list of objects"),
    ]
    .into_iter()
    .enumerate()
    {
        let response = device.refused(&format!("m{number}"), changes).await;
        assert_eq!(response["reason"], reason, "{response}");
        assert!(response.to_string().contains(part), "{response}");
    }
    assert_eq!(device.updates, [] as [Value; 0]);
    // None of these was an outcome.
    assert_eq!(database.value::<i64>("select count(*) from walcast.mutations").await, 0);
    let title: String = database.value("select string_agg(title, ',') from notes").await;
    assert_eq!(title, "first");
}

#[tokio::test]
async fn a_row_belongs_to_the_topic_that_it_is_written_by() {
    let (database, gateway) = start(
        "columns = [\"title\", \"workspace_id\"]",
        "insert into notes (id, workspace_id, title) values (1, 7, 'ours'), (2, 8, 'theirs')",
    )
    .await;
    let mut device = Device::join(&gateway, "sync:7").await;
    device.write("a", json!([{"op": "insert", "record": {"id": 3, "title": "new"}}])).await;
    device.write("b", json!([{"op": "insert", "record": {"id": 4, "title": "new", "workspace_id": 7}}])).await;
    let other = json!([{"op": "insert", "record": {"id": 5, "title": "new", "workspace_id": 8}}]);
    assert_eq!(device.refused("c", other).await, json!({"reason": "not_in_topic", "change": 0}));
    let moved = json!([{"op": "update", "key": {"id": 1}, "record": {"workspace_id": 8}, "base": {"workspace_id": 7}}]);
    assert_eq!(device.refused("d", moved).await, json!({"reason": "not_in_topic", "change": 0}));
    // Another topic's row is none, whatever is guessed of it.
    for base in ["theirs", "wrong"] {
        let theirs = json!([{"op": "update", "key": {"id": 2}, "record": {"title": "x"}, "base": {"title": base}}]);
        let response = device.refused(&format!("e {base}"), theirs).await;
        let expected = json!([{"key": {"id": 2}, "columns": ["title"], "current": null}]);
        assert_eq!(response, json!({"reason": "conflict", "conflicts": expected}));
    }
    let taken = json!([{"op": "insert", "record": {"id": 2, "title": "x"}}]);
    let response = device.refused("f", taken).await;
    assert_eq!((&response["reason"], &response["conflicts"][0]["current"]), (&json!("conflict"), &Value::Null));
    assert_eq!(device.refused("g", json!([{"op": "delete", "key": {"id": 2}}])).await["reason"], "not_found");
    let rows: String =
        database.value("select string_agg(concat(id, workspace_id, title), ' ' order by id) from notes").await;
    assert_eq!(rows, "17ours 28theirs 37new 47new");
}

#[tokio::test]
async fn errors_of_postgres_have_stable_reasons_and_tell_nothing_of_others() {
    let database = Database::start().await;
    database.execute(NOTES).await;
    database
        .execute(
            "alter table notes add check (rank < 1000);
             create function stop() returns trigger language plpgsql as
             $$ begin if new.title = 'stop' then raise 'hunter2 %', (select title from notes limit 1); end if;
             return new; end $$;
             create trigger stop before insert on notes for each row execute function stop();
             create table parents (id int primary key); grant select on parents to web;
             alter table notes add parent int references parents deferrable initially deferred;
             insert into notes (id, workspace_id, title, rank) values (1, 8, 'hunter2', 5)",
        )
        .await;
    let gateway = Gateway::start(&database.url(), &super::route("")).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let insert = |record: Value| json!([{"op": "insert", "record": record}]);
    for (number, (record, expected)) in [
        (
            json!({"id": 2, "title": "x", "rank": 5}),
            json!({"reason": "constraint", "code": "23505", "constraint": "notes_rank_key"}),
        ),
        (
            json!({"id": 2, "title": "x", "rank": 2000}),
            json!({"reason": "constraint", "code": "23514", "constraint": "notes_rank_check"}),
        ),
        (json!({"id": 2}), json!({"reason": "constraint", "code": "23502", "column": "title"})),
        (json!({"id": 2, "title": "x", "rank": "five"}), json!({"reason": "invalid_value", "code": "22P02"})),
        (
            json!({"id": 2, "title": "x", "rank": 99_999_999_999_u64}),
            json!({"reason": "invalid_value", "code": "22003"}),
        ),
        (json!({"id": 2, "title": "x\u{0}"}), json!({"reason": "invalid_value", "code": "22P05"})),
        (json!({"id": 2, "title": "stop"}), json!({"reason": "rejected", "code": "P0001"})),
        (
            json!({"id": 2, "title": "x", "parent": 1}),
            json!({"reason": "constraint", "code": "23503", "constraint": "notes_parent_fkey"}),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut response = device.refused(&format!("m{number}"), insert(record)).await;
        assert!(!response.to_string().contains("hunter2"), "{response}");
        response.as_object_mut().unwrap().remove("change");
        assert_eq!(response, expected);
    }
    assert_eq!(database.value::<i64>("select count(*) from notes").await, 1);
    assert!(!gateway.log().contains("hunter2"), "{}", gateway.log());

    database.execute("revoke insert on notes from web").await;
    let response = device.refused("right", insert(json!({"id": 2, "title": "x"}))).await;
    assert_eq!(response, json!({"reason": "not_permitted", "change": 0}));
    // The connection goes on as if nothing had been.
    database.execute("grant insert on notes to web").await;
    device.write("at last", insert(json!({"id": 2, "title": "x"}))).await;
}

#[tokio::test]
async fn a_lock_is_not_waited_for_for_ever_and_other_topics_go_on() {
    let database = Database::start().await;
    database.execute(NOTES).await;
    database.execute("insert into notes (id, workspace_id, title) values (1, 7, 'first'), (2, 8, 'second')").await;
    let limits = "[limits]\nwrite_lock_timeout = \"300ms\"\nwrites_per_connection = 2\n";
    let gateway = Gateway::start(&database.url(), &(super::route("conflict = \"overwrite\"") + limits)).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let mut other = Device::join(&gateway, "sync:8").await;
    let blocker = database.connect().await;
    blocker.batch_execute("begin; update notes set body = 'locked' where id = 1").await.unwrap();
    let update = |id: u32| json!([{"op": "update", "key": {"id": id}, "record": {"title": "late"}}]);
    let (first, second) = (device.send("a", update(1)).await, device.send("b", update(1)).await);
    let third = device.send("c", update(1)).await;
    assert_eq!(device.reply(&third).await, ("error".to_owned(), json!({"reason": "busy"})));
    other.write("a", update(2)).await;
    assert_eq!(device.reply(&first).await, ("error".to_owned(), json!({"reason": "timeout"})));
    assert_eq!(device.reply(&second).await, ("error".to_owned(), json!({"reason": "timeout"})));
    blocker.batch_execute("rollback").await.unwrap();
    // That was no outcome: the same request succeeds now.
    device.write("a", update(1)).await;
}

#[tokio::test]
async fn several_tables_of_one_topic_are_told_apart_by_their_names() {
    let database = Database::start().await;
    database.execute(NOTES).await;
    database
        .execute(
            "create table tasks (id int primary key, workspace_id int, done bool); \
                      alter table tasks replica identity full; grant all on tasks to web;
                      create table plain (id int primary key)",
        )
        .await;
    let tasks = super::route("").replace("public.notes", "public.tasks");
    let plain = "[[route]]\ntable = \"public.plain\"\ntopic = \"plain\"\n";
    let gateway = Gateway::start(&database.url(), &format!("{}{tasks}{plain}", super::route(""))).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let both = |note: &str, task: &str| {
        json!([
            {"op": "insert", "table": note, "record": {"id": 1, "title": "a note"}},
            {"op": "insert", "table": task, "record": {"id": 1, "done": true}},
        ])
    };
    device.write("a", both("notes", "public.tasks")).await;
    let tables: Vec<&Value> =
        device.updates[0]["updates"].as_array().unwrap().iter().map(|update| &update["table"]).collect();
    assert_eq!(tables, ["notes", "tasks"]);
    let response = device.refused("b", json!([{"op": "insert", "record": {"id": 2}}])).await;
    assert!(response["message"].as_str().unwrap().contains("several tables"), "{response}");

    let mut reader = Device::join(&gateway, "plain").await;
    let response = reader.refused("c", json!([{"op": "insert", "record": {"id": 2}}])).await;
    assert_eq!(response, json!({"reason": "event not allowed"}));
}
