//! The inspector: what it is told, and its page in headless Chromium.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::database::Database;
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::http;
use super::support::node::Script;
use super::support::phoenix::Client;

const CONFIG: &str = r#"
[[route]]
table = "public.notes"
topic = "notes:{room}"

[[route]]
table = "public.absent"
topic = "absent"
"#;

async fn database() -> Database {
    let database = Database::start().await;
    database.execute("create table notes (id int primary key, room int not null, text text)").await;
    database.execute("alter table notes replica identity full").await;
    database.execute("create table absent (id int primary key)").await;
    database
}

async fn state(gateway: &Gateway, search: &str) -> Value {
    let (status, body) = gateway.get_admin(&format!("/inspector/state?search={search}")).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_of_routes_topics_and_subscribers_and_of_no_rows() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    database.execute("alter publication walcast drop table absent").await;
    let mut first = Client::joined(&gateway, "notes:7").await;
    let _second = Client::joined(&gateway, "notes:7").await;
    let _third = Client::joined(&gateway, "notes:8").await;
    database.execute("insert into notes values (1, 7, 'a secret'), (2, 9, 'another secret')").await;
    first.next_updates().await;
    let whole = eventually("the counts", async || {
        let state = state(&gateway, "").await;
        (state["routes"][0]["changes"] == 2
            && state["clients"]["subscriptions"] == 3
            && state["routes"][1]["fed"] == false)
            .then_some(state)
    })
    .await;
    let topic = |topic: &str, subscribers: u32, messages: u32| json!({"topic": topic, "routes": [1], "subscribers": subscribers, "messages": messages});
    assert_eq!(whole["topics"], json!([topic("notes:7", 2, 1), topic("notes:8", 1, 0), topic("notes:9", 0, 1)]));
    assert_eq!((&whole["topics_found"], &whole["routes_total"]), (&json!(3), &json!(2)));
    let route = &whole["routes"][0];
    assert_eq!((&route["table"], &route["topic"]), (&json!("public.notes"), &json!("notes:{room}")));
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let line = config.lines().position(|line| line == "table = \"public.notes\"").unwrap() + 1;
    assert_eq!(route["line"], line);
    assert_eq!((&route["fed"], &whole["routes"][1]["fed"]), (&json!(true), &json!(false)));
    assert!(!whole.to_string().contains("secret"), "{whole}");
    let feed = &whole["replication"];
    for (name, value) in [
        ("publication", json!("walcast")),
        ("slot", json!("walcast")),
        ("slot_status", json!("reserved")),
        ("slot_invalidation", Value::Null),
        ("slot_failover", json!(false)),
        ("slot_synced", json!(false)),
        ("in_recovery", json!(false)),
        ("wal_budget", json!(1 << 30)),
    ] {
        assert_eq!(feed[name], value, "{name}: {feed}");
    }
    assert!(feed["server"].as_str().unwrap().starts_with("postgres@127.0.0.1:"), "{feed}");
    assert_eq!((&whole["log"]["window_seconds"], &whole["log"]["memory_limit"]), (&json!(600.0), &json!(256 << 20)));
    assert_eq!((&whole["tokens"], &whole["certificate_expiry"]), (&json!(false), &Value::Null));
    let some = state(&gateway, "notes:8").await;
    assert_eq!(some["topics"], json!([topic("notes:8", 1, 0)]));
    assert_eq!(some["routes"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_it_and_follows_a_topic() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    database.execute("alter publication walcast drop table absent").await;
    let _first = Client::joined(&gateway, "notes:7").await;
    let _second = Client::joined(&gateway, "notes:7").await;
    database.execute("insert into notes select n, n % 3, 'before' from generate_series(100, 120) n").await;
    let page = format!("http://127.0.0.1:{}/inspector", gateway.admin_port());
    let folder = env!("CARGO_TARGET_TMPDIR");
    let mut script = Script::start("inspector.mjs", &[("WALCAST_PAGE", &page), ("WALCAST_SCREENSHOTS", folder)]);
    script.until("following").await;
    database.execute("insert into notes values (1, 7, '<b>not markup</b>')").await;
    database.execute("update notes set text = 'markup' where id = 1").await;
    database.execute("delete from notes where id = 1").await;
    script.succeed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_which_rows_the_publication_gives() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    let filters = async || {
        let (status, body) = gateway.get_admin("/inspector/filters").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let version: i32 = database.value("select current_setting('server_version_num')::int").await;
    if version >= 150_000 {
        database.execute("alter publication walcast set table notes where (room < 9), absent").await;
        assert_eq!(filters().await, json!({"filters": [{"table": "public.notes", "filter": "(room < 9)"}]}));
    } else {
        assert_eq!(filters().await, json!({"filters": []}));
    }
}

/// The status of a request that addresses the gateway by this name.
async fn status(port: u16, path: &str, host: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_asked_why_by_its_own_page_alone() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), CONFIG).await;
    let ask = async |content_type: &str, body: &str| {
        let headers = [("content-type", content_type)];
        let answer = http::request(gateway.admin_port(), "POST", "/inspector/why", &headers, body).await;
        (answer.status, answer.text().await)
    };
    let (status, answer) = ask("application/json", r#"{"topic": "notes:7", "row": {"id": 1, "room": 7}}"#).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.starts_with("topic notes:7\n\nroute 1: public.notes to notes:{room}\n"), "{answer}");
    assert!(answer.ends_with("may join, and sees the row"), "{answer}");
    // What any page's form can send is no question.
    assert_eq!(ask("text/plain", r#"{"topic": "notes:7"}"#).await.0, 415);
    for (body, says) in [
        ("{}", "missing field `topic`"),
        (r#"{"topic": "notes:7", "colour": 1}"#, "unknown field `colour`"),
        (r#"{"topic": "notes:7", "row": {"colour": 1}}"#, "publishes no column `colour`"),
        (r#"{"topic": "nowhere", "row": {"id": 1}}"#, "no published table is routed to `nowhere`"),
    ] {
        let (status, answer) = ask("application/json", body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let message = answer["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(says), "{body}: {status} {answer}");
        assert_eq!(answer["reason"], "invalid_question");
    }
    // Clients have no inspector.
    let answer = http::request(gateway.port(), "POST", "/inspector/why", &[], "{}").await;
    assert_eq!(answer.status, 404);
}

const SHOWN: [&str; 4] = ["/inspector/", "/inspector/state", "/topics/absent", "/socket/longpoll"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_point_their_own_name_here_read_nothing() {
    let database = database().await;
    let mut gateway = Gateway::start(&database.url(), CONFIG).await;
    let (port, admin) = (gateway.port(), gateway.admin_port());
    for path in SHOWN {
        for host in ["127.0.0.1", "localhost:1", "[::1]:9", "10.1.2.3"] {
            assert_eq!(status(admin, path, host).await, 200, "{path} {host}");
        }
        for host in ["evil.example", "localhost.evil.example:4001", "admin.example.com"] {
            assert_eq!(status(admin, path, host).await, 421, "{path} {host}");
        }
    }
    // Monitoring goes by any name, and so do clients where nothing else is said.
    for path in ["/metrics", "/readyz", "/healthz"] {
        assert_eq!(status(admin, path, "prometheus-target.internal").await, 200, "{path}");
    }
    assert_eq!(status(port, "/topics/absent", "app.example.com").await, 200);

    assert!(gateway.terminate().await.success());
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    gateway.write_config(&text.replace("[server]\n", "[server]\nhosts = [\"admin.example.com\"]\n"));
    gateway.spawn();
    gateway.wait_until_ready().await;
    for path in SHOWN {
        assert_eq!(status(admin, path, "admin.example.com").await, 200, "{path}");
        assert_eq!(status(admin, path, "evil.example").await, 421, "{path}");
    }
    assert_eq!(status(port, "/topics/absent", "admin.example.com").await, 200);
    assert_eq!(status(port, "/topics/absent", "app.example.com").await, 421);
    assert_eq!(status(port, "/healthz", "app.example.com").await, 200);
}
