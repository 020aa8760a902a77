//! What is an event stream's own: ids, keep-alives, browsers that come back, and HTTP around it.

use serde_json::json;

use super::client::{Client, Transport};
use super::{FEED, ROUTES, ids, start, start_with};
use crate::support::http::{self, Answer};
use crate::support::node::Script;

const TARGET: &str = "/topics/updates:feed/events";

/// The stream's text until it contains `what`.
async fn until(answer: &mut Answer, what: &str) -> String {
    let mut text = String::new();
    while !text.contains(what) {
        let chunk = answer.chunk().await.unwrap_or_else(|error| panic!("{error} before {what:?}: {text}"));
        text.push_str(&String::from_utf8(chunk.unwrap_or_else(|| panic!("no {what:?}: {text}"))).unwrap());
    }
    text
}

#[tokio::test]
async fn a_stream_is_one_that_proxies_and_browsers_understand() {
    let (_database, gateway) = start_with(&format!("{ROUTES}\n[limits]\nkeep_alive = \"1s\"\n")).await;
    let mut answer = http::get(gateway.port(), "/topics/updates%3Afeed/events").await;
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let greeting = until(&mut answer, "\n\n").await;
    assert!(greeting.starts_with("retry: 1000\nid: "), "{greeting}");
    until(&mut answer, ":\n\n").await;
    until(&mut answer, ":\n\n").await;
}

#[tokio::test]
async fn last_event_id_resumes() {
    let (database, gateway) = start().await;
    let mut client = Client::joined(&gateway, Transport::Events, FEED, json!({})).await;
    database.execute("insert into articles values (1)").await;
    let cursor = client.updates().await["cursor"].as_str().unwrap().to_owned();
    database.execute("insert into articles values (2)").await;
    // The header is newer than what the URL says, whatever that is.
    let target = format!("{TARGET}?cursor=old");
    let mut answer = http::request(gateway.port(), "GET", &target, &[("last-event-id", &cursor)], "").await;
    let text = until(&mut answer, "\"id\":2").await;
    assert!(!text.contains("\"id\":1"), "{text}");
    let mut answer = http::get(gateway.port(), &format!("{TARGET}?lastEventId={cursor}")).await;
    until(&mut answer, "\"id\":2").await;
}

#[tokio::test]
async fn a_browser_with_an_id_that_is_too_old_is_told_and_goes_on_live() {
    let (database, gateway) = start().await;
    // A cursor in the URL is the program's own: it gets a status.
    let answer = http::get(gateway.port(), &format!("{TARGET}?cursor=gone")).await;
    assert_eq!((answer.status, answer.json().await), (410, json!({"reason": "resync_required"})));
    let answer = http::request(gateway.port(), "GET", TARGET, &[("last-event-id", "gone")], "").await;
    assert_eq!(answer.status, 200);
    let text = answer.text().await;
    assert!(text.ends_with("id:\nevent: phx_error\ndata: {\"reason\":\"resync_required\"}\n\n"), "{text}");
    // With rows asked for there is nothing to be told: they come.
    database.execute("insert into articles values (1)").await;
    let target = format!("{TARGET}?snapshot=true");
    let mut answer = http::request(gateway.port(), "GET", &target, &[("last-event-id", "gone")], "").await;
    until(&mut answer, "\"snapshot\":true").await;
}

#[tokio::test]
async fn only_what_was_asked_for_comes() {
    let (database, gateway) = start().await;
    let params = json!({"columns": ["id"], "ops": ["insert", "delete"]});
    let mut client = Client::joined(&gateway, Transport::Events, FEED, params).await;
    database.execute("insert into articles values (1, 'x'); update articles set title = 'y'").await;
    database.execute("delete from articles").await;
    let first = client.updates().await;
    assert_eq!(
        first["updates"],
        json!([{"op": "insert", "schema": "public", "table": "articles", "record": {"id": 1}}])
    );
    assert_eq!(client.updates().await["updates"][0]["op"], "delete");
}

#[tokio::test]
async fn other_methods_have_their_answers() {
    let (_database, gateway) = start().await;
    let head = http::request(gateway.port(), "HEAD", TARGET, &[], "").await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    let wanted = [("access-control-request-headers", "last-event-id, authorization")];
    let options = http::request(gateway.port(), "OPTIONS", TARGET, &wanted, "").await;
    assert_eq!((options.status, options.header("access-control-allow-headers")), (204, Some(wanted[0].1)));
    let answer = http::request(gateway.port(), "DELETE", TARGET, &[], "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, POST, OPTIONS")));
}

#[tokio::test]
async fn a_browser_s_own_event_source_follows_and_comes_back() {
    let (database, mut gateway) = start().await;
    let origin = format!("http://127.0.0.1:{}", gateway.port());
    let mut script = Script::start("event_source.mjs", &[("WALCAST_ORIGIN", &origin)]);
    script.until("open").await;
    database.execute("insert into articles values (1, E'two\\nlines')").await;
    script.until("[1]").await;
    let status = gateway.terminate().await;
    assert!(status.success(), "{status}\n{}", gateway.log());
    script.until("away").await;
    database.execute("insert into articles values (2, 'missed')").await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    script.until("[1,2]").await;
    database.execute("insert into articles values (3, 'live')").await;
    script.until("[1,2,3]").await;
    // A log without its past: what the browser has can't be continued, and it is told so.
    gateway.kill().await;
    script.until("away").await;
    database.execute("select pg_drop_replication_slot('walcast')").await;
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{}{}", setup.stdout, setup.stderr);
    gateway.spawn();
    gateway.wait_until_ready().await;
    script.until("resync_required").await;
    script.until("open").await;
    database.execute("insert into articles values (4, 'after')").await;
    script.until("[1,2,3,4]").await;
    script.succeed().await;
}

#[tokio::test]
async fn ids_without_data_are_no_events() {
    let (database, gateway) = start_with(&format!("{ROUTES}\n[replay]\nwindow = \"4s\"\n")).await;
    let mut answer = http::get(gateway.port(), TARGET).await;
    let greeting = until(&mut answer, "\n\n").await;
    // Something has to move the feed for the quiet topic's cursor to move.
    database.execute("create table others (id int)").await;
    let quiet = until(&mut answer, "id: ").await + &until(&mut answer, "\n\n").await;
    assert!(!quiet.contains("event:") && !quiet.contains("data:"), "{greeting}{quiet}");
    database.execute("insert into articles values (1)").await;
    let text = until(&mut answer, "}\n\n").await;
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    assert_eq!(ids(&serde_json::from_str(data).unwrap()), [1]);
}
