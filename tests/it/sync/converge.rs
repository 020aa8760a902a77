//! Devices that edit the same rows at once, lose their connections and ask again: all end with the same rows, what was
//! acknowledged is there, and each mutation was done once or not at all.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::route;
use crate::support::database::Database;
use crate::support::gateway::Gateway;
use crate::support::{PATIENCE, POLL};

const DEVICES: u64 = 5;
const EDITS: u32 = 25;
const TOPIC: &str = "sync:7";

/// The history says of every change what it made of what.
const ROWS: &str = "
insert into notes (id, workspace_id, title, body) select n, 7, 'title ' || n, 'body ' || n from generate_series(1, 4) n;
create table history (op text, id int, old jsonb, new jsonb);
create function note_down() returns trigger language plpgsql security definer as
$$ begin
     insert into history values (tg_op, coalesce(new.id, old.id), to_jsonb(old), to_jsonb(new));
     return null;
   end $$;
create trigger note_down after insert or update or delete on notes for each row execute function note_down();
";

type Rows = BTreeMap<i64, Value>;

/// What a device asked for, and what came of it.
struct Edit {
    op: &'static str,
    id: i64,
    /// The column that an update changes.
    column: &'static str,
    /// What it had seen there, and what it wrote: the only one to write it.
    base: Value,
    value: Value,
    done: bool,
}

struct Device {
    url: String,
    number: u64,
    random: Rng,
    socket: Option<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    references: u32,
    cursor: Option<String>,
    rows: Rows,
    edits: Vec<Edit>,
}

impl Device {
    fn new(url: String, number: u64, seed: u64) -> Self {
        let random = Rng::with_seed(seed * DEVICES + number);
        let (rows, edits) = (Rows::new(), Vec::new());
        Self { url, number, random, socket: None, references: 0, cursor: None, rows, edits }
    }

    async fn edit_all(mut self) -> Self {
        for number in 0..EDITS {
            self.connected().await;
            let edit = self.think_of(number);
            let changes = changes(&edit);
            let done = self.ask(&format!("{}-{number}", self.number), &changes).await;
            self.edits.push(Edit { done, ..edit });
        }
        self
    }

    /// Something that no other edit writes.
    fn think_of(&mut self, number: u32) -> Edit {
        let value = json!(format!("{}-{number}", self.number));
        let known: Vec<i64> = self.rows.keys().copied().collect();
        let column = if self.random.bool() { "title" } else { "body" };
        let id = if known.is_empty() { 0 } else { known[self.random.usize(..known.len())] };
        let base = self.rows.get(&id).map_or(Value::Null, |row| row[column].clone());
        let new_id = i64::try_from(self.number).unwrap() * 1000 + i64::from(number) + 100;
        match self.random.u32(..10) {
            0 => Edit { op: "insert", id: new_id, column: "title", base: Value::Null, value, done: false },
            1 if known.len() > 3 => Edit { op: "delete", id, column, base, value, done: false },
            _ if known.is_empty() => {
                Edit { op: "insert", id: new_id, column: "title", base: Value::Null, value, done: false }
            }
            _ => Edit { op: "update", id, column, base, value, done: false },
        }
    }

    /// Asks until there is an answer; whether it is done.
    async fn ask(&mut self, id: &str, changes: &Value) -> bool {
        loop {
            self.connected().await;
            let payload = json!({"id": id, "changes": changes});
            let Some(reference) = self.send("sync_request", &payload).await else { continue };
            if self.random.u32(..4) == 0 {
                // The network goes, at any moment of the write.
                sleep(Duration::from_micros(self.random.u64(..20_000))).await;
                self.socket = None;
                continue;
            }
            let Some(reply) = self.reply(&reference).await else { continue };
            let response = &reply["response"];
            if reply["status"] == "ok" {
                self.cursor = Some(response["cursor"].as_str().expect("a cursor").to_owned());
                return true;
            }
            match response["reason"].as_str() {
                Some("conflict") => return false,
                Some("timeout" | "busy" | "unavailable") => {}
                _ => panic!("{response}"),
            }
        }
    }

    /// Joined, with the rows up to some point.
    async fn connected(&mut self) {
        while self.socket.is_none() {
            let Ok((socket, _)) = connect_async(format!("{}/websocket?vsn=2.0.0", self.url)).await else {
                sleep(POLL).await;
                continue;
            };
            self.socket = Some(socket);
            let params = match &self.cursor {
                Some(cursor) => json!({"cursor": cursor, "snapshot": true}),
                None => json!({"snapshot": true}),
            };
            let Some(reference) = self.send("phx_join", &params).await else { continue };
            let Some(reply) = self.reply(&reference).await else { continue };
            if reply["status"] != "ok" {
                assert_eq!(reply["response"]["reason"], "not_ready", "{reply}");
                self.socket = None;
                sleep(POLL).await;
                continue;
            }
            // Nothing can be edited before the rows are there.
            while self.socket.is_some() && self.cursor.is_none() {
                self.take_next().await;
            }
        }
    }

    async fn send(&mut self, event: &str, payload: &Value) -> Option<String> {
        self.references += 1;
        let reference = self.references.to_string();
        let message = json!(["1", reference, TOPIC, event, payload]).to_string();
        let sent = self.socket.as_mut()?.send(Message::text(message)).await;
        if sent.is_err() {
            self.socket = None;
        }
        self.socket.is_some().then_some(reference)
    }

