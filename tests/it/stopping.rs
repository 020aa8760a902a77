//! Signals and the orderly end, step by step; and `walcast health` meanwhile.

use tokio::net::TcpStream;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::gateway::{Gateway, signal, walcast};
use crate::support::phoenix::Client;

const ROUTE: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"feed\"\n";

async fn start() -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key)").await;
    let gateway = Gateway::start(&database.url(), ROUTE).await;
    (database, gateway)
}

async fn slot_is_active(database: &Database) -> bool {
    database.value("select active from pg_replication_slots").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_in_order_and_can_be_watched() {
    let (database, mut gateway) = start().await;
    // It takes no notice of being closed, so that the end lasts.
    let stubborn = Client::joined(&gateway, "feed").await;
    database.execute("insert into articles values (1)").await;
    let written: String = database.value("select pg_current_wal_lsn()::text").await;
    let acknowledged = format!("select confirmed_flush_lsn >= '{written}' from pg_replication_slots");
    eventually("the position of the commit", async || {
        database.value::<bool>("select write_lsn = pg_current_wal_lsn() from pg_stat_replication").await.then_some(())
    })
    .await;
    signal(gateway.process_id(), "TERM").await;
    eventually("the slot is let go of", async || (!slot_is_active(&database).await).then_some(())).await;

    // The client is still there: not ready, nobody is let in any more, operators see it.
    let (status, body) = gateway.get_admin("/readyz").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains(r#""reasons":[{"message":"the gateway is stopping","reason":"stopping"}]"#), "{body}");
    assert!(TcpStream::connect(("127.0.0.1", gateway.port())).await.is_err(), "clients are still let in");
    let (status, metrics) = gateway.get_admin("/metrics").await;
    assert!(status == 200 && metrics.contains("walcast_connections{transport=\"websocket\"}"), "{metrics}");
    let health = gateway.walcast("health").await;
    assert_eq!((health.status.code(), &*health.stderr), (Some(1), "stopping: the gateway is stopping\n"));
    let upgrade = format!("ws://127.0.0.1:{}/socket/websocket?vsn=2.0.0", gateway.admin_port());
    let refused = tokio_tungstenite::connect_async(upgrade).await.expect_err("nobody comes in through the back door");
    assert!(refused.to_string().contains("503"), "{refused}");

    drop(stubborn);
    let status = gateway.wait().await;
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    let log = gateway.log();
    let steps = [
        "SIGTERM: stopping",
        "replication stopped, and what was handled is acknowledged",
        "draining",
        "stopped in order",
    ];
    let places: Vec<_> =
        steps.iter().map(|step| log.find(step).unwrap_or_else(|| panic!("no {step:?} in {log}"))).collect();
    assert!(places.is_sorted(), "{log}");
    // What the window keeps for those who come back is not acknowledged.
    assert!(!database.value::<bool>(&acknowledged).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once_whichever_they_are() {
    let (database, mut gateway) = start().await;
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("TERM", "INT")] {
        let stubborn = Client::joined(&gateway, "feed").await;
        let process = gateway.process_id();
        signal(process, first).await;
        eventually("the slot is let go of", async || (!slot_is_active(&database).await).then_some(())).await;
        let asked = std::time::Instant::now();
        signal(process, second).await;
        let status = gateway.wait().await;
        assert_eq!(status.code(), Some(1), "{}", gateway.log());
        assert!(asked.elapsed() < std::time::Duration::from_secs(2), "{:?}", asked.elapsed());
        assert!(gateway.log().contains("error: a second signal came before the orderly end"), "{}", gateway.log());
        drop(stubborn);
        gateway.spawn();
        gateway.wait_until_ready().await;
    }
}

#[tokio::test]
async fn health_is_an_exit_code() {
    let (database, mut gateway) = start().await;
    let health = gateway.walcast("health").await;
    assert_eq!((health.status.code(), &*health.stderr, &*health.stdout), (Some(0), "", ""));
    let admin = format!("127.0.0.1:{}", gateway.admin_port());
    let health = walcast(&["health", "--admin", &admin], &[]).await;
    assert_eq!(health.status.code(), Some(0), "{}", health.stderr);

    // One that waits for the slot says whose it is.
    let mut second = Gateway::configure(&database.url(), ROUTE);
    second.spawn();
    let waiting = eventually("the second one's health", async || {
        let health = second.walcast("health").await;
        health.stderr.starts_with("waiting: the replication slot `walcast` is in use by process").then_some(health)
    })
    .await;
    assert_eq!(waiting.status.code(), Some(1));

    gateway.kill().await;
    let health = gateway.walcast("health").await;
    assert_eq!(health.status.code(), Some(1));
    assert!(health.stderr.starts_with(&format!("error: nobody listens at {admin} for operators")), "{}", health.stderr);
    let database_port: String = database.value("select current_setting('port')").await;
    let health = walcast(&["health", "--admin", &format!("127.0.0.1:{database_port}")], &[]).await;
    assert_eq!(health.status.code(), Some(1));
    assert!(health.stderr.starts_with("error: "), "{}", health.stderr);
}
