//! Messages that are deflated on the way: clients of every kind, and what they agree on.

use crate::support::articles;
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::node::Script;

/// Each with a text of its own, so that the message is long; not so long that it comes in parts.
const ROWS: &str =
    "insert into articles select n, 'a title like any other', md5(n::text) from generate_series(1, 100) n";

async fn start(server: &str) -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute(articles::TABLE).await;
    let gateway = Gateway::start_edited(&database.url(), articles::ROUTES, |config| {
        config.replace("[server]\n", &format!("[server]\n{server}\n"))
    })
    .await;
    (database, gateway)
}

#[tokio::test]
async fn the_official_clients_take_messages_deflated() {
    let (database, gateway) = start("compression = true").await;
    let socket = gateway.socket_url();
    for (client, vsn) in [("phoenix", "2.0.0"), ("phoenix-1-7", "2.0.0"), ("phoenix", "1.0.0")] {
        let variables = [("WALCAST_SOCKET", socket.as_str()), ("WALCAST_CLIENT", client), ("WALCAST_VSN", vsn)];
        articles::every_kind_of_change(&database, Script::start("feed.mjs", &variables)).await;
    }
}

#[tokio::test]
async fn every_offer_of_a_library_is_fulfilled() {
    let (database, gateway) = start("compression = true").await;
    let mut script = Script::start("deflate.mjs", &[("WALCAST_SOCKET", &gateway.socket_url())]);
    script.until("joined").await;
    database.execute(ROWS).await;
    script.until("done").await;
    script.succeed().await;
}

#[tokio::test]
async fn a_browser_takes_messages_deflated() {
    let (database, gateway) = start("compression = true").await;
    let origin = format!("http://127.0.0.1:{}", gateway.port());
    let mut script = Script::start("page_deflate.mjs", &[("WALCAST_ORIGIN", &origin)]);
    script.until("joined").await;
    database.execute(ROWS).await;
    script.succeed().await;
}

#[tokio::test]
async fn nothing_is_deflated_unless_the_configuration_says_so() {
    let (_database, gateway) = start("").await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    let request = "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        sec-websocket-extensions: permessage-deflate\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 ") && !answer.contains("sec-websocket-extensions"), "{answer}");
}