    async fn reply(&mut self, reference: &str) -> Option<Value> {
        loop {
            let message = self.take_next().await?;
            if message[3] == "phx_reply" && message[1] == reference {
                return Some(message[4].clone());
            }
        }
    }

    /// The next message, the updates in which are applied; none where the connection is gone.
    async fn take_next(&mut self) -> Option<Value> {
        let next = timeout(PATIENCE, self.socket.as_mut()?.next()).await.expect("a message in time");
        let Some(Ok(Message::Text(text))) = next else {
            self.socket = None;
            return None;
        };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        assert_ne!(message[3], "phx_error", "{message}");
        if message[3] == "sync_update" {
            self.apply(&message[4]);
        }
        Some(message)
    }

    fn apply(&mut self, payload: &Value) {
        let (snapshot, part) = (payload["snapshot"] == true, payload["part"].as_u64().unwrap_or_default());
        if snapshot && part == 0 {
            (self.rows, self.cursor) = (Rows::new(), None);
        }
        for update in payload["updates"].as_array().expect("updates") {
            let id = |row: &str| update[row]["id"].as_i64();
            match (update["op"].as_str(), id("record"), id("old_record")) {
                (Some("delete"), _, Some(old)) => {
                    let gone = self.rows.remove(&old);
                    assert!(gone.is_some(), "deleted twice, or never known: {update}");
                }
                (Some("insert"), Some(new), _) => {
                    let before = self.rows.insert(new, update["record"].clone());
                    assert_eq!(before, None, "inserted twice");
                }
                (Some(_), Some(new), _) => {
                    self.rows.insert(new, update["record"].clone());
                }
                _ => panic!("{update}"),
            }
        }
        if let Some(cursor) = payload["cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
    }

    /// Reads on until it has these rows.
    async fn settle(&mut self, rows: &Rows) {
        self.connected().await;
        while self.rows != *rows {
            assert!(self.take_next().await.is_some(), "the connection is gone");
        }
    }
}

fn changes(edit: &Edit) -> Value {
    let Edit { op, id, column, base, value, .. } = edit;
    match *op {
        "insert" => json!([{"op": op, "key": {"id": id}, "record": {"title": value}}]),
        "delete" => json!([{"op": op, "key": {"id": id}, "base": {*column: base}}]),
        _ => json!([{"op": op, "key": {"id": id}, "record": {*column: value}, "base": {*column: base}}]),
    }
}

/// Every edit that was acknowledged is in the history once, made of what its device had seen; no other is.
async fn check_history(database: &Database, edits: &[Edit]) {
    let history: String =
        database.value("select coalesce(jsonb_agg(to_jsonb(history)), '[]')::text from history").await;
    let history: Vec<Value> = serde_json::from_str(&history).unwrap();
    let mut written: HashMap<(String, String), Vec<&Value>> = HashMap::new();
    for entry in &history {
        for column in ["title", "body"] {
            if entry["op"] != "DELETE" && entry["new"][column] != entry["old"][column] {
                let value = entry["new"][column].to_string();
                written.entry((column.to_owned(), value)).or_default().push(entry);
            }
        }
    }
    for edit in edits {
        let times = match edit.op {
            "delete" => history.iter().filter(|entry| entry["op"] == "DELETE" && entry["id"] == edit.id).count(),
            _ => {
                let entries =
                    written.get(&(edit.column.to_owned(), edit.value.to_string())).cloned().unwrap_or_default();
                for entry in entries.iter().filter(|_| edit.op == "update") {
                    assert_eq!((&entry["old"][edit.column], &entry["id"]), (&edit.base, &json!(edit.id)));
                }
                entries.len()
            }
        };
        match (edit.op, edit.done) {
            // Others may have deleted the row.
            ("delete", false) => {}
            (_, done) => assert_eq!(times, usize::from(done), "{} of {} as {}", edit.op, edit.id, edit.value),
        }
    }
    let deleted = edits.iter().filter(|edit| edit.op == "delete" && edit.done).count();
    assert_eq!(history.iter().filter(|entry| entry["op"] == "DELETE").count(), deleted);
    assert!(edits.iter().any(|edit| !edit.done), "nobody was in anybody's way");
}

#[tokio::test]
async fn devices_that_drop_and_retry_converge_and_lose_nothing() {
    let seed = fastrand::u64(..1 << 32);
    println!("seed {seed}");
    let database = Database::start().await;
    database.execute(super::NOTES).await;
    database.execute(ROWS).await;
    let mut gateway = Gateway::start(&database.url(), &route("columns = [\"title\", \"body\"]")).await;
    let devices = (0..DEVICES).map(|number| Device::new(gateway.socket_url(), number, seed));
    let editing: Vec<_> = devices.map(|device| tokio::spawn(device.edit_all())).collect();
    // The gateway goes in the middle, without a word.
    let half = "select count(*) from walcast.mutations";
    crate::support::eventually("half of the edits", async || {
        (database.value::<i64>(half).await > i64::from(EDITS) * 2).then_some(())
    })
    .await;
    gateway.kill().await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    let (mut devices, mut edits) = (Vec::new(), Vec::new());
    for task in editing {
        let mut device = task.await.expect("a device that finishes");
        edits.append(&mut device.edits);
        devices.push(device);
    }
    check_history(&database, &edits).await;
    let rows: String =
        database.value("select jsonb_agg(row_to_json(notes))::text from notes where workspace_id = 7").await;
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let rows: Rows = rows.into_iter().map(|row| (row["id"].as_i64().unwrap(), row)).collect();
    for device in &mut devices {
        device.settle(&rows).await;
    }
}
