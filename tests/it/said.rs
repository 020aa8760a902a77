//! What SQL says to topics, as Phoenix clients hear it: in order, exactly once, and only if it was committed.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

const ROUTES: &str = "[[route]]\ntable = \"public.notes\"\ntopic = \"notes\"\n\
    [[route]]\ntable = \"public.notes\"\ntopic = \"notes:{id}\"\n";

async fn start() -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute("create table notes (id int primary key, body text)").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    (database, gateway)
}

/// Event and payload of the next message; rows by their ids.
async fn next(client: &mut Client) -> (String, Value) {
    let message = client.next().await;
    let event = message[3].as_str().expect("an event").to_owned();
    let payload = match event.as_str() {
        "new_updates" => {
            message[4]["updates"].as_array().unwrap().iter().map(|it| it["record"]["id"].clone()).collect()
        }
        "cursor" => Value::Null,
        _ => message[4].clone(),
    };
    (event, payload)
}

async fn expect(client: &mut Client, expected: &[(&str, Value)]) {
    for (event, payload) in expected {
        let (heard, said) = next(client).await;
        assert_eq!((heard.as_str(), &said), (*event, payload));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_is_heard_in_order_with_rows_and_again_by_who_resumes_before_it() {
    let (database, mut gateway) = start().await;
    let mut live = Client::joined(&gateway, "notes").await;
    database.execute("insert into notes values (0, 'first')").await;
    let first = live.next_updates().await["cursor"].as_str().unwrap().to_owned();
    database
        .execute(
            "begin; insert into notes values (1, 'a');
             select walcast.broadcast('notes', 'said', '{\"cursor\": \"no\", \"n\": 1}');
             select walcast.broadcast('notes', 'said', '{\"n\": 2}');
             insert into notes values (2, 'b'); select walcast.broadcast('notes', 'said', '{\"n\": 3}'); commit;
             begin; select walcast.broadcast('notes', 'unsaid', '{}'); rollback;
             select walcast.broadcast('nobody:1', 'said', '{}');
             insert into notes values (3, 'c')",
        )
        .await;
    let transaction = [
        ("new_updates", json!([1])),
        ("said", json!({"cursor": "no", "n": 1})),
        ("said", json!({"n": 2})),
        ("new_updates", json!([2])),
        ("said", json!({"n": 3})),
        ("cursor", Value::Null),
        ("new_updates", json!([3])),
    ];
    expect(&mut live, &transaction).await;
    for restart in [false, true] {
        if restart {
            gateway.kill().await;
            gateway.spawn();
            gateway.wait_until_ready().await;
        }
        let mut back = Client::connect(&gateway).await;
        let reply = back.try_join("notes", json!({"cursor": first})).await;
        assert_eq!(reply["response"]["resumed"], true, "{reply}");
        expect(&mut back, &transaction).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_cursor_after_a_broadcast_does_not_hear_it_twice() {
    let (database, gateway) = start().await;
    let mut live = Client::joined(&gateway, "notes:7").await;
    database.execute("select walcast.broadcast('notes:7', 'said', '{\"n\": 1}')").await;
    expect(&mut live, &[("said", json!({"n": 1}))]).await;
    let cursor = live.next().await;
    assert_eq!(cursor[3], "cursor");
    let mut back = Client::connect(&gateway).await;
    let reply = back.try_join("notes:7", json!({"cursor": cursor[4]["cursor"]})).await;
    assert_eq!(reply["response"]["resumed"], true, "{reply}");
    database.execute("select walcast.broadcast('notes:7', 'said', '{\"n\": 2}')").await;
    expect(&mut back, &[("said", json!({"n": 2})), ("cursor", Value::Null)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_payloads_and_those_of_now() {
    let (database, gateway) = start().await;
    let mut live = Client::joined(&gateway, "notes").await;
    database.execute("select walcast.broadcast_binary('notes', 'drawn', '\\xff00')").await;
    let frame = live.next_frame().await;
    let Some(Message::Binary(bytes)) = &frame else { panic!("no binary message, but {frame:?}") };
    assert_eq!(&bytes[..], [&[2, 5, 5], b"notesdrawn".as_slice(), &[0xFF, 0]].concat());
    expect(&mut live, &[("cursor", Value::Null)]).await;
    database.execute("begin; select walcast.broadcast_now('notes', 'typing', '{\"who\": \"Ada\"}'); rollback").await;
    expect(&mut live, &[("typing", json!({"who": "Ada"}))]).await;
    database.execute("insert into notes values (1, 'a')").await;
    expect(&mut live, &[("new_updates", json!([1]))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_a_table_is_spoken_to_by_sql() {
    let database = Database::start().await;
    let gateway = Gateway::start(&database.url(), "[[channel]]\ntopic = \"notifications:*\"\n").await;
    let mut lobby = Client::joined(&gateway, "notifications:lobby").await;
    let call = "select walcast.broadcast('notifications:lobby', 'new_notification', '{\"title\": \"Dinner\"}')";
    database.execute(call).await;
    expect(&mut lobby, &[("new_notification", json!({"title": "Dinner"})), ("cursor", Value::Null)]).await;
    database.execute("select walcast.broadcast_now('notifications:lobby', 'typing', '{}')").await;
    expect(&mut lobby, &[("typing", json!({}))]).await;
}
