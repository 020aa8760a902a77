//! Events that apps post over HTTP, and what config/walcast.toml promises: the official client's three kinds of
//! channels.

use std::fs;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::auth::{SECRET, signed};
use super::support::database::Database;
use super::support::gateway::Gateway;
use super::support::http::{self, Answer};
use super::support::node::Script;
use super::support::phoenix::Client;
use super::support::repository;

const LOBBY: &str = "notifications:lobby";

const CONFIG: &str = r#"
[[route]]
table = "public.articles"
topic = "updates:feed"

[[channel]]
topic = "notifications:*"

[limits]
broadcast = "1KiB"
"#;

/// With these lines in `[auth]`, and these `limits`.
async fn start(auth: &str, limits: &str) -> (Database, Gateway) {
    start_with(auth, &format!("{CONFIG}{limits}")).await
}

async fn start_with(auth: &str, config: &str) -> (Database, Gateway) {
    let database = Database::start().await;
    database.execute("create table articles (id int primary key, title text)").await;
    let mut gateway = Gateway::configure(&database.url(), config);
    let text = fs::read_to_string(gateway.config_file()).unwrap();
    gateway.write_config(&text.replace("mode = \"none\"\n", auth));
    set_up(&mut gateway).await;
    (database, gateway)
}

async fn set_up(gateway: &mut Gateway) {
    let setup = gateway.walcast("setup").await;
    assert!(setup.status.success(), "{}{}", setup.stdout, setup.stderr);
    gateway.spawn();
    gateway.wait_until_ready().await;
}

async fn post(port: u16, topic: &str, token: Option<&str>, body: &str) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    http::request(port, "POST", &format!("/topics/{topic}/events"), &headers, body).await
}

/// Status and reason.
async fn refusal(answer: Answer) -> (u16, String) {
    let status = answer.status;
    (status, answer.json().await["reason"].as_str().unwrap_or_default().to_owned())
}

