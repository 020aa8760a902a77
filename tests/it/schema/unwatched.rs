//! What happened while no gateway ran: what left a hole is told, and what did not resets nobody.

use serde_json::{Value, json};

use super::{expect_reset, join, next_cursor};
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

/// A gateway with a topic for each of these tables, and a cursor of each after its first row. Those whose names end
/// in `_parts` are partitioned.
pub(super) async fn start(tables: &[&str]) -> (Database, Gateway, Vec<String>) {
    let database = Database::start().await;
    let mut routes = String::new();
    for table in tables {
        let columns = "(id int primary key, body text default 'b')";
        let create = match table.ends_with("_parts") {
            true => format!(
                "create table {table} {columns} partition by range (id);
                 create table {table}_1 partition of {table} for values from (0) to (100)"
            ),
            false => format!("create table {table} {columns}"),
        };
        database.execute(&create).await;
        routes += &format!("[[route]]\ntable = \"public.{table}\"\ntopic = \"{table}\"\n");
    }
    let gateway = Gateway::start(&database.url(), &routes).await;
    let mut cursors = Vec::new();
    for table in tables {
        let mut client = Client::joined(&gateway, table).await;
        database.execute(&format!("insert into {table} values (1)")).await;
        cursors.push(next_cursor(&mut client).await);
    }
    (database, gateway, cursors)
}

pub(super) async fn execute_unwatched(database: &Database, gateway: &mut Gateway, statements: &[&str]) {
    gateway.kill().await;
    for statement in statements {
        database.execute(statement).await;
    }
    gateway.spawn();
    gateway.wait_until_ready().await;
}

/// Resumes, and reads on to the row with id 2, which is inserted now: a reset would have come before that.
pub(super) async fn resumes(database: &Database, gateway: &Gateway, table: &str, cursor: &str) -> Vec<Value> {
    let (mut client, reply) = join(gateway, table, json!({"cursor": cursor})).await;
    assert_eq!(reply["response"]["resumed"], true, "{table}: {reply}\n{}", gateway.log());
    database.execute(&format!("insert into {table} values (2)")).await;
    let mut updates = Vec::new();
    while updates.last().is_none_or(|update: &Value| update["record"]["id"] != 2) {
        updates.extend(client.next_updates().await["updates"].as_array().expect("updates").iter().cloned());
    }
    updates
}

/// As where a role may not note, or a slot is older than the notes.
const FORGET: &str = "update walcast.slots set noticed = null";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_no_description_resets_nobody() {
    upkeep(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_no_description_resets_nobody_where_nothing_was_noted() {
    upkeep(&[FORGET]).await;
}

async fn upkeep(also: &[&str]) {
    let tables = ["plain", "empty_parts", "idle"];
    let (database, mut gateway, cursors) = start(&tables).await;
    let upkeep = [
        "create function nothing() returns trigger language plpgsql as 'begin return new; end'",
        "create trigger nothing before insert on plain for each row execute function nothing()",
        "create index on plain (body)",
        "vacuum full plain",
        "cluster plain using plain_pkey",
        "truncate plain",
        "truncate empty_parts",
        "reindex table plain",
        "grant select on plain to public",
        "alter table plain set (fillfactor = 90)",
        "alter table plain drop column body",
        "analyze",
        "create table empty_parts_2 partition of empty_parts for values from (100) to (200)",
        "create table unpublished (id int)",
    ];
    execute_unwatched(&database, &mut gateway, &[also, &upkeep[..]].concat()).await;
    for (table, cursor) in tables.iter().zip(&cursors) {
        let updates = resumes(&database, &gateway, table, cursor).await;
        let truncates = updates.iter().filter(|update| update["op"] == "truncate").count();
        assert_eq!(truncates, usize::from(*table != "idle"), "{table}: {updates:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_a_hole_is_told() {
    alterations(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_a_hole_is_told_where_nothing_was_noted() {
    alterations(&[FORGET]).await;
}

async fn alterations(also: &[&str]) {
    const ALTERED: [(&str, &str); 7] = [
        (
            "anew",
            "drop table anew; create table anew (id int primary key, body text);
             alter publication walcast add table anew",
        ),
        (
            "outside",
            "begin; alter publication walcast drop table outside; commit; alter publication walcast add table outside",
        ),
        ("renamed", "alter table renamed rename to away; alter table away rename to renamed"),
        (
            "moved",
            "create schema elsewhere; alter table moved set schema elsewhere; alter table elsewhere.moved set schema public",
        ),
        ("changed", "alter table changed alter column body type varchar(9)"),
        (
            "grown_parts",
            "create table grown (id int not null, body text); insert into grown values (101);
             alter table grown_parts attach partition grown for values from (100) to (200)",
        ),
        ("shrunk_parts", "truncate shrunk_parts_1"),
    ];
    let mut tables: Vec<&str> = ALTERED.iter().map(|(table, _)| *table).collect();
    tables.push("untouched");
    let (database, mut gateway, cursors) = start(&tables).await;
    let statements = [also, &ALTERED.map(|(_, sql)| sql)[..]].concat();
    execute_unwatched(&database, &mut gateway, &statements).await;
    for (table, cursor) in tables.iter().zip(&cursors) {
        match join(&gateway, table, json!({"cursor": cursor})).await {
            (_, reply) if reply["response"]["reason"] == "resync_required" => assert_ne!(*table, "untouched"),
            (_, reply) if *table == "untouched" => assert_eq!(reply["response"]["resumed"], true, "{reply}"),
            // It was quicker than the feed.
            (mut client, _) => expect_reset(&mut client).await,
        }
    }
    let cursor = cursors.last().expect("a cursor");
    assert_eq!(resumes(&database, &gateway, "untouched", cursor).await.len(), 1);
}
