//! A client that comes back whatever happens, with the cursors of its last messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_postgres::NoTls;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::replica::Replica;
use crate::support::POLL;

/// One client, by what it is to know.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) state: Arc<Mutex<State>>,
    /// While this is true it reads nothing.
    pub(super) stopped: watch::Sender<bool>,
    /// Grows when it is to forget everything and begin afresh.
    forgetting: watch::Sender<u64>,
    /// It begins with the gateway's snapshot; else it reads the rows itself.
    snapshot: bool,
    url: String,
    database: String,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) topics: BTreeMap<String, Replica>,
    /// The first thing that must not be; the client has ended with it.
    pub(super) fault: Option<String>,
    pub(super) connections: u64,
    pub(super) joined: usize,
    /// Messages with rows.
    pub(super) updates: u64,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Client {
    pub(super) fn new(name: &str, port: u16, database: &str, topics: &[&str], snapshot: bool) -> Self {
        let replicas = topics.iter().map(|topic| ((*topic).to_owned(), Replica::default())).collect();
        Self {
            name: name.to_owned(),
            state: Arc::new(Mutex::new(State { topics: replicas, ..State::default() })),
            stopped: watch::Sender::new(false),
            forgetting: watch::Sender::new(0),
            snapshot,
            url: format!("ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0"),
            database: database.to_owned(),
        }
    }

    /// It begins with this cursor.
    pub(super) fn begin_at(&self, cursor: &str) {
        for replica in self.state.lock().unwrap().topics.values_mut() {
            replica.cursor = Some(cursor.to_owned());
        }
    }

    /// It loses all that it has, and comes back as one who knows nothing.
    pub(super) fn forget(&self) {
        self.forgetting.send_modify(|times| *times += 1);
    }

    /// Runs until something is wrong, or until it is dropped.
    pub(super) async fn run(self) {
        loop {
            if let Ok((mut socket, _)) = connect_async(&self.url).await {
                self.state.lock().unwrap().connections += 1;
                if let Err(End::Fault(fault)) = self.session(&mut socket).await {
                    self.state.lock().unwrap().fault = Some(format!("{}: {fault}", self.name));
                    return;
                }
                self.state.lock().unwrap().joined = 0;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn session(&self, socket: &mut Socket) -> Result<(), End> {
        let topics: Vec<String> = self.state.lock().unwrap().topics.keys().cloned().collect();
        for topic in topics {
            self.join(socket, &topic).await?;
        }
        let (mut stopped, mut forgetting) = (self.stopped.subscribe(), self.forgetting.subscribe());
        loop {
            let _sender_lives = stopped.wait_for(|stopped| !stopped).await.map(drop);
            let message = tokio::select! {
                message = socket.next() => message.ok_or(End::Connection)?.map_err(|_| End::Connection)?,
                Ok(()) = forgetting.changed() => {
                    self.state.lock().unwrap().topics.values_mut().for_each(Replica::forget);
                    return Err(End::Connection);
                }
            };
            if let Message::Text(text) = message {
                let message: Value = serde_json::from_str(&text).map_err(|error| End::Fault(error.to_string()))?;
                self.take(socket, &message).await?;
            }
        }
    }

    async fn join(&self, socket: &mut Socket, topic: &str) -> Result<(), End> {
        let cursor = self.state.lock().unwrap().topics[topic].cursor.clone();
        // Before the first row there is nothing to begin with.
        let snapshot = self.snapshot && self.state.lock().unwrap().topics[topic].afresh;
        let message = json!(["1", "1", topic, "phx_join", {"cursor": cursor, "snapshot": snapshot}]);
        socket.send(Message::text(message.to_string())).await.map_err(|_| End::Connection)
    }

    async fn take(&self, socket: &mut Socket, message: &Value) -> Result<(), End> {
        let (topic, payload) = (message[2].as_str().unwrap_or_default(), &message[4]);
        match message[3].as_str() {
            Some("phx_reply") if payload["status"] == "ok" => self.joined(topic, &payload["response"]).await,
            Some("phx_reply") if payload["response"]["reason"] == "not_ready" => {
                tokio::time::sleep(POLL).await;
                self.join(socket, topic).await
            }
            Some("phx_reply") if payload["response"]["reason"] == "resync_required" => self.resync(socket, topic).await,
            Some("phx_error") if payload["reason"] == "resync_required" => self.resync(socket, topic).await,
            // The database went away while it was asked for the rows.
            Some("phx_error") if payload["reason"] == "snapshot_failed" => {
                tokio::time::sleep(POLL).await;
                self.join(socket, topic).await
            }
            Some("new_updates") => {
                self.state.lock().unwrap().updates += 1;
                self.replica(topic, |replica| replica.apply(payload))
            }
            Some("cursor") => self.replica(topic, |replica| {
                replica.cursor = payload["cursor"].as_str().map(str::to_owned);
                Ok(())
            }),
            _ => Err(End::Fault(format!("unexpected: {message}"))),
        }
    }

    async fn joined(&self, topic: &str, response: &Value) -> Result<(), End> {
        self.state.lock().unwrap().joined += 1;
        let cursor = response["cursor"].as_str().map(str::to_owned);
        if response["resumed"] == true {
            return Ok(());
        }
        let afresh = self.state.lock().unwrap().topics[topic].afresh;
        match cursor {
            None if afresh && self.snapshot => Ok(()),
            None => Err(End::Fault(format!("no cursor: {response}"))),
            Some(cursor) => {
                self.replica(topic, |replica| {
                    replica.cursor = Some(cursor);
                    replica.fresh = true;
                    Ok(())
                })?;
                if afresh { self.rebuild(topic).await } else { Ok(()) }
            }
        }
    }

    async fn resync(&self, socket: &mut Socket, topic: &str) -> Result<(), End> {
        self.replica(topic, |replica| {
            replica.resyncs += 1;
            replica.forget();
            Ok(())
        })?;
        self.join(socket, topic).await
    }

    /// The subscription is live: whatever the rows that are read now lack will come.
    async fn rebuild(&self, topic: &str) -> Result<(), End> {
        let mut replica = self.replica(topic, |replica| Ok(std::mem::take(replica)))?;
        loop {
            if let Ok((mut client, connection)) = tokio_postgres::connect(&self.database, NoTls).await {
                let connection = tokio::spawn(connection);
                let rebuilt = replica.rebuild(topic, &mut client).await;
                connection.abort();
                if rebuilt.is_ok() {
                    break;
                }
            }
            tokio::time::sleep(POLL).await;
        }
        self.replica(topic, |place| {
            *place = replica;
            Ok(())
        })
    }

    fn replica<T>(&self, topic: &str, apply: impl FnOnce(&mut Replica) -> Result<T, String>) -> Result<T, End> {
        let mut state = self.state.lock().unwrap();
        let replica = state.topics.get_mut(topic).ok_or_else(|| End::Fault(format!("unasked: {topic}")))?;
        apply(replica).map_err(|problem| End::Fault(format!("{topic}: {problem}")))
    }
}

/// Why a session is over.
enum End {
    Connection,
    Fault(String),
}
