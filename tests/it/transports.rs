//! What clients count on, over every transport and serializer alike; and what each transport has of its own.

mod client;
mod events;
mod long_poll;
mod rows;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::gateway::Gateway;
use client::{ALL, Client, PHOENIX, Transport};

const FEED: &str = "updates:feed";
const ROUTES: &str = r#"
[[route]]
table = "public.articles"
topic = "updates:feed"
"#;

async fn start_with(config: &str) -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key, title text)").await;
    let gateway = Gateway::start(&database.url(), config).await;
    (database, gateway)
}

async fn start() -> (Database, Gateway) {
    start_with(ROUTES).await
}

fn ids(updates: &Value) -> Vec<i64> {
    updates["updates"].as_array().unwrap().iter().map(|update| update["record"]["id"].as_i64().unwrap()).collect()
}

async fn clients(gateway: &Gateway, params: Value) -> Vec<(Transport, Client)> {
    let mut clients = Vec::new();
    for transport in ALL {
        clients.push((transport, Client::joined(gateway, transport, FEED, params.clone()).await));
    }
    clients
}

#[tokio::test]
async fn a_change_reaches_everyone_alike() {
    let (database, gateway) = start().await;
    let mut clients = clients(&gateway, json!({})).await;
    database.execute("insert into articles values (1, E'a \"quoted\"\\nline, ✓')").await;
    database.execute("begin; update articles set title = 'b'; insert into articles values (2, null); commit").await;
    let mut seen: Vec<[Value; 2]> = Vec::new();
    for (transport, client) in &mut clients {
        let first = client.next().await;
        assert!(first.topic == FEED || *transport == Transport::Events, "{first:?}");
        seen.push([first.payload, client.updates().await]);
    }
    assert_eq!(seen[0][0]["updates"][0]["record"]["title"], "a \"quoted\"\nline, ✓");
    assert_eq!(ids(&seen[0][1]), [1, 2]);
    assert!(seen.iter().all(|other| *other == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn who_went_away_gets_what_it_missed_once() {
    let (database, gateway) = start().await;
    let clients = clients(&gateway, json!({})).await;
    database.execute("insert into articles values (1, 'seen')").await;
    let mut cursors = Vec::new();
    for (transport, mut client) in clients {
        let updates = client.updates().await;
        assert_eq!(ids(&updates), [1], "{transport:?}");
        cursors.push((transport, updates["cursor"].clone()));
    }
    database.execute("insert into articles values (2, 'missed')").await;
    database.execute("insert into articles values (3, 'missed too')").await;
    for (transport, cursor) in cursors {
        let mut client = Client::connect(&gateway, transport).await;
        let (status, response) = client.join(FEED, json!({"cursor": cursor})).await;
        assert_eq!((status.as_str(), &response["cursor"]), ("ok", &cursor), "{transport:?}");
        assert_eq!((ids(&client.updates().await), ids(&client.updates().await)), (vec![2], vec![3]), "{transport:?}");
    }
}

#[tokio::test]
async fn rows_come_first_where_they_are_asked_for() {
    let (database, gateway) = start().await;
    database.execute("insert into articles select n, 'row ' || n from generate_series(1, 2500) n").await;
    let mut clients = clients(&gateway, json!({"snapshot": true})).await;
    database.execute("insert into articles values (0, 'live')").await;
    for (transport, client) in &mut clients {
        let (mut rows, mut part) = (Vec::new(), 0);
        loop {
            let updates = client.updates().await;
            assert_eq!((&updates["snapshot"], &updates["part"]), (&json!(true), &json!(part)), "{transport:?}");
            assert_eq!(updates["cursor"].is_string(), updates["more"] != true, "{transport:?}");
            rows.extend(ids(&updates));
            part += 1;
            if updates["more"] != true {
                break;
            }
        }
        rows.sort_unstable();
        // Whatever committed before the rows were read is among them; the rest comes after.
        let live = if rows.first() == Some(&0) { rows.remove(0) } else { ids(&client.updates().await)[0] };
        assert_eq!((rows, live), ((1..=2500).collect(), 0), "{transport:?}");
    }
}

#[tokio::test]
async fn refusals_have_the_same_reasons() {
    let (_database, gateway) = start().await;
    for transport in ALL {
        for (topic, params, reason) in [
            ("nothing:here", json!({}), "unmatched topic"),
            (FEED, json!({"cursor": "never-given-out"}), "resync_required"),
            (FEED, json!({"columns": ["no_such_column"]}), "invalid_filter"),
            (FEED, json!({"ops": ["upsert"]}), "invalid_filter"),
        ] {
            let mut client = Client::connect(&gateway, transport).await;
            let (status, response) = client.join(topic, params.clone()).await;
            assert_eq!((status.as_str(), &response["reason"]), ("error", &json!(reason)), "{transport:?} {params}");
        }
    }
}

#[tokio::test]
async fn leaving_and_heartbeats_are_answered() {
    let (database, gateway) = start().await;
    for transport in PHOENIX {
        let mut client = Client::joined(&gateway, transport, FEED, json!({})).await;
        let heartbeat = client.send("phoenix", "heartbeat", json!({})).await;
        assert_eq!(client.reply(&heartbeat).await, ("ok".to_owned(), json!({})), "{transport:?}");
        let unknown = client.send(FEED, "my_event", json!({})).await;
        assert_eq!(client.reply(&unknown).await.0, "error", "{transport:?}");
        let leave = client.send(FEED, "phx_leave", json!({})).await;
        assert_eq!(client.reply(&leave).await.0, "ok", "{transport:?}");
        assert_eq!(client.next().await.event, "phx_close", "{transport:?}");
        database.execute("insert into articles values (1, 'for nobody'); delete from articles").await;
        let heartbeat = client.send("phoenix", "heartbeat", json!({})).await;
        assert_eq!(client.reply(&heartbeat).await.0, "ok", "{transport:?}: nothing came after the leave");
    }
}

#[tokio::test]
async fn rows_can_be_fetched_again() {
    let (database, gateway) = start().await;
    database.execute("insert into articles values (1, 'one')").await;
    for transport in PHOENIX {
        let mut client = Client::joined(&gateway, transport, FEED, json!({})).await;
        let fetch = client.send(FEED, "fetch_updates", json!({})).await;
        assert_eq!(client.reply(&fetch).await.0, "ok", "{transport:?}");
        let rows = client.updates().await;
        assert_eq!((&rows["snapshot"], ids(&rows)), (&json!(true), vec![1]), "{transport:?}");
    }
}

#[tokio::test]
async fn a_large_transaction_comes_in_parts() {
    let (database, gateway) = start().await;
    let mut clients = clients(&gateway, json!({})).await;
    database.execute("insert into articles select n, 'row ' || n from generate_series(1, 20000) n").await;
    for (transport, client) in &mut clients {
        let (mut rows, mut part, mut more) = (Vec::new(), 0, true);
        while more {
            let updates = client.updates().await;
            assert_eq!(updates["part"], part, "{transport:?}");
            rows.extend(ids(&updates));
            part += 1;
            more = updates["more"] == true;
        }
        assert_eq!(rows, (1..=20_000).collect::<Vec<_>>(), "{transport:?}");
    }
}

#[tokio::test]
async fn who_does_not_read_for_a_while_loses_nothing() {
    let (database, gateway) = start_with(&format!("{ROUTES}\n[limits]\noutbox = \"64KiB\"\npoll = \"15s\"\n")).await;
    let mut clients = clients(&gateway, json!({})).await;
    // 20 MB: far more than what outboxes and sockets take.
    for transaction in 0..20 {
        let first = transaction * 1000 + 1;
        let last = first + 999;
        let sql = format!("insert into articles select n, repeat('x', 1000) from generate_series({first}, {last}) n");
        database.execute(&sql).await;
    }
    for (transport, client) in &mut clients {
        let mut rows = Vec::new();
        while rows.len() < 20_000 {
            rows.extend(ids(&client.updates().await));
        }
        assert_eq!(rows, (1..=20_000).collect::<Vec<_>>(), "{transport:?}");
    }
    database.execute("insert into articles values (0, 'live')").await;
    for (transport, client) in &mut clients {
        assert_eq!(ids(&client.updates().await), [0], "{transport:?} is live again");
    }
}

#[tokio::test]
async fn a_restart_ends_everyone_and_everyone_can_go_on() {
    let (database, mut gateway) = start().await;
    let mut clients = clients(&gateway, json!({})).await;
    database.execute("insert into articles values (1, 'before')").await;
    let mut cursors = Vec::new();
    for (transport, client) in &mut clients {
        cursors.push((*transport, client.updates().await["cursor"].clone()));
    }
    // All of them listen when it ends.
    let mut ends = tokio::task::JoinSet::new();
    for (transport, mut client) in clients {
        ends.spawn(async move { (transport, client.receive().await) });
    }
    let status = gateway.terminate().await;
    assert!(status.success(), "{status}\n{}", gateway.log());
    for (transport, end) in ends.join_all().await {
        assert_eq!(end, None, "{transport:?}");
    }
    database.execute("insert into articles values (2, 'meanwhile')").await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    for (transport, cursor) in cursors {
        let mut client = Client::joined(&gateway, transport, FEED, json!({"cursor": cursor})).await;
        assert_eq!(ids(&client.updates().await), [2], "{transport:?}");
    }
}

#[tokio::test]
async fn broadcasts_and_presence_reach_everyone_alike() {
    const ROOM: &str = "rooms:1";
    let channel = "[[channel]]\ntopic = \"rooms:*\"\npublish = [\"message\"]\npresence = true\n";
    let (_database, gateway) = start_with(channel).await;
    // Who only listens is no member, and is not told of any.
    let mut stream = Client::joined(&gateway, Transport::Events, ROOM, json!({})).await;
    let mut members: Vec<(Transport, Client)> = Vec::new();
    for (number, transport) in PHOENIX.into_iter().enumerate() {
        let presence = json!({"presence": {"key": format!("{transport:?}"), "meta": {"number": number}}});
        let mut client = Client::joined(&gateway, transport, ROOM, presence).await;
        let state = client.next().await;
        assert_eq!((state.event.as_str(), state.payload.as_object().unwrap().len()), ("presence_state", number + 1));
        for (_, earlier) in &mut members {
            let diff = earlier.next().await;
            assert_eq!(diff.event, "presence_diff");
            assert_eq!(diff.payload["joins"][format!("{transport:?}")]["metas"][0]["number"], number);
            assert_eq!(diff.payload["leaves"], json!({}));
        }
        members.push((transport, client));
    }
    let payload = json!({"text": "a \"quoted\"\nline, ✓"});
    let sent = members[0].1.send(ROOM, "message", payload.clone()).await;
    assert_eq!(members[0].1.reply(&sent).await, ("ok".to_owned(), json!({})));
    for client in members.iter_mut().map(|(_, client)| client).chain([&mut stream]) {
        let heard = client.next().await;
        assert_eq!((heard.event.as_str(), &heard.payload), ("message", &payload));
    }
    let (transport, gone) = members.remove(1);
    drop(gone);
    for (_, client) in &mut members {
        assert_eq!(client.next().await.payload["leaves"][format!("{transport:?}")]["metas"][0]["number"], 1);
    }
}
