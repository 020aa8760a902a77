//! Commits that wait for a synchronous standby for longer than the gateway remembers them, or than it lives.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_postgres::Error;

use super::super::support::database::Database;
use super::super::support::eventually;
use super::super::support::gateway::Gateway;
use super::super::support::phoenix::Client;
use super::{Replica, TABLE, join, set_standby, table};

const ROUTE: &str = "[[route]]\ntable = \"public.items\"\ntopic = \"items\"\n";

/// A gateway that has sent a commit which nobody sees yet: that of row 2.
async fn hanging(replay: &str) -> (Database, Gateway, JoinHandle<Result<(), Error>>) {
    let database = Database::start().await;
    database.execute(&format!("set synchronous_commit = local; {TABLE}")).await;
    database.execute("insert into items values (1, 1, 0, 'seen')").await;
    let gateway = Gateway::start(&database.url(), &format!("[replay]\n{replay}\n{ROUTE}")).await;
    let mut live = Client::joined(&gateway, "items").await;
    set_standby(&database, "nobody").await;
    let waiting = database.connect().await;
    let hanging =
        tokio::spawn(async move { waiting.batch_execute("insert into items values (2, 1, 0, 'late')").await });
    assert_eq!(live.next_updates().await["updates"][0]["record"]["id"], 2);
    // A later one is seen at once.
    database.execute("insert into items values (3, 1, 0, 'after')").await;
    assert_eq!(live.next_updates().await["updates"][0]["record"]["id"], 3);
    assert_eq!(database.value::<i64>("select count(*) from items where id = 2").await, 0, "the commit did not wait");
    (database, gateway, hanging)
}

async fn follow_to_the_end(
    database: &Database,
    client: &mut Client,
    replica: &mut Replica,
    hanging: JoinHandle<Result<(), Error>>,
) {
    set_standby(database, "").await;
    hanging.await.unwrap().unwrap();
    database.execute("insert into items values (4, 1, 0, 'end')").await;
    replica.follow_until(client, 4).await;
    assert_eq!(replica.rows, table(database, "true").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_longer_than_the_window_is_not_lost() {
    let (database, mut gateway, hanging) = hanging("window = \"1s\"").await;
    // It is the window that has to pass, and a look at what is seen, of which there is one in two seconds.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut client = join(&gateway, "items", json!({"snapshot": true})).await;
    let replica = Replica::load(&mut client).await;
    assert_eq!(replica.rows.keys().copied().collect::<Vec<_>>(), [1, 3]);
    gateway.kill().await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    let mut after = join(&gateway, "items", json!({"snapshot": true})).await;
    let mut begun = Replica::load(&mut after).await;
    assert_eq!(begun.rows.keys().copied().collect::<Vec<_>>(), [1, 3]);
    begun.follow_until(&mut after, 2).await;
    follow_to_the_end(&database, &mut after, &mut begun, hanging).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_the_slot_could_not_wait_for_is_told_of_after_a_restart() {
    let (database, mut gateway, hanging) = hanging("wal = \"0\"").await;
    let acknowledged = "select confirmed_flush_lsn::text from pg_replication_slots";
    let before: String = database.value(acknowledged).await;
    let noise = "select pg_logical_emit_message(false, 'noise', repeat('x', 1 << 20)) from generate_series(1, 20)";
    database.execute(noise).await;
    let passed = format!("select confirmed_flush_lsn > '{before}'::pg_lsn + (10 << 20) from pg_replication_slots");
    eventually("the slot goes on", || async { database.value::<bool>(&passed).await.then_some(()) }).await;
    gateway.kill().await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    let mut client = join(&gateway, "items", json!({"snapshot": true})).await;
    let told = client.next().await;
    assert_eq!((&told[3], &told[4]["reason"]), (&json!("phx_error"), &json!("resync_required")), "{told}");
    set_standby(&database, "").await;
    hanging.await.unwrap().unwrap();
    let mut client = join(&gateway, "items", json!({"snapshot": true})).await;
    let mut replica = Replica::load(&mut client).await;
    assert_eq!(replica.rows.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    database.execute("insert into items values (4, 1, 0, 'end')").await;
    replica.follow_until(&mut client, 4).await;
    assert_eq!(replica.rows, table(&database, "true").await);
}
