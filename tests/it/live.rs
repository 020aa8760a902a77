//! What a user of the live feed counts on, through the real binary: order, completeness, and that it goes on.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use walcast::demo::cluster::StopMode;

use super::support::database::Database;
use super::support::eventually;
use super::support::gateway::Gateway;
use super::support::phoenix::Client;

const ROUTES: &str = r#"
[[route]]
table = "public.articles"
topic = "updates:feed"
"#;

async fn database() -> Database {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key, title text)").await;
    database
}

fn ids(updates: &Value) -> impl Iterator<Item = i64> {
    updates["updates"].as_array().unwrap().iter().map(|update| update["record"]["id"].as_i64().unwrap())
}

#[tokio::test]
async fn a_hundred_thousand_rows_come_in_parts_in_order_and_complete() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles select n, 'title ' || n from generate_series(1, 100000) n").await;
    let (mut expected, mut part) = (1..=100_000, 0);
    loop {
        let updates = client.next_updates().await;
        assert_eq!(updates["part"], part);
        part += 1;
        for id in ids(&updates) {
            assert_eq!(Some(id), expected.next());
        }
        if updates["more"] != true {
            break;
        }
    }
    assert_eq!(expected.next(), None);
    assert!(part > 10, "{part} parts");
    // Whoever comes back in the middle gets the rest.
    database.execute("insert into articles values (0, 'after')").await;
    let after = client.next_updates().await;
    assert_eq!((ids(&after).collect::<Vec<_>>(), &after["part"]), (vec![0], &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_writers_are_seen_in_commit_order() {
    const WRITERS: i32 = 50;
    const COMMITS: i32 = 20;
    let database = database().await;
    database.execute("create table counters (writer int primary key, n int not null)").await;
    database.execute("create table log (position bigserial primary key, writer int, n int)").await;
    let routes = "[[route]]\ntable = \"public.*\"\ntopic = \"updates:feed\"\n";
    let gateway = Gateway::start(&database.url(), routes).await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 1..=WRITERS {
        let sql = database.connect().await;
        writers.spawn(async move {
            for n in 1..=COMMITS {
                let both = format!(
                    "begin; insert into counters values ({writer}, {n}) on conflict (writer) do update set n = {n};
                     insert into log (writer, n) values ({writer}, {n}); commit"
                );
                sql.batch_execute(&both).await.expect("a commit");
            }
        });
    }
    let (mut newest, mut last_cursor) = (vec![0; WRITERS as usize + 1], String::new());
    for _ in 0..WRITERS * COMMITS {
        let updates = client.next_updates().await;
        let tables: Vec<_> = updates["updates"].as_array().unwrap().iter().map(|it| it["table"].clone()).collect();
        assert_eq!(tables, ["counters", "log"], "a transaction arrives whole");
        let record = &updates["updates"][1]["record"];
        let writer = usize::try_from(record["writer"].as_i64().unwrap()).unwrap();
        assert_eq!(record["n"], newest[writer] + 1, "each writer's commits come in its order");
        newest[writer] += 1;
        // Cursors of one length sort as their positions do.
        let cursor = updates["cursor"].as_str().unwrap().to_owned();
        assert!(decode(&cursor) > decode(&last_cursor), "in commit order");
        last_cursor = cursor;
    }
    writers.join_all().await;
    assert!(newest.iter().skip(1).all(|n| *n == COMMITS));
}

fn decode(cursor: &str) -> Vec<u8> {
    data_encoding::BASE64URL_NOPAD.decode(cursor.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_by_itself_when_postgres_comes_back() {
    let mut database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    for (id, mode) in [(1, StopMode::Immediate), (3, StopMode::Fast)] {
        database.execute(&format!("insert into articles values ({id}, 'before')")).await;
        assert_eq!(ids(&client.next_updates().await).collect::<Vec<_>>(), [id]);
        database.stop(mode);
        client.send(&json!([null, "hb", "phoenix", "heartbeat", {}])).await;
        assert_eq!(client.next().await[4]["status"], "ok", "clients are served meanwhile");
        database.resume().await;
        database.execute(&format!("insert into articles values ({}, 'after')", id + 1)).await;
        assert_eq!(ids(&client.next_updates().await).collect::<Vec<_>>(), [id + 1]);
    }
}

#[tokio::test]
async fn sigterm_closes_clients_with_1012_and_exits_with_0() {
    let database = database().await;
    let mut gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut joined = Client::joined(&gateway, "updates:feed").await;
    let mut idle = Client::connect(&gateway).await;
    let closes = async { (joined.closed().await, idle.closed().await) };
    let (status, closes) = tokio::join!(gateway.terminate(), closes);
    for close in [closes.0, closes.1] {
        assert_eq!(u16::from(close.expect("a close frame").code), 1012);
    }
    assert!(status.success(), "{status}\n{}", gateway.log());
}

/// The first core that this process may use.
fn some_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    allowed.split(['-', ',']).next().unwrap().to_owned()
}

fn threads(process: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.map(|it| std::fs::read_to_string(it.unwrap().path().join("comm")).unwrap().trim().to_owned()).collect()
}

/// The shard's thread is replication's and the hub's then: it must serve, and end in order, all the same.
#[tokio::test]
async fn one_core_is_enough() {
    let database = database().await;
    let mut gateway = Gateway::configure(&database.url(), ROUTES);
    assert!(gateway.walcast("setup").await.status.success());
    gateway.spawn_under(&["taskset", "-c", &some_core()]);
    gateway.wait_until_ready().await;
    let threads = threads(gateway.process_id());
    assert!(threads.iter().any(|name| name == "shard-0"), "{threads:?}");
    assert!(!threads.iter().any(|name| name == "feed" || name == "shard-1"), "{threads:?}");
    let mut client = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles select n, 'title ' || n from generate_series(1, 20000) n").await;
    let mut expected = 1..=20_000;
    while !expected.is_empty() {
        for id in ids(&client.next_updates().await) {
            assert_eq!(Some(id), expected.next());
        }
    }
    let (status, close) = tokio::join!(gateway.terminate(), client.closed());
    assert_eq!(u16::from(close.expect("a close frame").code), 1012);
    assert!(status.success(), "{status}\n{}", gateway.log());
}

/// What a client gets for a request that is no handshake: the status line.
async fn request(gateway: &Gateway, head: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    socket.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let length = socket.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
}

const UPGRADE: &str = "Host: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n";

#[tokio::test]
async fn handshakes_are_judged() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    for (head, status) in [
        (format!("GET /socket/websocket HTTP/1.1\n{UPGRADE}"), "101"),
        (format!("GET /socket/websocket?a=1&b%5Bc%5D=2&&l%5B0%5D=1&vsn=2.0.0 HTTP/1.1\n{UPGRADE}"), "101"),
        (format!("GET /socket/websocket?vsn=1.0.0 HTTP/1.1\n{UPGRADE}"), "101"),
        (format!("GET /socket/websocket?vsn=2.1.0 HTTP/1.1\n{UPGRADE}"), "403"),
        (format!("GET /socket/websocket?vsn=2 HTTP/1.1\n{UPGRADE}"), "403"),
        (format!("POST /socket/websocket HTTP/1.1\n{UPGRADE}"), "400"),
        ("GET /socket/websocket HTTP/1.1\nHost: x\n\n".to_owned(), "400"),
        (format!("GET /nowhere HTTP/1.1\n{UPGRADE}"), "404"),
        ("GET /readyz HTTP/1.1\nHost: x\n\n".to_owned(), "404"),
        ("GET /healthz HTTP/1.1\nHost: x\n\n".to_owned(), "200"),
        ("nonsense\n\n".to_owned(), "400"),
    ] {
        let answer = request(&gateway, &head).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}\n{answer}");
    }
}

/// A socket behind its handshake, to say anything on it.
async fn raw_socket(gateway: &Gateway) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    let head = format!("GET /socket/websocket?vsn=2.0.0 HTTP/1.1\n{UPGRADE}").replace('\n', "\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.unwrap());
    }
    socket
}

