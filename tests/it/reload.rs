//! The configuration file changes while the real binary serves clients.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::database::Database;
use super::support::eventually;
use super::support::gateway::{Gateway, signal};
use super::support::phoenix::Client;

const SCHEMA: &str = "create table a (id int primary key, n int); create table b (id int primary key, n int);
    alter table a replica identity full; alter table b replica identity full";

fn route(table: &str, topic: &str, more: &str) -> String {
    format!("[[route]]\ntable = \"public.{table}\"\ntopic = \"{topic}\"\n{more}\n")
}

/// A gateway whose publication has both tables, whatever its routes are later.
async fn start(routes: &str) -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute(SCHEMA).await;
    let mut gateway = Gateway::configure(&database.url(), &(route("a", "a", "") + &route("b", "b", "")));
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{}{}", setup.stdout, setup.stderr);
    change(&gateway, routes);
    gateway.spawn();
    gateway.wait_until_ready().await;
    (database, gateway)
}

/// Writes other routes into the file.
fn change(gateway: &Gateway, routes: &str) {
    let text = fs::read_to_string(gateway.config_file()).unwrap();
    let head = text.split("[[route").next().unwrap().split("[[channel]]").next().unwrap();
    gateway.write_config(&format!("{head}{routes}"));
}

/// Until the log says so for the `count`th time.
async fn logged(gateway: &Gateway, what: &str, count: usize) {
    eventually(what, async || (gateway.log().matches(what).count() >= count).then_some(())).await;
}

async fn reloaded(gateway: &Gateway, count: usize) {
    logged(gateway, "the configuration was reloaded", count).await;
}

/// The next message as topic, event and payload.
async fn next(client: &mut Client) -> Value {
    loop {
        let message = client.next().await;
        if message[3] != "cursor" {
            return json!([message[2], message[3], message[4]]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_come_and_go_and_others_notice_nothing() {
    let (database, gateway) =
        start(&(route("a", "kept", "") + &route("b", "gone", "") + &route("b", "ruled", ""))).await;
    let writer = tokio::spawn({
        let connection = database.connect().await;
        async move {
            for id in 1..=300 {
                connection.execute("insert into a values ($1, 0)", &[&id]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let mut kept = Client::joined(&gateway, "kept").await;
    let (mut gone, mut ruled) = (Client::joined(&gateway, "gone").await, Client::joined(&gateway, "ruled").await);
    let cursor = Client::connect(&gateway).await.try_join("ruled", json!({})).await["response"]["cursor"].clone();
    assert_eq!(ruled.try_join("new", json!({})).await["response"]["reason"], "unmatched topic");

    change(
        &gateway,
        &(route("b", "ruled", "where = \"n > 5\"") + &route("a", "kept", "") + &route("b", "new:{n}", "")),
    );
    assert_eq!(next(&mut gone).await, json!(["gone", "phx_close", {}]));
    let resync = json!({"reason": "resync_required"});
    assert_eq!(next(&mut ruled).await, json!(["ruled", "phx_error", resync]));
    reloaded(&gateway, 1).await;
    assert_eq!(gone.try_join("gone", json!({})).await["response"]["reason"], "unmatched topic");
    assert_eq!(ruled.try_join("ruled", json!({"cursor": cursor})).await["response"], resync);
    let mut new = Client::joined(&gateway, "new:7").await;
    let cursor = ruled.try_join("ruled", json!({})).await["response"]["cursor"].clone();
    database.execute("insert into b values (1, 1), (2, 7)").await;
    assert_eq!(next(&mut new).await[2]["updates"][0]["record"], json!({"id": 2, "n": 7}));
    let updates = ruled.next_updates().await;
    assert_eq!((updates["updates"].as_array().unwrap().len(), &updates["updates"][0]["record"]["id"]), (1, &json!(2)));
    let reply = Client::connect(&gateway).await.try_join("ruled", json!({"cursor": cursor})).await;
    assert_eq!(reply["response"]["resumed"], true, "{reply}");

    // That the slot is in use is no news of the one who uses it.
    assert!(!gateway.log().contains("slot-active"), "{}", gateway.log());

    // A writer writes all the while; each row comes once, in order.
    let first = kept.next_updates().await["updates"][0]["record"]["id"].as_i64().unwrap();
    for id in first + 1..=300 {
        assert_eq!(kept.next_updates().await["updates"][0]["record"]["id"], id);
    }
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_a_mistake_is_refused_whole_and_sighup_asks_again() {
    let (database, mut gateway) = start(&route("a", "a", "")).await;
    let mut client = Client::joined(&gateway, "a").await;
    for (number, bad) in [
        route("b", "b", "wherever = \"n > 1\""),
        route("b", "b", "where = \"m > 1\""),
        route("nowhere", "b", ""),
        "[[route]\n".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        change(&gateway, bad);
        logged(&gateway, "the configuration was not reloaded, the former one stays", number + 1).await;
        assert_eq!(Client::connect(&gateway).await.try_join("b", json!({})).await["status"], "error");
    }
    assert!(gateway.log().contains("unknown-key") && gateway.log().contains("wherever"), "{}", gateway.log());
    database.execute("insert into a values (1, 1)").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"]["id"], 1);

    let id = gateway.process_id();
    signal(id, "HUP").await;
    logged(&gateway, "the configuration was not reloaded, the former one stays", 5).await;
    change(&gateway, &route("a", "a", ""));
    eventually("a look at the file that is as it was", async || {
        signal(id, "HUP").await;
        gateway.log().contains("SIGHUP: the configuration is as it was").then_some(())
    })
    .await;
    change(&gateway, &(route("a", "a", "") + &route("b", "b", "")));
    signal(id, "HUP").await;
    reloaded(&gateway, 1).await;
    eventually("the new topic", async || {
        let reply = Client::connect(&gateway).await.try_join("b", json!({})).await;
        (reply["status"] == "ok").then_some(())
    })
    .await;
    database.execute("insert into a values (2, 1)").await;
    assert_eq!(client.next_updates().await["updates"][0]["record"]["id"], 2);
    assert!(gateway.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_join_and_what_may_be_said_changes_for_those_who_are_there() {
    let channel = |publish: &str| format!("[[channel]]\ntopic = \"room\"\npublish = [\"{publish}\"]\n");
    let (database, gateway) = start(&(route("a", "a", "") + &route("b", "b", "") + &channel("hello"))).await;
    let mut both = Client::joined(&gateway, "a").await;
    assert_eq!(both.try_join("b", json!({})).await["status"], "ok");
    let mut room = Client::joined(&gateway, "room").await;
    change(&gateway, &(route("a", "a", "allow = \"claims.sub is not null\"") + &route("b", "b", "") + &channel("bye")));
    let unauthorized = json!({"reason": "unauthorized"});
    assert_eq!(next(&mut both).await, json!(["a", "phx_error", unauthorized]));
    assert_eq!(both.try_join("a", json!({})).await["response"], unauthorized);
    database.execute("insert into b values (1, 1)").await;
    assert_eq!(both.next_updates().await["updates"][0]["record"]["id"], 1);
    for (event, answer) in [("hello", json!({"reason": "event not allowed"})), ("bye", json!({}))] {
        room.send(&json!(["1", "9", "room", event, {"x": 1}])).await;
        let mut heard = next(&mut room).await;
        if heard[1] == "bye" {
            heard = next(&mut room).await;
        }
        assert_eq!(heard[2]["response"], answer, "{event}");
    }
}
