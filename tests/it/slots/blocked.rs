//! A slot whose creation waits for a transaction: `run` says for which, and goes on when it has ended.

use super::{CONFIG, TABLES};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::Gateway;

#[tokio::test]
async fn a_gateway_that_starts_beside_a_slot_s_creation_says_who_is_in_the_way() {
    let database = Database::start().await;
    database.execute(TABLES).await;
    database.execute("create publication walcast for table articles").await;
    let open = database.connect().await;
    open.batch_execute("set application_name = 'nightly import'; begin; insert into busy values (1)").await.unwrap();
    let pid: i32 = open.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let creator = database.connect().await;
    let creation = tokio::spawn(async move {
        creator.batch_execute("select pg_create_logical_replication_slot('walcast', 'pgoutput')").await
    });
    let sql = "select exists(select from pg_replication_slots where confirmed_flush_lsn is null)";
    eventually("the creation waits", || async { database.value::<bool>(sql).await.then_some(()) }).await;
    let mut gateway = Gateway::configure(&database.url(), CONFIG);
    gateway.spawn();
    eventually("the reason", || async {
        let (status, body) = gateway.get_admin("/readyz").await;
        let names = [format!("pid {pid} "), "nightly import".to_owned(), "idle in transaction".to_owned()];
        (status == 503 && names.iter().all(|name| body.contains(name))).then_some(())
    })
    .await;
    assert!(gateway.log().contains("is creating the slot"), "{}", gateway.log());
    assert!(!gateway.log().contains("insert into busy"), "{}", gateway.log());
    open.batch_execute("commit").await.unwrap();
    creation.await.unwrap().unwrap();
    gateway.wait_until_ready().await;
}
