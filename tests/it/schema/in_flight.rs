//! Transactions that were in progress when the publication was altered: what of them is in no feed is told.

use serde_json::{Value, json};

use super::{NOTES, expect_reset, join, start};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

/// Somebody who has the rows as they are, has been sent one more, and goes on from there.
async fn watching(database: &Database, gateway: &Gateway, row: u32) -> (Client, Vec<Value>) {
    let mut client = eventually("a join", async || {
        let (mut client, reply) = join(gateway, "notes", json!({"snapshot": true})).await;
        (reply["status"] == "ok").then_some(())?;
        let rows = records(&client.next().await);
        Some((client, rows))
    })
    .await;
    database.execute(&format!("insert into notes values ({row}, 'live')")).await;
    assert_eq!(records(&client.0.next().await), [json!({"id": row, "body": "live"})]);
    client
}

fn records(message: &Value) -> Vec<Value> {
    assert_eq!(message[3], "new_updates", "{message}");
    message[4]["updates"].as_array().unwrap().iter().map(|update| update["record"].clone()).collect()
}

/// The table is not published; then it is, after a row was written that is committed later.
async fn published_amid_a_transaction(database: &Database, gateway: &Gateway) -> tokio_postgres::Client {
    let mut notes = Client::joined(gateway, "notes").await;
    database.execute("alter publication walcast drop table notes").await;
    expect_reset(&mut notes).await;
    let writer = database.connect().await;
    writer.batch_execute("begin; insert into notes values (1, 'early')").await.unwrap();
    database.execute("alter publication walcast add table notes").await;
    writer
}

async fn is_told(writer: tokio_postgres::Client, (mut client, rows): (Client, Vec<Value>)) {
    assert!(!rows.contains(&json!({"id": 1, "body": "early"})), "{rows:?}");
    writer.batch_execute("insert into notes values (2, 'late'); commit").await.unwrap();
    // What it did after the alteration may come before that.
    while client.next().await[3] == "new_updates" {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_written_before_their_table_was_published_are_told_by_a_reset() {
    let (database, gateway) = start(NOTES).await;
    let writer = published_amid_a_transaction(&database, &gateway).await;
    is_told(writer, watching(&database, &gateway, 10).await).await;
    let (_client, rows) = watching(&database, &gateway, 11).await;
    assert_eq!(rows, [(1, "early"), (10, "live"), (2, "late")].map(|(id, body)| json!({"id": id, "body": body})));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_when_the_connection_was_lost_meanwhile() {
    let (database, gateway) = start(NOTES).await;
    let writer = published_amid_a_transaction(&database, &gateway).await;
    let client = watching(&database, &gateway, 10).await;
    database.execute("select pg_terminate_backend(pid) from pg_stat_replication").await;
    is_told(writer, client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_after_a_restart_of_the_gateway() {
    let (database, mut gateway) = start(NOTES).await;
    let writer = published_amid_a_transaction(&database, &gateway).await;
    let (mut client, _) = watching(&database, &gateway, 10).await;
    let cursor = json!({"cursor": cursor_after(&database, &mut client).await});
    gateway.kill().await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    // What was told before is not told again; what is to come is known.
    let (client, reply) = join(&gateway, "notes", cursor).await;
    assert_eq!(reply["response"]["resumed"], true, "{reply}");
    is_told(writer, (client, Vec::new())).await;
    let (_client, rows) = watching(&database, &gateway, 12).await;
    assert!(rows.contains(&json!({"id": 1, "body": "early"})), "{rows:?}");
}

async fn cursor_after(database: &Database, client: &mut Client) -> Value {
    database.execute("insert into notes values (11, 'live')").await;
    client.next_updates().await["cursor"].take()
}
