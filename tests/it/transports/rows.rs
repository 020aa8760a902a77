//! A topic's rows as JSON.

use serde_json::{Value, json};

use super::client::{Client, Transport};
use super::{FEED, ROUTES, ids, start, start_with};
use crate::support::http;

#[tokio::test]
async fn rows_come_with_the_cursor_that_continues_them() {
    let (database, gateway) = start().await;
    let empty = http::get(gateway.port(), "/topics/updates:feed").await.json().await;
    assert_eq!(empty["updates"], json!([]));
    assert!(empty["cursor"].is_string());
    database.execute("insert into articles select n, 'row ' || n from generate_series(1, 5000) n").await;
    let answer = http::get(gateway.port(), "/topics/updates:feed").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json; charset=utf-8")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json().await;
    let expected =
        json!({"op": "snapshot", "schema": "public", "table": "articles", "record": {"id": 1, "title": "row 1"}});
    assert_eq!(body["updates"][0], expected);
    assert_eq!(ids(&body), (1..=5000).collect::<Vec<_>>());
    database.execute("insert into articles values (0, 'after')").await;
    for transport in [Transport::Events, Transport::WebSocket("2.0.0")] {
        let mut client = Client::joined(&gateway, transport, FEED, json!({"cursor": body["cursor"]})).await;
        assert_eq!(ids(&client.updates().await), [0]);
    }
}

#[tokio::test]
async fn requests_at_once_have_whole_bodies_each() {
    let (database, gateway) = start().await;
    database.execute("insert into articles select n, repeat('x', 500) from generate_series(1, 5000) n").await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let port = gateway.port();
        requests.spawn(async move { ids(&http::get(port, "/topics/updates:feed?columns=id").await.json().await) });
    }
    for rows in requests.join_all().await {
        assert_eq!(rows, (1..=5000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn refusals_are_statuses_with_a_reason() {
    let (database, gateway) = start_with(&format!("{ROUTES}\n[limits]\nsnapshot_rows = 10\n")).await;
    for (target, status, reason) in [
        ("/topics/nothing:here", 404, "unmatched topic"),
        ("/topics/%zz", 404, "unmatched topic"),
        ("/topics/updates:feed?columns=nothing", 400, "invalid_filter"),
        ("/topics/updates:feed?ops=upsert", 400, "invalid_filter"),
        ("/topics/updates:feed?cursor=x", 400, "invalid_filter"),
        ("/topics/updates:feed?snapshot=false", 400, "invalid_filter"),
    ] {
        let answer = http::get(gateway.port(), target).await;
        assert_eq!((answer.status, answer.json().await["reason"].clone()), (status, json!(reason)), "{target}");
    }
    database.execute("insert into articles select n from generate_series(1, 11) n").await;
    let answer = http::get(gateway.port(), "/topics/updates:feed").await;
    assert_eq!((answer.status, answer.json().await), (413, json!({"reason": "snapshot_too_large"})));
    let head = http::request(gateway.port(), "HEAD", "/topics/updates:feed?columns=id", &[], "").await;
    assert_eq!(head.status, 413);
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_cut_off() {
    // Parts so small that the first is out before the last could be read.
    let config = format!("{ROUTES}\n[limits]\npart_changes = 100\nsnapshot_rows = 1000\n");
    let (database, gateway) = start_with(&config).await;
    database.execute("insert into articles select n, repeat('x', 500) from generate_series(1, 1001) n").await;
    let mut answer = http::get(gateway.port(), "/topics/updates:feed").await;
    assert_eq!(answer.status, 200);
    let mut body = Vec::new();
    let end = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend(chunk),
            end => break end,
        }
    };
    assert!(end.is_err(), "the client can tell");
    assert!(body.starts_with(br#"{"updates":[{"#) && serde_json::from_slice::<Value>(&body).is_err());
}

#[tokio::test]
async fn a_topic_that_no_table_feeds_has_no_rows() {
    let (_database, gateway) = start_with(&format!("{ROUTES}\n[[channel]]\ntopic = \"room:*\"\n")).await;
    let answer = http::get(gateway.port(), "/topics/room:1").await;
    assert_eq!((answer.status, answer.json().await["updates"].clone()), (200, json!([])));
}
