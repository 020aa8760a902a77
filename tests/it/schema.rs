//! Schema and publication change while clients watch: whatever no change tells them, a reset does.

mod in_flight;
mod remembered;
mod unwatched;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

const NOTES: &str = "[[route]]\ntable = \"public.notes\"\ntopic = \"notes\"\n";
const OTHERS: &str = "[[route]]\ntable = \"public.others\"\ntopic = \"others\"\n";
const ALL: &str = "[[route]]\ntable = \"public.*\"\ntopic = \"all\"\n";

/// A database with two tables, and a gateway with these routes.
async fn start(routes: &str) -> (Database, Gateway) {
    let database = Database::start().await;
    database
        .execute("create table notes (id int primary key, body text); create table others (id int primary key)")
        .await;
    let gateway = Gateway::start(&database.url(), routes).await;
    (database, gateway)
}

async fn expect_reset(client: &mut Client) {
    let message = client.next().await;
    assert_eq!((&message[3], &message[4]), (&json!("phx_error"), &json!({"reason": "resync_required"})), "{message}");
}

/// The one update of the next message.
async fn next_update(client: &mut Client) -> Value {
    let mut payload = client.next_updates().await;
    let updates = payload["updates"].as_array_mut().expect("updates");
    assert_eq!(updates.len(), 1, "{updates:?}");
    updates.remove(0)
}

async fn next_cursor(client: &mut Client) -> String {
    client.next_updates().await["cursor"].as_str().expect("a cursor").to_owned()
}

/// What a join with these params is answered, on a connection of its own.
async fn join(gateway: &Gateway, topic: &str, params: Value) -> (Client, Value) {
    let mut client = Client::connect(gateway).await;
    let reply = client.try_join(topic, params).await;
    (client, reply)
}

async fn refused(gateway: &Gateway, topic: &str, params: Value, reason: &str) {
    let (_client, reply) = join(gateway, topic, params).await;
    assert_eq!(reply, json!({"status": "error", "response": {"reason": reason}}));
}

/// Joins as soon as that is possible again.
async fn join_eventually(gateway: &Gateway, topic: &str) -> Client {
    eventually("a join", async || {
        let (client, reply) = join(gateway, topic, json!({})).await;
        (reply["status"] == "ok").then_some(client)
    })
    .await
}

