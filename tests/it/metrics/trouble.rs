//! What goes wrong moves the numbers that alerts look at.

use serde_json::json;

use super::super::support::database::Database;
use super::super::support::eventually;
use super::super::support::gateway::Gateway;
use super::super::support::phoenix::Client;
use super::{Scrape, reaching};

const CONFIG: &str = r#"
[[route]]
table = "public.articles"
topic = "feed"

[[route]]
table = "public.notes"
topic = "notes"

[replay]
memory = "1MiB"

[limits]
outbox = "64KiB"
snapshot_rows = 2
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_moves_the_numbers() {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key, title text)").await;
    database.execute("create table notes (id int primary key)").await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;

    // More than the sockets' buffers, the outbox and the log take, for somebody who does not read.
    let mut slow = Client::joined(&gateway, "feed").await;
    for id in 0..40 {
        database.execute(&format!("insert into articles values ({id}, repeat('x', 900000))")).await;
    }
    eventually("a slow client's fall", async || {
        Scrape::of(&gateway).await.value("walcast_slow_client_falls_total").filter(|falls| *falls >= 1.0)
    })
    .await;
    // When it reads again, the log no longer has where it was.
    loop {
        let message = slow.next().await;
        if message[3] == "phx_error" {
            break assert_eq!(message[4]["reason"], "resync_required", "{message}");
        }
    }
    reaching(&gateway, &[(r#"walcast_resyncs_total{reason="slow"}"#, 1.0)]).await;

    // A table that leaves the publication and comes back has a hole; a topic that is too large has no snapshot.
    let mut notes = Client::joined(&gateway, "notes").await;
    database.execute("alter publication walcast drop table notes").await;
    let error = notes.next().await;
    assert_eq!((&error[3], &error[4]["reason"]), (&json!("phx_error"), &json!("resync_required")), "{error}");
    database.execute("alter publication walcast add table notes").await;
    eventually("the table is back", async || {
        let broken = Scrape::of(&gateway).await.value(r#"walcast_route_broken{route="2",topic="notes"}"#);
        (broken == Some(0.0)).then_some(())
    })
    .await;
    let mut client = eventually("a join", async || {
        let mut client = Client::connect(&gateway).await;
        let reply = client.try_join("notes", json!({"snapshot": true})).await;
        (reply["status"] == "ok").then_some(client)
    })
    .await;
    assert_eq!(client.next_updates().await["snapshot"], true);
    let mut large = Client::connect(&gateway).await;
    assert_eq!(large.try_join("feed", json!({"snapshot": true})).await["status"], "ok");
    eventually("a snapshot that is refused", async || {
        (Scrape::of(&gateway).await.value(r#"walcast_snapshots_total{outcome="too_large"}"#) == Some(1.0)).then_some(())
    })
    .await;

    // A file with a mistake, and one without.
    gateway.edit_config(|text| text.replace("\"public.notes\"", "\"notes\""));
    reaching(&gateway, &[(r#"walcast_reloads_total{outcome="refused"}"#, 1.0)]).await;
    gateway.edit_config(|text| text.replace("\"notes\"\ntopic", "\"public.notes\"\nops = [\"insert\"]\ntopic"));
    reaching(&gateway, &[(r#"walcast_reloads_total{outcome="applied"}"#, 1.0)]).await;
    reaching(
        &gateway,
        &[
            (r#"walcast_reloads_total{outcome="refused"}"#, 1.0),
            (r#"walcast_snapshots_total{outcome="taken"}"#, 1.0),
            (r#"walcast_resyncs_total{reason="cursor"}"#, 0.0),
        ],
    )
    .await;
    let holes = Scrape::of(&gateway).await.value(r#"walcast_resyncs_total{reason="hole"}"#).unwrap();
    assert!(holes >= 1.0, "{holes}");
}
