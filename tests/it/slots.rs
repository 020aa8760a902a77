//! The slot in each state that it can be in, and what operators and clients are told.
//!
//! Tests of what only some versions of Postgres have run on those versions, wherever the others run; which these may be
//! is `WALCAST_POSTGRES_VERSIONS`' to say.

mod blocked;
mod failover;
mod recreated;
mod standby;

use std::time::Duration;

use serde_json::{Value, json};
use walcast::demo::cluster::Binaries;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::{Gateway, signal};
use crate::support::phoenix::Client;

const TABLES: &str = "create table articles (id int primary key, title text); create table busy (n int)";
/// Little is kept, so that little has to be written for Postgres to suffer.
const CONFIG: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"updates:feed\"\n\n[replay]\nwal = \"4MiB\"\n";

/// False, and said, where tests are not to run on a version.
#[expect(clippy::print_stderr, reason = "what was not tested must be seen")]
fn is_wanted(version: u32) -> bool {
    let wanted = std::env::var("WALCAST_POSTGRES_VERSIONS").unwrap_or_else(|_| "15 16 17 18".to_owned());
    let is_wanted = wanted.split_whitespace().any(|it| it == version.to_string());
    if !is_wanted {
        eprintln!("skipped: Postgres {version} is not among WALCAST_POSTGRES_VERSIONS");
    }
    is_wanted
}

async fn start_on(version: u32, settings: &'static [(&'static str, &'static str)]) -> Database {
    Database::start_on(move || Binaries::of_version(version), settings).await
}

/// As many WAL segments of 16 MB, next to empty.
async fn write_segments(database: &Database, segments: u32) {
    for n in 0..segments {
        database.execute(&format!("insert into busy values ({n}); select pg_switch_wal()")).await;
    }
}

