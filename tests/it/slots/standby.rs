//! Decoding on a standby: what is live, what a snapshot sees there, a promotion, and a conflict with recovery.

use serde_json::json;

use super::{TABLES, is_wanted, metric, start_on, until_metric};
use crate::snapshot;
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;
use crate::support::{POLL, eventually};

const ROUTE: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"updates:feed\"\n";
const KEEPING: &[(&str, &str)] = &[("hot_standby_feedback", "on")];

/// `walcast setup` on a standby, which makes the slot there; meanwhile the primary writes the record that this waits
/// for.
async fn set_up(primary: &Database, standby: &Database, routes: &str) -> Gateway {
    let mut gateway = Gateway::configure(&standby.url(), routes);
    let done = {
        let mut setup = std::pin::pin!(gateway.walcast("setup"));
        loop {
            tokio::select! {
                done = &mut setup => break done,
                () = tokio::time::sleep(POLL) => primary.execute("select pg_log_standby_snapshot()").await,
            }
        }
    };
    assert!(done.status.success(), "{done:?}");
    gateway.spawn();
    gateway.wait_until_ready().await;
    gateway
}

/// A primary with these tables published, and a standby that has them.
async fn pair(version: u32, tables: &str, settings: &[(&str, &str)]) -> (Database, Database) {
    let mut primary = start_on(version, &[]).await;
    primary.execute(tables).await;
    let published = if tables == TABLES { "articles" } else { "items" };
    primary.execute(&format!("create publication walcast for table {published}")).await;
    let standby = primary.standby(settings).await;
    (primary, standby)
}

async fn goes_on_through_a_promotion(version: u32) {
    let (primary, standby) = pair(version, TABLES, KEEPING).await;
    let gateway = set_up(&primary, &standby, ROUTE).await;
    assert_eq!(metric(&gateway, "walcast_database_in_recovery").await, Some(1.0));
    let mut client = Client::joined(&gateway, "updates:feed").await;
    primary.execute("insert into articles values (1, 'by the standby')").await;
    let first = client.next_updates().await;
    assert_eq!(first["updates"][0]["record"], json!({"id": 1, "title": "by the standby"}));
    // A table that leaves the publication is noticed here, too.
    primary.execute("alter table articles rename column title to name").await;
    assert_eq!(client.next().await[4], json!({"reason": "resync_required"}));
    let (mut client, cursor) = eventually("a snapshot that is gone on from", || async {
        // A standby can't write the mark by which the feed gets past the hole: the primary's next WAL is that.
        primary.execute("select pg_log_standby_snapshot()").await;
        let mut client = Client::connect(&gateway).await;
        let reply = client.try_join("updates:feed", json!({"snapshot": true})).await;
        let snapshot = client.next().await;
        let records = &snapshot[4]["updates"];
        let complete = reply["status"] == "ok" && records[0]["record"] == json!({"id": 1, "name": "by the standby"});
        primary.execute("update articles set id = 1").await;
        (complete && client.next().await[3] == "new_updates").then(|| (client, snapshot[4]["cursor"].clone()))
    })
    .await;

    standby.promote();
    until_metric(&gateway, "walcast_database_in_recovery", 0.0).await;
    until_metric(&gateway, "walcast_replication_streams_total", 2.0).await;
    standby.execute("insert into articles values (2, 'by the new primary')").await;
    let update = client.next().await;
    assert_eq!(update[4]["updates"][0]["record"]["id"], 2, "{update}\n{}", gateway.log());
    let mut back = Client::connect(&gateway).await;
    let reply = back.try_join("updates:feed", json!({ "cursor": cursor })).await;
    assert_eq!(reply["response"]["resumed"], true, "{reply}");
    for id in [1, 2] {
        assert_eq!(back.next_updates().await["updates"][0]["record"]["id"], id);
    }
    assert_eq!(metric(&gateway, "walcast_replication_losses_total").await, Some(0.0), "{}", gateway.log());
}

#[tokio::test]
async fn a_standby_is_decoded_on_and_its_promotion_loses_nothing() {
    for version in [16, 18] {
        if is_wanted(version) {
            Box::pin(goes_on_through_a_promotion(version)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_on_a_standby_amid_eight_writers_has_no_seam() {
    if !is_wanted(17) {
        return;
    }
    let (primary, standby) = pair(17, snapshot::TABLE, KEEPING).await;
    primary.execute("insert into items select -n, n % 8, 0, 'note ' || n from generate_series(1, 3000) n").await;
    let gateway = set_up(&primary, &standby, snapshot::ROUTES).await;
    // Open meanwhile, and then not committed: the standby's view of transactions would not tell that it is.
    let open = primary.connect().await;
    open.batch_execute("begin; insert into items values (9000, 9000, 0, 'open')").await.unwrap();
    snapshot::clients_amid_writers(&primary, &gateway).await;
    drop(open);
}

/// Without feedback the primary removes rows of its catalogue that decoding on the standby needs.
#[tokio::test]
async fn a_conflict_with_recovery_loses_the_slot_and_everyone_is_told() {
    for version in [16, 18] {
        if is_wanted(version) {
            is_told_of_a_conflict(version).await;
        }
    }
}

async fn is_told_of_a_conflict(version: u32) {
    let (primary, standby) = pair(version, TABLES, &[]).await;
    let gateway = set_up(&primary, &standby, ROUTE).await;
    assert!(gateway.log().contains("warning[standby-settings]"), "{}", gateway.log());
    let mut client = Client::joined(&gateway, "updates:feed").await;
    let lost = "select exists(select from pg_replication_slots where conflicting)";
    eventually("the conflict", || async {
        primary.execute("create table made (n int)").await;
        primary.execute("drop table made").await;
        primary.execute("vacuum pg_class").await;
        standby.value::<bool>(lost).await.then_some(())
    })
    .await;
    let told = client.next().await;
    assert_eq!((&told[3], &told[4]), (&json!("phx_error"), &json!({"reason": "resync_required"})), "{told}");
    let reason = if version >= 17 { "rows_removed" } else { "conflict" };
    until_metric(&gateway, &format!("walcast_slot_invalidation{{reason=\"{reason}\"}}"), 1.0).await;
    assert!(gateway.log().contains("hot_standby_feedback and a physical slot"), "{}", gateway.log());
}

#[tokio::test]
async fn a_standby_of_a_version_that_can_not_be_decoded_on_is_refused() {
    if !is_wanted(15) {
        return;
    }
    let (_primary, standby) = pair(15, TABLES, KEEPING).await;
    let mut gateway = Gateway::configure(&standby.url(), ROUTE);
    let setup = gateway.walcast("setup").await;
    assert_eq!(setup.status.code(), Some(1));
    assert!(
        setup.stderr.contains("error[standby-version]") && setup.stderr.contains("nothing was changed"),
        "{setup:?}"
    );
    gateway.spawn();
    assert_eq!(gateway.wait().await.code(), Some(1));
    assert!(gateway.log().contains("logical slots on a standby came with Postgres 16"), "{}", gateway.log());
}
