//! What was noticed outlives a restart: cursors from behind a hole go on, those from before it do not, and what went
//! while no gateway ran is missed.

use serde_json::{Value, json};

use super::unwatched::{execute_unwatched, resumes, start};
use super::{ALL, alter_and_notice, expect_reset, join, join_eventually, next_cursor, next_update, refused};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

/// What a gateway has told is noted for the next one, within moments.
async fn noted(database: &Database, condition: &str) {
    let sql = format!("select exists(select from walcast.slots where {condition})");
    eventually(condition, async || database.value::<bool>(&sql).await.then_some(())).await;
}

async fn restart(gateway: &mut Gateway) {
    gateway.kill().await;
    gateway.spawn();
    gateway.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_keeps_its_place_over_restarts() {
    let (database, mut gateway, cursors) = start(&["notes", "others"]).await;
    let (before, other) = (&cursors[0], &cursors[1]);
    let mut notes = Client::joined(&gateway, "notes").await;
    database.execute("alter table notes rename column body to text").await;
    expect_reset(&mut notes).await;
    // Nothing has been written since but the gateway's own note.
    let (mut notes, reply) = join(&gateway, "notes", json!({})).await;
    let behind = reply["response"]["cursor"].as_str().expect("a cursor").to_owned();
    noted(&database, "noticed::text like '%renamed to `text`%'").await;
    database.execute("insert into notes values (3)").await;
    let later = next_cursor(&mut notes).await;
    for _ in 0..2 {
        restart(&mut gateway).await;
        refused(&gateway, "notes", json!({"cursor": before}), "resync_required").await;
        for (cursor, missed) in [(&behind, 1), (&later, 0)] {
            database.execute("delete from notes where id = 2").await;
            let updates = resumes(&database, &gateway, "notes", cursor).await;
            let threes = updates.iter().filter(|update| update["record"]["id"] == 3).count();
            assert_eq!(threes, missed, "{updates:?}");
        }
        database.execute("delete from others where id = 2").await;
        resumes(&database, &gateway, "others", other).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_no_value_resets_nobody_over_a_restart() {
    let (database, mut gateway, cursors) = start(&["strict", "owned", "defaulted", "grown_parts"]).await;
    noted(&database, "noticed is not null").await;
    let harmless = [
        "alter table strict alter column body set not null; alter table strict alter column body set statistics 500",
        "create role somebody; alter table owned owner to somebody; alter publication walcast owner to somebody",
        "alter table defaulted alter column body set default 'other'; alter table defaulted alter column body set default 'b'",
        "create table grown_parts_2 partition of grown_parts for values from (100) to (200)",
        "alter table grown_parts alter column body set storage external",
    ];
    execute_unwatched(&database, &mut gateway, &harmless).await;
    for (table, cursor) in ["strict", "owned", "defaulted", "grown_parts"].iter().zip(&cursors) {
        resumes(&database, &gateway, table, cursor).await;
    }
}

/// Cursors of `topic` and of `quiet` do not lead on, or do, after these statements while no gateway runs.
async fn leaves(statement: &str, tables: &str) {
    let database = Database::start().await;
    database.execute(tables).await;
    let routes = format!("{ALL}[[route]]\ntable = \"quiet.*\"\ntopic = \"quiet\"\n");
    let mut gateway = Gateway::start(&database.url(), &routes).await;
    let mut client = Client::joined(&gateway, "all").await;
    let mut quiet = Client::joined(&gateway, "quiet").await;
    database.execute("insert into notes values (1)").await;
    let cursor = next_cursor(&mut client).await;
    database.execute("insert into quiet.t values (1)").await;
    let quiet_cursor = next_cursor(&mut quiet).await;
    noted(&database, "noticed is not null").await;
    execute_unwatched(&database, &mut gateway, &[statement]).await;
    match join(&gateway, "all", json!({"cursor": cursor})).await {
        (_, reply) if reply["status"] == "error" => {
            assert_eq!(reply["response"]["reason"], "resync_required", "{statement}");
        }
        // It was quicker than the feed.
        (mut client, _) => expect_reset(&mut client).await,
    }
    let (_client, reply) = join(&gateway, "quiet", json!({"cursor": quiet_cursor})).await;
    assert_eq!(reply["response"]["resumed"], true, "{statement}: {reply}");
}

const TABLES: &str = "create schema quiet; create table quiet.t (id int primary key);
    create table stays (id int primary key); create table notes (id int primary key, body text) ;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_dropped_while_no_gateway_ran_is_missed() {
    Box::pin(leaves("drop table notes", TABLES)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_left_the_publication_while_no_gateway_ran_is_missed() {
    Box::pin(leaves("alter publication walcast drop table notes", TABLES)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_moved_away_while_no_gateway_ran_is_missed() {
    Box::pin(leaves("create schema attic; alter table notes set schema attic", TABLES)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_detached_while_no_gateway_ran_is_missed() {
    let tables = TABLES.replace("body text) ;", "body text) partition by range (id);");
    let tables = format!("{tables} create table notes_1 partition of notes for values from (0) to (9);");
    Box::pin(leaves("alter table notes detach partition notes_1", &tables)).await;
    let again = "alter table notes detach partition notes_1; delete from notes_1;
                 alter table notes attach partition notes_1 for values from (0) to (9)";
    Box::pin(leaves(again, &tables)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_were_rewritten_under_the_same_type_are_told() {
    let (database, mut gateway, cursors) = start(&["notes", "others"]).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    database.execute("alter table notes alter column body type text using upper(body)").await;
    expect_reset(&mut notes).await;
    let strict = "alter table others alter column body set not null";
    let writer = "noticed like '%\"writer\":' || (select xmin from pg_attribute where attrelid = 'others'::regclass \
                  and attname = 'body') || ',%'";
    alter_and_notice(&database, strict, writer).await;
    let mut others = Client::joined(&gateway, "others").await;
    database.execute("insert into others values (3)").await;
    assert_eq!(next_update(&mut others).await["record"]["id"], json!(3));
    execute_unwatched(&database, &mut gateway, &["alter table others alter column body type text using upper(body)"])
        .await;
    match join(&gateway, "others", json!({"cursor": cursors[1]})).await {
        (_, reply) if reply["status"] == "error" => assert_eq!(reply["response"]["reason"], "resync_required"),
        (mut client, _) => expect_reset(&mut client).await,
    }
}

/// A role that may not keep notes does without: restarts are in doubt about what the catalogue shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_note_is_told_so_and_is_on_the_safe_side() {
    let database = Database::start().await;
    database
        .execute(
            "create table notes (id int primary key, body text);
             create role reader login replication password 'r'; grant select on notes to reader",
        )
        .await;
    let route = "[[route]]\ntable = \"public.notes\"\ntopic = \"notes\"\n";
    let mut gateway = Gateway::configure(&database.url(), route);
    assert!(gateway.walcast("setup").await.status.success());
    gateway.edit_config(|text| text.replacen("postgres://postgres@", "postgres://reader:r@", 1));
    gateway.spawn();
    gateway.wait_until_ready().await;
    assert!(gateway.log().contains("walcast.slots can't be written"), "{}", gateway.log());
    let mut notes = Client::joined(&gateway, "notes").await;
    database.execute("insert into notes values (1, 'a')").await;
    let cursor = next_cursor(&mut notes).await;
    execute_unwatched(&database, &mut gateway, &["alter table notes alter column body set not null"]).await;
    match join(&gateway, "notes", json!({"cursor": cursor})).await {
        (_, reply) if reply["status"] == "error" => assert_eq!(reply["response"]["reason"], "resync_required"),
        (mut client, _) => expect_reset(&mut client).await,
    }
    let mut notes = join_eventually(&gateway, "notes").await;
    database.execute("insert into notes values (2, 'b')").await;
    let update: Value = next_update(&mut notes).await;
    assert_eq!(update["record"]["id"], 2);
}