/// A masked frame whose mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0xFF];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn garbage_has_its_answers_and_hurts_nobody_else() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut bystander = Client::joined(&gateway, "updates:feed").await;
    for (bytes, code) in [
        (frame(0x81, b"no json"), Some(1011_u16)),
        (frame(0x81, b"{}"), Some(1011)),
        (frame(0x81, &[0xFF, 0xFE]), Some(1007)),
        (frame(0x82, &[9, 9, 9]), Some(1011)),
        (frame(0x82, &vec![0; 10_000_000]), Some(1009)),
        (b"\x00\x01 this is no frame at all".to_vec(), Some(1002)),
        (frame(0x8F, b""), Some(1002)),
        (frame(0x81, b"half a frame")[..10].to_vec(), None),
    ] {
        let mut socket = raw_socket(&gateway).await;
        // The gateway may close before it has read everything.
        let _broken_pipe = socket.write_all(&bytes).await;
        let _reset = socket.shutdown().await;
        let mut answer = Vec::new();
        let _reset = socket.read_to_end(&mut answer).await;
        let found = answer.get(2..4).map(|code| u16::from_be_bytes([code[0], code[1]]));
        assert_eq!(found, code, "{:?}", &bytes[..bytes.len().min(30)]);
    }
    let mut client = Client::connect(&gateway).await;
    for topic in ["unknown", "updates:feed:x", "phoenix", ""] {
        let reply = client.try_join(topic, json!({})).await;
        assert_eq!(reply["response"]["reason"], "unmatched topic", "{topic}");
    }
    database.execute("insert into articles values (1, 'still here')").await;
    assert_eq!(ids(&bystander.next_updates().await).collect::<Vec<_>>(), [1]);
    assert!(!gateway.log().contains("panick"), "{}", gateway.log());
}

