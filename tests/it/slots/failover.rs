//! A failover to a standby that copies the slot: nobody loses anything, and nobody has to resync.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use walcast::demo::cluster::StopMode;

use super::{TABLES, is_wanted, start_on};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

const ROUTE: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"updates:feed\"\n";
/// Without the standby nothing is sent that a failover could abandon.
const PRIMARY: &[(&str, &str)] = &[("synchronized_standby_slots", "standby")];
const STANDBY: &[(&str, &str)] = &[("hot_standby_feedback", "on"), ("sync_replication_slots", "on")];

fn both(primary: &Database, standby: &Database) -> String {
    let (first, second) = (primary.cluster().port(), standby.cluster().port());
    format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/postgres?target_session_attrs=read-write")
}

/// Commits one row after another until the server is gone; gives the last number that it tried.
fn write(database: &Database, next: Arc<AtomicI32>) -> JoinHandle<()> {
    let url = database.url();
    tokio::spawn(async move {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        loop {
            let id = next.fetch_add(1, Ordering::Relaxed);
            if client.execute("insert into articles values ($1, 'x')", &[&id]).await.is_err() {
                return;
            }
        }
    })
}

fn ids(updates: &Value) -> Vec<i64> {
    updates["updates"].as_array().unwrap().iter().map(|it| it["record"]["id"].as_i64().unwrap()).collect()
}

/// A new slot is copied for good once the primary's has moved beyond what the standby has kept; standbys look for that
/// less and less often where nothing moves.
async fn synced(primary: &Database, standby: &Database) {
    let sql =
        "select exists(select from pg_replication_slots where slot_name = 'walcast' and synced and not temporary)";
    eventually("the standby has the slot", || async {
        primary.execute("insert into busy values (1)").await;
        primary.execute("select pg_log_standby_snapshot()").await;
        standby.value::<bool>(sql).await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_standby_that_copies_the_slot_loses_nothing() {
    if !is_wanted(17) {
        return;
    }
    let mut primary = start_on(17, PRIMARY).await;
    primary.execute(TABLES).await;
    let standby = primary.standby(STANDBY).await;
    let mut gateway = Gateway::configure(&both(&primary, &standby), ROUTE);
    gateway.configure_postgres("failover = true");
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success() && !format!("{setup:?}").contains("standby-settings"), "{setup:?}");
    gateway.spawn();
    gateway.wait_until_ready().await;
    synced(&primary, &standby).await;

    let mut staying = Client::joined(&gateway, "updates:feed").await;
    let mut leaving = Client::joined(&gateway, "updates:feed").await;
    let next = Arc::new(AtomicI32::new(1));
    let writer = write(&primary, Arc::clone(&next));
    let mut seen = Vec::new();
    while seen.len() < 50 {
        seen.extend(ids(&staying.next_updates().await));
    }
    let mut left = Vec::new();
    let cursor = loop {
        let updates = leaving.next_updates().await;
        left.extend(ids(&updates));
        if left.len() >= 20 {
            break updates["cursor"].clone();
        }
    };
    drop(leaving);
    primary.stop(StopMode::Immediate);
    writer.await.unwrap();
    standby.promote();
    let last = next.load(Ordering::Relaxed) + 1000;
    standby.execute(&format!("insert into articles values ({last}, 'after the failover')")).await;
    while seen.last() != Some(&i64::from(last)) {
        seen.extend(ids(&staying.next_updates().await));
    }
    let mut back = Client::connect(&gateway).await;
    let reply = back.try_join("updates:feed", json!({ "cursor": cursor })).await;
    assert_eq!(reply["response"]["resumed"], true, "{reply}\n{}", gateway.log());
    while left.last() != Some(&i64::from(last)) {
        left.extend(ids(&back.next_updates().await));
    }
    let table: Vec<i64> =
        serde_json::from_str(&standby.value::<String>("select json_agg(id order by id)::text from articles").await)
            .unwrap();
    assert_eq!(seen, table, "{}", gateway.log());
    assert_eq!(left, table);
    assert!(!gateway.log().contains("continuity is lost"), "{}", gateway.log());
}

#[tokio::test]
async fn a_slot_from_before_is_copied_from_the_next_start_on_and_what_is_missing_is_said() {
    if !is_wanted(18) {
        return;
    }
    let mut primary = start_on(18, &[]).await;
    primary.execute(TABLES).await;
    let standby = primary.standby(&[]).await;
    let mut gateway = Gateway::start(&both(&primary, &standby), ROUTE).await;
    let failover = "select failover from pg_replication_slots where slot_name = 'walcast'";
    assert!(!primary.value::<bool>(failover).await);
    gateway.configure_postgres("failover = true");
    // It is in use.
    let check = format!("{:?}", gateway.walcast("check --database").await);
    for said in [
        "restart walcast, which alters the slot",
        "`synchronized_standby_slots` is empty on the primary",
        "`sync_replication_slots` is off",
        "`hot_standby_feedback` is off",
    ] {
        assert!(check.contains(said), "{said}\n{check}");
    }
    assert!(gateway.terminate().await.success());
    gateway.spawn();
    gateway.wait_until_ready().await;
    assert!(primary.value::<bool>(failover).await);
    assert!(gateway.terminate().await.success());
    primary
        .execute("select pg_drop_replication_slot('walcast'); select pg_create_logical_replication_slot('walcast', 'pgoutput')")
        .await;
    assert!(gateway.walcast("setup").await.status.success());
    assert!(primary.value::<bool>(failover).await, "setup alters it, too");
}

#[tokio::test]
async fn a_server_that_has_no_such_slots_is_refused() {
    let Ok(version) = walcast::demo::cluster::Binaries::find().and_then(|it| it.major()) else { panic!("no Postgres") };
    let database = Database::start().await;
    database.execute(TABLES).await;
    let gateway = Gateway::configure(&database.url(), ROUTE);
    gateway.configure_postgres("failover = true");
    let setup = gateway.walcast("setup").await;
    assert_eq!(setup.status.success(), version >= 17, "{setup:?}");
    assert_eq!(setup.stderr.contains("has no slots that standbys copy"), version < 17, "{setup:?}");
}