/// The names of the warnings that `/readyz` gives.
async fn warnings(gateway: &Gateway) -> Vec<String> {
    let (_, body) = gateway.get_admin("/readyz").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let warnings = body["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().map(|it| it["reason"].as_str().unwrap().to_owned()).collect()
}

async fn metric(gateway: &Gateway, series: &str) -> Option<f64> {
    let (_, metrics) = gateway.get_admin("/metrics").await;
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

async fn until_metric(gateway: &Gateway, series: &str, value: f64) {
    eventually(series, || async { (metric(gateway, series).await == Some(value)).then_some(()) }).await;
}

/// A transaction that stays open makes the slot hold WAL, however quick the gateway is.
#[tokio::test]
async fn what_the_slot_holds_is_warned_of_before_postgres_gives_it_up() {
    let database = Database::start_with(&[("max_slot_wal_keep_size", "256MB"), ("max_wal_size", "1GB")]).await;
    database.execute(TABLES).await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    assert_eq!(warnings(&gateway).await, [""; 0]);
    let open = database.connect().await;
    open.batch_execute("begin; insert into busy values (0)").await.unwrap();
    write_segments(&database, 6).await;
    database.execute("checkpoint").await;
    eventually("over budget", || async { (warnings(&gateway).await == ["slot_over_budget"]).then_some(()) }).await;
    write_segments(&database, 8).await;
    let near = || async { warnings(&gateway).await.contains(&"slot_near_limit".to_owned()).then_some(()) };
    eventually("near the limit", near).await;
    assert_eq!(gateway.readyz().await, Some(200), "a warning is no reason to send clients elsewhere");
    until_metric(&gateway, "walcast_slot_concerns{concern=\"slot_near_limit\"}", 1.0).await;
    let check = gateway.walcast("check --database").await;
    assert!(check.stdout.contains("[slot-held]") || check.stderr.contains("[slot-held]"), "{check:?}");
    open.batch_execute("commit").await.unwrap();
    eventually("no more warnings", || async {
        // The slot moves on as more is written.
        database.execute("insert into busy values (1)").await;
        database.execute("checkpoint").await;
        warnings(&gateway).await.is_empty().then_some(())
    })
    .await;
    for said in ["may be lost when", "more than replay.wal", "this concern about the slot is over"] {
        assert!(gateway.log().contains(said), "{said}\n{}", gateway.log());
    }
}

#[tokio::test]
async fn a_slot_that_postgres_gave_up_is_told_everywhere_and_its_successor_serves_on() {
    let database =
        Database::start_with(&[("max_slot_wal_keep_size", "16MB"), ("max_wal_size", "32MB"), ("min_wal_size", "32MB")])
            .await;
    database.execute(TABLES).await;
    let mut gateway = Gateway::start(&database.url(), CONFIG).await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles values (1, 'seen')").await;
    let cursor = client.next_updates().await["cursor"].clone();
    // A gateway that hangs acknowledges nothing.
    signal(gateway.process_id(), "STOP").await;
    let lost = "select wal_status = 'lost' from pg_replication_slots";
    eventually("the slot is lost", || async {
        write_segments(&database, 2).await;
        database.execute("checkpoint").await;
        database.value::<bool>(lost).await.then_some(())
    })
    .await;
    database.execute("insert into articles values (2, 'never sent')").await;
    signal(gateway.process_id(), "CONT").await;

    let told = client.next().await;
    assert_eq!((&told[3], &told[4]), (&json!("phx_error"), &json!({"reason": "resync_required"})), "{told}");
    until_metric(&gateway, "walcast_replication_losses_total", 1.0).await;
    until_metric(&gateway, "walcast_slot_invalidation{reason=\"wal_removed\"}", 1.0).await;
    until_metric(&gateway, "walcast_slot_status{status=\"lost\"}", 1.0).await;
    assert_eq!(warnings(&gateway).await, ["slot_lost"]);
    let (_, body) = gateway.get_admin("/readyz").await;
    assert!(body.contains("Postgres has removed WAL that it needs"), "{body}");
    let log = gateway.log();
    assert!(log.contains("continuity is lost: every client has to resync"), "{log}");
    assert!(log.contains("drop the slot and run `walcast setup`"), "{log}");
    let check = gateway.walcast("check --database").await;
    assert!(format!("{check:?}").contains("error[slot-lost]"), "{check:?}");

    database.execute("select pg_drop_replication_slot('walcast')").await;
    assert!(gateway.walcast("setup").await.status.success());
    until_metric(&gateway, "walcast_slot_status{status=\"lost\"}", 0.0).await;
    let reply = eventually("a join", || async {
        let reply = Client::connect(&gateway).await.try_join("updates:feed", json!({ "cursor": cursor })).await;
        (reply["response"]["reason"] != "not_ready").then_some(reply)
    })
    .await;
    assert_eq!(reply["response"], json!({"reason": "resync_required"}));
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.try_join("updates:feed", json!({"snapshot": true})).await["status"], "ok");
    let snapshot = client.next_updates().await;
    assert_eq!(snapshot["updates"].as_array().map(Vec::len), Some(2), "{snapshot}");
    database.execute("insert into articles values (3, 'goes on')").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"]["id"], 3);
}

/// Postgres 18 gives up slots that nobody has streamed from for a while.
#[tokio::test]
async fn a_slot_that_was_idle_for_too_long_is_refused_and_said_why() {
    if !is_wanted(18) {
        return;
    }
    let database = start_on(18, &[("idle_replication_slot_timeout", "1s")]).await;
    database.execute(TABLES).await;
    let mut gateway = Gateway::start(&database.url(), CONFIG).await;
    assert!(gateway.log().contains("warning[slot-idle-timeout]"), "{}", gateway.log());
    assert!(gateway.terminate().await.success());
    eventually("the slot is given up", || async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        database.execute("checkpoint").await;
        let sql = "select invalidation_reason is not distinct from 'idle_timeout' from pg_replication_slots";
        database.value::<bool>(sql).await.then_some(())
    })
    .await;
    gateway.spawn();
    assert_eq!(gateway.wait().await.code(), Some(1));
    let log = gateway.log();
    assert!(log.contains("error[slot-lost]") && log.contains("longer than idle_replication_slot_timeout"), "{log}");
}

#[tokio::test]
async fn a_slot_that_decodes_what_is_only_prepared_is_refused() {
    let database = Database::start_with(&[("max_prepared_transactions", "2")]).await;
    database.execute(TABLES).await;
    database.execute("create publication walcast for table articles").await;
    database.execute("select pg_create_logical_replication_slot('walcast', 'pgoutput', false, true)").await;
    let mut gateway = Gateway::configure(&database.url(), CONFIG);
    gateway.spawn();
    assert_eq!(gateway.wait().await.code(), Some(1));
    assert!(gateway.log().contains("error[slot-two-phase]"), "{}", gateway.log());
}
