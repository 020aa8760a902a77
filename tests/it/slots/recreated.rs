//! A slot that Postgres gave up is made anew where `on_lost_slot` says so.

use serde_json::json;

use super::{CONFIG, TABLES, metric, until_metric, write_segments};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::{Gateway, signal};
use crate::support::phoenix::Client;

const SETTINGS: [(&str, &str); 3] =
    [("max_slot_wal_keep_size", "16MB"), ("max_wal_size", "32MB"), ("min_wal_size", "32MB")];

async fn start() -> (Database, Gateway) {
    let database = Database::start_with(&SETTINGS).await;
    database.execute(TABLES).await;
    let edit = |text: String| text.replacen("slot = \"walcast\"", "slot = \"walcast\"\non_lost_slot = \"recreate\"", 1);
    let gateway = Gateway::start_edited(&database.url(), CONFIG, edit).await;
    (database, gateway)
}

/// Nobody reads until Postgres has given the slot up.
async fn lose(database: &Database) {
    let lost = "select wal_status = 'lost' from pg_replication_slots";
    eventually("the slot is lost", || async {
        write_segments(database, 2).await;
        database.execute("checkpoint").await;
        database.value::<bool>(lost).await.then_some(())
    })
    .await;
}

async fn goes_on(database: &Database, gateway: &Gateway, cursor: &serde_json::Value) {
    let reply = eventually("a join", || async {
        let reply = Client::connect(gateway).await.try_join("updates:feed", json!({ "cursor": cursor })).await;
        (reply["response"]["reason"] != "not_ready").then_some(reply)
    })
    .await;
    assert_eq!(reply["response"], json!({"reason": "resync_required"}));
    let mut client = Client::joined(gateway, "updates:feed").await;
    database.execute("insert into articles values (3, 'goes on')").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"]["id"], 3);
}

#[tokio::test]
async fn a_lost_slot_is_made_anew_and_everyone_is_told() {
    let (database, mut gateway) = start().await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles values (1, 'seen')").await;
    let cursor = client.next_updates().await["cursor"].clone();
    signal(gateway.process_id(), "STOP").await;
    lose(&database).await;
    database.execute("insert into articles values (2, 'never sent')").await;
    signal(gateway.process_id(), "CONT").await;
    let told = client.next().await;
    assert_eq!((&told[3], &told[4]), (&json!("phx_error"), &json!({"reason": "resync_required"})), "{told}");
    goes_on(&database, &gateway, &cursor).await;
    until_metric(&gateway, "walcast_slot_status{status=\"lost\"}", 0.0).await;
    assert_eq!(metric(&gateway, "walcast_replication_losses_total").await, Some(1.0));
    assert!(gateway.log().contains("the slot was made anew"), "{}", gateway.log());
}

#[tokio::test]
async fn a_slot_that_was_lost_while_no_gateway_ran_is_made_anew_at_its_start() {
    let (database, mut gateway) = start().await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles values (1, 'seen')").await;
    let cursor = client.next_updates().await["cursor"].clone();
    gateway.kill().await;
    lose(&database).await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    assert!(gateway.log().contains("warning[slot-lost]"), "{}", gateway.log());
    goes_on(&database, &gateway, &cursor).await;
}

#[tokio::test]
async fn a_slot_that_was_dropped_is_made_anew_by_who_has_streamed_from_it_only() {
    let (database, mut gateway) = start().await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles values (1, 'seen')").await;
    let cursor = client.next_updates().await["cursor"].clone();
    signal(gateway.process_id(), "STOP").await;
    database.execute("select pg_terminate_backend(active_pid, 5000) from pg_replication_slots").await;
    database.execute("select pg_drop_replication_slot('walcast')").await;
    signal(gateway.process_id(), "CONT").await;
    let told = client.next().await;
    assert_eq!(told[4], json!({"reason": "resync_required"}), "{told}");
    goes_on(&database, &gateway, &cursor).await;
    assert!(gateway.terminate().await.success());
    database.execute("select pg_drop_replication_slot('walcast')").await;
    gateway.spawn();
    assert_eq!(gateway.wait().await.code(), Some(1));
    assert!(gateway.log().contains("error[slot-missing]"), "{}", gateway.log());
}