/// A statement that no client may be reset for: `others` is changed last, and comes.
async fn logged(gateway: &Gateway, text: &str) {
    eventually(text, async || gateway.log().contains(text).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_leaves_the_publication_is_told_and_can_come_back() {
    let (database, gateway) = start(&format!("{NOTES}{OTHERS}")).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    let mut others = Client::joined(&gateway, "others").await;
    database.execute("insert into notes values (1, 'a')").await;
    let cursor = next_cursor(&mut notes).await;
    database.execute("alter publication walcast drop table notes").await;
    expect_reset(&mut notes).await;
    refused(&gateway, "notes", json!({}), "not_ready").await;
    logged(&gateway, "the publication does not give this route's table").await;
    database.execute("insert into notes values (2, 'nobody is told'); insert into others values (1)").await;
    assert_eq!(next_update(&mut others).await["record"], json!({"id": 1}));
    database.execute("alter publication walcast add table notes").await;
    let mut notes = join_eventually(&gateway, "notes").await;
    refused(&gateway, "notes", json!({"cursor": cursor}), "resync_required").await;
    database.execute("insert into notes values (3, 'c')").await;
    assert_eq!(next_update(&mut notes).await["record"], json!({"id": 3, "body": "c"}));
    // Who was never reset has heard of it all.
    database.execute("insert into others values (2)").await;
    assert_eq!(next_update(&mut others).await["record"], json!({"id": 2}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_out_of_the_publication_for_a_moment_is_told() {
    let (database, gateway) = start(&format!("{NOTES}{ALL}")).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    let mut all = Client::joined(&gateway, "all").await;
    database
        .execute(
            "begin; alter publication walcast drop table notes; commit; insert into notes values (1, 'lost');
             begin; alter publication walcast add table notes; commit",
        )
        .await;
    expect_reset(&mut notes).await;
    expect_reset(&mut all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_dropped_and_created_anew_is_told() {
    let (database, gateway) = start(NOTES).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    database.execute("insert into notes values (1, 'a')").await;
    let cursor = next_cursor(&mut notes).await;
    database
        .execute(
            "drop table notes; create table notes (id int primary key, title text);
             alter publication walcast add table notes",
        )
        .await;
    expect_reset(&mut notes).await;
    let mut notes = join_eventually(&gateway, "notes").await;
    refused(&gateway, "notes", json!({"cursor": cursor}), "resync_required").await;
    database.execute("insert into notes values (1, 't')").await;
    assert_eq!(next_update(&mut notes).await["record"], json!({"id": 1, "title": "t"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_renamed_without_a_change_is_told() {
    let (database, gateway) = start(&format!("{NOTES}{ALL}")).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    let mut all = Client::joined(&gateway, "all").await;
    // The connection is gone when it happens.
    database
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_replication; alter table notes rename to papers;
             select pg_terminate_backend(pid) from pg_stat_replication",
        )
        .await;
    expect_reset(&mut notes).await;
    expect_reset(&mut all).await;
    refused(&gateway, "notes", json!({}), "not_ready").await;
    database.execute("alter table papers rename to notes").await;
    join_eventually(&gateway, "notes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_altered_while_no_gateway_ran_is_told() {
    let (database, mut gateway) = start(&format!("{NOTES}{OTHERS}")).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    let mut others = Client::joined(&gateway, "others").await;
    database.execute("insert into notes values (1, 'a')").await;
    let note = next_cursor(&mut notes).await;
    database.execute("insert into others values (1)").await;
    let other = next_cursor(&mut others).await;
    gateway.kill().await;
    database
        .execute(
            "begin; alter publication walcast drop table notes; commit; insert into notes values (2, 'lost');
             begin; alter publication walcast add table notes; commit; insert into others values (2)",
        )
        .await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    logged(&gateway, "while no gateway watched").await;
    let resumed = join(&gateway, "notes", json!({"cursor": note})).await;
    match resumed {
        (_, reply) if reply["status"] == "error" => assert_eq!(reply["response"]["reason"], "resync_required"),
        // It was quicker than the feed.
        (mut client, _) => expect_reset(&mut client).await,
    }
    let (mut others, reply) = join(&gateway, "others", json!({"cursor": other})).await;
    assert_eq!(reply["response"]["resumed"], true, "{reply}");
    assert_eq!(next_update(&mut others).await["record"], json!({"id": 2}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_come_and_go_and_their_values_are_what_they_are_said_to_be() {
    let (database, gateway) = start(NOTES).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    database.execute("insert into notes values (1, 'a')").await;
    assert_eq!(next_update(&mut notes).await["record"], json!({"id": 1, "body": "a"}));
    // Rows have it, or don't, from their next change on.
    alter_and_notice(&database, "alter table notes add column rank int", "noticed like '%\"rank\"%'").await;
    database.execute("update notes set rank = 7").await;
    assert_eq!(next_update(&mut notes).await["record"], json!({"id": 1, "body": "a", "rank": 7}));
    alter_and_notice(&database, "alter table notes drop column body", "noticed not like '%\"body\"%'").await;
    database.execute("update notes set rank = 8").await;
    assert_eq!(next_update(&mut notes).await["record"], json!({"id": 1, "rank": 8}));
    for alteration in [
        "alter table notes add column stars int default 5",
        "alter table notes rename column rank to place",
        "alter table notes alter column place type text",
        "alter table notes add column price numeric(8, 2)",
        "alter table notes alter column price type numeric(8, 4)",
    ] {
        if alteration.ends_with("(8, 2)") {
            alter_and_notice(&database, alteration, "noticed like '%\"price\"%'").await;
            continue;
        }
        database.execute(alteration).await;
        expect_reset(&mut notes).await;
        notes = join_eventually(&gateway, "notes").await;
    }
    database.execute("update notes set price = 1").await;
    let record = json!({"id": 1, "stars": 5, "place": "8", "price": 1.0000});
    assert_eq!(next_update(&mut notes).await["record"], record);
}

/// Alters what resets nobody, and waits until the gateway has noticed it and noted what is a condition of `noticed`.
async fn alter_and_notice(database: &Database, alteration: &str, noticed: &str) {
    database.execute(alteration).await;
    let sql =
        format!("select exists(select from (select noticed::text as noticed from walcast.slots) s where {noticed})");
    eventually(alteration, async || database.value::<bool>(&sql).await.then_some(())).await;
}

const LOG: &str = "create table log (day date not null, id int, primary key (day, id)) partition by range (day);
    create table log_1 partition of log for values from ('2026-01-01') to ('2026-02-01');
    create table log_2 partition of log for values from ('2026-02-01') to ('2026-03-01');";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_come_and_go() {
    let database = Database::start().await;
    database.execute(LOG).await;
    let route = "[[route]]\ntable = \"public.log\"\ntopic = \"log\"\n";
    let gateway = Gateway::start(&database.url(), route).await;
    let mut log = Client::joined(&gateway, "log").await;

    // Empty: nothing that anybody would have to know.
    let empty = "create table log_3 partition of log for values from ('2026-03-01') to ('2026-04-01')";
    let is_noted = |table: &str| format!("noticed like '%\"file\":' || pg_relation_filenode('{table}') || ',%'");
    alter_and_notice(&database, empty, &is_noted("log_3")).await;
    database.execute("insert into log values ('2026-03-01', 1)").await;
    assert_eq!(next_update(&mut log).await["record"], json!({"day": "2026-03-01", "id": 1}));

    // All at once: the truncate comes, and says everything.
    alter_and_notice(&database, "truncate log", &is_noted("log_1")).await;
    assert_eq!(next_update(&mut log).await, json!({"op": "truncate", "schema": "public", "table": "log"}));
    database.execute("insert into log values ('2026-03-01', 2)").await;
    assert_eq!(next_update(&mut log).await["record"], json!({"day": "2026-03-01", "id": 2}));

    for silent in [
        "truncate log_3",
        "create table log_4 (day date not null, id int not null); insert into log_4 values ('2026-04-01', 1);
         alter table log attach partition log_4 for values from ('2026-04-01') to ('2026-05-01')",
        "alter table log detach partition log_4",
        "drop table log_3",
    ] {
        database.execute(silent).await;
        expect_reset(&mut log).await;
        log = join_eventually(&gateway, "log").await;
    }
    database.execute("insert into log values ('2026-01-01', 9)").await;
    assert_eq!(next_update(&mut log).await["record"], json!({"day": "2026-01-01", "id": 9}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_identity_is_followed_and_one_too_weak_is_said() {
    let routes = format!("{NOTES}[[route]]\ntable = \"public.notes\"\ntopic = \"notes:{{body}}\"\n");
    let database = Database::start().await;
    database
        .execute("create table notes (id int primary key, body text); alter table notes replica identity full")
        .await;
    let gateway = Gateway::start(&database.url(), &routes).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    let mut ones = Client::joined(&gateway, "notes:a").await;
    database.execute("insert into notes values (1, 'a')").await;
    next_update(&mut notes).await;
    next_update(&mut ones).await;
    database.execute("alter table notes replica identity default").await;
    logged(&gateway, "lacks topic column `body`").await;
    database.execute("delete from notes").await;
    let update = next_update(&mut notes).await;
    assert_eq!((&update["op"], &update["old_record"]), (&json!("delete"), &json!({"id": 1})));
    expect_reset(&mut ones).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_was_replaced_is_told() {
    let (database, gateway) = start(NOTES).await;
    let mut notes = Client::joined(&gateway, "notes").await;
    database.execute("drop publication walcast; create publication walcast for table notes").await;
    expect_reset(&mut notes).await;
    let mut notes = join_eventually(&gateway, "notes").await;
    database.execute("alter publication walcast set (publish = 'insert, delete')").await;
    expect_reset(&mut notes).await;
    let mut notes = join_eventually(&gateway, "notes").await;
    database.execute("alter publication walcast set table notes where (id > 5)").await;
    expect_reset(&mut notes).await;
}
