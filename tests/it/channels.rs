//! Broadcasts and presence over real sockets, with the official client and with ours.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::support::database::Database;
use super::support::gateway::{Gateway, signal};
use super::support::node::Script;
use super::support::phoenix::Client;

/// The newest 1.8, a 1.7, and the newest with the serializer that older clients speak.
const CLIENTS: [(&str, &str); 3] = [("phoenix", "2.0.0"), ("phoenix-1-7", "2.0.0"), ("phoenix", "1.0.0")];

const CONFIG: &str = r#"
[[route]]
table = "public.articles"
topic = "updates:feed"

[[channel]]
topic = "rooms:*"
publish = ["message"]
presence = true

[[channel]]
topic = "quiet"
publish = ["typing"]
self = false

[[channel]]
topic = "updates:feed"
publish = ["message"]

[limits]
idle = "2s"
broadcast = "8KiB"
broadcasts_per_second = 1
broadcast_burst = 200
outbox = "64KiB"
"#;

async fn start() -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key, title text)").await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    (database, gateway)
}

fn script(name: &str, gateway: &Gateway, (client, vsn): (&str, &str)) -> Script {
    let socket = gateway.socket_url();
    let variables =
        [("WALCAST_SOCKET", &*socket), ("WALCAST_CLIENT", client), ("WALCAST_VSN", vsn), ("WALCAST_MEMBERS", "100")];
    Script::start(name, &variables)
}

#[tokio::test]
async fn the_official_client_broadcasts() {
    let (database, gateway) = start().await;
    for (id, client) in CLIENTS.into_iter().enumerate() {
        let mut script = script("broadcasts.mjs", &gateway, client);
        script.until("listening").await;
        database.execute(&format!("insert into articles values ({id}, 'a row')")).await;
        script.succeed().await;
    }
}

#[tokio::test]
async fn the_official_client_sees_who_is_there() {
    let (_database, gateway) = start().await;
    for client in CLIENTS {
        script("presence.mjs", &gateway, client).succeed().await;
    }
}

/// A member that watches who comes and goes, and says now and then that it is there.
struct Watcher {
    client: Client,
    keys: BTreeSet<String>,
}

impl Watcher {
    async fn join(gateway: &Gateway) -> Self {
        let mut client = Client::joined(gateway, "rooms:1").await;
        let state = client.next().await;
        assert_eq!(state[3], "presence_state", "{state}");
        Self { keys: keys(&state[4]).collect(), client }
    }

    /// Until so many are there, itself included.
    async fn until(&mut self, count: usize) {
        let mut heartbeat = tokio::time::interval(std::time::Duration::from_millis(500));
        while self.keys.len() != count {
            let message = tokio::select! {
                message = self.client.next() => message,
                _ = heartbeat.tick() => {
                    self.client.send(&json!([null, "hb", "phoenix", "heartbeat", {}])).await;
                    continue;
                }
            };
            if message[3] == "presence_diff" {
                self.keys.extend(keys(&message[4]["joins"]));
                keys(&message[4]["leaves"]).for_each(|key| assert!(self.keys.remove(&key), "{key} was there"));
            }
        }
    }
}

fn keys(presences: &Value) -> impl Iterator<Item = String> {
    presences.as_object().unwrap().keys().cloned()
}

#[tokio::test]
async fn nobody_stays_behind_after_kill_9() {
    let (_database, gateway) = start().await;
    let mut watcher = Watcher::join(&gateway).await;
    let mut crowd = script("crowd.mjs", &gateway, CLIENTS[0]);
    crowd.until("joined").await;
    watcher.until(101).await;
    // Dropped, it is killed: nothing of it says goodbye, but the system closes its sockets.
    drop(crowd);
    watcher.until(1).await;
    // Here not even that: the sockets stay open, and are silent.
    let mut crowd = script("crowd.mjs", &gateway, CLIENTS[0]);
    crowd.until("joined").await;
    watcher.until(101).await;
    signal(crowd.process_id(), "STOP").await;
    watcher.until(1).await;
    let late = Watcher::join(&gateway).await;
    assert_eq!(late.keys.len(), 2);
}

#[tokio::test]
async fn too_much_is_refused_and_who_does_not_read_is_closed() {
    let (_database, gateway) = start().await;
    let mut sender = Client::joined(&gateway, "quiet").await;
    let long = json!([null, "1", "quiet", "typing", {"text": "x".repeat(9 << 10)}]);
    sender.send(&long).await;
    assert_eq!(sender.next().await[4]["response"]["reason"], "payload_too_large");

    // Two that do not read: the system takes what it has room for, the gateway what its limit says, and no more.
    let mut slow = Client::joined(&gateway, "quiet").await;
    let text = "x".repeat(7 << 10);
    let mut senders = vec![sender];
    let (mut accepted, mut refused) = (0, 0);
    while accepted < 2_000 {
        let sender = senders.last_mut().unwrap();
        sender.send(&json!([null, "1", "quiet", "typing", {"text": text}])).await;
        // Of the others' broadcasts there are none but those of earlier senders.
        let reply = sender.next().await;
        assert_eq!(reply[3], "phx_reply");
        match reply[4]["status"].as_str().unwrap() {
            "ok" => accepted += 1,
            _ => {
                assert_eq!(reply[4]["response"]["reason"], "rate_limited");
                refused += 1;
                senders.clear();
                senders.push(Client::joined(&gateway, "quiet").await);
            }
        }
    }
    assert!(refused >= 2_000 / 200 - 1, "{refused}");
    let mut received = 0;
    let close = loop {
        match slow.next_frame().await {
            Some(Message::Close(frame)) => break frame.expect("a code"),
            Some(_) => received += 1,
            None => panic!("no goodbye after {received}"),
        }
    };
    assert_eq!((u16::from(close.code), &*close.reason), (1013, "client reads too slowly"));
    assert!(received < 2_000, "{received}");
}