fn event(name: &str, payload: &Value) -> String {
    json!({"event": name, "payload": payload}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_has_all_three_kinds_of_channels_as_configured_for_docker() {
    let database = Database::start().await;
    database.execute(&fs::read_to_string(repository().join("sql/demo.sql")).unwrap()).await;
    let mut gateway = Gateway::configure(&database.url(), "");
    let server = format!(
        "[server]\nlisten = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"\n\n[auth]",
        gateway.port(),
        gateway.admin_port()
    );
    let config = fs::read_to_string(repository().join("config/walcast.toml")).unwrap();
    let url = "${DATABASE_URL:-postgres://postgres:postgres@localhost:5432/postgres}";
    assert!(config.contains(url), "{config}");
    gateway.write_config(&config.replace(url, &database.url()).replace("[auth]", &server));
    set_up(&mut gateway).await;
    for (client, vsn) in [("phoenix", "2.0.0"), ("phoenix-1-7", "2.0.0"), ("phoenix", "1.0.0")] {
        let socket = gateway.socket_url();
        let variables = [("WALCAST_SOCKET", &*socket), ("WALCAST_CLIENT", client), ("WALCAST_VSN", vsn)];
        let mut script = Script::start("three_channels.mjs", &variables);
        script.until("notified by a client").await;
        let body = event("new_notification", &json!({"message": "from an app"}));
        let answer = post(gateway.port(), LOBBY, None, &body).await;
        assert_eq!((answer.status, answer.text().await.as_str()), (200, "{}"));
        script.until("notified by an app").await;
        let call = "select walcast.broadcast('notifications:lobby', 'new_notification', '{\"message\": \"from SQL\"}')";
        database.execute(call).await;
        script.until("fetched").await;
        let article = "insert into articles (section, title, summary, author) values ('City', 'Fresh', '', '')";
        database.execute(article).await;
        script.succeed().await;
        database.execute("delete from notes; delete from walcast.mutations").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_the_right_is_heard_and_nobody_else() {
    let auth = format!("mode = \"jwt\"\nsecret = \"{SECRET}\"\n");
    let (_database, gateway) = start(&auth, "").await;
    let token = |publish: Value| signed(&json!({"sub": "app", "publish": publish}), SECRET);
    let (every, some) = (token(json!(true)), token(json!(["notifications:*"])));
    let url = format!("{}/websocket?vsn=2.0.0&token={}", gateway.socket_url(), token(json!(false)));
    let mut listener = Client::connect_exactly(&url).await;
    for topic in [LOBBY, "updates:feed"] {
        assert_eq!(listener.try_join(topic, json!({})).await["status"], "ok");
    }
    let body = event("said", &json!({"n": 1.50}));
    let no_one = signed(&json!({"publish": true}), "another secret of more than 32 bytes ...");
    let unauthorized = (403, "unauthorized".to_owned());
    let without = [signed(&json!({"sub": "app"}), SECRET), token(json!(false)), token(json!("*")), token(json!([]))];
    for port in [gateway.port(), gateway.admin_port()] {
        let refused = async |topic, token| refusal(post(port, topic, token, &body).await).await;
        assert_eq!(refused(LOBBY, None).await, (401, "missing_token".to_owned()));
        assert_eq!(refused(LOBBY, Some(no_one.as_str())).await, (401, "invalid_token".to_owned()));
        for token in &without {
            assert_eq!(refused(LOBBY, Some(token.as_str())).await, unauthorized);
        }
        assert_eq!(refused("updates:feed", Some(some.as_str())).await, unauthorized);
        for (topic, token) in [(LOBBY, &some), ("updates:feed", &every)] {
            assert_eq!(post(port, topic, Some(token), &body).await.status, 200);
            // Of what was refused nothing came before it.
            let heard = listener.next().await;
            assert_eq!(heard, json!([null, null, topic, "said", {"n": 1.5}]));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_sent_is_answered_with_the_reason() {
    let (_database, gateway) = start("mode = \"none\"\n", "").await;
    let empty = event("said", &json!({}));
    let long = event("said", &json!({"text": "x".repeat(1024)}));
    let huge = event("said", &json!({"text": "x".repeat(1 << 20)}));
    for (topic, body, status, reason) in [
        ("nothing:here", &*empty, 404, "unmatched topic"),
        ("%zz", &*empty, 404, "unmatched topic"),
        ("", &*empty, 404, "unmatched topic"),
        ("phoenix", &*empty, 404, "unmatched topic"),
        (LOBBY, "", 400, "invalid_payload"),
        (LOBBY, "no JSON", 400, "invalid_payload"),
        (LOBBY, r#"{"event": "said"}"#, 400, "invalid_payload"),
        (LOBBY, r#"{"event": "said", "payload": [1]}"#, 400, "invalid_payload"),
        (LOBBY, r#"{"event": "", "payload": {}}"#, 400, "invalid_event"),
        (LOBBY, r#"{"event": "phx_close", "payload": {}}"#, 400, "invalid_event"),
        (LOBBY, &*long, 413, "payload_too_large"),
        (LOBBY, &*huge, 413, "payload_too_large"),
        // By it the rows come.
        ("updates:feed", r#"{"event": "new_updates", "payload": {"updates": []}}"#, 403, "event not allowed"),
    ] {
        let answer = post(gateway.port(), topic, None, body).await;
        assert_eq!(refusal(answer).await, (status, reason.to_owned()), "{topic} {}", &body[..body.len().min(80)]);
    }
    let answer = http::request(gateway.port(), "POST", "/topics/updates:feed", &[], &empty).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let answer = http::request(gateway.port(), "PUT", "/topics/updates:feed/events", &[], &empty).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, POST, OPTIONS")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_over_one_connection_are_heard_in_order() {
    const COUNT: usize = 2_000;
    let (_database, gateway) = start("mode = \"none\"\n", "").await;
    let mut listener = Client::joined(&gateway, LOBBY).await;
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    let requests: String = (0..COUNT)
        .map(|number| {
            let body = event("said", &json!({"n": number}));
            let length = body.len();
            let close = if number + 1 == COUNT { "connection: close\r\n" } else { "" };
            let head = format!("POST /topics/{LOBBY}/events HTTP/1.1\r\nhost: x\r\n{close}content-length: {length}");
            format!("{head}\r\n\r\n{body}")
        })
        .collect();
    let (mut reading, mut writing) = stream.split();
    let write = async { writing.write_all(requests.as_bytes()).await.unwrap() };
    let mut answers = String::new();
    let listen = async {
        for number in 0..COUNT {
            assert_eq!(listener.next().await[4], json!({"n": number}));
        }
    };
    let ((), read, ()) = tokio::join!(write, reading.read_to_string(&mut answers), listen);
    read.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_limit_is_told_when_to_come_back() {
    let (_database, gateway) = start("mode = \"none\"\n", "posts_per_second = 1\n").await;
    let body = event("said", &json!({}));
    let mut answers = Vec::new();
    for _ in 0..20 {
        let answer = post(gateway.port(), LOBBY, None, &body).await;
        let retry = answer.header("retry-after").map(str::to_owned);
        answers.push((answer.status, retry));
        if answer.status == 429 {
            assert_eq!(refusal(answer).await.1, "rate_limited");
        }
    }
    assert_eq!(answers[0], (200, None));
    assert!(answers.contains(&(429, Some("1".to_owned()))), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_s_rule_lets_in_and_keeps_out_and_ends_what_it_no_longer_allows() {
    let auth = format!("mode = \"jwt\"\nsecret = \"{SECRET}\"\n");
    let config = r#"
[[route]]
table = "public.articles"
topic = "updates:feed"
allow = "claims.role = 'reader'"

[[channel]]
topic = "updates:feed"
allow = "claims.sub is not null"

[[channel]]
topic = "rooms:{room}"
publish = ["message"]
presence = true
allow = "room = any (claims.rooms)"
"#;
    let (_database, gateway) = start_with(&auth, config).await;
    let token = |claims: Value| signed(&claims, SECRET);
    let connect = async |claims: Value| {
        let url = format!("{}/websocket?vsn=2.0.0&token={}", gateway.socket_url(), token(claims));
        Client::connect_exactly(&url).await
    };
    let refused = json!({"status": "error", "response": {"reason": "unauthorized"}});
    // The route's rule and the channel's have to be true, both.
    for (claims, admitted) in [
        (json!({"sub": "ann", "role": "reader"}), true),
        (json!({"sub": "ann"}), false),
        (json!({"role": "reader"}), false),
    ] {
        let reply = connect(claims.clone()).await.try_join("updates:feed", json!({})).await;
        assert_eq!(reply["status"] == "ok", admitted, "{claims}: {reply}");
        assert!(admitted || reply == refused, "{reply}");
    }
    let mut ann = connect(json!({"sub": "ann", "rooms": ["den"]})).await;
    assert_eq!(ann.try_join("rooms:attic", json!({})).await, refused);
    assert_eq!(ann.try_join("rooms:den", json!({})).await["status"], "ok");
    assert_eq!(ann.next().await[3], "presence_state");
    let odd = connect(json!({"sub": "x", "rooms": {"den": true}})).await.try_join("rooms:den", json!({})).await;
    assert_eq!(odd["response"]["reason"], "invalid_claim", "{odd}");
    // Rows by plain HTTP are a join, too.
    let answer = http::get(gateway.port(), &format!("/topics/rooms:den?token={}", token(json!({"sub": "bob"})))).await;
    assert_eq!(refusal(answer).await, (403, "unauthorized".to_owned()));

    let renew =
        json!(["2", "9", "rooms:den", "access_token", {"token": token(json!({"sub": "ann", "rooms": ["den", "x"]}))}]);
    ann.send(&renew).await;
    assert_eq!(ann.next().await[4]["status"], "ok");
    let lose = json!(["2", "10", "rooms:den", "access_token", {"token": token(json!({"sub": "ann", "rooms": ["x"]}))}]);
    ann.send(&lose).await;
    let mut ended = None;
    while ended.is_none() {
        let message = ann.next().await;
        ended = (message[3] == "phx_error").then(|| message[4].clone());
    }
    assert_eq!(ended, Some(json!({"reason": "unauthorized"})));
    assert_eq!(ann.try_join("rooms:den", json!({})).await, refused);
}
