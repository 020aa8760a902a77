//! Writes from clients: `sync_request` against the real binary and a real Postgres.

mod converge;
mod official_client;
mod requests;
mod retries;
mod rights;
mod rules;
mod strategies;
mod values;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::phoenix::Client;

/// Every client writes as `web`, by `[route.write]`.
const NOTES: &str = "
create role web;
create table notes (
    id int primary key,
    workspace_id int not null,
    title text not null,
    body text,
    rank int unique,
    version int not null default 1,
    updated_at timestamptz not null default now()
);
alter table notes replica identity full;
grant select, insert, update, delete on notes to web;
";

/// The route, with these lines in `[route.write]`.
fn route(write: &str) -> String {
    format!(
        "[[route]]\ntable = \"public.notes\"\ntopic = \"sync:{{workspace_id}}\"\nevent = \"sync_update\"\n\
         [route.write]\nrole = \"web\"\n{write}\n"
    )
}

/// With rows that are there before the feed begins.
async fn start(write: &str, rows: &str) -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute(NOTES).await;
    database.execute(rows).await;
    let gateway = Gateway::start(&database.url(), &route(write)).await;
    (database, gateway)
}

/// A device: a connection that has joined a topic, with the updates that have come to it.
struct Device {
    client: Client,
    topic: String,
    requests: u32,
    /// Payloads of `sync_update`, in order.
    updates: Vec<Value>,
}

impl Device {
    async fn join(gateway: &Gateway, topic: &str) -> Self {
        Self::join_as(Client::connect(gateway).await, topic).await
    }

    async fn join_as(mut client: Client, topic: &str) -> Self {
        let reply = client.try_join(topic, json!({})).await;
        assert_eq!(reply["status"], "ok", "{reply}");
        Self { client, topic: topic.to_owned(), requests: 100, updates: Vec::new() }
    }

    /// Sends a request, and does not wait for what comes of it; its reference.
    async fn send(&mut self, id: &str, changes: Value) -> String {
        self.requests += 1;
        let reference = self.requests.to_string();
        let payload = json!({"id": id, "changes": changes});
        self.client.send(&json!(["1", reference, self.topic, "sync_request", payload])).await;
        reference
    }

    /// The reply to a request, as status and response; updates that come before it are kept.
    async fn reply(&mut self, reference: &str) -> (String, Value) {
        loop {
            let message = self.client.next().await;
            if message[3] == "phx_reply" && message[1] == reference {
                let status = message[4]["status"].as_str().expect("a status").to_owned();
                return (status, message[4]["response"].clone());
            }
            assert_eq!(message[3], "sync_update", "{message}");
            self.updates.push(message[4].clone());
        }
    }

    async fn ask(&mut self, id: &str, changes: Value) -> (String, Value) {
        let reference = self.send(id, changes).await;
        self.reply(&reference).await
    }

    /// A request that must succeed; its cursor.
    async fn write(&mut self, id: &str, changes: Value) -> String {
        let (status, response) = self.ask(id, changes).await;
        assert_eq!(status, "ok", "{response}");
        response["cursor"].as_str().unwrap_or_else(|| panic!("a cursor, not {response}")).to_owned()
    }

    /// A request that must fail; its response.
    async fn refused(&mut self, id: &str, changes: Value) -> Value {
        let (status, response) = self.ask(id, changes).await;
        assert_eq!(status, "error", "{response}");
        response
    }
}
