//! What each `conflict` lets through, and what it says of the rest.

use serde_json::{Value, json};

use super::{Device, start};

const FIRST: &str = "insert into notes (id, workspace_id, title, body) values (1, 7, 'first', 'text')";
const ROW: &str =
    "select row_to_json(s)::text from (select id, workspace_id, title, body, rank from notes where id = 1) s";

fn update(record: Value, base: Value) -> Value {
    json!([{"op": "update", "key": {"id": 1}, "record": record, "base": base}])
}

#[tokio::test]
async fn edits_of_different_columns_merge_and_of_the_same_conflict() {
    let (database, gateway) = start("columns = [\"title\", \"body\", \"rank\"]", FIRST).await;
    let mut one = Device::join(&gateway, "sync:7").await;
    let mut other = Device::join(&gateway, "sync:7").await;
    let cursor = one.write("a", update(json!({"title": "one"}), json!({"title": "first"}))).await;
    // What was written came before the reply, with its cursor.
    assert_eq!(one.updates.len(), 1);
    assert_eq!(one.updates[0]["cursor"], cursor);
    assert_eq!(one.updates[0]["updates"][0]["record"]["title"], "one");
    other.write("b", update(json!({"body": "other"}), json!({"body": "text"}))).await;
    assert_eq!(other.updates.len(), 2);
    let row: String = database.value(ROW).await;
    assert_eq!(row, r#"{"id":1,"workspace_id":7,"title":"one","body":"other","rank":null}"#);

    let late = update(json!({"title": "late", "body": "late"}), json!({"title": "first", "body": "other"}));
    let response = other.refused("c", late).await;
    assert_eq!(response["reason"], "conflict");
    let conflict = &response["conflicts"][0];
    assert_eq!((&conflict["key"], &conflict["columns"]), (&json!({"id": 1}), &json!(["title"])));
    assert_eq!((&conflict["current"]["title"], &conflict["current"]["workspace_id"]), (&json!("one"), &json!(7)));
    let row: String = database.value(ROW).await;
    assert_eq!(row, r#"{"id":1,"workspace_id":7,"title":"one","body":"other","rank":null}"#);

    // A client may send all that it has: what it had seen and sends as it was is no change.
    let whole = json!({"id": 1, "workspace_id": 7, "title": "first", "body": "whole", "rank": null});
    let base = json!({"id": 1, "workspace_id": 7, "title": "first", "body": "other", "rank": null});
    one.write("d", update(whole, base)).await;
    let row: String = database.value(ROW).await;
    assert_eq!(row, r#"{"id":1,"workspace_id":7,"title":"one","body":"whole","rank":null}"#);
}

#[tokio::test]
async fn deletes_and_new_rows_conflict_with_what_was_not_seen() {
    let (_database, gateway) = start("columns = [\"title\", \"body\"]", FIRST).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let response = device.refused("a", json!([{"op": "insert", "record": {"id": 1, "title": "mine"}}])).await;
    assert_eq!(response["reason"], "conflict");
    let conflict = &response["conflicts"][0];
    assert_eq!((&conflict["columns"], &conflict["current"]["title"]), (&json!(["id"]), &json!("first")));

    let delete = |base| json!([{"op": "delete", "key": {"id": 1}, "base": base}]);
    let response = device.refused("b", delete(json!({"title": "other", "body": "text"}))).await;
    assert_eq!((&response["reason"], &response["conflicts"][0]["columns"]), (&json!("conflict"), &json!(["title"])));
    device.write("c", delete(json!({"title": "first"}))).await;
    assert_eq!(device.updates.last().unwrap()["updates"][0]["op"], "delete");
    // It is gone, which the client had not seen either.
    let response = device.refused("d", update(json!({"title": "x"}), json!({"title": "first"}))).await;
    assert_eq!((&response["reason"], &response["conflicts"][0]["current"]), (&json!("conflict"), &Value::Null));
    let response = device.refused("e", json!([{"op": "delete", "key": {"id": 1}}])).await;
    assert_eq!(response, json!({"reason": "not_found", "change": 0, "key": {"id": 1}}));
}

#[tokio::test]
async fn one_transaction_holds_all_changes_or_none() {
    let (database, gateway) = start("columns = [\"title\", \"body\"]", FIRST).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let both = |title: &str| {
        json!([
            {"op": "insert", "key": {"id": 2}, "record": {"title": "second"}},
            {"op": "update", "key": {"id": 1}, "record": {"title": "changed"}, "base": {"title": title}},
            {"op": "update", "key": {"id": 2}, "record": {"body": "also"}, "base": {"body": null}},
        ])
    };
    let response = device.refused("a", both("wrong")).await;
    assert_eq!(response["conflicts"].as_array().unwrap().len(), 1);
    assert_eq!(response["conflicts"][0]["key"], json!({"id": 1}));
    assert_eq!(database.value::<i64>("select count(*) from notes").await, 1);
    device.write("b", both("first")).await;
    let updates = device.updates.last().unwrap()["updates"].as_array().unwrap().clone();
    assert_eq!(updates.len(), 3, "{updates:?}");
    let second: String = database.value("select concat(workspace_id, title, body) from notes where id = 2").await;
    assert_eq!(second, "7secondalso");
}

#[tokio::test]
async fn a_row_has_a_version() {
    let (database, gateway) = start("columns = [\"title\", \"body\"]\nconflict = \"row\"", FIRST).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    device.write("a", update(json!({"title": "one"}), json!({"version": 1}))).await;
    assert_eq!(device.updates[0]["updates"][0]["record"]["version"], 2);
    // Another column makes no difference.
    let response = device.refused("b", update(json!({"body": "other"}), json!({"version": 1}))).await;
    assert_eq!(response["conflicts"][0]["columns"], json!(["version"]));
    assert_eq!(response["conflicts"][0]["current"]["version"], 2);
    let response = device.refused("c", update(json!({"body": "other"}), json!({}))).await;
    assert_eq!(response["reason"], "invalid_request");
    let response = device.refused("d", update(json!({"version": 9}), json!({"version": 2}))).await;
    assert_eq!((&response["reason"], &response["columns"]), (&json!("not_writable"), &json!(["version"])));
    device.write("e", json!([{"op": "delete", "key": {"id": 1}, "base": {"version": 2}}])).await;
    assert_eq!(database.value::<i64>("select count(*) from notes").await, 0);
}

#[tokio::test]
async fn the_last_write_wins() {
    let (database, gateway) = start("columns = [\"title\"]\nconflict = \"last-write-wins\"", FIRST).await;
    database.execute("update notes set updated_at = '2026-01-01 12:00:00+00'").await;
    let mut device = Device::join(&gateway, "sync:7").await;
    let at = |title: &str, time: &str| update(json!({"title": title, "updated_at": time}), json!({}));
    device.write("a", at("noon", "2026-01-01T12:00:01Z")).await;
    let response = device.refused("b", at("before", "2026-01-01T12:00:00.999Z")).await;
    assert_eq!(
        (&response["reason"], &response["conflicts"][0]["columns"]),
        (&json!("conflict"), &json!(["updated_at"]))
    );
    assert_eq!(response["conflicts"][0]["current"]["title"], "noon");
    // A clock that is ahead keeps nobody else from writing.
    device.write("c", at("far", "2999-01-01T00:00:00Z")).await;
    let ahead: bool = database.value("select updated_at > now() from notes").await;
    assert!(!ahead);
    let response = device.refused("d", update(json!({"title": "x"}), json!({}))).await;
    assert_eq!(response["reason"], "invalid_request");
    let gone = json!([{"op": "delete", "key": {"id": 1}, "record": {"updated_at": "2026-01-01T12:00:00Z"}}]);
    assert_eq!(device.refused("e", gone).await["reason"], "conflict");
    let new = json!([{"op": "insert", "record": {"id": 2, "title": "new", "updated_at": "2999-01-01T00:00:00Z"}}]);
    device.write("f", new).await;
    let ahead: bool = database.value("select bool_or(updated_at > now()) from notes").await;
    assert!(!ahead);
}

#[tokio::test]
async fn what_is_overwritten_is_not_asked_for() {
    let (database, gateway) = start("columns = [\"title\", \"body\"]\nconflict = \"overwrite\"", FIRST).await;
    let mut device = Device::join(&gateway, "sync:7").await;
    device.write("a", update(json!({"title": "one"}), json!({}))).await;
    device.write("b", update(json!({"title": "two"}), json!({"title": "never seen"}))).await;
    let row: String = database.value(ROW).await;
    assert_eq!(row, r#"{"id":1,"workspace_id":7,"title":"two","body":"text","rank":null}"#);
    let gone = json!([{"op": "update", "key": {"id": 9}, "record": {"title": "x"}}]);
    assert_eq!(device.refused("c", gone).await, json!({"reason": "not_found", "change": 0, "key": {"id": 9}}));
}