#[tokio::test]
async fn an_idle_database_does_not_hold_wal_back() {
    let database = database().await;
    database.execute("create table busy (n int)").await;
    let _gateway = Gateway::start(&database.url(), ROUTES).await;
    for round in 0..3 {
        database.execute("insert into busy select generate_series(1, 10000)").await;
        let written: String = database.value("select pg_current_wal_lsn()::text").await;
        let sql = format!("select confirmed_flush_lsn >= '{written}' from pg_replication_slots");
        eventually(&format!("the slot moves past {written} in round {round}"), || async {
            database.value::<bool>(&sql).await.then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_is_resumed_from_without_a_hole() {
    let database = database().await;
    let mut gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    let mut cursor = String::new();
    for id in 1..=5 {
        database.execute(&format!("insert into articles values ({id}, 'x')")).await;
        let updates = client.next_updates().await;
        if id == 3 {
            cursor = updates["cursor"].as_str().unwrap().to_owned();
        }
    }
    gateway.kill().await;
    database.execute("insert into articles values (6, 'while it was away')").await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    let mut client = Client::connect(&gateway).await;
    let reply = client.try_join("updates:feed", json!({ "cursor": cursor })).await;
    assert_eq!(reply["response"], json!({"cursor": cursor, "resumed": true}));
    database.execute("insert into articles values (7, 'live')").await;
    for id in 4..=7 {
        assert_eq!(ids(&client.next_updates().await).collect::<Vec<_>>(), [id]);
    }
}

/// A new slot is given the oldest `catalog_xmin` of them all, from before the table and the publication were there.
#[tokio::test]
async fn a_cluster_with_older_slots_makes_no_cursor_doubtful() {
    let database = Database::start().await;
    database.execute("select pg_create_logical_replication_slot('anothers', 'test_decoding')").await;
    database.execute("create table articles (id int primary key, title text)").await;
    let mut gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles values (1, 'x')").await;
    let cursor = client.next_updates().await["cursor"].clone();
    gateway.kill().await;
    database.execute("insert into articles values (2, 'while it was away')").await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    let mut client = Client::connect(&gateway).await;
    let reply = client.try_join("updates:feed", json!({ "cursor": cursor })).await;
    assert_eq!(reply["response"], json!({"cursor": cursor, "resumed": true}), "{}", gateway.log());
    assert_eq!(ids(&client.next_updates().await).collect::<Vec<_>>(), [2]);
    assert!(!gateway.log().contains("was altered"), "{}", gateway.log());
}

#[tokio::test]
async fn a_slot_that_holds_much_wal_is_warned_of() {
    let database = Database::start_with(&[("max_wal_size", "32MB"), ("min_wal_size", "32MB")]).await;
    database.execute("create table articles (id int primary key, title text); create table busy (n text)").await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    database.execute("insert into articles values (1, 'kept for the window')").await;
    for _ in 0..4 {
        database.execute("insert into busy select repeat('x', 1000) from generate_series(1, 20000)").await;
    }
    eventually("a warning", async || gateway.log().contains("more WAL than max_wal_size").then_some(())).await;
}

/// What is acknowledged while nothing is published goes no further than the cursors that are out.
#[tokio::test]
async fn a_client_that_has_heard_nothing_is_resumed_after_a_killed_gateway() {
    let database = database().await;
    database.execute("create table elsewhere (n int)").await;
    let mut gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut cursors = Vec::new();
    for connected in [true, false] {
        let mut client = Client::connect(&gateway).await;
        let reply = client.try_join("updates:feed", json!({})).await;
        cursors.push(reply["response"]["cursor"].clone());
        if !connected {
            drop(client);
        }
        database.execute("insert into elsewhere select generate_series(1, 10000)").await;
        let written: String = database.value("select pg_current_wal_lsn()::text").await;
        let sql = format!("select write_lsn >= '{written}' from pg_stat_replication");
        eventually("a status update", || async { database.value::<bool>(&sql).await.then_some(()) }).await;
    }
    gateway.kill().await;
    database.execute("insert into articles values (1, 'meanwhile')").await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    for cursor in cursors {
        let mut client = Client::connect(&gateway).await;
        let reply = client.try_join("updates:feed", json!({ "cursor": cursor })).await;
        assert_eq!(reply["response"], json!({"cursor": cursor, "resumed": true}));
        assert_eq!(ids(&client.next_updates().await).collect::<Vec<_>>(), [1]);
    }
}

#[tokio::test]
async fn without_wal_nothing_is_promised_over_a_restart() {
    let database = database().await;
    let mut gateway = Gateway::start(&database.url(), &format!("{ROUTES}\n[replay]\nwal = \"0\"\n")).await;
    let mut client = Client::joined(&gateway, "updates:feed").await;
    database.execute("insert into articles values (1, 'x')").await;
    let cursor = client.next_updates().await["cursor"].clone();
    database.execute("insert into articles values (2, 'x')").await;
    client.next_updates().await;
    let written: String = database.value("select pg_current_wal_insert_lsn()::text").await;
    let sql = format!("select confirmed_flush_lsn >= '{written}' from pg_replication_slots");
    eventually("the head is acknowledged", || async { database.value::<bool>(&sql).await.then_some(()) }).await;
    gateway.kill().await;
    gateway.spawn();
    gateway.wait_until_ready().await;
    let mut client = Client::connect(&gateway).await;
    let reply = client.try_join("updates:feed", json!({ "cursor": cursor })).await;
    assert_eq!(reply, json!({"status": "error", "response": {"reason": "resync_required"}}));
    assert_eq!(client.try_join("updates:feed", json!({})).await["status"], "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_did_not_read_for_long_catches_up_at_its_own_pace() {
    let database = database().await;
    let gateway = Gateway::start(&database.url(), ROUTES).await;
    let mut slow = Client::joined(&gateway, "updates:feed").await;
    let mut fast = Client::joined(&gateway, "updates:feed").await;
    // 60 MB: far more than what the sockets' buffers and the outbox take.
    for transaction in 0..60 {
        let title = "repeat('x', 1000)";
        let first = transaction * 1000 + 1;
        let sql = format!("insert into articles select n, {title} from generate_series({first}, {}) n", first + 999);
        database.execute(&sql).await;
        // Others don't wait for it.
        assert_eq!(next_ids(&mut fast, 1000).await, (first..first + 1000).collect::<Vec<_>>());
    }
    assert_eq!(next_ids(&mut slow, 60_000).await, (1..=60_000).collect::<Vec<_>>());
}

/// So many rows, in as many messages as they come.
async fn next_ids(client: &mut Client, count: usize) -> Vec<i64> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(ids(&client.next_updates().await));
    }
    found
}
