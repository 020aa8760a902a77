//! What each `conflict` lets through, and what it says of the rest.

use serde_json::json;

use super::{Device, start};

const FIRST: &str = "insert into notes (id, workspace_id, title, body) values (1, 7, 'first', 'text')";
const ROW: &str =
    "select row_to_json(s)::text from (select id, workspace_id, title, body, rank from notes where id = 1) s";

#[tokio::test]
async fn edits_of_different_columns_merge_and_of_the_same_conflict() {
    let (database, gateway) = start("columns = [\"title\", \"body\", \"rank\"]").await;
    database.execute(FIRST).await;
    let mut one = Device::join(&gateway, "sync:7").await;
    let mut other = Device::join(&gateway, "sync:7").await;
    let update = |record, base| json!([{"op": "update", "key": {"id": 1}, "record": record, "base": base}]);
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
}
