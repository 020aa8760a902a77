//! How `walcast run` starts, or says why it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::support::database::Database;
use crate::support::gateway::Gateway;

const ROUTE: &str = "[[route]]\ntable = \"public.articles\"\ntopic = \"feed\"\n";
const TABLE: &str = "create table articles (id int primary key)";

/// The end of a startup: the server is ready, outside of a transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// Connections to `server`, of which the first breaks at its first query: a proxy's port, and whether it has broken.
async fn breaking(server: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broken = Arc::new(AtomicBool::new(false));
    let first = Arc::clone(&broken);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            tokio::spawn(connection(client, upstream, Arc::clone(&first)));
        }
    });
    (port, broken)
}

async fn connection(client: TcpStream, server: TcpStream, broken: Arc<AtomicBool>) {
    let breaks = !broken.load(Ordering::Relaxed);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let ready = AtomicBool::new(false);
    tokio::select! {
        () = pump(from_server, to_client, |bytes| {
            if breaks && bytes.windows(READY.len()).any(|window| window == READY) {
                ready.store(true, Ordering::Relaxed);
            }
            true
        }) => {}
        () = pump(from_client, to_server, |_| !ready.load(Ordering::Relaxed)) => {}
    }
    if ready.load(Ordering::Relaxed) {
        broken.store(true, Ordering::Relaxed);
    }
}

/// Ends when one side does, or when `passes` says so.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 8192];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if !passes(&buffer[..length]) || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_database_that_goes_away_while_it_is_checked_is_waited_for() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    let direct = Gateway::configure(&database.url(), ROUTE);
    assert!(direct.walcast("setup").await.status.success());
    let port: String = database.value("select current_setting('port')").await;
    let (proxy, broken) = breaking(port.parse().unwrap()).await;
    let url = database.url().replace(&format!(":{port}"), &format!(":{proxy}"));
    let mut gateway = Gateway::configure(&url, ROUTE);
    gateway.spawn();
    gateway.wait_until_ready().await;
    assert!(broken.load(Ordering::Relaxed), "nothing went away");
    assert!(gateway.log().contains("went away while it was checked"), "{}", gateway.log());
}

#[tokio::test]
async fn a_start_that_fails_says_what_to_do() {
    let database = Database::start().await;
    database.execute(TABLE).await;
    let url = database.url();
    let (server, _database) = url.rsplit_once('/').unwrap();
    let missing = Gateway::configure(&format!("{server}/elsewhere"), ROUTE);
    let refused = missing.walcast("run").await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("help: correct the database in the connection string"), "{}", refused.stderr);

    let gateway = Gateway::configure(&database.url(), ROUTE);
    assert!(gateway.walcast("setup").await.status.success());
    let _taken = TcpListener::bind(("127.0.0.1", gateway.port())).await.unwrap();
    let refused = gateway.walcast("run").await;
    assert_eq!(refused.status.code(), Some(1));
    let address = format!("listen on 127.0.0.1:{}", gateway.port());
    let says = refused.stderr.contains(&address) && refused.stderr.contains("help: another program listens there");
    assert!(says, "{}", refused.stderr);
}
